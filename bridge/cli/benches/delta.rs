//! What an epoch costs as the table grows: one table of 10 thousand to 10 million rows, changes of
//! 1 to 10,000 rows, three views, milliseconds a phase, next to DuckDB's full recompute of the
//! view in the same run. The step must follow the change, not the table.
//!
//! `delta [ROWS …]` measures other table sizes; the gates compare the last with the first.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tidegate_core::{Micros, ViewName};
use tidegate_duck::{Duck, DuckBinder};
use tidegate_engine::ViewDef;
use tidegate_runtime::{Connectors, Pipeline, PipelineConfig, Silent, SinkSlot, SourceSlot};
use tidegate_sink_duckdb::{DuckdbConfig, DuckdbSink};
use tidegate_source_ducklake::{Config, DucklakeSource};
use tidegate_testkit::bench::{Report, median, ms, timed};
use tidegate_testkit::lake::attach;
use tidegate_testkit::{Catalog, Lake};
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SIZES: [u64; 3] = [10_000, 1_000_000, 10_000_000];
const CHANGES: [u64; 3] = [1, 100, 10_000];
/// Rounds of a case; inserts, updates and deletes take turns.
const ROUNDS: u64 = 6;
/// How much longer a step may take on the largest table than on the smallest. Steps below a
/// millisecond count as one: they measure the machine.
const GROWTH_LIMIT: f64 = 3.0;

const VIEWS: [(&str, &str); 3] = [
    ("filter", "SELECT id, user_id, amount FROM lake.events WHERE amount > 990"),
    (
        "group_by",
        "SELECT user_id % 1000 AS bucket, count(*) AS n, sum(amount) AS total FROM lake.events GROUP BY user_id % 1000",
    ),
    (
        "join",
        "SELECT u.region, count(*) AS n, sum(e.amount) AS total FROM lake.events e JOIN lake.users u ON u.id = e.user_id GROUP BY u.region",
    ),
];

/// The columns of `events`, over a number of rows `i`.
const EVENT: &str = "i AS id, (i * 2654435761) % {users} AS user_id, ((i * 7919) % 100000 / 100)::DECIMAL(15,2) AS amount, 'note ' || i % 1000 AS note";

struct Case {
    read: Vec<f64>,
    log: Vec<f64>,
    step: Vec<f64>,
    commit: Vec<f64>,
}

fn pipeline(runtime: &Runtime, lake: &Lake, dir: &Path, view: (&str, &str)) -> Pipeline {
    let config: Config =
        serde_json::from_value(serde_json::json!({ "catalog": lake.uri() })).expect("the source is configured");
    let source = DucklakeSource::new("lake", &config, dir).expect("the source is made");
    let mart = DuckdbConfig::new(dir.join(format!("{}.duckdb", view.0)));
    let sink = DuckdbSink::new("mart", mart, Arc::new(|| Micros(0)));
    let connectors = Connectors {
        sources: vec![SourceSlot { poll_interval: source.poll_interval(), source: Box::new(source), wake: None }],
        sinks: vec![SinkSlot { sink: Box::new(sink), views: None, commits: None }],
        binder: Arc::new(DuckBinder),
    };
    let views = vec![ViewDef { name: ViewName::from(view.0), sql: view.1.to_owned(), key: None }];
    let config = PipelineConfig::new("bench", dir.join(format!("{}-state", view.0)), views);
    runtime.block_on(Pipeline::open(config, connectors, Arc::new(Silent))).expect("the pipeline opens")
}

/// A change of `rows` rows; `round` says which and of what kind.
fn change(table_rows: u64, rows: u64, round: u64) -> String {
    let fresh = table_rows + round * 1_000_000 + rows * 100;
    let users = table_rows / 10;
    let at = (round * 37 * rows) % table_rows.saturating_sub(rows).max(1);
    match round % 3 {
        0 => {
            let event = EVENT.replace("{users}", &users.to_string());
            format!("INSERT INTO lake.events SELECT {event} FROM range({fresh}, {}) t(i)", fresh + rows)
        }
        1 => format!("UPDATE lake.events SET amount = amount + 1 WHERE id >= {at} AND id < {}", at + rows),
        _ => format!("DELETE FROM lake.events WHERE id >= {fresh} - 2000000 AND id < {fresh} - 2000000 + {rows}"),
    }
}

fn recompute(lake: &Lake, sql: &str) -> f64 {
    let duck = Duck::open_in_memory().expect("DuckDB opens");
    attach(&duck, lake.catalog(), lake.name(), &["READ_ONLY".to_owned()]).expect("the lake is attached");
    let run = || {
        timed(|| duck.execute(&format!("CREATE OR REPLACE TEMP TABLE recomputed AS {sql}")).expect("DuckDB computes")).0
    };
    median((0..3).map(|_| run()).collect())
}

fn measure(runtime: &Runtime, report: &mut Report, table_rows: u64, steps: &mut BTreeMap<(String, u64), Vec<f64>>) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let lake = Lake::create(dir.path(), Catalog::duckdb(dir.path()));
    let users = table_rows / 10;
    let event = EVENT.replace("{users}", &users.to_string());
    lake.execute(&format!(
        "CREATE TABLE lake.events AS SELECT {event} FROM range({table_rows}) t(i); \
         CREATE TABLE lake.users AS SELECT i AS id, 'region ' || i % 50 AS region FROM range({users}) t(i)"
    ));
    let mut pipelines: Vec<Pipeline> = VIEWS.iter().map(|view| pipeline(runtime, &lake, dir.path(), *view)).collect();
    for (pipeline, (view, _)) in pipelines.iter_mut().zip(VIEWS) {
        let (load_ms, loaded) = timed(|| runtime.block_on(pipeline.run_once()).expect("the initial load"));
        let figures = [("load_ms", load_ms), ("krows_per_s", loaded.source_rows as f64 / load_ms)];
        report.measure(format!("load, {table_rows} rows, {view}"), &figures);
    }
    for rows in CHANGES {
        let mut cases: Vec<Case> =
            VIEWS.iter().map(|_| Case { read: vec![], log: vec![], step: vec![], commit: vec![] }).collect();
        for round in 0..ROUNDS {
            lake.execute(&change(table_rows, rows, round));
            for (pipeline, case) in pipelines.iter_mut().zip(&mut cases) {
                let summary = runtime.block_on(pipeline.run_once()).expect("the pipeline catches up");
                case.read.push(ms(summary.phases_ms.read));
                case.log.push(ms(summary.phases_ms.log));
                case.step.push(ms(summary.phases_ms.step));
                case.commit.push(ms(summary.phases_ms.commit));
            }
        }
        for (case, (view, sql)) in cases.into_iter().zip(VIEWS) {
            let step = median(case.step);
            steps.entry((view.to_owned(), rows)).or_default().push(step);
            report.measure(
                format!("{view}, {table_rows} rows, {rows} changed"),
                &[
                    ("read_ms", median(case.read)),
                    ("log_ms", median(case.log)),
                    ("step_ms", step),
                    ("commit_ms", median(case.commit)),
                    ("recompute_ms", recompute(&lake, sql)),
                ],
            );
        }
    }
}

fn main() -> std::process::ExitCode {
    let given: Vec<u64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if given.is_empty() { SIZES.to_vec() } else { given };
    let runtime = Runtime::new().expect("the runtime starts");
    let mut report =
        Report::new("delta", &[("duckdb", "1.5.5"), ("dbsp", "0.349.0"), ("datafusion", "53.1"), ("arrow", "58")]);
    let mut steps = BTreeMap::new();
    for size in sizes {
        measure(&runtime, &mut report, size, &mut steps);
    }
    for ((view, rows), steps) in steps {
        let (Some(first), Some(last)) = (steps.first(), steps.last()) else { continue };
        report.gate(
            format!("step of {view}, {rows} changed, largest / smallest table"),
            last / first.max(1.0),
            GROWTH_LIMIT,
        );
    }
    report.finish()
}
