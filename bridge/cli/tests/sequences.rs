//! Random sequences of changes on a lake, through source, engine and loop, compared with DuckDB's
//! full recompute after every epoch: names, types, exact multiset.
//!
//! A batch is one lake and one pipeline that live through several sequences; `TIDEGATE_SEED` runs a
//! batch again, `TIDEGATE_SEQUENCES` says how many sequences there are, without a limit of time.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::{Epoch, ViewName};
use tidegate_duck::DuckBinder;
use tidegate_engine::ViewDef;
use tidegate_runtime::{Connectors, Pipeline, PipelineConfig, Silent, SinkSlot, SourceSlot};
use tidegate_source_ducklake::DucklakeSource;
use tidegate_testkit::dml::{Dml, Mix};
use tidegate_testkit::seed::{seed, sequences};
use tidegate_testkit::{Catalog, Lake, MemorySink, Oracle, Tolerance};

use crate::in_process::{full, view_rows};
use crate::pipeline::VIEWS;

/// More of what is maintained: expressions, joins with residual predicates, common table
/// expressions, nested queries, aggregates of floats.
const MORE_VIEWS: &[(&str, &str)] = &[
    (
        "ratios",
        "SELECT id, qty / 3 AS third, qty // 3 AS whole, amount / 4 AS part, coalesce(note, '?') AS note \
         FROM lake.orders WHERE qty IS NOT NULL OR note IS NULL",
    ),
    (
        "pairs",
        "SELECT a.id, b.id AS other, a.amount - b.amount AS gap FROM lake.orders a \
         JOIN lake.orders b ON a.customer = b.customer AND a.id < b.id",
    ),
    (
        "three",
        "SELECT c.region, e.kind, count(*) AS n, max(o.amount) AS most FROM lake.orders o \
         JOIN lake.customers c ON c.id = o.customer JOIN lake.events e ON e.n = o.id GROUP BY c.region, e.kind",
    ),
    (
        "yearly",
        "WITH d AS (SELECT year(day) AS y, amount FROM lake.orders) \
         SELECT y, sum(amount) AS total, count(amount) AS n FROM d GROUP BY y",
    ),
    (
        "totals",
        "SELECT s.customer, s.total FROM (SELECT customer, sum(amount) AS total FROM lake.orders GROUP BY customer) s \
         WHERE s.total > 5 OR s.customer IS NULL",
    ),
    (
        "flags",
        "SELECT active, CASE WHEN region IN ('north', 'South') THEN 'n' WHEN region IS NULL THEN 'none' ELSE region \
         END AS r, count(*) FROM lake.customers GROUP BY 1, 2",
    ),
    (
        "prices",
        "SELECT customer, sum(price) AS s, avg(price) AS a, min(price), max(price), count(DISTINCT price) AS d \
         FROM lake.orders GROUP BY customer",
    ),
    (
        "words",
        "SELECT DISTINCT lower(note) AS n, length(note) AS l FROM lake.orders WHERE note LIKE '%a%' OR note = ''",
    ),
    ("both", "SELECT y, total FROM yearly UNION ALL SELECT customer, total FROM totals"),
];

/// Sequences of one batch.
const BATCH: u64 = 20;
/// As long as the test runs when nothing else is asked for.
const TIME_MAX: Duration = Duration::from_secs(200);
/// Batches that run at the same time.
const LANES: usize = 2;

#[test]
fn random_sequences_against_the_oracle() {
    let first = seed("sequences");
    let asked = std::env::var_os("TIDEGATE_SEQUENCES").is_some();
    let (wanted, started) = (sequences(1_000), Instant::now());
    let (done, epochs, next) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                let runtime =
                    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index * BATCH >= wanted || (!asked && started.elapsed() > TIME_MAX) {
                        return;
                    }
                    let counts = Counts { done: &done, epochs: &epochs };
                    runtime.block_on(batch(first.wrapping_add(index), BATCH.min(wanted - index * BATCH), &counts));
                }
            });
        }
    });
    let (done, epochs, time) = (done.into_inner(), epochs.into_inner(), started.elapsed());
    println!("{done} sequences, {epochs} epochs, {:.1} s, seeds from {first}", time.as_secs_f64());
    assert!(done > 0 && epochs > done, "{done} sequences with {epochs} epochs");
}

struct Counts<'a> {
    done: &'a AtomicU64,
    epochs: &'a AtomicU64,
}

/// Says which seed to run again when a sequence fails.
struct Failing(String);

impl Drop for Failing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}

async fn batch(seed: u64, sequences: u64, counts: &Counts<'_>) {
    let _failing = Failing(format!("to run it again: TIDEGATE_SEED={seed} TIDEGATE_SEQUENCES={BATCH}"));
    let mut rng = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let catalog = if rng.random() { Catalog::duckdb(folder.path()) } else { Catalog::sqlite(folder.path()) };
    let mix = Mix { schema: 1, ..Mix::default() };
    let (lake, dml) = Lake::generated(folder.path(), catalog, seed, mix);
    let views = if rng.random() { VIEWS } else { MORE_VIEWS };
    let views = views.iter().map(|(name, sql)| (ViewName::from(*name), (*sql).to_owned())).collect();
    let mut subject = Subject {
        lake,
        dml,
        views,
        state: folder.path().join("state"),
        workers: rng.random_range(1..=2),
        sink: MemorySink::new("memory"),
        oracle: Oracle::new().unwrap(),
    };
    let mut pipeline = subject.open().await;
    for sequence in 0..sequences {
        let what = format!("seed {seed}, sequence {sequence}");
        // The tables are emptied from time to time, so that sequences begin from different states.
        if sequence % 4 == 3 {
            subject.dml.tables().iter().for_each(|table| subject.lake.execute(&format!("DELETE FROM lake.{table}")));
        }
        for epoch in 0..rng.random_range(2..=5) {
            // Several snapshots may go into one epoch.
            let steps = rng.random_range(1..=3);
            let taken: Vec<_> = (0..steps).map(|_| subject.dml.step()).collect();
            taken.iter().for_each(|step| {
                subject.lake.take(step);
            });
            if rng.random_ratio(1, 12) {
                // A restart: what the engine held comes back from checkpoint and log.
                drop(pipeline);
                pipeline = subject.open().await;
            }
            let what = || {
                let sql: Vec<_> = taken.iter().map(|step| step.sql()).collect();
                format!("{what}, epoch {epoch} after\n{}\n", sql.join(";\n"))
            };
            let ran = pipeline.run_once().await;
            ran.unwrap_or_else(|error| panic!("{}: {}", what(), full(&error)));
            subject.check(pipeline.epoch(), what);
            counts.epochs.fetch_add(1, Ordering::Relaxed);
        }
        counts.done.fetch_add(1, Ordering::Relaxed);
    }
}

/// A lake, a pipeline's parts, and what they are compared with.
struct Subject {
    lake: Lake,
    dml: Dml,
    views: Vec<(ViewName, String)>,
    state: std::path::PathBuf,
    workers: usize,
    sink: MemorySink,
    oracle: Oracle,
}

impl Subject {
    async fn open(&self) -> Pipeline {
        let view = |(name, sql): &(ViewName, String)| ViewDef { name: name.clone(), sql: sql.clone(), key: None };
        let views = self.views.iter().map(view).collect();
        let mut config = PipelineConfig::new("sequences".to_owned(), self.state.clone(), views);
        config.workers = Some(self.workers);
        let lake = toml::Table::from_iter([("catalog".to_owned(), self.lake.uri().into())]);
        let lake = DucklakeSource::new("lake", &lake.try_into().unwrap(), Path::new("/")).unwrap();
        let connectors = Connectors {
            sources: vec![SourceSlot { source: Box::new(lake), poll_interval: Duration::from_millis(20), wake: None }],
            sinks: vec![SinkSlot { sink: Box::new(self.sink.clone()), views: None, commits: None }],
            binder: Arc::new(DuckBinder),
        };
        let opened = Pipeline::open(config, connectors, Arc::new(Silent)).await;
        opened.unwrap_or_else(|error| panic!("{}", full(&error)))
    }

    /// What the sink holds is what DuckDB computes.
    fn check(&mut self, epoch: Epoch, what: impl Fn() -> String) {
        let expected = self.oracle.views_over_lake(&self.lake, None, &self.views);
        for ((name, _), expected) in self.views.iter().zip(expected) {
            let what = format!("{}view {name}", what());
            let committed = self.sink.committed(name).unwrap_or_else(|| panic!("{what}: the sink does not hold it"));
            assert_eq!(committed.epoch, epoch, "{what}: the epoch that the sink holds");
            view_rows(&self.sink, name).assert_equals(&expected, &Tolerance::exact(), &what);
        }
    }
}
