//! The stages of a row's way, from what the pipeline logged.

use std::time::SystemTime;

use tidegate_testkit::bench::percentile;

use crate::SINKS;
use crate::journal::{self, Entry, What, ms_between, stepped};

/// What one commit waited for, in milliseconds.
pub struct Waited {
    /// Until it was read, stepped, and in each sink.
    pub since_commit: [f64; 4],
    /// What the stages took, each by itself.
    pub by_stage: [f64; 4],
    epoch: u64,
}

/// What the stages lead to, and what they are.
pub const REACHED: [&str; 4] =
    ["the source has read it", "the views have followed it", "its changes are in the JSON lines", "it is in the mart"];
const STAGES: [&str; 4] = [
    "source: one poll of the catalog, with the row",
    "log and engine: durable, and the views stepped",
    "JSON lines: a commit",
    "mart: a commit into the DuckDB file",
];

/// What a commit waited for, when it is in every sink; it made a snapshot, and this is when the writer had it.
pub fn waited(entries: &[Entry], snapshot: u64, committed: SystemTime) -> Option<Waited> {
    let (read, took) = entries.iter().find_map(|entry| match entry.what {
        What::Read { snapshot: at, changed: true, took } if at >= snapshot => Some((entry.at, took)),
        _ => None,
    })?;
    let (stepped, epoch, _) = stepped(entries, snapshot)?;
    let held = |name: &str| journal::committed(entries, name, epoch);
    let [changes, mart] = [held(SINKS[0])?, held(SINKS[1])?];
    Some(Waited {
        since_commit: [read, stepped, changes, mart].map(|at| ms_between(committed, at)),
        by_stage: [
            took.as_secs_f64() * 1e3,
            ms_between(read, stepped),
            ms_between(stepped, changes),
            ms_between(stepped, mart),
        ],
        epoch,
    })
}

/// What was measured, as tables.
pub struct Measured {
    pub since_commit: Vec<Vec<String>>,
    pub by_stage: Vec<Vec<String>>,
    /// How many epochs the commits made.
    pub epochs: u64,
}

/// Measures, when every commit is in every sink; `commits` are snapshots, and when the writer had them.
pub fn measure(entries: &[Entry], commits: &[(u64, SystemTime)]) -> Option<Measured> {
    let all: Vec<Waited> =
        commits.iter().map(|&(snapshot, at)| waited(entries, snapshot, at)).collect::<Option<_>>()?;
    let mut epochs: Vec<u64> = all.iter().map(|waited| waited.epoch).collect();
    epochs.dedup();
    Some(Measured {
        since_commit: lines("", &REACHED, |place| all.iter().map(|waited| waited.since_commit[place]).collect()),
        by_stage: lines("stage", &STAGES, |place| all.iter().map(|waited| waited.by_stage[place]).collect()),
        epochs: epochs.len() as u64,
    })
}

fn lines(first: &str, titles: &[&str], times: impl Fn(usize) -> Vec<f64>) -> Vec<Vec<String>> {
    let mut lines = vec![[first, "p50", "p90", "p99", "most"].map(str::to_owned).to_vec()];
    for (place, title) in titles.iter().enumerate() {
        let mut times = times(place);
        times.sort_by(f64::total_cmp);
        let figures = [0.5, 0.9, 0.99, 1.0].map(|share| format!("{:.1} ms", percentile(&times, share)));
        lines.push([vec![(*title).to_owned()], figures.to_vec()].concat());
    }
    lines
}
