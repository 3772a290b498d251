//! The queries of Nexmark over tables: auctions, persons and bids come, go and change, and every query is compared with
//! DuckDB after every epoch. Windows of time are written with DuckDB's functions.

use std::path::Path;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::{TableEvent, TableSchema, ZSet};
use tidegate_duck::Duck;
use tidegate_engine::RebuildScope;
use tidegate_testkit::{rows, seed};

use crate::harness::{Harness, table};

/// Refused, as it asks for the time.
const REFUSED: &str = "q12";

const TABLES: [&str; 4] = ["person", "auction", "bid", "side_input"];

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/main/nexmark")
}

fn queries() -> Vec<(String, String)> {
    let names = (0..=22).map(|number| format!("q{number:02}")).filter(|name| name != REFUSED);
    let read = |name: &String| std::fs::read_to_string(folder().join(format!("{name}.sql"))).expect("there is a query");
    names.map(|name| (name.clone(), read(&name))).collect()
}

fn schemas() -> [TableSchema; 4] {
    let duck = Duck::open_in_memory().expect("DuckDB opens");
    let tables = std::fs::read_to_string(folder().join("tables.sql")).expect("there are tables");
    duck.execute(&tables).expect("the tables are made");
    TABLES.map(|name| {
        let columns = duck.describe_columns(&format!("FROM {name}")).expect("the table is there");
        let columns: Vec<_> = columns.iter().map(|(name, kind, _)| (name.as_str(), kind.as_str())).collect();
        table(name, &columns, None)
    })
}

/// A moment of two half minutes, one of which ends at midnight.
fn moment(rng: &mut StdRng) -> String {
    let minute = ["2024-01-01 23:59", "2024-01-02 07:59"][rng.random_range(0..2)];
    format!(
        "TIMESTAMP '{minute}:{:02}' + INTERVAL {} MILLISECOND",
        rng.random_range(30..60),
        rng.random_range(0..4) * 250
    )
}

fn one_of<'a>(rng: &mut StdRng, values: &[&'a str]) -> &'a str {
    values[rng.random_range(0..values.len())]
}

fn person(rng: &mut StdRng) -> String {
    let (id, at) = (rng.random_range(0..8), moment(rng));
    let (city, state) = (one_of(rng, &["'Boise'", "'Bend'", "NULL"]), one_of(rng, &["'OR'", "'ID'", "'CA'", "'WA'"]));
    format!("({id}, 'person {id}', 'p{id}@example.com', '1234 {id}', {city}, {state}, {at}, 'x')")
}

fn auction(rng: &mut StdRng) -> String {
    let (id, at, lasts) = (rng.random_range(0..12), moment(rng), rng.random_range(5..40));
    let (first, seller, category) = (rng.random_range(1..100), rng.random_range(0..8), rng.random_range(8..12));
    format!(
        "({id}, 'item {id}', 'an item', {first}, {first} + 10, {at}, {at} + INTERVAL {lasts} SECOND, {seller}, {category}, 'y')"
    )
}

fn bid(rng: &mut StdRng) -> String {
    let (auction, bidder, at) = (rng.random_range(0..12), rng.random_range(0..8), moment(rng));
    let price = [1, 50, 99, 100, 250, 999, 1000, 20_000][rng.random_range(0..8)];
    let channel = one_of(rng, &["'apple'", "'Google'", "'channel-7'", "NULL"]);
    let url = ["'https://n.example/a/b/c?x=1&channel_id=77'", "'https://n.example/a'", "''", "NULL"];
    let (url, extra) = (one_of(rng, &url), one_of(rng, &["'cocoa'", "''", "NULL"]));
    format!("({auction}, {bidder}, {price}, {channel}, {url}, {at}, {extra})")
}

fn side(rng: &mut StdRng) -> String {
    format!("({}, '{}')", rng.random_range(0..4), one_of(rng, &["a", "b", "c"]))
}

/// Rows come, and some that are there go; a row that goes while one comes is an update.
fn change(harness: &mut Harness, rng: &mut StdRng, schema: &TableSchema, most: usize, row: fn(&mut StdRng) -> String) {
    let come: Vec<String> = (0..rng.random_range(0..=most)).map(|_| row(rng)).collect();
    if !come.is_empty() {
        harness.feed(&schema.name, rows::inserted(&schema.columns, &come.join(", ")));
    }
    let present = harness.tables[&schema.name].batch();
    let go = rng.random_range(0..=most / 2).min(present.num_rows());
    if go > 0 {
        let first = rng.random_range(0..=present.num_rows() - go);
        harness.feed(&schema.name, TableEvent::Rows(ZSet::uniform(present.slice(first, go), -1)));
    }
}

fn run(seed: u64, epochs: usize) {
    let mut rng = StdRng::seed_from_u64(seed);
    let schemas = schemas();
    let queries = queries();
    let views: Vec<(&str, &str)> = queries.iter().map(|(name, sql)| (name.as_str(), sql.as_str())).collect();
    let mut workers = rng.random_range(1..3);
    let mut harness = Harness::new(&schemas, &views, workers);
    let what = format!("seed {seed}");
    harness.rebuild(RebuildScope::All, &format!("{what}: initial load"));
    let [persons, auctions, bids, sides] = &schemas;
    for epoch in 0..epochs {
        let what = format!("{what}, epoch {epoch}");
        let first = if epoch == 0 { 4 } else { 1 };
        change(&mut harness, &mut rng, persons, 2 * first, person);
        change(&mut harness, &mut rng, auctions, 3 * first, auction);
        change(&mut harness, &mut rng, bids, 10 * first, bid);
        change(&mut harness, &mut rng, sides, 2, side);
        harness.step(&what);
        if epoch == epochs / 2 {
            let saved = harness.checkpoint();
            workers = 3 - workers;
            harness.resume(&saved, workers);
            let deltas = harness.rebuild(RebuildScope::Changed, &format!("{what}: other workers"));
            assert!(deltas.is_empty(), "{what}: a rebuild from the same tables changes nothing");
        }
    }
}

#[test]
fn the_queries_of_nexmark_follow_changes() {
    let seed = seed::seed("the_queries_of_nexmark_follow_changes");
    for sequence in 0..seed::sequences(3) {
        run(seed.wrapping_add(sequence), 15);
    }
}
