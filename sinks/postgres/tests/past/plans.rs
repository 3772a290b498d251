//! What asking costs: one key of a million versions is found by an index.

use std::time::{Duration, Instant};

use tidegate_core::RowIdentity;
use tidegate_testkit::PostgresVersion;

use super::Past;
use crate::suite::{database, shared, sink_to};

/// A history of so many versions, ten a key, without the commits that would make it.
async fn filled(versions: u64, version: PostgresVersion) -> (std::sync::Arc<tidegate_testkit::Postgres>, String) {
    let server = shared(version);
    let name = database(&server);
    let mut sink = sink_to(&server.url(&name));
    let mut past = Past::new("v", &[("id", "BIGINT"), ("v", "VARCHAR")], RowIdentity::Key(vec![0]));
    past.go(&mut sink, &["(0, 'a')", "(0, 'b')"]).await;
    let sql = format!(
        "INSERT INTO v_history SELECT i / 10, 'version ' || i, timestamptz 'epoch' + n * interval '1 second', \
         CASE WHEN n < 11 THEN timestamptz 'epoch' + (n + 1) * interval '1 second' END, n, CASE WHEN n < 11 THEN n + 1 END \
         FROM generate_series(10, {versions} + 9) i, LATERAL (SELECT i % 10 + 2 AS n) n; \
         INSERT INTO _tidegate_time SELECT 'v', n, timestamptz '2024-01-01' + n * interval '1 second' FROM generate_series(3, 100000) n; \
         UPDATE _tidegate_history SET epoch = 100000; ANALYZE v_history; ANALYZE _tidegate_time"
    );
    server.execute(&name, &sql);
    (server, name)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_of_a_million_versions_is_found_by_an_index() {
    let versions = std::env::var("TIDEGATE_VERSIONS").map_or(1_000_000, |number| number.parse().unwrap());
    let (server, name) = filled(versions, PostgresVersion::V15).await;
    let client = server.client(&name);
    let condition = client.value("SELECT tidegate_history_key('v', '{\"id\": 777}')");
    client.execute(&format!(
        "PREPARE asked(jsonb, bigint) AS SELECT to_jsonb(h.*) FROM (SELECT h.* FROM v_history h WHERE {condition} \
         AND h._valid_from_epoch <= $2 ORDER BY h._valid_from_epoch DESC LIMIT 1) h"
    ));
    let plan: Vec<_> =
        client.query("EXPLAIN EXECUTE asked('{\"id\": 777}', 5)").into_iter().flatten().flatten().collect();
    let plan = plan.join("\n");
    assert!(plan.contains("Index Scan Backward using v_history_id__valid_from_epoch_idx"), "{plan}");
    assert!(!plan.contains("Sort") && !plan.contains("Seq Scan"), "{plan}");
    let moment = "timestamptz '2024-01-01' + 5 * interval '1 second'";
    let timed = |what: &str, sql: &dyn Fn(u64) -> String| {
        let mut times: Vec<Duration> = (0..50)
            .map(|round| {
                let started = Instant::now();
                client.query(&sql(1 + round * 1_777 % (versions / 10)));
                started.elapsed()
            })
            .collect();
        times.sort();
        println!("{what} of {versions} versions: p50 {:?}, worst {:?}", times[25], times[49]);
        assert!(times[25] < Duration::from_millis(10), "{what}: {:?}", times[25]);
    };
    let key = |id: u64| format!("'v', '{{\"id\": {id}}}', {moment}");
    let found = client.value(&format!("SELECT tidegate_asof_pk({}) ->> 'v'", key(777)));
    assert_eq!(found, "version 7773");
    timed("asof_pk", &|id| format!("SELECT tidegate_asof_pk({})", key(id)));
    timed("diff_pk", &|id| format!("SELECT tidegate_diff_pk({}, {moment} + interval '3 seconds')", key(id)));
    timed("asof_ts of a key", &|id| format!("SELECT * FROM v_asof_ts({moment}) WHERE id = {id}"));
    server.execute("postgres", &format!("DROP DATABASE {name} WITH (FORCE)"));
}

/// What `temporal = true` adds to a commit: `--ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: it asserts nothing that a busy machine could keep"]
async fn what_a_change_costs_with_a_history() {
    for identity in [RowIdentity::Key(vec![0]), RowIdentity::WholeRow] {
        for changed in [1, 1_000] {
            let mut fastest = Vec::new();
            for history in [None, Some(tidegate_core::History::default())] {
                let server = shared(PostgresVersion::V15);
                let mut sink = sink_to(&server.url(&database(&server)));
                let mut past = Past::new("v", &[("id", "BIGINT"), ("v", "VARCHAR")], identity.clone());
                past.history = history;
                let rows = |round: usize| {
                    let row = |id: usize| format!("({id}, '{}')", if id < changed { round } else { 0 });
                    (0..20_000).map(row).collect::<Vec<_>>().join(", ")
                };
                let part = past.epochs_of(&[&rows(0)]);
                past.commit(&mut sink, tidegate_core::Epoch(0), part).await;
                let mut times = Vec::new();
                for round in 1..15 {
                    let (after, part) = (past.last(), past.epochs_of(&[&rows(round)]));
                    let started = Instant::now();
                    past.commit(&mut sink, after, part).await;
                    times.push(started.elapsed());
                }
                times.sort();
                fastest.push(times[times.len() / 2]);
            }
            let ratio = fastest[1].as_secs_f64() / fastest[0].as_secs_f64();
            println!(
                "{identity:?}, {changed} rows changed: {:?} plain, {:?} temporal, {ratio:.2} times",
                fastest[0], fastest[1]
            );
        }
    }
}
