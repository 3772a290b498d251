//! `views.sql` where readers use it.

use std::sync::Arc;

use arrow::array::AsArray;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use tidegate_core::{ChangeType, Commit, DeltaBatch, Epoch, RowIdentity, Sink};
use tidegate_duck::{Duck, Options};
use tidegate_testkit::Multiset;
use tidegate_testkit::conformance::model::{ViewModel, header};

use crate::random::{reader, rows, types};
use crate::suite::{remote, sink};

fn view() -> ViewModel {
    ViewModel::new("v", &[("k", "INTEGER"), ("total", "HUGEINT")], RowIdentity::WholeRow)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_without_rows_has_its_columns() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(folder.path());
    let view = view();
    sink.open(&[view.info().clone()]).await.unwrap();
    sink.commit(Commit { after: Epoch(0), header: header(3), views: vec![view.changes([])] }).await.unwrap();
    let duck = reader(folder.path());
    assert_eq!(types(&duck, "FROM v"), ["k INTEGER", "total HUGEINT"]);
    assert!(rows(&duck, "FROM v").is_empty());
    assert!(rows(&duck, "FROM v_asof(9)").is_empty());
    assert!(rows(&duck, "FROM v_changes(0, 9)").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn views_outlive_the_session_and_follow_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut target = sink(folder.path());
    let mut view = view();
    target.open(&[view.info().clone()]).await.unwrap();
    let delta = view.change_to("(1, 10), (1, 10)");
    target
        .commit(Commit { after: Epoch(0), header: header(1), views: vec![view.changes([(header(1), delta)])] })
        .await
        .unwrap();
    let root = folder.path().join("out/changes");
    let database = folder.path().join("reader.duckdb");
    let open = || Duck::open(&database, &Options::default()).unwrap();
    open().execute(&std::fs::read_to_string(root.join("views.sql")).unwrap()).unwrap();
    let delta = view.change_to("(2, NULL)");
    target
        .commit(Commit { after: Epoch(1), header: header(2), views: vec![view.changes([(header(2), delta)])] })
        .await
        .unwrap();
    // Another session, no matter where it works, sees what came since.
    rows(&open(), "FROM v").assert_equals(&view.multiset(), "a kept view");
    let moved = folder.path().join("moved");
    std::fs::rename(&root, &moved).unwrap();
    let duck = open();
    assert!(duck.query("FROM v").is_err());
    duck.execute(&format!("SET VARIABLE tidegate_changes_path = '{}'", moved.display())).unwrap();
    rows(&duck, "FROM v").assert_equals(&view.multiset(), "moved files");
    rows(&duck, "FROM v_asof(0)").assert_equals(&Multiset::new(), "before everything");
}

#[tokio::test(flavor = "multi_thread")]
async fn views_that_are_not_named_stay_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut target = sink(folder.path());
    let mut view = view();
    let delta = view.change_to("(1, 10)");
    target.open(&[view.info().clone()]).await.unwrap();
    target
        .commit(Commit { after: Epoch(0), header: header(1), views: vec![view.changes([(header(1), delta)])] })
        .await
        .unwrap();
    let other = ViewModel::new("other", &[("x", "DATE")], RowIdentity::WholeRow);
    let mut target = sink(folder.path());
    target.open(&[other.info().clone()]).await.unwrap();
    target
        .commit(Commit { after: Epoch(1), header: header(2), views: vec![other.replacement(header(2))] })
        .await
        .unwrap();
    let duck = reader(folder.path());
    rows(&duck, "FROM v").assert_equals(&view.multiset(), "the view that was not named");
    assert!(rows(&duck, "FROM other").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn in_an_object_store_it_names_the_url() {
    let store = Arc::new(InMemory::new());
    let mut target = remote(&store);
    let view = view();
    target.open(&[view.info().clone()]).await.unwrap();
    target
        .commit(Commit { after: Epoch(0), header: header(1), views: vec![view.replacement(header(1))] })
        .await
        .unwrap();
    let sql = store.get(&"out/changes/views.sql".into()).await.unwrap().bytes().await.unwrap();
    let sql = std::str::from_utf8(&sql).unwrap();
    let files =
        "read_parquet(coalesce(getvariable('tidegate_changes_path'), 's3://bucket/out/changes') || '/v/*.parquet'";
    assert!(sql.contains(files), "{sql}");
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_intervals_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let mut target = sink(folder.path());
    let view = ViewModel::new("v", &[("copies", "INTEGER"), ("same", "INTERVAL")], RowIdentity::WholeRow);
    let text = "SELECT copies || ' ' || same::VARCHAR AS t FROM v ORDER BY t";
    let steps: [(&str, &[i64], &[&str]); 4] = [
        (
            "(1, '30 days'), (1, '1 month'), (2, '30 days')",
            &[2, 1, 1],
            &["1 1 month", "1 30 days", "1 30 days", "2 30 days"],
        ),
        ("(1, '1 month'), (1, '30 days')", &[-1, -1], &["1 30 days", "2 30 days"]),
        ("(1, '30 days'), (1, '1 month')", &[-1, 1], &["1 1 month", "2 30 days"]),
        // Of equal rows one goes, whichever is meant.
        ("(1, '30 days')", &[-1], &["2 30 days"]),
    ];
    target.open(&[view.info().clone()]).await.unwrap();
    for (epoch, (values, weights, expected)) in (1..).zip(steps) {
        let change = |weight: &i64| if *weight > 0 { ChangeType::Insert } else { ChangeType::Delete };
        let delta = DeltaBatch {
            rows: tidegate_testkit::rows::batch(view.schema(), values),
            weights: weights.to_vec().into(),
            change: weights.iter().map(change).collect(),
            copies_before: weights.to_vec().into(),
        };
        let views = vec![view.changes([(header(epoch), delta)])];
        target.commit(Commit { after: Epoch(epoch - 1), header: header(epoch), views }).await.unwrap();
        let (_, batches) = reader(folder.path()).query(text).unwrap();
        let found = batches.iter().flat_map(|b| b.column(0).as_string::<i32>().iter().map(|t| t.unwrap().to_owned()));
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }
}
