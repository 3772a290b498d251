//! ASOF joins against the oracle: random changes of both sides, NULL keys and times, copies, gaps, both directions.
//!
//! Quotes of one key and time are equal, so that DuckDB has one answer. Of rows whose time is NULL DuckDB has one
//! as long as the left side is small: from some size on it lets them meet the last row of their key, if there is one.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::{RowIdentity, TableEvent, TableSchema, ZSet};
use tidegate_engine::RebuildScope;
use tidegate_testkit::{rows, seed};

use crate::harness::{Harness, table, told};
use crate::random::{change, maybe};
use crate::{keyed, told as whole};

const VIEWS: &[(&str, &str)] = &[
    (
        "at_or_before",
        "SELECT t.id, t.k, t.ts, q.ts AS quoted, q.price, q.venue FROM lake.trades t ASOF JOIN lake.quotes q \
         ON t.k = q.k AND t.ts >= q.ts",
    ),
    (
        "before",
        "SELECT t.id, t.ts, q.ts AS quoted, q.price FROM lake.trades t ASOF INNER JOIN lake.quotes q ON q.k = t.k AND t.ts > q.ts",
    ),
    (
        "at_or_after",
        "SELECT t.id, t.ts, q.ts AS quoted, q.price FROM lake.trades t asof join lake.quotes q ON t.k = q.k AND t.ts <= q.ts",
    ),
    (
        "after",
        "SELECT t.id, t.ts, q.ts AS quoted, q.price FROM lake.trades t ASOF JOIN lake.quotes q ON t.k = q.k AND q.ts > t.ts",
    ),
    (
        "left_at_or_before",
        "SELECT t.*, q.k AS qk, q.ts AS quoted, q.price, q.venue FROM lake.trades t ASOF LEFT JOIN lake.quotes q \
         ON t.k = q.k AND t.ts >= q.ts",
    ),
    (
        "left_before",
        "SELECT t.id, t.k, q.ts AS quoted, q.price FROM lake.trades t ASOF /* or none */ LEFT OUTER JOIN lake.quotes q \
         ON t.k = q.k AND q.ts < t.ts",
    ),
    (
        "left_at_or_after",
        "SELECT t.id, t.ts, q.* FROM lake.trades t ASOF LEFT JOIN lake.quotes q ON t.k = q.k AND q.ts >= t.ts",
    ),
    (
        "left_after",
        "SELECT t.id, q.price, q.ts AS quoted FROM lake.trades t ASOF LEFT JOIN lake.quotes q ON t.k = q.k AND t.ts < q.ts",
    ),
    (
        "two_keys",
        "SELECT t.id, q.price FROM lake.trades t ASOF LEFT JOIN lake.quotes q ON t.note = q.venue AND t.k = q.k AND t.ts >= q.ts",
    ),
    ("no_key", "SELECT t.id, t.ts, q.ts AS quoted FROM lake.trades t ASOF JOIN lake.quotes q ON t.ts >= q.ts"),
    (
        "left_no_key",
        "SELECT t.id, t.ts, q.ts AS quoted, q.most FROM lake.trades t ASOF LEFT JOIN \
         (SELECT ts, max(price) AS most FROM lake.quotes GROUP BY ts) q ON t.ts > q.ts",
    ),
    (
        "using_columns",
        "SELECT id, k, ts, q.ts AS quoted, price FROM lake.trades t ASOF JOIN lake.quotes q USING (k, ts)",
    ),
    ("left_using", "SELECT ts, k, id, q.k AS qk, price FROM lake.trades t ASOF LEFT JOIN lake.quotes q USING (K, TS)"),
    ("all_using", "SELECT * FROM lake.trades a ASOF LEFT JOIN lake.quotes b USING (k, ts)"),
    ("using_time", "SELECT id, ts, q.ts AS quoted FROM lake.trades ASOF LEFT JOIN lake.quotes q USING (ts)"),
    (
        "by_expression",
        "SELECT t.id, q.price FROM lake.trades t ASOF JOIN lake.quotes q ON t.k + 1 = q.k AND t.ts - INTERVAL 2 MINUTE >= q.ts",
    ),
    (
        "conditions",
        "SELECT t.id, q.price FROM lake.trades t ASOF JOIN lake.quotes q \
         ON t.k = q.k AND t.ts >= q.ts AND t.amount > 10 AND q.venue <> 'a'",
    ),
    (
        "left_conditions",
        "SELECT t.id, t.amount, q.price FROM lake.trades t ASOF LEFT JOIN lake.quotes q \
         ON t.k = q.k AND t.ts >= q.ts AND t.amount > 10 AND q.venue <> 'a' AND t.note IS NOT NULL",
    ),
    (
        "never",
        "SELECT t.id, q.price FROM lake.trades t ASOF LEFT JOIN lake.quotes q ON t.k = q.k AND t.ts >= q.ts AND 1 = 2",
    ),
    (
        "filtered",
        "SELECT t.id, q.price FROM lake.trades t ASOF JOIN lake.quotes q ON t.k = q.k AND t.ts >= q.ts \
         WHERE t.amount > 5 AND q.venue <> 'b' AND t.amount * 10 > q.price",
    ),
    (
        "left_filtered",
        "SELECT t.id, q.price FROM lake.trades t ASOF LEFT JOIN lake.quotes q ON t.k = q.k AND t.ts >= q.ts \
         WHERE t.amount > 5 AND q.venue IS DISTINCT FROM 'b'",
    ),
    (
        "by_amount",
        "SELECT t.id, t.amount, q.price FROM lake.trades t ASOF JOIN lake.quotes q ON t.k = q.k AND t.amount * 10 >= q.price",
    ),
    (
        "by_text",
        "SELECT t.id, t.note, q.venue FROM lake.trades t ASOF LEFT JOIN lake.quotes q ON t.k = q.k AND t.note <= q.venue",
    ),
    (
        "counted",
        "SELECT q.venue, count(*) AS n, sum(t.amount) AS total, max(q.price) AS most FROM lake.trades t \
         ASOF LEFT JOIN lake.quotes q ON t.k = q.k AND t.ts >= q.ts GROUP BY q.venue",
    ),
    (
        "only_a_count",
        "SELECT count(*) AS n, count(q.price) AS met FROM lake.trades t ASOF LEFT JOIN lake.quotes q ON t.k = q.k AND t.ts > q.ts",
    ),
    ("ids", "SELECT t.id FROM lake.trades t ASOF JOIN lake.quotes q ON t.k = q.k AND t.ts >= q.ts"),
    (
        "previous",
        "SELECT t.id, p.ts AS earlier, p.id AS pid FROM lake.trades t ASOF LEFT JOIN \
         (SELECT k, ts, max(id) AS id FROM lake.trades GROUP BY k, ts) p ON t.k = p.k AND t.ts > p.ts",
    ),
    (
        "chained",
        "SELECT t.id, q.price, r.price AS older FROM lake.trades t \
         ASOF LEFT JOIN lake.quotes q ON t.k = q.k AND t.ts >= q.ts \
         ASOF LEFT JOIN lake.quotes r ON t.k = r.k AND q.ts > r.ts",
    ),
    (
        "over_inner",
        "SELECT t.id, p.price, q.price AS older FROM lake.trades t JOIN lake.quotes p ON t.k = p.k AND t.amount > p.price / 10 \
         ASOF JOIN lake.quotes q ON p.k = q.k AND p.ts > q.ts WHERE p.ts IS NOT NULL",
    ),
    (
        "over_view",
        "SELECT a.id, a.price, b.id AS other FROM left_at_or_before a JOIN at_or_before b ON a.price = b.price AND a.id < b.id",
    ),
    ("latest", "SELECT k, ts, max(price) AS price FROM lake.quotes GROUP BY k, ts"),
    ("with_a_view", "SELECT t.id, l.price FROM lake.trades t ASOF LEFT JOIN latest l ON t.k = l.k AND t.ts >= l.ts"),
    (
        "of_a_view",
        "SELECT v.id, v.quoted, q.price FROM left_before v ASOF LEFT JOIN lake.quotes q ON v.k = q.k AND v.quoted > q.ts",
    ),
    (
        "with_a_join",
        "SELECT t.id, q.price, l.price AS least FROM lake.trades t ASOF LEFT JOIN (lake.quotes q JOIN \
         (SELECT k, ts, min(price) AS price FROM lake.quotes GROUP BY k, ts) l ON l.k = q.k AND l.ts = q.ts) \
         ON t.k = q.k AND t.ts >= l.ts",
    ),
    (
        "numbered",
        "SELECT t.id, q.price, rank() OVER (PARTITION BY q.venue ORDER BY t.id, q.price) AS r FROM lake.trades t \
         ASOF JOIN lake.quotes q ON t.k = q.k AND t.ts >= q.ts",
    ),
    (
        "in_a_subquery",
        "SELECT id FROM lake.trades WHERE id IN (SELECT t.id FROM lake.trades t ASOF JOIN lake.quotes q \
         ON t.k = q.k AND t.ts >= q.ts WHERE q.venue = 'a')",
    ),
    (
        "in_a_cte",
        "WITH priced AS (SELECT * FROM lake.trades a ASOF JOIN lake.quotes b USING (k, ts)) \
         SELECT k, count(*) AS n, sum(price) AS total FROM priced GROUP BY k HAVING count(*) > 1",
    ),
];

fn tables(key: Option<Vec<usize>>) -> [TableSchema; 2] {
    let trades =
        [("id", "BIGINT"), ("k", "INTEGER"), ("ts", "TIMESTAMP"), ("amount", "DECIMAL(15,2)"), ("note", "VARCHAR")];
    let quotes = [("k", "INTEGER"), ("ts", "TIMESTAMP"), ("price", "DECIMAL(9,2)"), ("venue", "VARCHAR")];
    [table("trades", &trades, key), table("quotes", &quotes, None)]
}

fn time(minute: i32) -> String {
    format!("TIMESTAMP '2024-01-01 10:{minute:02}:00'")
}

fn trade(rng: &mut StdRng) -> String {
    let id = rng.random_range(0..12);
    let k = rng.random_range(0..3).to_string();
    let ts = time(rng.random_range(0..13));
    let amount = rng.random_range(-5..40).to_string();
    let note = ["''", "'a'", "'b'"][rng.random_range(0..3)].to_owned();
    format!("({id}, {}, {}, {}, {})", maybe(rng, k), maybe(rng, ts), maybe(rng, amount), maybe(rng, note))
}

/// What a quote says follows from its key and time.
fn quote(rng: &mut StdRng) -> String {
    let (k, minute) = (rng.random_range(0..3), rng.random_range(0..13));
    let (mut key, mut ts, mut price) = (k.to_string(), time(minute), k * 100 + minute);
    match rng.random_range(0..8) {
        0 => (key, price) = ("NULL".to_owned(), 900 + minute),
        1 => (ts, price) = ("NULL".to_owned(), 1000 + k),
        _ => {}
    }
    format!("({key}, {ts}, {price}, {})", ["''", "'a'", "'b'", "NULL"][(price % 4) as usize])
}

fn all_gone(harness: &mut Harness, schema: &TableSchema) {
    let present = harness.tables[&schema.name].batch();
    if present.num_rows() > 0 {
        harness.feed(&schema.name, TableEvent::Rows(ZSet::uniform(present, -1)));
    }
}

/// Epochs of random changes, with restarts and another number of workers in between, until both sides are empty.
fn run(seed: u64, epochs: usize) {
    let mut rng = StdRng::seed_from_u64(seed);
    let [trades, quotes] = tables(None);
    let mut workers = 1 + (seed % 2) as usize;
    let mut harness = Harness::new(&[trades.clone(), quotes.clone()], VIEWS, workers);
    let what = format!("seed {seed}");
    harness.rebuild(RebuildScope::All, &format!("{what}: initial load"));
    for epoch in 0..epochs {
        let what = format!("{what}, epoch {epoch}");
        match rng.random_range(0..8) {
            0 => change(&mut harness, &mut rng, &trades, trade),
            1 => change(&mut harness, &mut rng, &quotes, quote),
            2 => all_gone(&mut harness, if rng.random_ratio(1, 3) { &trades } else { &quotes }),
            _ => {
                change(&mut harness, &mut rng, &trades, trade);
                change(&mut harness, &mut rng, &quotes, quote);
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
    all_gone(&mut harness, &quotes);
    harness.step(&format!("{what}: no quotes"));
    let saved = harness.checkpoint();
    harness.resume(&saved, workers);
    all_gone(&mut harness, &trades);
    harness.step(&format!("{what}: no trades"));
}

#[test]
fn asof_joins_equal_a_recompute() {
    let seed = seed::seed("asof_joins_equal_a_recompute");
    for sequence in 0..seed::sequences(2) {
        run(seed.wrapping_add(sequence), 20);
    }
}

/// Parts of an epoch are seen together only: neither side runs ahead.
#[test]
fn an_epoch_in_parts_gives_the_same_deltas() {
    let seed = seed::seed("an_epoch_of_asof_joins_in_parts_gives_the_same_deltas");
    let both = tables(None).map(told);
    let [mut at_once, mut in_parts] = [2, 1].map(|workers| Harness::new(&both, &VIEWS[..20], workers));
    let mut rng = StdRng::seed_from_u64(seed);
    in_parts.engine().set_part_rows(rng.random_range(1..4));
    let what = format!("seed {seed}");
    at_once.rebuild(RebuildScope::All, &what);
    in_parts.rebuild(RebuildScope::All, &what);
    for epoch in 0..8 {
        let what = format!("{what}, epoch {epoch}");
        for _ in 0..3 {
            let mut happened = whole::events(&mut at_once.tables[&both[0].name].clone(), &mut rng, trade);
            happened.extend(whole::events(&mut at_once.tables[&both[1].name].clone(), &mut rng, quote));
            for (table, event) in happened {
                at_once.feed(&table, event.clone());
                in_parts.feed(&table, event);
            }
        }
        let (expected, found) = (at_once.step(&what), in_parts.step(&what));
        assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{what}");
    }
}

/// Trades with a key: upserts, deletes, TRUNCATE. The views that show it have it for their key.
#[test]
fn asof_joins_of_a_keyed_table_keep_its_key() {
    let seed = seed::seed("asof_joins_of_a_keyed_table_keep_its_key");
    let views: Vec<(&str, &str)> = VIEWS.iter().copied().filter(|(name, _)| !name.contains("sub")).collect();
    let [trades, quotes] = tables(Some(vec![0]));
    let mut harness = Harness::new(&[trades.clone(), quotes.clone()], &views, 2);
    let what = format!("seed {seed}");
    harness.rebuild(RebuildScope::All, &format!("{what}: initial load"));
    let program = harness.program();
    for name in ["at_or_before", "left_at_or_after", "left_no_key", "ids", "chained", "with_a_view", "of_a_view"] {
        let view = program.view(&name.into()).expect("the view is planned");
        assert_eq!(view.info.identity, RowIdentity::Key(vec![0]), "{name}");
    }
    let mut rng = StdRng::seed_from_u64(seed);
    for epoch in 0..20 {
        for (table, event) in keyed::events(&mut harness.tables[&trades.name].clone(), &mut rng, trade) {
            harness.feed(&table, event);
        }
        change(&mut harness, &mut rng, &quotes, quote);
        harness.step(&format!("{what}, epoch {epoch}"));
    }
}

/// Of several quotes of one time one is met, the same one whatever the workers and the order of arrival.
#[test]
fn ties_have_one_answer() {
    let view = (
        "priced",
        "SELECT t.id, q.price, q.venue FROM lake.trades t ASOF LEFT JOIN lake.quotes q ON t.k = q.k AND t.ts >= q.ts",
    );
    let mut answers = Vec::new();
    for (workers, reversed) in [(1, false), (2, false), (1, true), (2, true)] {
        let [trades, quotes] = tables(None);
        let mut harness = Harness::new(&[trades.clone(), quotes.clone()], &[view], workers);
        let program = harness.program();
        harness.engine().begin_rebuild(program, RebuildScope::All).expect("the rebuild begins");
        harness.engine().finish_rebuild().expect("the rebuild ends");
        let at = time(1);
        let mut feed = |table: &TableSchema, row: &str| {
            harness.engine().feed(&table.name, rows::inserted(&table.columns, row)).expect("it is taken");
            harness.engine().step().expect("the step ends");
        };
        let mut tied = [(2, "'x'"), (1, "'y'"), (3, "'x'"), (3, "'x'"), (3, "NULL")];
        if reversed {
            tied.reverse();
        }
        feed(&trades, &format!("(1, 1, {at}, 1, 'n'), (2, 1, {at}, 1, 'n'), (2, 1, {at}, 1, 'n')"));
        for (price, venue) in tied {
            feed(&quotes, &format!("(1, {at}, {price}, {venue})"));
        }
        let rows = harness.rows(&view.0.into());
        assert_eq!(rows.len(), 3, "each trade meets one quote");
        answers.push(format!("{rows:?}"));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:#?}");
}

fn looked_up(harness: &mut Harness) -> u64 {
    harness.engine().stats().iter().map(|stats| stats.recomputed_rows).sum()
}

/// One key with 10,000 trades and as many quotes, a second between each and the next.
#[test]
fn a_change_looks_up_the_rows_that_it_concerns() {
    let columns = [("id", "INTEGER"), ("k", "INTEGER"), ("ts", "INTEGER")];
    let sides = [table("trades", &columns, None), table("quotes", &columns, None)].map(told);
    let [trades, quotes] = &sides;
    let sql = "SELECT t.id, q.id AS qid FROM lake.trades t ASOF LEFT JOIN lake.quotes q ON t.k = q.k AND t.ts >= q.ts";
    let mut harness = Harness::new(&sides, &[("v", sql)], 2);
    harness.rebuild(RebuildScope::All, "initial load");
    let rows = |odd: i32| {
        let rows = (0..10_000).map(|id| format!("({id}, 1, {})", 2 * id + odd));
        rows.collect::<Vec<_>>().join(", ")
    };
    harness.feed(&trades.name, rows::inserted(&trades.columns, &rows(1)));
    harness.feed(&quotes.name, rows::inserted(&quotes.columns, &rows(0)));
    harness.step("a long partition");
    let mut step = |table: &TableSchema, event: TableEvent, limit: u64, what: &str| {
        let before = looked_up(&mut harness);
        harness.feed(&table.name, event);
        harness.step(what);
        let looked_up = looked_up(&mut harness) - before;
        assert!(looked_up <= limit, "{what}: {looked_up} rows were looked up");
    };
    step(trades, rows::inserted(&trades.columns, "(-1, 1, 9000)"), 1, "a new left row");
    step(trades, rows::deleted(&trades.columns, "(4999, 1, 9999)"), 1, "a left row is gone");
    step(quotes, rows::inserted(&quotes.columns, "(-1, 1, 10003)"), 2, "a new right row, before and after");
    step(quotes, rows::deleted(&quotes.columns, "(7000, 1, 14000)"), 2, "a right row is gone");
    step(quotes, rows::inserted(&quotes.columns, "(-2, 1, 15001), (-3, 1, 15003)"), 4, "two right rows");
    step(quotes, rows::inserted(&quotes.columns, "(-4, 2, 5)"), 0, "another key");
}
