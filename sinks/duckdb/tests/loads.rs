//! Whole contents: in the order of the key, or not at all; and commits that are given up, or meet
//! other writers.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use futures::{StreamExt, stream};
use tidegate_core::{
    BatchStream, ChangeType, Commit, CommitOutcome, Committed, ConnectorError, DeltaBatch, Epoch, EpochBatch,
    EpochHeader, ErrorKind, RowIdentity, Sink, ViewCommit, ViewContent, ViewInfo,
};
use tidegate_duck::{Duck, Options};
use tidegate_testkit::conformance::model::{ViewModel, header, header_of};
use tokio::sync::Notify;

use crate::random::reader;
use crate::stops::{another, part_of_another};
use crate::suite::{copying_sink, sink};

fn view() -> ViewInfo {
    let columns = [("k", "BIGINT"), ("t", "VARCHAR")];
    ViewModel::new("v", &columns, RowIdentity::Key(vec![0])).info().clone()
}

/// Rows with these keys, coming or going, as of an epoch.
fn batch(view: &ViewInfo, header: EpochHeader, keys: &[i64], change: ChangeType) -> EpochBatch {
    let texts = StringArray::from_iter_values(keys.iter().map(|key| format!("text {key}")));
    let columns: Vec<arrow::array::ArrayRef> = vec![Arc::new(Int64Array::from(keys.to_vec())), Arc::new(texts)];
    let rows = RecordBatch::try_new(view.schema.clone(), columns).unwrap();
    let copies_before = Int64Array::from(vec![i64::from(change.sign() < 0); keys.len()]);
    let weights = Int64Array::from(vec![change.sign(); keys.len()]);
    EpochBatch { header, batch: DeltaBatch { rows, weights, change: vec![change; keys.len()], copies_before } }
}

fn load(view: &ViewInfo, epoch: u64, content: BatchStream) -> Commit {
    let views = vec![ViewCommit { view: view.clone(), content: ViewContent::Replace(content) }];
    Commit { after: Epoch(epoch - 1), header: header(epoch), views }
}

/// Keys from zero on, in no order, in batches.
fn scattered(view: &ViewInfo, epoch: u64, keys: i64) -> BatchStream {
    let all: Vec<i64> = (0..keys).map(|n| (n * 7_919) % keys).collect();
    let batches: Vec<_> =
        all.chunks(10_000).map(|keys| Ok(batch(view, header(epoch), keys, ChangeType::Insert))).collect();
    stream::iter(batches).boxed()
}

fn number(duck: &Duck, sql: &str) -> i64 {
    duck.connection().query_row(sql, [], |row| row.get(0)).unwrap()
}

fn files(folder: &Path) -> Vec<String> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn keyed_contents_lie_in_the_order_of_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let (view, mut sink) = (view(), sink(folder.path()));
    let outcome = sink.commit(load(&view, 1, scattered(&view, 1, 300_000))).await.unwrap();
    assert_eq!(outcome, CommitOutcome::Committed { rows: 300_000 });
    assert_eq!(files(folder.path()), ["mart.duckdb"]);
    let duck = reader(folder.path());
    assert_eq!(number(&duck, "SELECT count(*) FROM v WHERE k = rowid AND t = 'text ' || k"), 300_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_that_ends_with_an_error_never_was() {
    for make in [sink, copying_sink] {
        let folder = tempfile::tempdir().unwrap();
        let (view, mut sink) = (view(), make(folder.path()));
        let failing = |epoch| {
            let error = ConnectorError::new(ErrorKind::Retry, "the stream broke");
            let good = Ok(batch(&view, header(epoch), &[1, 2, 3], ChangeType::Insert));
            load(&view, epoch, stream::iter([good, Err(error)]).boxed())
        };
        let error = sink.commit(failing(1)).await.unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Retry, "the stream broke"));
        assert!(files(folder.path()).is_empty(), "{:?}", files(folder.path()));
        sink.commit(load(&view, 1, scattered(&view, 1, 10))).await.unwrap();
        assert_eq!(sink.commit(failing(2)).await.unwrap_err().to_string(), "the stream broke");
        let found = sink.open(std::slice::from_ref(&view)).await.unwrap();
        assert_eq!(found[&view.name].map(|found| found.epoch), Some(Epoch(1)));
        assert_eq!(number(&reader(folder.path()), "SELECT count(*) FROM v"), 10);
        sink.commit(load(&view, 2, scattered(&view, 2, 20))).await.unwrap();
        assert_eq!(number(&reader(folder.path()), "SELECT count(*) FROM v"), 20);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_with_removals_is_a_bug() {
    let folder = tempfile::tempdir().unwrap();
    let (view, mut sink) = (view(), sink(folder.path()));
    let content = stream::iter([Ok(batch(&view, header(1), &[1], ChangeType::Delete))]).boxed();
    let error = sink.commit(load(&view, 1, content)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bug);
    assert!(error.to_string().contains("a whole content removes rows"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_given_up_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (view, mut sink) = (view(), sink(folder.path()));
    sink.commit(load(&view, 1, scattered(&view, 1, 10))).await.unwrap();
    let reached = Arc::new(Notify::new());
    let (first, reaching) = (batch(&view, header(2), &[1, 2], ChangeType::Insert), reached.clone());
    let endless = stream::iter([Ok(first)]).chain(stream::once(async move {
        reaching.notify_one();
        std::future::pending().await
    }));
    tokio::select! {
        outcome = sink.commit(load(&view, 2, endless.boxed())) => panic!("{outcome:?}"),
        () = reached.notified() => {}
    }
    let found = sink.open(std::slice::from_ref(&view)).await.unwrap();
    assert_eq!(found[&view.name].map(|found| found.epoch), Some(Epoch(1)));
    sink.commit(load(&view, 2, scattered(&view, 2, 20))).await.unwrap();
    assert_eq!(number(&reader(folder.path()), "SELECT count(*) FROM v"), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_of_two_writers_meets_a_conflict() {
    for make in [sink, copying_sink] {
        let folder = tempfile::tempdir().unwrap();
        let (view, mut one, mut two) = (view(), make(folder.path()), make(folder.path()));
        for sink in [&mut one, &mut two] {
            assert_eq!(sink.open(std::slice::from_ref(&view)).await.unwrap()[&view.name], None);
        }
        let commit = |history| {
            let header = header_of(history, 1);
            let rows = batch(&view, header.clone(), &[i64::from(history)], ChangeType::Insert);
            let content = ViewContent::Changes(stream::iter([Ok(rows)]).boxed());
            Commit { after: Epoch::ZERO, header, views: vec![ViewCommit { view: view.clone(), content }] }
        };
        one.commit(commit(1)).await.unwrap();
        let found = Some(Committed { epoch: Epoch(1), hash: header_of(1, 1).hash });
        let conflict = CommitOutcome::Conflict { view: view.name.clone(), found };
        assert_eq!(two.commit(commit(2)).await.unwrap(), conflict);
        assert_eq!(two.open(std::slice::from_ref(&view)).await.unwrap()[&view.name], found);
        assert_eq!(number(&reader(folder.path()), "SELECT max(k) FROM v"), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_program_logged_is_kept() {
    let (view, test) = (view(), "loads::what_another_program_logged_is_kept");
    if let Some(folder) = part_of_another() {
        let duck = Duck::open(&folder.join("mart.duckdb"), &Options::default()).unwrap();
        duck.execute("SET checkpoint_threshold = '1GB'; CREATE TABLE mine AS SELECT 42 AS answer").unwrap();
        std::process::abort();
    }
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(folder.path());
    sink.commit(load(&view, 1, scattered(&view, 1, 10))).await.unwrap();
    assert!(another(test, folder.path()).run().aborted());
    assert!(folder.path().join("mart.duckdb.wal").exists(), "it left a log");
    sink.open(std::slice::from_ref(&view)).await.unwrap();
    sink.commit(load(&view, 2, scattered(&view, 2, 20))).await.unwrap();
    assert_eq!(files(folder.path()), ["mart.duckdb"], "all is in the file");
    let duck = reader(folder.path());
    assert_eq!(number(&duck, "SELECT answer FROM mine"), 42);
    assert_eq!(number(&duck, "SELECT count(*) FROM v"), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_of_a_million_rows() {
    const KEYS: i64 = 1_000_000;
    let folder = tempfile::tempdir().unwrap();
    let (view, mut sink) = (view(), sink(folder.path()));
    let commit = |epoch: u64, change| {
        let all: Vec<i64> = (0..KEYS).collect();
        let batches: Vec<_> = all.chunks(50_000).map(|keys| Ok(batch(&view, header(epoch), keys, change))).collect();
        let content = ViewContent::Changes(stream::iter(batches).boxed());
        let views = vec![ViewCommit { view: view.clone(), content }];
        Commit { after: Epoch(epoch - 1), header: header(epoch), views }
    };
    for (epoch, change, rows) in [(1, ChangeType::Insert, KEYS), (2, ChangeType::Delete, 0)] {
        let outcome = sink.commit(commit(epoch, change)).await.unwrap();
        assert_eq!(outcome, CommitOutcome::Committed { rows: KEYS as u64 });
        assert_eq!(number(&reader(folder.path()), "SELECT count(*) FROM v"), rows);
    }
    assert_eq!(files(folder.path()), ["mart.duckdb"]);
}
