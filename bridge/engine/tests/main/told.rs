//! Tables without a key whose sources tell only what changes: the engine keeps their rows, duplicates
//! included.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::{ErrorKind, TableEvent, TableSchema, ViewDelta, ZSet};
use tidegate_engine::RebuildScope;
use tidegate_testkit::{TableContents, rows, seed};

use crate::harness::{Harness, told};
use crate::keyed::Event;
use crate::random::{VIEWS, customer, order, tables};

/// Both tables without a key, and the first view of the orders alone.
fn loaded(workers: usize) -> (Harness, TableSchema) {
    let [orders, customers] = tables(None).map(told);
    let mut harness = Harness::new(&[orders.clone(), customers], &VIEWS[..1], workers);
    harness.rebuild(RebuildScope::All, "initial load");
    harness
        .feed(&orders.name, rows::inserted(&orders.columns, "(1, 1, 1, 1, 'a'), (1, 1, 1, 1, 'a'), (2, 1, 1, 1, 'b')"));
    harness.step("first epoch");
    (harness, orders)
}

fn copies(deltas: &[ViewDelta]) -> Vec<(i64, i64)> {
    let batches = deltas.iter().flat_map(|delta| &delta.batches);
    batches
        .flat_map(|batch| batch.copies_before.values().iter().copied().zip(batch.weights.values().to_vec()))
        .collect()
}

#[test]
fn duplicates_are_counted() {
    let (mut harness, orders) = loaded(1);
    harness.feed(&orders.name, rows::inserted(&orders.columns, "(1, 1, 1, 1, 'a'), (2, 1, 1, 1, 'b')"));
    harness.feed(&orders.name, rows::deleted(&orders.columns, "(2, 1, 1, 1, 'b')"));
    assert_eq!(copies(&harness.step("one more")), [(2, 1)]);
    let row = rows::batch(&orders.columns, "(1, 1, 1, 1, 'a')");
    harness.feed(&orders.name, TableEvent::Rows(ZSet::uniform(row, -3)));
    assert_eq!(copies(&harness.step("none left")), [(3, -3)]);
}

#[test]
fn truncate_and_insert_in_one_epoch_leave_the_difference() {
    let (mut harness, orders) = loaded(2);
    harness.feed(&orders.name, rows::inserted(&orders.columns, "(3, 1, 1, 1, 'c')"));
    harness.feed(&orders.name, TableEvent::Truncate);
    harness.feed(&orders.name, rows::inserted(&orders.columns, "(1, 1, 1, 1, 'a'), (2, 1, 1, 1, 'b')"));
    assert_eq!(copies(&harness.step("truncated and filled")), [(2, -1)], "one copy of the first row is gone");
    harness.feed(&orders.name, TableEvent::Truncate);
    harness.feed(&orders.name, TableEvent::Truncate);
    assert_eq!(copies(&harness.step("truncated twice")), [(1, -1), (1, -1)]);
    harness.feed(&orders.name, TableEvent::Truncate);
    assert!(harness.step("truncated when empty").is_empty());
}

#[test]
fn a_row_that_is_not_there_cannot_be_deleted() {
    let (mut harness, orders) = loaded(1);
    harness.engine().feed(&orders.name, rows::deleted(&orders.columns, "(2, 1, 1, 1, 'b')")).expect("it is there");
    harness.engine().feed(&orders.name, rows::deleted(&orders.columns, "(2, 1, 1, 1, 'b')")).expect("it may follow");
    let error = harness.engine().step().expect_err("there is only one");
    assert!(error.to_string().contains("main.orders: a row was deleted that the table does not hold"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Stop);
    assert!(harness.engine().step().is_err(), "the state in memory is void");
}

#[test]
fn a_row_that_is_not_there_cannot_be_deleted_before_a_truncate() {
    let (mut harness, orders) = loaded(1);
    harness.engine().feed(&orders.name, rows::deleted(&orders.columns, "(9, 1, 1, 1, 'z')")).expect("it may follow");
    let error = harness.engine().feed(&orders.name, TableEvent::Truncate).expect_err("it did not follow");
    assert!(error.to_string().contains("a row was deleted that the table does not hold"), "{error}");
}

#[test]
fn changes_by_key_are_refused() {
    let (mut harness, orders) = loaded(1);
    let error = harness.engine().feed(&orders.name, crate::keyed::upserts(&orders, "(9, 1, 1, 1, 'z')"));
    assert!(error.expect_err("there is no key").to_string().contains("takes rows with weights"));
}

#[test]
fn the_state_survives_a_restart() {
    let (mut harness, orders) = loaded(2);
    let saved = harness.checkpoint();
    harness.feed(&orders.name, TableEvent::Truncate);
    harness.step("after the checkpoint");
    harness
        .tables
        .get_mut(&orders.name)
        .expect("it is known")
        .apply(&rows::inserted(&orders.columns, "(1, 1, 1, 1, 'a'), (1, 1, 1, 1, 'a'), (2, 1, 1, 1, 'b')"));
    // The options say another number of workers than the state was made with.
    harness.resume(&saved, 1);
    harness.forget_deltas();
    harness.check("resumed");
    harness.engine().retain(std::slice::from_ref(&saved)).expect("the files of the checkpoint stay");
    harness.feed(&orders.name, rows::deleted(&orders.columns, "(1, 1, 1, 1, 'a')"));
    assert_eq!(copies(&harness.step("resumed state is known")), [(2, -1)]);
    harness.views.push(("notes".into(), "SELECT note FROM lake.orders".into()));
    let (wanted, _) = harness.rebuild_after(Vec::new(), RebuildScope::Changed, "new view over old data");
    assert!(wanted.is_empty(), "{wanted:?}");
}

/// A few random events of a table whose content is known; the content gets them, too.
pub fn events(contents: &mut TableContents, rng: &mut StdRng, row: fn(&mut StdRng) -> String) -> Vec<Event> {
    let schema = contents.schema().clone();
    let mut events = Vec::new();
    for _ in 0..rng.random_range(0..4) {
        let present = contents.batch();
        let some = (present.num_rows() > 0).then(|| rng.random_range(0..present.num_rows()));
        let event = match (rng.random_range(0..8), some) {
            (0..=1, Some(index)) => TableEvent::Rows(ZSet::uniform(present.slice(index, 1), -1)),
            (2, Some(index)) => TableEvent::Rows(ZSet::uniform(present.slice(index, present.num_rows() - index), -1)),
            (3, Some(index)) => TableEvent::Rows(ZSet::uniform(present.slice(index, 1), 2)),
            (4, _) if rng.random_ratio(1, 3) => TableEvent::Truncate,
            (4, _) => TableEvent::Replace,
            _ => rows::inserted(&schema.columns, &row(rng)),
        };
        contents.apply(&event);
        events.push((schema.name.clone(), event));
    }
    events
}

fn run(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let [orders, customers] = tables(None).map(told);
    let workers = rng.random_range(1..3);
    let mut harness = Harness::new(&[orders.clone(), customers.clone()], VIEWS, workers);
    let what = format!("seed {seed}");
    harness.rebuild(RebuildScope::All, &format!("{what}: initial load"));
    for epoch in 0..20 {
        let what = format!("{what}, epoch {epoch}");
        let mut happened = events(&mut harness.tables[&orders.name].clone(), &mut rng, order);
        happened.extend(events(&mut harness.tables[&customers.name].clone(), &mut rng, customer));
        happened.into_iter().for_each(|(table, event)| harness.feed(&table, event));
        harness.step(&what);
        if rng.random_ratio(1, 10) {
            let saved = harness.checkpoint();
            harness.resume(&saved, workers);
            harness.check(&format!("{what}: resumed"));
        }
    }
}

#[test]
fn told_tables_equal_a_recompute_after_every_epoch() {
    let seed = seed::seed("told_tables_equal_a_recompute_after_every_epoch");
    for sequence in 0..seed::sequences(3) {
        run(seed.wrapping_add(sequence));
    }
}
