//! TIMESTAMP WITH TIME ZONE: what DuckDB computes of it in UTC, whatever the zone of the machine.

use tidegate_duck::ScalarExpression;

use crate::expressions::check;
use crate::world::World;

/// Expressions over `lake.zoned`.
const EXPRESSIONS: &[&str] = &[
    "date_trunc('day', tz)",
    "date_trunc('hour', tz)",
    "date_trunc('week', tz)",
    "date_trunc('month', tz)",
    "date_trunc('quarter', tz)",
    "date_trunc('decade', tz)",
    "datetrunc('second', tz)",
    "date_part('hour', tz)",
    "extract(hour FROM tz)",
    "extract(dow FROM tz)",
    "extract(epoch FROM tz)",
    "extract(timezone_hour FROM tz)",
    "year(tz)",
    "isoyear(tz)",
    "yearweek(tz)",
    "dayname(tz)",
    "monthname(tz)",
    "last_day(tz)",
    "epoch(tz)",
    "epoch_ms(tz)",
    "epoch_us(tz)",
    "era(tz)",
    "julian(tz)",
    "millisecond(tz)",
    "isfinite(tz)",
    "isinf(tz)",
    "timezone(tz)",
    "date_diff('day', tz, tz2)",
    "date_diff('hour', tz, tz2)",
    "date_diff('day', ts, tz2)",
    "date_sub('month', tz, tz2)",
    "age(tz, tz2)",
    "time_bucket(INTERVAL '7 days', tz)",
    "time_bucket(INTERVAL '15 minutes', tz)",
    "time_bucket(INTERVAL '1 month', tz)",
    "time_bucket(INTERVAL '1 day', tz, 'Europe/Berlin')",
    "time_bucket(INTERVAL '1 day', tz, tz2)",
    "strftime(tz, '%Y-%m-%d %H:%M:%S.%f %Z %z')",
    "strftime('%A', tz)",
    "strptime('2024-01-31 10:00:00 +02', '%Y-%m-%d %H:%M:%S %z')",
    "make_timestamptz(2024, 2, 29, 1, 2, 3.5)",
    "make_timestamptz(2024, 3, 31, 2, 30, 0.0, zone)",
    "to_timestamp(id)",
    "tz + INTERVAL 1 MONTH",
    "tz - INTERVAL '1 month 1 day 1 hour'",
    "INTERVAL 1 YEAR + tz",
    "tz - tz2",
    "tz - ts",
    "tz2 - dt",
    "tz - TIMESTAMPTZ '2024-01-01 00:00:00+02'",
    // zones
    "tz AT TIME ZONE 'Europe/Berlin'",
    "tz AT TIME ZONE 'America/New_York'",
    "tz AT TIME ZONE 'utc'",
    "tz AT TIME ZONE zone",
    "ts AT TIME ZONE 'Europe/Berlin'",
    "ts AT TIME ZONE zone",
    "dt AT TIME ZONE 'America/New_York'",
    "ts AT TIME ZONE 'UTC' AT TIME ZONE 'Europe/Berlin'",
    "timezone('Asia/Kathmandu', tz)",
    "tz AT TIME ZONE NULL",
    "tz AT TIME ZONE 'UTC' + INTERVAL 1 DAY",
    "(tz AT TIME ZONE 'Asia/Tokyo')::TIME",
    "(tz AT TIME ZONE 'Europe/Berlin')::DATE",
    "(tz AT TIME ZONE 'Europe/Berlin')::DATE = dt",
    "strftime(tz AT TIME ZONE 'Europe/Berlin', '%H:%M')",
    "date_part('hour', CASE WHEN isfinite(tz) THEN tz AT TIME ZONE 'Asia/Kathmandu' END)",
    "dt::TIMESTAMP AT TIME ZONE 'Europe/Berlin' <= tz",
    // casts
    "tz::DATE",
    "CAST(tz AS TIMESTAMP)",
    "tz::VARCHAR",
    "tz::TIMESTAMP::TIME",
    "ts::TIMESTAMPTZ",
    "dt::TIMESTAMPTZ",
    "tz::VARCHAR::TIMESTAMPTZ",
    "CAST(zone AS TIMESTAMPTZ)",
    "TRY_CAST(zone AS TIMESTAMPTZ)",
    "TIMESTAMPTZ '2024-01-31 12:00:00+02'",
    "TIMESTAMPTZ '2024-01-31'",
    "TIMESTAMP WITH TIME ZONE '2024-03-31 02:30:00 Europe/Berlin'",
    "'infinity'::TIMESTAMPTZ",
    "NULL::TIMESTAMPTZ",
    "tz::VARCHAR || '!'",
    "tz || '!'",
    "concat(tz, ' ', zone)",
    "to_json(tz)",
    "[tz, tz2]",
    "{'at': tz}",
    "list_transform([tz, tz2], lambda t: date_trunc('day', t))",
    "list_transform([tz], lambda t: t AT TIME ZONE 'Europe/Berlin')",
    "list_transform([dt], lambda d: d::TIMESTAMPTZ)",
    "list_transform([id], lambda e: strftime(to_timestamp(e), '%H:%M'))",
    // what meets a value without a zone
    "tz = ts",
    "ts < tz2",
    "tz >= dt",
    "dt <= tz",
    "tz >= '2024-01-01'",
    "tz < '2024-03-31 01:00:00+01'",
    "tz BETWEEN '2024-01-01' AND dt",
    "tz BETWEEN ts AND tz2",
    "tz IN (ts, tz2)",
    "tz IN ('2024-10-27 00:30:00+00', '2000-01-01')",
    "tz IS DISTINCT FROM ts",
    "coalesce(tz, ts)",
    "coalesce(dt, tz2)",
    "greatest(ts, tz2, dt)",
    "least(tz, dt)",
    "nullif(ts, tz)",
    "nullif(tz, ts)",
    "CASE WHEN id < 5 THEN dt ELSE tz END",
    "CASE WHEN id < 5 THEN tz ELSE '2024-01-01' END",
    "CASE tz WHEN ts THEN 1 ELSE 0 END",
];

#[test]
fn values_are_duckdbs_in_utc() {
    let world = World::new();
    let faults = EXPRESSIONS.iter().filter_map(|expression| {
        let fault = check(&world, "zoned", expression).err()?;
        Some(format!("{expression}\n    {fault}"))
    });
    let faults: Vec<String> = faults.collect();
    assert!(faults.is_empty(), "{} of {} differ:\n{}", faults.len(), EXPRESSIONS.len(), faults.join("\n"));
}

/// Queries that the types of views must agree with.
#[test]
fn types_meet_as_in_duckdb() {
    let world = World::new();
    for sql in [
        "SELECT dt FROM lake.zoned UNION SELECT tz FROM lake.zoned",
        "SELECT ts FROM lake.zoned UNION ALL SELECT tz FROM lake.zoned",
        "SELECT id FROM lake.zoned WHERE tz IN (SELECT ts FROM lake.zoned)",
        "SELECT a.id FROM lake.zoned a JOIN lake.zoned b ON a.tz = b.ts",
        "SELECT id FROM lake.zoned WHERE tz > (SELECT max(ts) FROM lake.zoned)",
        "SELECT date_trunc('day', tz) AS day, count(*) AS n, max(tz)::DATE AS last FROM lake.zoned GROUP BY ALL",
        "SELECT string_agg(tz, ', ' ORDER BY id) AS moments FROM lake.zoned",
        "SELECT id, count(*) OVER (ORDER BY tz RANGE BETWEEN INTERVAL 1 DAY PRECEDING AND CURRENT ROW) AS n FROM lake.zoned",
    ] {
        if let Err(errors) = world.plan(sql) {
            panic!("{sql}: {errors:?}");
        }
    }
}

/// SQL and words of the refusal.
const REFUSED: &[(&str, &[&str])] = &[
    ("SELECT tz AT TIME ZONE 'Europe/Brlin' FROM lake.zoned", &["no time zone 'Europe/Brlin'", "pg_timezone_names()"]),
    ("SELECT id FROM lake.zoned WHERE tz > 'yesterday'", &["cannot be read as TIMESTAMP WITH TIME ZONE", "+00"]),
    ("SELECT id FROM lake.zoned WHERE tz > now()", &["now()", "another value each time"]),
    ("SELECT tz::DATE = current_date FROM lake.zoned", &["current_date", "another value each time"]),
    ("SELECT age(tz) FROM lake.zoned", &["today()"]),
    ("SELECT tz::TIME FROM lake.zoned", &["no cast", "TIMESTAMP WITH TIME ZONE to TIME", "AT TIME ZONE 'UTC'"]),
    ("SELECT tm::TIMESTAMPTZ FROM lake.t", &["no cast from TIME to TIMESTAMP WITH TIME ZONE"]),
    ("SELECT id::TIMESTAMPTZ FROM lake.zoned", &["no cast from INTEGER"]),
    ("SELECT tz::TIMETZ FROM lake.zoned", &["TIMETZ"]),
    ("SELECT list_transform([tz], lambda t: age(t)) FROM lake.zoned", &["age in a lambda"]),
    (
        "SELECT list_transform(['12:00:00+00'], lambda t: t::TIMETZ AT TIME ZONE 'Europe/Berlin') FROM lake.zoned",
        &["TIMETZ"],
    ),
    (
        "SELECT id FROM lake.zoned WHERE id > hour(tidegate_now()::TIMETZ AT TIME ZONE 'Europe/Berlin')",
        &["TIME WITH TIME ZONE", "TIMESTAMP"],
    ),
    ("SELECT tz AT TIME ZONE 'Europe/' || 'Berlin' FROM lake.zoned", &["no time zone 'Europe/'"]),
];

#[test]
fn what_depends_on_the_present_is_refused() {
    let world = World::new();
    for (sql, words) in REFUSED {
        let message = match world.plan(sql) {
            Ok(program) => panic!("{sql} was planned:\n{}", program.views()[0].explain_text()),
            Err(errors) => errors[0].message.clone(),
        };
        assert!(words.iter().all(|word| message.contains(word)), "{sql}: {message}");
    }
}

/// DuckDB's ICU fails in such a way that the whole database can do nothing more.
#[test]
fn a_call_that_breaks_its_duckdb_breaks_no_other() {
    let first = "TIMESTAMPTZ '290309-12-22 (BC) 00:00:00+00'";
    let sql = format!("date_diff('hour', {first}, TIMESTAMPTZ '294247-01-10 00:00:00+00')");
    for _ in 0..3 {
        let value = |sql: &str| ScalarExpression::bind(sql.to_owned(), Vec::new()).and_then(|call| call.evaluate(&[]));
        assert!(value(&sql).is_err());
        assert_eq!(value("1 + 1").unwrap().len(), 1);
    }
}
