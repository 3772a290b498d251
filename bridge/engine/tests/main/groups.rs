//! Aggregates that are recomputed a group at a time, and grouping sets, against the oracle.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::{TableEvent, TableSchema, ZSet};
use tidegate_engine::RebuildScope;
use tidegate_testkit::{rows, seed};

use crate::harness::{Harness, table};

/// Views with one right answer: the order is said where it matters, and is total but for equal values.
const VIEWS: &[(&str, &str)] = &[
    (
        "texts",
        "SELECT k, string_agg(s, ', ' ORDER BY s DESC) AS a, group_concat(s ORDER BY s) AS b, \
         listagg(i, '' ORDER BY i NULLS FIRST) AS c, string_agg(DISTINCT s, '|' ORDER BY s) AS d, \
         string_agg(s, '-' ORDER BY i DESC NULLS LAST, s, d) FILTER (WHERE i > 1) AS e, string_agg(s, NULL) AS f \
         FROM lake.facts GROUP BY k",
    ),
    (
        "lists",
        "SELECT k, list(i ORDER BY i) AS a, array_agg(s ORDER BY s DESC NULLS FIRST) AS b, \
         list(m ORDER BY m DESC) AS c, list(ts ORDER BY ts) FILTER (WHERE id > 3) AS d, \
         list(DISTINCT i ORDER BY i DESC) AS e, list(w ORDER BY w) AS f, list(b ORDER BY b) AS g, \
         list(l ORDER BY id, i, s, u, d) FILTER (WHERE id < 0) AS h, list(u ORDER BY u) AS j, list(dt ORDER BY dt) AS q \
         FROM lake.facts GROUP BY k",
    ),
    (
        "firsts",
        "SELECT k, first(i ORDER BY i) AS a, last(i ORDER BY i) AS b, any_value(s ORDER BY s DESC) AS c, \
         first(s ORDER BY s DESC NULLS FIRST) AS d, arbitrary(m ORDER BY m) AS e, last(tm ORDER BY tm NULLS FIRST) AS f, \
         first(i ORDER BY i) FILTER (WHERE i > 2) AS g FROM lake.facts GROUP BY k",
    ),
    (
        "extremes",
        "SELECT k, arg_min(i, i) AS a, arg_max(s, s) AS b, min_by(i + 1, i) AS c, max_by(m, m) AS d, \
         arg_max(d, d) AS e, arg_min_null(i, i) AS f, arg_max_null(s, ts) IS NULL AND max(ts) IS NULL AS g, \
         argmin(i, i) FILTER (WHERE i > 1) AS h, arg_max(i * 2, i) AS j FROM lake.facts GROUP BY k",
    ),
    (
        "medians",
        "SELECT k, median(i) AS a, median(d) AS b, median(m) AS c, median(s) AS e, median(dt) AS f, \
         median(ts) AS g, median(tm) AS h, median(b) AS j, median(w) AS n, median(DISTINCT i) AS o, \
         median(i) FILTER (b) AS p, median(u) AS q FROM lake.facts GROUP BY k",
    ),
    (
        "quantiles",
        "SELECT k, quantile_cont(i, 0.3) AS a, quantile_disc(i, 0.3) AS b, quantile(s, 0.75) AS c, \
         quantile_cont(m, 0.37) AS d, quantile_disc(m, 0) AS e, quantile_cont(i, 1) AS f, \
         quantile_cont(d, [0.25, 0.5, 0.9]) AS g, quantile_disc(s, [0.1, 1.0]) AS h, quantile_cont(ts, 0.25) AS j, \
         quantile_cont(tm, 0.33) AS n, percentile_cont(0.5) WITHIN GROUP (ORDER BY m) AS o, \
         percentile_disc(0.4) WITHIN GROUP (ORDER BY dt) AS p, quantile_cont(dt, 0.4) AS q, \
         quantile_disc(dt, 0.4) AS r, quantile_cont(w, 0.5) AS t FROM lake.facts GROUP BY k",
    ),
    (
        "tallies",
        "SELECT k, histogram(i) AS a, histogram(s) AS b, histogram(b) AS c, histogram(m) AS d, \
         round(entropy(i) + 0.12345678912, 8) AS e, round(entropy(s) + 0.12345678912, 8) AS f, histogram(dt) FILTER (WHERE id > 4) AS g \
         FROM lake.facts GROUP BY k",
    ),
    (
        "estimated_tallies",
        "SELECT k, approx_count_distinct(i) AS a, approx_count_distinct(s) AS b, approx_count_distinct(d) AS c, \
         approx_count_distinct(m) FILTER (WHERE id > 4) AS e, approx_count_distinct(DISTINCT ts) AS f FROM lake.facts GROUP BY k",
    ),
    (
        "estimated_of_all",
        "SELECT approx_count_distinct(id) AS n, approx_count_distinct(d) FILTER (WHERE id < 0) AS none FROM lake.facts",
    ),
    (
        "logic",
        "SELECT k, bool_and(b) AS a, bool_or(b) AS c, count_if(b) AS d, count_if(s = 'b') AS of_b, countif(i > 2) AS e, bit_and(i) AS f, \
         bit_or(i) AS g, bit_xor(i) AS h, bit_and(u) AS j, bit_or(u) AS n, bit_xor(u) AS o, \
         bool_and(i > 0) FILTER (WHERE b) AS p, count_if(DISTINCT b) AS q, bit_xor(DISTINCT i) AS r, bit_or(id) AS t \
         FROM lake.facts GROUP BY k",
    ),
    (
        "spread",
        "SELECT k, round(stddev(i) + 0.12345678912, 8) AS a, round(stddev_pop(m) + 0.12345678912, 8) AS b, \
         round(variance(d) + 0.12345678912, 0) AS c, round(var_pop(w) + 0.12345678912, 2) AS e, \
         round(stddev_samp(u) + 0.12345678912, 8) AS f, round(var_samp(i) + 0.12345678912, 8) AS g, \
         round(sem(i) + 0.12345678912, 8) AS h, round(skewness(i) + 0.12345678912, 6) AS j, \
         round(kurtosis(i) + 0.12345678912, 6) AS n, round(kurtosis_pop(i) + 0.12345678912, 6) AS o, \
         product(d) FILTER (WHERE d < 1) AS p, round(stddev(DISTINCT i) + 0.12345678912, 8) AS q, \
         round(fsum(m) + 0.12345678912, 8) AS r, round(favg(i) + 0.12345678912, 8) AS t FROM lake.facts GROUP BY k",
    ),
    (
        "pairs",
        "SELECT k, round(covar_pop(i, m) + 0.12345678912, 8) AS a, round(covar_samp(i, d) + 0.12345678912, 3) AS b, \
         round(corr(u, i) + 0.12345678912, 8) AS c, round(regr_avgx(i, u) + 0.12345678912, 8) AS d, \
         round(regr_avgy(i, u) + 0.12345678912, 8) AS e, regr_count(i, u) AS f, \
         round(regr_slope(i, u) + 0.12345678912, 8) AS g, round(regr_intercept(i, u) + 0.12345678912, 8) AS h, \
         round(regr_r2(i, u) + 0.12345678912, 8) AS j, round(regr_sxx(i, u) + 0.12345678912, 8) AS n, \
         round(regr_syy(i, u) + 0.12345678912, 8) AS o, round(regr_sxy(i, u) + 0.12345678912, 8) AS p, \
         round(covar_pop(DISTINCT i, u) + 0.12345678912, 8) AS q, regr_count(i, u) FILTER (WHERE b) AS r \
         FROM lake.facts GROUP BY k",
    ),
    (
        "overall",
        "SELECT list(i ORDER BY i) AS a, string_agg(s, ',' ORDER BY s) AS b, regr_count(i, d) AS c, entropy(i) = 0 AS d, \
         median(i) AS e, count_if(b) AS f, count(*) AS n, sum(i) AS s, min(s) AS t, histogram(i) AS h FROM lake.facts WHERE id > 2",
    ),
    (
        "having",
        "SELECT k AS z, median(i) AS a, count(*) AS n FROM lake.facts GROUP BY z HAVING median(i) > 1 AND bool_or(b)",
    ),
    ("by_position", "SELECT i % 3 AS r, k, list(i ORDER BY i) AS a FROM lake.facts GROUP BY 1, 2"),
    ("by_all", "SELECT k, median(i) AS a, i % 2 AS p, string_agg(s, ',' ORDER BY s) AS b FROM lake.facts GROUP BY ALL"),
    (
        "joined",
        "SELECT a.k, list(b.i ORDER BY b.i) AS l, median(a.d) AS m FROM lake.facts a JOIN lake.facts b ON a.k = b.k GROUP BY a.k",
    ),
    (
        "rollup",
        "SELECT k, b, count(*) AS n, sum(i) AS s, median(i) AS m, min(s) AS t, count(DISTINCT i) AS c FROM lake.facts GROUP BY ROLLUP (k, b)",
    ),
    (
        "cube",
        "SELECT k, i % 2 AS p, b, grouping(k) AS gk, grouping(b, k) AS g, grouping_id(i % 2) AS gp, sum(m) AS s, avg(d) AS a \
         FROM lake.facts GROUP BY CUBE (k, i % 2, b)",
    ),
    (
        "sets",
        "SELECT k, s, count(*), list(i ORDER BY i), CASE WHEN grouping(k) = 1 THEN 'all' ELSE 'one' END AS c FROM lake.facts \
         GROUP BY GROUPING SETS ((k, s), (k), (k), ()) HAVING count(*) > 1 OR grouping(s) = 1",
    ),
    ("mixed_sets", "SELECT k, b, s, max(i) AS m FROM lake.facts GROUP BY k, ROLLUP ((b, s), u)"),
    ("no_aggregate", "SELECT k, b FROM lake.facts GROUP BY ROLLUP (k, b)"),
    ("no_set", "SELECT k, grouping(k) AS g, count(*) AS n FROM lake.facts GROUP BY k"),
    (
        "sets_of_a_join",
        "SELECT a.k, b.b, count(*) AS n, sum(a.i) AS s FROM lake.facts a JOIN lake.facts b ON a.k = b.k AND a.id <> b.id \
         GROUP BY CUBE (a.k, b.b)",
    ),
    ("over_sets", "SELECT n, count(*) AS c FROM rollup WHERE k IS NULL GROUP BY n"),
    ("over_lists", "SELECT a, count(*) AS n FROM texts GROUP BY a"),
];

/// Views with several right answers, and DuckDB's SQL for the one that the engine gives: every such call sees the
/// rows in the order of the arguments of all of them, rows with NULLs after those without.
const ORDERED: &[(&str, &str, &str)] = &[
    (
        "orderless",
        "SELECT k, list(i) AS a, string_agg(s, ',') FILTER (WHERE s IS NOT NULL) AS b FROM lake.facts WHERE s IS NOT NULL GROUP BY k",
        "SELECT k, list(i ORDER BY i, s) AS a, string_agg(s, ',' ORDER BY i, s) AS b FROM lake.facts WHERE s IS NOT NULL GROUP BY k",
    ),
    (
        "one_row",
        "SELECT k, first(i) AS a, first(s) AS b, any_value(i) AS c, last(s) AS d FROM lake.facts \
         WHERE i IS NOT NULL AND s IS NOT NULL GROUP BY k",
        "SELECT k, first(i ORDER BY i, s) AS a, first(s ORDER BY i, s) AS b, first(i ORDER BY i, s) AS c, \
         last(s ORDER BY i, s) AS d FROM lake.facts WHERE i IS NOT NULL AND s IS NOT NULL GROUP BY k",
    ),
    (
        "ties",
        "SELECT k, arg_min(i, u) AS a, arg_min(s, u) AS b, arg_max(i, u) AS c, mode(i) AS d FROM lake.facts \
         WHERE i IS NOT NULL AND s IS NOT NULL AND u IS NOT NULL GROUP BY k",
        "SELECT k, first(i ORDER BY u, i, s) AS a, first(s ORDER BY u, i, s) AS b, first(i ORDER BY u DESC, i, s) AS c, \
         (SELECT t.i FROM (SELECT g.i, count(*) AS n, min(g.u) AS u FROM lake.facts g WHERE g.k IS NOT DISTINCT FROM o.k \
         AND g.i IS NOT NULL AND g.s IS NOT NULL AND g.u IS NOT NULL GROUP BY g.i) t ORDER BY t.n DESC, t.i LIMIT 1) AS d \
         FROM lake.facts o WHERE i IS NOT NULL AND s IS NOT NULL AND u IS NOT NULL GROUP BY k",
    ),
];

fn facts() -> TableSchema {
    let columns = [
        ("id", "BIGINT"),
        ("k", "INTEGER"),
        ("b", "BOOLEAN"),
        ("i", "INTEGER"),
        ("u", "UTINYINT"),
        ("d", "DOUBLE"),
        ("m", "DECIMAL(9,2)"),
        ("w", "DECIMAL(38,5)"),
        ("s", "VARCHAR"),
        ("dt", "DATE"),
        ("ts", "TIMESTAMP"),
        ("tm", "TIME"),
        ("l", "INTEGER[]"),
    ];
    table("facts", &columns, None)
}

fn fact(rng: &mut StdRng) -> String {
    let id = rng.random_range(0..8);
    let mut any = |values: &[&'static str]| {
        if rng.random_ratio(1, 6) { "NULL" } else { values[rng.random_range(0..values.len())] }
    };
    let k = any(&["1", "2", "3"]);
    let b = any(&["true", "false"]);
    let i = any(&["-3", "0", "1", "2", "5", "7", "12"]);
    let u = any(&["0", "3", "8", "200"]);
    let d = any(&["0.5", "-0.25", "3.75", "1048576", "0.0", "7"]);
    let m = any(&["1.25", "-4.10", "0.03", "99.99"]);
    let w = any(&["1.25000", "-4.10000", "12345.00003"]);
    let s = any(&["''", "'a'", "'b'", "'a longer text, past inline'", "'ünï'"]);
    let dt = any(&["'2020-01-31'", "'1969-12-31'", "'2024-02-29'"]);
    let ts = any(&["'2020-01-31 10:11:12.345678'", "'1969-12-31 23:59:59.999999'", "'2000-01-01'"]);
    let tm = any(&["'10:11:12'", "'23:59:59.999999'", "'00:00:00'"]);
    let l = any(&["[1, 2]", "[]", "[NULL]"]);
    format!("({id}, {k}, {b}, {i}, {u}, {d}, {m}, {w}, {s}, {dt}, {ts}, {tm}, {l})")
}

fn change(harness: &mut Harness, rng: &mut StdRng, schema: &TableSchema) {
    if rng.random_ratio(3, 4) {
        let mut values: Vec<String> = (0..rng.random_range(1..6)).map(|_| fact(rng)).collect();
        // Copies of one row are one row with a weight.
        values.extend(values.first().cloned().filter(|_| rng.random_ratio(1, 3)));
        harness.feed(&schema.name, rows::inserted(&schema.columns, &values.join(", ")));
    }
    let present = harness.tables[&schema.name].batch();
    if present.num_rows() > 0 && rng.random_ratio(2, 3) {
        let index = rng.random_range(0..present.num_rows());
        let all = rng.random_ratio(1, 10);
        let (index, count) = if all { (0, present.num_rows()) } else { (index, 1) };
        harness.feed(&schema.name, TableEvent::Rows(ZSet::uniform(present.slice(index, count), -1)));
    }
}

/// Epochs of random changes, with restarts, rebuilds and other worker counts in between.
fn run(seed: u64, epochs: usize, views: &[(&str, &str)], answers: &[(&str, &str, &str)]) {
    let mut rng = StdRng::seed_from_u64(seed);
    let facts = facts();
    let mut workers = rng.random_range(1..3);
    let all: Vec<_> = views.iter().copied().chain(answers.iter().map(|(name, sql, _)| (*name, *sql))).collect();
    let mut harness = Harness::new(std::slice::from_ref(&facts), &all, workers);
    harness.answers = answers.iter().map(|(name, _, sql)| ((*name).into(), (*sql).to_owned())).collect();
    let what = format!("seed {seed}");
    harness.rebuild(RebuildScope::All, &format!("{what}: initial load"));
    for epoch in 0..epochs {
        let what = format!("{what}, epoch {epoch}");
        change(&mut harness, &mut rng, &facts);
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
fn recomputed_groups_equal_a_recompute_after_every_epoch() {
    let seed = seed::seed("recomputed_groups_equal_a_recompute_after_every_epoch");
    for sequence in 0..seed::sequences(4) {
        run(seed.wrapping_add(sequence), 25, VIEWS, ORDERED);
    }
}

#[test]
fn a_statistic_out_of_range_stops_the_engine() {
    let facts = facts();
    let views = [("v", "SELECT k, stddev(d) AS s FROM lake.facts GROUP BY k")];
    let mut harness = Harness::new(std::slice::from_ref(&facts), &views, 1);
    harness.rebuild(RebuildScope::All, "initial load");
    let row = |d: &str| format!("(1, 1, true, 1, 1, {d}, 1, 1, 'a', NULL, NULL, NULL, NULL)");
    harness.feed(&facts.name, rows::inserted(&facts.columns, &row("'inf'")));
    harness.step("one value has no deviation");
    harness.feed(&facts.name, rows::inserted(&facts.columns, &row("1.0")));
    let error = harness.engine().step().expect_err("DuckDB fails, too");
    assert_eq!(error.kind(), tidegate_core::ErrorKind::Stop);
    assert!(error.to_string().contains("stddev is out of range"), "{error}");
}

/// DuckDB looks at variances only: a covariance may be infinite or NaN, and one value has no kurtosis whatever
/// it is.
#[test]
fn statistics_of_what_is_no_number() {
    let facts = facts();
    let views = [
        (
            "pairs",
            "SELECT k, covar_pop(d, i) AS a, covar_samp(d, i) AS b, regr_sxy(d, i) AS c, covar_pop(i, d) AS e, \
             covar_samp(i, d) AS f, regr_sxy(i, d) AS g, covar_pop(d, d) AS h FROM lake.facts GROUP BY k",
        ),
        ("single", "SELECT id, kurtosis_pop(d) AS a, var_pop(d) AS b, stddev(d) AS c FROM lake.facts GROUP BY id"),
    ];
    for workers in [1, 2] {
        let mut harness = Harness::new(std::slice::from_ref(&facts), &views, workers);
        harness.rebuild(RebuildScope::All, "initial load");
        let row = |id: i32, k: i32, i: i32, d: &str| {
            format!("({id}, {k}, true, {i}, 1, {d}, 1, 1, 'a', NULL, NULL, NULL, NULL)")
        };
        // Ascending in every column: whether such a covariance is NaN depends on the order of the rows.
        let greater = [row(5, 1, 3, "'inf'"), row(6, 2, 3, "'nan'"), row(7, 3, 3, "1e200"), row(8, 4, 3, "0.5")];
        harness.feed(&facts.name, rows::inserted(&facts.columns, &greater.join(", ")));
        harness.step("one value a group");
        let less = [row(1, 1, 1, "2"), row(2, 2, 1, "'-inf'"), row(3, 3, 1, "-1e200"), row(4, 4, 1, "-1.25")];
        harness.feed(&facts.name, rows::inserted(&facts.columns, &less.join(", ")));
        harness.step("two values a group");
        harness.feed(&facts.name, rows::deleted(&facts.columns, &greater[0]));
        harness.step("one is gone");
    }
}

#[test]
fn a_standard_error_of_one_value_that_is_no_number_stops_the_engine() {
    let facts = facts();
    let views = [("v", "SELECT k, sem(d) AS s FROM lake.facts GROUP BY k")];
    let mut harness = Harness::new(std::slice::from_ref(&facts), &views, 1);
    harness.rebuild(RebuildScope::All, "initial load");
    let row = |d: &str| format!("(1, 1, true, 1, 1, {d}, 1, 1, 'a', NULL, NULL, NULL, NULL)");
    harness.feed(&facts.name, rows::inserted(&facts.columns, &row("1e200")));
    harness.step("a large number");
    harness.feed(&facts.name, rows::deleted(&facts.columns, &row("1e200")));
    harness.feed(&facts.name, rows::inserted(&facts.columns, &row("'nan'")));
    let error = harness.engine().step().expect_err("DuckDB fails, too");
    assert_eq!(error.kind(), tidegate_core::ErrorKind::Stop);
    assert!(error.to_string().contains("sem is out of range"), "{error}");
}

/// DuckDB interpolates decimals of more than 18 digits as HUGEINTs, whose halves become DOUBLEs each for itself.
#[test]
fn quantiles_of_large_decimals() {
    let wide = table("wide", &[("k", "INTEGER"), ("x", "DECIMAL(19,0)"), ("y", "DECIMAL(38,3)")], None);
    let views = [(
        "v",
        "SELECT k, quantile_cont(x, 0.25) AS a, median(x) AS b, quantile_cont(y, [0.1, 0.37, 0.9]) AS c FROM lake.wide GROUP BY k",
    )];
    let mut harness = Harness::new(std::slice::from_ref(&wide), &views, 1);
    harness.rebuild(RebuildScope::All, "initial load");
    let known = [-157_493_816_048_118_353i64, -5_048_850, 1_509_500_116_689, 7_634_061_854_273];
    let values: Vec<String> = known.iter().map(|x| format!("(0, {x}, {x})")).collect();
    harness.feed(&wide.name, rows::inserted(&wide.columns, &values.join(", ")));
    harness.step("the values of which a last digit was wrong");
    let mut rng = StdRng::seed_from_u64(seed::seed("quantiles_of_large_decimals"));
    let mut values = Vec::new();
    for k in 1..200 {
        for _ in 0..rng.random_range(2..6) {
            let mut number = |most: u32| {
                let digits = rng.random_range(1..=most);
                let magnitude = rng.random_range(0..10i128.pow(digits));
                if rng.random_ratio(1, 2) { -magnitude } else { magnitude }
            };
            let (x, y) = (number(19), number(38));
            let thousandths = y.unsigned_abs() % 1000;
            let sign = if y < 0 { "-" } else { "" };
            values.push(format!("({k}, {x}, {sign}{}.{thousandths:03})", y.unsigned_abs() / 1000));
        }
    }
    harness.feed(&wide.name, rows::inserted(&wide.columns, &values.join(", ")));
    harness.step("random values");
}
