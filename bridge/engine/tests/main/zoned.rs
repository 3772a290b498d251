//! Views over TIMESTAMP WITH TIME ZONE: days and hours of UTC and of other zones, as keys, in conditions, joins and
//! windows, against DuckDB in UTC after every epoch.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::TableSchema;
use tidegate_engine::RebuildScope;
use tidegate_testkit::{rows, seed};

use crate::harness::{Harness, table};

const VIEWS: &[(&str, &str)] = &[
    ("daily", "SELECT date_trunc('day', tz) AS day, count(*) AS n, sum(n) AS total FROM lake.events GROUP BY day"),
    (
        "daily_in_berlin",
        "SELECT (tz AT TIME ZONE 'Europe/Berlin')::DATE AS day, count(*) AS n FROM lake.events GROUP BY ALL",
    ),
    (
        "by_hour",
        "SELECT extract(hour FROM tz) AS hour, count(*) AS n, max(tz::DATE) AS last FROM lake.events GROUP BY 1",
    ),
    (
        "night",
        "SELECT id, strftime(tz AT TIME ZONE zone, '%H:%M') AS local FROM lake.events \
         WHERE strftime(tz AT TIME ZONE 'Europe/Berlin', '%H') < '04'",
    ),
    (
        "buckets",
        "SELECT time_bucket(INTERVAL '15 minutes', tz) AS at, zone, count(*) AS n FROM lake.events GROUP BY ALL",
    ),
    (
        "later",
        "SELECT id, tz + INTERVAL 1 MONTH AS due, tz::VARCHAR AS said, date_diff('hour', ts, tz) AS behind FROM lake.events",
    ),
    ("of_clocks", "SELECT id, ts AT TIME ZONE zone AS moment, ts::TIMESTAMPTZ AS utc FROM lake.events WHERE tz >= ts"),
    ("of_2024", "SELECT id FROM lake.events WHERE tz >= '2024-03-31 02:00:00+01' AND tz < '2024-10-27 01:00:00+00'"),
    ("pairs", "SELECT a.id, b.id AS other FROM lake.events a JOIN lake.events b ON a.tz = b.ts"),
    (
        "days",
        "SELECT a.id, b.id AS other FROM lake.events a JOIN lake.events b ON date_trunc('hour', a.tz) = b.ts::DATE",
    ),
    (
        "either",
        "SELECT tz AS at FROM lake.events UNION SELECT ts FROM lake.events UNION SELECT ts::DATE FROM lake.events",
    ),
    ("first", "SELECT zone, min(coalesce(tz, ts)) AS first, max(tz::VARCHAR) AS said FROM lake.events GROUP BY zone"),
    (
        "close",
        "SELECT id, count(*) OVER (ORDER BY tz RANGE BETWEEN INTERVAL 1 HOUR PRECEDING AND CURRENT ROW) AS n \
         FROM lake.events WHERE isfinite(tz)",
    ),
    ("past", "SELECT id FROM lake.events WHERE ts < tidegate_now() AND date_trunc('day', tz) <= tidegate_now()"),
];

/// Around changes of the clock, before 1970, and without end.
const MOMENTS: &[&str] = &[
    "2024-03-31 00:59:59.999999",
    "2024-03-31 01:00:00",
    "2024-03-31 02:30:00",
    "2024-10-27 00:30:00",
    "2024-10-27 01:30:00",
    "2024-11-03 05:30:00",
    "2024-02-29 23:59:59",
    "2024-01-31 00:00:00",
    "1969-12-31 23:30:00",
    "1582-10-10 00:00:00",
    "0044-03-15 (BC) 12:00:00",
    "infinity",
    "-infinity",
];
const ZONES: &[&str] = &["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "UTC"];

fn events() -> TableSchema {
    let columns = [
        ("id", "INTEGER"),
        ("tz", "TIMESTAMP WITH TIME ZONE"),
        ("ts", "TIMESTAMP"),
        ("zone", "VARCHAR"),
        ("n", "BIGINT"),
    ];
    table("events", &columns, None)
}

fn row(rng: &mut StdRng) -> String {
    let mut moment = || match rng.random_range(0..8) {
        0 => "NULL".to_owned(),
        1 => format!("TIMESTAMP '2024-03-30' + to_minutes({})", rng.random_range(0..3000)),
        _ => format!("'{}'", MOMENTS[rng.random_range(0..MOMENTS.len())]),
    };
    let (tz, ts) = (moment(), moment());
    let zone = ZONES[rng.random_range(0..ZONES.len())];
    format!("({}, {tz}, {ts}, '{zone}', {})", rng.random_range(0..1000), rng.random_range(0..4))
}

fn lives(seed: u64, workers: usize, rounds: usize) {
    println!("seed {seed}, {workers} workers");
    let mut rng = StdRng::seed_from_u64(seed);
    let events = events();
    let mut harness = Harness::new(std::slice::from_ref(&events), VIEWS, workers);
    // 2024-03-31T00:30:00Z
    let mut time = 1_711_845_000_000_000;
    harness.at(time);
    harness.rebuild(RebuildScope::All, "the initial load");
    let mut kept: Vec<String> = Vec::new();
    for round in 0..rounds {
        let what = format!("seed {seed}, round {round}");
        time += rng.random_range(0..90) * 60_000_000;
        harness.at(time);
        for _ in 0..rng.random_range(1..6) {
            if rng.random_bool(0.3) && !kept.is_empty() {
                let gone = kept.swap_remove(rng.random_range(0..kept.len()));
                harness.feed(&events.name, rows::deleted(&events.columns, &gone));
            } else {
                let new = row(&mut rng);
                harness.feed(&events.name, rows::inserted(&events.columns, &new));
                kept.push(new);
            }
        }
        harness.step(&what);
        if rng.random_bool(0.2) {
            let saved = harness.checkpoint();
            harness.resume(&saved, workers);
            harness.check(&format!("{what}, resumed"));
        }
    }
}

#[test]
fn moments_are_those_of_utc_and_of_named_zones() {
    lives(seed::seed("zones"), 1, 20);
}

#[test]
fn workers_agree_on_zones() {
    lives(seed::seed("zones of two workers"), 2, 8);
}
