//! Outer joins, semi joins, anti joins and subqueries against the oracle: random changes of both
//! sides, NULL keys, duplicates, zeros of both signs, sides that become empty.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::{TableEvent, TableSchema, ZSet};
use tidegate_engine::RebuildScope;
use tidegate_testkit::seed;

use crate::harness::{Harness, table};
use crate::{keyed, random};

const OUTER: &[(&str, &str)] = &[
    (
        "left_rows",
        "SELECT o.id, o.customer, o.amount, c.id AS cid, c.region, c.rating FROM lake.orders o \
         LEFT JOIN lake.customers c ON o.customer = c.id",
    ),
    ("right_rows", "SELECT o.*, c.region FROM lake.customers c RIGHT OUTER JOIN lake.orders o ON c.id = o.customer"),
    (
        "full_rows",
        "SELECT o.id, o.customer, o.note, c.id AS cid, c.region FROM lake.orders o \
         FULL OUTER JOIN lake.customers c ON o.customer = c.id",
    ),
    (
        "left_residual",
        "SELECT o.id, o.customer, o.price, c.id AS cid, c.rating FROM lake.orders o \
         LEFT JOIN lake.customers c ON o.customer = c.id AND o.amount > c.rating",
    ),
    (
        "full_residual",
        "SELECT o.id, o.note, o.price, c.id AS cid, c.rating FROM lake.orders o \
         FULL JOIN lake.customers c ON o.customer = c.id AND o.amount > c.rating AND o.note <> 'a'",
    ),
    (
        "left_either",
        "SELECT o.id, o.amount, c.id AS cid, c.rating FROM lake.orders o LEFT JOIN lake.customers c \
         ON (o.customer = c.id AND o.amount > c.rating) OR (o.note = 'a' AND o.customer = c.id)",
    ),
    (
        "full_either",
        "SELECT o.id, o.note, c.id AS cid, c.region FROM lake.orders o FULL JOIN lake.customers c \
         ON (o.customer = c.id AND c.region = 'north') OR (c.id = o.customer AND o.customer = c.id AND o.amount > 5)",
    ),
    (
        "left_only_own_condition",
        "SELECT o.id, o.amount, c.region FROM lake.orders o LEFT JOIN lake.customers c \
         ON o.customer = c.id AND o.amount > 10",
    ),
    (
        "left_only_other_condition",
        "SELECT o.id, o.amount, c.region FROM lake.orders o LEFT JOIN lake.customers c \
         ON o.customer = c.id AND c.rating > 10 WHERE o.amount > 0",
    ),
    (
        "right_conditions",
        "SELECT o.id, c.id AS cid, c.region FROM lake.orders o RIGHT JOIN lake.customers c \
         ON o.customer = c.id AND o.amount > 10 AND c.rating > 5",
    ),
    (
        "full_conditions",
        "SELECT o.id, c.id AS cid, c.region FROM lake.orders o FULL JOIN lake.customers c \
         ON o.customer = c.id AND o.amount > 10 AND c.rating > 5 WHERE o.id > 3 OR c.region = 'north'",
    ),
    (
        "without_partner",
        "SELECT o.id, o.note FROM lake.orders o LEFT JOIN lake.customers c ON o.customer = c.id WHERE c.id IS NULL",
    ),
    (
        "filtered_above",
        "SELECT o.id, c.region FROM lake.orders o LEFT JOIN lake.customers c ON o.customer = c.id WHERE c.rating > 5",
    ),
    (
        "two_keys",
        "SELECT a.id, b.id AS bid, b.price FROM lake.orders a LEFT JOIN lake.orders b \
         ON a.customer = b.customer AND a.note = b.note",
    ),
    (
        "long_key",
        "SELECT a.id, b.id AS bid FROM lake.orders a FULL JOIN lake.orders b \
         ON a.customer = b.customer AND a.note = b.note AND a.amount = b.amount AND a.id < b.id",
    ),
    (
        "left_and_a_call_of_the_key",
        "SELECT o.id, c.region FROM lake.orders o LEFT JOIN lake.customers c ON o.customer = c.id WHERE abs(c.id) > 1",
    ),
    (
        "nulls_meet",
        "SELECT o.id, c.id AS cid, c.region FROM lake.orders o FULL JOIN lake.customers c \
         ON o.customer IS NOT DISTINCT FROM c.id",
    ),
    ("by_expression", "SELECT o.id, c.id AS cid FROM lake.orders o LEFT JOIN lake.customers c ON o.id % 4 = c.id + 1"),
    (
        "using_columns",
        "SELECT id, note, region, rating FROM (SELECT customer AS id, note FROM lake.orders) o LEFT JOIN lake.customers c USING (id)",
    ),
    (
        "naturally",
        "SELECT o.id, note, region FROM (SELECT customer AS id, note FROM lake.orders) o NATURAL LEFT JOIN lake.customers c",
    ),
    (
        "counted",
        "SELECT c.id, c.region, count(o.id) AS n, sum(o.amount) AS total FROM lake.customers c \
         LEFT JOIN lake.orders o ON o.customer = c.id GROUP BY c.id, c.region",
    ),
    ("only_a_count", "SELECT count(*) AS n FROM lake.customers c LEFT JOIN lake.orders o ON o.customer = c.id"),
    (
        "chained",
        "SELECT o.id, c.region, p.id AS pid, p.note FROM lake.orders o LEFT JOIN lake.customers c ON o.customer = c.id \
         LEFT JOIN lake.orders p ON c.rating = p.id",
    ),
    (
        "over_inner",
        "SELECT o.id, c.region, p.id AS pid FROM lake.orders o JOIN lake.customers c ON o.customer = c.id \
         LEFT JOIN lake.orders p ON c.rating = p.id AND p.amount > o.amount",
    ),
    (
        "groups_left",
        "SELECT t.customer, t.n, c.region FROM (SELECT customer, count(*) AS n FROM lake.orders GROUP BY customer) t \
         LEFT JOIN lake.customers c ON c.id = t.customer",
    ),
    (
        "groups_right",
        "SELECT t.customer, t.n, c.region FROM lake.customers c LEFT JOIN \
         (SELECT customer, count(*) AS n FROM lake.orders GROUP BY customer) t ON c.id = t.customer",
    ),
    (
        "groups_full",
        "SELECT a.customer, a.n, b.id, b.most FROM (SELECT customer, count(*) AS n FROM lake.orders GROUP BY customer) a \
         FULL JOIN (SELECT id, max(rating) AS most FROM lake.customers GROUP BY id) b ON b.id = a.customer AND a.n > 1",
    ),
    ("over_view", "SELECT a.id, b.region FROM left_rows a LEFT JOIN left_rows b ON a.cid = b.id"),
    ("over_view_again", "SELECT a.cid, b.cid AS other FROM full_rows a FULL JOIN full_rows b ON a.cid = b.customer"),
];

fn all_gone(harness: &mut Harness, schema: &TableSchema) {
    let present = harness.tables[&schema.name].batch();
    if present.num_rows() > 0 {
        harness.feed(&schema.name, TableEvent::Rows(ZSet::uniform(present, -1)));
    }
}

/// Epochs of random changes, with restarts and another number of workers in between, until both
/// tables are empty.
fn run(views: &[(&str, &str)], seed: u64, epochs: usize) {
    let mut rng = StdRng::seed_from_u64(seed);
    let [orders, customers] = random::tables(None);
    let mut workers = 1 + (seed % 2) as usize;
    let mut harness = Harness::new(&[orders.clone(), customers.clone()], views, workers);
    let what = format!("seed {seed}");
    harness.rebuild(RebuildScope::All, &format!("{what}: initial load"));
    for epoch in 0..epochs {
        let what = format!("{what}, epoch {epoch}");
        match rng.random_range(0..8) {
            0 => random::change(&mut harness, &mut rng, &orders, random::order),
            1 => random::change(&mut harness, &mut rng, &customers, random::customer),
            2 => all_gone(&mut harness, if rng.random() { &orders } else { &customers }),
            _ => {
                random::change(&mut harness, &mut rng, &orders, random::order);
                random::change(&mut harness, &mut rng, &customers, random::customer);
            }
        }
        harness.step(&what);
        match rng.random_range(0..10) {
            0 => {
                let saved = harness.checkpoint();
                harness.resume(&saved, workers);
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
    all_gone(&mut harness, &customers);
    harness.step(&format!("{what}: no customers"));
    let saved = harness.checkpoint();
    harness.resume(&saved, workers);
    all_gone(&mut harness, &orders);
    harness.step(&format!("{what}: no orders"));
}

fn runs(views: &[(&str, &str)], name: &str) {
    let seed = seed::seed(name);
    for sequence in 0..seed::sequences(2) {
        run(views, seed.wrapping_add(sequence), 20);
        if sequence % 2 == 0 {
            keyed::run(views, seed.wrapping_add(sequence));
        }
    }
}

#[test]
fn outer_joins_equal_a_recompute() {
    runs(OUTER, "outer_joins_equal_a_recompute");
}

fn readings() -> [TableSchema; 2] {
    let columns = [("k", "DOUBLE"), ("v", "DOUBLE"), ("l", "INTEGER[]")];
    [table("a", &columns, None), table("b", &columns, None)]
}

/// The harness counts zeros of both signs as one value and views do not, so keys are told by comparison.
fn reading(rng: &mut StdRng) -> String {
    let k = ["'-0.0'", "0.0", "'nan'", "'-nan'", "'inf'", "1.5", "NULL"][rng.random_range(0..7)];
    let v = ["0.0", "'nan'", "'inf'", "1.5", "NULL"][rng.random_range(0..5)];
    let list = ["[1, 2]", "[]", "NULL", "[NULL]"][rng.random_range(0..4)];
    format!("({k}, {v}, {list})")
}

const FLOATS: &[(&str, &str)] = &[
    (
        "left_rows",
        "SELECT a.k > 1 AS k, a.v, a.l, b.k > 1 AS bk, b.v AS bv, b.l AS bl FROM lake.a LEFT JOIN lake.b ON a.k = b.k",
    ),
    (
        "full_residual",
        "SELECT a.k > 1 AS k, a.v, a.l, b.k > 1 AS bk, b.v AS bv, b.l AS bl FROM lake.a FULL JOIN lake.b ON a.k = b.k AND a.v < b.v",
    ),
];

#[test]
fn floats_and_lists_pass_outer_joins_as_they_are() {
    let seed = seed::seed("floats_and_lists_pass_outer_joins_as_they_are");
    for seed in seed..seed + seed::sequences(3) {
        let mut rng = StdRng::seed_from_u64(seed);
        let [a, b] = readings();
        let mut harness = Harness::new(&[a.clone(), b.clone()], FLOATS, 1 + (seed % 2) as usize);
        harness.rebuild(RebuildScope::All, &format!("seed {seed}: initial load"));
        for epoch in 0..15 {
            random::change(&mut harness, &mut rng, &a, reading);
            random::change(&mut harness, &mut rng, &b, reading);
            harness.step(&format!("seed {seed}, epoch {epoch}"));
        }
    }
}

const SUBQUERIES: &[(&str, &str)] = &[
    ("semi", "SELECT * FROM lake.orders o SEMI JOIN lake.customers c ON o.customer = c.id"),
    (
        "semi_residual",
        "SELECT * FROM lake.orders o SEMI JOIN lake.customers c ON o.customer = c.id AND o.amount > c.rating",
    ),
    ("anti", "SELECT * FROM lake.orders o ANTI JOIN lake.customers c ON o.customer = c.id"),
    (
        "anti_residual",
        "SELECT * FROM lake.orders o ANTI JOIN lake.customers c ON o.customer = c.id AND o.amount > c.rating",
    ),
    (
        "anti_own_condition",
        "SELECT * FROM lake.orders o ANTI JOIN lake.customers c ON o.customer = c.id AND o.amount > 10",
    ),
    (
        "semi_using",
        "SELECT a.id, region FROM lake.customers a SEMI JOIN (SELECT customer AS id FROM lake.orders) b USING (id)",
    ),
    (
        "existing",
        "SELECT id, note FROM lake.orders o WHERE EXISTS (SELECT 1 FROM lake.customers c WHERE c.id = o.customer)",
    ),
    (
        "existing_not",
        "SELECT id, note FROM lake.orders o WHERE NOT EXISTS (SELECT * FROM lake.customers c WHERE c.id = o.customer AND c.rating < o.amount)",
    ),
    ("existing_at_all", "SELECT id FROM lake.orders WHERE EXISTS (SELECT * FROM lake.customers WHERE rating > 10)"),
    (
        "not_existing_at_all",
        "SELECT id FROM lake.orders WHERE NOT EXISTS (SELECT * FROM lake.customers WHERE rating > 15)",
    ),
    (
        "in_rows",
        "SELECT id, customer FROM lake.orders WHERE customer IN (SELECT id FROM lake.customers) AND amount > 3",
    ),
    ("not_in_rows", "SELECT id, customer FROM lake.orders WHERE customer NOT IN (SELECT id FROM lake.customers)"),
    (
        "not_in_without_nulls",
        "SELECT id, customer FROM lake.orders WHERE customer NOT IN (SELECT id FROM lake.customers WHERE id IS NOT NULL)",
    ),
    (
        "not_in_correlated",
        "SELECT id, amount FROM lake.orders o WHERE id NOT IN (SELECT rating FROM lake.customers c WHERE c.id = o.customer)",
    ),
    ("in_self", "SELECT id FROM lake.orders WHERE id IN (SELECT customer FROM lake.orders WHERE note = 'a')"),
    (
        "in_groups",
        "SELECT id FROM lake.customers WHERE id IN (SELECT customer FROM lake.orders GROUP BY customer HAVING count(*) > 1)",
    ),
    (
        "nested",
        "SELECT id FROM lake.customers WHERE id IN (SELECT customer FROM lake.orders o WHERE EXISTS \
         (SELECT 1 FROM lake.orders p WHERE p.id = o.id AND p.amount > 20))",
    ),
    (
        "in_or",
        "SELECT id, customer, amount FROM lake.orders WHERE amount > 20 OR customer IN (SELECT id FROM lake.customers)",
    ),
    (
        "as_values",
        "SELECT id, customer IN (SELECT id FROM lake.customers) AS known, customer NOT IN (SELECT id FROM lake.customers \
         WHERE rating > 8) AS unknown, EXISTS (SELECT 1 FROM lake.customers c WHERE c.id = o.customer) AS there \
         FROM lake.orders o",
    ),
    (
        "in_cte",
        "WITH c AS (SELECT id FROM lake.customers WHERE region = 'north') SELECT o.id FROM lake.orders o \
         WHERE o.customer IN (SELECT id FROM c) OR o.customer NOT IN (FROM c)",
    ),
    (
        "anti_and_a_call_of_the_key",
        "SELECT * FROM lake.orders o ANTI JOIN lake.customers c ON o.note = c.region WHERE o.note LIKE 'a%'",
    ),
    (
        "except_and_a_call_of_a_column",
        "SELECT * FROM (SELECT note FROM lake.orders EXCEPT SELECT region FROM lake.customers) t WHERE length(note) > 1",
    ),
    ("except_rows", "SELECT customer FROM lake.orders EXCEPT SELECT id FROM lake.customers"),
    (
        "except_pairs",
        "SELECT customer, note FROM lake.orders EXCEPT SELECT id, region FROM lake.customers WHERE rating > 3",
    ),
    ("intersect_rows", "SELECT id FROM lake.orders INTERSECT SELECT rating FROM lake.customers"),
    ("intersect_nulls", "SELECT customer, NULL AS x FROM lake.orders INTERSECT SELECT id, NULL FROM lake.customers"),
    (
        "except_twice",
        "SELECT id FROM lake.orders EXCEPT SELECT id FROM lake.customers EXCEPT SELECT rating FROM lake.customers",
    ),
    ("except_all", "SELECT customer FROM lake.orders EXCEPT ALL SELECT id FROM lake.customers"),
    (
        "intersect_all",
        "SELECT customer, price FROM lake.orders INTERSECT ALL SELECT rating % 5, 0.5 FROM lake.customers",
    ),
    ("except_all_of_distinct", "SELECT DISTINCT note FROM lake.orders EXCEPT ALL SELECT region FROM lake.customers"),
    ("any_of", "SELECT id FROM lake.orders WHERE customer = ANY (SELECT id FROM lake.customers)"),
    ("none_of", "SELECT id, customer <> ALL (SELECT id FROM lake.customers) AS x FROM lake.orders"),
    (
        "rows_in",
        "SELECT id, amount FROM lake.orders WHERE (customer, note) IN (SELECT id, region FROM lake.customers) AND amount > 1",
    ),
    (
        "latest_of_each",
        "SELECT id, note FROM lake.orders WHERE (customer, amount) IN (SELECT customer, max(amount) FROM lake.orders GROUP BY customer)",
    ),
    (
        "rows_counted",
        "SELECT note, count(DISTINCT (customer, amount)) AS n FROM lake.orders GROUP BY note ORDER BY n DESC",
    ),
    ("greatest", "SELECT id, amount FROM lake.orders WHERE amount = (SELECT max(amount) FROM lake.orders)"),
    ("with_a_total", "SELECT id, amount, (SELECT sum(amount) FROM lake.orders) AS total FROM lake.orders"),
    (
        "above_own_average",
        "SELECT id, amount FROM lake.orders o WHERE amount > (SELECT avg(p.amount) FROM lake.orders p WHERE p.customer = o.customer)",
    ),
    (
        "counted_for_each",
        "SELECT id, (SELECT count(*) FROM lake.orders o WHERE o.customer = c.id) AS n, \
         (SELECT sum(amount) + 1 FROM lake.orders o WHERE o.customer = c.id AND o.note = c.region) AS total, \
         (SELECT count(o.note) * 2 FROM lake.orders o WHERE o.customer = c.id) AS notes FROM lake.customers c",
    ),
    ("crossed", "SELECT o.id, c.id AS cid FROM lake.orders o CROSS JOIN lake.customers c WHERE c.rating > 10"),
    ("unequal", "SELECT o.id, c.id AS cid FROM lake.orders o JOIN lake.customers c ON o.amount < c.rating"),
    (
        "left_unequal",
        "SELECT o.id, c.id AS cid FROM lake.orders o LEFT JOIN lake.customers c ON o.amount < c.rating AND o.id > 4",
    ),
    ("full_unequal", "SELECT o.id, c.id AS cid FROM lake.orders o FULL JOIN lake.customers c ON o.amount < c.rating"),
    (
        "against_one_row",
        "SELECT o.id, t.least FROM lake.orders o, (SELECT min(rating) AS least FROM lake.customers) t WHERE o.amount > t.least",
    ),
    (
        "having_subquery",
        "SELECT customer, sum(amount) AS s FROM lake.orders GROUP BY customer HAVING sum(amount) > (SELECT avg(amount) FROM lake.orders)",
    ),
];

/// Comparisons with all or with some rows, of which there may be none, and NULLs.
const QUANTIFIED: &[(&str, &str)] = &[
    (
        "above_all",
        "SELECT id, amount FROM lake.orders WHERE amount > ALL (SELECT rating FROM lake.customers WHERE id > 1)",
    ),
    (
        "told_of_each",
        "SELECT id, amount > ALL (SELECT rating FROM lake.customers) AS a, amount >= ANY (SELECT rating FROM lake.customers) AS b, \
         amount < SOME (SELECT rating FROM lake.customers WHERE rating > 3) AS c, amount <= ALL (SELECT rating FROM lake.customers WHERE rating > 9) AS d \
         FROM lake.orders",
    ),
    (
        "equal_and_not",
        "SELECT id, customer = ALL (SELECT id FROM lake.customers WHERE rating > 8) AS a, \
         customer <> ANY (SELECT id FROM lake.customers WHERE rating > 8) AS b FROM lake.orders",
    ),
    ("of_text", "SELECT id FROM lake.orders WHERE NOT note >= ANY (SELECT region FROM lake.customers)"),
    (
        "of_own",
        "SELECT id, amount FROM lake.orders o WHERE amount >= ALL (SELECT p.amount FROM lake.orders p WHERE p.customer = o.customer)",
    ),
    (
        "of_groups",
        "SELECT customer, sum(amount) AS s FROM lake.orders GROUP BY customer \
         HAVING sum(amount) >= ALL (SELECT sum(amount) FROM lake.orders GROUP BY note)",
    ),
];

#[test]
fn comparisons_with_all_and_with_any_equal_a_recompute() {
    let seed = seed::seed("comparisons_with_all_and_with_any_equal_a_recompute");
    for sequence in 0..seed::sequences(1) {
        run(QUANTIFIED, seed.wrapping_add(sequence), 15);
    }
}

#[test]
fn subqueries_equal_a_recompute() {
    runs(SUBQUERIES, "subqueries_equal_a_recompute");
}
