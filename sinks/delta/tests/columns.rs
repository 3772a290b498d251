//! Columns that change, partitions, and what a table cannot have.

use std::fs;

use tidegate_core::{Commit, Epoch, ErrorKind, RowIdentity, Sink};
use tidegate_sink_delta::{DeltaConfig, DeltaSink, Location, OnSchemaChange};
use tidegate_testkit::conformance::model::{ViewModel, header};

use crate::python::{feed, python};
use crate::random::{query, reader, rows, table};
use crate::suite::{clock, configured, sink};

fn config() -> DeltaConfig {
    DeltaConfig::new("out/lake")
}

async fn replace(target: &mut DeltaSink, view: &ViewModel, epoch: u64) -> Result<(), tidegate_core::ConnectorError> {
    let views = vec![view.replacement(header(epoch))];
    target.commit(Commit { after: Epoch(epoch - 1), header: header(epoch), views }).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn other_columns_are_another_version_or_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let config = DeltaConfig { on_schema_change: OnSchemaChange::Error, ..config() };
    let mut target = configured(folder.path(), config.clone());
    let mut view = ViewModel::new("v", &[("k", "BIGINT")], RowIdentity::Key(vec![0]));
    view.change_to("(1)");
    target.open(&[view.info().clone()]).await.unwrap();
    replace(&mut target, &view, 1).await.unwrap();
    // Columns at the end are taken up under both policies.
    let mut wider = ViewModel::new("v", &[("k", "BIGINT"), ("since", "TIMESTAMP")], RowIdentity::Key(vec![0]));
    wider.change_to("(1, NULL), (2, '2024-02-29 12:00:00')");
    target.open(&[wider.info().clone()]).await.unwrap();
    replace(&mut target, &wider, 2).await.unwrap();
    rows(&reader(), &query(folder.path(), &wider)).assert_equals(&wider.multiset(), "with one column more");
    let mut other = ViewModel::new("v", &[("k", "VARCHAR"), ("odd name", "HUGEINT")], RowIdentity::Key(vec![0]));
    other.change_to("('x', 7)");
    target.open(&[other.info().clone()]).await.unwrap();
    let error = replace(&mut target, &other, 3).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    let fact =
        "(column k has type BIGINT, the view has VARCHAR), and on_schema_change is \"error\": set it to \"replace\"";
    assert!(error.to_string().contains(fact), "{error}");
    rows(&reader(), &query(folder.path(), &wider)).assert_equals(&wider.multiset(), "nothing was written");
    let mut target = sink(folder.path());
    target.open(&[other.info().clone()]).await.unwrap();
    replace(&mut target, &other, 3).await.unwrap();
    rows(&reader(), &query(folder.path(), &other)).assert_equals(&other.multiset(), "with other columns");
    // Readers of an older version go on.
    let place = table(folder.path(), "v");
    let old = format!("SELECT k, since FROM delta_scan('{}', version => 1)", place.display());
    rows(&reader(), &old).assert_equals(&wider.multiset(), "the version before");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_for_other_columns_stop_the_sink() {
    let folder = tempfile::tempdir().unwrap();
    let mut target = sink(folder.path());
    let mut view = ViewModel::new("v", &[("k", "BIGINT")], RowIdentity::WholeRow);
    view.change_to("(1)");
    target.open(&[view.info().clone()]).await.unwrap();
    replace(&mut target, &view, 1).await.unwrap();
    let mut other = ViewModel::new("v", &[("k", "INTEGER")], RowIdentity::WholeRow);
    let delta = other.change_to("(2)");
    let views = vec![other.changes([(header(2), delta)])];
    let error = target.commit(Commit { after: Epoch(1), header: header(2), views }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stop);
    assert!(error.to_string().contains("was altered by somebody else (column k has type BIGINT"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions() {
    let columns = [("k", "BIGINT"), ("v", "VARCHAR"), ("Region", "VARCHAR"), ("day", "DATE"), ("ok", "BOOLEAN")];
    for identity in [RowIdentity::Key(vec![0]), RowIdentity::WholeRow] {
        let folder = tempfile::tempdir().unwrap();
        let partition_by = ["region", "day", "OK"].map(str::to_owned).into();
        let config = DeltaConfig { partition_by, optimize_after: 2, ..config() };
        let mut view = ViewModel::new("parts", &columns, identity);
        let contents = [
            "(1, 'a', 'EU', '2024-01-01', true), (2, 'b', 'a b/c=ü%', '2024-01-01', NULL), (3, 'c', NULL, NULL, false)",
            // A row moves to another partition, one changes in its own, and one comes.
            "(1, 'a', 'US', '2024-01-01', true), (2, 'B', 'a b/c=ü%', '2024-01-01', NULL), (3, 'c', NULL, NULL, false), \
             (4, 'd', 'EU', '2024-01-02', true)",
            "(2, 'B', 'a b/c=ü%', '2024-01-01', NULL), (4, 'D', 'EU', '2024-01-02', false)",
        ];
        let mut target = configured(folder.path(), config.clone());
        target.open(&[view.info().clone()]).await.unwrap();
        for (epoch, values) in (1..).zip(contents) {
            let delta = view.change_to(values);
            let views = vec![view.changes([(header(epoch), delta)])];
            target.commit(Commit { after: Epoch(epoch - 1), header: header(epoch), views }).await.unwrap();
            target.maintain().await.unwrap();
            rows(&reader(), &query(folder.path(), &view)).assert_equals(&view.multiset(), "as DuckDB reads it");
            target = configured(folder.path(), config.clone());
            target.open(&[view.info().clone()]).await.unwrap();
        }
        let place = table(folder.path(), "parts");
        let found = python("query", &place, Some("SELECT k FROM t WHERE \"Region\" = 'EU' AND ok IS NOT TRUE"));
        assert_eq!(found, serde_json::json!([{"k": 4}]));
        assert!(feed(&place, 1).iter().any(|fed| fed.change != "insert"));
        let delta = view.change_to("(9, 'x', '', NULL, NULL)");
        let views = vec![view.changes([(header(4), delta)])];
        let error = target.commit(Commit { after: Epoch(3), header: header(4), views }).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reconfigure);
        assert!(error.to_string().contains("Region holds an empty text, which Delta takes for NULL"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_named_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let view = |columns: &[(&str, &str)]| ViewModel::new("v", columns, RowIdentity::WholeRow).info().clone();
    let by = |names: &[&str]| DeltaConfig { partition_by: names.iter().map(|n| (*n).to_owned()).collect(), ..config() };
    let cases = [
        (config(), view(&[("_Change_Type", "VARCHAR")]), "_Change_Type is one that the change data feed adds"),
        (by(&["region"]), view(&[("k", "BIGINT")]), "partition_by names column region, which it does not have"),
        (by(&["k"]), view(&[("k", "DOUBLE"), ("v", "DATE")]), "partition_by names column k of type DOUBLE"),
        (by(&["k"]), view(&[("k", "DATE")]), "partition_by names all its columns"),
        (
            DeltaConfig { optimize_after: 0, ..config() },
            view(&[("k", "DATE")]),
            "optimize_after is 0: give it 2 or more",
        ),
    ];
    for (config, view, fact) in cases {
        let error = configured(folder.path(), config).open(&[view]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
        assert!(error.to_string().starts_with("sink lake: ") && error.to_string().contains(fact), "{error}");
    }
    assert!(!folder.path().join("out").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_paths_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let open = |path: std::path::PathBuf| async move {
        let mut sink = DeltaSink::new("lake", "shop", Location::Folder(path), config(), clock());
        let error = sink.open(&[]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
        error.to_string()
    };
    assert!(open(file.clone()).await.ends_with("it is a file: give the sink the path of a folder"));
    open(file.join("below")).await;
    assert!(open(folder.path().join("50%")).await.contains("without '%', '#' and '?'"));
    // Blanks and letters of every kind are fine.
    let place = folder.path().join("ein Haus ü");
    let mut sink = DeltaSink::new("lake", "shop", Location::Folder(place.clone()), config(), clock());
    let mut view = ViewModel::new("v", &[("k", "BIGINT")], RowIdentity::WholeRow);
    view.change_to("(1)");
    sink.open(&[view.info().clone()]).await.unwrap();
    replace(&mut sink, &view, 1).await.unwrap();
    let found = format!("SELECT k FROM delta_scan('{}')", place.join("v").display());
    rows(&reader(), &found).assert_equals(&view.multiset(), "the table");
    assert!(sink.open(&[view.info().clone()]).await.unwrap()[&view.info().name].is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_log_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut target = sink(folder.path());
    let mut view = ViewModel::new("v", &[("k", "BIGINT")], RowIdentity::WholeRow);
    view.change_to("(1)");
    target.open(&[view.info().clone()]).await.unwrap();
    replace(&mut target, &view, 1).await.unwrap();
    let entry = table(folder.path(), "v").join("_delta_log/00000000000000000000.json");
    let text = fs::read_to_string(&entry).unwrap();
    fs::write(&entry, &text[..text.len() / 2]).unwrap();
    let error = sink(folder.path()).open(&[view.info().clone()]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stop, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_files_do_not_admit_are_mapped() {
    let columns = [("the key", "BIGINT"), ("count_star()", "BIGINT"), ("s", "STRUCT(\"a b\" INTEGER)")];
    let folder = tempfile::tempdir().unwrap();
    let config = DeltaConfig { checkpoint_interval: 2, ..config() };
    let mut target = configured(folder.path(), config.clone());
    let mut view = ViewModel::new("v", &columns, RowIdentity::Key(vec![0]));
    target.open(&[view.info().clone()]).await.unwrap();
    for (epoch, values) in [(1, "(1, 5, {'a b': 1}), (2, NULL, NULL)"), (2, "(1, 6, {'a b': NULL}), (3, 1, NULL)")] {
        let delta = view.change_to(values);
        let views = vec![view.changes([(header(epoch), delta)])];
        target.commit(Commit { after: Epoch(epoch - 1), header: header(epoch), views }).await.unwrap();
        target.maintain().await.unwrap();
    }
    rows(&reader(), &query(folder.path(), &view)).assert_equals(&view.multiset(), "as DuckDB reads it");
    let place = table(folder.path(), "v");
    let found = python("query", &place, Some("SELECT \"the key\", \"count_star()\" AS n FROM t ORDER BY 1"));
    assert_eq!(found, serde_json::json!([{"the key": 1, "n": 6}, {"the key": 3, "n": 1}]));
    let mut target = configured(folder.path(), config);
    assert!(target.open(&[view.info().clone()]).await.unwrap()[&view.info().name].is_some());
}
