//! Rows from lists and constants, and LATERAL, over random changes of lists with NULLs, empty lists, NULL lists and
//! duplicates.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::{TableEvent, TableSchema, ViewName};
use tidegate_engine::RebuildScope;
use tidegate_testkit::{rows, seed};

use crate::harness::{Harness, table, told};
use crate::random::{change, maybe};

const LISTS: &[(&str, &str)] = &[
    ("selected", "SELECT id, unnest(items) AS item FROM lake.baskets"),
    ("alone", "SELECT unnest(items) FROM lake.baskets"),
    (
        "side_by_side",
        "SELECT id, unnest(items) AS item, note, unnest(tags) AS tag, unnest(items) AS again FROM lake.baskets",
    ),
    (
        "computed",
        "SELECT coalesce(unnest(items), 0) + id AS c, upper(unnest(tags)) AS t FROM lake.baskets WHERE id > 1",
    ),
    ("of_structs", "SELECT id, unnest(parts) AS part FROM lake.baskets"),
    ("fields", "SELECT id, struct_extract(part, 'a') AS a FROM (SELECT id, unnest(parts) AS part FROM lake.baskets)"),
    ("fixed", "SELECT id, unnest(pair) AS p FROM lake.baskets"),
    ("nested", "SELECT id, unnest(grid) AS line FROM lake.baskets"),
    ("nested_twice", "SELECT id, unnest(line) AS cell FROM (SELECT id, unnest(grid) AS line FROM lake.baskets)"),
    ("keys", "SELECT id, unnest(ids) AS u FROM lake.baskets"),
    (
        "keys_compared",
        "SELECT id FROM lake.baskets b, UNNEST(b.ids) AS x(u) WHERE u = 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'",
    ),
    ("sums_of_lists", "SELECT id, unnest(sums) AS s FROM lake.baskets"),
    ("distinct_items", "SELECT DISTINCT unnest(items) AS item FROM lake.baskets"),
    ("of_a_group", "SELECT note, unnest(list(id ORDER BY id)) AS i, count(*) AS n FROM lake.baskets GROUP BY note"),
    ("with_a_window", "SELECT id, count(*) OVER (PARTITION BY note) AS n, unnest(items) AS item FROM lake.baskets"),
    ("after_qualify", "SELECT id, unnest(items) AS i FROM lake.baskets QUALIFY count(*) OVER (PARTITION BY note) > 1"),
    ("first_items", "SELECT id, unnest(items) AS item FROM lake.baskets ORDER BY item DESC, id LIMIT 4"),
    ("united", "SELECT unnest(items) AS x FROM lake.baskets UNION ALL SELECT rating FROM lake.prices"),
    ("less", "SELECT unnest(items) AS x FROM lake.baskets EXCEPT ALL SELECT item FROM lake.prices"),
    ("from_list", "SELECT b.id, u.item FROM lake.baskets b, UNNEST(b.items) AS u(item)"),
    ("everything", "SELECT * FROM lake.baskets, UNNEST(tags)"),
    ("crossed", "SELECT id, tag FROM lake.baskets CROSS JOIN UNNEST(tags) AS u(tag) WHERE tag <> 'a' OR id < 3"),
    ("joined_list", "SELECT id, item FROM lake.baskets JOIN UNNEST(items) AS u(item) ON item > id"),
    ("kept_rows", "SELECT id, note, item FROM lake.baskets LEFT JOIN UNNEST(items) AS u(item) ON true"),
    ("two_lists", "SELECT id, item, tag FROM lake.baskets, UNNEST(items) AS i(item), UNNEST(tags) AS t(tag)"),
    ("list_of_item", "SELECT id, cell FROM lake.baskets, UNNEST(grid) AS g(line), UNNEST(line) AS l(cell)"),
    ("numbered", "SELECT id, tag, n FROM lake.baskets, UNNEST(tags) WITH ORDINALITY AS u(tag, n)"),
    (
        "numbered_kept",
        "SELECT id, unnest, ordinality FROM lake.baskets LEFT JOIN UNNEST(items) WITH ORDINALITY ON true",
    ),
    (
        "priced",
        "SELECT b.id, p.item, p.rating FROM lake.baskets b, UNNEST(b.items) AS u(item) JOIN lake.prices p ON p.item = u.item",
    ),
    (
        "per_item",
        "SELECT item, count(*) AS n, sum(id) AS ids, max(note) AS note FROM lake.baskets, UNNEST(items) AS u(item) GROUP BY item",
    ),
    ("only_constants", "SELECT x * 2 AS y FROM UNNEST([1, 2, NULL, 3]) AS u(x)"),
    ("with_constants", "SELECT id, x FROM lake.baskets, UNNEST(['a', 'b']) AS u(x) WHERE id < 4"),
    ("of_a_view", "SELECT item, count(*) AS n FROM selected GROUP BY item"),
    ("joined_views", "SELECT s.id, f.item FROM selected s JOIN from_list f ON s.item = f.item AND s.id < f.id"),
    ("counted", "SELECT id, r FROM lake.baskets, range(id) AS x(r)"),
    ("series", "SELECT id, generate_series AS g FROM lake.baskets, generate_series(2, id, 2)"),
    ("ranges", "SELECT range FROM range(3)"),
    ("days", "SELECT * FROM generate_series(DATE '2024-01-30', DATE '2024-02-02', INTERVAL 1 DAY) AS d(day)"),
    ("in_the_list", "SELECT id, note FROM lake.baskets WHERE id IN (SELECT unnest(items) FROM lake.baskets)"),
];

const VALUES: &[(&str, &str)] = &[
    ("plain", "VALUES (1, 'a'), (2, NULL), (2, NULL)"),
    ("unified", "VALUES (1, 'x', NULL, 1), (2.5, NULL, '7', 3000000000), (NULL, 'y', NULL, -1)"),
    ("aliased", "SELECT v.name, v.k + 1 AS k FROM (VALUES (1, 'one'), (2, 'two')) AS v(k, name) WHERE k > 1"),
    ("unnamed", "SELECT * FROM (VALUES (DATE '2024-01-01', TRUE), (DATE '2024-01-02', NULL)) AS v"),
    (
        "joined",
        "SELECT b.id, v.word FROM lake.baskets b JOIN (VALUES (1, 'one'), (2, 'two'), (2, 'zwei')) AS v(k, word) ON v.k = b.id",
    ),
    (
        "named_first",
        "WITH v(k, word) AS (VALUES (1, 'one'), (3, 'three')) SELECT word, count(*) AS n FROM v \
         LEFT JOIN lake.baskets b ON b.id = v.k GROUP BY word",
    ),
    ("member", "SELECT id, note FROM lake.baskets WHERE id IN (VALUES (1), (3))"),
    ("united", "SELECT id, note FROM lake.baskets UNION ALL VALUES (100, 'a hundred')"),
    ("turned", "SELECT id, k, v FROM lake.prices, (VALUES ('item', item), ('rating', rating)) AS t(k, v)"),
    (
        "turned_again",
        "SELECT id, v FROM lake.prices CROSS JOIN LATERAL (VALUES (item), (rating), (id)) AS t(v) WHERE v > 2",
    ),
];

const PIVOTS: &[(&str, &str)] = &[
    ("bare", "SELECT item AS a, rating AS b FROM lake.prices"),
    ("unpivoted", "SELECT * FROM lake.prices UNPIVOT (v FOR k IN (item, rating))"),
    (
        "with_nulls",
        "SELECT u.word, u.k, u.v FROM lake.prices AS p UNPIVOT INCLUDE NULLS (v FOR k IN (item AS i, p.Rating, id)) AS u",
    ),
    ("all_unpivoted", "SELECT * FROM bare UNPIVOT (v FOR k IN (a, b))"),
    ("per_name", "SELECT k, sum(v) AS s FROM lake.prices UNPIVOT (v FOR k IN (item, rating)) GROUP BY k"),
    ("pivoted", "SELECT * FROM lake.prices PIVOT (sum(rating) FOR word IN ('a', 'b'))"),
    (
        "named",
        "SELECT id, p.x_n, p.x_m FROM lake.prices PIVOT (count(*) AS n, max(rating) AS m FOR item IN (3 AS x, 4)) AS p",
    ),
    ("of_nothing_else", "SELECT * FROM bare PIVOT (count(a) FOR b IN (1, 2))"),
    (
        "of_a_subquery",
        "SELECT * FROM (SELECT id % 3 AS g, word, item IS NULL AS gone FROM lake.prices) PIVOT (count(*) FOR gone IN (true, false))",
    ),
    (
        "of_a_cte",
        "WITH p AS (SELECT word, item, rating FROM lake.prices) SELECT * FROM p PIVOT (max(item) AS m FOR rating IN (1, 2)) AS q WHERE word IS NOT NULL",
    ),
    ("stated", "PIVOT lake.prices ON item IN (1, 2, 3) USING sum(rating) AS s, count(*) AS n GROUP BY word"),
    ("stated_of_rest", "PIVOT (SELECT word, item, rating FROM lake.prices) ON word IN ('a', 'b') USING max(rating)"),
    ("counted", "SELECT * FROM (PIVOT bare ON b IN (1, 2))"),
    ("stated_turned", "UNPIVOT lake.prices ON item, rating INTO NAME k VALUE v"),
    (
        "turned_within",
        "WITH u AS (UNPIVOT (SELECT id, item, rating FROM lake.prices) ON item, rating) SELECT name, count(value) AS n FROM u GROUP BY name",
    ),
    ("listed", "SELECT * FROM bare PIVOT (min(a) AS least FOR b IN (1, 2, 5))"),
];

const LATERAL: &[(&str, &str)] = &[
    ("computed", "SELECT b.id, x.twice FROM lake.baskets b, LATERAL (SELECT b.id * 2 AS twice) x"),
    (
        "chained",
        "SELECT b.id, y.z FROM lake.baskets b, LATERAL (SELECT b.id * 2 AS w) x, LATERAL (SELECT x.w + b.id AS z) y",
    ),
    (
        "filtered",
        "SELECT b.id, p.rating FROM lake.baskets b, LATERAL (SELECT rating FROM lake.prices p WHERE p.id = b.id) p",
    ),
    (
        "without_the_word",
        "SELECT b.id, p.r FROM lake.baskets b JOIN (SELECT rating + b.id AS r FROM lake.prices p WHERE p.item > b.id) p ON p.r < 9",
    ),
    (
        "same_names",
        "SELECT b.id, c.note FROM lake.baskets b, LATERAL (SELECT b2.id, b2.note FROM lake.baskets b2 WHERE b2.id = b.id + 1) c",
    ),
    (
        "kept",
        "SELECT b.id, p.rating FROM lake.baskets b LEFT JOIN LATERAL (SELECT rating FROM lake.prices p WHERE p.id = b.id) p ON true",
    ),
    (
        "kept_if",
        "SELECT b.id, b.note, p.rating FROM lake.baskets b \
         LEFT JOIN LATERAL (SELECT rating FROM lake.prices p WHERE p.id = b.id) p ON p.rating > b.id",
    ),
    (
        "aggregated",
        "SELECT b.id, b.note, p.n, p.most, p.total FROM lake.baskets b, \
         LATERAL (SELECT count(*) AS n, max(rating) AS most, sum(item) AS total FROM lake.prices p WHERE p.id <= b.id) p",
    ),
    (
        "aggregated_by_null",
        "SELECT b.note, p.n FROM lake.baskets b, \
         LATERAL (SELECT count(*) AS n FROM lake.prices p WHERE p.word IS NOT DISTINCT FROM b.note) p",
    ),
    (
        "having",
        "SELECT b.id, p.n FROM lake.baskets b, \
         LATERAL (SELECT count(*) AS n FROM lake.prices p WHERE p.id = b.id HAVING count(*) <> b.id) p",
    ),
    (
        "grouped",
        "SELECT b.id, p.item, p.n FROM lake.baskets b, \
         LATERAL (SELECT item, count(*) AS n FROM lake.prices p WHERE p.id < b.id GROUP BY item) p",
    ),
    (
        "greatest",
        "SELECT b.id, b.note, p.rating FROM lake.baskets b, \
         LATERAL (SELECT rating FROM lake.prices p WHERE p.id <= b.id ORDER BY rating DESC LIMIT 2) p",
    ),
    (
        "greatest_kept",
        "SELECT b.id, p.rating FROM lake.baskets b LEFT JOIN LATERAL \
         (SELECT rating FROM lake.prices p WHERE p.id = b.id ORDER BY rating NULLS FIRST LIMIT 1) p ON true",
    ),
    (
        "windowed",
        "SELECT b.id, p.item, p.r FROM lake.baskets b, \
         LATERAL (SELECT item, rank() OVER (ORDER BY item) AS r FROM lake.prices p WHERE p.id <= b.id) p",
    ),
    (
        "distinct_rows",
        "SELECT b.id, p.item FROM lake.baskets b, LATERAL (SELECT DISTINCT item FROM lake.prices p WHERE p.id >= b.id) p",
    ),
    (
        "united",
        "SELECT b.id, p.x FROM lake.baskets b, \
         LATERAL (SELECT item AS x FROM lake.prices p WHERE p.id = b.id UNION ALL SELECT b.id UNION ALL SELECT rating FROM lake.prices) p",
    ),
    (
        "united_distinct",
        "SELECT b.id, p.x FROM lake.baskets b, LATERAL (SELECT item AS x FROM lake.prices p WHERE p.id = b.id UNION SELECT b.id) p",
    ),
    (
        "joins_within",
        "SELECT b.id, x.r, x.note FROM lake.baskets b, LATERAL (SELECT p.rating AS r, c.note FROM lake.prices p \
         JOIN lake.baskets c ON c.id = p.item AND c.id > b.id WHERE p.id = b.id) x",
    ),
    (
        "outer_within",
        "SELECT b.id, x.item, x.note FROM lake.baskets b, LATERAL (SELECT p.item, c.note FROM lake.prices p \
         LEFT JOIN lake.baskets c ON c.id = p.item WHERE p.id = b.id AND c.note IS DISTINCT FROM b.note) x",
    ),
    (
        "exists_within",
        "SELECT b.id, x.item FROM lake.baskets b, LATERAL (SELECT p.item FROM lake.prices p WHERE p.id = b.id \
         AND EXISTS (SELECT 1 FROM lake.baskets c WHERE c.id = p.item)) x",
    ),
    (
        "nested",
        "SELECT b.id, x.s FROM lake.baskets b, LATERAL (SELECT p.item + y.k AS s FROM lake.prices p, \
         LATERAL (SELECT p.rating + b.id AS k) y WHERE p.id = b.id) x",
    ),
    (
        "two_aggregates",
        "SELECT b.id, x.n, y.m FROM lake.baskets b, LATERAL (SELECT count(*) AS n FROM lake.prices p WHERE p.id = b.id) x, \
         LATERAL (SELECT max(rating) AS m FROM lake.prices q WHERE q.item = x.n) y",
    ),
    (
        "lists_within",
        "SELECT b.id, x.item, x.rating FROM lake.baskets b, LATERAL (SELECT u.item, p.rating FROM UNNEST(b.items) AS u(item) \
         JOIN lake.prices p ON p.item = u.item AND p.id <> b.id) x",
    ),
    ("range_summed", "SELECT b.id, x.s FROM lake.baskets b, LATERAL (SELECT sum(g) AS s FROM range(b.id) AS r(g)) x"),
    (
        "list_summed",
        "SELECT b.id, b.note, x.s, x.n FROM lake.baskets b, LATERAL (SELECT sum(i) AS s, count(*) AS n FROM UNNEST(b.items) AS u(i)) x",
    ),
    (
        "list_grouped",
        "SELECT b.id, x.tag, x.n FROM lake.baskets b LEFT JOIN LATERAL (SELECT upper(tag) AS tag, count(*) AS n \
         FROM UNNEST(b.tags) AS u(tag) GROUP BY upper(tag)) x ON true",
    ),
    (
        "list_ordered",
        "SELECT b.id, x.i, x.r, len(x.l) AS l FROM lake.baskets b, LATERAL (SELECT i, rank() OVER (ORDER BY i) AS r, b.items AS l \
         FROM UNNEST(b.items) AS u(i) ORDER BY i NULLS FIRST LIMIT 2) x",
    ),
    (
        "list_distinct",
        "SELECT b.id, x.i, y.n FROM lake.baskets b, LATERAL (SELECT DISTINCT i FROM UNNEST(b.items) AS u(i)) x, \
         LATERAL (SELECT count(*) AS n FROM UNNEST(b.items) AS v(j) WHERE j < x.i) y",
    ),
    ("over_a_view", "SELECT a.id, count(*) AS n, sum(a.total) AS t FROM aggregated a GROUP BY a.id"),
];

const SUBQUERIES: &[(&str, &str)] = &[
    ("sum_of_list", "SELECT id, (SELECT sum(i) FROM UNNEST(b.items) AS u(i)) AS s FROM lake.baskets b"),
    (
        "has_tag",
        "SELECT id, tags FROM lake.baskets b WHERE EXISTS (SELECT 1 FROM UNNEST(b.tags) AS u(tag) WHERE tag <> 'a')",
    ),
    (
        "has_no_tag",
        "SELECT id FROM lake.baskets b WHERE NOT EXISTS (SELECT 1 FROM UNNEST(b.tags) AS u(tag) WHERE tag = b.note)",
    ),
    ("among_items", "SELECT id FROM lake.baskets b WHERE id IN (SELECT unnest(b.items))"),
    ("not_among_items", "SELECT id, note FROM lake.baskets b WHERE b.id NOT IN (SELECT unnest(b.items))"),
    ("membership", "SELECT id, b.id IN (SELECT i + 1 FROM UNNEST(b.items) AS u(i)) AS found FROM lake.baskets b"),
    ("most_below", "SELECT id, (SELECT max(rating) FROM lake.prices p WHERE p.id < b.id) AS m FROM lake.baskets b"),
    (
        "count_below",
        "SELECT id FROM lake.baskets b WHERE (SELECT count(*) FROM lake.prices p WHERE p.id <= b.id AND p.item > b.id) > 1",
    ),
    (
        "recomputed",
        "SELECT id, (SELECT list(rating ORDER BY rating) FROM lake.prices p WHERE p.id < b.id) AS l, \
         (SELECT string_agg(tag, '-' ORDER BY tag) FROM UNNEST(b.tags) AS u(tag)) AS t, \
         (SELECT median(item) FROM lake.prices p WHERE p.id = b.id) AS m FROM lake.baskets b",
    ),
    (
        "with_having",
        "SELECT id, (SELECT sum(item) FROM lake.prices p WHERE p.id = b.id HAVING count(*) > 1) AS s FROM lake.baskets b",
    ),
    (
        "first_of_them",
        "SELECT id, (SELECT rating FROM lake.prices p WHERE p.id >= b.id ORDER BY rating LIMIT 1) AS first FROM lake.baskets b",
    ),
    (
        "exists_below",
        "SELECT id, EXISTS (SELECT 1 FROM lake.prices p WHERE p.id < b.id AND p.word = b.note) AS e FROM lake.baskets b",
    ),
    (
        "in_or",
        "SELECT id FROM lake.baskets b WHERE id = 1 OR id IN (SELECT item FROM lake.prices p WHERE p.rating > b.id)",
    ),
    (
        "outer_value",
        "SELECT id, (SELECT max(p.rating + b.id) FROM lake.prices p WHERE p.id = b.id) AS m FROM lake.baskets b",
    ),
    (
        "total_exists",
        "SELECT id FROM lake.baskets b WHERE EXISTS (SELECT max(p.id) FROM lake.prices p WHERE p.id = b.id)",
    ),
];

fn baskets() -> TableSchema {
    let columns = [
        ("id", "INTEGER"),
        ("note", "VARCHAR"),
        ("items", "INTEGER[]"),
        ("tags", "VARCHAR[]"),
        ("parts", "STRUCT(a INTEGER, b VARCHAR)[]"),
        ("pair", "INTEGER[2]"),
        ("grid", "INTEGER[][]"),
        ("ids", "UUID[]"),
        ("sums", "HUGEINT[]"),
    ];
    table("baskets", &columns, None)
}

fn prices() -> TableSchema {
    table("prices", &[("id", "INTEGER"), ("item", "INTEGER"), ("rating", "INTEGER"), ("word", "VARCHAR")], None)
}

/// A list of up to three of some values, empty or NULL at times.
fn list(rng: &mut StdRng, values: &[&str]) -> String {
    let items: Vec<&str> = (0..rng.random_range(0..4)).map(|_| values[rng.random_range(0..values.len())]).collect();
    maybe(rng, format!("[{}]", items.join(", ")))
}

fn basket(rng: &mut StdRng) -> String {
    let id = rng.random_range(0..5).to_string();
    let note = ["'a'", "'b'", "'a note that is longer'"][rng.random_range(0..3)].to_owned();
    let parts = ["{'a': 1, 'b': 'x'}", "{'a': NULL, 'b': 'y'}", "NULL"];
    let pair = ["[1, 2]", "[NULL, 3]", "[4, NULL]"][rng.random_range(0..3)].to_owned();
    let ids = ["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "'b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "NULL"];
    let values = [
        maybe(rng, id),
        maybe(rng, note),
        list(rng, &["1", "2", "3", "7", "NULL"]),
        list(rng, &["'a'", "'b'", "'a longer tag, past inline'", "NULL"]),
        list(rng, &parts),
        maybe(rng, pair),
        list(rng, &["[1, 2]", "[]", "NULL", "[NULL, 5]"]),
        list(rng, &ids),
        list(rng, &["1", "-17014118346046923173168730371588410572", "NULL"]),
    ];
    format!("({})", values.join(", "))
}

fn price(rng: &mut StdRng) -> String {
    let [id, item, rating] = [5, 8, 6].map(|most| {
        let value = rng.random_range(0..most).to_string();
        maybe(rng, value)
    });
    let word = ["'a'", "'b'"][rng.random_range(0..2)].to_owned();
    let word = maybe(rng, word);
    format!("({id}, {item}, {rating}, {word})")
}

/// Epochs of random changes, with restarts and other worker counts in between.
fn run(views: &[(&str, &str)], seed: u64, epochs: usize) {
    let mut rng = StdRng::seed_from_u64(seed);
    let (baskets, prices) = (baskets(), prices());
    let mut workers = rng.random_range(1..3);
    let mut harness = Harness::new(&[baskets.clone(), prices.clone()], views, workers);
    let what = format!("seed {seed}");
    harness.rebuild(RebuildScope::All, &format!("{what}: initial load"));
    for epoch in 0..epochs {
        let what = format!("{what}, epoch {epoch}");
        change(&mut harness, &mut rng, &baskets, basket);
        change(&mut harness, &mut rng, &prices, price);
        harness.step(&what);
        match rng.random_range(0..8) {
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
fn rows_of_lists_equal_a_recompute_after_every_epoch() {
    let seed = seed::seed("rows_of_lists_equal_a_recompute_after_every_epoch");
    for sequence in 0..seed::sequences(1) {
        run(LISTS, seed.wrapping_add(sequence), 10);
    }
}

#[test]
fn constant_rows_equal_a_recompute_after_every_epoch() {
    let seed = seed::seed("constant_rows_equal_a_recompute_after_every_epoch");
    for sequence in 0..seed::sequences(1) {
        run(VALUES, seed.wrapping_add(sequence), 10);
    }
}

#[test]
fn pivots_equal_a_recompute_after_every_epoch() {
    let seed = seed::seed("pivots_equal_a_recompute_after_every_epoch");
    run(PIVOTS, seed, 12);
}

#[test]
fn correlated_subqueries_equal_a_recompute_after_every_epoch() {
    let seed = seed::seed("correlated_subqueries_equal_a_recompute_after_every_epoch");
    for sequence in 0..seed::sequences(1) {
        run(SUBQUERIES, seed.wrapping_add(sequence), 10);
    }
}

#[test]
fn lateral_subqueries_equal_a_recompute_after_every_epoch() {
    let seed = seed::seed("lateral_subqueries_equal_a_recompute_after_every_epoch");
    for sequence in 0..seed::sequences(1) {
        run(LATERAL, seed.wrapping_add(sequence), 8);
    }
}

/// A change of one list changes the rows of this list, and a change beside a list that nobody reads none.
#[test]
fn work_follows_the_change() {
    let baskets = told(baskets());
    let mut harness = Harness::new(std::slice::from_ref(&baskets), &[LISTS[0], LISTS[20]], 2);
    harness.rebuild(RebuildScope::All, "initial load");
    let row = |id: i32, items: &str| format!("({id}, 'n', {items}, ['t'], NULL, NULL, NULL, NULL, NULL)");
    let all: Vec<String> = (0..50).map(|id| row(id, "[1, 2, 2]")).collect();
    harness.feed(&baskets.name, rows::inserted(&baskets.columns, &all.join(", ")));
    harness.step("filled");
    harness.feed(&baskets.name, rows::deleted(&baskets.columns, &row(7, "[1, 2, 2]")));
    harness.feed(&baskets.name, rows::inserted(&baskets.columns, &row(7, "[2, 3]")));
    let deltas = harness.step("one list");
    let selected: ViewName = "selected".into();
    let changes: Vec<usize> =
        deltas.iter().filter(|delta| delta.view == selected).flat_map(|d| d.batches.iter().map(|b| b.len())).collect();
    // (7, 1) goes, a copy of (7, 2) goes, (7, 3) comes.
    assert!(changes.iter().sum::<usize>() <= 4, "{changes:?}");
    harness.feed(&baskets.name, TableEvent::Truncate);
    harness.step("empty");
    harness.feed(&baskets.name, rows::inserted(&baskets.columns, &row(1, "[NULL]")));
    harness.step("filled again");
}
