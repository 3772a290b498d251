//! The log as a whole: what goes in comes out, on disk and on an object store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, MapBuilder, RecordBatch, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema};
use object_store::memory::InMemory;
use tidegate_core::{
    Epoch, EpochHash, EpochHeader, Frontier, KeyedChanges, KeyedOp, Micros, Position, SnapshotId, SourceId, TableEvent,
    TableName, ZSet, schema,
};
use uuid::Uuid;

use super::hash::{ContentHash, ContentHasher, epoch_hash};
use super::header::{Link, LoadedTable, Origin, RecordHeader, RecordKind};
use super::staging::{Staged, Staging};
use super::{InputLog, LogLocation};

const LOG: Uuid = Uuid::from_u128(7);

fn table(name: &str) -> TableName {
    TableName::new("lake", "main", name)
}

/// A batch with NULLs, a column called like one of ours, and field metadata.
fn batch(ids: &[i64]) -> RecordBatch {
    let schema = schema::columns([("id", "BIGINT", false), ("weight", "VARCHAR", true)]).unwrap();
    let names: StringArray = ids.iter().map(|id| (id % 2 == 0).then(|| format!("name {id}"))).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(ids.to_vec())), Arc::new(names)];
    RecordBatch::try_new(schema, columns).unwrap()
}

fn rows(ids: &[i64], weights: &[i64]) -> TableEvent {
    TableEvent::Rows(ZSet::new(batch(ids), weights.to_vec().into()))
}

fn keyed() -> TableEvent {
    TableEvent::Keyed(KeyedChanges {
        ops: vec![KeyedOp::Upsert, KeyedOp::Delete, KeyedOp::Upsert],
        rows: batch(&[1, 2, 3]),
        unchanged: vec![None, Some(BooleanArray::from(vec![false, false, true]))],
    })
}

fn every_kind() -> Vec<(TableName, TableEvent)> {
    vec![
        (table("a"), rows(&[1, 2], &[1, -3])),
        (table("b"), TableEvent::Truncate),
        (table("b"), keyed()),
        (table("a"), TableEvent::Replace),
        (table("a"), rows(&[9], &[2])),
    ]
}

/// The operation that came later too, which the golden hashes do not know.
fn every_kind_and_op() -> Vec<(TableName, TableEvent)> {
    let TableEvent::Keyed(changes) = keyed() else { unreachable!() };
    let ops = vec![KeyedOp::Upsert, KeyedOp::Delete, KeyedOp::Rekeyed];
    let moved = TableEvent::Keyed(KeyedChanges { ops, ..changes });
    every_kind().into_iter().chain([(table("b"), moved)]).collect()
}

fn staged(events: Vec<(TableName, TableEvent)>, budget: u64) -> Staged {
    let mut staging = Staging::new(&std::env::temp_dir(), budget);
    events.into_iter().for_each(|(table, event)| staging.push(table, event).unwrap());
    staging.finish()
}

fn record(epoch: u64, staged: &Staged, previous: Link) -> RecordHeader {
    let source = SourceId::new("ducklake", "lake");
    let frontier = Frontier::new().with(source.clone(), Position::SnapshotId(SnapshotId(epoch)));
    let time = Micros(epoch as i64 * 1000);
    let hash = epoch_hash(&previous.hash, RecordKind::Events, Epoch(epoch), &frontier, time, &staged.content);
    RecordHeader {
        origin: Origin::plain(RecordKind::Events, BTreeMap::from([(source, time)])),
        header: EpochHeader { epoch: Epoch(epoch), hash, frontier, time, latest_commit: Some(time) },
        previous,
        log_id: LOG,
        logged_at: Micros(epoch as i64),
        sections: staged.sections.clone(),
    }
}

fn locations() -> Vec<(tempfile::TempDir, LogLocation)> {
    let objects = LogLocation::ObjectStore {
        store: Arc::new(InMemory::new()),
        prefix: "some/log".into(),
        url: "memory:///some/log".to_owned(),
    };
    let dir = || tempfile::tempdir().unwrap();
    vec![(dir(), LogLocation::StateDir), (dir(), objects)]
}

fn same(a: &TableEvent, b: &TableEvent) -> bool {
    match (a, b) {
        (TableEvent::Rows(a), TableEvent::Rows(b)) => {
            a.rows() == b.rows() && a.weights() == b.weights() && a.schema().fields() == b.schema().fields()
        }
        (TableEvent::Keyed(a), TableEvent::Keyed(b)) => {
            a.ops == b.ops && a.rows == b.rows && a.unchanged == b.unchanged
        }
        (TableEvent::Truncate, TableEvent::Truncate) | (TableEvent::Replace, TableEvent::Replace) => true,
        _ => false,
    }
}

#[tokio::test]
async fn every_kind_of_event_comes_back() {
    for budget in [0, 1 << 20] {
        for (dir, location) in locations() {
            let mut log = InputLog::open(&location, dir.path(), LOG).unwrap();
            assert!(log.is_empty().await.unwrap());
            let mut previous = Link::default();
            for epoch in 1..=2 {
                let mut staged = staged(every_kind_and_op(), budget);
                let record = record(epoch, &staged, previous);
                log.append(&record, Some(&mut staged)).await.unwrap();
                previous = (&record.header).into();
                let mut direct = Vec::new();
                staged
                    .drain(|table, event| {
                        direct.push((table, event));
                        Ok(())
                    })
                    .unwrap();
                assert!(direct.iter().zip(every_kind_and_op()).all(|(a, b)| a.0 == b.0 && same(&a.1, &b.1)));
            }
            let log = InputLog::open(&location, dir.path(), LOG).unwrap();
            let records = log.records(Epoch(2)).await.unwrap();
            assert_eq!(records.len(), 1);
            assert_eq!(
                records[0].header.header.clone(),
                EpochHeader { hash: previous.hash, ..records[0].header.header.clone() }
            );
            let mut read = Vec::new();
            let body = log.body(&records[0]).await.unwrap();
            body.drain(&records[0].header.sections, |table, event| {
                read.push((table, event));
                Ok(())
            })
            .unwrap();
            assert_eq!(read.len(), every_kind_and_op().len());
            assert!(read.iter().zip(every_kind_and_op()).all(|(a, b)| a.0 == b.0 && same(&a.1, &b.1)));
        }
    }
}

#[tokio::test]
async fn a_foreign_or_broken_chain_is_refused() {
    for (dir, location) in locations() {
        let mut log = InputLog::open(&location, dir.path(), LOG).unwrap();
        let mut first = staged(vec![(table("a"), rows(&[1], &[1]))], 1 << 20);
        let one = record(1, &first, Link::default());
        log.append(&one, Some(&mut first)).await.unwrap();
        let error = InputLog::open(&location, dir.path(), Uuid::from_u128(8)).unwrap().records(Epoch(1)).await;
        assert!(error.unwrap_err().to_string().contains("belongs to log"));
        let gap = record(3, &first, Link { epoch: Epoch(2), hash: EpochHash([2; 32]) });
        log.append(&gap, Some(&mut first)).await.unwrap();
        let error = log.records(Epoch(1)).await.unwrap_err();
        assert!(error.to_string().contains("records between them are missing"), "{error}");
    }
}

#[tokio::test]
async fn two_processes_cannot_both_append_an_epoch() {
    let (dir, location) = locations().remove(1);
    let mut one = InputLog::open(&location, dir.path(), LOG).unwrap();
    let mut other = InputLog::open(&location, dir.path(), LOG).unwrap();
    let mut events = staged(vec![(table("a"), rows(&[1], &[1]))], 1 << 20);
    let record = record(1, &events, Link::default());
    one.append(&record, Some(&mut events)).await.unwrap();
    one.append(&record, Some(&mut events)).await.expect("the same put, repeated");
    let mut late = record.clone();
    late.logged_at = Micros(99);
    let error = other.append(&late, Some(&mut events)).await.unwrap_err();
    assert!(error.to_string().contains("another process appends"), "{error}");
}

#[tokio::test]
async fn old_objects_go() {
    let (dir, location) = locations().remove(1);
    let mut log = InputLog::open(&location, dir.path(), LOG).unwrap();
    let mut previous = Link::default();
    for epoch in 1..=3 {
        let mut events = staged(vec![(table("a"), rows(&[1], &[1]))], 1 << 20);
        let record = record(epoch, &events, previous);
        previous = (&record.header).into();
        log.append(&record, Some(&mut events)).await.unwrap();
    }
    assert!(!log.trim(Epoch(2), Micros(0)).await.unwrap());
    assert!(log.trim(Epoch(2), Micros(100)).await.unwrap());
    assert_eq!(log.records(Epoch(1)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn few_old_records_go_too() {
    let (dir, location) = locations().remove(0);
    let retention = Duration::from_micros(5);
    let mut log = InputLog::open(&location, dir.path(), LOG).unwrap().with_retention(retention);
    let mut previous = Link::default();
    for epoch in 1..=6 {
        let mut events = staged(vec![(table("a"), rows(&[1], &[1]))], 1 << 20);
        let mut record = record(epoch, &events, previous);
        record.logged_at = Micros(3 * i64::try_from(epoch).unwrap());
        previous = (&record.header).into();
        log.append(&record, Some(&mut events)).await.unwrap();
    }
    // Logged at 3 to 18; a segment began when the one before it was more than 5 old: 1–2, 3–4, 5–6.
    assert!(log.trim(Epoch(6), Micros(16)).await.unwrap());
    assert_eq!(log.records(Epoch(1)).await.unwrap().len(), 2);
}

fn content(events: Vec<(TableName, TableEvent)>) -> ContentHash {
    let mut hasher = ContentHasher::default();
    events.iter().for_each(|(table, event)| hasher.update(table, event).unwrap());
    hasher.finish()
}

#[test]
fn rows_count_as_a_zset() {
    let whole = content(vec![(table("a"), rows(&[1, 2, 3], &[1, -2, 1]))]);
    let shuffled = content(vec![(table("a"), rows(&[3, 1, 2], &[1, 1, -2]))]);
    let cut = content(vec![(table("a"), rows(&[3], &[1])), (table("a"), rows(&[2, 2, 1], &[-1, -1, 1]))]);
    let detour = content(vec![(table("a"), rows(&[1, 2, 7, 7, 3], &[1, -2, 5, -5, 1]))]);
    assert_eq!([shuffled, cut, detour], [whole; 3]);
    for other in [
        content(vec![(table("b"), rows(&[1, 2, 3], &[1, -2, 1]))]),
        content(vec![(table("a"), rows(&[1, 2, 3], &[1, 2, 1]))]),
        content(vec![(table("a"), rows(&[1, 2, 4], &[1, -2, 1]))]),
        content(vec![
            (table("a"), rows(&[1, 2], &[1, -2])),
            (table("a"), TableEvent::Truncate),
            (table("a"), rows(&[3], &[1])),
        ]),
    ] {
        assert_ne!(other, whole);
    }
}

#[test]
fn keyed_events_count_in_their_order_and_with_their_marks() {
    let plain = content(vec![(table("a"), keyed())]);
    let TableEvent::Keyed(changes) = keyed() else { unreachable!() };
    let unmarked = KeyedChanges { unchanged: vec![None, None], ..changes.clone() };
    assert_ne!(content(vec![(table("a"), TableEvent::Keyed(unmarked))]), plain);
    for ops in
        [[KeyedOp::Delete, KeyedOp::Upsert, KeyedOp::Upsert], [KeyedOp::Upsert, KeyedOp::Delete, KeyedOp::Rekeyed]]
    {
        let changes = KeyedChanges { ops: ops.to_vec(), ..changes.clone() };
        assert_ne!(content(vec![(table("a"), TableEvent::Keyed(changes))]), plain);
    }
}

#[test]
fn maps_are_hashed_too() {
    let map = |value: &str| {
        let mut builder = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
        builder.keys().append_value("k");
        builder.values().append_value(value);
        builder.append(true).unwrap();
        builder.append(false).unwrap();
        let map = Arc::new(builder.finish()) as ArrayRef;
        let list = DataType::List(Arc::new(Field::new_list_field(map.data_type().clone(), true)));
        let offsets = arrow::buffer::OffsetBuffer::from_lengths([2]);
        let DataType::List(field) = &list else { unreachable!() };
        let nested = arrow::array::ListArray::new(field.clone(), offsets, map, None);
        let schema = Schema::new(vec![Field::new("m", list.clone(), true)]);
        let rows = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(nested)]).unwrap();
        content(vec![(table("a"), TableEvent::Rows(ZSet::uniform(rows, 1)))])
    };
    assert_eq!(map("x"), map("x"));
    assert_ne!(map("x"), map("y"));
}

/// A stored hash must still be ours after an update; a change of these is a break of the format.
#[test]
fn golden_hashes() {
    let staged = staged(every_kind(), 1 << 20);
    let events = record(2, &staged, Link { epoch: Epoch(1), hash: EpochHash([9; 32]) }).header.hash;
    assert_eq!(events.to_string(), "7e25aa548078a8680d6bac0c66990cc92f7956b2e9e0b3e16062ba1d0585d827");
    let tables = [LoadedTable { name: table("a"), incarnation: 3 }];
    let content = ContentHash::of_load(&tables, &BTreeMap::from([("v".into(), "plan".to_owned())]));
    let frontier = Frontier::new();
    let load = epoch_hash(&EpochHash::default(), RecordKind::Load, Epoch(1), &frontier, Micros(5), &content);
    assert_eq!(load.to_string(), "052fd2e3e8f7f167b4a4bde96a6263d071cc0615ded8a9f63c8e13fcca26d083");
}
