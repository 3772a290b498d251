//! Whole contents that go from their stream into the lake's files: in the order of the key, or not at all.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tidegate_core::{
    BatchStream, ChangeType, CommitOutcome, ConnectorError, DeltaBatch, EpochBatch, ErrorKind, RowIdentity, Sink,
    ViewCommit, ViewContent, ViewInfo,
};
use tidegate_testkit::conformance::model::{ViewModel, header};

use crate::lakes::{Kind, catalog, reader, sink_with, table, texts};
use crate::rows::commit;

fn view(name: &str) -> ViewModel {
    ViewModel::new(name, &[("k", "BIGINT"), ("t", "VARCHAR")], RowIdentity::Key(vec![0]))
}

fn batch(view: &ViewInfo, epoch: u64, keys: &[i64]) -> Result<EpochBatch, ConnectorError> {
    let texts = StringArray::from_iter_values(keys.iter().map(|key| format!("text {key}")));
    let columns: Vec<arrow::array::ArrayRef> = vec![Arc::new(Int64Array::from(keys.to_vec())), Arc::new(texts)];
    let rows = RecordBatch::try_new(view.schema.clone(), columns).unwrap();
    let count = keys.len();
    let (weights, copies_before) = (Int64Array::from(vec![1; count]), Int64Array::from(vec![0; count]));
    let batch = DeltaBatch { rows, weights, change: vec![ChangeType::Insert; count], copies_before };
    Ok(EpochBatch { header: header(epoch), batch })
}

/// These keys in batches whose size fits nothing.
fn batches(view: &ViewInfo, epoch: u64, keys: &[i64]) -> Vec<Result<EpochBatch, ConnectorError>> {
    keys.chunks(7_001).map(|keys| batch(view, epoch, keys)).collect()
}

fn load(view: &ViewInfo, content: BatchStream) -> ViewCommit {
    ViewCommit { view: view.clone(), content: ViewContent::Replace(content) }
}

#[tokio::test(flavor = "multi_thread")]
async fn keyed_contents_lie_in_the_order_of_the_key_however_they_come() {
    let count = 400_000;
    let ordered: Vec<i64> = (0..count).collect();
    let scattered: Vec<i64> = (0..count).map(|n| (n * 7_919) % count).collect();
    // In order until it is not, with keys that were there before.
    let broken: Vec<i64> = (0..count / 2).map(|n| n * 2).chain((0..count / 2).rev().map(|n| n * 2 + 1)).collect();
    let inlined = json!({ "attach": { "data_inlining_row_limit": 1_000_000 } });
    let cases: [(&str, &[i64], &Value); 4] = [
        ("ordered", &ordered, &json!({})),
        ("scattered", &scattered, &json!({})),
        ("broken", &broken, &json!({})),
        ("in the catalog", &ordered, &inlined),
    ];
    for (name, keys, more) in cases {
        let folder = tempfile::tempdir().unwrap();
        let lake = catalog(Kind::DuckDb, folder.path());
        let mut sink = sink_with(&lake, folder.path(), more);
        let view = view("v");
        let content = stream::iter(batches(view.info(), 1, keys)).boxed();
        let outcome = commit(&mut sink, 1, load(view.info(), content)).await.unwrap();
        assert_eq!(outcome, CommitOutcome::Committed { rows: count as u64 }, "{name}");
        let duck = reader(&lake);
        let sums = "SELECT concat_ws(' ', count(*), count(DISTINCT k), min(k), max(k), bool_and(t = 'text ' || k)) AS t FROM lake.v";
        assert_eq!(texts(&duck, sums), [format!("{count} {count} 0 {} true", count - 1)], "{name}");
        // Of the row groups of a file, none begins before another one's end.
        let overlapping = format!(
            "SELECT count(*) AS n FROM (SELECT stats_min_value::BIGINT < lag(stats_max_value::BIGINT) OVER \
             (PARTITION BY file_name ORDER BY stats_min_value::BIGINT) AS meets \
             FROM parquet_metadata('{}/files/**/*.parquet') WHERE path_in_schema = 'k') WHERE meets",
            folder.path().display()
        );
        if *more == json!({}) {
            assert_eq!(texts(&duck, &overlapping), ["0"], "{name}");
        }
        let sorted = "SELECT count(*) AS n FROM __ducklake_metadata_lake.ducklake_sort_expression";
        assert_eq!(texts(&duck, sorted), ["1"], "{name}");
        drop(duck);
        // The same table, with another content.
        let content = stream::iter(batches(view.info(), 2, &keys[..50_000])).boxed();
        commit(&mut sink, 2, load(view.info(), content)).await.unwrap();
        assert_eq!(texts(&reader(&lake), "SELECT count(*) AS n FROM lake.v"), ["50000"], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_that_ends_with_an_error_never_was() {
    let folder = tempfile::tempdir().unwrap();
    let lake = catalog(Kind::DuckDb, folder.path());
    let mut sink = sink_with(&lake, folder.path(), &json!({}));
    let (view, keys) = (view("v"), (0..100_000).collect::<Vec<_>>());
    let failing = |keys: &[i64]| {
        let mut items = batches(view.info(), 1, keys);
        items.push(Err(ConnectorError::new(ErrorKind::Retry, "the stream broke")));
        load(view.info(), stream::iter(items).boxed())
    };
    for keys in [&keys[..], &keys[..3]] {
        let error = commit(&mut sink, 1, failing(keys)).await.unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Retry, "the stream broke"));
        assert_eq!(
            texts(&reader(&lake), "SELECT count(*) AS n FROM duckdb_tables() WHERE database_name = 'lake'"),
            ["0"]
        );
    }
    let content = stream::iter(batches(view.info(), 1, &keys)).boxed();
    commit(&mut sink, 1, load(view.info(), content)).await.unwrap();
    assert_eq!(texts(&reader(&lake), "SELECT count(*) AS n FROM lake.v"), ["100000"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_that_met_another_writer_gets_through_the_next_time() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let folder = tempfile::tempdir().unwrap();
        let lake = catalog(kind, folder.path());
        let more = json!({ "data_path": folder.path().join("files") });
        let mut ours = sink_with(&lake, &folder.path().join("ours"), &more);
        let theirs = sink_with(&lake, &folder.path().join("theirs"), &more);
        let theirs = Arc::new(tokio::sync::Mutex::new((theirs, view("theirs"), 0)));
        // Another sink commits in the middle of the content.
        let disturbed = |view: &ViewInfo, epoch, keys: &[i64]| {
            let (theirs, items) = (theirs.clone(), batches(view, epoch, keys));
            let last = batch(view, epoch, &[-1]);
            let other = stream::once(async move {
                let (sink, view, epoch) = &mut *theirs.lock().await;
                *epoch += 1;
                let delta = view.change_to(&format!("({epoch}, 'x')"));
                let change = view.changes([(header(*epoch), delta)]);
                commit(sink, *epoch, change).await.unwrap();
                last
            });
            load(view, stream::iter(items).chain(other).boxed())
        };
        let (view, keys) = (view("ours"), (0..200_000).collect::<Vec<_>>());
        let mut met = 0;
        for epoch in 1..=3 {
            let views = [view.info().clone()];
            ours.open(&views).await.unwrap();
            if let Err(error) = commit(&mut ours, epoch, disturbed(view.info(), epoch, &keys)).await {
                assert_eq!(error.kind(), ErrorKind::Retry, "{kind:?}: {error}");
                met += 1;
                ours.open(&views).await.unwrap();
                commit(&mut ours, epoch, disturbed(view.info(), epoch, &keys)).await.unwrap();
            }
            assert_eq!(texts(&reader(&lake), "SELECT count(*) AS n FROM lake.ours"), ["200001"], "{kind:?}");
        }
        assert!(met > 0, "{kind:?}: nobody was in the way");
        let (_, theirs, _) = &*theirs.lock().await;
        table(&reader(&lake), &theirs.info().name, None).1.assert_equals(&theirs.multiset(), "the other table");
    }
}
