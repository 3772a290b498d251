//! Aggregates that are computed from all rows of a frame, and IGNORE NULLS, over random changes. Orders are total
//! up to equal rows. Statistics are rounded: DuckDB adds up the rows of a frame in trees.

use tidegate_engine::RebuildScope;
use tidegate_testkit::{rows, seed};

use crate::harness::Harness;
use crate::random::{run, tables};

const AGGREGATES: &[(&str, &str)] = &[
    (
        "lists",
        "SELECT id, list(note) OVER w AS l, string_agg(note, '-') OVER w AS s, listagg(note) OVER w AS c, \
         list(amount) FILTER (WHERE amount > 5) OVER w AS f, any_value(note) OVER w AS a, arbitrary(note) OVER w AS b, \
         first(note) OVER w AS d, last(note) OVER w AS e, \
         array_agg(id) OVER (w ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING) AS g, \
         list_sort(list(DISTINCT note) OVER w) AS h FROM lake.orders \
         WINDOW w AS (PARTITION BY customer ORDER BY id, amount, price, note)",
    ),
    (
        "inner_orders",
        "SELECT id, list(note ORDER BY note DESC NULLS FIRST) OVER w AS l, list(DISTINCT note ORDER BY note) OVER w AS d, \
         string_agg(note, '|' ORDER BY amount NULLS FIRST, note DESC) OVER (w ROWS BETWEEN 1 PRECEDING AND 2 FOLLOWING) AS s, \
         sum(amount ORDER BY id) OVER w AS t FROM lake.orders \
         WINDOW w AS (PARTITION BY customer ORDER BY id, amount, price, note)",
    ),
    (
        "quantiles",
        "SELECT id, median(amount) OVER w AS a, median(id) OVER (w ROWS 3 PRECEDING) AS b, median(note) OVER w AS c, \
         quantile_cont(price, 0.3) OVER w AS d, quantile_disc(note, [0.2, 0.9]) OVER w AS e, \
         quantile_cont(amount, [0.25, 0.75]) OVER (PARTITION BY note) AS f, median(DISTINCT amount) OVER w AS g, \
         quantile(amount, 0.4) FILTER (WHERE id > 4) OVER w AS h FROM lake.orders \
         WINDOW w AS (PARTITION BY customer ORDER BY id, amount, price, note)",
    ),
    (
        "chosen",
        "SELECT id, arg_min(id, amount * 100 + id) OVER w AS a, max_by(note, id) OVER (PARTITION BY customer, note) AS b, \
         arg_max_null(note, id) OVER (PARTITION BY customer, note ORDER BY id) AS c, \
         mode(note) OVER (PARTITION BY customer, note) AS d, mode(amount) OVER (w ROWS CURRENT ROW) AS e, \
         histogram(note) OVER w AS f, round(entropy(note) OVER w, 8) AS g FROM lake.orders \
         WINDOW w AS (PARTITION BY customer ORDER BY id, amount, price, note)",
    ),
    (
        "statistics",
        "SELECT id, round(stddev(id) OVER w, 8) AS a, round(var_pop(id) OVER w, 8) AS b, round(variance(id) OVER f, 8) AS c, \
         round(covar_pop(id, customer) OVER v, 8) AS d, regr_count(price, amount) OVER f AS e, \
         round(regr_avgx(id, amount) OVER f, 8) AS f, round(sem(id) OVER f, 8) AS g, \
         round(stddev_pop(DISTINCT id) OVER w, 8) AS h FROM lake.orders \
         WINDOW w AS (PARTITION BY customer ORDER BY id), v AS (PARTITION BY note ORDER BY id), \
         f AS (ORDER BY id, customer, amount, price, note ROWS BETWEEN 3 PRECEDING AND 1 PRECEDING)",
    ),
    (
        "folds",
        "SELECT id, bit_and(id) OVER w AS a, bit_or(id) OVER w AS b, bit_xor(customer) OVER f AS c, \
         product(price) FILTER (WHERE price IN (0.5, 0.25)) OVER w AS d, bool_and(amount > 3) OVER f AS e, \
         bool_or(amount > 30) OVER w AS f, count_if(amount > 3) OVER f AS g, fsum(price) OVER w AS h, favg(id) OVER f AS i, \
         count_if(note > 'a') FILTER (WHERE id > 3) OVER w AS j FROM lake.orders \
         WINDOW w AS (PARTITION BY customer ORDER BY id), \
         f AS (PARTITION BY customer ORDER BY id, amount, price, note ROWS BETWEEN 2 FOLLOWING AND 3 FOLLOWING)",
    ),
    (
        "empty_frames",
        "SELECT id, list(id) OVER w AS a, entropy(id) OVER w AS b, regr_count(id, id) OVER w AS c, histogram(id) OVER w AS d, \
         median(id) OVER w AS e, string_agg(note) OVER w AS f, product(id) OVER w AS g, \
         approx_count_distinct(id) OVER w AS h FROM lake.orders \
         WINDOW w AS (PARTITION BY customer ORDER BY id, amount, price, note ROWS BETWEEN 6 FOLLOWING AND 7 FOLLOWING)",
    ),
    (
        "other_frames",
        "SELECT id, median(amount) OVER (ORDER BY id RANGE BETWEEN 2 PRECEDING AND 1 FOLLOWING) AS a, \
         bit_or(id) OVER (PARTITION BY note ORDER BY customer GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING) AS b, \
         quantile_disc(id, 0.5) OVER (PARTITION BY customer ORDER BY amount DESC RANGE BETWEEN 5 PRECEDING AND CURRENT ROW) AS c, \
         approx_count_distinct(note) OVER (PARTITION BY customer ORDER BY id) AS d, \
         list_sort(list(id) OVER (ORDER BY note)) AS e FROM lake.orders",
    ),
    (
        "around",
        "SELECT customer, total - m AS off FROM (SELECT customer, sum(amount) AS total, \
         median(sum(amount)) OVER (ORDER BY customer) AS m FROM lake.orders GROUP BY customer) t \
         QUALIFY bit_or(customer) OVER (ORDER BY customer) > 1",
    ),
];

const NULLS: &[(&str, &str)] = &[
    (
        "before_and_after",
        "SELECT id, lag(amount IGNORE NULLS) OVER w AS a, lead(note IGNORE NULLS) OVER w AS b, \
         lag(amount, 2 IGNORE NULLS) OVER w AS c, lag(amount, 0, -1 IGNORE NULLS) OVER w AS d, \
         lag(note, -2, 'none' IGNORE NULLS) OVER w AS e, lead(price, 3, id IGNORE NULLS) OVER w AS f, \
         lag(amount RESPECT NULLS) OVER w AS g, lag(amount) OVER w AS h FROM lake.orders \
         WINDOW w AS (PARTITION BY customer ORDER BY id, amount, price, note)",
    ),
    (
        "values",
        "SELECT id, first_value(note IGNORE NULLS) OVER w AS a, last_value(amount IGNORE NULLS) OVER w AS b, \
         nth_value(price, 2 IGNORE NULLS) OVER w AS c, first(amount IGNORE NULLS) OVER f AS d, \
         last(note IGNORE NULLS) OVER f AS e, nth_value(amount, 3 IGNORE NULLS) OVER f AS f, \
         last_value(price IGNORE NULLS) OVER b AS g, first_value(note RESPECT NULLS) OVER b AS h FROM lake.orders \
         WINDOW w AS (PARTITION BY customer ORDER BY id, amount, price, note), \
         f AS (ORDER BY id, customer, amount, price, note ROWS BETWEEN 2 PRECEDING AND 3 FOLLOWING), \
         b AS (PARTITION BY customer ORDER BY id, amount, price, note ROWS BETWEEN 4 PRECEDING AND 2 PRECEDING)",
    ),
];

fn sequences(views: &[(&str, &str)], test: &str) {
    let seed = seed::seed(test);
    for sequence in 0..seed::sequences(2) {
        run(views, seed.wrapping_add(sequence), 15);
    }
}

#[test]
fn recomputed_aggregates_of_frames_equal_a_recompute() {
    sequences(AGGREGATES, "recomputed_aggregates_of_frames_equal_a_recompute");
}

#[test]
fn passing_over_nulls_equals_a_recompute() {
    sequences(NULLS, "passing_over_nulls_equals_a_recompute");
}

/// Of several most frequent values DuckDB takes one that depends on how it came to the frame; where one is the most
/// frequent there is one answer.
#[test]
fn the_mode_of_a_frame() {
    let sql = "SELECT id, mode(note) OVER (ORDER BY id ROWS 2 PRECEDING) AS m FROM lake.orders";
    let [orders, customers] = tables(None);
    let mut harness = Harness::new(&[orders.clone(), customers], &[("v", sql)], 1);
    harness.rebuild(RebuildScope::All, "initial load");
    let notes = ["'a'", "'a'", "NULL", "'a'", "'a'", "'b'", "'a'", "'a'"];
    let values = notes.iter().enumerate().map(|(id, note)| format!("({id}, 1, 1, 1, {note})"));
    harness.feed(&orders.name, rows::inserted(&orders.columns, &values.collect::<Vec<_>>().join(", ")));
    harness.step("one value is the most frequent in every frame");
    harness.feed(&orders.name, rows::deleted(&orders.columns, "(5, 1, 1, 1, 'b')"));
    harness.step("without the other one");
}

/// Where DuckDB says that a function is out of range, so does the view.
#[test]
fn a_frame_without_an_answer_fails() {
    let sql = "SELECT id, stddev(price) OVER (ORDER BY id) AS s FROM lake.orders";
    let [orders, customers] = tables(None);
    let mut harness = Harness::new(&[orders.clone(), customers], &[("v", sql)], 1);
    harness.rebuild(RebuildScope::All, "initial load");
    let infinite = "(1, 1, 1, 1, 'a'), (2, 1, 1, 'inf'::DOUBLE, 'a')";
    harness.engine().feed(&orders.name, rows::inserted(&orders.columns, infinite)).expect("it is taken");
    let error = harness.engine().step().expect_err("the step fails");
    assert!(error.to_string().contains("stddev is out of range"), "{error}");
}
