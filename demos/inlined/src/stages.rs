//! The stages of a row's way, from what the pipeline logged.

use std::time::SystemTime;

use tidegate_testkit::bench::percentile;

use crate::SINKS;
use crate::journal::{self, Entry, What, ms_between, stepped};

/// What was measured, as tables.
pub struct Measured {
    pub since_commit: Vec<Vec<String>>,
    pub by_stage: Vec<Vec<String>>,
    /// How many epochs the commits made.
    pub epochs: u64,
}

/// Measures, when every commit is in every sink; `commits` are snapshots, and when the writer had them.
pub fn measure(entries: &[Entry], commits: &[(u64, SystemTime)]) -> Option<Measured> {
    let mut since_commit = [const { Vec::new() }; 4];
    let mut by_stage = [const { Vec::new() }; 4];
    let mut epochs = Vec::new();
    for &(snapshot, committed) in commits {
        let (read, took) = entries.iter().find_map(|entry| match entry.what {
            What::Read { snapshot: at, changed: true, took } if at >= snapshot => Some((entry.at, took)),
            _ => None,
        })?;
        let (stepped, epoch, _) = stepped(entries, snapshot)?;
        let held = |name: &str| journal::committed(entries, name, epoch);
        let [changes, mart] = [held(SINKS[0])?, held(SINKS[1])?];
        for (times, at) in since_commit.iter_mut().zip([read, stepped, changes, mart]) {
            times.push(ms_between(committed, at));
        }
        let stages = [
            took.as_secs_f64() * 1e3,
            ms_between(read, stepped),
            ms_between(stepped, changes),
            ms_between(stepped, mart),
        ];
        by_stage.iter_mut().zip(stages).for_each(|(times, time)| times.push(time));
        epochs.push(epoch);
    }
    epochs.dedup();
    let reached = [
        "the source has read it",
        "the views have followed it",
        "its changes are in the JSON lines",
        "it is in the mart",
    ];
    let stages = [
        "source: one poll of the catalog, with the row",
        "log and engine: durable, and the views stepped",
        "JSON lines: a commit",
        "mart: a commit into the DuckDB file",
    ];
    Some(Measured {
        since_commit: lines("", &reached, since_commit),
        by_stage: lines("stage", &stages, by_stage),
        epochs: epochs.len() as u64,
    })
}

fn lines(first: &str, titles: &[&str], times: [Vec<f64>; 4]) -> Vec<Vec<String>> {
    let mut lines = vec![[first, "p50", "p90", "p99", "most"].map(str::to_owned).to_vec()];
    for (title, mut times) in titles.iter().zip(times) {
        times.sort_by(f64::total_cmp);
        let figures = [0.5, 0.9, 0.99, 1.0].map(|share| format!("{:.1} ms", percentile(&times, share)));
        lines.push([vec![(*title).to_owned()], figures.to_vec()].concat());
    }
    lines
}
