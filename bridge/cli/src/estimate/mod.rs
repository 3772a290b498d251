//! What a pipeline will take: bytes of state and log, memory, time of the load and of epochs, from the sizes of its tables and how
//! they change.
//!
//! The files: `flags` and `facts` are what is said and known of the tables, `walk` goes through a view's plan with `relation` (rows on
//! their way), `expressions` (columns, and which of them tell rows apart), `share` (what conditions keep) and `trace` (what operators
//! keep), `coefficients` has the figures, and this file adds up.

mod coefficients;
mod expressions;
mod facts;
mod flags;
#[cfg(test)]
mod page;
mod relation;
mod share;
#[cfg(test)]
mod tests;
mod trace;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;
use tidegate_engine::{Input, Program};

pub use coefficients::{COEFFICIENTS, Coefficients, ERROR, Error};
pub use facts::{Facts, Origin};
pub use flags::{Flags, facts};
use relation::Relation;
use trace::Trace;
use walk::{Walked, walk};

/// Changed rows of the epoch that is told beside the expected one.
const SOME: f64 = 1_000.0;
/// Changed rows of the epochs of a pipeline that is behind: what it can keep up with.
const MANY: f64 = 10_000.0;
/// Changed rows of a commit, where nothing tells how many commits there are.
const COMMIT_ROWS: f64 = 100.0;
const DAY_SECONDS: f64 = 86_400.0;

/// What the pipeline file says that matters here.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub memory_limit: Option<u64>,
    pub log_retention: Duration,
    pub epoch_interval: Duration,
    pub sinks: usize,
}

/// A table with what is kept and logged of it.
#[derive(Debug, Clone, Serialize)]
pub struct TableEstimate {
    pub rows: f64,
    pub rows_from: Origin,
    pub changes_per_day: Option<f64>,
    pub changes_from: Origin,
    /// Of the copy that the engine keeps of tables whose source tells only what changes.
    pub state_bytes: f64,
    pub log_bytes_per_day: Option<f64>,
}

/// One view. What several views share counts for the first of them.
#[derive(Debug, Clone, Serialize)]
pub struct ViewEstimate {
    pub rows: f64,
    pub state_bytes: f64,
    pub memory_bytes: f64,
    pub load_ms: f64,
    pub epoch_1000_ms: f64,
    pub epoch_ms: Option<f64>,
}

/// The pipeline as a whole.
#[derive(Debug, Clone, Serialize)]
pub struct Total {
    pub state_bytes: f64,
    pub memory_bytes: f64,
    /// What the load would have in memory without `memory_limit`.
    pub memory_unlimited_bytes: f64,
    pub log_bytes_per_day: Option<f64>,
    pub log_bytes: Option<f64>,
    pub load_ms: f64,
    pub changes_per_day: Option<f64>,
    pub epochs_per_day: Option<f64>,
    pub epoch_changes: Option<f64>,
    pub epoch_ms: Option<f64>,
    pub epoch_1000_ms: f64,
    pub changes_per_second: f64,
}

/// All of it.
#[derive(Debug, Clone, Serialize)]
pub struct Estimate {
    pub tables: BTreeMap<String, TableEstimate>,
    pub views: BTreeMap<String, ViewEstimate>,
    pub total: Total,
    /// What was taken for granted, and what is not known.
    pub assumptions: Vec<String>,
    pub error: Error,
}

/// Estimates a program. The parts that its views share have been cut out.
pub fn estimate(program: &Program, facts: &Facts, settings: &Settings) -> Estimate {
    let by = &COEFFICIENTS;
    let rate = facts.changes_per_day();
    let commits = facts.commits_per_day(rate);
    let epochs = commits.map(|commits| commits.min(DAY_SECONDS / settings.epoch_interval.as_secs_f64().max(1e-3)));
    let epoch_changes = rate.zip(epochs).map(|(rate, epochs)| if epochs > 0.0 { rate / epochs } else { 0.0 });
    let some = Scenario::walk(program, facts, SOME, by);
    let many = Scenario::walk(program, facts, MANY, by);
    let expected = epoch_changes.map(|changes| Scenario::walk(program, facts, changes, by));

    let tables = tables(program, facts, by, epochs);
    let kept: f64 = tables.values().map(|table| table.state_bytes).sum();
    let kept_memory: f64 = facts.kept().map(|(_, trace)| trace.memory_bytes(by)).sum();
    let unlimited = by.memory_base_bytes + kept_memory + some.sum(|walked| memory(walked, by));
    let memory_bytes = settings.memory_limit.map_or(unlimited, |limit| unlimited.min(limit as f64));
    let spilled = if unlimited > memory_bytes { by.spill_factor } else { 1.0 };
    let sinks = settings.sinks as f64;
    let mut views = BTreeMap::new();
    for (name, walked) in &some.views {
        let ms = |scenario: &Scenario| scenario.views.get(name).map_or(0.0, |walked| walked.epoch_ns / 1e6);
        let written = walked.view.rows * sinks * by.load_sink_ns;
        let estimate = ViewEstimate {
            rows: walked.view.rows,
            state_bytes: state(walked, by),
            memory_bytes: memory(walked, by),
            load_ms: (walked.load_ns * spilled + written) / 1e6,
            epoch_1000_ms: ms(&some),
            epoch_ms: expected.as_ref().map(ms),
        };
        views.insert(name.clone(), estimate);
    }
    let copies: f64 = facts.kept().map(|(_, trace)| trace.rows * by.load_trace_ns).sum::<f64>() * spilled / 1e6;
    let sum = |of: fn(&ViewEstimate) -> f64| views.values().map(of).sum::<f64>();
    let log_bytes_per_day = tables.values().map(|table| table.log_bytes_per_day).sum::<Option<f64>>();
    let total = Total {
        state_bytes: kept + sum(|view| view.state_bytes),
        memory_bytes,
        memory_unlimited_bytes: unlimited,
        log_bytes_per_day,
        log_bytes: log_bytes_per_day.map(|bytes| bytes * settings.log_retention.as_secs_f64() / DAY_SECONDS),
        load_ms: by.load_start_ms + copies + sum(|view| view.load_ms),
        changes_per_day: rate,
        epochs_per_day: epochs,
        epoch_changes,
        epoch_ms: expected.as_ref().map(Scenario::ms),
        epoch_1000_ms: some.ms(),
        changes_per_second: MANY / many.ms().max(1e-3) * 1e3,
    };
    let mut assumptions: BTreeSet<String> = facts.assumptions(&commits);
    assumptions.extend(some.views.values().flat_map(|walked| walked.assumptions.iter().cloned()));
    let assumptions = assumptions.into_iter().collect();
    Estimate { tables, views, total, assumptions, error: ERROR }
}

/// The views in an epoch with so many changed rows in all tables together.
struct Scenario {
    views: BTreeMap<String, Walked>,
    /// Of the tables whose rows the engine keeps.
    tables_ns: f64,
}

impl Scenario {
    fn walk(program: &Program, facts: &Facts, changes: f64, by: &Coefficients) -> Scenario {
        let mut inputs: BTreeMap<Input, Relation> = facts.relations(changes);
        let mut views: BTreeMap<String, Walked> = BTreeMap::new();
        for circuit in program.circuits() {
            let said = facts.said(circuit.origin().as_str());
            let mut walked = walk(circuit, &inputs, said, by);
            inputs.insert(Input::View(circuit.info.name.clone()), walked.view.clone());
            let sum = views.entry(circuit.origin().to_string()).or_default();
            if circuit.is_view() {
                std::mem::swap(&mut sum.view, &mut walked.view);
            }
            sum.traces.append(&mut walked.traces);
            sum.load_ns += walked.load_ns;
            sum.epoch_ns += walked.epoch_ns;
            sum.assumptions.append(&mut walked.assumptions);
        }
        let kept = facts.kept().filter_map(|(table, _)| inputs.get(&Input::Table(table.clone())));
        let tables_ns = kept.map(|relation| relation.changes * by.epoch_trace_ns).sum();
        Scenario { views, tables_ns }
    }

    fn sum(&self, of: impl Fn(&Walked) -> f64) -> f64 {
        self.views.values().map(of).sum()
    }

    /// Of the whole epoch.
    fn ms(&self) -> f64 {
        (self.sum(|walked| walked.epoch_ns) + self.tables_ns) / 1e6
    }
}

fn state(walked: &Walked, by: &Coefficients) -> f64 {
    walked.traces.iter().map(|trace| trace.state_bytes(by)).sum()
}

fn memory(walked: &Walked, by: &Coefficients) -> f64 {
    walked.traces.iter().map(|trace| trace.memory_bytes(by)).sum()
}

fn tables(program: &Program, facts: &Facts, by: &Coefficients, epochs: Option<f64>) -> BTreeMap<String, TableEstimate> {
    let kept: BTreeMap<_, Trace> = facts.kept().map(|(name, trace)| (name.clone(), trace)).collect();
    let all = facts.changes_per_day();
    let of = |table: &tidegate_core::TableSchema| {
        let known = facts.table(&table.name)?;
        let columns = table.columns.fields().len() as f64;
        // An epoch has the tables that changed in it: a table that has a tenth of all changes is in a tenth of the epochs.
        let share = known.changes.zip(all).map(|(own, all)| if all > 0.0 { own / all } else { 0.0 });
        let record = by.log_record_bytes + by.log_table_bytes + columns * by.log_column_bytes;
        let log = known.changes.zip(epochs).zip(share);
        let log = log.map(|((changes, epochs), share)| changes * known.log_row_bytes + epochs * share * record);
        let estimate = TableEstimate {
            rows: known.rows,
            rows_from: known.rows_from,
            changes_per_day: known.changes,
            changes_from: known.changes_from,
            state_bytes: kept.get(&table.name).map_or(0.0, |trace| trace.state_bytes(by)),
            log_bytes_per_day: log,
        };
        Some((table.name.to_string(), estimate))
    };
    program.tables().iter().filter_map(of).collect()
}
