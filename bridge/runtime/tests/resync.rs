//! Sinks that somebody changed by hand.

use tidegate_core::{Committed, Epoch, EpochHash, ErrorKind, ZSet};
use tidegate_testkit::MemorySink;

use crate::harness::{Harness, batch, rows, table};

fn change(ids: &[i64], weight: i64) -> ZSet {
    ZSet::uniform(batch(&table("t", &[]), ids), weight)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_difference_is_written() {
    let mut h = Harness::new();
    h.sinks.push(MemorySink::new("other"));
    h.once().await.unwrap();
    h.sinks[0].tamper(&"a".into(), &change(&[1], -1));
    h.sinks[0].tamper(&"a".into(), &change(&[2, 2, 2], 1));
    h.sinks[0].tamper(&"b".into(), &change(&[99], 1));
    h.sinks[0].overwrite_committed(&"b".into(), Committed { epoch: Epoch(7), hash: EpochHash([1; 32]) });
    h.once().await.unwrap_err();
    let summary = h.resync("mart").await.unwrap();
    assert_eq!(summary.epoch, Epoch(8), "after everything that the sink has seen");
    assert_eq!((summary.view_rows[&"a".into()], summary.view_rows[&"b".into()]), (4, 1));
    h.assert_current();
    assert_eq!(h.sinks[1].committed(&"a".into()).unwrap().epoch, Epoch(8), "the other sink follows");
    h.source.commit([rows("t", &[12], 1)]);
    assert_eq!(h.once().await.unwrap().epoch, Epoch(9));
    h.assert_current();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_sink_is_named() {
    let h = Harness::new();
    let error = h.resync("mrt").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    assert_eq!(error.to_string(), "there is no sink mrt: the sinks of this pipeline are mart");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_epoch_of_a_resync_survives_a_restart() {
    let h = Harness::new();
    h.once().await.unwrap();
    h.sinks[0].tamper(&"a".into(), &change(&[1], 1));
    h.resync("mart").await.unwrap();
    // Without its checkpoint it comes from the log.
    let newest =
        std::fs::read_dir(h.state_dir().join("checkpoints")).unwrap().map(|e| e.unwrap().path()).max().unwrap();
    std::fs::remove_file(newest).unwrap();
    h.source.commit([rows("t", &[13], 1)]);
    assert_eq!(h.once().await.unwrap().epoch, Epoch(3));
    h.assert_current();
}
