//! Sinks that commit at the moments of a schedule, by a clock that the tests set.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::DateTime;
use tidegate_core::{Epoch, Micros};
use tidegate_runtime::{Clock, Commits, Pipeline, PipelineConfig, Schedule, read_status};
use tidegate_testkit::MemorySink;
use tokio::time::timeout;

use crate::harness::{Harness, rows};
use crate::live::{Ear, PATIENCE, Running, ends, run};

const DAILY: usize = 1;

/// A pipeline with a sink that commits with each epoch, and one that does at six each day.
struct Daily {
    h: Harness,
    now: Arc<AtomicI64>,
    next: i64,
}

impl Daily {
    fn new(start: &str) -> Daily {
        let mut h = Harness::new();
        h.sinks.push(MemorySink::new("daily"));
        let daily = Daily { h, now: Arc::default(), next: 10 };
        daily.is(start);
        daily
    }

    fn is(&self, time: &str) {
        self.now.store(DateTime::parse_from_rfc3339(time).unwrap().timestamp_micros(), Ordering::SeqCst);
    }

    fn config(&self) -> PipelineConfig {
        let now = Arc::clone(&self.now);
        PipelineConfig { clock: Clock::new(move || Micros(now.load(Ordering::SeqCst))), ..self.h.config() }
    }

    async fn open(&self, config: PipelineConfig, ear: &Arc<Ear>) -> Pipeline {
        let mut connectors = self.h.connectors();
        let schedule = Schedule::parse("0 6 * * *", "UTC").unwrap();
        connectors.sinks[DAILY].commits = Some(Commits::At(Box::new(schedule)));
        Pipeline::open(config, connectors, ear.clone()).await.unwrap()
    }

    async fn run(&self) -> (Arc<Ear>, tidegate_runtime::StopSignal, Running) {
        let ear = Ear::new();
        let (stop, running) = run(self.open(self.config(), &ear).await);
        (ear, stop, running)
    }

    fn epoch(&self, sink: usize) -> u64 {
        self.h.sinks[sink].committed(&"a".into()).map_or(0, |held| held.epoch.0)
    }

    /// Some epochs, one after another, each of which the other sink holds.
    async fn changes(&mut self, ear: &Ear) -> u64 {
        for _ in 0..5 {
            let before = self.epoch(0);
            self.h.source.commit([rows("t", &[self.next], 1)]);
            self.next += 1;
            ear.until(|| self.epoch(0) > before).await;
        }
        self.epoch(0)
    }

    async fn next_commit_is(&self, moment: &str) {
        let told = async {
            loop {
                let status = read_status(&self.h.state_dir()).unwrap();
                let next = status.and_then(|status| status.sinks["daily"].next_commit.clone());
                if next.is_some_and(|next| next.starts_with(moment)) {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, told).await.expect("the status says when it commits next");
    }

    fn assert_equal(&self) {
        let [first, daily] = [0, DAILY].map(|sink| self.h.sinks[sink].contents(&"b".into()).unwrap());
        assert_eq!(first, daily);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_commits_at_its_moments_alone() {
    let mut p = Daily::new("2026-11-23T05:00:00Z");
    let (ear, stop, running) = p.run().await;
    // What is new gets the whole content at once.
    ear.until(|| p.epoch(0) == 1 && p.epoch(DAILY) == 1).await;
    p.next_commit_is("2026-11-23T06:00:00").await;
    let last = p.changes(&ear).await;
    assert_eq!(p.epoch(DAILY), 1);
    p.is("2026-11-23T06:00:01Z");
    ear.until(|| p.epoch(DAILY) == last).await;
    p.assert_equal();
    let ranges: Vec<_> = p.h.sinks[DAILY].log().iter().map(|range| (range.after, range.header.epoch)).collect();
    assert_eq!(ranges, [(Epoch(0), Epoch(1)), (Epoch(1), Epoch(last))], "one commit brings it all");
    p.next_commit_is("2026-11-24T06:00:00").await;
    // A moment at which there is nothing new is over: what comes after it waits for the next one.
    p.is("2026-11-24T06:00:01Z");
    p.next_commit_is("2026-11-25T06:00:00").await;
    let newest = p.changes(&ear).await;
    assert_eq!(p.epoch(DAILY), last);
    // A stop is no moment.
    stop.stop();
    ends(running).await.unwrap();
    assert_eq!((p.epoch(0), p.epoch(DAILY)), (newest, last));
    assert_eq!(read_status(&p.h.state_dir()).unwrap().unwrap().sinks["daily"].behind, newest - last);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_at_which_no_process_ran_is_made_up_for() {
    let mut p = Daily::new("2026-11-23T06:30:00Z");
    let (ear, stop, running) = p.run().await;
    ear.until(|| p.epoch(0) == 1 && p.epoch(DAILY) == 1).await;
    let before = p.changes(&ear).await;
    stop.stop();
    ends(running).await.unwrap();
    // None since what it holds.
    p.is("2026-11-24T05:00:00Z");
    let (ear, stop, running) = p.run().await;
    let last = p.changes(&ear).await;
    assert_eq!((p.epoch(DAILY), last > before), (1, true));
    stop.stop();
    ends(running).await.unwrap();
    // One since what it holds.
    p.is("2026-11-24T09:00:00Z");
    let (ear, stop, running) = p.run().await;
    ear.until(|| p.epoch(DAILY) == last).await;
    p.assert_equal();
    p.next_commit_is("2026-11-25T06:00:00").await;
    p.changes(&ear).await;
    assert_eq!(p.epoch(DAILY), last);
    stop.stop();
    ends(running).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ends_by_itself_commits_at_its_end() {
    let p = Daily::new("2026-11-23T06:30:00Z");
    for id in [20, 21] {
        p.h.source.commit([rows("t", &[id], 1)]);
        p.open(p.config(), &Ear::new()).await.run_once().await.unwrap();
        assert_eq!(p.epoch(DAILY), p.epoch(0));
        p.assert_equal();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_is_away_at_its_moment_gets_it_when_it_is_back() {
    let mut p = Daily::new("2026-11-23T05:00:00Z");
    let (ear, stop, running) = p.run().await;
    ear.until(|| p.epoch(0) == 1 && p.epoch(DAILY) == 1).await;
    let last = p.changes(&ear).await;
    p.h.sinks[DAILY].set_available(false);
    p.is("2026-11-23T06:00:01Z");
    let failing = async {
        while read_status(&p.h.state_dir()).unwrap().unwrap().sinks["daily"].error.is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, failing).await.expect("the failure is told");
    assert_eq!(p.epoch(DAILY), 1);
    p.h.sinks[DAILY].set_available(true);
    ear.until(|| p.epoch(DAILY) == last).await;
    p.assert_equal();
    stop.stop();
    ends(running).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_is_away_at_the_start_is_not_hurried_when_it_is_back() {
    let mut p = Daily::new("2026-11-23T06:30:00Z");
    p.open(p.config(), &Ear::new()).await.run_once().await.unwrap();
    p.h.sinks[DAILY].set_available(false);
    let (ear, stop, running) = p.run().await;
    p.changes(&ear).await;
    p.h.sinks[DAILY].set_available(true);
    let attached = async {
        while read_status(&p.h.state_dir()).unwrap().unwrap().sinks["daily"].error.is_some() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, attached).await.expect("it is attached again");
    let last = p.changes(&ear).await;
    assert_eq!(p.epoch(DAILY), 1);
    p.is("2026-11-24T06:00:01Z");
    ear.until(|| p.epoch(DAILY) == last).await;
    stop.stop();
    ends(running).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_for_a_schedule_is_bounded() {
    let p = Daily::new("2026-11-23T06:30:00Z");
    let ear = Ear::new();
    let config = PipelineConfig { sink_lag_max: 64 << 10, pending_bytes_max: 1 << 10, ..p.config() };
    let (stop, running) = run(p.open(config, &ear).await);
    ear.until(|| p.epoch(0) == 1 && p.epoch(DAILY) == 1).await;
    for chunk in 0..20 {
        let ids: Vec<i64> = (0..1_000).map(|id| 1_000 * (chunk + 1) + id).collect();
        let before = p.epoch(0);
        p.h.source.commit([rows("t", &ids, 1)]);
        ear.until(|| p.epoch(0) > before).await;
    }
    assert!(p.epoch(DAILY) > 1, "it has to take some before its moment");
    stop.stop();
    ends(running).await.unwrap();
}
