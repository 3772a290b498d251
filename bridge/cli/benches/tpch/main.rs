//! The 22 queries of TPC-H kept up to date: milliseconds of an epoch of 100 to 1,000,000 changed rows, without and with the
//! commit into a DuckDB mart, against DuckDB computing the query anew in the same run, and the
//! number of changed rows at which both take the same time. Each query runs by itself; at its end the view is compared
//! with DuckDB's answer, row by row.
//!
//! `tpch [--sf N] [--workers N] [--threads N] [QUERY …]`: the scale factor (1), the workers of the engine (1), DuckDB's
//! threads (2), and numbers of queries (all).

mod refresh;

use std::path::Path;

use clap::Parser;
use futures::{StreamExt, stream};
use tidegate_core::{
    ChangeType, Commit, CommitOutcome, DeltaBatch, Epoch, EpochBatch, Micros, Sink, ViewCommit, ViewContent, ViewDelta,
    ViewInfo, ViewName,
};
use tidegate_duck::DuckBinder;
use tidegate_engine::{Engine, EngineOptions, Program, RebuildScope, ViewDef};
use tidegate_sink_duckdb::{DuckdbConfig, DuckdbSink};
use tidegate_testkit::bench::{Report, median, settle, timed};
use tidegate_testkit::conformance::model::header;
use tidegate_testkit::tpch::{TABLES, Tpch, view};
use tidegate_testkit::{Multiset, Tolerance, ViewRows};
use tokio::runtime::Runtime;

use crate::refresh::{Refresh, Refresher};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Changed rows of an epoch, and how many epochs are measured.
const DELTAS: [(u64, usize); 5] = [(100, 7), (1_000, 7), (10_000, 5), (100_000, 3), (1_000_000, 2)];
/// The epochs that the aims are about.
const AIM: u64 = 1_000;
/// How often DuckDB computes a query.
const RECOMPUTES: usize = 5;
/// The median break-even is to be at least this share of the changing tables.
const BREAK_EVEN: f64 = 0.005;

#[derive(Parser)]
struct Arguments {
    /// The scale factor
    #[arg(long, default_value_t = 1.0)]
    sf: f64,
    /// Workers of the engine
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Threads of DuckDB
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Numbers of queries; none: all
    queries: Vec<usize>,
    /// What cargo passes to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// What was measured of a query.
struct Figures {
    recompute: f64,
    /// Changed rows as asked, as they were, and milliseconds of an epoch.
    steps: Vec<(u64, f64, f64)>,
    /// Rows of the changing tables.
    rows: u64,
}

impl Figures {
    fn step(&self, delta: u64) -> f64 {
        self.steps.iter().find(|step| step.0 == delta).map_or(f64::NAN, |step| step.2)
    }

    /// The changed rows with which an epoch takes as long as computing anew: between two measurements by a power
    /// law; beyond the last one nothing is claimed, it is the last.
    fn break_even(&self) -> f64 {
        let mut last: Option<(f64, f64)> = None;
        for (_, rows, ms) in &self.steps {
            if *ms >= self.recompute {
                let Some((fewer, faster)) = last else { return rows * (self.recompute / ms).min(1.0) };
                let share = (self.recompute / faster).ln() / (ms / faster).ln();
                return fewer * (rows / fewer).powf(share);
            }
            last = Some((*rows, *ms));
        }
        last.map_or(f64::NAN, |last| last.0)
    }
}

/// A mart that gets what the engine says.
struct Mart {
    runtime: Runtime,
    sink: DuckdbSink,
    info: ViewInfo,
    epoch: u64,
}

impl Mart {
    fn new(folder: &Path, info: ViewInfo) -> Mart {
        let clock = std::sync::Arc::new(|| Micros(0));
        let mut sink = DuckdbSink::new("mart", DuckdbConfig::new(folder.join("mart.duckdb")), clock);
        let runtime = Runtime::new().expect("the runtime starts");
        runtime.block_on(sink.open(std::slice::from_ref(&info))).expect("the sink opens");
        Mart { runtime, sink, info, epoch: 0 }
    }

    fn commit(&mut self, batches: Vec<DeltaBatch>, of: impl FnOnce(Batches) -> ViewContent) {
        let (after, header) = (Epoch(self.epoch), header(self.epoch + 1));
        self.epoch += 1;
        let batches: Vec<_> =
            batches.into_iter().map(|batch| Ok(EpochBatch { header: header.clone(), batch })).collect();
        let content = of(stream::iter(batches).boxed());
        let commit = Commit { after, header, views: vec![ViewCommit { view: self.info.clone(), content }] };
        let outcome = self.runtime.block_on(self.sink.commit(commit)).expect("the commit");
        assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
    }

    fn load(&mut self, engine: &Engine) {
        let rows = engine.rows(&self.info.name).expect("the view is known");
        let batches = rows.map(|chunk| {
            let chunk = chunk.expect("the chunk is read");
            let count = chunk.rows().num_rows();
            DeltaBatch {
                rows: chunk.rows().clone(),
                weights: chunk.weights().clone(),
                change: vec![ChangeType::Insert; count],
                copies_before: vec![0; count].into(),
            }
        });
        self.commit(batches.collect(), ViewContent::Replace);
    }

    fn follow(&mut self, deltas: Vec<ViewDelta>) {
        let batches = deltas.into_iter().flat_map(|delta| delta.batches).collect();
        self.commit(batches, ViewContent::Changes);
    }
}

type Batches = stream::BoxStream<'static, Result<EpochBatch, tidegate_core::ConnectorError>>;

fn step(engine: &mut Engine, refresh: Refresh) -> Vec<ViewDelta> {
    for (table, event) in refresh {
        engine.feed(&table.name, event).expect("the rows are fed");
    }
    engine.step().expect("the engine steps")
}

fn changed(refresh: &Refresh) -> u64 {
    let rows = |event: &tidegate_core::TableEvent| match event {
        tidegate_core::TableEvent::Rows(rows) => rows.rows().num_rows() as u64,
        _ => 0,
    };
    refresh.iter().map(|(_, event)| rows(event)).sum()
}

/// Measures one query.
fn measure(tpch: &Tpch, number: usize, query: &str, arguments: &Arguments, report: &mut Report) -> Figures {
    let name = format!("q{number:02}");
    let definition = |sql: String| ViewDef { name: ViewName::from(name.as_str()), sql, key: None };
    let plan = |tables: &[String], schemas: Vec<_>| {
        let program = Program::plan(schemas, vec![definition(view(query, tables))], &DuckBinder);
        program.unwrap_or_else(|errors| panic!("{errors:#?}"))
    };
    let all = plan(&TABLES.map(str::to_owned), tpch.schemas().to_vec());
    let read: Vec<String> = all.tables().iter().map(|table| table.name.table.clone()).collect();
    let program = plan(&read, all.tables().to_vec());
    let info = program.views()[0].info.clone();

    let folder = tempfile::tempdir().expect("a folder");
    let (states, marts) = (folder.path().join("engine"), folder.path().join("mart"));
    std::fs::create_dir(&states).and_then(|()| std::fs::create_dir(&marts)).expect("folders");
    let options = EngineOptions::new(arguments.workers, None);
    let mut engine = Engine::create(&states, options).expect("the engine starts");
    let (load_ms, ()) = timed(|| {
        engine.begin_rebuild(program, RebuildScope::All).expect("the load begins");
        for table in &read {
            tpch.contents(table, |table, event| engine.load(table, event).expect("the rows are taken"));
        }
        engine.finish_rebuild().expect("the load ends");
        // As the program does; from then on the loaded state is in files.
        engine.checkpoint().expect("the state is saved");
    });
    let mut mart = Mart::new(&marts, info);
    mart.load(&engine);
    settle();

    let duck = tpch.duck();
    let recompute = || timed(|| duck.query(query).expect("DuckDB answers")).0;
    recompute();
    let recompute_ms = median((0..RECOMPUTES).map(|_| recompute()).collect());

    let mut refresher = Refresher::new(tpch, arguments.sf, &read);
    let rows = refresher.rows();
    let mut figures = Figures { recompute: recompute_ms, steps: Vec::new(), rows };
    for (delta, rounds) in DELTAS.into_iter().filter(|(delta, _)| delta * 10 <= rows) {
        let (mut fed, mut steps, mut commits) = (Vec::new(), Vec::new(), Vec::new());
        // The first of each size is for the caches.
        for round in 0..=rounds {
            let refresh = refresher.refresh(delta);
            let count = changed(&refresh);
            let (step_ms, deltas) = timed(|| step(&mut engine, refresh));
            let (commit_ms, ()) = timed(|| mart.follow(deltas));
            if round > 0 {
                fed.push(count as f64);
                steps.push(step_ms);
                commits.push(step_ms + commit_ms);
            }
        }
        let (fed, step_ms, commit_ms) = (median(fed), median(steps), median(commits));
        figures.steps.push((delta, fed, step_ms));
        report.measure(
            format!("{name}, {delta}"),
            &[
                ("rows", fed),
                ("step_ms", step_ms),
                ("with_commit_ms", commit_ms),
                ("recompute_ms", recompute_ms),
                ("faster", recompute_ms / step_ms),
                ("faster_commit", recompute_ms / commit_ms),
                ("load_ms", load_ms),
            ],
        );
    }
    let chunks: Vec<_> = engine.rows(&ViewName::from(name.as_str())).expect("the view is known").collect();
    let chunks: Vec<_> = chunks.into_iter().map(|chunk| chunk.expect("the chunk is read")).collect();
    let expected = ViewRows::read(duck, query).expect("DuckDB answers");
    let found = ViewRows { columns: expected.columns.clone(), rows: Multiset::of_zsets(&chunks) };
    found.assert_equals(&expected, &Tolerance::exact(), &name);
    let steps: Vec<String> = figures.steps.iter().map(|(delta, _, ms)| format!("{delta} rows {ms:.2} ms")).collect();
    println!(
        "{name}: recompute {recompute_ms:.1} ms, {}, break-even {:.0} rows",
        steps.join(", "),
        figures.break_even()
    );
    figures
}

fn main() -> std::process::ExitCode {
    let arguments = Arguments::parse();
    let versions = [("dbsp", "0.349.0"), ("datafusion", "53.1"), ("duckdb", "1.5.5"), ("arrow", "58")];
    let mut report = Report::new("tpch", &versions);
    let numbers: Vec<usize> = if arguments.queries.is_empty() { (1..=22).collect() } else { arguments.queries.clone() };
    let folder = tempfile::tempdir().expect("a folder");
    let generated = folder.path().join("generated.duckdb");
    drop(Tpch::generate(arguments.sf, Some(&generated)));
    let mut all = Vec::new();
    for number in numbers {
        // Every query begins with the same tables.
        let file = folder.path().join(format!("{number}.duckdb"));
        std::fs::copy(&generated, &file).expect("the tables are copied");
        let tpch = Tpch::open(&file);
        tpch.duck().execute(&format!("SET threads = {}", arguments.threads)).expect("the threads are set");
        let query = tpch.queries()[number - 1].clone();
        all.push((number, measure(&tpch, number, &query, &arguments, &mut report)));
        drop(tpch);
        std::fs::remove_file(file).expect("the copy is removed");
    }
    for (number, figures) in &all {
        let break_even = figures.break_even();
        report.measure(
            format!("q{number:02}, break-even"),
            &[("rows", break_even), ("percent", 100.0 * break_even / figures.rows as f64)],
        );
    }
    for (number, figures) in &all {
        report.gate(format!("q{number:02}, {AIM} rows / recompute"), figures.step(AIM) / figures.recompute, 1.0);
    }
    let logs = all.iter().map(|(_, figures)| (figures.step(AIM) / figures.recompute).ln());
    let mean = (logs.sum::<f64>() / all.len() as f64).exp();
    let aim = if arguments.sf >= 10.0 { 50.0 } else { 5.0 };
    report.gate(format!("{AIM} rows / recompute, geometric mean"), mean, 1.0 / aim);
    let shares = all.iter().map(|(_, figures)| figures.break_even() / figures.rows as f64).collect();
    report.gate("0.5 % of the table / median break-even", BREAK_EVEN / median(shares), 1.0);
    report.finish()
}
