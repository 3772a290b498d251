//! Lakes and views that cannot be what they should be.

use std::fs;

use serde_json::{Value, json};
use tidegate_core::{ConnectorError, ErrorKind, RowIdentity, Sink};
use tidegate_duck::lake::LakeCatalog;
use tidegate_sink_ducklake::{DucklakeConfig, DucklakeSink};
use tidegate_testkit::conformance::model::{ViewModel, header};
use tidegate_testkit::lake::Catalog;

use crate::lakes::{KINDS, Kind, catalog, clock, reader, sink, sink_with, texts};
use crate::rows::commit;

fn one(name: &str, column: &str) -> ViewModel {
    ViewModel::new(name, &[(column, "INTEGER")], RowIdentity::WholeRow)
}

async fn first_commit(mut sink: DucklakeSink, mut view: ViewModel) -> Result<(), ConnectorError> {
    sink.open(&[view.info().clone()]).await?;
    let delta = view.change_to("(1)");
    commit(&mut sink, 1, view.changes([(header(1), delta)])).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_catalogs_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("folder")).unwrap();
    fs::write(path("text"), "not a database, but long enough to look like one ".repeat(500)).unwrap();
    for (name, fact) in [
        ("ducklake:folder", "it is a folder, not the catalog of a lake"),
        ("ducklake:text", "not a valid DuckDB database file"),
        ("ducklake:sqlite:text", "file is not a database"),
        ("ducklake:text/below/lake", "cannot be used: Not a directory"),
    ] {
        let config: DucklakeConfig = serde_json::from_value(json!({ "catalog": name, "data_path": "files" })).unwrap();
        let sink = DucklakeSink::new("lake", &config, folder.path(), &path("spill"), clock()).unwrap();
        let error = first_commit(sink, one("v", "k")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reconfigure, "{name}: {error}");
        assert!(error.to_string().starts_with("sink lake: ") && error.to_string().contains(fact), "{name}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_is_made_where_it_shall_be_and_nowhere_else() {
    for kind in KINDS {
        let folder = tempfile::tempdir().unwrap();
        let lake = match kind {
            Kind::Postgres => catalog(kind, folder.path()),
            Kind::DuckDb => Catalog::DuckDb(folder.path().join("a/b/lake.ducklake")),
            Kind::Sqlite => Catalog::Sqlite(folder.path().join("a/b/lake.sqlite")),
        };
        let unplaced: DucklakeConfig = serde_json::from_value(json!({ "catalog": lake.uri() })).unwrap();
        let make = |config: &DucklakeConfig| {
            DucklakeSink::new("lake", config, folder.path(), &folder.path().join("spill"), clock()).unwrap()
        };
        let error = first_commit(make(&unplaced), one("v", "k")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reconfigure);
        assert!(error.to_string().contains("there is no lake at ducklake:"), "{error}");
        assert!(error.to_string().contains("write data_path"), "{error}");
        first_commit(sink_with(&lake, folder.path(), &json!({})), one("v", "k")).await.unwrap();
        // From now on it is known where the files are.
        let mut target = make(&unplaced);
        target.open(&[one("v", "k").info().clone()]).await.unwrap();
        let elsewhere = sink_with(&lake, folder.path(), &json!({ "data_path": "elsewhere" }));
        let error = first_commit(elsewhere, one("w", "k")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reconfigure);
        let fact = format!("not at {}", folder.path().join("elsewhere").display());
        assert!(error.to_string().contains(&fact), "{error}");
        // The same files, reached by another path.
        fs::rename(folder.path().join("files"), folder.path().join("moved")).unwrap_or_default();
        let moved = json!({ "data_path": "moved", "attach": { "override_data_path": true } });
        let mut view = one("w", "k");
        let delta = view.change_to(&(0..100).map(|k| format!("({k})")).collect::<Vec<_>>().join(", "));
        let mut target = sink_with(&lake, folder.path(), &moved);
        commit(&mut target, 1, view.changes([(header(1), delta)])).await.unwrap();
        assert!(folder.path().join("moved/main/w").is_dir());
        assert!(!folder.path().join("files").exists() && !folder.path().join("elsewhere").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relative_path_in_the_catalog_is_relative_to_the_pipeline_file() {
    let folder = tempfile::tempdir().unwrap();
    let lake = catalog(Kind::Sqlite, folder.path());
    first_commit(sink(Kind::Sqlite, folder.path()), one("v", "k")).await.unwrap();
    let Catalog::Sqlite(file) = &lake else { unreachable!() };
    let duck = tidegate_duck::Duck::open_in_memory().unwrap();
    duck.load(tidegate_duck::Extension::SqliteScanner).unwrap();
    let file = tidegate_duck::quote_literal(&file.to_string_lossy());
    duck.execute(&format!("ATTACH {file} AS c (TYPE sqlite)")).unwrap();
    duck.execute("UPDATE c.ducklake_metadata SET value = 'files/' WHERE key = 'data_path'; DETACH c").unwrap();
    let config: DucklakeConfig = serde_json::from_value(json!({ "catalog": lake.uri() })).unwrap();
    let mut target = DucklakeSink::new("lake", &config, folder.path(), &folder.path().join("spill"), clock()).unwrap();
    let mut view = one("w", "k");
    let delta = view.change_to(&(0..100).map(|k| format!("({k})")).collect::<Vec<_>>().join(", "));
    commit(&mut target, 1, view.changes([(header(1), delta)])).await.unwrap();
    assert!(folder.path().join("files/main/w").is_dir());
}

#[tokio::test(flavor = "multi_thread")]
async fn views_that_do_not_fit_are_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    for (view, fact) in [
        (one("_Tidegate_epochs", "k"), "the name is taken by the table of epochs"),
        (one("v", "Begin_Snapshot"), "DuckLake keeps the name of its column Begin_Snapshot for itself"),
    ] {
        let error = first_commit(sink(Kind::DuckDb, folder.path()), view).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reconfigure);
        assert!(error.to_string().contains(fact), "{error}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_cannot_be_reached_are_tried_again_and_passwords_are_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let connection = |place: &str| Catalog::Postgres(format!("{place} user=postgres password='hu sh' dbname=lake"));
    let away = connection("host=127.0.0.1 port=1");
    let error = first_commit(sink_with(&away, folder.path(), &json!({})), one("v", "k")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
    assert!(error.to_string().contains("Connection refused"), "{error}");
    assert!(!error.to_string().contains("hu sh"), "{error}");
    // One that is there, and has no such database.
    let Catalog::Postgres(known) = catalog(Kind::Postgres, folder.path()) else { unreachable!() };
    let unknown = known.split(' ').map(|pair| if pair.starts_with("dbname=") { "dbname=nothing" } else { pair });
    let unknown = Catalog::Postgres(format!("{} password=hush", unknown.collect::<Vec<_>>().join(" ")));
    let error = first_commit(sink_with(&unknown, folder.path(), &json!({})), one("v", "k")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
    assert!(error.to_string().contains("database \"nothing\" does not exist"), "{error}");
    assert!(!error.to_string().contains("hush"), "{error}");
}

#[test]
fn a_lake_is_told_from_others_whatever_it_is_called() {
    let folder = tempfile::tempdir().unwrap();
    let target = |section: Value| {
        let config: DucklakeConfig = serde_json::from_value(section).unwrap();
        let (identity, schema) = config.target(folder.path()).unwrap();
        (identity, schema.to_owned())
    };
    let ours = target(json!({ "catalog": "ducklake:./lake.db", "data_path": "files", "schema": "marts" }));
    assert_eq!(ours.1, "marts");
    let source = LakeCatalog::parse(&format!("ducklake:{}/lake.db", folder.path().display()), folder.path()).unwrap();
    assert_eq!(ours.0, source.identity(None));
    assert_ne!(ours.0, target(json!({ "catalog": "ducklake:sqlite:lake.sqlite" })).0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_of_a_catalog_in_sqlite_lets_readers_be() {
    let folder = tempfile::tempdir().unwrap();
    let lake = catalog(Kind::Sqlite, folder.path());
    let mut target = sink(Kind::Sqlite, folder.path());
    let mut view = one("v", "k");
    let delta = view.change_to("(1)");
    commit(&mut target, 1, view.changes([(header(1), delta)])).await.unwrap();
    let duck = reader(&lake);
    duck.execute("BEGIN").unwrap();
    assert_eq!(texts(&duck, "SELECT k FROM lake.v"), ["1"]);
    let delta = view.change_to("(2)");
    commit(&mut target, 2, view.changes([(header(2), delta)])).await.unwrap();
    assert_eq!(texts(&duck, "SELECT k FROM lake.v"), ["1"], "a reader's transaction sees one snapshot");
    duck.execute("COMMIT").unwrap();
    assert_eq!(texts(&duck, "SELECT k FROM lake.v"), ["2"]);
}
