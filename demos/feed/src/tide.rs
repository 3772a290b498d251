//! Tidegate, by what a running pipeline logs of its work.

use anyhow::Result;

use crate::journal::{Entry, Journal, What, committed, ms_between, stepped};

/// The sink of the pipeline file.
const MART: &str = "mart";

/// What following a change took.
#[derive(Default)]
pub struct Tide {
    pub read_ms: f64,
    /// Making it durable, and the maintenance of the view.
    pub step_ms: f64,
    pub commit_ms: f64,
    /// Changed rows that were read.
    pub rows: u64,
}

impl Tide {
    /// From the poll to the mart.
    pub fn total_ms(&self) -> f64 {
        self.read_ms + self.step_ms + self.commit_ms
    }
}

/// Waits until the first load is in the mart.
pub fn until_loaded(bridge: &mut Journal) -> Result<()> {
    bridge.wait("the first load", |entries| committed(entries, MART, 0)).map(drop)
}

/// Waits until a snapshot was read, and what changed is in the mart.
pub fn until_followed(bridge: &mut Journal, snapshot: u64) -> Result<Tide> {
    bridge.wait(&format!("snapshot {snapshot}"), |entries| followed(entries, snapshot))
}

/// Where nothing changed there is no epoch, and reading is all.
fn followed(entries: &[Entry], snapshot: u64) -> Option<Tide> {
    let (read, changed, took) = entries.iter().find_map(|entry| match entry.what {
        What::Read { snapshot: at, changed, took } if at >= snapshot => Some((entry.at, changed, took)),
        _ => None,
    })?;
    let read_ms = took.as_secs_f64() * 1e3;
    if !changed {
        return Some(Tide { read_ms, step_ms: 0.0, commit_ms: 0.0, rows: 0 });
    }
    let (stepped, epoch, rows) = stepped(entries, snapshot)?;
    let committed = committed(entries, MART, epoch)?;
    let (step_ms, commit_ms) = (ms_between(read, stepped), ms_between(stepped, committed));
    Some(Tide { read_ms, step_ms, commit_ms, rows })
}
