//! Conditions against one value that is kept up to date: the bound moves up and down, becomes NULL, comes back,
//! ties with rows, is NaN; in epochs of several steps, with one and two workers, across restarts. And what a
//! move of the bound touches.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::TableSchema;
use tidegate_engine::RebuildScope;
use tidegate_testkit::{rows, seed};

use crate::harness::{Harness, table};
use crate::random::{change, maybe, run, tables};

/// Over two tables of the same columns: values of each type, and bounds for them. Floats are shown as text, which
/// tells zeros of both signs apart.
const TYPES: &[(&str, &str)] = &[
    ("integers", "SELECT id, i FROM lake.t WHERE i > (SELECT max(i) FROM lake.bounds)"),
    ("unsigned", "SELECT id FROM lake.t WHERE u >= (SELECT min(u) FROM lake.bounds)"),
    ("hugeints", "SELECT id, h FROM lake.t WHERE h < (SELECT max(h) FROM lake.bounds)"),
    ("decimals", "SELECT id FROM lake.t WHERE n <= (SELECT min(n) FROM lake.bounds)"),
    ("wide", "SELECT id, w FROM lake.t WHERE w > (SELECT min(w) FROM lake.bounds)"),
    ("doubles", "SELECT id, f::VARCHAR AS f FROM lake.t WHERE f > (SELECT min(f) FROM lake.bounds)"),
    ("up_to_nan", "SELECT id, f::VARCHAR AS f FROM lake.t WHERE f <= (SELECT max(f) FROM lake.bounds)"),
    ("from_nan", "SELECT f::VARCHAR AS f, id FROM lake.t WHERE f >= (SELECT max(f) FROM lake.bounds)"),
    ("floats", "SELECT id, r::VARCHAR AS r FROM lake.t WHERE r < (SELECT max(r) FROM lake.bounds)"),
    ("dates", "SELECT id, d FROM lake.t WHERE d >= (SELECT max(d) FROM lake.bounds)"),
    ("times", "SELECT id FROM lake.t WHERE ts < (SELECT min(ts) FROM lake.bounds)"),
    ("texts", "SELECT s, id FROM lake.t WHERE s > (SELECT min(s) FROM lake.bounds)"),
    ("bytes", "SELECT id, x FROM lake.t WHERE x <= (SELECT max(x) FROM lake.bounds)"),
    ("truths", "SELECT id, b FROM lake.t WHERE b > (SELECT min(b) FROM lake.bounds)"),
    ("mixed_types", "SELECT id FROM lake.t WHERE i > (SELECT avg(n) FROM lake.bounds)"),
    ("all_columns", "SELECT * FROM lake.t WHERE f >= (SELECT min(f) FROM lake.bounds)"),
    ("swapped", "SELECT id FROM lake.t WHERE (SELECT max(i) FROM lake.bounds) > i"),
    ("negated", "SELECT id FROM lake.t WHERE NOT f > (SELECT max(f) FROM lake.bounds)"),
    ("may_be_none", "SELECT id FROM lake.t WHERE i <= (SELECT max(i) FROM lake.bounds HAVING count(*) > 2)"),
    ("equal", "SELECT id, s FROM lake.t WHERE s = (SELECT max(s) FROM lake.bounds HAVING count(*) > 1)"),
    (
        "equal_floats",
        "SELECT id, f::VARCHAR AS f FROM lake.t WHERE f = (SELECT min(f) FROM lake.bounds HAVING count(*) > 1)",
    ),
    (
        "between",
        "SELECT id FROM lake.t WHERE i BETWEEN (SELECT min(i) FROM lake.bounds) AND (SELECT max(i) FROM lake.bounds)",
    ),
    ("computed", "SELECT id FROM lake.t WHERE i::BIGINT * 2 + 1 >= (SELECT sum(i) FROM lake.bounds)"),
    (
        "with_others",
        "SELECT id FROM lake.t WHERE i > (SELECT min(i) FROM lake.bounds) AND s IS NOT NULL AND id < 9 AND \
         f < (SELECT max(f) FROM lake.bounds)",
    ),
    ("counted", "SELECT count(*) AS n FROM lake.t WHERE i > (SELECT min(i) FROM lake.bounds)"),
    ("in_from", "SELECT t.id FROM lake.t t, (SELECT min(d) AS d FROM lake.bounds) m WHERE t.d > m.d"),
    ("first_in_from", "SELECT t.id FROM (SELECT min(i) AS i FROM lake.bounds) m CROSS JOIN lake.t t WHERE t.i < m.i"),
    ("semi_join", "SELECT id FROM lake.t t SEMI JOIN (SELECT max(n) AS n FROM lake.bounds) m ON t.n < m.n"),
    (
        "first_of_an_order",
        "SELECT id FROM lake.t WHERE i < (SELECT i FROM lake.bounds ORDER BY i DESC NULLS FIRST LIMIT 1)",
    ),
    (
        "first_in_from_if_any",
        "SELECT t.id FROM lake.t t, (SELECT s FROM lake.bounds ORDER BY s LIMIT 1) m WHERE t.s >= m.s",
    ),
    ("over_itself", "SELECT id, i FROM lake.t WHERE i >= (SELECT avg(i) FROM lake.t)"),
    ("over_itself_most", "SELECT id, i FROM lake.t WHERE i >= (SELECT max(i) FROM lake.t)"),
];

/// Whose bound is read, or compared in another way: joins, as exact.
const JOINS: &[(&str, &str)] = &[
    ("read", "SELECT t.id, m.i FROM lake.t t, (SELECT max(i) AS i FROM lake.bounds) m WHERE t.i > m.i"),
    ("either", "SELECT id FROM lake.t WHERE i > (SELECT max(i) FROM lake.bounds) OR s = 'a'"),
    ("unequal", "SELECT id FROM lake.t WHERE i <> (SELECT max(i) FROM lake.bounds)"),
    ("with_both", "SELECT id FROM lake.t WHERE i > (SELECT max(i) FROM lake.bounds) - id"),
];

/// Over the tables of other tests.
const GROUPS: &[(&str, &str)] = &[
    (
        "large_groups",
        "SELECT customer, sum(amount) AS s FROM lake.orders GROUP BY customer \
         HAVING sum(amount) > (SELECT sum(amount) * 0.2 FROM lake.orders)",
    ),
    (
        "many",
        "SELECT note, count(*) AS n FROM lake.orders GROUP BY note HAVING count(*) >= (SELECT avg(rating) FROM lake.customers)",
    ),
    (
        "largest_group",
        "WITH g AS (SELECT customer, sum(amount) AS s FROM lake.orders GROUP BY customer) \
         SELECT customer, s FROM g WHERE s >= (SELECT max(s) FROM g)",
    ),
    (
        "rich_without_orders",
        "SELECT region, count(*) AS n, sum(rating) AS r FROM lake.customers c \
         WHERE rating > (SELECT avg(rating) FROM lake.customers WHERE rating > 0) AND region IN ('north', 'south') \
         AND NOT EXISTS (SELECT * FROM lake.orders o WHERE o.customer = c.id) GROUP BY region",
    ),
    (
        "above_joined",
        "SELECT o.id, c.region FROM lake.orders o JOIN lake.customers c ON o.customer = c.id \
         WHERE o.amount > (SELECT avg(amount) FROM lake.orders)",
    ),
    ("of_one_row", "SELECT sum(id) AS s FROM lake.orders HAVING sum(id) > (SELECT sum(rating) FROM lake.customers)"),
    ("over_a_threshold", "SELECT customer, s FROM large_groups WHERE s < (SELECT max(s) FROM large_groups)"),
];

const COLUMNS: &[(&str, &str)] = &[
    ("id", "BIGINT"),
    ("i", "INTEGER"),
    ("u", "UBIGINT"),
    ("h", "HUGEINT"),
    ("n", "DECIMAL(15,2)"),
    ("w", "DECIMAL(30,6)"),
    ("f", "DOUBLE"),
    ("r", "FLOAT"),
    ("d", "DATE"),
    ("ts", "TIMESTAMP"),
    ("s", "VARCHAR"),
    ("x", "BLOB"),
    ("b", "BOOLEAN"),
];

/// Few values of each type, those at the edges of its order among them.
const VALUES: &[&[&str]] = &[
    &["-2147483648", "-1", "0", "1", "2", "3", "2147483647"],
    &["0", "1", "9223372036854775808", "18446744073709551615"],
    &[
        "-99999999999999999999999999999999999999",
        "-1",
        "0",
        "18446744073709551616",
        "99999999999999999999999999999999999999",
    ],
    &["-10.25", "-0.01", "0", "0.01", "10.25"],
    &["-123456789012345678901234.000001", "0", "0.000001", "123456789012345678901234.5"],
    &["'nan'", "'inf'", "'-inf'", "'-0.0'", "0.0", "1e-300", "-1.5", "2.5"],
    &["'nan'", "'inf'", "'-inf'", "'-0.0'", "0.0", "1.5", "-2.5"],
    &["'1969-12-31'", "'1970-01-01'", "'2024-02-29'"],
    &["'1969-12-31 23:59:59.999999'", "'1970-01-01 00:00:00'", "'2024-02-29 12:00:00'"],
    &["''", "'a'", "'a longer text, past inline'", "'a longer text, past inlinf'", "'B'", "'ü'"],
    &["''", "'\\x00'", "'\\x00\\x00'", "'\\xFF'", "'abcdefg'", "'abcdefgh'"],
    &["true", "false"],
];

fn row(rng: &mut StdRng) -> String {
    let id = rng.random_range(0..12);
    let values = VALUES.iter().map(|values| {
        let value = values[rng.random_range(0..values.len())].to_owned();
        maybe(rng, value)
    });
    format!("({id}, {})", values.collect::<Vec<_>>().join(", "))
}

fn typed() -> [TableSchema; 2] {
    [table("t", COLUMNS, None), table("bounds", COLUMNS, None)]
}

/// Epochs of random changes, each in steps of few rows or of many.
fn follow(views: &[(&str, &str)], seed: u64, epochs: usize) {
    let mut rng = StdRng::seed_from_u64(seed);
    let [t, bounds] = typed();
    let mut workers = rng.random_range(1..3);
    let mut harness = Harness::new(&[t.clone(), bounds.clone()], views, workers);
    harness.rebuild(RebuildScope::All, &format!("seed {seed}: initial load"));
    for epoch in 0..epochs {
        let what = format!("seed {seed}, epoch {epoch}");
        harness.engine().set_part_rows([1, 3, 1_000][rng.random_range(0..3)]);
        // Some epochs move the bound only, some the rows only, and in some it wanders.
        if rng.random_ratio(2, 3) {
            change(&mut harness, &mut rng, &t, row);
        }
        for _ in 0..rng.random_range(0..4) {
            change(&mut harness, &mut rng, &bounds, row);
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
                harness.rebuild(RebuildScope::Changed, &format!("{what}: other workers"));
            }
            _ => {}
        }
    }
}

#[test]
fn thresholds_equal_a_recompute_whatever_the_type() {
    let seed = seed::seed("thresholds_equal_a_recompute_whatever_the_type");
    for sequence in 0..seed::sequences(2) {
        follow(TYPES, seed.wrapping_add(sequence), 25);
    }
}

#[test]
fn what_is_no_threshold_is_a_join() {
    let seed = seed::seed("what_is_no_threshold_is_a_join");
    for sequence in 0..seed::sequences(1) {
        follow(JOINS, seed.wrapping_add(sequence), 15);
    }
}

#[test]
fn groups_above_a_total_equal_a_recompute() {
    let seed = seed::seed("groups_above_a_total_equal_a_recompute");
    for sequence in 0..seed::sequences(3) {
        run(GROUPS, seed.wrapping_add(sequence), 25);
    }
}

/// The bound goes and comes back, wanders within an epoch and ends where it was; rows come and go beside it.
#[test]
fn a_bound_may_go_and_come_back() {
    let t = table("t", &[("id", "BIGINT"), ("v", "DOUBLE")], None);
    let marks = table("marks", &[("m", "DOUBLE")], None);
    let comparisons = [("less", "<"), ("at_most", "<="), ("greater", ">"), ("at_least", ">="), ("equal", "=")];
    let mut views = Vec::new();
    for (name, op) in comparisons {
        let sql = |having: &str| format!("SELECT id FROM lake.t WHERE v {op} (SELECT max(m) FROM lake.marks{having})");
        views.push((name.to_owned(), sql("")));
        views.push((format!("{name}_of_two"), sql(" HAVING count(*) > 1")));
    }
    let views: Vec<(&str, &str)> = views.iter().map(|(name, sql)| (name.as_str(), sql.as_str())).collect();
    for (workers, part_rows) in [(1, 1), (2, 1), (2, 1_000)] {
        let mut harness = Harness::new(&[t.clone(), marks.clone()], &views, workers);
        harness.rebuild(RebuildScope::All, "initial load");
        harness.engine().set_part_rows(part_rows);
        let rows = "(1, 1), (2, 2), (2, 2), (3, NULL), (4, 'nan'), (5, '-inf'), (6, '-0.0'), (7, 0)";
        harness.feed(&t.name, rows::inserted(&t.columns, rows));
        harness.step("no bound yet");
        for (gone, come, what) in [
            ("", "(2), (NULL)", "a bound"),
            ("(2)", "", "only a NULL"),
            ("", "(2)", "it is back"),
            ("(2), (NULL)", "", "none"),
            ("", "('nan'), (1)", "NaN"),
            ("('nan')", "(0)", "down"),
            ("(1)", "('-0.0')", "a tie with zeros"),
            ("", "(9)", "above all but NaN"),
        ] {
            if !come.is_empty() {
                harness.feed(&marks.name, rows::inserted(&marks.columns, come));
            }
            if !gone.is_empty() {
                harness.feed(&marks.name, rows::deleted(&marks.columns, gone));
            }
            harness.feed(&t.name, rows::inserted(&t.columns, "(8, 2), (9, 1)"));
            harness.feed(&t.name, rows::deleted(&t.columns, "(2, 2)"));
            harness.step(what);
            let saved = harness.checkpoint();
            harness.resume(&saved, workers);
            harness.engine().set_part_rows(part_rows);
            harness.feed(&t.name, rows::inserted(&t.columns, "(2, 2)"));
            harness.feed(&t.name, rows::deleted(&t.columns, "(8, 2), (9, 1)"));
            harness.feed(&marks.name, rows::inserted(&marks.columns, "(1.5), (100)"));
            harness.feed(&marks.name, rows::deleted(&marks.columns, "(1.5), (100)"));
            harness.step(&format!("{what}: resumed"));
        }
    }
}

/// Which of the views are planned as thresholds.
#[test]
fn comparisons_with_one_value_are_planned_as_thresholds() {
    let [orders, customers] = tables(None);
    for (tables, views, is_threshold) in
        [(typed(), TYPES, true), (typed(), JOINS, false), ([orders, customers], GROUPS, true)]
    {
        let program = Harness::new(&tables, views, 1).program();
        let wrong = program.views().iter().filter(|view| view.explain_text().contains("Threshold") != is_threshold);
        let wrong: Vec<_> = wrong.map(|view| format!("{}\n{}", view.info.name, view.explain_text())).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

#[test]
fn a_bound_that_moves_touches_the_rows_between() {
    const ROWS: i64 = 20_000;
    let big = table("big", &[("id", "BIGINT"), ("v", "BIGINT")], None);
    let marks = table("marks", &[("m", "BIGINT")], None);
    for (op, workers) in [(">", 1), (">", 2), (">=", 2), ("<", 1), ("<=", 2)] {
        let sql = format!("SELECT id FROM lake.big WHERE v {op} (SELECT max(m) FROM lake.marks)");
        let mut harness = Harness::new(&[big.clone(), marks.clone()], &[("v", &sql)], workers);
        harness.rebuild(RebuildScope::All, "initial load");
        let values: Vec<String> = (0..ROWS).map(|id| format!("({id}, {})", id * 7919 % ROWS)).collect();
        harness.feed(&big.name, rows::inserted(&big.columns, &values.join(", ")));
        harness.feed(&marks.name, rows::inserted(&marks.columns, "(9000)"));
        harness.step("loaded");
        let mut touched = harness.engine().stats()[0].recomputed_rows;
        for (event, what) in [
            (rows::inserted(&marks.columns, "(9005)"), "up"),
            (rows::deleted(&marks.columns, "(9005)"), "down again"),
            (rows::inserted(&marks.columns, "(1), (2), (3)"), "elsewhere"),
        ] {
            harness.feed(&marks.name, event);
            let deltas = harness.step(what);
            let entries: usize = deltas.iter().flat_map(|delta| &delta.batches).map(|batch| batch.len()).sum();
            let now = harness.engine().stats()[0].recomputed_rows;
            let expected = if what == "elsewhere" { 0 } else { 5 };
            assert_eq!((entries, now - touched), (expected, expected as u64), "{op} with {workers} workers: {what}");
            touched = now;
        }
        harness.feed(&big.name, rows::inserted(&big.columns, "(-1, 8999), (-2, 9000), (-3, 9001)"));
        harness.step("more rows");
        assert_eq!(harness.engine().stats()[0].recomputed_rows, touched, "changed rows need no bound that moves");
    }
}
