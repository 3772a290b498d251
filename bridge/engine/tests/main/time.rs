//! Conditions against `tidegate_now()`: after every epoch the views are what DuckDB computes with the epoch's time in
//! its place, whether rows change, or time alone does.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::TableSchema;
use tidegate_engine::{EngineError, RebuildScope};
use tidegate_testkit::{rows, seed};

use crate::harness::{Harness, table};

const MINUTE: i64 = 60_000_000;
/// 2024-02-28T22:00:00Z, so that months end and a leap day come soon.
const START: i64 = 1_709_157_600_000_000;

const VIEWS: &[(&str, &str)] = &[
    ("recent", "SELECT id, ts FROM lake.events WHERE ts > CAST(tidegate_now() AS TIMESTAMP) - INTERVAL 1 hour"),
    (
        "window",
        "SELECT id, n FROM lake.events WHERE tz >= tidegate_now() - INTERVAL '1 day 3 hours' AND tz < tidegate_now()",
    ),
    ("month", "SELECT id FROM lake.events WHERE n IS NULL OR tidegate_now() - INTERVAL '1 month 1 hour' < tz"),
    ("within", "SELECT id FROM lake.events WHERE tz BETWEEN tidegate_now() - INTERVAL 2 hours AND tidegate_now()"),
    ("outside", "SELECT id FROM lake.events WHERE tz NOT BETWEEN tidegate_now() - INTERVAL 2 hours AND tidegate_now()"),
    ("today", "SELECT day, count(*) AS n FROM lake.events WHERE day = CAST(tidegate_now() AS DATE) GROUP BY day"),
    ("since_midnight", "SELECT id FROM lake.events WHERE tz >= date_trunc('day', tidegate_now())"),
    (
        "silent",
        "SELECT n, max(tz) AS last FROM lake.events GROUP BY n HAVING max(tz) < tidegate_now() - INTERVAL 90 minutes",
    ),
    ("flags", "SELECT id, tz > tidegate_now() AS ahead FROM lake.events"),
    ("either", "SELECT id FROM lake.events WHERE n = 1 OR NOT tz < tidegate_now()"),
    (
        "pairs",
        "SELECT a.id, b.id AS other FROM lake.events a JOIN lake.events b ON a.n = b.n \
         WHERE a.tz < tidegate_now() AND b.ts > CAST(tidegate_now() AS TIMESTAMP)",
    ),
    ("how_many", "SELECT count(*) AS n, max(ts) AS last FROM recent"),
    ("later_recent", "SELECT id FROM recent WHERE ts < CAST(tidegate_now() AS TIMESTAMP) - INTERVAL 20 minutes"),
    ("odd_hours", "SELECT id FROM lake.events WHERE hour(CAST(tidegate_now() AS TIMESTAMP)) % 2 = n"),
    (
        "latest",
        "SELECT id, n FROM lake.events WHERE tz < tidegate_now() \
         QUALIFY row_number() OVER (PARTITION BY n ORDER BY tz DESC, id) = 1",
    ),
];

fn events() -> TableSchema {
    let columns =
        [("id", "INTEGER"), ("ts", "TIMESTAMP"), ("tz", "TIMESTAMP WITH TIME ZONE"), ("day", "DATE"), ("n", "BIGINT")];
    table("events", &columns, None)
}

/// A row whose times lie around `time`, or are NULL.
fn row(rng: &mut StdRng, time: i64) -> String {
    let at = time + rng.random_range(-180..60) * MINUTE;
    let id = rng.random_range(0..1000);
    let n = rng.random_range(0..4);
    match rng.random_range(0..12) {
        0 => format!("({id}, NULL, NULL, NULL, {n})"),
        1 => format!("({id}, make_timestamp({time}), make_timestamptz({time}), NULL, NULL)"),
        _ => format!("({id}, make_timestamp({at}), make_timestamptz({at}), make_timestamp({at})::DATE, {n})"),
    }
}

fn lives(seed: u64, workers: usize, rounds: usize) {
    println!("seed {seed}, {workers} workers");
    let mut rng = StdRng::seed_from_u64(seed);
    let events = events();
    let mut harness = Harness::new(std::slice::from_ref(&events), VIEWS, workers);
    let mut time = START;
    harness.at(time);
    harness.rebuild(RebuildScope::All, "the initial load");
    let mut kept: Vec<String> = Vec::new();
    for round in 0..rounds {
        let what = format!("seed {seed}, round {round}");
        if rng.random_bool(0.8) {
            time += rng.random_range(1..100) * MINUTE;
            harness.at(time);
        }
        for _ in 0..rng.random_range(0..5) {
            if rng.random_bool(0.3) && !kept.is_empty() {
                let gone = kept.swap_remove(rng.random_range(0..kept.len()));
                harness.feed(&events.name, rows::deleted(&events.columns, &gone));
            } else {
                let new = row(&mut rng, time);
                harness.feed(&events.name, rows::inserted(&events.columns, &new));
                kept.push(new);
            }
        }
        harness.step(&what);
        match rng.random_range(0..8) {
            0 => {
                let saved = harness.checkpoint();
                harness.resume(&saved, workers);
                harness.check(&format!("{what}, resumed"));
            }
            1 => {
                time += 1;
                harness.at(time);
                let sql = "SELECT n, count(*) AS c FROM lake.events WHERE tz > tidegate_now() GROUP BY n";
                harness.toggle("added", sql);
                harness.rebuild(RebuildScope::Changed, &format!("{what}, rebuilt"));
            }
            _ => {}
        }
    }
}

#[test]
fn views_follow_the_rows_and_the_time() {
    lives(seed::seed("time"), 1, 25);
}

#[test]
fn two_workers_see_one_time() {
    lives(seed::seed("time of two workers"), 2, 12);
}

#[test]
fn time_alone_moves_rows_and_only_those_that_it_passes() {
    let events = events();
    let mut harness = Harness::new(std::slice::from_ref(&events), &VIEWS[..1], 1);
    harness.at(START);
    harness.rebuild(RebuildScope::All, "the initial load");
    let values: Vec<String> =
        (0..50).map(|i| format!("({i}, make_timestamp({}), NULL, NULL, NULL)", START + i * MINUTE)).collect();
    harness.feed(&events.name, rows::inserted(&events.columns, &values.join(", ")));
    harness.step("rows");
    assert!(harness.step("time stands still").is_empty());
    harness.at(START + 60 * MINUTE + 1);
    let deltas = harness.step("one row is too old");
    let gone: usize = deltas.iter().flat_map(|delta| &delta.batches).map(|batch| batch.len()).sum();
    assert_eq!(gone, 1, "one row leaves, and no other is touched downstream");
    harness.at(START + 70 * MINUTE + 1);
    let deltas = harness.step("ten more");
    assert_eq!(deltas.iter().flat_map(|delta| &delta.batches).map(|batch| batch.len()).sum::<usize>(), 10);
}

#[test]
fn time_must_be_told() {
    let events = events();
    let mut harness = Harness::new(std::slice::from_ref(&events), &VIEWS[..1], 1);
    let program = harness.program();
    assert!(program.reads_time());
    harness.engine().begin_rebuild(program, RebuildScope::All).expect("the rebuild begins");
    let error = harness.engine().finish_rebuild().expect_err("nobody said what time it is");
    assert!(matches!(error, EngineError::Misuse(fact) if fact.contains("time of the epoch")), "{error:?}");
}
