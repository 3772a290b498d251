//! What it costs a commit of the DuckDB sink that the view keeps its history. The same changes go to a file with one and
//! to a file without, in turns.

use std::path::Path;
use std::sync::Arc;

use tidegate_core::{Commit, CommitOutcome, History, Micros, Sink, ViewInfo};
use tidegate_sink_duckdb::{DuckdbConfig, DuckdbSink};
use tidegate_testkit::bench::{median, settle, timed};
use tokio::runtime::Runtime;

use crate::Bench;
use crate::orders::{Table, content, load, view};

const ROWS: u64 = 1_000_000;
/// Changed keys of a commit, and how many are measured.
const COMMITS: [(u64, u64); 3] = [(1, 31), (1_000, 15), (100_000, 9)];
/// A commit may take this many times as long with a history.
const LIMIT: f64 = 1.5;

/// A sink with a view and what happened to it.
struct Side {
    sink: DuckdbSink,
    table: Table,
}

impl Side {
    /// Loads the rows; answers how long that took, too.
    fn new(runtime: &Runtime, folder: &Path, view: &ViewInfo, rows: u64) -> (Side, f64) {
        let name = if view.history.is_some() { "temporal.duckdb" } else { "plain.duckdb" };
        let mut sink = DuckdbSink::new("mart", DuckdbConfig::new(folder.join(name)), Arc::new(|| Micros(0)));
        runtime.block_on(sink.open(std::slice::from_ref(view))).expect("the sink opens");
        let load_ms = commit(runtime, &mut sink, load(view, &content(view, 0..rows)));
        (Side { sink, table: Table::new(view.clone(), rows) }, load_ms)
    }

    fn change(&mut self, runtime: &Runtime, changes: u64, round: u64) -> f64 {
        let change = self.table.change(changes, round);
        commit(runtime, &mut self.sink, change)
    }
}

fn commit(runtime: &Runtime, sink: &mut DuckdbSink, commit: Commit) -> f64 {
    let (ms, outcome) = timed(|| runtime.block_on(sink.commit(commit)).expect("the commit"));
    assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
    ms
}

pub fn measure(bench: &mut Bench) {
    let folder = tempfile::tempdir().expect("a folder");
    let rows = bench.scaled(ROWS);
    let runtime = &bench.runtime;
    let kept = ViewInfo { history: Some(History::default()), ..view() };
    let (mut plain, plain_load) = Side::new(runtime, folder.path(), &view(), rows);
    let (mut temporal, temporal_load) = Side::new(runtime, folder.path(), &kept, rows);
    let figures = |plain: f64, temporal: f64, ratio: f64| {
        [("plain_ms", plain), ("temporal_ms", temporal), ("temporal_to_plain", ratio)]
    };
    let loads = figures(plain_load, temporal_load, temporal_load / plain_load);
    bench.report.measure(format!("temporal, load of {rows} rows"), &loads);
    for (changes, rounds) in COMMITS {
        let changes = bench.scaled(changes);
        let (mut without, mut with, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..rounds {
            settle();
            let (one, other) = match round % 2 {
                0 => {
                    let one = plain.change(runtime, changes, round);
                    (one, temporal.change(runtime, changes, round))
                }
                _ => {
                    let other = temporal.change(runtime, changes, round);
                    (plain.change(runtime, changes, round), other)
                }
            };
            without.push(one);
            with.push(other);
            ratios.push(other / one);
        }
        let ratio = median(ratios);
        let case = format!("temporal, {rows} rows, {changes} changed");
        bench.report.measure(case, &figures(median(without), median(with), ratio));
        bench.report.gate(format!("{changes} changed with a history / without"), ratio, LIMIT);
    }
}
