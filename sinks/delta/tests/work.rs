//! The cost of a change follows the change: counted at the store.

use std::sync::Arc;

use object_store::memory::InMemory;
use tidegate_core::{Commit, Epoch, RowIdentity, Sink};
use tidegate_sink_delta::{DeltaConfig, DeltaSink, Location};
use tidegate_testkit::Multiset;
use tidegate_testkit::conformance::model::{ViewModel, header};
use tidegate_testkit::rows;

use crate::stores::{Call, Watched};
use crate::suite::clock;

/// What one changed row costs in a table of so many.
struct Cost {
    looked_into: usize,
    rewritten: usize,
    read: u64,
    written: u64,
}

async fn one_row_of(count: u64) -> Cost {
    let watched = Watched::new(Arc::new(InMemory::new()));
    let url = "s3://bucket/lake".to_owned();
    let location = Location::Store { store: watched.clone(), prefix: "lake".into(), url: url.clone() };
    let config = DeltaConfig { target_file_size: 128 << 10, ..DeltaConfig::new(url) };
    let mut target = DeltaSink::new("lake", "shop", location, config, clock());
    let columns = [("id", "BIGINT"), ("text", "VARCHAR"), ("amount", "DECIMAL(12,2)")];
    let view = ViewModel::new("orders", &columns, RowIdentity::Key(vec![0]));
    let info = view.info().clone();
    target.open(std::slice::from_ref(&info)).await.unwrap();
    // In no order: files get their ranges by the sort.
    let all = rows::batch(
        view.schema(),
        &format!(
            "(0, '', 0); INSERT INTO t SELECT i, md5(i::VARCHAR), (i % 100000) / 100 \
         FROM range(1, {count}) AS r(i) ORDER BY hash(i)"
        ),
    );
    let entries = all.num_rows();
    assert_eq!(entries as u64, count);
    let whole = tidegate_core::DeltaBatch {
        rows: all,
        weights: vec![1; entries].into(),
        change: vec![tidegate_core::ChangeType::Insert; entries],
        copies_before: vec![0; entries].into(),
    };
    let batch = tidegate_core::EpochBatch { header: header(1), batch: whole };
    let stream = Box::pin(futures::stream::iter([Ok(batch)]));
    let content = tidegate_core::ViewContent::Replace(stream);
    let part = tidegate_core::ViewCommit { view: info.clone(), content };
    target.commit(Commit { after: Epoch(0), header: header(1), views: vec![part] }).await.unwrap();
    let files = data_files(&watched.take(), |call| matches!(call, Call::Put { .. }));
    assert!(files > count as usize / 20_000, "{files} files");
    // One row in the middle: its preimage is what was written.
    let id = count / 2;
    let mut changed = ViewModel::new("orders", &columns, RowIdentity::Key(vec![0]));
    changed.change_to(&format!("({id}, md5('{id}'), ({id} % 100000) / 100)"));
    let delta = changed.change_to(&format!("({id}, 'changed', 1.5)"));
    let part = changed.changes([(header(2), delta)]);
    target.commit(Commit { after: Epoch(1), header: header(2), views: vec![part] }).await.unwrap();
    let calls = watched.take();
    let bytes = |of: fn(&Call) -> u64| calls.iter().map(of).sum();
    Cost {
        looked_into: {
            let mut paths: Vec<_> = calls
                .iter()
                .filter_map(|call| match call {
                    Call::Get { path, .. } if path.ends_with(".parquet") => Some(path.clone()),
                    _ => None,
                })
                .collect();
            paths.sort();
            paths.dedup();
            paths.len()
        },
        rewritten: data_files(&calls, |call| matches!(call, Call::Put { path, .. } if !path.contains("_change_data"))),
        read: bytes(|call| if let Call::Get { bytes, .. } = call { *bytes } else { 0 }),
        written: bytes(|call| if let Call::Put { bytes, .. } = call { *bytes } else { 0 }),
    }
}

fn data_files(calls: &[Call], which: fn(&Call) -> bool) -> usize {
    let is_data = |call: &&Call| matches!(call, Call::Put { path, .. } if path.ends_with(".parquet"));
    calls.iter().filter(is_data).filter(|call| which(call)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_row_costs_one_file_whatever_the_table() {
    let (small, large) = (one_row_of(100_000).await, one_row_of(1_000_000).await);
    for cost in [&small, &large] {
        assert_eq!((cost.looked_into, cost.rewritten), (1, 1));
        assert!(cost.read < 600 << 10 && cost.written < 400 << 10, "{} read, {} written", cost.read, cost.written);
    }
    println!("1 row of 100,000: {} bytes read, {} written", small.read, small.written);
    println!("1 row of 1,000,000: {} bytes read, {} written", large.read, large.written);
    assert!(large.written < small.written * 3 / 2 && large.read < small.read * 3 / 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_without_a_key_are_found_by_their_bounds() {
    let watched = Watched::new(Arc::new(InMemory::new()));
    let url = "s3://bucket/lake".to_owned();
    let location = Location::Store { store: watched.clone(), prefix: "lake".into(), url: url.clone() };
    let config = DeltaConfig { target_file_size: 8 << 10, ..DeltaConfig::new(url) };
    let mut target = DeltaSink::new("lake", "shop", location, config, clock());
    let columns = [("a", "INTEGER"), ("b", "VARCHAR"), ("c", "DOUBLE")];
    let mut view = ViewModel::new("whole", &columns, RowIdentity::WholeRow);
    let all = "SELECT i // 3, md5((i // 3)::VARCHAR), CASE WHEN i % 1000 = 0 THEN 'nan'::DOUBLE ELSE i // 3 END FROM range(30000) AS r(i)";
    let all = rows::batch(view.schema(), &format!("(0, '', 0); DELETE FROM t; INSERT INTO t {all}"));
    view.change_to_batch(&all);
    target.open(&[view.info().clone()]).await.unwrap();
    let views = vec![view.replacement(header(1))];
    target.commit(Commit { after: Epoch(0), header: header(1), views }).await.unwrap();
    let files = data_files(&watched.take(), |_| true);
    assert!(files >= 6, "{files}");
    // One of three copies goes.
    let fewer = arrow::compute::concat_batches(view.schema(), [&all.slice(0, 15_001), &all.slice(15_002, 14_998)]);
    let delta = view.change_to_batch(&fewer.unwrap());
    let views = vec![view.changes([(header(2), delta)])];
    target.commit(Commit { after: Epoch(1), header: header(2), views }).await.unwrap();
    let written = watched.take();
    let data = |call: &Call| matches!(call, Call::Put { path, .. } if !path.contains("_change_data"));
    assert!(data_files(&written, data) <= 2, "copies may lie on both sides of a file's end");
    use futures::TryStreamExt;
    let zsets: Vec<_> = target.read(view.info()).await.unwrap().try_collect().await.unwrap();
    Multiset::of_zsets(&zsets).assert_equals(&view.multiset(), "the table");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_in_order_only_at_first_are_sorted_as_a_whole() {
    use futures::TryStreamExt;
    use object_store::{ObjectStore, ObjectStoreExt};
    let memory = Arc::new(InMemory::new());
    let url = "s3://bucket/lake".to_owned();
    let location = Location::Store { store: memory.clone(), prefix: "lake".into(), url: url.clone() };
    let config = DeltaConfig { target_file_size: 64 << 10, ..DeltaConfig::new(url) };
    let mut target = DeltaSink::new("lake", "shop", location, config, clock());
    let mut view = ViewModel::new("late", &[("id", "BIGINT"), ("text", "VARCHAR")], RowIdentity::Key(vec![0]));
    let all = "SELECT i, md5(i::VARCHAR) FROM range(40000) AS r(i)";
    let all = rows::batch(view.schema(), &format!("(-1, ''); DELETE FROM t; INSERT INTO t {all}"));
    view.change_to_batch(&all);
    let part = |from: usize| {
        let batch = tidegate_core::DeltaBatch {
            rows: all.slice(from, 10_000),
            weights: vec![1; 10_000].into(),
            change: vec![tidegate_core::ChangeType::Insert; 10_000],
            copies_before: vec![0; 10_000].into(),
        };
        Ok(tidegate_core::EpochBatch { header: header(1), batch })
    };
    let stream = Box::pin(futures::stream::iter([10_000, 20_000, 0, 30_000].map(part)));
    let content = tidegate_core::ViewContent::Replace(stream);
    target.open(&[view.info().clone()]).await.unwrap();
    let views = vec![tidegate_core::ViewCommit { view: view.info().clone(), content }];
    target.commit(Commit { after: Epoch(0), header: header(1), views }).await.unwrap();
    let zsets: Vec<_> = target.read(view.info()).await.unwrap().try_collect().await.unwrap();
    Multiset::of_zsets(&zsets).assert_equals(&view.multiset(), "the table");
    // What was written of the order at first is gone again, and each file has a range of its own.
    let found: Vec<_> = memory.list(None).try_collect().await.unwrap();
    let files = found.iter().filter(|object| object.location.as_ref().ends_with(".parquet")).count();
    let log = found.iter().find(|object| object.location.as_ref().ends_with(".json")).unwrap();
    let log = memory.get(&log.location).await.unwrap().bytes().await.unwrap();
    let entries = log.split(|byte| *byte == b'\n').filter_map(|line| {
        let entry: serde_json::Value = serde_json::from_slice(line).ok()?;
        let stats: serde_json::Value = serde_json::from_str(entry["add"]["stats"].as_str()?).ok()?;
        Some((stats["minValues"]["id"].as_i64()?, stats["maxValues"]["id"].as_i64()?))
    });
    let mut ranges: Vec<_> = entries.collect();
    ranges.sort_unstable();
    assert_eq!(files, ranges.len());
    assert!(files > 4 && ranges.windows(2).all(|pair| pair[0].1 < pair[1].0), "{ranges:?}");
}
