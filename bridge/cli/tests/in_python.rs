//! `docs/src/python.md`: the script that it shows reads a pipeline's outputs, and goes on where it was.
//!
//! `UPDATE_DOCS=1` writes anew what it prints.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tidegate_duck::{Access, Duck, Options};
use tidegate_testkit::Program;

use crate::shop::{Session, Shop, blocks};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/python/read_outputs.py");
/// Where `cargo xtask setup` puts the packages.
const PACKAGES: [&str; 2] = ["polars-1.44.2", "deltalake-1.6.6"];

/// What the script prints.
fn read_outputs(shop: &Shop) -> String {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let caches = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    let places =
        PACKAGES.map(|name| caches.as_ref().expect("XDG_CACHE_HOME or HOME is set").join("tidegate").join(name));
    for place in &places {
        assert!(place.exists(), "there is no {}: run 'cargo xtask setup'", place.display());
    }
    let path = std::env::join_paths(&places).unwrap().into_string().unwrap();
    let python = Program::new("python3").arguments([SCRIPT, &shop.path().to_string_lossy()]);
    python.variable("PYTHONPATH", path).variable("PYTHONDONTWRITEBYTECODE", "1").run().expect(0).stdout
}

/// What the script has remembered: the epoch, and the sums.
fn remembered(shop: &Shop) -> (i64, BTreeMap<String, String>) {
    let text = fs::read_to_string(shop.path().join("open_amounts.json")).unwrap();
    let state: serde_json::Value = serde_json::from_str(&text).unwrap();
    (state["epoch"].as_i64().unwrap(), serde_json::from_value(state["open"].clone()).unwrap())
}

/// The same from the mart.
fn in_the_mart(shop: &Shop) -> (i64, BTreeMap<String, String>) {
    let options = Options { access: Access::ReadOnly, ..Options::default() };
    let duck = Duck::open(&shop.path().join("out/mart.duckdb"), &options).unwrap();
    let epoch = "SELECT max(epoch) FROM _tidegate_epochs WHERE view = 'open_orders'";
    let epoch = duck.connection().query_row(epoch, [], |row| row.get(0)).unwrap();
    let mut sums =
        duck.connection().prepare("SELECT region, sum(amount)::VARCHAR FROM open_orders GROUP BY region").unwrap();
    let rows = sums.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    (epoch, rows.map(Result::unwrap).collect())
}

/// A batch, an epoch, and what the script says of it.
fn next(shop: &Shop, batch: &str) -> String {
    let attach = "-- duckdb\nATTACH 'ducklake:sqlite:lake.sqlite' AS lake;\n";
    shop.inside(|| Session::start(&format!("{attach}{batch}")).run());
    shop.tidegate("run", &["--once"]).run().expect(0);
    let told = read_outputs(shop);
    assert_eq!(remembered(shop), in_the_mart(shop), "{batch}: {told}");
    told
}

#[test]
fn the_script_of_the_python_page_reads_the_outputs() {
    let shop = Shop::open();
    let told = read_outputs(&shop);
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/python.md");
    let text = fs::read_to_string(&page).unwrap();
    let shown =
        blocks(&text).into_iter().find(|block| block.language == "text").expect("the page shows what it prints");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&page, text.replace(&format!("```text\n{}", shown.text), &format!("```text\n{told}"))).unwrap();
    } else {
        assert_eq!(shown.text, told, "run this test with UPDATE_DOCS=1");
    }
    assert_eq!(remembered(&shop), in_the_mart(&shop));
    assert!(read_outputs(&shop).contains("\n0 new changes up to epoch 6:"));

    let told = next(
        &shop,
        "INSERT INTO lake.orders VALUES (9, 'east', '2026-03-07', 12.50, 'open'); UPDATE lake.orders SET amount = 31 WHERE id = 6;",
    );
    assert!(told.contains("\n3 new changes up to epoch 7:"), "{told}");

    // Files are merged under it.
    shop.change("path = \"out/changes\"", "path = \"out/changes\"\ncompaction_files = 2");
    next(&shop, "DELETE FROM lake.orders WHERE id = 9;");
    let merged = || {
        let names =
            fs::read_dir(shop.path().join("out/changes/open_orders")).unwrap().map(|file| file.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().contains('-')).count()
    };
    assert!(merged() > 0, "files were merged");
    next(&shop, "UPDATE lake.orders SET amount = amount + 1 WHERE id IN (3, 8);");

    // The view is another one.
    shop.change("WHERE status = 'open'", "WHERE amount > 40");
    next(&shop, "UPDATE lake.orders SET amount = amount + 1 WHERE id IN (2, 8);");
    fs::remove_file(shop.path().join("open_amounts.json")).unwrap();
    read_outputs(&shop);
    assert_eq!(remembered(&shop), in_the_mart(&shop), "from the beginning");
}
