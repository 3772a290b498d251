//! PostgreSQL as a source, next to PostgreSQL's own tools on the same server in the same run:
//!
//! - the initial copy, against psql's `COPY … TO STDOUT` to /dev/null;
//! - the drain of a backlog to Parquet and to the mart, against `pg_recvlogical` draining the same WAL;
//! - the latency from commit to the engine's output, and to a visible mart, at a thousand transactions a second;
//! - the memory that one very large transaction takes.
//!
//! `postgres [copy|drain|latency|memory …]` measures some of them; `TIDEGATE_BENCH_SCALE=0.1` makes all smaller.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use tidegate_core::{Micros, Source, TableName, ViewName};
use tidegate_duck::DuckBinder;
use tidegate_engine::ViewDef;
use tidegate_runtime::{
    Commits, Connectors, Observer, Pipeline, PipelineConfig, RunUntil, Silent, SinkSlot, SourceSlot, StopSignal,
};
use tidegate_sink_duckdb::{DuckdbConfig, DuckdbSink};
use tidegate_sink_parquet::{Location, ParquetSink};
use tidegate_source_postgres::PostgresSource;
use tidegate_testkit::bench::{Report, median, settle, timed};
use tidegate_testkit::{MemorySink, Postgres, PostgresVersion, Program};
use tokio::runtime::Runtime;

mod seen;

use seen::Seen;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TABLE: &str = "CREATE TABLE orders (id bigint PRIMARY KEY, customer int NOT NULL, amount numeric(12,2), note text, placed timestamptz)";
/// Columns of a row over a number `i`.
const ROW: &str = "i, i % 10000, (i % 100000) / 100.0, 'order number ' || i, '2026-01-01 00:00:00+00'::timestamptz + i * interval '1 second'";

struct Bench {
    server: Postgres,
    runtime: Runtime,
    report: Report,
    scale: f64,
}

impl Bench {
    fn rows(&self, full: u64) -> u64 {
        ((full as f64 * self.scale) as u64).max(1000)
    }

    /// A database with the table, filled.
    fn database(&self, rows: u64) -> String {
        let connection = self.server.create_database();
        let name =
            connection.split_whitespace().find_map(|part| part.strip_prefix("dbname=")).expect("a name").to_owned();
        self.server.execute(&name, TABLE);
        if rows > 0 {
            self.server.execute(&name, &format!("INSERT INTO orders SELECT {ROW} FROM generate_series(1, {rows}) i"));
        }
        self.server.execute(&name, "VACUUM ANALYZE orders");
        self.server.execute(&name, "CHECKPOINT");
        name
    }

    fn source(&self, database: &str, folder: &Path) -> PostgresSource {
        let config = serde_json::json!({"url": self.server.url(database), "slot": format!("bench_{database}")});
        let config = serde_json::from_value(config).expect("the source is configured");
        PostgresSource::new("app", &config, "bench", folder, &folder.join("sources")).expect("the source is made")
    }

    fn pipeline(
        &self,
        database: &str,
        folder: &Path,
        sql: &str,
        sinks: &[&str],
        observer: Arc<dyn Observer>,
        epoch: Duration,
    ) -> Pipeline {
        let source = self.source(database, folder);
        let (poll_interval, wake) = (source.poll_interval(), Some(source.wake()));
        let sink = |kind: &&str| {
            let sink: Box<dyn tidegate_core::Sink> = match *kind {
                "memory" => Box::new(MemorySink::new("memory")),
                "parquet" => Box::new(ParquetSink::new("changes", Location::Folder(folder.join("changes")))),
                _ => {
                    let config = DuckdbConfig::new(folder.join("mart.duckdb"));
                    Box::new(DuckdbSink::new("mart", config, Arc::new(|| Micros(0))))
                }
            };
            SinkSlot { sink, views: None, commits: Some(Commits::Every(Duration::from_millis(20))) }
        };
        let connectors = Connectors {
            sources: vec![SourceSlot { source: Box::new(source), poll_interval, wake }],
            sinks: sinks.iter().map(sink).collect(),
            binder: Arc::new(DuckBinder),
        };
        let views = vec![ViewDef { name: ViewName::from("v"), sql: sql.to_owned(), key: None }];
        let mut config = PipelineConfig::new("bench", folder.join("state"), views);
        config.epoch_interval = epoch;
        self.runtime.block_on(Pipeline::open(config, connectors, observer)).expect("the pipeline opens")
    }

    /// Milliseconds of one of PostgreSQL's own programs.
    fn reference(&self, program: &str, arguments: &[&str]) -> f64 {
        let mut command = self.server.pg_program(program);
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::inherit());
        let (time, status) = timed(|| command.status().expect("the program starts"));
        assert!(status.success(), "{program} failed");
        time
    }

    fn copy(&mut self) {
        let rows = self.rows(2_000_000);
        let database = self.database(rows);
        let folder = tempfile::tempdir().expect("a folder");
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            theirs.push(self.reference("psql", &["-q", "-d", &database, "-c", "COPY orders TO STDOUT"]));
            let mut source = self.source(&database, folder.path());
            let (time, found) = timed(|| {
                self.runtime.block_on(async {
                    let tables =
                        source.tables(&[TableName::new("app", "public", "orders")], None).await.expect("the schema");
                    let mut events = source.snapshot(&tables, None).await.expect("a snapshot").events;
                    let mut found = 0;
                    while let Some(event) = events.next().await {
                        found += event.expect("rows").1.rows() as u64;
                    }
                    found
                })
            });
            assert_eq!(found, rows);
            ours.push(time);
        }
        let (ours, theirs) = (median(ours), median(theirs));
        let mut pipeline = self.pipeline(
            &database,
            folder.path(),
            "SELECT * FROM app.orders",
            &["mart"],
            Arc::new(Silent),
            Duration::ZERO,
        );
        let (whole, _) = timed(|| self.runtime.block_on(pipeline.run_once()).expect("the load"));
        self.report.measure(
            format!("copy of {rows} rows"),
            &[
                ("copy_ms", ours),
                ("psql_ms", theirs),
                ("copy_krows_per_s", rows as f64 / ours),
                ("psql_krows_per_s", rows as f64 / theirs),
                ("into_mart_ms", whole),
            ],
        );
        self.report.gate("initial copy, time against psql COPY to /dev/null", ours / theirs, 2.0);
    }

    fn drain(&mut self) {
        let changes = self.rows(2_000_000);
        for sinks in [&["parquet"][..], &["mart"]] {
            let database = self.database(changes / 4);
            let folder = tempfile::tempdir().expect("a folder");
            let pipeline = |bench: &Bench| {
                bench.pipeline(
                    &database,
                    folder.path(),
                    "SELECT * FROM app.orders",
                    sinks,
                    Arc::new(Silent),
                    Duration::ZERO,
                )
            };
            let mut first = pipeline(self);
            self.runtime.block_on(first.run_once()).expect("the load");
            drop(first);
            let slot = format!("reference_{database}");
            self.server.execute(&database, &format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')"));
            self.backlog(&database, changes);
            let end = self.server.value(&database, "SELECT pg_current_wal_flush_lsn()");
            let publication = format!("publication_names={}", "tidegate_bench");
            let theirs = self.reference(
                "pg_recvlogical",
                &[
                    "-d",
                    &database,
                    "--slot",
                    &slot,
                    "--start",
                    "-f",
                    "/dev/null",
                    "-o",
                    "proto_version=1",
                    "-o",
                    &publication,
                    "--endpos",
                    &end,
                ],
            );
            self.server.execute(&database, &format!("SELECT pg_drop_replication_slot('{slot}')"));
            let mut again = pipeline(self);
            let (ours, summary) = timed(|| self.runtime.block_on(again.run_once()).expect("the drain"));
            assert_eq!(summary.source_rows, changes);
            let phases = summary.phases_ms;
            let name = sinks[0];
            self.report.measure(
                format!("drain of {changes} changes to {name}"),
                &[
                    ("drain_ms", ours),
                    ("recvlogical_ms", theirs),
                    ("kchanges_per_s", changes as f64 / ours),
                    ("read_ms", phases.read.as_secs_f64() * 1e3),
                    ("log_ms", phases.log.as_secs_f64() * 1e3),
                    ("step_ms", phases.step.as_secs_f64() * 1e3),
                    ("commit_ms", phases.commit.as_secs_f64() * 1e3),
                ],
            );
            self.report.gate(format!("drain to {name}, time against pg_recvlogical"), ours / theirs, 2.0);
        }
    }

    /// Inserts, updates and deletes, a thousand rows a transaction.
    fn backlog(&self, database: &str, changes: u64) {
        let client = self.server.client(database);
        let held = changes / 4;
        let (mut made, mut next) = (0, held + 1);
        while made < changes {
            let rows = (changes - made).min(1000);
            match (made / 1000) % 4 {
                0 | 1 => {
                    client.execute(&format!(
                        "INSERT INTO orders SELECT {ROW} FROM generate_series({next}, {}) i",
                        next + rows - 1
                    ));
                    next += rows;
                }
                2 => {
                    let from = (made * 7) % (held - rows).max(1);
                    client.execute(&format!(
                        "UPDATE orders SET amount = amount + 1 WHERE id > {from} AND id <= {}",
                        from + rows
                    ));
                }
                _ => client.execute(&format!("DELETE FROM orders WHERE id > {} - {rows} AND id <= {0}", next - 1)),
            }
            made += rows;
        }
    }

    fn latency(&mut self) {
        let transactions = self.rows(10_000);
        for sink in ["memory", "mart"] {
            let database = self.database(1000);
            let folder = tempfile::tempdir().expect("a folder");
            let seen = Arc::new(Seen::default());
            let sql = "SELECT customer, count(*) AS n, sum(amount) AS total FROM app.orders GROUP BY customer";
            let mut pipeline = self.pipeline(&database, folder.path(), sql, &[sink], seen.clone(), Duration::ZERO);
            self.runtime.block_on(pipeline.run_once()).expect("the load");
            seen.clear();
            self.server.execute("postgres", "CHECKPOINT");
            settle();
            let stop = StopSignal::new();
            let committed = self.runtime.block_on(async {
                let client = self.server.client(&database);
                let stopper = stop.clone();
                let load = std::thread::spawn(move || {
                    let (begun, mut committed) = (Instant::now(), Vec::new());
                    for n in 0..transactions {
                        let due = begun + Duration::from_millis(n);
                        std::thread::sleep(due.saturating_duration_since(Instant::now()));
                        let id = 1_000_000 + n;
                        client.execute(&format!("INSERT INTO orders VALUES ({id}, {n} % 1000, 1.5, 'late', now())"));
                        committed.push(Instant::now());
                    }
                    // What was committed last has to come out, too.
                    std::thread::sleep(Duration::from_secs(1));
                    stopper.stop();
                    committed
                });
                pipeline.run(RunUntil::Stopped, stop).await.expect("the run");
                load.join().expect("the load")
            });
            let span = committed.last().expect("transactions").duration_since(committed[0]).as_secs_f64();
            let to_output =
                self.latencies(format!("to the engine's output, sink: {sink}"), &seen, &committed, false, span);
            if sink == "memory" {
                self.report.gate("p50 from commit to the engine's output, ms", to_output.0, 10.0);
                self.report.gate("p99 from commit to the engine's output, ms", to_output.1, 50.0);
            } else {
                let visible = self.latencies("to a visible mart".to_owned(), &seen, &committed, true, span);
                self.report.gate("p99 from commit to a visible mart, ms", visible.1, 250.0);
            }
        }
    }

    /// Reports the times from the commits on; answers their median and 99th percentile.
    fn latencies(&mut self, what: String, seen: &Seen, committed: &[Instant], visible: bool, span: f64) -> (f64, f64) {
        let [p50, p90, p99, most] = seen.percentiles(committed, visible);
        let rate = ("tx_per_s", committed.len() as f64 / span);
        self.report.measure(format!("latency {what}"), &[p50, p90, p99, most, rate]);
        (p50.1, p99.1)
    }

    fn memory(&mut self) {
        let rows = self.rows(10_000_000);
        let database = self.database(0);
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("pipeline.toml");
        let text = format!(
            "[pipeline]\nname = \"bench\"\nstate_dir = \"state\"\nmemory_limit = \"256MiB\"\nworkers = 1\n\n[sources.app]\ntype = \"postgres\"\n\
             url = \"{}\"\nslot = \"memory_bench\"\npublication = \"memory_bench\"\n\n[views.totals]\n\
             sql = \"SELECT customer, count(*) AS n, sum(amount) AS total FROM app.orders GROUP BY customer\"\n\n\
             [sinks.mart]\ntype = \"duckdb\"\npath = \"mart.duckdb\"\n",
            self.server.url(&database)
        );
        std::fs::write(&file, text).expect("the pipeline file");
        let program = || {
            Program::new(env!("CARGO_BIN_EXE_tidegate")).arguments(["run", "--once", "--json", &file.to_string_lossy()])
        };
        program().run().expect(0);
        self.server.execute(&database, &format!("INSERT INTO orders SELECT {ROW} FROM generate_series(1, {rows}) i"));
        let started = Instant::now();
        let mut running = program().start();
        let status = format!("/proc/{}/status", running.id());
        let mut peak_kib = 0;
        let ended = loop {
            match running.wait_for(Duration::from_millis(200)) {
                Ok(ended) => break ended,
                Err(still) => running = still,
            }
            peak_kib = peak_of(&status).max(peak_kib);
        };
        let summary = ended.expect(0).json();
        assert_eq!(summary["source_rows"].as_u64(), Some(rows), "{summary}");
        let mib = peak_kib as f64 / 1024.0;
        self.report.measure(
            format!("one transaction of {rows} rows"),
            &[("peak_rss_mib", mib), ("whole_run_ms", started.elapsed().as_secs_f64() * 1e3)],
        );
        self.report.gate("peak RSS of a 10 million row transaction, MiB", mib, 1024.0);
    }
}

/// The high-water mark of a process's memory, in KiB.
fn peak_of(status: &str) -> u64 {
    let text = std::fs::read_to_string(status).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

fn main() -> std::process::ExitCode {
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|asked| asked == name);
    let scale = std::env::var("TIDEGATE_BENCH_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    let server = Postgres::builder()
        .version(PostgresVersion::V15)
        .setting("max_wal_size", "8GB")
        .setting("shared_buffers", "512MB")
        .start();
    let version = server.value("postgres", "SHOW server_version");
    let versions =
        [("postgres", version.as_str()), ("dbsp", "0.349.0"), ("duckdb", "1.5.5"), ("pgwire-replication", "0.5")];
    let report = Report::new("postgres", &versions);
    let mut bench = Bench { server, runtime: Runtime::new().expect("the runtime starts"), report, scale };
    if wanted("copy") {
        bench.copy();
    }
    if wanted("drain") {
        bench.drain();
    }
    if wanted("latency") {
        bench.latency();
    }
    if wanted("memory") {
        bench.memory();
    }
    bench.report.finish()
}
