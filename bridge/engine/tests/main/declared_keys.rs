//! Keys that views declare and nothing proves: checked after every epoch, by the change.

use tidegate_core::ErrorKind;
use tidegate_engine::{EngineError, RebuildScope};
use tidegate_testkit::rows::{deleted, inserted};

use crate::harness::Harness;
use crate::random::tables;

const VIEWS: &[(&str, &str)] = &[
    ("bills", "SELECT note, id AS bill, amount, customer FROM lake.orders"),
    ("large", "SELECT bill, amount * 2 AS twice FROM bills WHERE amount > 3"),
];

/// The views with the key (bill, customer), after a first load of these orders.
fn loaded(rows: &str, workers: usize) -> Harness {
    let [orders, customers] = tables(None);
    let mut harness = Harness::new(&[orders.clone(), customers], VIEWS, workers);
    harness.keys.insert("bills".into(), vec!["bill".to_owned(), "Customer".to_owned()]);
    harness.keys.insert("large".into(), vec!["bill".to_owned()]);
    harness.tables.get_mut(&orders.name).unwrap().apply(&inserted(&orders.columns, rows));
    harness
}

fn orders(harness: &Harness) -> tidegate_core::TableSchema {
    harness.tables.values().map(|table| table.schema().clone()).find(|table| table.name.table == "orders").unwrap()
}

#[test]
fn rows_with_keys_of_their_own_come_change_and_go() {
    for workers in [1, 2] {
        let mut harness = loaded("(1, 1, 5, 1, 'a'), (2, NULL, 5, 1, 'b')", workers);
        let orders = orders(&harness);
        harness.rebuild(RebuildScope::All, "initial load");
        let (table, columns) = (&orders.name, &orders.columns);
        harness.feed(table, inserted(columns, "(1, 2, 1, 1, 'c'), (3, NULL, 7, 1, NULL)"));
        harness.step("other keys");
        let saved = harness.checkpoint();
        harness.resume(&saved, workers);
        harness.feed(table, deleted(columns, "(3, NULL, 7, 1, NULL)"));
        harness.feed(table, inserted(columns, "(3, NULL, 8, 1, 'x')"));
        harness.step("a row takes the place of one with its key");
        harness.feed(table, deleted(columns, "(1, 1, 5, 1, 'a')"));
        harness.step("one goes");
        harness.feed(table, inserted(columns, "(1, 1, 6, 1, 'b')"));
        harness.step("and another comes with its key");
    }
}

/// Two rows with one key, that come in one epoch or in two, as copies or with other columns, or by a load.
#[test]
fn two_rows_with_one_key_stop_the_view() {
    let violations: [(&str, &[&str]); 4] = [
        ("with a row that was there", &["(2, 4, 1, 1, 'x')"]),
        ("with each other", &["(3, 4, 1, 1, 'x'), (3, 4, 2, 1, 'x')"]),
        ("as copies", &["(3, 4, 1, 1, 'x'), (3, 4, 1, 1, 'x')"]),
        ("one epoch later", &["(3, 4, 1, 1, 'x')", "(3, 4, 2, 1, 'y')"]),
    ];
    for (what, epochs) in violations {
        for workers in [1, 2] {
            let mut harness = loaded("(2, 4, 5, 1, 'secret')", workers);
            let orders = orders(&harness);
            harness.rebuild(RebuildScope::All, "initial load");
            let (last, before) = epochs.split_last().unwrap();
            for rows in before {
                harness.feed(&orders.name, inserted(&orders.columns, rows));
                harness.step(what);
            }
            let saved = harness.checkpoint();
            harness.resume(&saved, workers);
            harness.feed(&orders.name, inserted(&orders.columns, last));
            told(&harness.engine().step().expect_err(what), what);
        }
    }
    let mut harness = loaded("(3, 4, 5, 1, 'secret'), (3, 4, 1, 1, 'other')", 1);
    let program = harness.program();
    let wanted = harness.engine().begin_rebuild(program, RebuildScope::All).unwrap();
    for table in wanted {
        if let Some(event) = harness.tables[&table].as_event() {
            harness.engine().load(&table, event).unwrap();
        }
    }
    told(&harness.engine().finish_rebuild().expect_err("a load"), "a load");
}

/// The error names the view, and of the row no more than its key.
fn told(error: &EngineError, what: &str) {
    let shown = error.to_string();
    for part in ["bills", "bill = ", "customer = 4"] {
        assert!(shown.contains(part), "{what}: {shown}");
    }
    assert!(!shown.contains("secret") && error.kind() == ErrorKind::Stop, "{what}: {shown}");
}
