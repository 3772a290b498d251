//! Table states in rebuilds: those that are kept and told what happened meanwhile, those that are read
//! anew, and what goes downstream of either.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::{DeltaKind, Integral, RowIdentity, TableEvent, TableName, TableSchema, ViewDelta, ViewName};
use tidegate_engine::{EngineError, RebuildScope};
use tidegate_testkit::{rows, seed};

use crate::harness::{Harness, told};
use crate::random::{VIEWS as ALL_VIEWS, customer, order, tables};
use crate::{keyed, told as whole};

const VIEWS: &[(&str, &str)] = &[
    ("amounts", "SELECT id, amount FROM lake.orders"),
    ("joined", "SELECT o.id, c.region FROM lake.orders o JOIN lake.customers c ON o.customer = c.id"),
    ("regions", "SELECT region, count(*) AS n FROM joined GROUP BY region"),
    ("all_customers", "SELECT * FROM lake.customers"),
];

/// Orders with a key and customers without one, with some rows.
fn loaded() -> (Harness, TableSchema, TableSchema) {
    let ([orders, _], [_, customers]) = (tables(Some(vec![0])), tables(None).map(told));
    let mut harness = Harness::new(&[orders.clone(), customers.clone()], VIEWS, 1);
    harness.rebuild(RebuildScope::All, "initial load");
    harness.feed(&orders.name, keyed::upserts(&orders, "(1, 1, 1, 1, 'a'), (2, 1, 2, 1, 'b'), (3, 2, 3, 1, 'c')"));
    harness
        .feed(&customers.name, rows::inserted(&customers.columns, "(1, 'north', 1), (2, 'south', 2), (2, 'south', 2)"));
    harness.step("first epoch");
    (harness, orders, customers)
}

fn names(deltas: &[ViewDelta]) -> Vec<(&str, DeltaKind, usize)> {
    let entries = |delta: &ViewDelta| delta.batches.iter().map(|batch| batch.len()).sum();
    deltas.iter().map(|delta| (delta.view.as_str(), delta.kind, entries(delta))).collect()
}

fn steps(harness: &mut Harness, view: &str) -> u64 {
    let stats = harness.engine().stats();
    stats.iter().find(|stats| stats.view.as_str() == view).expect("the view has figures").steps
}

fn full_steps(harness: &mut Harness) -> Vec<(String, u64, u64)> {
    let stats = harness.engine().stats();
    stats.iter().map(|stats| (stats.view.to_string(), stats.steps, stats.full_steps)).collect()
}

#[test]
fn full_steps_are_counted_apart() {
    let (mut harness, _, customers) = loaded();
    assert!(
        full_steps(&mut harness).iter().all(|(_, steps, full)| (*steps, *full) == (1, 1)),
        "loading is a full step, the first epoch is none"
    );
    harness.feed(&customers.name, rows::deleted(&customers.columns, "(2, 'south', 2)"));
    harness.step("a change");
    let counts = full_steps(&mut harness);
    assert!(counts.contains(&("all_customers".to_owned(), 2, 1)), "{counts:?}");
    assert!(counts.contains(&("amounts".to_owned(), 1, 1)), "{counts:?}: it does not read customers");
    let saved = harness.checkpoint();
    harness.resume(&saved, 1);
    assert_eq!(full_steps(&mut harness), counts, "both are part of the state");
    harness.rebuild_after(Vec::new(), RebuildScope::All, "all views are built anew");
    assert!(full_steps(&mut harness).iter().all(|(_, steps, full)| (*steps, *full) == (0, 2)));
}

#[test]
fn kept_states_are_told_what_happened_meanwhile() {
    let (mut harness, orders, customers) = loaded();
    let before = steps(&mut harness, "joined");
    harness.views.push(("notes".into(), "SELECT note FROM lake.orders".into()));
    let events = vec![
        (orders.name.clone(), keyed::upserts(&orders, "(2, 2, 2, 1, 'x')")),
        (customers.name.clone(), rows::deleted(&customers.columns, "(2, 'south', 2)")),
        (orders.name.clone(), keyed::upserts(&orders, "(4, 1, 4, 1, 'd')")),
    ];
    let (wanted, deltas) = harness.rebuild_after(events, RebuildScope::Changed, "new view at a later position");
    assert!(wanted.is_empty(), "{wanted:?}");
    assert_eq!(
        names(&deltas),
        [
            ("amounts", DeltaKind::Changes, 1),
            ("joined", DeltaKind::Changes, 4),
            ("all_customers", DeltaKind::Changes, 1),
            ("notes", DeltaKind::Replace, 0),
        ]
    );
    assert_eq!(steps(&mut harness, "joined"), before + 1, "a view that is not new goes on");
}

#[test]
fn tables_read_anew_give_differences_only() {
    let (mut harness, orders, customers) = loaded();
    let before = steps(&mut harness, "joined");
    let scope = RebuildScope::Tables([orders.name.clone(), customers.name.clone()].into());
    let (wanted, deltas) = harness.rebuild_after(Vec::new(), scope.clone(), "the same rows");
    assert_eq!(wanted, [customers.name.clone(), orders.name.clone()]);
    assert!(deltas.is_empty(), "{:?}", names(&deltas));
    let missed = vec![
        (orders.name.clone(), keyed::upserts(&orders, "(3, 1, 3, 1, 'c'), (4, 2, 4, 1, 'd')")),
        (customers.name.clone(), rows::deleted(&customers.columns, "(2, 'south', 2)")),
    ];
    let (_, deltas) = harness.rebuild_after(missed, scope, "other rows");
    assert_eq!(
        names(&deltas),
        [
            ("amounts", DeltaKind::Changes, 1),
            ("joined", DeltaKind::Changes, 3),
            ("regions", DeltaKind::Changes, 4),
            ("all_customers", DeltaKind::Changes, 1),
        ]
    );
    assert_eq!(steps(&mut harness, "joined"), before + 1, "the views were not built anew");
    let saved = harness.checkpoint();
    harness.resume(&saved, 1);
    harness.check("resumed");
    harness.engine().retain(&[saved]).expect("the folders of the old states are removed");
    harness.feed(&orders.name, TableEvent::Truncate);
    harness.step("the new state is in force");
}

#[test]
fn one_table_is_read_anew_and_the_other_one_is_told() {
    let (mut harness, orders, customers) = loaded();
    let events = vec![
        (orders.name.clone(), keyed::delete(rows::batch(&orders.columns, "(1, 1, 1, 1, 'a')"))),
        (customers.name.clone(), TableEvent::Truncate),
        (customers.name.clone(), rows::inserted(&customers.columns, "(1, 'west', 1)")),
    ];
    let scope = RebuildScope::Tables([orders.name.clone()].into());
    let (wanted, deltas) = harness.rebuild_after(events, scope, "orders anew");
    assert_eq!(wanted, [orders.name]);
    assert!(deltas.iter().all(|delta| delta.kind == DeltaKind::Changes));
}

#[test]
fn a_table_whose_content_the_source_keeps_is_read_anew_for_new_circuits() {
    let [orders, customers] = tables(None);
    let mut harness = Harness::new(&[orders.clone(), told(customers)], VIEWS, 1);
    harness.rebuild(RebuildScope::All, "initial load");
    harness.feed(&orders.name, rows::inserted(&orders.columns, "(1, 1, 1, 1, 'a')"));
    harness.step("first epoch");
    let missed = vec![(orders.name.clone(), rows::inserted(&orders.columns, "(2, 2, 2, 1, 'b')"))];
    let scope = RebuildScope::Tables([orders.name.clone()].into());
    let (wanted, deltas) = harness.rebuild_after(missed, scope, "orders anew");
    assert_eq!(wanted, [orders.name]);
    assert_eq!(names(&deltas), [("amounts", DeltaKind::Changes, 1)]);
}

#[test]
fn readers_of_a_table_without_a_fitting_state_are_rebuilt() {
    let (mut harness, orders, customers) = loaded();
    // The plans of the views do not tell who keeps the table.
    let lake = TableSchema { integral: Integral::Source, ..customers.clone() };
    harness.redeclare(lake);
    let program = harness.program();
    assert!(harness.engine().would_rebuild(&program).unwrap().is_empty(), "what there is goes on without a state");
    harness.redeclare(customers.clone());
    harness.rebuild(RebuildScope::Changed, "nothing to do");
    let other = TableSchema { incarnation: 2, ..customers };
    harness.redeclare(other.clone());
    let program = harness.program();
    let rebuilt = harness.engine().would_rebuild(&program).unwrap();
    assert_eq!(rebuilt, ["joined", "all_customers"].map(ViewName::from));
    let events = vec![
        (orders.name.clone(), keyed::upserts(&orders, "(9, 1, 9, 1, 'z')")),
        (other.name.clone(), rows::inserted(&other.columns, "(1, 'north', 1)")),
    ];
    let (wanted, deltas) = harness.rebuild_after(events, RebuildScope::Changed, "another incarnation");
    assert_eq!(wanted, [other.name]);
    assert!(deltas.iter().all(|delta| delta.kind == DeltaKind::Changes), "{:?}", names(&deltas));
}

#[test]
fn another_row_identity_replaces_the_view() {
    let (mut harness, orders, _) = loaded();
    harness.redeclare(TableSchema { identity: RowIdentity::WholeRow, integral: Integral::Engine, ..orders.clone() });
    let row = rows::inserted(&orders.columns, "(1, 1, 1, 1, 'a'), (1, 1, 1, 1, 'a'), (1, 2, 2, 1, 'b')");
    let event = vec![(orders.name.clone(), row)];
    let (wanted, deltas) = harness.rebuild_after(event, RebuildScope::Changed, "without a key");
    assert_eq!(wanted, std::slice::from_ref(&orders.name));
    assert_eq!((deltas[0].view.as_str(), deltas[0].kind), ("amounts", DeltaKind::Replace));
    harness.redeclare(orders.clone());
    let deltas = harness.rebuild(RebuildScope::Changed, "with a key");
    assert_eq!((deltas[0].view.as_str(), deltas[0].kind), ("amounts", DeltaKind::Replace));
}

#[test]
fn a_table_that_changes_hands_has_its_state_made_and_dropped() {
    let [orders, customers] = tables(None);
    let mut harness = Harness::new(&[orders.clone(), customers], VIEWS, 1);
    harness.rebuild(RebuildScope::All, "initial load");
    harness.feed(&orders.name, rows::inserted(&orders.columns, "(1, 1, 1, 1, 'a'), (1, 1, 1, 1, 'a')"));
    harness.step("first epoch");
    harness.redeclare(told(orders.clone()));
    let program = harness.program();
    assert_eq!(harness.engine().would_rebuild(&program).unwrap(), ["amounts", "joined"].map(ViewName::from));
    let (wanted, deltas) = harness.rebuild_after(Vec::new(), RebuildScope::Changed, "now the engine keeps it");
    assert_eq!((wanted, deltas.len()), (vec![customers_name(), orders.name.clone()], 0));
    harness.feed(&orders.name, TableEvent::Truncate);
    harness.step("the state knows the rows");
    harness.redeclare(orders.clone());
    harness.rebuild(RebuildScope::All, "now the source keeps it");
    assert!(harness.engine().feed(&orders.name, TableEvent::Truncate).is_err(), "there is no state any more");
}

fn customers_name() -> TableName {
    TableName::new("lake", "main", "customers")
}

#[test]
fn an_aborted_rebuild_leaves_the_states_as_they_were() {
    let (mut harness, orders, customers) = loaded();
    for scope in [RebuildScope::Changed, RebuildScope::All, RebuildScope::Tables([orders.name.clone()].into())] {
        let program = harness.program();
        harness.engine().begin_rebuild(program, scope).expect("the rebuild begins");
        let events = [
            (&orders.name, keyed::upserts(&orders, "(1, 9, 9, 9, 'z'), (8, 8, 8, 8, 'y')")),
            (&orders.name, TableEvent::Truncate),
            (&customers.name, rows::inserted(&customers.columns, "(9, 'east', 9)")),
            (&customers.name, TableEvent::Truncate),
        ];
        for (table, event) in events {
            harness.engine().load(table, event).expect("the event is taken");
        }
        harness.engine().abort_rebuild();
        assert!(harness.step("nothing is pending").is_empty());
    }
    harness.feed(&orders.name, keyed::upserts(&orders, "(1, 1, 7, 1, 'a')"));
    harness.feed(&customers.name, rows::deleted(&customers.columns, "(2, 'south', 2)"));
    harness.step("the next epoch is over the old states");
    let saved = harness.checkpoint();
    harness.resume(&saved, 1);
    harness.check("resumed");
}

#[test]
fn a_kept_state_refuses_what_it_cannot_have_been_told() {
    let (mut harness, _, customers) = loaded();
    let program = harness.program();
    harness.engine().begin_rebuild(program, RebuildScope::Changed).expect("the rebuild begins");
    let event = rows::deleted(&customers.columns, "(9, 'east', 9)");
    harness.engine().load(&customers.name, event).expect("it may follow");
    let error = harness.engine().finish_rebuild().expect_err("it did not follow");
    assert!(matches!(error, EngineError::InconsistentTable { .. }), "{error}");
}

fn run(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let [orders, _] = tables(Some(vec![0]));
    let [other_orders, customers] = tables(None).map(told);
    let mut workers = rng.random_range(1..3);
    let views = &ALL_VIEWS[..10];
    let mut harness = Harness::new(&[orders.clone(), customers.clone()], views, workers);
    harness.engine().set_part_rows([2, 5, 1_000][rng.random_range(0..3)]);
    let what = format!("seed {seed}");
    harness.rebuild(RebuildScope::All, &format!("{what}: initial load"));
    for epoch in 0..20 {
        let what = format!("{what}, epoch {epoch}");
        let contents = &mut harness.tables[&orders.name].clone();
        let mut happened = match contents.schema().identity {
            RowIdentity::Key(_) => keyed::events(contents, &mut rng, order),
            _ => whole::events(contents, &mut rng, order),
        };
        happened.extend(whole::events(&mut harness.tables[&customers.name].clone(), &mut rng, customer));
        let scope = match rng.random_range(0..12) {
            0 => RebuildScope::All,
            1 => RebuildScope::Changed,
            2 => {
                harness.toggle("extra", "SELECT note, count(*) AS n FROM lake.orders GROUP BY note");
                RebuildScope::Changed
            }
            3 => RebuildScope::Tables([orders.name.clone()].into()),
            4 => RebuildScope::Tables([customers.name.clone(), orders.name.clone()].into()),
            5 => {
                let has_key = harness.tables[&orders.name].schema().identity != RowIdentity::WholeRow;
                harness.redeclare(if has_key { other_orders.clone() } else { orders.clone() });
                happened.retain(|(table, _)| *table != orders.name);
                RebuildScope::Changed
            }
            6 => {
                let saved = harness.checkpoint();
                workers = 3 - workers;
                harness.resume(&saved, workers);
                harness.engine().retain(&[saved]).expect("old state is removed");
                RebuildScope::Changed
            }
            _ => {
                happened.into_iter().for_each(|(table, event)| harness.feed(&table, event));
                harness.step(&what);
                continue;
            }
        };
        if rng.random_ratio(1, 3) {
            let program = harness.program();
            let wanted = harness.engine().begin_rebuild(program, scope.clone()).expect("the rebuild begins");
            for (table, event) in happened.iter().filter(|(table, _)| !wanted.contains(table)) {
                harness.engine().load(table, event.clone()).expect("the event is taken");
            }
            harness.engine().abort_rebuild();
        }
        harness.rebuild_after(happened, scope.clone(), &format!("{what}: {scope:?}"));
    }
}

#[test]
fn views_equal_a_recompute_after_every_rebuild() {
    let seed = seed::seed("views_equal_a_recompute_after_every_rebuild");
    for sequence in 0..seed::sequences(6) {
        run(seed.wrapping_add(sequence));
    }
}
