//! `tidegate estimate` against what pipelines then take: bytes of state and log within the factor that it states; sizes and rates by
//! the sources' own books, and nothing written.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use tidegate_testkit::{Catalog, Lake, Postgres, PostgresVersion, Program};

use crate::pipeline::tidegate;

const ORDERS: u64 = 60_000;
const CUSTOMERS: u64 = 6_000;

/// Views of the shapes that differ in what they keep.
const VIEWS: &[(&str, &str)] = &[
    ("rows", "SELECT id, customer, amount, status FROM lake.orders"),
    ("groups", "SELECT customer, count(*) AS n, sum(amount) AS total FROM lake.orders GROUP BY customer"),
    ("greatest", "SELECT customer, max(amount) AS most FROM lake.orders GROUP BY customer"),
    (
        "regions",
        "SELECT c.region, o.status, count(*) AS n, sum(o.amount) AS total FROM lake.orders o JOIN lake.customers c ON c.id = o.customer \
         GROUP BY c.region, o.status",
    ),
    ("different", "SELECT DISTINCT customer, amount FROM lake.orders"),
    ("first", "SELECT id, amount FROM lake.orders ORDER BY amount DESC, id LIMIT 100"),
    ("running", "SELECT id, customer, sum(amount) OVER (PARTITION BY customer ORDER BY id) AS s FROM lake.orders"),
];

/// A pipeline file in a folder of its own.
struct Pipeline {
    folder: TempDir,
}

impl Pipeline {
    fn new(source: &str, views: &[(&str, &str)]) -> Pipeline {
        let folder = tempfile::tempdir().unwrap();
        let views: String = views.iter().map(|(view, sql)| format!("[views.{view}]\nsql = '''{sql}'''\n\n")).collect();
        let text = format!(
            "[pipeline]\nname = \"size\"\nstate_dir = \"state\"\nworkers = 1\n\n{source}\n\n{views}\
             [sinks.out]\ntype = \"jsonl\"\npath = \"out\"\n"
        );
        fs::write(folder.path().join("pipeline.toml"), text).unwrap();
        Pipeline { folder }
    }

    fn command(&self, verb: &str, arguments: &[&str]) -> Program {
        let file = self.folder.path().join("pipeline.toml");
        tidegate(&[verb, &file.to_string_lossy()]).arguments(arguments.iter().copied())
    }

    #[track_caller]
    fn estimate(&self, arguments: &[&str]) -> Value {
        let estimate =
            self.command("estimate", &["--json"]).arguments(arguments.iter().copied()).run().expect(0).json();
        let files: Vec<_> = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(files, ["pipeline.toml"], "nothing is written");
        estimate
    }

    #[track_caller]
    fn catch_up(&self) {
        self.command("run", &["--once", "--json"]).run().expect(0);
    }

    fn bytes(&self, of: &str) -> f64 {
        bytes(&self.folder.path().join("state").join(of)) as f64
    }
}

fn bytes(path: &Path) -> u64 {
    match path.is_dir() {
        true => fs::read_dir(path).unwrap().map(|entry| bytes(&entry.unwrap().path())).sum(),
        false => path.metadata().unwrap().len(),
    }
}

/// Every file below a folder.
fn contents(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()) {
        match entry.is_dir() {
            true => found.extend(contents(&entry)),
            false => drop(found.insert(entry.display().to_string(), fs::read(&entry).unwrap())),
        }
    }
    found
}

#[track_caller]
fn within(what: &str, estimate: &Value, measured: f64, estimated: f64) {
    let factor = estimate["error"]["bytes"].as_f64().unwrap();
    let off = (measured / estimated).max(estimated / measured);
    println!("{what}: {measured:.0} measured, {estimated:.0} estimated, a factor of {off:.2}");
    assert!(off <= factor, "{what}: {measured:.0} measured, {estimated:.0} estimated: off by more than {factor}");
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn orders(from: u64, to: u64) -> String {
    format!(
        "INSERT INTO lake.orders SELECT i, (hash(i) % {CUSTOMERS})::BIGINT, ['open', 'paid', 'sent', 'returned'][1 + i % 4], \
         ((i * 7919) % 100_000 / 100)::DECIMAL(12,2) FROM range({from}, {to}) t(i)"
    )
}

fn lake(folder: &Path) -> Lake {
    lake_in(folder, Catalog::duckdb(folder))
}

fn lake_in(folder: &Path, catalog: Catalog) -> Lake {
    let lake = Lake::create(folder, catalog);
    lake.execute(&format!(
        "CREATE TABLE lake.orders (id BIGINT, customer BIGINT, status VARCHAR, amount DECIMAL(12,2)); \
         CREATE TABLE lake.customers (id BIGINT, region VARCHAR); \
         INSERT INTO lake.customers SELECT i, 'region ' || (i * 31) % 100 FROM range({CUSTOMERS}) t(i)"
    ));
    lake.execute(&orders(0, ORDERS));
    lake
}

fn lake_source(lake: &Lake) -> String {
    format!("[sources.lake]\ntype = \"ducklake\"\ncatalog = \"{}\"", lake.uri())
}

#[test]
fn state_over_a_lake_is_as_estimated_from_its_catalog() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(folder.path());
    // Rows that came and went are not there: a part of a file, and rows that are only in the catalog.
    lake.execute("DELETE FROM lake.orders WHERE id < 1000");
    lake.execute("INSERT INTO lake.orders VALUES (70000, 1, 'open', 1), (70001, 1, 'open', 1)");
    lake.execute("DELETE FROM lake.orders WHERE id = 70001");
    let pipeline = Pipeline::new(&lake_source(&lake), VIEWS);
    // Without a single data file there is nothing but the catalog to ask.
    let away = folder.path().join("away");
    fs::rename(lake.data_path(), &away).unwrap();
    let before = contents(folder.path());
    let estimate = pipeline.estimate(&["--groups", "regions=400"]);
    assert!(contents(folder.path()) == before, "nothing is written at the source");
    fs::rename(&away, lake.data_path()).unwrap();
    let rows = &estimate["tables"]["lake.main.orders"];
    assert_eq!((number(&rows["rows"]), rows["rows_from"].as_str()), ((ORDERS - 999) as f64, Some("source")));
    assert_eq!(number(&estimate["tables"]["lake.main.customers"]["rows"]), CUSTOMERS as f64);

    pipeline.catch_up();
    let status = pipeline.command("status", &["--json"]).run().expect(0).json();
    for (view, _) in VIEWS {
        let (measured, estimated) = (&status["views"][view], &estimate["views"][view]);
        within(view, &estimate, number(&measured["state_bytes"]), number(&estimated["state_bytes"]));
        within(&format!("rows of {view}"), &estimate, number(&measured["rows"]), number(&estimated["rows"]));
    }
    within("all state", &estimate, pipeline.bytes("engine"), number(&estimate["total"]["state_bytes"]));
}

#[test]
fn the_log_of_a_lake_is_as_estimated_from_its_snapshots() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(folder.path());
    let views = [VIEWS[1], ("customers", "SELECT id, region FROM lake.customers")];
    let measured = Pipeline::new(&lake_source(&lake), &views);
    let pipeline = Pipeline::new(&lake_source(&lake), &views);
    measured.catch_up();
    let first = lake.snapshot();
    let load = measured.bytes("log");
    let commits = 8;
    for commit in 0..commits {
        let from = ORDERS + commit * 500;
        lake.execute(&orders(from, from + 500));
        measured.catch_up();
    }
    lake.execute("UPDATE lake.orders SET status = 'lost' WHERE id < 250");
    measured.catch_up();
    // The first rows are half a day older than the last ones, which say nothing of a rate by themselves.
    let unknown = pipeline.estimate(&[]);
    assert_eq!(unknown["total"]["log_bytes"], Value::Null);
    assert!(unknown["assumptions"].to_string().contains("--changes lake.main.orders=N/day"), "{unknown}");
    lake.execute(&format!(
        "UPDATE __ducklake_metadata_lake.ducklake_snapshot SET snapshot_time = snapshot_time - INTERVAL 12 HOUR \
         WHERE snapshot_id <= {first}"
    ));
    let estimate = pipeline.estimate(&[]);
    let orders = &estimate["tables"]["lake.main.orders"];
    assert_eq!(orders["changes_from"], "source", "{estimate}");
    let changes = 2.0 * (8.0 * 500.0 + 2.0 * 250.0);
    let close = |found: &Value, wanted: f64| (number(found) / wanted - 1.0).abs() < 0.01;
    assert!(close(&orders["changes_per_day"], changes), "{orders}");
    assert!(close(&estimate["total"]["epochs_per_day"], 18.0), "{estimate}");
    let half_a_day = number(&estimate["total"]["log_bytes_per_day"]) / 2.0;
    within("the log of half a day", &estimate, measured.bytes("log") - load, half_a_day);
    // Seven days are kept by default.
    assert!(close(&estimate["total"]["log_bytes"], 14.0 * half_a_day), "{estimate}");
    let said = pipeline.estimate(&["--changes", "lake.orders=0/day", "--rows", "lake.customers=5"]);
    assert_eq!(said["tables"]["lake.main.orders"]["changes_from"], "given");
    assert_eq!(number(&said["tables"]["lake.main.customers"]["rows"]), 5.0);
    assert_eq!(number(&said["total"]["log_bytes"]), 0.0);
}

#[test]
fn every_catalog_tells_the_same_to_every_reader() {
    let server = Postgres::start();
    let mut told = Vec::new();
    for kind in ["duckdb", "sqlite", "postgres"] {
        let folder = tempfile::tempdir().unwrap();
        let catalog = match kind {
            "duckdb" => Catalog::duckdb(folder.path()),
            "sqlite" => Catalog::sqlite(folder.path()),
            _ => Catalog::postgres(&server),
        };
        let lake = lake_in(folder.path(), catalog);
        lake.execute("DELETE FROM lake.orders WHERE id < 1000");
        lake.execute("INSERT INTO lake.orders VALUES (70000, 1, 'open', 1), (70001, 1, 'open', 1)");
        lake.execute("DELETE FROM lake.orders WHERE id = 70001");
        for reader in ["native", "extension"] {
            let source = format!("{}\nreader = \"{reader}\"", lake_source(&lake));
            let estimate = Pipeline::new(&source, VIEWS).estimate(&[]);
            let rows = number(&estimate["tables"]["lake.main.orders"]["rows"]);
            assert_eq!(rows, (ORDERS - 999) as f64, "{kind}, {reader}");
            told.push(estimate["views"].clone());
        }
    }
    assert!(told.iter().all(|views| *views == told[0]), "{told:#?}");
}

#[test]
fn a_database_is_asked_for_its_statistics() {
    const ROWS: f64 = 20_000.0;
    let server = Postgres::start_version(PostgresVersion::V18);
    let connection = server.create_database();
    let database = connection.split_whitespace().find_map(|part| part.strip_prefix("dbname=")).unwrap().to_owned();
    let sql = |sql: &str| server.execute(&database, sql);
    sql("CREATE TABLE items (id bigint PRIMARY KEY, kind text, price bigint) WITH (autovacuum_enabled = false)");
    sql("INSERT INTO items SELECT i, 'kind ' || i % 50, i * 7 FROM generate_series(1, 20000) s (i)");
    let views = [("kinds", "SELECT kind, count(*) AS n, sum(price) AS total FROM app.items GROUP BY kind")];
    let source = format!("[sources.app]\ntype = \"postgres\"\nurl = \"{}\"", server.url(&database));
    let pipeline = Pipeline::new(&source, &views);
    pipeline.command("estimate", &[]).run().expect(2).says(&[
        "table app.public.items: its source does not know how many rows it has",
        "run ANALYZE there, or say it with --rows app.public.items=N",
    ]);
    sql("ANALYZE items");
    // Rows that no ANALYZE has seen show that nobody counts them.
    sql("INSERT INTO items SELECT i, 'kind ' || i % 50, i * 7 FROM generate_series(20001, 20500) s (i)");
    let estimate = pipeline.estimate(&["--changes", "app.items=9000/day", "--commits", "app=9/day"]);
    let items = &estimate["tables"]["app.public.items"];
    assert_eq!((number(&items["rows"]), items["rows_from"].as_str()), (ROWS, Some("source")));
    assert_eq!(number(&estimate["views"]["kinds"]["rows"]), 50.0, "by the number of different values");
    let made = "SELECT (SELECT count(*) FROM pg_replication_slots) + (SELECT count(*) FROM pg_publication)";
    assert_eq!(server.value(&database, made), "0", "nothing is made at the source");

    pipeline.catch_up();
    within("the table and the view", &estimate, pipeline.bytes("engine"), number(&estimate["total"]["state_bytes"]));
    let load = pipeline.bytes("log");
    for commit in 0..9 {
        let (from, to) = (commit * 1000 + 1, commit * 1000 + 1000);
        sql(&format!("UPDATE items SET price = price + 1 WHERE id BETWEEN {from} AND {to}"));
        pipeline.catch_up();
    }
    let log = pipeline.bytes("log") - load;
    within("the log of a day", &estimate, log, number(&estimate["total"]["log_bytes_per_day"]));
}

#[test]
fn what_is_told_wrongly_is_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(folder.path());
    let pipeline = Pipeline::new(&lake_source(&lake), &VIEWS[..2]);
    pipeline.command("estimate", &["--rows", "lake.order=5", "--groups", "group=5"]).run().expect(2).says(&[
        "--rows lake.order=5: the pipeline reads no table or view `lake.order`; did you mean `lake.orders`?",
        "--groups group=5: the pipeline reads no view `group`; did you mean `groups`?",
    ]);
    let text = pipeline.command("estimate", &["--changes", "lake.orders=1000/day"]).run().expect(0).stdout;
    for part in [
        "state on disk",
        "keeps up with",
        "input log",
        "assumed: source lake: a commit changes 100 rows",
        "within a factor of",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}
