//! A key that a view declares over a table without one: it tells rows apart in the outputs, and stops the
//! pipeline when two rows have it.

use tidegate_core::ViewName;
use tidegate_testkit::{Catalog, Lake, Oracle};

use crate::outputs::Outputs;
use crate::pipeline::{PipelineFolder, Spec};

const SQL: &str = "SELECT id, customer, note FROM lake.orders";

fn assert_holds(pipeline: &PipelineFolder, lake: &Lake, what: &str) {
    let views = [(ViewName::new("orders"), SQL.to_owned())];
    let expected = Oracle::new().unwrap().views_over_lake(lake, None, &views);
    Outputs::read(pipeline).assert_holds(pipeline, &["orders".to_owned()], &expected, what);
}

#[test]
fn a_declared_key_is_checked_and_its_violation_told() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::create(folder.path(), Catalog::duckdb(folder.path()));
    lake.execute("CREATE TABLE lake.orders (id INTEGER, customer INTEGER, note VARCHAR)");
    lake.execute("INSERT INTO lake.orders SELECT i, i % 7, 'hush' FROM range(100) r(i)");
    let mut spec = Spec::new(&lake);
    spec.views = vec![("orders".to_owned(), SQL.to_owned())];
    let plain = spec.clone();
    spec.view_settings = vec!["key = [\"id\"]".to_owned()];
    let pipeline = PipelineFolder::create(&folder.path().join("pipeline"), &spec);

    let checked = pipeline.command("check", &["--json"]).run().expect(0).json();
    assert_eq!(checked["views"]["orders"]["row_identity"], serde_json::json!({ "key": ["id"] }), "{checked}");
    let explained = pipeline.command("explain", &["orders"]).run().expect(0).stdout;
    assert!(explained.contains("Check of the declared key") && explained.contains("state: sums"), "{explained}");
    pipeline.catch_up();
    lake.execute("UPDATE lake.orders SET note = 'quiet' WHERE id < 3");
    lake.execute("DELETE FROM lake.orders WHERE id = 5");
    pipeline.catch_up();
    assert_holds(&pipeline, &lake, "while the key holds");

    lake.execute("INSERT INTO lake.orders VALUES (7, 99, 'hush')");
    for again in 0..2 {
        let told = pipeline.once().run().expect(3).stderr;
        assert!(told.contains("orders") && told.contains("id = 7") && !told.contains("hush"), "{again}: {told}");
    }
    // What a person may do: declare what holds, or nothing.
    pipeline.rewrite(&plain);
    pipeline.catch_up();
    assert_holds(&pipeline, &lake, "without the key");
    pipeline.rewrite(&spec);
    let told = pipeline.once().run().expect(3).stderr;
    assert!(told.contains("id = 7"), "a key that does not hold already: {told}");
    lake.execute("DELETE FROM lake.orders WHERE customer = 99");
    pipeline.rewrite(&plain);
    pipeline.catch_up();
    pipeline.rewrite(&spec);
    pipeline.catch_up();
    assert_holds(&pipeline, &lake, "with the key again");
}
