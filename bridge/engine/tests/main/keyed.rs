//! Keyed tables: upserts, deletes, unchanged columns, TRUNCATE, reloads, and views over old data.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, new_null_array};
use arrow::compute::concat_batches;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::{KeyedChanges, KeyedOp, TableEvent, TableName, TableSchema};
use tidegate_engine::RebuildScope;
use tidegate_testkit::{TableContents, rows, seed};

use crate::harness::Harness;
use crate::random::{VIEWS, customer, order, tables};

pub fn upserts(schema: &TableSchema, values: &str) -> TableEvent {
    let rows = rows::batch(&schema.columns, values);
    TableEvent::Keyed(KeyedChanges {
        ops: vec![KeyedOp::Upsert; rows.num_rows()],
        unchanged: vec![None; rows.num_columns()],
        rows,
    })
}

pub fn delete(row: RecordBatch) -> TableEvent {
    // Only the key column of a delete is meaningful.
    let columns = row.columns().iter().enumerate();
    let columns = columns.map(|(i, c)| if i == 0 { Arc::clone(c) } else { new_null_array(c.data_type(), 1) }).collect();
    let rows = RecordBatch::try_new(row.schema(), columns).expect("the columns fit");
    TableEvent::Keyed(KeyedChanges { ops: vec![KeyedOp::Delete], unchanged: vec![None; rows.num_columns()], rows })
}

/// An update that leaves out the last column.
pub fn update_but_last(schema: &TableSchema, key_of: &RecordBatch, values: &str) -> TableEvent {
    let new = rows::batch(&schema.columns, values);
    let mut columns = new.columns().to_vec();
    columns[0] = Arc::clone(key_of.column(0));
    let last = columns.len() - 1;
    columns[last] = new_null_array(columns[last].data_type(), 1);
    let mut unchanged = vec![None; columns.len()];
    unchanged[last] = Some(BooleanArray::from(vec![true]));
    let rows = RecordBatch::try_new(Arc::clone(&schema.columns), columns).expect("the columns fit");
    TableEvent::Keyed(KeyedChanges { ops: vec![KeyedOp::Upsert], rows, unchanged })
}

pub type Event = (TableName, TableEvent);

/// A few random events of a table whose content is known; the content gets them, too.
pub fn events(contents: &mut TableContents, rng: &mut StdRng, row: fn(&mut StdRng) -> String) -> Vec<Event> {
    let schema = contents.schema().clone();
    let mut events = Vec::new();
    for _ in 0..rng.random_range(0..4) {
        let present = contents.batch();
        let event = match rng.random_range(0..12) {
            0..=3 => upserts(&schema, &row(rng)),
            4..=5 if present.num_rows() > 0 => delete(present.slice(rng.random_range(0..present.num_rows()), 1)),
            6..=7 if present.num_rows() > 0 => {
                let key_of = present.slice(rng.random_range(0..present.num_rows()), 1);
                update_but_last(&schema, &key_of, &row(rng))
            }
            8 if rng.random_ratio(1, 3) => TableEvent::Truncate,
            9..=10 if present.num_rows() > 0 => mixed(&schema, &present, rng, row),
            _ => upserts(&schema, &row(rng)),
        };
        contents.apply(&event);
        events.push((schema.name.clone(), event));
    }
    events
}

/// Several changes in one event: upserts with and without marks, deletes, and changes of keys.
fn mixed(schema: &TableSchema, present: &RecordBatch, rng: &mut StdRng, row: fn(&mut StdRng) -> String) -> TableEvent {
    let values = present.num_columns();
    let mut model = TableContents::new(schema.clone());
    model.apply(&TableEvent::Keyed(KeyedChanges {
        ops: vec![KeyedOp::Upsert; present.num_rows()],
        rows: present.clone(),
        unchanged: vec![None; values],
    }));
    let (mut ops, mut rows, mut marks) = (Vec::new(), Vec::new(), vec![Vec::new(); values]);
    for _ in 0..rng.random_range(2..8) {
        let held = model.batch();
        let new = rows::batch(&schema.columns, &row(rng));
        let known = (held.num_rows() > 0).then(|| held.slice(rng.random_range(0..held.num_rows()), 1));
        let step = match (rng.random_range(0..5), known) {
            (0, Some(known)) => vec![(KeyedOp::Delete, known, false)],
            (1..=2, Some(known)) => {
                let columns = [&known.columns()[..1], &new.columns()[1..]].concat();
                let row = RecordBatch::try_new(new.schema(), columns).expect("the columns fit");
                vec![(KeyedOp::Upsert, row, true)]
            }
            (3, Some(known)) => vec![(KeyedOp::Delete, known, false), (KeyedOp::Rekeyed, new, true)],
            _ => vec![(KeyedOp::Upsert, new, false)],
        };
        let first = ops.len();
        for (op, row, has_marks) in step {
            ops.push(op);
            rows.push(row);
            for (column, marks) in marks.iter_mut().enumerate() {
                marks.push(has_marks && column > 0 && rng.random_ratio(1, 2));
            }
        }
        let part = |from: usize| KeyedChanges {
            ops: ops[from..].to_vec(),
            rows: concat_batches(&schema.columns, &rows[from..]).expect("rows of one table"),
            unchanged: marks.iter().map(|marks| Some(BooleanArray::from(marks[from..].to_vec()))).collect(),
        };
        model.apply(&TableEvent::Keyed(part(first)));
    }
    TableEvent::Keyed(KeyedChanges {
        ops,
        rows: concat_batches(&schema.columns, &rows).expect("rows of one table"),
        unchanged: marks.into_iter().map(|marks| Some(BooleanArray::from(marks))).collect(),
    })
}

fn change(harness: &mut Harness, rng: &mut StdRng, schema: &TableSchema, row: fn(&mut StdRng) -> String) {
    for (table, event) in events(&mut harness.tables[&schema.name].clone(), rng, row) {
        harness.feed(&table, event);
    }
}

/// Epochs of random changes of tables with keys, with restarts and reloads in between.
pub fn run(views: &[(&str, &str)], seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let [orders, customers] = tables(Some(vec![0]));
    let workers = rng.random_range(1..3);
    let mut harness = Harness::new(&[orders.clone(), customers.clone()], views, workers);
    let what = format!("seed {seed}");
    harness.rebuild(RebuildScope::All, &format!("{what}: initial load"));
    for epoch in 0..20 {
        let what = format!("{what}, epoch {epoch}");
        change(&mut harness, &mut rng, &orders, order);
        change(&mut harness, &mut rng, &customers, customer);
        harness.step(&what);
        match rng.random_range(0..10) {
            0 => {
                let saved = harness.checkpoint();
                harness.resume(&saved, workers);
                harness.check(&format!("{what}: resumed"));
            }
            1 => {
                let deltas = harness.rebuild(RebuildScope::All, &format!("{what}: reloaded"));
                assert!(deltas.is_empty(), "{what}: a reload of the same rows changes nothing");
            }
            _ => {}
        }
    }
}

#[test]
fn keyed_tables_equal_a_recompute_after_every_epoch() {
    let seed = seed::seed("keyed_tables_equal_a_recompute_after_every_epoch");
    for sequence in 0..seed::sequences(4) {
        run(VIEWS, seed.wrapping_add(sequence));
    }
}

#[test]
fn a_new_view_is_loaded_from_the_table_state() {
    let [orders, customers] = tables(Some(vec![0]));
    let mut harness = Harness::new(&[orders.clone(), customers], &VIEWS[..1], 1);
    harness.rebuild(RebuildScope::All, "initial load");
    harness.feed(&orders.name, upserts(&orders, "(1, 1, 1, 1, 'a'), (2, 1, 1, 1, 'b')"));
    harness.step("first epoch");
    harness.views.push(("notes".into(), "SELECT note FROM lake.orders".into()));
    let program = harness.program();
    let wanted = harness.engine().begin_rebuild(program, RebuildScope::Changed).expect("the rebuild begins");
    assert!(wanted.is_empty(), "the table state has the rows: {wanted:?}");
    harness.rebuild(RebuildScope::Changed, "new view over old data");
}

#[test]
fn unchanged_columns_of_an_unknown_row_are_refused() {
    let [orders, customers] = tables(Some(vec![0]));
    let mut harness = Harness::new(&[orders.clone(), customers], &VIEWS[..1], 1);
    harness.rebuild(RebuildScope::All, "initial load");
    let known = rows::batch(&orders.columns, "(7, 1, 1, 1, 'a')");
    let event = update_but_last(&orders, &known, "(7, 1, 1, 1, 'a')");
    let error = harness.engine().feed(&orders.name, event).expect_err("there is no row to take the value from");
    assert!(error.to_string().contains("left out of a row that is not known"), "{error}");
}
