//! Keyed tables: upserts, deletes, unchanged columns, TRUNCATE, reloads, and views over old data.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, new_null_array};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::{KeyedChanges, KeyedOp, TableEvent, TableSchema};
use tidegate_engine::RebuildScope;
use tidegate_testkit::{rows, seed};

use crate::harness::Harness;
use crate::random::{VIEWS, customer, order, tables};

fn upserts(schema: &TableSchema, values: &str) -> TableEvent {
    let rows = rows::batch(&schema.columns, values);
    TableEvent::Keyed(KeyedChanges {
        ops: vec![KeyedOp::Upsert; rows.num_rows()],
        unchanged: vec![None; rows.num_columns()],
        rows,
    })
}

fn delete(row: RecordBatch) -> TableEvent {
    // Only the key column of a delete is meaningful.
    let columns = row.columns().iter().enumerate();
    let columns = columns.map(|(i, c)| if i == 0 { Arc::clone(c) } else { new_null_array(c.data_type(), 1) }).collect();
    let rows = RecordBatch::try_new(row.schema(), columns).expect("the columns fit");
    TableEvent::Keyed(KeyedChanges { ops: vec![KeyedOp::Delete], unchanged: vec![None; rows.num_columns()], rows })
}

/// An update that leaves out the last column.
fn update_but_last(schema: &TableSchema, key_of: &RecordBatch, values: &str) -> TableEvent {
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

fn change(harness: &mut Harness, rng: &mut StdRng, schema: &TableSchema, row: fn(&mut StdRng) -> String) {
    for _ in 0..rng.random_range(0..4) {
        let present = harness.tables[&schema.name].batch();
        let event = match rng.random_range(0..10) {
            0..=3 => upserts(schema, &row(rng)),
            4..=5 if present.num_rows() > 0 => delete(present.slice(rng.random_range(0..present.num_rows()), 1)),
            6..=7 if present.num_rows() > 0 => {
                let key_of = present.slice(rng.random_range(0..present.num_rows()), 1);
                update_but_last(schema, &key_of, &row(rng))
            }
            8 if rng.random_ratio(1, 3) => TableEvent::Truncate,
            _ => upserts(schema, &row(rng)),
        };
        harness.feed(&schema.name, event);
    }
}

fn run(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let [orders, customers] = tables(Some(vec![0]));
    let workers = rng.random_range(1..3);
    let mut harness = Harness::new(&[orders.clone(), customers.clone()], VIEWS, workers);
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
        run(seed.wrapping_add(sequence));
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
