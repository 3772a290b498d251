//! Changed views, tables, workers and expired snapshots.

use tidegate_core::{Epoch, ErrorKind, OnExpired, Position, SnapshotId};
use tidegate_testkit::SourceFault;

use crate::harness::{Harness, batch, name, rows, table, view};
use tidegate_core::{TableEvent, ZSet};

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_view_is_rebuilt_and_sends_its_difference() {
    let mut h = Harness::new();
    h.once().await.unwrap();
    // The same columns from another place: only real differences go out, which here are none.
    h.views[1] = view("b", "SELECT * FROM lake.t");
    let summary = h.once().await.unwrap();
    assert_eq!((summary.epochs, summary.epoch), (1, Epoch(2)));
    assert_eq!(summary.view_rows.values().sum::<u64>(), 0);
    h.assert_current();
    assert_eq!(h.commits(), [(0, 1, true), (1, 2, false)]);
    assert_eq!(h.once().await.unwrap().epochs, 0, "and only once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_over_a_table_that_is_newer_than_the_state() {
    let mut h = Harness::new();
    h.once().await.unwrap();
    h.source.commit([rows("t", &[30], 1)]);
    h.source.alter(table("u", &[]), [TableEvent::Rows(ZSet::uniform(batch(&table("u", &[]), &[1, 2, 3]), 1))]);
    h.views.push(view("c", "SELECT * FROM lake.u"));
    h.once().await.unwrap();
    assert_eq!(h.sinks[0].contents(&"c".into()).unwrap().len(), 3);
    h.views.truncate(2);
    h.once().await.unwrap();
    h.assert_current();
}

#[tokio::test(flavor = "multi_thread")]
async fn other_workers_rebuild() {
    let mut h = Harness::new();
    h.once().await.unwrap();
    h.workers = 2;
    h.source.commit([rows("t", &[31], 1)]);
    assert_eq!(h.once().await.unwrap().epochs, 2);
    h.assert_current();
    assert_eq!(h.source.calls().1, 2);
    assert_eq!(h.once().await.unwrap().epochs, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn altered_tables_are_a_barrier() {
    let h = Harness::new();
    h.once().await.unwrap();
    h.source.commit([rows("t", &[40], 1)]);
    let wide = table("t", &["note"]);
    h.source.alter(wide.clone(), [TableEvent::Rows(ZSet::uniform(batch(&wide, &[1, 41]), 1))]);
    h.source.commit([(name("t"), TableEvent::Rows(ZSet::uniform(batch(&wide, &[42]), 1)))]);
    let summary = h.once().await.unwrap();
    assert_eq!(summary.epochs, 3, "before, at and after the change");
    h.assert_current();
    assert_eq!(h.sinks[0].info(&"a".into()).unwrap().schema.fields().len(), 3);
    // Only rows change, in a transaction that also alters the table to what it is.
    h.source.alter(wide.clone(), [TableEvent::Rows(ZSet::uniform(batch(&wide, &[42, 43]), 1))]);
    let summary = h.once().await.unwrap();
    assert_eq!((summary.epochs, summary.view_rows[&"a".into()]), (1, 3));
    h.assert_current();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_table_stops_until_the_views_fit() {
    let mut h = Harness::new();
    h.once().await.unwrap();
    h.source.commit([rows("t", &[40], 1)]);
    h.source.alter(table("t2", &[]), [TableEvent::Rows(ZSet::uniform(batch(&table("t2", &[]), &[9]), 1))]);
    h.source.drop_table(&name("t"));
    let error = h.once().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stop);
    assert!(error.to_string().contains("there is no table lake.t; did you mean `lake.t2`?"), "{error}");
    h.views[0] = view("a", "SELECT * FROM lake.t2");
    h.once().await.unwrap();
    assert_eq!(h.sinks[0].contents(&"b".into()).unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_changes_are_rebuilt_or_refused() {
    let h = Harness::new();
    h.once().await.unwrap();
    h.source.commit([rows("t", &[50, 51], 1), rows("t", &[1], -1)]);
    h.source.expire_before(&Position::SnapshotId(SnapshotId(2)));
    let summary = h.once().await.unwrap();
    assert_eq!((summary.epochs, summary.view_rows[&"a".into()]), (1, 3), "only real differences");
    h.assert_current();
    assert_eq!(h.commits(), [(0, 1, true), (1, 2, false)]);

    let mut h = Harness::new();
    h.source = h.source.on_expired(OnExpired::Stop);
    h.once().await.unwrap();
    h.source.inject(SourceFault::Expire);
    let error = h.once().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stop);
    assert!(error.to_string().contains("snapshot 1 was told to expire"), "{error}");
    h.once().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_view_whose_snapshot_has_expired_is_loaded_from_the_present() {
    let mut h = Harness::new();
    h.once().await.unwrap();
    h.source.commit([rows("t", &[60], 1)]);
    h.source.expire_before(&Position::SnapshotId(SnapshotId(2)));
    h.views.push(view("c", "SELECT * FROM lake.t"));
    h.once().await.unwrap();
    h.assert_current();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_that_a_view_cannot_follow_waits_for_other_sql() {
    let mut h = Harness::new();
    // Names look like "name 1" or are NULL, and 'name' is not a number: id 3 has no name.
    h.source = tidegate_testkit::MemorySource::new("lake", [table("t", &[])]);
    h.source.commit([rows("t", &[3], 1)]);
    h.views.push(view("n", "SELECT CAST(name AS BIGINT) AS n FROM lake.t"));
    h.once().await.unwrap();
    h.source.commit([rows("t", &[6], 1)]);
    h.sinks[0].inject(tidegate_testkit::SinkFault::Before(ErrorKind::Bug));
    h.once().await.unwrap_err();
    h.source.commit([rows("t", &[7], 1)]);
    for _ in 0..2 {
        let error = h.once().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Stop, "{error}");
        assert!(error.to_string().contains("epoch 3 cannot be applied; change the SQL of the view"), "{error}");
    }
    h.views[2] = view("n", "SELECT CAST(id AS BIGINT) AS n FROM lake.t");
    let summary = h.once().await.unwrap();
    assert_eq!((summary.epochs, summary.epoch), (1, Epoch(4)));
    assert_eq!(h.sinks[0].contents(&"n".into()).unwrap().len(), 3);
    h.views.truncate(2);
    h.once().await.unwrap();
    h.assert_current();
}
