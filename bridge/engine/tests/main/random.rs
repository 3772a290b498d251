//! Random changes of two tables without keys, duplicates and NULLs included.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::{TableEvent, TableSchema, ZSet};
use tidegate_engine::RebuildScope;
use tidegate_testkit::{rows, seed};

use crate::harness::{Harness, table};

pub const VIEWS: &[(&str, &str)] = &[
    ("all_rows", "SELECT * FROM lake.orders"),
    (
        "filtered",
        "SELECT id, amount * 2 AS twice, upper(note) AS note FROM lake.orders WHERE amount > 10 OR note IS NULL",
    ),
    ("constants", "SELECT 1 AS one, 'x' AS x FROM lake.orders WHERE customer = 1"),
    ("joined", "SELECT o.id, c.region, o.amount FROM lake.orders o JOIN lake.customers c ON o.customer = c.id"),
    (
        "residual",
        "SELECT o.id, c.id AS cid FROM lake.orders o JOIN lake.customers c ON o.customer = c.id AND o.amount > c.rating",
    ),
    (
        "self_join",
        "SELECT a.id AS a, b.id AS b FROM lake.orders a JOIN lake.orders b ON a.customer = b.customer WHERE a.id < b.id",
    ),
    (
        "per_customer",
        "SELECT customer, count(*) AS n, count(amount) AS amounts, sum(amount) AS total, avg(amount) AS mean, \
        min(amount) AS least, max(note) AS last FROM lake.orders GROUP BY customer",
    ),
    ("key_last", "SELECT sum(amount) AS total, min(id) AS first, customer FROM lake.orders GROUP BY customer"),
    ("global", "SELECT count(*), sum(id), avg(id), min(id), max(price), count(DISTINCT note) FROM lake.orders"),
    ("global_count", "SELECT count(*) FROM lake.orders WHERE amount > 100"),
    (
        "distincts",
        "SELECT customer, count(DISTINCT note) AS notes, count(DISTINCT amount) AS amounts, count(*) AS n \
        FROM lake.orders GROUP BY customer",
    ),
    ("having_many", "SELECT customer, sum(id) AS ids FROM lake.orders GROUP BY customer HAVING count(*) > 2"),
    (
        "regions",
        "SELECT c.region, count(*) AS orders, sum(o.amount) AS revenue FROM lake.orders o \
        JOIN lake.customers c ON c.id = o.customer GROUP BY c.region",
    ),
    ("distinct_pairs", "SELECT DISTINCT customer, note FROM lake.orders"),
    ("union_rows", "SELECT id, note FROM lake.orders WHERE amount < 5 UNION ALL SELECT id, region FROM lake.customers"),
    ("over_view", "SELECT region, revenue FROM regions WHERE orders > 1"),
    ("grouped_twice", "SELECT n, count(*) AS customers FROM per_customer GROUP BY n"),
    (
        "cte",
        "WITH big AS (SELECT customer, max(amount) AS most FROM lake.orders GROUP BY customer) \
        SELECT c.region, b.most FROM big b JOIN lake.customers c ON c.id = b.customer",
    ),
    (
        "floats",
        "SELECT customer, sum(price) AS total, avg(price) AS mean, min(price) AS least FROM lake.orders GROUP BY customer",
    ),
    (
        "groups_and_rows",
        "SELECT o.id, t.n, t.total FROM (SELECT customer, note, count(*) AS n, sum(amount) AS total FROM lake.orders \
         GROUP BY customer, note) t JOIN lake.orders o ON o.note = t.note AND t.customer = o.customer",
    ),
    (
        "groups_and_groups",
        "SELECT a.customer, a.n, b.most FROM (SELECT customer, count(*) AS n FROM lake.orders GROUP BY customer) a \
         JOIN (SELECT customer, max(amount) AS most FROM lake.orders GROUP BY customer) b ON b.customer = a.customer",
    ),
    (
        "groups_by_a_float",
        "SELECT t.price, t.n, o.id FROM lake.orders o JOIN (SELECT price, count(*) AS n FROM lake.orders \
         GROUP BY price) t ON o.price = t.price",
    ),
    (
        "join_with_many_parts",
        "SELECT c.region, min(o.amount) AS least, sum(o.amount) AS total, count(DISTINCT o.note) AS notes, \
         avg(o.price) AS mean FROM lake.orders o JOIN lake.customers c ON c.id = o.customer GROUP BY c.region",
    ),
    (
        "groups_of_groups",
        "SELECT total, count(*) AS n, sum(customer) AS customers FROM \
         (SELECT customer, sum(amount) AS total FROM lake.orders GROUP BY customer) t GROUP BY total",
    ),
    (
        "recomputed",
        "SELECT customer, median(amount) AS m, list(note ORDER BY note) AS l, arg_max(price, price) FILTER (amount > 0) AS a, \
         stddev(id) > 1.2345 AS wide FROM lake.orders GROUP BY customer",
    ),
    (
        "rolled_up",
        "SELECT customer, note, sum(amount) AS s, bool_or(amount > 3) AS b FROM lake.orders GROUP BY ROLLUP (customer, note)",
    ),
    ("by_expression", "SELECT id % 3 AS r, count(*) AS n FROM lake.orders GROUP BY id % 3"),
];

pub fn tables(key: Option<Vec<usize>>) -> [TableSchema; 2] {
    let orders = [
        ("id", "BIGINT"),
        ("customer", "INTEGER"),
        ("amount", "DECIMAL(15,2)"),
        ("price", "DOUBLE"),
        ("note", "VARCHAR"),
    ];
    let customers = [("id", "INTEGER"), ("region", "VARCHAR"), ("rating", "INTEGER")];
    [table("orders", &orders, key.clone()), table("customers", &customers, key)]
}

pub fn maybe(rng: &mut StdRng, value: String) -> String {
    if rng.random_ratio(1, 6) { "NULL".to_owned() } else { value }
}

pub fn order(rng: &mut StdRng) -> String {
    let id = rng.random_range(0..12);
    let customer = rng.random_range(0..5).to_string();
    let amount = format!("{}.{:02}", rng.random_range(-5..40), rng.random_range(0..3) * 25);
    // Sums of these are exact in any order; DuckDB's order of additions is its own.
    let price =
        ["0.5", "0.25", "1048576", "-262144.125", "0.0009765625", "3.5", "7"][rng.random_range(0..7)].to_owned();
    let note = ["''", "'a'", "'a longer note, past inline'", "'ünïcode'"][rng.random_range(0..4)].to_owned();
    format!("({id}, {}, {}, {}, {})", maybe(rng, customer), maybe(rng, amount), maybe(rng, price), maybe(rng, note))
}

pub fn customer(rng: &mut StdRng) -> String {
    let id = rng.random_range(0..5).to_string();
    let region = ["'north'", "'south'"][rng.random_range(0..2)].to_owned();
    let rating = rng.random_range(0..20).to_string();
    format!("({}, {}, {})", maybe(rng, id), maybe(rng, region), maybe(rng, rating))
}

pub fn change(harness: &mut Harness, rng: &mut StdRng, schema: &TableSchema, row: fn(&mut StdRng) -> String) {
    if rng.random_ratio(2, 3) {
        let values: Vec<String> = (0..rng.random_range(1..4)).map(|_| row(rng)).collect();
        harness.feed(&schema.name, rows::inserted(&schema.columns, &values.join(", ")));
    }
    let present = harness.tables[&schema.name].batch();
    if present.num_rows() > 0 && rng.random_ratio(2, 3) {
        let index = rng.random_range(0..present.num_rows());
        let count = if rng.random_ratio(1, 10) { present.num_rows() - index } else { 1 };
        harness.feed(&schema.name, TableEvent::Rows(ZSet::uniform(present.slice(index, count), -1)));
    }
}

/// Epochs of random changes, with restarts, rebuilds and other worker counts in between.
pub fn run(views: &[(&str, &str)], seed: u64, epochs: usize) {
    let mut rng = StdRng::seed_from_u64(seed);
    let [orders, customers] = tables(None);
    let mut workers = rng.random_range(1..3);
    let mut harness = Harness::new(&[orders.clone(), customers.clone()], views, workers);
    let what = format!("seed {seed}");
    harness.rebuild(RebuildScope::All, &format!("{what}: initial load"));
    for epoch in 0..epochs {
        let what = format!("{what}, epoch {epoch}");
        change(&mut harness, &mut rng, &orders, order);
        change(&mut harness, &mut rng, &customers, customer);
        harness.step(&what);
        match rng.random_range(0..12) {
            0 => {
                let saved = harness.checkpoint();
                harness.resume(&saved, workers);
                harness.engine().retain(&[saved]).expect("old state is removed");
                harness.check(&format!("{what}: resumed"));
            }
            1 => {
                let saved = harness.checkpoint();
                workers = 3 - workers;
                harness.resume(&saved, workers);
                let deltas = harness.rebuild(RebuildScope::Changed, &format!("{what}: other workers"));
                assert!(deltas.is_empty(), "{what}: a rebuild from the same tables changes nothing");
            }
            _ => {}
        }
    }
}

#[test]
fn views_equal_a_recompute_after_every_epoch() {
    let seed = seed::seed("views_equal_a_recompute_after_every_epoch");
    for sequence in 0..seed::sequences(6) {
        run(VIEWS, seed.wrapping_add(sequence), 25);
    }
}
