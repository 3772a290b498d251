//! Sinks that work beside the loop: slow ones, full ones, ones that are left behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use tidegate_core::{
    Commit, CommitOutcome, Committed, ConnectorError, Epoch, ErrorKind, Removal, Sink, TableEvent, ViewInfo, ViewName,
    ZSet,
};
use tidegate_runtime::{OnSinkFailure, Pipeline, RunUntil, RuntimeError, SinkSlot, SinkState, StopSignal, read_status};
use tidegate_testkit::{MemorySink, SinkFault};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::harness::{Harness, batch, rows, table, view};
use crate::live::{Ear, PATIENCE, ends, run};

/// A sink that does nothing while its gate is shut.
struct Gated {
    inner: MemorySink,
    open: watch::Receiver<bool>,
    begun: Arc<watch::Sender<u64>>,
    maintained: Arc<AtomicU64>,
    maintenance: Maintenance,
}

#[derive(Clone, Copy)]
enum Maintenance {
    Counted,
    Fails,
    NeverEnds,
}

struct Gate {
    open: watch::Sender<bool>,
    begun: Arc<watch::Sender<u64>>,
    maintained: Arc<AtomicU64>,
}

impl Gate {
    fn around(inner: &MemorySink, maintenance: Maintenance) -> (Gate, SinkSlot) {
        let (open, receiver) = watch::channel(true);
        let gate = Gate { open, begun: Arc::new(watch::Sender::new(0)), maintained: Arc::default() };
        let sink = Gated {
            inner: inner.clone(),
            open: receiver,
            begun: gate.begun.clone(),
            maintained: gate.maintained.clone(),
            maintenance,
        };
        (gate, SinkSlot { sink: Box::new(sink), views: None, commits: None })
    }

    fn shut(&self) {
        self.open.send_replace(false);
    }

    fn open(&self) {
        self.open.send_replace(true);
    }

    async fn has_begun(&self, commits: u64) {
        let mut begun = self.begun.subscribe();
        timeout(PATIENCE, begun.wait_for(|begun| *begun >= commits)).await.expect("a commit begins").unwrap();
    }
}

#[async_trait]
impl Sink for Gated {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn default_commit_interval(&self) -> Duration {
        self.inner.default_commit_interval()
    }

    async fn open(&mut self, views: &[ViewInfo]) -> Result<BTreeMap<ViewName, Option<Committed>>, ConnectorError> {
        self.inner.open(views).await
    }

    async fn commit(&mut self, commit: Commit) -> Result<CommitOutcome, ConnectorError> {
        self.begun.send_modify(|begun| *begun += 1);
        self.open.wait_for(|open| *open).await.expect("the test holds the gate");
        self.inner.commit(commit).await
    }

    async fn maintain(&mut self) -> Result<(), ConnectorError> {
        self.maintained.fetch_add(1, Ordering::SeqCst);
        match self.maintenance {
            Maintenance::Counted => Ok(()),
            Maintenance::Fails => Err(ConnectorError::new(ErrorKind::Stop, "the broom is broken")),
            Maintenance::NeverEnds => std::future::pending().await,
        }
    }

    async fn read(
        &mut self,
        view: &ViewInfo,
    ) -> Result<BoxStream<'static, Result<ZSet, ConnectorError>>, ConnectorError> {
        self.inner.read(view).await
    }

    async fn remove(&mut self, view: &ViewName) -> Result<Removal, ConnectorError> {
        self.inner.remove(view).await
    }
}

/// The harness's pipeline with its last sink behind a gate.
async fn gated(h: &Harness, ear: Arc<Ear>, maintenance: Maintenance) -> (Gate, Pipeline) {
    let mut connectors = h.connectors();
    let (gate, slot) = Gate::around(h.sinks.last().unwrap(), maintenance);
    *connectors.sinks.last_mut().unwrap() = slot;
    (gate, Pipeline::open(h.config(), connectors, ear).await.unwrap())
}

fn two_sinks() -> Harness {
    let mut h = Harness::new();
    h.sinks.push(MemorySink::new("other"));
    h
}

/// Waits until nothing of the first epoch is under way any more.
async fn all_hold_the_first_epoch(h: &Harness, ear: &Ear) {
    let holds = |sink: &MemorySink| sink.committed(&"a".into()).is_some_and(|held| held.epoch == Epoch(1));
    ear.until(|| h.sinks.iter().all(holds)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_sink_holds_up_neither_epochs_nor_other_sinks() {
    let h = two_sinks();
    let ear = Ear::new();
    let (gate, pipeline) = gated(&h, ear.clone(), Maintenance::Counted).await;
    let (stop, running) = run(pipeline);
    let holds =
        |sink: usize, epoch| h.sinks[sink].committed(&"a".into()).is_some_and(|held| held.epoch == Epoch(epoch));
    ear.until(|| holds(0, 1) && holds(1, 1)).await;
    gate.shut();
    for id in 10..20 {
        h.source.commit([rows("t", &[id], 1)]);
        ear.until(|| holds(0, id as u64 - 8)).await;
    }
    gate.has_begun(2).await;
    assert!(holds(1, 1), "the other one waits");
    gate.open();
    ear.until(|| holds(1, 11)).await;
    stop.stop();
    ends(running).await.unwrap();
    h.assert_current();
    let ranges: Vec<_> = h.sinks[1].log().iter().map(|commit| (commit.after.0, commit.header.epoch.0)).collect();
    assert_eq!(ranges, [(0, 1), (1, 2), (2, 11)], "what came meanwhile is one range");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_the_commit_under_way() {
    let h = two_sinks();
    let ear = Ear::new();
    let (gate, pipeline) = gated(&h, ear.clone(), Maintenance::Counted).await;
    let (stop, running) = run(pipeline);
    all_hold_the_first_epoch(&h, &ear).await;
    gate.shut();
    h.source.commit([rows("t", &[10], 1)]);
    gate.has_begun(2).await;
    stop.stop();
    tokio::task::yield_now().await;
    assert!(!running.is_finished());
    gate.open();
    ends(running).await.unwrap();
    h.assert_current();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_dropped_in_the_middle_of_a_commit_goes_on_where_it_was() {
    let h = two_sinks();
    let ear = Ear::new();
    let (gate, pipeline) = gated(&h, ear.clone(), Maintenance::Counted).await;
    let (_stop, running) = run(pipeline);
    all_hold_the_first_epoch(&h, &ear).await;
    gate.shut();
    for id in 10..13 {
        h.source.commit([rows("t", &[id], 1)]);
    }
    gate.has_begun(2).await;
    running.abort();
    let _ = running.await;
    gate.open();
    h.once().await.unwrap();
    h.assert_current();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_change_waits_for_the_commit_under_way() {
    let h = two_sinks();
    let ear = Ear::new();
    let (gate, mut pipeline) = gated(&h, ear.clone(), Maintenance::Counted).await;
    pipeline.run_once().await.unwrap();
    gate.shut();
    h.source.commit([rows("t", &[10], 1)]);
    let (stop, running) = run(pipeline);
    gate.has_begun(2).await;
    let table = table("t", &["city"]);
    h.source.alter(table.clone(), [TableEvent::Rows(ZSet::uniform(batch(&table, &[1, 41]), 1))]);
    gate.open();
    let wide = |sink: &MemorySink| sink.info(&"a".into()).is_some_and(|info| info.schema.fields().len() == 3);
    ear.until(|| h.sinks.iter().all(wide)).await;
    stop.stop();
    ends(running).await.unwrap();
    h.assert_current();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sources_wait_for_a_sink_that_is_too_far_behind() {
    let mut h = two_sinks();
    h.tune = |config| {
        config.sink_lag_max = 2_000;
        config.pending_bytes_max = 500;
    };
    h.once().await.unwrap();
    h.sinks[1].set_available(false);
    let ear = Ear::new();
    let (stop, running) = run(h.open_with(ear.clone()).await.unwrap());
    let holds =
        |sink: usize, epoch| h.sinks[sink].committed(&"a".into()).is_some_and(|held| held.epoch >= Epoch(epoch));
    let mut epochs = 1;
    let held_back = loop {
        h.source.commit([rows("t", &(epochs..epochs + 20).collect::<Vec<_>>(), 1)]);
        epochs += 1;
        let arrived = timeout(Duration::from_secs(3), ear.until(|| holds(0, epochs as u64))).await;
        if arrived.is_err() {
            break epochs;
        }
    };
    assert!((3..100).contains(&held_back), "{held_back} epochs fit into the limit");
    let status = read_status(&h.state_dir()).unwrap().unwrap();
    assert_eq!(status.sinks["other"].state, SinkState::Failing);
    assert!(status.sinks["other"].behind_bytes > 2_000 && status.sinks["mart"].behind_bytes == 0, "{status:?}");
    assert!(status.sinks["other"].error.as_ref().is_some_and(|error| error.contains("other")), "{status:?}");
    h.sinks[1].set_available(true);
    ear.until(|| holds(1, held_back as u64)).await;
    stop.stop();
    ends(running).await.unwrap();
    h.assert_current();
    assert_eq!(std::fs::read_dir(h.state_dir().join("delta_log")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_run_does_not_wait_for_ever_for_a_sink_that_is_too_far_behind() {
    let mut h = two_sinks();
    h.tune = |config| {
        config.sink_lag_max = 100;
        config.epoch_rows_max = 2;
    };
    h.once().await.unwrap();
    h.sinks[1].set_available(false);
    for id in 0..10 {
        h.source.commit([rows("t", &[id, id + 100], 1)]);
    }
    let error = h.once().await.unwrap_err();
    assert!(matches!(&error, RuntimeError::SinksBehind(behind) if behind.len() == 1), "{error}");
    h.sinks[1].set_available(true);
    let summary = h.once().await.unwrap();
    assert_eq!(summary.epoch, Epoch(11));
    h.assert_current();
    assert!(h.sinks[1].log().len() > 5, "it got them in small ranges, because no more was kept for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_is_detached_and_resynced() {
    let mut h = two_sinks();
    h.tune = |config| {
        config.sink_lag_max = 100;
        config.on_sink_failure = OnSinkFailure::Detach;
    };
    h.once().await.unwrap();
    h.sinks[1].set_available(false);
    for id in 0..5 {
        h.source.commit([rows("t", &[id], 1)]);
        let error = h.once().await.unwrap_err();
        assert!(h.sinks[0].committed(&"a".into()).unwrap().epoch >= Epoch(2 + id as u64), "the other one goes on");
        if let RuntimeError::SinksDetached(detached) = &error {
            assert_eq!((error.kind(), detached.len()), (ErrorKind::Stop, 1));
            assert!(error.to_string().contains("tidegate resync PIPELINE other"), "{error}");
        }
    }
    let error = h.once().await.unwrap_err();
    assert!(matches!(error, RuntimeError::SinksDetached(_)), "{error}");
    assert_eq!(std::fs::read_dir(h.state_dir().join("delta_log")).unwrap().count(), 0, "nothing is kept for it");
    h.sinks[1].set_available(true);
    let error = h.once().await.unwrap_err();
    assert!(matches!(error, RuntimeError::SinksDetached(_)), "it is not guessed what it lacks: {error}");
    assert_eq!(h.sinks[1].log().len(), 1);
    h.resync("other").await.unwrap();
    h.assert_current();
    h.source.commit([rows("t", &[70], 1)]);
    h.once().await.unwrap();
    h.assert_current();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_fails_for_good_is_detached_where_the_others_shall_go_on() {
    let mut h = two_sinks();
    h.tune = |config| config.on_sink_failure = OnSinkFailure::Detach;
    h.once().await.unwrap();
    h.sinks[1].inject(SinkFault::After(ErrorKind::Reconfigure));
    h.source.commit([rows("t", &[60], 1)]);
    let error = h.once().await.unwrap_err();
    assert!(matches!(error, RuntimeError::SinksDetached(_)), "{error}");
    let status = read_status(&h.state_dir()).unwrap().unwrap();
    assert_eq!(status.sinks["other"].state, SinkState::Detached);
    h.source.commit([rows("t", &[61], 1)]);
    h.once().await.unwrap_err();
    assert_eq!(h.sinks[0].committed(&"a".into()).unwrap().epoch, Epoch(3));
    assert_eq!(h.sinks[1].committed(&"a".into()).unwrap().epoch, Epoch(2));
    h.resync("other").await.unwrap();
    h.once().await.unwrap();
    h.assert_current();
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_are_kept_in_order_after_commits_and_only_then() {
    let h = two_sinks();
    let (gate, mut pipeline) = gated(&h, Ear::new(), Maintenance::Fails).await;
    let maintained = || gate.maintained.load(Ordering::SeqCst);
    pipeline.run_once().await.unwrap();
    assert_eq!(maintained(), 1, "and that it fails is no reason to stop");
    pipeline.run_once().await.unwrap();
    assert_eq!(maintained(), 1, "nothing new");
    h.source.commit([rows("t", &[60], 1)]);
    pipeline.run_once().await.unwrap();
    assert_eq!(maintained(), 2);
    h.assert_current();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_housekeeping() {
    let mut h = two_sinks();
    h.views.push(view("c", "SELECT * FROM b"));
    let (gate, mut pipeline) = gated(&h, Ear::new(), Maintenance::NeverEnds).await;
    let stop = StopSignal::new();
    let signal = stop.clone();
    let running = tokio::spawn(async move { pipeline.run(RunUntil::Once, signal).await.map(drop) });
    let maintained = async {
        while gate.maintained.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, maintained).await.expect("it is kept in order");
    stop.stop();
    ends(running).await.unwrap();
    h.assert_current();
}
