//! Views that compare with `tidegate_now()`: epochs that time alone makes, and the same ones when they are replayed.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tidegate_core::{Epoch, ErrorKind, Micros};
use tidegate_runtime::Clock;
use tidegate_testkit::{Multiset, SinkFault};

use crate::harness::{Harness, batch, name, rows, table, view};
use crate::live::{Ear, PATIENCE, ends, run};

/// An hour after the commits of the source, which begin with 1970.
const START: i64 = 3_600_000_000;

/// The binder of these tests looks at the last word.
const AHEAD: &str = "SELECT * FROM lake.t WHERE id > epoch_us(tidegate_now()) -- lake.t";

/// A pipeline whose views hold the rows ahead of the time, with such rows.
fn harness(views: &[(&str, &str)], ids: &[i64]) -> Harness {
    let mut h = Harness::new();
    h.views = views.iter().map(|(name, sql)| view(name, sql)).collect();
    h.source.commit([rows("t", ids, 1)]);
    h
}

/// Every view holds the rows that are ahead of the time of the epoch that the sink stands at.
fn assert_ahead(h: &Harness, what: &str) -> Micros {
    let contents = h.source.contents(&name("t"), None).unwrap().batch();
    let mut time = Micros(0);
    for view in &h.views {
        let committed = h.sinks[0].log().last().unwrap().header.clone();
        time = committed.time;
        let ids = arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(contents.column(0));
        let ahead: Vec<i64> = ids.iter().flatten().filter(|id| *id > time.0).collect();
        let expected = Multiset::of_batches([&batch(&table("t", &[]), &ahead)]);
        let held = h.sinks[0].contents(&view.name).unwrap();
        held.assert_equals(&expected, &format!("{what}: {} at {time}", view.name));
    }
    time
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_catches_up_has_the_time_of_its_beginning() {
    static NOW: AtomicI64 = AtomicI64::new(START);
    let mut h = harness(&[("ahead", AHEAD), ("same", "SELECT * FROM ahead")], &[START + 10, START + 20, START + 30]);
    h.tune = |config| config.clock = Clock::new(|| Micros(NOW.load(Ordering::Relaxed)));
    h.once().await.unwrap();
    assert_eq!(assert_ahead(&h, "loaded"), Micros(START));
    let idle = h.once().await.unwrap();
    assert_eq!((idle.epochs, idle.epoch), (0, Epoch(1)), "no time has passed");
    NOW.store(START + 15, Ordering::Relaxed);
    let summary = h.once().await.unwrap();
    assert_eq!((summary.epochs, summary.epoch, summary.source_rows), (1, Epoch(2), 0), "time alone makes an epoch");
    assert_eq!(assert_ahead(&h, "later"), Micros(START + 15));
    NOW.store(START + 25, Ordering::Relaxed);
    h.source.commit([rows("t", &[START + 40], 1)]);
    let summary = h.once().await.unwrap();
    assert_eq!((summary.epochs, summary.epoch), (1, Epoch(3)), "rows and time make one epoch together");
    assert_eq!(assert_ahead(&h, "with rows"), Micros(START + 25));
    // A clock that is set back does not set back the views.
    NOW.store(START, Ordering::Relaxed);
    h.source.commit([rows("t", &[START + 50], 1)]);
    h.once().await.unwrap();
    assert_eq!(assert_ahead(&h, "the clock was set back"), Micros(START + 26));
    // A source that is ahead of the clock is not: no row is older than its epoch.
    h.source.commit_at(Micros(START + 45), [rows("t", &[START + 60], 1)]);
    h.once().await.unwrap();
    assert_eq!(assert_ahead(&h, "the source is ahead"), Micros(START + 45));
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelines_without_such_views_are_left_alone_by_time() {
    static NOW: AtomicI64 = AtomicI64::new(START);
    let mut h = Harness::new();
    h.tune = |config| config.clock = Clock::new(|| Micros(NOW.load(Ordering::Relaxed)));
    h.once().await.unwrap();
    NOW.store(START * 100, Ordering::Relaxed);
    assert_eq!(h.once().await.unwrap().epochs, 0);
    assert_eq!(h.sinks[0].log()[0].header.time, Micros(1_000_000), "the time of an epoch is that of its commits");
    let ear = Ear::new();
    let (stop, running) = run(h.open_with(ear.clone()).await.unwrap());
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    stop.stop();
    ends(running).await.unwrap();
    assert!(ear.frontiers.lock().unwrap().is_empty(), "an idle pipeline makes no epochs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_epoch_has_the_time_of_its_record() {
    static NOW: AtomicI64 = AtomicI64::new(START);
    let mut h = harness(&[("ahead", AHEAD)], &[START + 10, START + 20, START + 30]);
    h.tune = |config| config.clock = Clock::new(|| Micros(NOW.load(Ordering::Relaxed)));
    h.once().await.unwrap();
    // An epoch of rows and one of time alone that are in the log, but neither in the sink nor in a checkpoint.
    for (time, more) in [(START + 12, Some(START + 13)), (START + 22, None)] {
        NOW.store(time, Ordering::Relaxed);
        if let Some(id) = more {
            h.source.commit([rows("t", &[id], 1)]);
        }
        h.sinks[0].inject(SinkFault::Before(ErrorKind::Bug));
        h.once().await.unwrap_err();
    }
    // Replaying must not ask the clock.
    NOW.store(START + 22, Ordering::Relaxed);
    let summary = h.once().await.unwrap();
    assert_eq!((summary.epochs, summary.epoch), (0, Epoch(3)));
    assert_eq!(assert_ahead(&h, "replayed"), Micros(START + 22));
    let times: Vec<_> = h.sinks[0].log().iter().map(|commit| commit.header.time.0 - START).collect();
    assert_eq!(times.last(), Some(&22), "{times:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_views_and_old_ones_have_one_time() {
    static NOW: AtomicI64 = AtomicI64::new(START);
    let mut h = harness(&[("ahead", AHEAD)], &[START + 10, START + 20, START + 30]);
    h.tune = |config| config.clock = Clock::new(|| Micros(NOW.load(Ordering::Relaxed)));
    h.once().await.unwrap();
    NOW.store(START + 15, Ordering::Relaxed);
    h.views.push(view("new", AHEAD));
    let summary = h.once().await.unwrap();
    assert_eq!(summary.epoch, Epoch(2), "the rebuild is the only epoch");
    assert_eq!(assert_ahead(&h, "a new view"), Micros(START + 15));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_pipeline_makes_an_epoch_a_minute() {
    static NOW: AtomicI64 = AtomicI64::new(START);
    let mut h = harness(&[("ahead", AHEAD)], &[START + 10, START + 90_000_000]);
    h.tune = |config| config.clock = Clock::new(|| Micros(NOW.load(Ordering::Relaxed)));
    let ear = Ear::new();
    let (stop, running) = run(h.open_with(ear.clone()).await.unwrap());
    ear.hears(1).await;
    NOW.store(START + 59_000_000, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(ear.frontiers.lock().unwrap().len(), 1, "the last epoch is not a minute old");
    NOW.store(START + 61_000_000, Ordering::Relaxed);
    ear.hears(2).await;
    assert_eq!(assert_ahead(&h, "a minute later"), Micros(START + 61_000_000));
    tokio::time::timeout(PATIENCE, async {
        NOW.store(START + 200_000_000, Ordering::Relaxed);
        ear.hears(3).await;
    })
    .await
    .unwrap();
    stop.stop();
    ends(running).await.unwrap();
    assert_eq!(assert_ahead(&h, "stopped"), Micros(START + 200_000_000));
}
