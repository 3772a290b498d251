//! Changed programs: what is rebuilt, what is left alone, what goes downstream.

use tidegate_core::{DeltaKind, ViewName};
use tidegate_engine::RebuildScope;
use tidegate_testkit::rows;

use crate::harness::Harness;
use crate::random::tables;

const VIEWS: &[(&str, &str)] = &[
    ("per_customer", "SELECT customer, count(*) AS n FROM lake.orders GROUP BY customer"),
    ("busy", "SELECT customer FROM per_customer WHERE n > 1"),
    ("customers", "SELECT * FROM lake.customers"),
];

fn loaded() -> Harness {
    let [orders, customers] = tables(None);
    let mut harness = Harness::new(&[orders.clone(), customers.clone()], VIEWS, 1);
    harness.rebuild(RebuildScope::All, "initial load");
    harness
        .feed(&orders.name, rows::inserted(&orders.columns, "(1, 1, 5, 1, 'a'), (2, 1, 6, 1, 'b'), (3, 2, 7, 1, 'c')"));
    harness.feed(&customers.name, rows::inserted(&customers.columns, "(1, 'north', 1)"));
    harness.step("first epoch");
    harness
}

#[test]
fn a_changed_view_is_rebuilt_alone_and_reaches_its_readers_as_a_delta() {
    let mut harness = loaded();
    harness.views[0].1 = "SELECT customer, count(*) AS n FROM lake.orders WHERE amount > 5 GROUP BY customer".into();
    let program = harness.program();
    assert_eq!(harness.engine().would_rebuild(&program).unwrap(), [ViewName::from("per_customer")]);
    let deltas = harness.rebuild(RebuildScope::Changed, "changed view");
    let kinds: Vec<_> = deltas.iter().map(|delta| (delta.view.as_str(), delta.kind)).collect();
    assert_eq!(kinds, [("per_customer", DeltaKind::Changes), ("busy", DeltaKind::Changes)]);
    assert_eq!(deltas[0].batches[0].len(), 2, "one customer's count changed: a preimage and a postimage");
}

#[test]
fn other_columns_replace_the_view() {
    let mut harness = loaded();
    harness.views[2].1 = "SELECT id FROM lake.customers".into();
    let deltas = harness.rebuild(RebuildScope::Changed, "other columns");
    assert_eq!(deltas.len(), 1);
    assert_eq!((deltas[0].view.as_str(), deltas[0].kind), ("customers", DeltaKind::Replace));
}

#[test]
fn views_come_and_go() {
    let mut harness = loaded();
    harness.views.remove(2);
    harness.views.push(("notes".into(), "SELECT note FROM lake.orders".into()));
    let deltas = harness.rebuild(RebuildScope::Changed, "another view");
    assert_eq!(deltas.len(), 1);
    assert_eq!(harness.engine().stats().len(), 3);
    assert!(harness.engine().rows(&ViewName::from("customers")).is_err());
}

#[test]
fn an_aborted_rebuild_leaves_everything_as_it_was() {
    let mut harness = loaded();
    let program = harness.program();
    harness.engine().begin_rebuild(program, RebuildScope::All).expect("the rebuild begins");
    harness.engine().abort_rebuild();
    harness.check("aborted");
    let saved = harness.checkpoint();
    harness.resume(&saved, 1);
    harness.check("resumed");
}

#[test]
fn a_step_without_events_changes_nothing() {
    let mut harness = loaded();
    let before: Vec<u64> = harness.engine().stats().iter().map(|stats| stats.steps).collect();
    assert!(harness.step("empty epoch").is_empty());
    let after: Vec<u64> = harness.engine().stats().iter().map(|stats| stats.steps).collect();
    assert_eq!(before, after, "circuits without input do not run");
}

#[test]
fn the_older_of_two_checkpoints_can_be_resumed() {
    let mut harness = loaded();
    let tables = harness.tables.clone();
    let older = harness.checkpoint();
    let [orders, _] = crate::random::tables(None);
    harness.feed(&orders.name, rows::inserted(&orders.columns, "(9, 9, 9, 9, 'z')"));
    harness.step("second epoch");
    let newer = harness.checkpoint();
    harness.engine().retain(&[older.clone(), newer]).expect("both are kept");
    harness.tables = tables;
    harness.resume(&older, 1);
    harness.engine().retain(std::slice::from_ref(&older)).expect("the newer is forgotten");
    let rows: u64 = harness.engine().stats().iter().map(|stats| stats.rows).sum();
    assert_eq!(rows, 4, "two groups, one busy customer, one customer");
}
