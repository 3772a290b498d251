//! A subquery that stands for one value, where nothing but its rows can show that it is one.

use tidegate_engine::RebuildScope;
use tidegate_testkit::rows::{deleted, inserted};

use crate::harness::Harness;
use crate::random::tables;

const VIEWS: &[(&str, &str)] = &[
    ("compared", "SELECT id FROM lake.orders WHERE customer = (SELECT rating FROM lake.customers WHERE id = 3)"),
    ("selected", "SELECT id, (SELECT DISTINCT region FROM lake.customers WHERE id = 3) AS region FROM lake.orders"),
    (
        "within",
        "SELECT id FROM lake.orders WHERE customer IN (SELECT id FROM lake.customers \
         WHERE rating = (SELECT rating FROM lake.customers WHERE id = 3))",
    ),
];

#[test]
fn a_subquery_of_one_row_is_its_value() {
    for workers in [1, 2] {
        let [orders, customers] = tables(None);
        let mut harness = Harness::new(&[orders.clone(), customers.clone()], VIEWS, workers);
        harness.rebuild(RebuildScope::All, "initial load");
        let rows = "(1, 1, 5, 1, 'a'), (2, 2, 5, 1, 'b'), (3, NULL, 5, 1, 'c')";
        harness.feed(&orders.name, inserted(&orders.columns, rows));
        harness.feed(&customers.name, inserted(&customers.columns, "(1, 'north', 2), (2, 'south', 1)"));
        harness.step("no row");
        harness.feed(&customers.name, inserted(&customers.columns, "(3, 'north', 1)"));
        harness.step("one row");
        harness.feed(&customers.name, deleted(&customers.columns, "(3, 'north', 1)"));
        harness.feed(&customers.name, inserted(&customers.columns, "(3, 'south', 2)"));
        harness.step("another row");
        let saved = harness.checkpoint();
        harness.resume(&saved, workers);
        harness.feed(&customers.name, deleted(&customers.columns, "(3, 'south', 2)"));
        harness.feed(&customers.name, inserted(&customers.columns, "(3, NULL, NULL)"));
        harness.step("a row of NULLs");
        harness.feed(&customers.name, deleted(&customers.columns, "(3, NULL, NULL)"));
        harness.step("none again");
    }
}

/// DuckDB fails too: `More than one row returned by a subquery used as an expression`.
#[test]
fn several_rows_stop_the_view() {
    for ((name, sql), rows) in VIEWS.iter().zip([
        "(3, 'north', 1), (3, 'north', 1)",
        "(3, 'north', 1), (3, 'south', 1)",
        "(3, 'north', 1), (3, 'north', 2)",
    ]) {
        let [orders, customers] = tables(None);
        let mut harness = Harness::new(&[orders.clone(), customers.clone()], &[(name, sql)], 1);
        harness.rebuild(RebuildScope::All, "initial load");
        harness.feed(&orders.name, inserted(&orders.columns, "(1, 1, 5, 1, 'a')"));
        harness.feed(&customers.name, inserted(&customers.columns, rows));
        let error = harness.engine().step().expect_err("two rows are no value");
        let shown = error.to_string();
        assert!(shown.contains(name) && shown.contains("more than one row") && shown.contains("max"), "{shown}");
    }
}
