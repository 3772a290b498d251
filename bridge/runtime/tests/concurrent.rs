//! Sources that call, hang and fail beside each other.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::ErrorKind;
use tidegate_runtime::{RunUntil, RuntimeError, StopSignal};
use tidegate_testkit::{MemorySource, Multiset, SourceFault};
use tokio::time::timeout;

use crate::harness::{Harness, delete, keyed, name, of, rows, upsert, view};
use crate::live::{Ear, PATIENCE, ends, run};

const FOR_EVER: Duration = Duration::from_secs(3600);

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_answered_at_once() {
    let mut h = Harness::new();
    (h.poll_interval, h.wakes) = (FOR_EVER, true);
    let ear = Ear::new();
    let (stop, running) = run(h.open_with(ear.clone()).await.unwrap());
    ear.hears(1).await;
    for id in 0..20 {
        h.source.commit([rows("t", &[id], 1)]);
        ear.hears(2 + id as u64).await;
        h.assert_current();
    }
    stop.stop();
    ends(running).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_during_a_poll_is_not_lost() {
    let mut h = Harness::new();
    (h.poll_interval, h.wakes) = (FOR_EVER, true);
    let ear = Ear::new();
    let (stop, running) = run(h.open_with(ear.clone()).await.unwrap());
    ear.hears(1).await;
    for round in 0..20 {
        let before = h.source.calls().0;
        h.source.set_holding(true);
        h.source.commit([rows("t", &[round], 1)]);
        timeout(PATIENCE, h.source.polled_after(before)).await.expect("it is polled");
        // The poll under way has looked already.
        h.source.commit([rows("t", &[round + 100], 1)]);
        h.source.set_holding(false);
        let expected = h.source.contents(&name("t"), None).unwrap().multiset();
        ear.until(|| h.sinks[0].contents(&"b".into()).unwrap() == expected).await;
    }
    stop.stop();
    ends(running).await.unwrap();
}

/// `app` beside the harness's lake, with the keyed table `k` and view `k` over it.
fn with_app(h: &mut Harness) -> MemorySource {
    let app = MemorySource::new("app", [of("app", keyed("k", &[]))]).present_only();
    h.views.push(view("k", "SELECT * FROM app.k"));
    h.more.push(app.clone());
    app
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_hangs_holds_up_nobody_else() {
    let mut h = Harness::new();
    let app = with_app(&mut h);
    let table = of("app", keyed("k", &[]));
    app.commit([upsert(&table, &[1, 2])]);
    let ear = Ear::new();
    let (stop, running) = run(h.open_with(ear.clone()).await.unwrap());
    ear.hears(1).await;
    app.set_hanging(true);
    app.commit([upsert(&table, &[3])]);
    for id in 0..10 {
        h.source.commit([rows("t", &[id], 1)]);
        ear.hears(2 + id as u64).await;
    }
    let frontier = ear.frontiers.lock().unwrap().last().unwrap().to_string();
    assert_eq!(frontier, r#"{"memory:app":{"snapshot_id":1},"memory:lake":{"snapshot_id":11}}"#);
    app.set_hanging(false);
    ear.hears(12).await;
    assert_eq!(h.sinks[0].contents(&"k".into()).unwrap().len(), 3);
    app.set_hanging(true);
    h.source.commit([rows("t", &[77], 1)]);
    ear.hears(13).await;
    stop.stop();
    ends(running).await.unwrap();
    app.set_hanging(false);
    assert_eq!(h.once().await.unwrap().epochs, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_fails_is_tried_again_beside_the_others() {
    let mut h = Harness::new();
    let app = with_app(&mut h);
    let table = of("app", keyed("k", &[]));
    let ear = Ear::new();
    let (stop, running) = run(h.open_with(ear.clone()).await.unwrap());
    ear.hears(1).await;
    for id in 0..4 {
        app.inject(SourceFault::Fail(ErrorKind::Retry));
        h.source.commit([rows("t", &[id], 1)]);
        ear.hears(2 + id as u64).await;
    }
    app.commit([upsert(&table, &[3])]);
    ear.hears(6).await;
    app.inject(SourceFault::Fail(ErrorKind::Stop));
    assert_eq!(ends(running).await.unwrap_err().kind(), ErrorKind::Stop, "other errors end the run");
    drop(stop);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_barrier_waits_for_a_source_that_fails_as_long_as_the_run_does() {
    let mut h = Harness::new();
    let app = with_app(&mut h);
    let ear = Ear::new();
    let (stop, running) = run(h.open_with(ear.clone()).await.unwrap());
    ear.hears(1).await;
    let wide = of("app", keyed("k", &["note"]));
    let content = upsert(&wide, &[1]).1;
    for _ in 0..3 {
        h.source.inject(SourceFault::Unreachable(ErrorKind::Retry));
    }
    app.alter(wide, [content]);
    ear.hears(2).await;
    assert_eq!(h.sinks[0].contents(&"k".into()).unwrap().len(), 1);
    stop.stop();
    ends(running).await.unwrap();
    app.alter(of("app", keyed("k", &[])), []);
    for _ in 0..1000 {
        h.source.inject(SourceFault::Unreachable(ErrorKind::Retry));
    }
    let error = timeout(PATIENCE, h.once()).await.expect("the patience of a run has an end").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry);
}

/// Two sources that change, fail, hang, expire and alter their tables, and a pipeline that is
/// stopped and dropped anywhere: positions only go forward, and in the end all is there.
#[tokio::test(flavor = "multi_thread")]
async fn the_frontier_never_moves_back() {
    let seed = match std::env::var("TIDEGATE_SEED") {
        Ok(seed) => seed.parse().expect("TIDEGATE_SEED is a number"),
        Err(_) => rand::random::<u64>(),
    };
    eprintln!("TIDEGATE_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut h = Harness::new();
    h.wakes = true;
    h.tune = |config| config.retry_for = Duration::from_secs(5);
    let app = with_app(&mut h);
    let (narrow, wide) = (of("app", keyed("k", &[])), of("app", keyed("k", &["note"])));
    let mut schema = narrow.clone();
    let ear = Ear::new();
    for _ in 0..25 {
        for _ in 0..random.random_range(0..6) {
            let id = random.random_range(0..9);
            match random.random_range(0..12) {
                0..=2 => drop(h.source.commit([rows("t", &[id, id + 1], 1)])),
                3 | 4 => drop(app.commit([upsert(&schema, &[id, id + 2])])),
                5 => drop(app.commit([delete(&schema, &[id]), upsert(&schema, &[id + 20])])),
                6 => app.inject(SourceFault::Fail(ErrorKind::Retry)),
                7 => h.source.inject(SourceFault::FailAfter(1, ErrorKind::Retry)),
                8 => h.source.inject(SourceFault::Slow(Duration::from_millis(random.random_range(0..30)))),
                9 => app.inject(SourceFault::Expire),
                10 => {
                    schema = if random.random_bool(0.5) { narrow.clone() } else { wide.clone() };
                    app.alter(schema.clone(), [upsert(&schema, &[id, 30]).1]);
                }
                _ => app.set_hanging(true),
            }
        }
        let opening = h.open_with(ear.clone());
        let time = Duration::from_millis(random.random_range(0..120));
        match random.random_range(0..3) {
            // Dropped anywhere.
            0 => {
                let run = async { opening.await?.run(RunUntil::Stopped, StopSignal::new()).await };
                if let Ok(ended) = timeout(time, run).await {
                    panic!("nothing ends it: {:?}", ended.map(drop));
                }
            }
            // Stopped.
            1 => {
                app.set_hanging(false);
                let (stop, running) = run(opening.await.unwrap());
                tokio::time::sleep(time).await;
                app.set_hanging(random.random_bool(0.3));
                stop.stop();
                let ended = ends(running).await;
                assert!(matches!(ended, Ok(()) | Err(RuntimeError::StoppedWhileLoading)), "{ended:?}");
            }
            _ => {
                app.set_hanging(false);
                drop(opening.await.unwrap().run_once().await.unwrap());
                let held = h.sinks[0].contents(&"k".into()).unwrap();
                let expected = app.contents(&narrow.name, None).unwrap();
                held.assert_equals(&Multiset::of_batches([&expected.batch()]), "view k");
                let held = h.sinks[0].contents(&"b".into()).unwrap();
                let expected = h.source.contents(&name("t"), None).unwrap();
                held.assert_equals(&Multiset::of_batches([&expected.batch()]), "view b");
            }
        }
        let frontiers = ear.frontiers.lock().unwrap();
        for (before, after) in frontiers.iter().zip(frontiers.iter().skip(1)) {
            assert!(before.less_equal(after), "{before} came before {after}");
        }
        app.set_hanging(false);
    }
}
