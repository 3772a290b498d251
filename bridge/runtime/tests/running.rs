//! The undisturbed loop.

use std::time::Duration;

use tidegate_core::{Epoch, Frontier, Micros, Position, SnapshotId, SourceId, TableEvent, ZSet};
use tidegate_runtime::{RunUntil, RuntimeError, StopSignal, read_status};
use tidegate_testkit::MemorySource;
use tokio::time::timeout;

use crate::harness::{Harness, batch, rows, table, view};
use crate::live::{Ear, PATIENCE};

#[tokio::test(flavor = "multi_thread")]
async fn the_first_run_loads_and_later_ones_follow() {
    let h = Harness::new();
    let summary = h.once().await.unwrap();
    assert_eq!((summary.epochs, summary.epoch, summary.source_rows), (1, Epoch(1), 3));
    assert_eq!(summary.frontier.to_string(), r#"{"memory:lake":{"snapshot_id":1}}"#);
    assert_eq!(summary.view_rows[&"a".into()], 3);
    h.assert_current();

    h.source.commit([rows("t", &[3, 4], 1)]);
    h.source.commit([rows("t", &[2], -1)]);
    let summary = h.once().await.unwrap();
    assert_eq!((summary.epochs, summary.epoch, summary.source_rows), (1, Epoch(2), 3));
    assert_eq!(summary.view_rows[&"b".into()], 3);
    h.assert_current();
    assert_eq!(h.commits(), [(0, 1, true), (1, 2, false)]);
    assert_eq!(h.source.acknowledged(), Some(Position::SnapshotId(SnapshotId(3))));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_new_makes_no_epoch_and_no_commit() {
    let h = Harness::new();
    h.once().await.unwrap();
    let hash = h.sinks[0].committed(&"a".into());
    for _ in 0..3 {
        h.source.progress();
        h.source.commit([rows("u", &[], 1)]);
        let summary = h.once().await.unwrap();
        assert_eq!((summary.epochs, summary.epoch), (0, Epoch(1)));
    }
    assert_eq!(h.commits().len(), 1);
    assert_eq!(h.sinks[0].committed(&"a".into()), hash);
    let status = read_status(&h.state_dir()).unwrap().unwrap();
    assert_eq!(status.frontier.to_string(), r#"{"memory:lake":{"snapshot_id":7}}"#, "progress is remembered");
    assert!(!status.running);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_pipeline_object_runs_many_times() {
    let h = Harness::new();
    let mut pipeline = h.open().await.unwrap();
    for id in 10..20 {
        pipeline.run_once().await.unwrap();
        h.assert_current();
        h.source.commit([rows("t", &[id, id], 1), rows("t", &[id], -1)]);
    }
    assert_eq!(pipeline.run_once().await.unwrap().epoch, Epoch(11));
    h.assert_current();
}

#[tokio::test(flavor = "multi_thread")]
async fn epoch_time_is_monotone_whatever_the_clock_does() {
    let h = Harness::new();
    let mut times = Vec::new();
    h.once().await.unwrap();
    for time in [5_000_000, 3_000_000, 9_000_000] {
        h.source.commit_at(Micros(time), [rows("t", &[time], 1)]);
        h.once().await.unwrap();
    }
    times.extend(h.sinks[0].log().iter().map(|commit| commit.header.time.0));
    assert_eq!(times, [1_000_000, 5_000_000, 5_000_001, 9_000_000]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_on_rows_cuts_at_transactions() {
    let mut h = Harness::new();
    h.tune = |config| {
        config.epoch_rows_max = 2;
        config.staging_bytes_max = 1;
        config.pending_bytes_max = 1;
    };
    h.once().await.unwrap();
    for id in 0..6 {
        h.source.commit([rows("t", &[id, id + 100], 1)]);
    }
    let summary = h.once().await.unwrap();
    assert_eq!((summary.epochs, summary.epoch), (6, Epoch(7)));
    h.assert_current();
    assert_eq!(h.commits(), [(0, 1, true), (1, 7, false)], "one commit for the range");
    assert_eq!(h.sinks[0].log()[1].changes[&"a".into()].len(), 6, "its epochs are kept apart");
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_until_a_frontier_an_epoch_or_a_signal() {
    let mut h = Harness::new();
    h.tune = |config| config.epoch_rows_max = 1;
    h.once().await.unwrap();
    for id in 0..6 {
        h.source.commit([rows("t", &[id], 1)]);
    }
    let at =
        |snapshot| Frontier::new().with(SourceId::new("memory", "lake"), Position::SnapshotId(SnapshotId(snapshot)));
    let mut pipeline = h.open().await.unwrap();
    let summary = pipeline.run(RunUntil::Frontier(at(3)), StopSignal::new()).await.unwrap();
    assert_eq!((summary.epoch, summary.frontier), (Epoch(3), at(3)));
    let summary = pipeline.run(RunUntil::Epoch(Epoch(5)), StopSignal::new()).await.unwrap();
    assert_eq!(summary.epoch, Epoch(5));
    let stop = StopSignal::new();
    let (source, signal, sink) = (h.source.clone(), stop.clone(), h.sinks[0].clone());
    let writer = tokio::spawn(async move {
        source.commit([rows("t", &[77], 1)]);
        while sink.committed(&"b".into()).is_none_or(|committed| committed.epoch < Epoch(8)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        signal.stop();
    });
    let summary = pipeline.run(RunUntil::Stopped, stop).await.unwrap();
    writer.await.unwrap();
    assert_eq!(summary.epoch, Epoch(8));
    h.assert_current();
    drop(pipeline);
    assert_eq!(h.open().await.unwrap().epoch(), Epoch(8));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_waits_for_its_frontier() {
    let h = Harness::new();
    let at =
        |snapshot| Frontier::new().with(SourceId::new("memory", "lake"), Position::SnapshotId(SnapshotId(snapshot)));
    let (ear, stop) = (Ear::new(), StopSignal::new());
    let mut pipeline = h.open_with(ear.clone()).await.unwrap();
    let signal = stop.clone();
    let waiting = tokio::spawn(async move { (pipeline.run(RunUntil::Frontier(at(3)), signal).await, pipeline) });
    // Sinks follow meanwhile, and the source has nothing more each time it is asked.
    for snapshot in [1, 2] {
        ear.until(|| h.sinks[0].committed(&"b".into()).is_some_and(|held| held.epoch == Epoch(snapshot))).await;
        assert!(!waiting.is_finished());
        h.source.commit([rows("t", &[snapshot as i64], 1)]);
    }
    let (summary, mut pipeline) = timeout(PATIENCE, waiting).await.expect("the frontier is reached").unwrap();
    assert_eq!(summary.unwrap().frontier, at(3));
    h.assert_current();
    // One that is stopped has not reached it, and says so.
    let waits = tokio::spawn({
        let stop = stop.clone();
        async move { pipeline.run(RunUntil::Frontier(at(9)), stop).await }
    });
    h.source.commit([rows("t", &[8], 1)]);
    ear.hears(4).await;
    stop.stop();
    let stopped = timeout(PATIENCE, waits).await.expect("it stops").unwrap();
    assert!(matches!(stopped, Err(RuntimeError::StoppedWhileWaiting { .. })), "{stopped:?}");
    h.assert_current();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sources_share_an_epoch() {
    let mut h = Harness::new();
    let mut schema = table("t", &[]);
    schema.name.source = "app".to_owned();
    let app = MemorySource::new("app", [schema.clone()]);
    let insert = |id| {
        let rows = TableEvent::Rows(ZSet::uniform(batch(&table("t", &[]), &[id]), 1));
        (schema.name.clone(), rows)
    };
    h.views.push(view("c", "SELECT * FROM app.t"));
    h.more.push(app.clone());
    h.once().await.unwrap();
    app.commit([insert(1)]);
    h.source.commit([rows("t", &[5], 1)]);
    let summary = h.once().await.unwrap();
    assert_eq!((summary.epochs, summary.source_rows), (1, 2));
    assert_eq!(summary.frontier.to_string(), r#"{"memory:app":{"snapshot_id":1},"memory:lake":{"snapshot_id":2}}"#);
    app.commit([insert(2)]);
    let summary = h.once().await.unwrap();
    assert_eq!((summary.epochs, summary.view_rows[&"a".into()], summary.view_rows[&"c".into()]), (1, 0, 1));
    assert_eq!(h.sinks[0].contents(&"c".into()).unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_shows_all_faults_and_writes_nothing() {
    let mut h = Harness::new();
    h.views.push(view("c", "SELECT * FROM lake.tt"));
    h.views.push(view("d", "SELECT * FROM lke.t"));
    h.views.push(view("e", "SELECT * FROM bb"));
    let report = h.check().await;
    assert!(report.program.is_none());
    assert!(report.views[&"a".into()].is_ok() && report.views[&"b".into()].is_ok());
    let fault = |view: &str| report.views[&view.into()].as_ref().unwrap_err().clone();
    assert_eq!(fault("c"), "view c: there is no table lake.tt; did you mean `lake.t`?");
    assert_eq!(
        fault("d"),
        "view d: lke.t names the source lke, which the pipeline does not have; did you mean `lake`?"
    );
    assert_eq!(fault("e"), "view e: there is no view bb, and tables are written source.table; did you mean `b`?");
    let error = h.open().await.map(drop).unwrap_err();
    assert_eq!(error.kind(), tidegate_core::ErrorKind::Reconfigure);
    assert_eq!(error.to_string().lines().count(), 3, "{error}");
    assert!(!h.state_dir().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_and_two_pipelines_are_kept_apart() {
    let h = Harness::new();
    let first = h.open().await.unwrap();
    let error = h.open().await.map(drop).unwrap_err();
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    drop(first);
    h.once().await.unwrap();
    let mut other = Harness { tune: |config| config.name = "bank".to_owned(), ..Harness::new() };
    other.dir = h.dir;
    let error = other.open().await.map(drop).unwrap_err();
    assert!(error.to_string().contains("\"shop\"") && error.to_string().contains("\"bank\""), "{error}");
}
