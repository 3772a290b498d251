//! The lines themselves, and a million of them.

use std::fs;

use arrow::array::{Int64Array, RecordBatch};
use futures::{StreamExt, TryStreamExt, stream};
use tidegate_core::{
    ChangeType, Commit, CommitOutcome, DeltaBatch, Epoch, EpochBatch, Removal, RowIdentity, Sink, ViewCommit,
    ViewContent, ZSet,
};
use tidegate_testkit::conformance::model::{ViewModel, header};

use crate::suite::sink;

#[tokio::test]
async fn lines_of_a_view_that_is_removed_stay() {
    let folder = tempfile::tempdir().unwrap();
    let mut target = sink(folder.path());
    let (mut view, name) = (ViewModel::new("numbers", &[("n", "BIGINT")], RowIdentity::WholeRow), "numbers".into());
    assert_eq!(target.remove(&name).await.unwrap(), Removal::Nothing);
    let delta = view.change_to("(1), (2)");
    let views = vec![view.changes([(header(1), delta)])];
    target.commit(Commit { after: Epoch(0), header: header(1), views }).await.unwrap();
    let before = fs::read(folder.path().join("out/changes.jsonl")).unwrap();
    for _ in 0..2 {
        let kept = target.remove(&name).await.unwrap();
        assert!(matches!(&kept, Removal::Kept(reason) if reason.contains("lines")), "{kept:?}");
    }
    assert_eq!(fs::read(folder.path().join("out/changes.jsonl")).unwrap(), before);
    assert_eq!(target.remove(&"others".into()).await.unwrap(), Removal::Nothing);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_are_the_documented_ones() {
    let folder = tempfile::tempdir().unwrap();
    let mut target = sink(folder.path());
    let columns = [("id", "INTEGER"), ("sum(x)", "HUGEINT"), ("price", "DECIMAL(5,2)")];
    let mut view = ViewModel::new("orders", &columns, RowIdentity::Key(vec![0]));
    let first = view.change_to("(1, 2, 1.5)");
    let views = vec![view.changes([(header(1), first)])];
    target.commit(Commit { after: Epoch(0), header: header(1), views }).await.unwrap();
    let second = view.change_to("(1, 9007199254740992, NULL)");
    let views = vec![view.changes([(header(2), second)])];
    target.commit(Commit { after: Epoch(1), header: header(2), views }).await.unwrap();
    let text = fs::read_to_string(folder.path().join("out/changes.jsonl")).unwrap();
    let commit = |epoch: u64| {
        format!(
            "{{\"commit\":{epoch},\"hash\":\"{}\",\"frontier\":{{\"ducklake:lake\":{{\"snapshot_id\":{}}}}},\
             \"time\":\"2023-11-14T22:13:20.00000{epoch}Z\",\"committed_at\":\"2023-11-14T22:13:20.000000Z\",\
             \"views\":[\"orders\"],\"others\":{{}}}}",
            header(epoch).hash,
            epoch * 10
        )
    };
    let time = |epoch: u64| format!("\"epoch\":{epoch},\"time\":\"2023-11-14T22:13:20.00000{epoch}Z\"");
    let before = r#""row":{"id":1,"sum(x)":2,"price":"1.50"}"#;
    let expected = [
        r#"{"view":"orders","columns":[{"name":"id","type":"INTEGER","nullable":true},{"name":"sum(x)","type":"HUGEINT","nullable":true},{"name":"price","type":"DECIMAL(5,2)","nullable":true}],"key":["id"]}"#.to_owned(),
        r#"{"view":"orders","replace":true,"epoch":1}"#.to_owned(),
        format!(r#"{{"view":"orders","change":"insert",{},{before}}}"#, time(1)),
        commit(1),
        format!(r#"{{"view":"orders","change":"update_preimage",{},{before}}}"#, time(2)),
        format!(
            r#"{{"view":"orders","change":"update_postimage",{},"row":{{"id":1,"sum(x)":"9007199254740992","price":null}}}}"#,
            time(2)
        ),
        commit(2),
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_rows() {
    const BATCHES: i64 = 50;
    const ROWS: i64 = 20_000;
    let folder = tempfile::tempdir().unwrap();
    let mut target = sink(folder.path());
    let view = ViewModel::new("v", &[("k", "BIGINT")], RowIdentity::WholeRow);
    let schema = view.schema().clone();
    let batches = stream::iter(0..BATCHES).map(move |batch| {
        let keys = Int64Array::from_iter_values(batch * ROWS..(batch + 1) * ROWS);
        let rows = RecordBatch::try_new(schema.clone(), vec![std::sync::Arc::new(keys)]).unwrap();
        let weights: Int64Array = (0..ROWS).map(|row| if row == 0 { 3 } else { 1 }).collect();
        let (change, copies_before) = (vec![ChangeType::Insert; ROWS as usize], vec![0; ROWS as usize].into());
        Ok(EpochBatch { header: header(7), batch: DeltaBatch { rows, weights, change, copies_before } })
    });
    let views = vec![ViewCommit { view: view.info().clone(), content: ViewContent::Replace(batches.boxed()) }];
    let outcome = target.commit(Commit { after: Epoch(0), header: header(7), views }).await.unwrap();
    assert_eq!(outcome, CommitOutcome::Committed { rows: (BATCHES * (ROWS + 2)) as u64 });
    let zsets: Vec<ZSet> = target.read(view.info()).await.unwrap().try_collect().await.unwrap();
    let weights: i64 = zsets.iter().flat_map(|zset| zset.weights().values().iter()).sum();
    assert_eq!((zsets.iter().map(ZSet::len).sum::<usize>(), weights), (1_000_000, BATCHES * (ROWS + 2)));
}
