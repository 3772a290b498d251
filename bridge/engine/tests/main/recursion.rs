//! Recursive queries against the oracle: random graphs with circles for UNION, without for UNION ALL; edges come
//! and go, with NULLs and duplicates.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::TableSchema;
use tidegate_engine::{EngineError, RebuildScope};
use tidegate_testkit::rows::{deleted, inserted};
use tidegate_testkit::seed;

use crate::harness::{Harness, table};
use crate::random::{change, maybe};

/// Over a graph that may have circles.
const SETS: &[(&str, &str)] = &[
    (
        "closure",
        "WITH RECURSIVE c AS (SELECT a, b FROM lake.edges UNION SELECT c.a, e.b FROM c JOIN lake.edges e ON c.b = e.a) \
         SELECT * FROM c",
    ),
    (
        "null_is_a_node",
        "WITH RECURSIVE c(x, y) AS (SELECT a, b FROM lake.edges UNION SELECT x, e.b FROM lake.edges e JOIN c \
         ON c.y IS NOT DISTINCT FROM e.a) SELECT y, x FROM c",
    ),
    (
        "from_one",
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION SELECT e.b FROM r, lake.edges e WHERE e.a = r.n) SELECT n FROM r",
    ),
    (
        "counted",
        "WITH RECURSIVE c AS (SELECT a, b FROM lake.edges UNION SELECT c.a, e.b FROM c JOIN lake.edges e ON c.b = e.a) \
         SELECT a, count(*) AS n, max(b) AS last FROM c GROUP BY a HAVING count(*) > 1",
    ),
    (
        "joined",
        "WITH RECURSIVE c AS (SELECT a, b FROM lake.edges UNION SELECT c.a, e.b FROM c JOIN lake.edges e ON c.b = e.a) \
         SELECT c.a, n.name, n.price FROM c LEFT JOIN lake.nodes n ON n.id = c.b WHERE c.a > 1",
    ),
    (
        "read_twice_outside",
        "WITH RECURSIVE c AS (SELECT a, b FROM lake.edges WHERE a < 4 UNION SELECT c.a, e.b FROM c JOIN lake.edges e \
         ON c.b = e.a) SELECT x.a, y.b FROM c x JOIN c y ON x.b = y.a WHERE NOT EXISTS (SELECT 1 FROM c WHERE c.a = y.b)",
    ),
    (
        "asked_by_in",
        "WITH RECURSIVE r AS (SELECT a, b FROM lake.edges WHERE a = 1 UNION SELECT a, b FROM lake.edges \
         WHERE a IN (SELECT b FROM r)) SELECT * FROM r",
    ),
    (
        "asked_by_exists",
        "WITH RECURSIVE r AS (SELECT a, b FROM lake.edges WHERE a = 1 UNION SELECT a, b FROM lake.edges e \
         WHERE EXISTS (SELECT 1 FROM r WHERE r.b = e.a AND r.a + e.b <> 5)) SELECT * FROM r",
    ),
    (
        "distinct_inside",
        "WITH RECURSIVE r AS (SELECT a AS n FROM lake.edges WHERE b = 2 UNION SELECT DISTINCT e.b FROM r JOIN lake.edges e \
         ON e.a = r.n) SELECT n FROM r",
    ),
    (
        "both_directions",
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION (SELECT e.b FROM r JOIN lake.edges e ON e.a = r.n UNION ALL \
         SELECT e.a FROM r JOIN lake.edges e ON e.b = r.n)) SELECT n FROM r",
    ),
    (
        "either_direction",
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION SELECT CASE WHEN e.a = n THEN e.b ELSE e.a END FROM r JOIN lake.edges e \
         ON e.a = n OR e.b = n) SELECT n FROM r",
    ),
    (
        "blocked",
        "WITH RECURSIVE r(n) AS (SELECT id FROM lake.nodes WHERE price > 2 UNION SELECT e.b FROM r JOIN lake.edges e \
         ON e.a = r.n WHERE NOT EXISTS (SELECT 1 FROM lake.nodes b WHERE b.id = e.b AND b.name = 'b')) SELECT n FROM r",
    ),
    (
        "not_in_nulls",
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION SELECT e.b FROM r JOIN lake.edges e ON e.a = r.n \
         WHERE e.b NOT IN (SELECT id FROM lake.nodes WHERE name = 'b')) SELECT n FROM r",
    ),
    (
        "known_only",
        "WITH RECURSIVE r(n) AS (SELECT a FROM lake.edges UNION SELECT e.b FROM r JOIN lake.edges e ON e.a = r.n \
         WHERE e.b IN (SELECT id FROM lake.nodes)) SELECT n FROM r SEMI JOIN lake.nodes m ON m.id = r.n",
    ),
    (
        "preserved",
        "WITH RECURSIVE r(n, name) AS (SELECT 1, 'start' UNION SELECT e.b, m.name FROM r JOIN lake.edges e ON e.a = r.n \
         LEFT JOIN lake.nodes m ON m.id = e.b AND m.price > 0) SELECT * FROM r",
    ),
    (
        "below_a_value",
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION SELECT e.b FROM r JOIN lake.edges e ON e.a = r.n \
         WHERE e.b <= (SELECT max(id) FROM lake.nodes)) SELECT n FROM r",
    ),
    (
        "along_the_greatest",
        "WITH RECURSIVE g AS (SELECT a, max(b) AS b FROM lake.edges GROUP BY a), r(n) AS (SELECT 1 UNION \
         SELECT g.b FROM r JOIN g ON g.a = r.n) SELECT n FROM r",
    ),
    (
        "both_zeros",
        "WITH RECURSIVE r(x, n) AS (SELECT price, 0 FROM lake.nodes UNION SELECT -x, (n + 1) % 3 FROM r) \
         SELECT count(*) AS c, sum(n) AS s FROM r",
    ),
    (
        "two",
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION SELECT e.b FROM r JOIN lake.edges e ON e.a = r.n), \
         s(m) AS (SELECT n FROM r UNION SELECT e.a FROM s JOIN lake.edges e ON e.b = s.m) \
         SELECT n, m FROM r FULL JOIN s ON n = m",
    ),
    (
        "in_the_term_of_another",
        "WITH RECURSIVE c AS (SELECT a, b FROM lake.edges UNION SELECT c.a, e.b FROM c JOIN lake.edges e ON c.b = e.a), \
         r(n) AS (SELECT id FROM lake.nodes UNION SELECT c.b FROM r JOIN c ON c.a = r.n WHERE c.b <> 3) SELECT n FROM r",
    ),
    (
        "asked_outside",
        "SELECT id, name FROM lake.nodes WHERE id IN (WITH RECURSIVE r(n) AS (SELECT 1 UNION SELECT e.b FROM r \
         JOIN lake.edges e ON e.a = r.n) SELECT n FROM r)",
    ),
    ("over_a_view", "SELECT a, count(*) AS n FROM closure GROUP BY a"),
    ("null_is_a_node_pairs", "SELECT x AS a, y AS b FROM null_is_a_node WHERE x <> y"),
    (
        "of_a_view",
        "WITH RECURSIVE r(n) AS (SELECT 2 UNION SELECT v.b FROM r JOIN \"null_is_a_node_pairs\" v ON v.a = r.n) SELECT n FROM r",
    ),
];

/// Over a graph without circles, or with a bound.
const BAGS: &[(&str, &str)] = &[
    (
        "paths",
        "WITH RECURSIVE p(node, depth, path) AS (SELECT parent, 0, CAST(parent AS VARCHAR) FROM lake.parts UNION ALL \
         SELECT t.child, depth + 1, path || '/' || CAST(t.child AS VARCHAR) FROM p JOIN lake.parts t ON t.parent = p.node) \
         SELECT * FROM p",
    ),
    (
        "bill_of_materials",
        "WITH RECURSIVE bom AS (SELECT parent, child, amount FROM lake.parts UNION ALL SELECT bom.parent, t.child, \
         bom.amount * t.amount FROM bom JOIN lake.parts t ON t.parent = bom.child) \
         SELECT parent, child, sum(amount) AS amount, count(*) AS ways FROM bom GROUP BY parent, child",
    ),
    (
        "upwards",
        "WITH RECURSIVE u AS (SELECT child AS node, parent FROM lake.parts UNION ALL SELECT u.node, t.parent \
         FROM lake.parts t JOIN u ON u.parent = t.child) SELECT node, count(*) AS above, max(parent) AS last FROM u GROUP BY node",
    ),
    ("series", "WITH RECURSIVE s AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM s WHERE n < 10) SELECT n FROM s"),
    (
        "series_of_each",
        "WITH RECURSIVE s AS (SELECT id, 0 AS n FROM lake.nodes UNION ALL SELECT id, n + 1 FROM s WHERE n < id) SELECT * FROM s",
    ),
    (
        "series_joined",
        "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 6) \
         SELECT n, count(p.amount) AS amounts FROM s LEFT JOIN lake.parts p ON p.parent = s.n GROUP BY n",
    ),
    (
        "cast_to_the_start",
        "WITH RECURSIVE s AS (SELECT id, CAST(price AS DECIMAL(9,2)) AS x, NULL AS y FROM lake.nodes UNION ALL \
         SELECT id + 0.4, x / 3, '7' FROM s WHERE x > 1) SELECT * FROM s",
    ),
    (
        "bounded_walks",
        "WITH RECURSIVE w AS (SELECT a, b, 1 AS steps FROM lake.edges UNION ALL SELECT w.a, e.b, steps + 1 FROM w \
         JOIN lake.edges e ON w.b = e.a WHERE steps < 3) SELECT a, b, steps, count(*) AS n FROM w GROUP BY ALL",
    ),
    (
        "two_terms",
        "WITH RECURSIVE t(n, s) AS (SELECT id, 0 FROM lake.nodes UNION ALL (SELECT n + 1, s + 1 FROM t WHERE s < 2 UNION ALL \
         SELECT p.child, s + 1 FROM t JOIN lake.parts p ON p.parent = n WHERE s < 3)) SELECT n, s FROM t",
    ),
    (
        "crossed",
        "WITH RECURSIVE t(n, s) AS (SELECT id, 0 FROM lake.nodes WHERE id < 3 UNION ALL SELECT m.id, s + 1 FROM t, lake.nodes m \
         WHERE s < 2 AND m.price > n) SELECT n, s FROM t",
    ),
    (
        "open_ends",
        "WITH RECURSIVE t(n, s, k) AS (SELECT id, 0, NULL FROM lake.nodes UNION ALL SELECT coalesce(p.child, n), s + 1, p.amount \
         FROM t LEFT JOIN lake.parts p ON p.parent = n WHERE s < 3) SELECT * FROM t",
    ),
    (
        "without_partner",
        "WITH RECURSIVE t(n) AS (SELECT id FROM lake.nodes UNION ALL SELECT p.child FROM t JOIN lake.parts p ON p.parent = n \
         WHERE p.child NOT IN (SELECT a FROM lake.edges WHERE a IS NOT NULL) AND NOT EXISTS (SELECT 1 FROM lake.edges e \
         WHERE e.b = p.amount)) SELECT n FROM t",
    ),
    (
        "with_a_count",
        "WITH RECURSIVE t(n, c) AS (SELECT id, 0::BIGINT FROM lake.nodes UNION ALL SELECT p.child, \
         (SELECT count(*) FROM lake.edges e WHERE e.a = p.child) FROM t JOIN lake.parts p ON p.parent = n) SELECT n, c FROM t",
    ),
    (
        "two_joins",
        "WITH RECURSIVE t(n, s) AS (SELECT a, 0 FROM lake.edges UNION ALL SELECT p.child, s + 1 FROM t JOIN lake.edges e \
         ON e.a = t.n JOIN lake.parts p ON p.parent = e.b WHERE s < 2) SELECT n, s FROM t",
    ),
    (
        "first_of_each",
        "WITH RECURSIVE t(n, s) AS (SELECT parent, 0 FROM lake.parts UNION ALL SELECT p.child, s + 1 FROM t \
         JOIN lake.parts p ON p.parent = n) SELECT n, s, row_number() OVER (PARTITION BY n ORDER BY s) AS r FROM t",
    ),
    (
        "lists",
        "WITH RECURSIVE t(n, l) AS (SELECT id, [id] FROM lake.nodes UNION ALL SELECT p.child, l FROM t \
         JOIN lake.parts p ON p.parent = n) SELECT * FROM t",
    ),
];

fn tables() -> [TableSchema; 3] {
    [
        table("edges", &[("a", "INTEGER"), ("b", "INTEGER")], None),
        table("parts", &[("parent", "INTEGER"), ("child", "INTEGER"), ("amount", "INTEGER")], None),
        table("nodes", &[("id", "INTEGER"), ("name", "VARCHAR"), ("price", "DOUBLE")], None),
    ]
}

fn edge(rng: &mut StdRng) -> String {
    let (a, b) = (rng.random_range(0..6).to_string(), rng.random_range(0..6).to_string());
    format!("({}, {})", maybe(rng, a), maybe(rng, b))
}

/// A part has a greater number than what it is part of.
fn part(rng: &mut StdRng) -> String {
    let parent = rng.random_range(0..5);
    let child = rng.random_range(parent + 1..6).to_string();
    let amount = rng.random_range(1..4).to_string();
    format!("({}, {}, {})", maybe(rng, parent.to_string()), maybe(rng, child), maybe(rng, amount))
}

fn node(rng: &mut StdRng) -> String {
    let id = rng.random_range(0..6).to_string();
    let name = ["'a'", "'b'"][rng.random_range(0..2)].to_owned();
    let price = ["0.0", "-0.0", "2.5", "4.75", "7"][rng.random_range(0..5)].to_owned();
    format!("({}, {}, {})", maybe(rng, id), maybe(rng, name), maybe(rng, price))
}

/// Numbers of workers, of which a sequence begins with the first and goes on with the other one now and then.
const WORKERS: [[usize; 2]; 4] = [[1, 2], [2, 1], [2, 4], [4, 2]];

/// Epochs of random changes in parts of any size, with restarts and other worker counts in between.
fn run(views: &[(&str, &str)], seed: u64, epochs: usize, [mut workers, mut other]: [usize; 2]) {
    let mut rng = StdRng::seed_from_u64(seed);
    let [edges, parts, nodes] = tables();
    let all = [edges.clone(), parts.clone(), nodes.clone()];
    let mut harness = Harness::new(&all, views, workers);
    let what = format!("seed {seed}");
    harness.rebuild(RebuildScope::All, &format!("{what}: initial load"));
    for epoch in 0..epochs {
        let what = format!("{what}, {workers} workers, epoch {epoch}");
        harness.engine().set_part_rows(if rng.random() { 1 } else { 1000 });
        change(&mut harness, &mut rng, &edges, edge);
        change(&mut harness, &mut rng, &parts, part);
        change(&mut harness, &mut rng, &nodes, node);
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
                std::mem::swap(&mut workers, &mut other);
                harness.resume(&saved, workers);
                let deltas = harness.rebuild(RebuildScope::Changed, &format!("{what}: other workers"));
                assert!(deltas.is_empty(), "{what}: a rebuild from the same tables changes nothing");
            }
            _ => {}
        }
    }
}

pub fn runs(views: &[(&str, &str)], name: &str) {
    let seed = seed::seed(name);
    for (sequence, workers) in (0..seed::sequences(4)).zip(WORKERS.into_iter().cycle()) {
        run(views, seed.wrapping_add(sequence), 20, workers);
    }
}

#[test]
fn unions_equal_a_recompute() {
    runs(SETS, "recursion::unions_equal_a_recompute");
}

#[test]
fn bags_equal_a_recompute() {
    runs(BAGS, "recursion::bags_equal_a_recompute");
}

/// Terms of several joins: in each round, rows go from worker to worker several times.
const LONG: &[(&str, &str)] = &[
    (
        "four_joins",
        "WITH RECURSIVE t(n, s) AS (SELECT a, 0 FROM lake.edges UNION SELECT q.child, s + 1 FROM t \
         JOIN lake.edges e ON e.a = t.n JOIN lake.parts p ON p.parent = e.b JOIN lake.edges f ON f.a = p.child \
         JOIN lake.parts q ON q.parent = f.b WHERE s < 6) SELECT n, s FROM t",
    ),
    (
        "walks_of_two",
        "WITH RECURSIVE t(n, s) AS (SELECT parent, 0 FROM lake.parts UNION ALL SELECT q.child, s + 1 FROM t \
         JOIN lake.parts p ON p.parent = t.n JOIN lake.parts q ON q.parent = p.child) SELECT n, s FROM t",
    ),
    (
        "with_counts",
        "WITH RECURSIVE t(n, c, d) AS (SELECT parent, 0::BIGINT, 0::BIGINT FROM lake.parts UNION ALL SELECT p.child, \
         (SELECT count(*) FROM lake.edges e WHERE e.a = p.child), (SELECT count(*) FROM lake.nodes m WHERE m.id = t.n) \
         FROM t JOIN lake.parts p ON p.parent = t.n) SELECT n, c, d FROM t",
    ),
];

#[test]
fn rounds_end_when_no_row_waits() {
    let seed = seed::seed("recursion::rounds_end_when_no_row_waits");
    for sequence in 0..seed::sequences(2) {
        for workers in [2, 4] {
            run(LONG, seed.wrapping_add(sequence), 40, [workers, workers]);
        }
    }
}

const BAG_CLOSURE: &str = "WITH RECURSIVE c AS (SELECT a, b FROM lake.edges UNION ALL SELECT c.a, e.b FROM c \
                           JOIN lake.edges e ON c.b = e.a) SELECT * FROM c";

#[test]
fn a_circle_within_an_epoch_is_none() {
    for workers in [1, 2] {
        let [edges, ..] = tables();
        let mut harness = Harness::new(std::slice::from_ref(&edges), &[("closure", BAG_CLOSURE)], workers);
        harness.rebuild(RebuildScope::All, "initial load");
        harness.engine().set_part_rows(1);
        harness.feed(&edges.name, inserted(&edges.columns, "(1, 2), (2, 3), (3, 4)"));
        harness.step("a chain");
        harness.feed(&edges.name, inserted(&edges.columns, "(4, 1)"));
        harness.feed(&edges.name, deleted(&edges.columns, "(1, 2)"));
        harness.step("another chain");
        harness.feed(&edges.name, deleted(&edges.columns, "(2, 3), (3, 4), (4, 1)"));
        harness.step("nothing");
    }
}

#[test]
fn what_does_not_end_is_an_error() {
    let counter = "WITH RECURSIVE s AS (SELECT a, 1::BIGINT AS n FROM lake.edges UNION ALL SELECT a, n + 1 FROM s) SELECT * FROM s";
    let doubled = "WITH RECURSIVE s AS (SELECT a FROM lake.edges WHERE a <> 7 UNION ALL (SELECT a FROM s UNION ALL SELECT a FROM s)) \
                   SELECT * FROM s";
    for (sql, values) in [(BAG_CLOSURE, "(1, 2), (1, 2), (2, 1)"), (counter, "(7, 7)"), (doubled, "(1, 1)")] {
        let [edges, ..] = tables();
        let mut harness = Harness::new(std::slice::from_ref(&edges), &[("v", sql)], 2);
        harness.rebuild(RebuildScope::All, "initial load");
        let saved = harness.checkpoint();
        let begin = Instant::now();
        harness.engine().feed(&edges.name, inserted(&edges.columns, values)).expect("the event is taken");
        let error = harness.engine().step().expect_err("it does not end");
        eprintln!("given up after {:?}: {error}", begin.elapsed());
        assert!(matches!(error, EngineError::Endless { .. }), "{error:?}");
        assert!(error.to_string().contains("does not reach an end"), "{error}");
        harness.resume(&saved, 2);
        harness.step("back at the checkpoint");
    }
}

/// Chains of edges, each a graph of its own.
fn chains(chains: usize, links: usize) -> String {
    let edge = |chain: usize, link: usize| format!("({}, {})", chain * 100 + link, chain * 100 + link + 1);
    (0..chains).flat_map(|chain| (0..links).map(move |link| edge(chain, link))).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_change_costs_what_follows_from_it() {
    let closure = SETS[0].1;
    let [edges, ..] = tables();
    let mut harness = Harness::new(std::slice::from_ref(&edges), &[("closure", closure)], 1);
    harness.rebuild(RebuildScope::All, "initial load");
    let begin = Instant::now();
    harness.feed(&edges.name, inserted(&edges.columns, &chains(1000, 20)));
    harness.engine().step().expect("the chains are taken");
    let whole = begin.elapsed();
    let mut one = Duration::ZERO;
    for chain in [10, 500, 990] {
        let (from, to) = (chain * 100 + 9, chain * 100 + 10);
        for event in [deleted, inserted] {
            let event = event(&edges.columns, &format!("({from}, {to})"));
            let begin = Instant::now();
            harness.feed(&edges.name, event);
            let deltas = harness.engine().step().expect("the change is taken");
            one = one.max(begin.elapsed());
            let changed: usize = deltas.iter().flat_map(|delta| &delta.batches).map(|batch| batch.len()).sum();
            assert_eq!(changed, 10 * 11, "the pairs over the changed edge");
        }
    }
    eprintln!("210000 pairs in {whole:?}, 110 of them in {one:?}");
    assert!(one * 10 < whole, "one edge took {one:?}, all of them {whole:?}");
    harness.forget_deltas();
    harness.check("after the changes");
}
