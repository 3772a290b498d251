//! Random histories, compared after every commit through DuckDB's own reader of Delta tables.

use std::path::{Path, PathBuf};

use tidegate_core::schema::duckdb_type;
use tidegate_core::{Commit, CommitOutcome, Epoch, RowIdentity, Sink};
use tidegate_duck::{Duck, Extension, quote_ident, quote_literal};
use tidegate_sink_delta::{DeltaConfig, DeltaSink};
use tidegate_testkit::conformance::model::{ViewModel, header};
use tidegate_testkit::{Multiset, seed};

use crate::history::History;
use crate::suite::configured;

/// A place in the cache folder that `cargo xtask setup` fills.
pub fn cached(name: &str) -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let caches = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    let place = caches.expect("XDG_CACHE_HOME or HOME is set").join("tidegate").join(name);
    assert!(place.exists(), "there is no {}: run 'cargo xtask setup'", place.display());
    place
}

/// A DuckDB that reads Delta tables.
pub fn reader() -> Duck {
    let duck = Duck::open_in_memory().unwrap();
    duck.load(Extension::Delta).unwrap();
    duck
}

/// The folder of a view's table.
pub fn table(folder: &Path, view: &str) -> PathBuf {
    let escaped = |c: char| if c.is_alphanumeric() || c == '_' { c.to_string() } else { format!("!{:02X}", c as u32) };
    folder.join("out/lake").join(view.chars().map(escaped).collect::<String>())
}

/// A query of a view's table whose columns have the view's types again, as the book shows it.
pub fn query(folder: &Path, view: &ViewModel) -> String {
    let column = |field: &std::sync::Arc<arrow::datatypes::Field>| {
        let (name, duckdb_type) = (quote_ident(field.name()), duckdb_type(field).unwrap());
        match duckdb_type {
            "TIMESTAMP_NS" => format!("make_timestamp_ns({name}) AS {name}"),
            _ => format!("CAST({name} AS {duckdb_type}) AS {name}"),
        }
    };
    let columns = view.schema().fields().iter().map(column).collect::<Vec<_>>().join(", ");
    let table = table(folder, view.info().name.as_str());
    format!("SELECT {columns} FROM delta_scan({})", quote_literal(&table.to_string_lossy()))
}

/// The rows of a query.
pub fn rows(duck: &Duck, query: &str) -> Multiset {
    Multiset::of_batches(&duck.query(query).unwrap_or_else(|error| panic!("{query}: {error}")).1)
}

fn check(duck: &Duck, folder: &Path, history: &History) {
    let what = format!("the table at epoch {}", history.header().epoch);
    rows(duck, &query(folder, &history.view)).assert_equals(&history.view.multiset(), &what);
}

fn sink(folder: &Path) -> DeltaSink {
    // Small files, so that commits meet many of them.
    let config = DeltaConfig { target_file_size: 20_000, optimize_after: 3, ..DeltaConfig::new("out/lake") };
    configured(folder, config)
}

async fn run(seed: u64, keyed: bool) {
    let duck = reader();
    let folder = tempfile::tempdir().unwrap();
    let mut history = History::new("A \"View\"", seed, keyed);
    let view = [history.view.info().clone()];
    let mut target = sink(folder.path());
    target.open(&view).await.unwrap();
    for _ in 0..8 {
        let after = history.header().epoch;
        let views = vec![if history.below(8) == 0 { history.replace() } else { history.advance() }];
        let outcome = target.commit(Commit { after, header: history.header(), views }).await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
        if history.below(3) == 0 {
            target.maintain().await.unwrap();
        }
        if history.below(3) == 0 {
            target = sink(folder.path());
            let found = target.open(&view).await.unwrap()[&view[0].name].map(|found| found.epoch);
            assert_eq!(found, Some(history.header().epoch));
        }
        check(&duck, folder.path(), &history);
    }
}

/// Readers pass over files by the bounds that are in the log: whatever they ask for, they find what is there.
#[tokio::test(flavor = "multi_thread")]
async fn bounds_serve_other_readers() {
    let columns: &[(&str, &str, [&str; 4])] = &[
        ("i", "BIGINT", ["1", "-9223372036854775808", "9223372036854775807", "NULL"]),
        ("u", "UBIGINT", ["18446744073709551615", "0", "18446744073709551614", "7"]),
        ("h", "HUGEINT", ["-99999999999999999999999999999999999999", "0", "1", "NULL"]),
        ("d", "DECIMAL(38,10)", ["-1234567890123456789012345678.0123456789", "0.1", "-0.1", "1"]),
        ("f", "DOUBLE", ["'nan'", "'-0.0'", "0.1", "'inf'"]),
        ("g", "FLOAT", ["0.0", "'-0.0'", "0.1", "NULL"]),
        ("s", "VARCHAR", ["repeat('ü', 40)", "repeat(chr(1114111), 40)", "''", "'it''s'"]),
        ("t", "TIMESTAMP", ["'infinity'", "'1969-12-31 23:59:59.999999'", "'2024-02-29 12:00:00.000001'", "NULL"]),
        (
            "z",
            "TIMESTAMP WITH TIME ZONE",
            ["'2024-02-29 12:00:00.000001+02'", "'0001-01-01 00:00:00+00'", "NULL", "NULL"],
        ),
        ("a", "DATE", ["'0001-01-01'", "'9999-12-31'", "'-infinity'", "'2024-02-29'"]),
    ];
    let folder = tempfile::tempdir().unwrap();
    let types: Vec<_> = columns.iter().map(|(name, duckdb_type, _)| (*name, *duckdb_type)).collect();
    let mut view = ViewModel::new("bounds", &types, RowIdentity::WholeRow);
    let mut target = configured(folder.path(), DeltaConfig::new("out/lake"));
    target.open(&[view.info().clone()]).await.unwrap();
    // One file an epoch, each with a row more.
    for epoch in 1..=4 {
        let row = |row: usize| columns.iter().map(|(.., values)| values[row]).collect::<Vec<_>>().join(", ");
        let values: Vec<_> = (0..epoch as usize).map(|r| format!("({})", row(r))).collect();
        let delta = view.change_to(&values.join(", "));
        let views = vec![view.changes([(header(epoch), delta)])];
        target.commit(Commit { after: Epoch(epoch - 1), header: header(epoch), views }).await.unwrap();
    }
    let duck = reader();
    let scan = format!("delta_scan({})", quote_literal(&table(folder.path(), "bounds").to_string_lossy()));
    duck.execute(&format!("CREATE TABLE held AS FROM {scan}")).unwrap();
    for (name, duckdb_type, values) in columns {
        for value in values.iter().filter(|value| **value != "NULL") {
            for operator in ["=", "<=", ">=", "<", ">"] {
                let stored = if matches!(*duckdb_type, "UBIGINT" | "HUGEINT") { "DECIMAL(38,0)" } else { duckdb_type };
                let filter = format!("{name} {operator} CAST({value} AS {stored})");
                let rows = |from: &str| rows(&duck, &format!("SELECT count(*) AS n FROM {from} WHERE {filter}"));
                rows(&scan).assert_equals(&rows("held"), &filter);
            }
        }
        let nulls = |from: &str| rows(&duck, &format!("SELECT count(*) AS n FROM {from} WHERE {name} IS NULL"));
        nulls(&scan).assert_equals(&nulls("held"), name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_histories() {
    let seed = seed::seed("random_histories");
    for sequence in 0..seed::sequences(6) {
        run(seed.wrapping_add(sequence), false).await;
        run(seed.wrapping_add(sequence), true).await;
    }
}
