//! What `explain` and `status` tell of views: how they are kept, and how often they were computed which way.

use serde_json::Value;
use tidegate_testkit::{Catalog, Lake};

use crate::pipeline::{PipelineFolder, Spec};

const SQL: &str = "SELECT customer, sum(amount) AS total FROM lake.orders GROUP BY customer";

/// Incremental and full steps of the view.
fn steps(pipeline: &PipelineFolder) -> (u64, u64) {
    let status = pipeline.command("status", &["--json"]).run().expect(0).json();
    let view = &status["views"]["totals"];
    assert_eq!(view["mode"], "incremental", "{status}");
    let number = |key: &str| view[key].as_u64().unwrap_or_else(|| panic!("{key} in {status}"));
    assert!(number("state_bytes") > 0 && number("rows") > 0, "{status}");
    (number("incremental_steps"), number("full_steps"))
}

#[test]
fn steps_are_counted_by_their_kind_and_plans_explained() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::create(folder.path(), Catalog::duckdb(folder.path()));
    lake.execute("CREATE TABLE lake.orders (id INTEGER, customer INTEGER, amount INTEGER)");
    lake.execute("INSERT INTO lake.orders SELECT i, i % 7, i FROM range(100) r(i)");
    let mut spec = Spec::new(&lake);
    spec.views = vec![("totals".to_owned(), SQL.to_owned())];
    let pipeline = PipelineFolder::create(&folder.path().join("pipeline"), &spec);

    pipeline.catch_up();
    assert_eq!(steps(&pipeline), (0, 1), "loading computes the view as a whole");
    for changes in 1..=2 {
        lake.execute("DELETE FROM lake.orders WHERE id = (SELECT max(id) FROM lake.orders)");
        pipeline.catch_up();
        assert_eq!(steps(&pipeline), (changes, 1), "a change is followed");
    }
    pipeline.catch_up();
    assert_eq!(steps(&pipeline), (2, 1), "without a change there is no step");
    pipeline.rewrite(&spec.view("totals", &SQL.replace("sum(amount)", "sum(amount + 1)")));
    pipeline.catch_up();
    assert_eq!(steps(&pipeline), (0, 2), "another view is built anew, and that is no incremental step");
    let text = pipeline.command("status", &[]).run().expect(0).stdout;
    assert!(text.contains("incremental steps") && text.contains("full steps"), "{text}");

    let explained = pipeline.command("explain", &["totals", "--format", "json"]).run().expect(0).json();
    assert_eq!((&explained["mode"], &explained["cost"]), (&Value::from("incremental"), &Value::from("change")));
    let mut node = &explained["plan"];
    while node["operator"] != "Aggregate" {
        node = &node["inputs"][0];
        assert!(node.is_object(), "{explained}");
    }
    for (key, told) in
        [("row_identity", "key (customer)"), ("strategy", "sums are moved"), ("state", "sums"), ("cost", "change")]
    {
        assert_eq!(node[key], told, "{explained}");
    }
    let text = pipeline.command("explain", &["totals"]).run().expect(0).stdout;
    for part in ["an epoch costs", "[key (customer); sums are moved; state: sums; cost: the change]"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}

#[test]
fn an_order_that_chooses_nothing_is_left_out_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::create(folder.path(), Catalog::duckdb(folder.path()));
    lake.execute("CREATE TABLE lake.orders (id INTEGER, customer INTEGER, amount INTEGER)");
    let mut spec = Spec::new(&lake);
    spec.views = vec![("totals".to_owned(), format!("{SQL} ORDER BY total DESC"))];
    let pipeline = PipelineFolder::create(&folder.path().join("pipeline"), &spec);
    for (verb, arguments) in [("check", &[][..]), ("explain", &["totals"])] {
        let told = pipeline.command(verb, arguments).run().expect(0).stdout;
        assert!(told.contains("its ORDER BY is left out"), "{verb}: {told}");
    }
    let explained = pipeline.command("explain", &["totals", "--format", "json"]).run().expect(0).json();
    assert!(explained["notes"][0].as_str().is_some_and(|note| note.contains("left out")), "{explained}");
}
