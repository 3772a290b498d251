//! A source that can read whole tables only as they are now, as a database does.

use std::time::Duration;

use tidegate_core::{Epoch, ErrorKind, OnExpired, Position, SnapshotId, TableEvent, TableSchema};
use tidegate_runtime::{RunUntil, StopSignal};
use tidegate_testkit::{MemorySource, SourceFault};

use crate::harness::{Harness, batch, delete, insert, keyed, name, table, unkeyed, upsert, view};

/// `t` with a key and `u` without one, views `a` over `t`, `b` over `a`, `c` over `u`.
fn database() -> (Harness, TableSchema, TableSchema) {
    let (t, u) = (keyed("t", &[]), unkeyed("u", &[]));
    let source = MemorySource::new("lake", [t.clone(), u.clone(), keyed("n", &[])]).present_only();
    source.commit([upsert(&t, &[1, 2, 3]), insert(&u, &[7, 7, 8])]);
    let mut h = Harness { source, ..Harness::new() };
    h.views.push(view("c", "SELECT * FROM lake.u"));
    (h, t, u)
}

/// Every view is what its table is now.
fn assert_current(h: &Harness, views: &[(&str, &str)]) {
    for (view, table) in views {
        let expected = h.source.contents(&name(table), None).unwrap().multiset();
        h.sinks[0].contents(&(*view).into()).unwrap().assert_equals(&expected, &format!("view {view}"));
    }
}

const VIEWS: &[(&str, &str)] = &[("a", "t"), ("b", "t"), ("c", "u")];

fn at(position: u64) -> Option<Position> {
    Some(Position::SnapshotId(SnapshotId(position)))
}

/// The tables of each snapshot, by their bare names.
fn copied(h: &Harness) -> Vec<Vec<String>> {
    let names = |tables: Vec<tidegate_core::TableName>| tables.into_iter().map(|table| table.table).collect();
    h.source.snapshots_taken().into_iter().map(names).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_stands_where_the_source_chose() {
    let (h, t, u) = database();
    let (t2, u2) = (t.clone(), u.clone());
    h.source.before_snapshot(move |source| {
        source.commit([upsert(&t2, &[4]), insert(&u2, &[9])]);
    });
    let summary = h.once().await.unwrap();
    assert_eq!(summary.frontier.to_string(), r#"{"memory:lake":{"snapshot_id":2}}"#);
    assert_eq!((summary.epochs, h.source.acknowledged()), (1, at(2)));
    assert_current(&h, VIEWS);
    h.source.commit([(u.name.clone(), TableEvent::Truncate), insert(&u, &[1])]);
    h.source.commit([delete(&t, &[2]), upsert(&t, &[3, 5])]);
    assert_eq!(h.once().await.unwrap().epochs, 1);
    assert_current(&h, VIEWS);
    assert_eq!(copied(&h), [["t", "u"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_view_over_an_existing_and_a_new_table() {
    let (mut h, t, u) = database();
    h.once().await.unwrap();
    let n = keyed("n", &[]);
    h.source.commit([upsert(&t, &[5])]);
    h.source.commit([upsert(&n, &[100, 101])]);
    h.views.push(view("d", "SELECT * FROM lake.t UNION ALL SELECT * FROM lake.n"));
    let (t2, u2, n2) = (t.clone(), u.clone(), n.clone());
    h.source.before_snapshot(move |source| {
        source.commit([delete(&t2, &[1]), (u2.name.clone(), TableEvent::Truncate), upsert(&n2, &[102])]);
    });
    let summary = h.once().await.unwrap();
    assert_eq!((summary.epochs, summary.epoch), (1, Epoch(2)), "all at one position in one epoch");
    assert_eq!(summary.view_rows[&"a".into()], 2, "what happened to t before the copy");
    assert_eq!(copied(&h), [vec!["t", "u"], vec!["n"]], "what is held is not read again");
    assert_current(&h, VIEWS);
    let both = h.sinks[0].contents(&"d".into()).unwrap();
    assert_eq!(both.len(), 3 + 3);
    assert_eq!(h.source.acknowledged(), at(4));

    // A view over what is held reads nothing, and the source stays where it is.
    h.source.commit([upsert(&t, &[6])]);
    h.views.push(view("e", "SELECT * FROM lake.t"));
    let summary = h.once().await.unwrap();
    assert_eq!((summary.epochs, copied(&h).len()), (2, 2), "the view, then the change");
    assert_current(&h, &[("a", "t"), ("c", "u"), ("e", "t")]);
    h.workers = 2;
    assert_eq!((h.once().await.unwrap().epochs, copied(&h).len()), (1, 2));
    assert_current(&h, &[("a", "t"), ("c", "u"), ("e", "t")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn views_come_and_tables_change_while_the_source_is_busy() {
    let (mut h, t, u) = database();
    h.once().await.unwrap();
    let (source, stop) = (h.source.clone(), StopSignal::new());
    let (signal, writer_t, writer_u) = (stop.clone(), t.clone(), u.clone());
    let writer = tokio::spawn(async move {
        let n = keyed("n", &[]);
        for id in 0.. {
            source.commit([upsert(&writer_t, &[id % 50]), insert(&writer_u, &[id]), upsert(&n, &[id % 70])]);
            source.commit([delete(&writer_t, &[id % 7]), (writer_u.name.clone(), TableEvent::Truncate)]);
            tokio::time::sleep(Duration::from_millis(1)).await;
            if signal.is_stopped() {
                return;
            }
        }
    });
    for (view_name, sql) in [("d", "SELECT * FROM lake.n"), ("e", "SELECT * FROM lake.t"), ("f", "SELECT * FROM c")] {
        h.views.push(view(view_name, sql));
        h.once().await.unwrap();
        h.open().await.unwrap().resnapshot("lake", Some(&t.name)).await.unwrap();
    }
    stop.stop();
    writer.await.unwrap();
    h.once().await.unwrap();
    assert_current(&h, VIEWS);
    assert_current(&h, &[("d", "n"), ("e", "t"), ("f", "u")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_table_alone_is_copied() {
    let (h, t, u) = database();
    h.once().await.unwrap();
    h.source.commit([upsert(&t, &[4])]);
    let wide = unkeyed("u", &["note"]);
    // The transaction that alters one table changes another.
    h.source.alter_amid(wide.clone(), [insert(&wide, &[1, 2]).1], [upsert(&t, &[5]), delete(&t, &[1])]);
    h.source.commit([upsert(&t, &[6]), insert(&wide, &[3])]);
    let summary = h.once().await.unwrap();
    assert_eq!((summary.epochs, summary.frontier.to_string().as_str()), (2, r#"{"memory:lake":{"snapshot_id":4}}"#));
    assert_eq!(copied(&h), [vec!["t", "u"], vec!["u"]]);
    assert_current(&h, VIEWS);
    assert_eq!(h.sinks[0].info(&"c".into()).unwrap().schema.fields().len(), 3);
    // The same columns, but another table.
    let other = TableSchema { incarnation: 9, ..wide.clone() };
    h.source.alter(other.clone(), [insert(&other, &[3]).1]);
    let summary = h.once().await.unwrap();
    assert_eq!((copied(&h).last().unwrap().as_slice(), summary.epochs), (["u".to_owned()].as_slice(), 1));
    assert_current(&h, VIEWS);
    // Nobody can tell which table it was, so all are read.
    h.source.commit([upsert(&t, &[3, 40])]);
    h.source.alter(other.clone(), [insert(&other, &[3, 4]).1]);
    let summary = h.once().await.unwrap();
    assert_eq!(copied(&h).last().unwrap(), &["t", "u"]);
    assert_eq!((summary.view_rows[&"a".into()], summary.view_rows[&"c".into()]), (1, 1), "only real differences");
    assert_current(&h, VIEWS);
    let _ = u;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_moves_on_while_tables_are_copied() {
    let (mut h, t, u) = database();
    h.once().await.unwrap();
    // The table that is copied: planned anew.
    h.views.push(view("d", "SELECT * FROM lake.n"));
    let wide = keyed("n", &["note"]);
    let content = upsert(&wide, &[1, 2]).1;
    h.source.before_snapshot(move |source| {
        source.alter(wide, [content]);
    });
    h.once().await.unwrap();
    assert_current(&h, VIEWS);
    assert_current(&h, &[("d", "n")]);
    assert_eq!(h.sinks[0].info(&"d".into()).unwrap().schema.fields().len(), 3);
    // One that is kept: copied with it.
    h.source.commit([upsert(&t, &[70])]);
    h.views.last_mut().unwrap().sql = "SELECT * FROM lake.m".to_owned();
    h.source.alter(keyed("m", &[]), [upsert(&keyed("m", &[]), &[5]).1]);
    let wide = unkeyed("u", &["more"]);
    let content = insert(&wide, &[1, 2, 2]).1;
    h.source.before_snapshot(move |source| {
        source.alter(wide, [content]);
    });
    h.once().await.unwrap();
    assert_eq!(copied(&h).last().unwrap(), &["m", "u"]);
    assert_current(&h, VIEWS);
    // One that is kept and is changed to and fro, which no plan can see.
    h.views.last_mut().unwrap().sql = "SELECT * FROM lake.n".to_owned();
    let (wide, same) = (unkeyed("u", &["more", "and more"]), unkeyed("u", &["more"]));
    let contents = [insert(&wide, &[6]).1, insert(&same, &[6, 7]).1];
    h.source.before_snapshot(move |source| {
        let [first, second] = contents;
        source.alter(wide, [first]);
        source.alter(same, [second]);
    });
    h.once().await.unwrap();
    assert_current(&h, VIEWS);
    assert_current(&h, &[("d", "n")]);
    assert_eq!(copied(&h).last().unwrap(), &["n", "t", "u"]);
    let _ = u;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_changes_are_copied_again_or_refused() {
    for policy in [OnExpired::Stop, OnExpired::Rebuild] {
        let (mut h, t, u) = database();
        h.source = h.source.on_expired(policy);
        h.once().await.unwrap();
        h.source.commit([delete(&t, &[1]), upsert(&t, &[10, 11]), insert(&u, &[8])]);
        h.source.expire_before(&at(2).unwrap());
        if policy == OnExpired::Stop {
            let error = h.once().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Stop);
            assert!(error.to_string().contains("run 'tidegate resnapshot PIPELINE lake'"), "{error}");
            let error = h.open().await.unwrap().resnapshot("lake", Some(&t.name)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Stop, "u cannot be brought along: {error}");
        }
        let summary = match policy {
            OnExpired::Stop => h.open().await.unwrap().resnapshot("lake", None).await.unwrap(),
            OnExpired::Rebuild => h.once().await.unwrap(),
        };
        assert_eq!((summary.epochs, summary.epoch), (1, Epoch(2)));
        let rows = |view: &str| summary.view_rows[&view.into()];
        assert_eq!((rows("a"), rows("b"), rows("c")), (3, 3, 1), "only real differences");
        assert_current(&h, VIEWS);
        assert_eq!(h.commits(), [(0, 1, true), (1, 2, false)]);
        h.source.commit([upsert(&t, &[12]), insert(&u, &[8])]);
        h.once().await.unwrap();
        assert_current(&h, VIEWS);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_are_lost_while_a_table_is_copied() {
    let (mut h, t, _) = database();
    h.once().await.unwrap();
    h.source.commit([upsert(&t, &[4])]);
    h.views.push(view("d", "SELECT * FROM lake.n"));
    h.source.before_snapshot(|source| source.expire_before(&Position::SnapshotId(SnapshotId(2))));
    h.once().await.unwrap();
    assert_eq!(copied(&h)[1..], [vec!["n"], vec!["n", "t", "u"]]);
    assert_current(&h, VIEWS);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_published_is_copied_again() {
    let (mut h, t, u) = database();
    h.once().await.unwrap();
    h.source.commit([upsert(&t, &[4]), insert(&u, &[1])]);
    h.views.push(view("d", "SELECT * FROM lake.n"));
    for cut in 0..4 {
        match cut {
            0 => h.source.inject(SourceFault::FailAfter(0, ErrorKind::Bug)),
            // The copy is read, and then nothing more.
            1 => h.source.before_snapshot(|source| source.inject(SourceFault::Fail(ErrorKind::Bug))),
            2 => h.source.before_snapshot(|source| source.inject(SourceFault::FailAfter(1, ErrorKind::Bug))),
            _ => h.source.before_snapshot(|source| source.set_hanging(true)),
        }
        let run = tokio::time::timeout(Duration::from_millis(if cut == 3 { 500 } else { 20_000 }), h.once()).await;
        assert_eq!(run.is_err(), cut == 3, "cut {cut}");
        assert!(run.is_err() || run.unwrap().is_err(), "cut {cut}");
        h.source.set_hanging(false);
        assert_eq!((h.commits().len(), h.source.acknowledged()), (1, at(1)), "cut {cut}: nothing has happened");
        h.source.commit([delete(&t, &[cut]), insert(&u, &[cut])]);
    }
    let summary = h.once().await.unwrap();
    assert_eq!((summary.epoch, h.source.acknowledged()), (Epoch(2), at(6)));
    assert_current(&h, VIEWS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_lost_cannot_be_made_again() {
    let (mut h, t, _) = database();
    h.once().await.unwrap();
    h.source.commit([upsert(&t, &[4])]);
    h.once().await.unwrap();
    h.views.push(view("d", "SELECT * FROM lake.n"));
    h.once().await.unwrap();
    let checkpoints = std::fs::read_dir(h.state_dir().join("checkpoints")).unwrap().map(|e| e.unwrap().path());
    let newest = checkpoints.max().unwrap();
    let whole = std::fs::read(&newest).unwrap();
    std::fs::write(&newest, "{}").unwrap();
    let error = h.once().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stop);
    assert!(error.to_string().contains("has a rebuild in epoch 3 whose checkpoint cannot be read"), "{error}");
    assert!(error.to_string().contains("restore the folder checkpoints"), "{error}");
    std::fs::write(&newest, whole).unwrap();
    h.once().await.unwrap();
    assert_current(&h, VIEWS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resnapshot_sends_what_was_wrong() {
    let (h, t, u) = database();
    h.once().await.unwrap();
    h.source.commit([upsert(&t, &[4])]);
    let mut pipeline = h.open().await.unwrap();
    let summary = pipeline.resnapshot("lake", Some(&u.name)).await.unwrap();
    assert_eq!((summary.epochs, summary.view_rows.get(&"c".into())), (1, None), "nothing was");
    assert_eq!(copied(&h).last().unwrap(), &["u"]);
    assert_current(&h, VIEWS);
    let summary = pipeline.resnapshot("lake", None).await.unwrap();
    assert_eq!((summary.epochs, summary.view_rows.len()), (1, 0));
    h.source.commit([upsert(&t, &[5])]);
    pipeline.run(RunUntil::Once, StopSignal::new()).await.unwrap();
    assert_current(&h, VIEWS);
    let error = pipeline.resnapshot("shop", None).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no source shop: the sources of this pipeline are lake");
    let error = pipeline.resnapshot("lake", Some(&name("n"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    assert!(error.to_string().starts_with("there is no table "), "{error}");

    // A lake is read where the pipeline stands.
    let h = Harness::new();
    h.once().await.unwrap();
    h.source.commit([crate::harness::rows("t", &[5], 1)]);
    let summary = h.open().await.unwrap().resnapshot("lake", Some(&name("t"))).await.unwrap();
    assert_eq!((summary.epochs, summary.view_rows.len(), h.source.calls().1), (1, 0, 2));
    assert_eq!(summary.frontier.to_string(), r#"{"memory:lake":{"snapshot_id":1}}"#);
    h.once().await.unwrap();
    h.assert_current();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lakes_barrier_leaves_a_database_alone() {
    let mut h = Harness::new();
    let app = MemorySource::new("app", [crate::harness::of("app", keyed("k", &[]))]).present_only();
    let k = crate::harness::of("app", keyed("k", &[]));
    h.more.push(app.clone());
    h.views.push(view("k", "SELECT * FROM app.k"));
    app.commit([upsert(&k, &[1])]);
    h.once().await.unwrap();
    let wide = table("t", &["note"]);
    h.source.alter(wide.clone(), [TableEvent::Rows(tidegate_core::ZSet::uniform(batch(&wide, &[9, 9]), 1))]);
    app.commit([upsert(&k, &[2])]);
    h.once().await.unwrap();
    assert_eq!(app.calls().1, 1);
    assert_eq!(h.sinks[0].contents(&"k".into()).unwrap().len(), 2);
    assert_eq!(h.sinks[0].contents(&"b".into()).unwrap().len(), 2);
    // Nor does the lake notice when the database's table changes.
    let wide = crate::harness::of("app", keyed("k", &["note"]));
    app.alter(wide.clone(), [upsert(&wide, &[1, 2, 3]).1]);
    h.source.expire_before(&Position::SnapshotId(SnapshotId(2)));
    h.once().await.unwrap();
    assert_eq!(h.sinks[0].contents(&"k".into()).unwrap().len(), 3);
    assert_eq!((app.calls().1, h.source.calls().1), (2, 2));
}
