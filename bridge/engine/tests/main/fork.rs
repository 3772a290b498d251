//! Going back: by an engine beside the present one, and by taking rows back in place.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::{TableEvent, TableName, TableSchema, ZSet};
use tidegate_engine::{Engine, EngineError, RebuildScope};
use tidegate_testkit::{rows, seed};

use crate::harness::{Harness, options, told};
use crate::keyed;
use crate::random::{VIEWS, customer, order, tables};

/// Views with every kind of state.
const KINDS: [&str; 9] =
    ["joined", "self_join", "per_customer", "distincts", "regions", "over_view", "floats", "recomputed", "union_rows"];

type MakeRow = fn(&mut StdRng) -> String;

/// Random rows that come and go.
fn events(harness: &Harness, rng: &mut StdRng, schema: &TableSchema, row: MakeRow) -> Vec<ZSet> {
    let mut events = Vec::new();
    if rng.random_ratio(2, 3) {
        let values: Vec<String> = (0..rng.random_range(1..4)).map(|_| row(rng)).collect();
        let TableEvent::Rows(zset) = rows::inserted(&schema.columns, &values.join(", ")) else { unreachable!() };
        events.push(zset);
    }
    let present = harness.tables[&schema.name].batch();
    if present.num_rows() > 0 && rng.random_ratio(2, 3) {
        let index = rng.random_range(0..present.num_rows());
        events.push(ZSet::uniform(present.slice(index, rng.random_range(1..=present.num_rows() - index)), -1));
    }
    events
}

/// An epoch of random rows; answers them.
fn epoch(
    harness: &mut Harness,
    rng: &mut StdRng,
    [orders, customers]: &[TableSchema; 2],
    what: &str,
) -> Vec<(TableName, ZSet)> {
    let mut fed = Vec::new();
    for (schema, row) in [(orders, order as MakeRow), (customers, customer)] {
        for zset in events(harness, rng, schema, row) {
            harness.feed(&schema.name, TableEvent::Rows(zset.clone()));
            fed.push((schema.name.clone(), zset));
        }
    }
    harness.step(what);
    fed
}

fn run(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut schemas = tables(None);
    if rng.random() {
        schemas = schemas.map(told);
    }
    let workers = rng.random_range(1..3);
    let what = format!("seed {seed}");
    let views: Vec<_> = VIEWS.iter().copied().filter(|(name, _)| KINDS.contains(name)).collect();
    let mut harness = Harness::new(&schemas, &views, workers);
    harness.rebuild(RebuildScope::All, &format!("{what}: initial load"));
    let mut kept = Vec::new();
    for round in 0..3 {
        let what = format!("{what}, round {round}");
        (0..rng.random_range(0..3)).for_each(|_| drop(epoch(&mut harness, &mut rng, &schemas, &what)));
        let (saved, before) = (harness.checkpoint(), harness.tables.clone());
        let mut fed = Vec::new();
        for _ in 0..rng.random_range(1..4) {
            fed.extend(epoch(&mut harness, &mut rng, &schemas, &what));
        }
        kept.push(saved.clone());
        if rng.random() {
            // An engine at work, and one with a newer checkpoint of the same circuits.
            kept.push(harness.checkpoint());
            harness.engine().retain(&kept).unwrap();
        }
        let fork = harness.fork(&saved, workers);
        harness.check(&format!("{what}: beside a fork"));
        match rng.random_range(0..3) {
            0 => harness.replace(fork, before, &format!("{what}: put in place")),
            1 => {
                fed.iter().for_each(|(table, zset)| harness.engine().take_back(table, zset).unwrap());
                harness.tables = before.clone();
                harness.step(&format!("{what}: taken back"));
                assert!(harness.engine().difference(&fork).unwrap().is_empty(), "{what}: both ways lead to one state");
                harness.replace(fork, before, &format!("{what}: put in place of the same"));
            }
            _ => drop(fork),
        }
        let latest = harness.checkpoint();
        kept.push(latest.clone());
        harness.engine().retain(&kept).unwrap();
        if rng.random() {
            harness.resume_keeping(&latest, &kept, workers);
            harness.check(&format!("{what}: resumed"));
        }
    }
    epoch(&mut harness, &mut rng, &schemas, &format!("{what}: goes on"));
}

#[test]
fn an_engine_goes_back_either_way() {
    let seed = seed::seed("an_engine_goes_back_either_way");
    for sequence in 0..seed::sequences(4) {
        run(seed.wrapping_add(sequence));
    }
}

#[test]
fn changes_by_key_are_not_taken_back_in_place() {
    let schemas = tables(Some(vec![0]));
    let [orders, _] = schemas.clone();
    let mut harness = Harness::new(&schemas, &VIEWS[..1], 1);
    harness.rebuild(RebuildScope::All, "initial load");
    harness.feed(&orders.name, keyed::upserts(&orders, "(1, 1, 1, 1, 'a')"));
    harness.step("first epoch");
    let (saved, before) = (harness.checkpoint(), harness.tables.clone());
    harness.feed(&orders.name, keyed::upserts(&orders, "(1, 2, 2, 2, 'b'), (2, 2, 2, 2, 'b')"));
    harness.step("second epoch");
    assert!(!harness.engine().can_take_back(&orders.name));
    let rows = ZSet::uniform(harness.tables[&orders.name].batch(), 1);
    let refused = harness.engine().take_back(&orders.name, &rows);
    assert!(matches!(refused, Err(EngineError::Misuse(_))), "{refused:?}");
    let fork = harness.fork(&saved, 1);
    harness.replace(fork, before, "a fork knows what was there");
    harness.feed(&orders.name, keyed::upserts(&orders, "(1, 3, 3, 3, 'c')"));
    harness.step("an upsert over the state of the fork");
}

/// Where files cannot be linked they are copied.
#[test]
fn a_fork_may_lie_on_another_file_system() {
    let schemas = tables(None);
    let mut harness = Harness::new(&schemas, &VIEWS[..1], 1);
    let [orders, _] = schemas;
    harness.rebuild(RebuildScope::All, "initial load");
    harness.feed(&orders.name, rows::inserted(&orders.columns, "(1, 1, 1, 1, 'a'), (2, 1, 2, 2, 'b')"));
    harness.step("first epoch");
    let saved = harness.checkpoint();
    let memory = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let fork = Engine::fork(harness.folder.path(), memory.path(), options(1), &saved).unwrap();
    assert!(harness.engine().difference(&fork).unwrap().is_empty());
}
