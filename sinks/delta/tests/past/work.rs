//! The cost of a change follows the change, not the rows nor the past: counted at the store.

use std::sync::Arc;

use object_store::memory::InMemory;
use tidegate_core::{Commit, Epoch, RowIdentity, Sink};
use tidegate_sink_delta::{DeltaConfig, DeltaSink, Location};
use tidegate_testkit::conformance::model::{ViewModel, header};
use tidegate_testkit::rows;

use super::FOR_EVER;
use crate::stores::{Call, Watched};
use crate::suite::clock;

const COLUMNS: [(&str, &str); 2] = [("id", "BIGINT"), ("text", "VARCHAR")];

/// Bytes that one changed row reads and writes of a history with so many rows, all of which have changed so often.
async fn one_row_of(count: u64, often: u64) -> (usize, u64, u64) {
    let watched = Watched::new(Arc::new(InMemory::new()));
    let url = "s3://bucket/lake".to_owned();
    let location = Location::Store { store: watched.clone(), prefix: "lake".into(), url: url.clone() };
    let config = DeltaConfig { target_file_size: 64 << 10, ..DeltaConfig::new(url) };
    let mut target = DeltaSink::new("lake", "shop", location, config, clock());
    let mut view = ViewModel::new("orders", &COLUMNS, RowIdentity::Key(vec![0])).with_history(FOR_EVER);
    target.open(&[view.info().clone()]).await.unwrap();
    for epoch in 1..=often + 1 {
        let all =
            format!("(0, ''); INSERT INTO t SELECT i, md5((i * {epoch})::VARCHAR) FROM range(1, {count}) AS r(i)");
        let all = rows::batch(view.schema(), &all);
        let delta = view.change_to_batch(&all);
        let part = if epoch == 1 { view.replacement(header(1)) } else { view.changes([(header(epoch), delta)]) };
        let commit = Commit { after: Epoch(epoch - 1), header: header(epoch), views: vec![part] };
        target.commit(commit).await.unwrap();
    }
    watched.take();
    let (id, epoch) = (count / 2, often + 2);
    let mut changed = ViewModel::new("orders", &COLUMNS, RowIdentity::Key(vec![0])).with_history(FOR_EVER);
    changed.change_to(&format!("({id}, md5(({id} * {})::VARCHAR))", often + 1));
    let delta = changed.change_to(&format!("({id}, 'changed')"));
    let part = changed.changes([(header(epoch), delta)]);
    target.commit(Commit { after: Epoch(epoch - 1), header: header(epoch), views: vec![part] }).await.unwrap();
    let calls: Vec<_> = watched.take().into_iter().filter(is_history).collect();
    let mut read: Vec<_> =
        calls.iter().filter_map(|call| if let Call::Get { path, .. } = call { Some(path) } else { None }).collect();
    read.retain(|path| path.ends_with(".parquet"));
    read.sort();
    read.dedup();
    let bytes = |of: fn(&Call) -> u64| calls.iter().map(of).sum();
    (
        read.len(),
        bytes(|call| if let Call::Get { bytes, .. } = call { *bytes } else { 0 }),
        bytes(|call| if let Call::Put { bytes, .. } = call { *bytes } else { 0 }),
    )
}

fn is_history(call: &Call) -> bool {
    match call {
        Call::Get { path, .. } | Call::Put { path, .. } => path.contains("orders_history/"),
        Call::List => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_row_costs_one_file_whatever_the_past() {
    let (small, large, old) = (one_row_of(10_000, 0).await, one_row_of(40_000, 0).await, one_row_of(10_000, 5).await);
    println!("10,000 rows: {small:?}; 40,000 rows: {large:?}; 10,000 rows that changed 5 times: {old:?}");
    for (files, read, written) in [small, large, old] {
        assert_eq!(files, 1);
        assert!(read < 400 << 10 && written < 200 << 10, "{read} read, {written} written");
    }
}
