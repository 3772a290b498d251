//! Sinks that fail, lag, appear and contradict.

use tidegate_core::{Committed, Epoch, EpochHash, ErrorKind};
use tidegate_runtime::RuntimeError;
use tidegate_testkit::{MemorySink, SinkFault};

use crate::harness::{Harness, rows, view};

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_is_away_gets_everything_when_it_is_back() {
    let mut h = Harness::new();
    h.sinks.push(MemorySink::new("other"));
    h.once().await.unwrap();
    h.sinks[1].set_available(false);
    for id in 10..14 {
        h.source.commit([rows("t", &[id], 1), rows("t", &[id - 1], if id == 10 { 1 } else { -1 })]);
        let error = h.once().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Retry);
        assert!(matches!(&error, RuntimeError::SinksBehind(behind) if behind.len() == 1), "{error}");
        assert!(error.to_string().contains("sink other (at epoch 1: "), "{error}");
    }
    assert_eq!(h.sinks[0].committed(&"a".into()).unwrap().epoch, Epoch(5));
    h.sinks[1].set_available(true);
    let summary = h.once().await.unwrap();
    assert_eq!(summary.epochs, 0);
    h.assert_current();
    let log = h.sinks[1].log();
    assert_eq!((log[1].after, log[1].header.epoch, log[1].changes[&"a".into()].len()), (Epoch(1), Epoch(5), 4));
    assert_eq!(std::fs::read_dir(h.state_dir().join("delta_log")).unwrap().count(), 0, "nothing is kept for nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passing_fault_is_tried_again_at_once() {
    let h = Harness::new();
    h.once().await.unwrap();
    for fault in [SinkFault::Before(ErrorKind::Retry), SinkFault::After(ErrorKind::Retry)] {
        h.source.commit([rows("t", &[50], 1)]);
        h.sinks[0].inject(fault);
        h.once().await.unwrap();
        h.assert_current();
    }
    assert_eq!(h.commits(), [(0, 1, true), (1, 2, false), (2, 3, false)], "nothing twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_that_does_not_pass_stops_and_loses_nothing() {
    let h = Harness::new();
    h.once().await.unwrap();
    for fault in [SinkFault::Before(ErrorKind::Reconfigure), SinkFault::After(ErrorKind::Reconfigure)] {
        h.source.commit([rows("t", &[60], 1)]);
        h.sinks[0].inject(fault);
        let error = h.once().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reconfigure);
        assert!(matches!(error, RuntimeError::Sink { ref sink, .. } if sink == "mart"));
        h.once().await.unwrap();
        h.assert_current();
    }
    assert_eq!(h.commits().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_sink_is_filled_from_the_view_state() {
    let mut h = Harness::new();
    h.once().await.unwrap();
    h.source.commit([rows("t", &[7], 1)]);
    h.once().await.unwrap();
    h.sinks.push(MemorySink::new("late"));
    h.once().await.unwrap();
    h.assert_current();
    let log = h.sinks[1].log();
    assert_eq!((log.len(), log[0].header.epoch), (1, Epoch(2)));
    assert!(log[0].views.iter().all(|(_, replaced)| *replaced));
    assert_eq!(h.source.calls().1, 1, "without asking the source again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_of_another_history_is_not_touched() {
    let h = Harness::new();
    h.once().await.unwrap();
    let held = h.sinks[0].committed(&"a".into()).unwrap();
    for committed in [
        Committed { hash: EpochHash([7; 32]), ..held },
        Committed { epoch: Epoch(9), ..held },
        Committed { epoch: Epoch(0), ..held },
    ] {
        h.sinks[0].overwrite_committed(&"a".into(), committed);
        let error = h.once().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Stop, "{error}");
        assert!(error.to_string().contains("tidegate resync PIPELINE mart"), "{error}");
    }
    assert_eq!(h.commits().len(), 1);
    h.sinks[0].overwrite_committed(&"a".into(), held);
    h.once().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn views_that_a_sink_holds_at_different_epochs_meet_again() {
    let mut h = Harness::new();
    h.sinks.push(MemorySink::new("witness"));
    h.once().await.unwrap();
    let first = h.sinks[0].committed(&"b".into()).unwrap();
    // The second sink keeps the deltas of epoch 2 alive.
    h.sinks[1].set_available(false);
    h.source.commit([rows("t", &[7], 1)]);
    h.once().await.unwrap_err();
    let change = tidegate_core::ZSet::uniform(crate::harness::batch(&crate::harness::table("t", &[]), &[7]), -1);
    h.sinks[0].tamper(&"b".into(), &change);
    h.sinks[0].overwrite_committed(&"b".into(), first);
    h.sinks[1].set_available(true);
    h.once().await.unwrap();
    h.assert_current();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_view_reaches_a_sink_that_holds_others() {
    let mut h = Harness::new();
    h.once().await.unwrap();
    h.views.push(view("c", "SELECT * FROM b"));
    h.source.commit([rows("t", &[8], 1)]);
    h.once().await.unwrap();
    h.assert_current();
    assert_eq!(h.sinks[0].committed(&"c".into()), h.sinks[0].committed(&"a".into()));
}
