//! The way of one row that a lake keeps in its catalog, in PostgreSQL, which tells of commits: from the commit to the
//! engine's output and to a visible mart, and what of that is the source's and the engine's.
//!
//! `TIDEGATE_BENCH_SCALE=0.1` commits fewer rows.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_core::{Micros, Source, ViewName};
use tidegate_duck::DuckBinder;
use tidegate_engine::ViewDef;
use tidegate_runtime::{
    Commits, Connectors, Pipeline, PipelineConfig, RunSummary, RunUntil, SinkSlot, SourceSlot, StopSignal,
};
use tidegate_sink_duckdb::{DuckdbConfig, DuckdbSink};
use tidegate_source_ducklake::DucklakeSource;
use tidegate_testkit::bench::{Report, settle};
use tidegate_testkit::{Catalog, Lake, MemorySink, Postgres};
use tokio::runtime::Runtime;

mod seen;

use seen::Seen;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Between two commits; each takes DuckLake itself some ten milliseconds.
const PAUSE: Duration = Duration::from_millis(50);
const COMMITS: u64 = 1_000;
const VIEW: &str = "SELECT customer, count(*) AS n, sum(amount) AS total FROM lake.orders GROUP BY customer";

struct Bench {
    runtime: Runtime,
    server: Postgres,
    report: Report,
    commits: u64,
}

impl Bench {
    fn pipeline(&self, lake: &Lake, folder: &Path, mart: bool, seen: Arc<Seen>) -> Pipeline {
        let config = serde_json::json!({ "catalog": lake.uri() });
        let config = serde_json::from_value(config).expect("the source is configured");
        let mut source = DucklakeSource::new(lake.name(), &config, folder).expect("the source is made");
        self.runtime.block_on(source.announce(true)).expect("the trigger is installed");
        let (poll_interval, wake) = (source.poll_interval(), source.wake());
        let sink: Box<dyn tidegate_core::Sink> = if mart {
            let config = DuckdbConfig::new(folder.join("mart.duckdb"));
            Box::new(DuckdbSink::new("mart", config, Arc::new(|| Micros(0))))
        } else {
            Box::new(MemorySink::new("memory"))
        };
        let connectors = Connectors {
            sources: vec![SourceSlot { source: Box::new(source), poll_interval, wake }],
            sinks: vec![SinkSlot { sink, views: None, commits: Some(Commits::Every(Duration::ZERO)) }],
            binder: Arc::new(DuckBinder),
        };
        let views = vec![ViewDef { name: ViewName::from("v"), sql: VIEW.to_owned(), key: None }];
        let mut config = PipelineConfig::new("bench", folder.join("state"), views);
        config.epoch_interval = Duration::ZERO;
        self.runtime.block_on(Pipeline::open(config, connectors, seen)).expect("the pipeline opens")
    }

    /// Commits one row after another while the pipeline runs; answers when each commit returned, and what the run says.
    fn run(&self, lake: &Lake, pipeline: &mut Pipeline) -> (Vec<Instant>, RunSummary) {
        let (stop, runtime) = (StopSignal::new(), &self.runtime);
        std::thread::scope(|scope| {
            let stopped = stop.clone();
            let run = scope
                .spawn(move || runtime.block_on(pipeline.run(RunUntil::Stopped, stopped)).expect("the run succeeds"));
            let committed = lake.attached(|duck| {
                let mut committed = Vec::new();
                for n in 0..self.commits {
                    std::thread::sleep(PAUSE);
                    duck.execute(&format!("INSERT INTO lake.orders VALUES ({n}, {n} % 100, 1.5, 'late')"))?;
                    committed.push(Instant::now());
                }
                Ok(committed)
            });
            // What was committed last has to come out, too.
            std::thread::sleep(Duration::from_secs(1));
            stop.stop();
            let summary = run.join().expect("the run");
            (committed.expect("the lake takes rows"), summary)
        })
    }

    fn measure(&mut self, mart: bool) {
        let folder = tempfile::tempdir().expect("a folder");
        let lake = Lake::create(folder.path(), Catalog::postgres(&self.server));
        lake.execute("CREATE TABLE lake.orders (id BIGINT, customer INTEGER, amount DECIMAL(9,2), note VARCHAR)");
        lake.execute("INSERT INTO lake.orders SELECT i, i % 100, 2.5, 'early' FROM range(100000) r(i)");
        let seen = Arc::new(Seen::default());
        let mut pipeline = self.pipeline(&lake, folder.path(), mart, seen.clone());
        self.runtime.block_on(pipeline.run_once()).expect("the load");
        seen.clear();
        settle();
        let (committed, summary) = self.run(&lake, &mut pipeline);
        let [p50, p90, p99, most] = seen.percentiles(&committed, mart);
        let each = |name, phase: Duration| (name, phase.as_secs_f64() * 1e3 / summary.epochs as f64);
        let phases = summary.phases_ms;
        let [log, step] = [each("log_ms", phases.log), each("step_ms", phases.step)];
        let to = if mart { "a visible mart" } else { "the engine's output" };
        let figures = [p50, p90, p99, most, log, step, each("commit_ms", phases.commit)];
        self.report.measure(format!("one inlined row, to {to}"), &figures);
        if mart {
            self.report.gate("p50 from commit to a visible mart, ms", p50.1, 10.0);
        } else {
            self.report.gate("the engine's share of an epoch of one row, ms", step.1, 1.0);
        }
    }
}

fn main() -> std::process::ExitCode {
    let scale = std::env::var("TIDEGATE_BENCH_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    let server = Postgres::start();
    let version = server.value("postgres", "SHOW server_version");
    let versions = [("postgres", version.as_str()), ("dbsp", "0.349.0"), ("duckdb", "1.5.5"), ("ducklake", "1.0")];
    let report = Report::new("inlined", &versions);
    let commits = ((COMMITS as f64 * scale) as u64).max(20);
    let mut bench = Bench { runtime: Runtime::new().expect("the runtime starts"), server, report, commits };
    bench.measure(false);
    bench.measure(true);
    bench.report.finish()
}
