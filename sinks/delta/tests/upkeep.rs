//! Maintenance: what it does to files and log, and that it does nothing to rows.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tidegate_core::{Commit, Committed, Epoch, Micros, RowIdentity, Sink};
use tidegate_sink_delta::{DeltaConfig, DeltaSink, Location};
use tidegate_testkit::conformance::model::{ViewModel, header};

use crate::python::{content, feed, python};
use crate::random::{query, reader, rows, table};

const DAY: i64 = 24 * 3600 * 1_000_000;

/// A sink whose clock is set by the test, in microseconds from now on.
fn sink(folder: &Path, config: DeltaConfig, later: &Arc<AtomicI64>) -> DeltaSink {
    let later = later.clone();
    let clock = move || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Micros(now.as_micros() as i64 + later.load(Ordering::Relaxed))
    };
    DeltaSink::new("lake", "shop", Location::Folder(folder.join("out/lake")), config, Arc::new(clock))
}

fn pairs() -> ViewModel {
    ViewModel::new("pairs", &[("k", "BIGINT"), ("v", "VARCHAR")], RowIdentity::Key(vec![0]))
}

/// A row more with each epoch, and now and then one that changes.
async fn grow(target: &mut DeltaSink, view: &mut ViewModel, epochs: std::ops::RangeInclusive<u64>) {
    for epoch in epochs {
        let values: Vec<_> = (1..=epoch).map(|k| format!("({k}, 'v{}')", if k % 5 == 0 { epoch } else { 0 })).collect();
        let delta = view.change_to(&values.join(", "));
        let views = vec![view.changes([(header(epoch), delta)])];
        target.commit(Commit { after: Epoch(epoch - 1), header: header(epoch), views }).await.unwrap();
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn data_files(table: &Path) -> usize {
    names(table).iter().filter(|name| name.ends_with(".parquet")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn small_files_are_merged_and_nothing_else_changes() {
    for z_order in [Vec::new(), vec!["V".to_owned(), "k".to_owned()]] {
        let (folder, later) = (tempfile::tempdir().unwrap(), Arc::new(AtomicI64::new(0)));
        let config = DeltaConfig { optimize_after: 4, z_order, ..DeltaConfig::new("out/lake") };
        let mut target = sink(folder.path(), config, &later);
        let mut view = pairs();
        target.open(&[view.info().clone()]).await.unwrap();
        grow(&mut target, &mut view, 1..=4).await;
        let place = table(folder.path(), "pairs");
        let fed = feed(&place, 0).len();
        target.maintain().await.unwrap();
        let history = python("history", &place, None);
        assert_eq!((history[0]["operation"].as_str(), history[0]["version"].as_i64()), (Some("OPTIMIZE"), Some(4)));
        assert_eq!(history[0]["tidegate"]["merged"], 4, "{history}");
        assert_eq!(feed(&place, 0).len(), fed, "moved rows are no changes");
        content(&place).assert_equals(&view.multiset(), "after merging");
        // There is nothing more to do.
        target.maintain().await.unwrap();
        assert_eq!(python("history", &place, None).as_array().unwrap().len(), 5);
        grow(&mut target, &mut view, 5..=6).await;
        content(&place).assert_equals(&view.multiset(), "after more commits");
        rows(&reader(), &query(folder.path(), &view)).assert_equals(&view.multiset(), "as DuckDB reads it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_old_goes_and_the_epoch_stays() {
    let (folder, later) = (tempfile::tempdir().unwrap(), Arc::new(AtomicI64::new(0)));
    let config = DeltaConfig { checkpoint_interval: 5, optimize_after: 3, ..DeltaConfig::new("out/lake") };
    let mut target = sink(folder.path(), config.clone(), &later);
    let mut view = pairs();
    target.open(&[view.info().clone()]).await.unwrap();
    grow(&mut target, &mut view, 1..=4).await;
    let place = table(folder.path(), "pairs");
    let log = place.join("_delta_log");
    let has_checkpoint = |log: &Path| names(log).iter().any(|name| name.contains("checkpoint.parquet"));
    target.maintain().await.unwrap();
    assert!(has_checkpoint(&log), "with the merge there are five commits");
    let entries = |log: &Path| names(log).iter().filter(|name| name.ends_with(".json")).count();
    assert_eq!(entries(&log), 5);
    let files = data_files(&place);
    assert!(files > 3, "old files stay for readers of old versions");
    // An orphan of a commit that never was, and something of somebody else.
    std::fs::write(place.join("epoch-9-abc-00000.zstd.parquet"), "x").unwrap();
    std::fs::write(place.join("notes.txt"), "x").unwrap();
    later.store(8 * DAY, Ordering::Relaxed);
    target.maintain().await.unwrap();
    assert_eq!(data_files(&place), 1, "{:?}", names(&place));
    assert!(place.join("notes.txt").exists());
    content(&place).assert_equals(&view.multiset(), "after a vacuum");
    later.store(31 * DAY, Ordering::Relaxed);
    grow(&mut target, &mut view, 5..=10).await;
    target.maintain().await.unwrap();
    assert!(entries(&log) < 11, "{:?}", names(&log));
    // What the table stands at is in the checkpoint, with its hash.
    let last = names(&log).into_iter().filter(|name| name.ends_with(".json")).max().unwrap();
    std::fs::remove_file(log.join(last)).unwrap();
    let mut target = sink(folder.path(), config, &later);
    let found = target.open(&[view.info().clone()]).await.unwrap()[&view.info().name];
    assert_eq!(found, Some(Committed { epoch: Epoch(10), hash: header(10).hash }));
    grow(&mut target, &mut view, 11..=12).await;
    content(&place).assert_equals(&view.multiset(), "after the clean-up");
    rows(&reader(), &query(folder.path(), &view)).assert_equals(&view.multiset(), "as DuckDB reads it");
}
