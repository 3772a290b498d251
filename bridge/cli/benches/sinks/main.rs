//! What the sinks take to write: the first load of 10 million rows next to DuckDB writing the same
//! rows into the same format in the same run, and milliseconds an epoch of 1, 1,000 and 100,000
//! changed keys on tables of 10 thousand, 1 million and 10 million rows. Each sink is driven alone,
//! through its trait, with rows that were made before.
//!
//! `sinks [NAME …]` measures only these; `TIDEGATE_BENCH_SCALE` is a factor on all numbers of rows.

mod candidates;
mod orders;

use std::path::Path;

use arrow::array::RecordBatch;
use tidegate_core::{Commit, CommitOutcome, Sink, ViewInfo};
use tidegate_duck::{Duck, quote_literal};
use tidegate_testkit::bench::{Report, median, timed};
use tokio::runtime::Runtime;

use crate::candidates::{CANDIDATES, Candidate};
use crate::orders::{Table, content, load, view};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LOAD_ROWS: u64 = 10_000_000;
const TABLES: [u64; 3] = [10_000, 1_000_000, 10_000_000];
/// Changed keys of an epoch, and how many epochs are measured.
const EPOCHS: [(u64, u64); 3] = [(1, 15), (1_000, 9), (100_000, 5)];
/// How often each load is measured; the best counts, ours and theirs.
const LOADS: usize = 2;
/// A load may take this many times as long as DuckDB alone.
const LOAD_LIMIT: f64 = 2.0;
/// How much longer an epoch of one change may take on the largest table than on the smallest, for
/// formats that allow it.
const GROWTH_LIMIT: f64 = 4.0;

struct Bench {
    runtime: Runtime,
    report: Report,
    scale: f64,
}

impl Bench {
    fn scaled(&self, rows: u64) -> u64 {
        ((rows as f64 * self.scale) as u64).max(1)
    }

    /// Commits and answers the milliseconds.
    fn commit(&self, sink: &mut dyn Sink, commit: Commit) -> f64 {
        let (ms, outcome) = timed(|| self.runtime.block_on(sink.commit(commit)).expect("the commit"));
        assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
        ms
    }

    fn opened(&self, candidate: &Candidate, view: &ViewInfo, folder: &Path) -> Box<dyn Sink> {
        let mut sink = (candidate.make)(folder);
        self.runtime.block_on(sink.open(std::slice::from_ref(view))).expect("the sink opens");
        sink
    }

    /// The first load, in the order of the key and in none.
    fn loads(&mut self, candidate: &Candidate) {
        let view = view();
        let count = self.scaled(LOAD_ROWS);
        let in_order = content(&view, 0..count);
        let anyhow = content(&view, (0..count).map(|n| (n * 2_654_435_761) % count));
        for (order, batches) in [("in key order", in_order), ("in no order", anyhow)] {
            let (mut ours, mut theirs) = (f64::INFINITY, f64::INFINITY);
            for _ in 0..LOADS {
                let folder = tempfile::tempdir().expect("a folder");
                let parquet = folder.path().join("rows.parquet");
                write(&parquet, &batches);
                let duck = Duck::open_in_memory().expect("DuckDB opens");
                let rows = format!("read_parquet({})", quote_literal(&parquet.to_string_lossy()));
                theirs = timed(|| (candidate.reference)(&duck, &rows, folder.path())).0.min(theirs);
                drop(duck);
                let target = folder.path().join("target");
                std::fs::create_dir(&target).expect("a folder");
                let mut sink = self.opened(candidate, &view, &target);
                ours = self.commit(sink.as_mut(), load(&view, &batches)).min(ours);
            }
            let krows = |ms: f64| count as f64 / ms;
            self.report.measure(
                format!("{}: load of {count} rows {order}", candidate.name),
                &[
                    ("load_ms", ours),
                    ("krows_per_s", krows(ours)),
                    ("reference_ms", theirs),
                    ("reference_krows_per_s", krows(theirs)),
                ],
            );
            let against = candidate.reference_name;
            let gate = format!("{}: load {order}, time against DuckDB's {against}", candidate.name);
            self.report.gate(gate, ours / theirs, LOAD_LIMIT);
        }
    }

    /// Epochs of all sizes on tables of all sizes.
    fn epochs(&mut self, candidate: &Candidate) {
        let mut single = Vec::new();
        for rows in TABLES {
            let (count, view) = (self.scaled(rows), view());
            let folder = tempfile::tempdir().expect("a folder");
            let mut sink = self.opened(candidate, &view, folder.path());
            self.commit(sink.as_mut(), load(&view, &content(&view, 0..count)));
            let mut table = Table::new(view, count);
            for (changes, rounds) in EPOCHS {
                let changes = self.scaled(changes);
                let times: Vec<f64> =
                    (0..rounds).map(|round| self.commit(sink.as_mut(), table.change(changes, round))).collect();
                let (least, most) =
                    (times.iter().copied().fold(f64::INFINITY, f64::min), times.iter().copied().fold(0.0, f64::max));
                let epoch_ms = median(times);
                if changes == 1 {
                    // The best round: the others show what else the machine does.
                    single.push(least);
                }
                self.report.measure(
                    format!("{}: {count} rows, {changes} changed", candidate.name),
                    &[("epoch_ms", epoch_ms), ("least_ms", least), ("most_ms", most)],
                );
            }
        }
        if let (true, [smallest, .., largest]) = (candidate.flat, single.as_slice()) {
            let gate = format!("{}: epoch of one change, largest / smallest table", candidate.name);
            self.report.gate(gate, largest / smallest, GROWTH_LIMIT);
        }
    }
}

/// The rows as a Parquet file, for DuckDB.
fn write(path: &Path, batches: &[RecordBatch]) {
    let file = std::fs::File::create(path).expect("a file");
    let schema = batches.first().expect("a load has rows").schema();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, schema, None).expect("a Parquet writer");
    batches.iter().for_each(|batch| writer.write(batch).expect("the rows are written"));
    writer.close().expect("the file is written");
}

fn main() -> std::process::ExitCode {
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let unknown = asked.iter().find(|asked| CANDIDATES.iter().all(|candidate| candidate.name != **asked));
    if let Some(unknown) = unknown {
        let names: Vec<_> = CANDIDATES.iter().map(|candidate| candidate.name).collect();
        eprintln!("no sink is called {unknown}: there are {}", names.join(", "));
        std::process::exit(2);
    }
    let scale = std::env::var("TIDEGATE_BENCH_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    let versions = [("duckdb", "1.5.5"), ("arrow", "58"), ("parquet", "58"), ("deltalake", "0.32")];
    let report = Report::new("sinks", &versions);
    let mut bench = Bench { runtime: Runtime::new().expect("the runtime starts"), report, scale };
    for candidate in CANDIDATES.iter().filter(|c| asked.is_empty() || asked.iter().any(|asked| asked == c.name)) {
        bench.loads(candidate);
        bench.epochs(candidate);
    }
    bench.report.finish()
}
