//! Epochs that are applied in parts: the same deltas as in one.

use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::{ChangeType, KeyedChanges, KeyedOp, RowIdentity, TableEvent, TableSchema, ViewDelta, ZSet};
use tidegate_engine::{EngineOptions, RebuildScope};
use tidegate_testkit::rows::{deleted, inserted};
use tidegate_testkit::seed;

use crate::harness::{Harness, table, told};
use crate::random::{VIEWS, customer, order, tables};
use crate::{keyed, told as whole};

/// The same random epochs, each as one and in parts.
fn run(seed: u64, has_key: bool) {
    let [orders, customers] = if has_key { tables(Some(vec![0])) } else { tables(None).map(told) };
    let both = [orders.clone(), customers.clone()];
    let [mut at_once, mut in_parts] = [1, 2].map(|workers| Harness::new(&both, VIEWS, workers));
    let mut rng = StdRng::seed_from_u64(seed);
    in_parts.engine().set_part_rows(rng.random_range(1..4));
    let what = format!("seed {seed}");
    at_once.rebuild(RebuildScope::All, &what);
    in_parts.rebuild(RebuildScope::All, &what);
    let events = if has_key { keyed::events } else { whole::events };
    for epoch in 0..10 {
        let what = format!("{what}, epoch {epoch}");
        for _ in 0..3 {
            let mut happened = events(&mut at_once.tables[&orders.name].clone(), &mut rng, order);
            happened.extend(events(&mut at_once.tables[&customers.name].clone(), &mut rng, customer));
            for (table, event) in happened {
                at_once.feed(&table, event.clone());
                in_parts.feed(&table, event);
            }
        }
        let (expected, found) = (at_once.step(&what), in_parts.step(&what));
        assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{what}");
    }
}

#[test]
fn an_epoch_in_parts_gives_the_same_deltas() {
    let seed = seed::seed("an_epoch_in_parts_gives_the_same_deltas");
    for sequence in 0..seed::sequences(3) {
        run(seed.wrapping_add(sequence), true);
        run(seed.wrapping_add(sequence), false);
    }
}

/// Every row of `a` has a partner, so that no view sees what stands in the place of a missing one; there, no
/// cast of it would succeed.
const CODED: &[(&str, &str)] = &[
    (
        "by_key",
        "SELECT a.k, CAST(coalesce(b.code, 'missing') AS INTEGER) AS c FROM lake.a a LEFT JOIN lake.b b ON a.k = b.k",
    ),
    (
        "by_row",
        "SELECT a.k, CAST(coalesce(b.code, 'missing') AS INTEGER) AS c FROM lake.a a LEFT JOIN lake.b b \
         ON a.k = b.k AND a.k + b.k > 0",
    ),
    (
        "either",
        "SELECT CAST(coalesce(CAST(a.k AS VARCHAR), 'missing') AS INTEGER) AS k, \
         CAST(coalesce(b.code, 'missing') AS INTEGER) AS c FROM lake.a a FULL JOIN lake.b b ON a.k = b.k",
    ),
    ("over_a_view", "SELECT c, count(*) AS n FROM by_key GROUP BY c"),
];

fn coded() -> [TableSchema; 2] {
    [table("a", &[("k", "INTEGER")], None), table("b", &[("k", "INTEGER"), ("code", "VARCHAR")], None)]
}

/// Circuits that take every row as a part of its own, with both tables loaded.
fn coded_harness(workers: usize) -> Harness {
    let [a, b] = coded();
    let mut harness = Harness::new(&[a.clone(), b.clone()], CODED, workers);
    harness.engine().set_part_rows(1);
    for (table, values) in [(&a, "(1), (2), (3)"), (&b, "(1, '10'), (2, '20'), (3, '30')")] {
        let contents = harness.tables.get_mut(&table.name).expect("the table is known");
        contents.apply(&inserted(&table.columns, values));
    }
    harness
}

#[test]
fn no_row_is_made_of_half_an_epoch() {
    for workers in [1, 2] {
        let [a, b] = coded();
        let mut harness = coded_harness(workers);
        harness.rebuild(RebuildScope::All, "initial load");
        harness.feed(&a.name, inserted(&a.columns, "(4), (5)"));
        assert!(harness.engine().checkpoint().is_err(), "half an epoch is not saved");
        harness.feed(&b.name, deleted(&b.columns, "(1, '10'), (2, '20')"));
        harness.feed(&b.name, inserted(&b.columns, "(1, '11'), (2, '21'), (4, '40'), (5, '40')"));
        harness.step("new rows and new partners");
        let saved = harness.checkpoint();
        harness.resume(&saved, workers);
        harness.engine().set_part_rows(1);
        harness.feed(&b.name, deleted(&b.columns, "(3, '30')"));
        harness.feed(&a.name, deleted(&a.columns, "(3)"));
        harness.step("a pair is gone");
        harness.feed(&b.name, deleted(&b.columns, "(5, '40')"));
        harness.feed(&b.name, inserted(&b.columns, "(5, '40')"));
        let deltas = harness.step("nothing has changed");
        assert!(deltas.is_empty(), "{deltas:?}");
    }
}

#[test]
fn a_load_in_parts_can_be_given_up() {
    let [a, _] = coded();
    let mut harness = coded_harness(2);
    harness.rebuild(RebuildScope::All, "initial load");
    let program = harness.program();
    harness.engine().begin_rebuild(program, RebuildScope::All).expect("the rebuild begins");
    harness.engine().load(&a.name, inserted(&a.columns, "(1), (2)")).expect("the table loads");
    harness.engine().abort_rebuild();
    harness.check("aborted");
    harness.rebuild(RebuildScope::All, "loaded anew");
}

#[test]
fn a_partition_is_computed_once_an_epoch() {
    let [orders, customers] = tables(None);
    let sql = "SELECT id, rank() OVER (PARTITION BY customer ORDER BY id) AS r FROM lake.orders";
    let mut harness = Harness::new(&[orders.clone(), customers], &[("v", sql)], 1);
    harness.engine().set_part_rows(1);
    harness.rebuild(RebuildScope::All, "initial load");
    let before = harness.engine().stats()[0].clone();
    for id in 0..10 {
        harness.feed(&orders.name, inserted(&orders.columns, &format!("({id}, 1, 1, 1, 'a')")));
    }
    harness.step("ten parts");
    let after = harness.engine().stats()[0].clone();
    assert_eq!(after.recomputed_rows - before.recomputed_rows, 10);
    assert_eq!(after.steps - before.steps, 1);
}

const EVENT_ROWS: i64 = 20_000;

fn wide(has_key: bool) -> TableSchema {
    let columns = [("id", "BIGINT"), ("customer", "BIGINT"), ("amount", "BIGINT"), ("note", "VARCHAR")];
    let schema = table("orders", &columns, Some(vec![0]));
    if has_key { schema } else { told(schema) }
}

fn rows(schema: &TableSchema, ids: std::ops::Range<i64>, version: i64) -> RecordBatch {
    let column = |value: fn(i64, i64) -> i64| Int64Array::from_iter_values(ids.clone().map(|id| value(id, version)));
    let notes = StringArray::from_iter_values(ids.clone().map(|id| format!("note {}", id % 1000)));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(column(|id, _| id)),
        Arc::new(column(|id, _| id.wrapping_mul(2_654_435_761).rem_euclid(10_000))),
        Arc::new(column(|id, version| (id + version) % 1000)),
        Arc::new(notes),
    ];
    RecordBatch::try_new(schema.columns.clone(), columns).expect("the columns fit")
}

fn write_event(schema: &TableSchema, rows: RecordBatch) -> TableEvent {
    match &schema.identity {
        RowIdentity::Key(_) => TableEvent::Keyed(KeyedChanges {
            ops: vec![KeyedOp::Upsert; rows.num_rows()],
            unchanged: vec![None; rows.num_columns()],
            rows,
        }),
        RowIdentity::Rowid | RowIdentity::WholeRow => TableEvent::Rows(ZSet::uniform(rows, 1)),
    }
}

/// One transaction that writes `ids`, in events as a source sends them.
fn write(harness: &mut Harness, schema: &TableSchema, ids: std::ops::Range<i64>, version: i64) -> Vec<ViewDelta> {
    for from in ids.clone().step_by(EVENT_ROWS as usize) {
        let event = write_event(schema, rows(schema, from..(from + EVENT_ROWS).min(ids.end), version));
        harness.engine().feed(&schema.name, event).expect("the event is taken");
    }
    harness.engine().step().expect("the epoch is applied")
}

fn entries(deltas: &[ViewDelta], view: &str) -> usize {
    let batches = deltas.iter().filter(|delta| delta.view.as_str() == view).flat_map(|delta| &delta.batches);
    batches.map(tidegate_core::DeltaBatch::len).sum()
}

const LARGE_VIEWS: &[(&str, &str)] = &[
    (
        "per_customer",
        "SELECT customer, count(*) AS n, sum(amount) AS total, max(amount) AS most FROM lake.orders GROUP BY customer",
    ),
    ("few", "SELECT id, note FROM lake.orders WHERE id % 1000 = 7"),
    ("totals", "SELECT count(*) AS customers, sum(n) AS orders, sum(total) AS total FROM per_customer"),
];

/// A large insert, and then nearly the same rows again after a TRUNCATE.
fn large(has_key: bool, rows: i64) {
    let schema = wide(has_key);
    let mut harness = Harness::new(std::slice::from_ref(&schema), LARGE_VIEWS, 2);
    harness.engine().set_part_rows(100_000);
    harness.rebuild(RebuildScope::All, "initial load");
    let deltas = write(&mut harness, &schema, 0..rows, 0);
    assert_eq!(entries(&deltas, "per_customer"), 10_000);
    assert_eq!(entries(&deltas, "few"), rows as usize / 1000);
    let totals = deltas.iter().find(|delta| delta.view.as_str() == "totals").expect("the totals changed");
    let orders = totals.batches[0].rows.column(1).as_any().downcast_ref::<Decimal128Array>().expect("a HUGEINT");
    assert_eq!(orders.iter().collect::<Vec<_>>(), [None, Some(i128::from(rows))]);
    harness.engine().feed(&schema.name, TableEvent::Truncate).expect("the event is taken");
    let deltas = write(&mut harness, &schema, 10_000..rows, 0);
    assert_eq!(entries(&deltas, "few"), 10, "ten rows of this view are gone");
    harness.engine().feed(&schema.name, TableEvent::Truncate).expect("the event is taken");
    let deltas = harness.engine().step().expect("the epoch is applied");
    assert_eq!(entries(&deltas, "few"), rows as usize / 1000 - 10);
    harness.forget_deltas();
    harness.check("everything is gone");
}

#[test]
fn a_large_epoch_of_a_keyed_table() {
    large(true, 2_000_000);
}

#[test]
fn a_large_epoch_of_a_told_table() {
    large(false, 500_000);
}

/// Both images of a key stand together in one batch, wherever the batches end and whatever column the
/// key is.
#[test]
fn images_of_one_key_are_not_torn() {
    let schema = wide(true);
    let views =
        [("key_first", "SELECT id, amount FROM lake.orders"), ("key_last", "SELECT note, amount, id FROM lake.orders")];
    let mut harness = Harness::new(std::slice::from_ref(&schema), &views, 1);
    harness.rebuild(RebuildScope::All, "initial load");
    let rows = 100_000;
    write(&mut harness, &schema, 0..rows, 0);
    // An odd number of single images stands before the pairs.
    let event = write_event(&schema, self::rows(&schema, -3..0, 0));
    harness.engine().feed(&schema.name, event).expect("the event is taken");
    let deltas = write(&mut harness, &schema, 0..rows, 1);
    for view in ["key_first", "key_last"] {
        assert_eq!(entries(&deltas, view), 2 * rows as usize + 3, "{view}");
        for batch in deltas.iter().filter(|delta| delta.view.as_str() == view).flat_map(|delta| &delta.batches) {
            let id = batch.rows.column_by_name("id").expect("the key is a column");
            let id = id.as_any().downcast_ref::<Int64Array>().expect("a BIGINT");
            for row in 0..batch.len() {
                match batch.change[row] {
                    ChangeType::UpdatePreimage => {
                        assert_eq!(batch.change[row + 1], ChangeType::UpdatePostimage, "{view}");
                        assert_eq!(id.value(row), id.value(row + 1), "{view}");
                    }
                    ChangeType::UpdatePostimage => {
                        assert_eq!(batch.change[row - 1], ChangeType::UpdatePreimage, "{view}");
                    }
                    ChangeType::Insert => assert!(id.value(row) < 0, "{view}"),
                    ChangeType::Delete => panic!("{view}: nothing was deleted"),
                }
            }
        }
    }
}

/// `VmHWM` of this process, in MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("Linux tells the peak");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number of KiB") / 1024
}

/// Most of it is the table state: 10 million rows of some 180 bytes, beyond the limit on disk.
#[test]
#[ignore = "measures the memory of the whole process: run it alone"]
fn ten_million_rows_need_less_than_a_gibibyte() {
    let schema = wide(true);
    let mut harness = Harness::new(std::slice::from_ref(&schema), LARGE_VIEWS, 1);
    harness.create(EngineOptions::new(1, Some(512 << 20)));
    harness.rebuild(RebuildScope::All, "initial load");
    let before = peak_mib();
    let deltas = write(&mut harness, &schema, 0..10_000_000, 0);
    assert_eq!(entries(&deltas, "per_customer"), 10_000);
    println!("{before} MiB before, {} MiB after", peak_mib());
    assert!(peak_mib() < 1024);
}
