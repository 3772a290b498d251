//! What a commit of one change costs, on tables of two sizes.

use std::time::Instant;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use futures::StreamExt;
use serde_json::json;
use tidegate_core::{
    ChangeType, DeltaBatch, EpochBatch, EpochHeader, RowIdentity, Sink, ViewCommit, ViewContent, ViewInfo,
};
use tidegate_testkit::conformance::model::{ViewModel, header};

use crate::lakes::{KINDS, Kind, catalog, reader, sink_with, texts};
use crate::rows::commit;

const BATCH: i64 = 50_000;

fn batch(view: &ViewInfo, keys: std::ops::Range<i64>, note: &str) -> RecordBatch {
    // Keys come in an order that is not theirs.
    let keys: Vec<_> = keys.map(|key| key.reverse_bits() >> 20).collect();
    let notes: StringArray = keys.iter().map(|key| Some(format!("{note} {key}"))).collect();
    let columns: Vec<arrow::array::ArrayRef> =
        vec![std::sync::Arc::new(Int64Array::from(keys)), std::sync::Arc::new(notes)];
    RecordBatch::try_new(view.schema.clone(), columns).unwrap()
}

fn whole(view: &ViewInfo, rows: i64, header: EpochHeader) -> ViewCommit {
    let info = view.clone();
    let batches = futures::stream::iter(0..rows / BATCH.min(rows)).map(move |index| {
        let size = BATCH.min(rows);
        let rows = batch(&info, index * size..(index + 1) * size, "row");
        let ones = Int64Array::from(vec![1; size as usize]);
        let change = vec![ChangeType::Insert; size as usize];
        let copies_before = Int64Array::from(vec![0; size as usize]);
        let batch = DeltaBatch { rows, weights: ones, change, copies_before };
        Ok(EpochBatch { header: header.clone(), batch })
    });
    ViewCommit { view: view.clone(), content: ViewContent::Replace(batches.boxed()) }
}

fn update(view: &ViewInfo, key: i64, header: EpochHeader) -> ViewCommit {
    let (before, after) = (batch(view, key..key + 1, "row"), batch(view, key..key + 1, "new"));
    let batch = DeltaBatch {
        rows: arrow::compute::concat_batches(&view.schema, [&before, &after]).unwrap(),
        weights: vec![-1, 1].into(),
        change: vec![ChangeType::UpdatePreimage, ChangeType::UpdatePostimage],
        copies_before: vec![1, 0].into(),
    };
    let changes = futures::stream::iter([Ok(EpochBatch { header, batch })]);
    ViewCommit { view: view.clone(), content: ViewContent::Changes(changes.boxed()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_change_costs_about_the_same_in_a_large_table() {
    let cases = KINDS.map(|kind| (kind, RowIdentity::Key(vec![0])));
    for (kind, identity) in cases.into_iter().chain([(Kind::Sqlite, RowIdentity::WholeRow)]) {
        let mut costs = Vec::new();
        for rows in [10_000, 1_000_000] {
            let folder = tempfile::tempdir().unwrap();
            let lake = catalog(kind, folder.path());
            let mut target = sink_with(&lake, folder.path(), &json!({}));
            let view = ViewModel::new("v", &[("k", "BIGINT"), ("note", "VARCHAR")], identity.clone());
            target.open(&[view.info().clone()]).await.unwrap();
            let began = Instant::now();
            commit(&mut target, 1, whole(view.info(), rows, header(1))).await.unwrap();
            let load = began.elapsed().as_millis();
            let mut each = Vec::new();
            for epoch in 2..=8 {
                let began = Instant::now();
                let part = update(view.info(), epoch as i64 * 101, header(epoch));
                commit(&mut target, epoch, part).await.unwrap();
                each.push(began.elapsed().as_millis());
            }
            each.sort_unstable();
            let median = each[each.len() / 2];
            println!("{kind:?} {identity:?} {rows} rows: load {load} ms, one update {median} ms ({each:?})");
            costs.push(median);
            let found = texts(&reader(&lake), "SELECT count(*) FROM lake.v WHERE starts_with(note, 'new')");
            assert_eq!(found, ["7"]);
        }
        assert!(costs[1] < costs[0] * 5 + 100, "{kind:?} {identity:?}: {costs:?} ms for 10,000 and 1,000,000 rows");
    }
}
