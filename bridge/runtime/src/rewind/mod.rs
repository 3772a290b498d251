//! Going back on purpose. The views become what they were at an earlier epoch, as a new epoch, so that whoever follows their
//! changes stays right. What the log holds after that point is gone through again by the next runs, as new epochs; or it is left
//! out, and lakes are read again from there.
//!
//! There are two ways back, and both lead to the same state. Rows with weights are taken back in place: the work follows what
//! came since. Otherwise an engine is forked from the newest checkpoint at or before the target and brought there by the log;
//! the work is bounded by the ladder of checkpoints, and the difference is found by comparing the views.
//!
//! Nothing has happened until the checkpoint of the new epoch is published, by one rename.

mod again;
mod back;
mod branch;
mod lineage;
mod target;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tidegate_core::{Epoch, Frontier, ViewName};

use crate::observer::Observer;
use crate::summary::milliseconds;
use crate::time_map::Moment;
use crate::{Connectors, PipelineConfig, RuntimeError, recovery};

pub use branch::{BranchOf, BranchSummary, branch};

/// How to go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RewindWay {
    /// Take back what came since, in place.
    Undo,
    /// From a checkpoint, by the log.
    Replay,
}

/// What is wanted besides the target.
#[derive(Debug, Clone, Default)]
pub struct RewindOptions {
    /// Leave out what the log holds of lakes after the target: they are read again from there.
    pub discard_after: bool,
    /// `None`: the cheaper one.
    pub way: Option<RewindWay>,
}

/// What a rewind did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RewindSummary {
    /// The epoch that the views are as of.
    pub to: Epoch,
    /// The epoch that this is now.
    pub epoch: Epoch,
    /// Where the sources stood.
    pub frontier: Frontier,
    /// Changed rows of each view, counting copies.
    pub view_rows: BTreeMap<ViewName, u64>,
    /// Epochs of the log that the next runs go through again.
    pub replays: usize,
    /// Which way it went.
    pub way: RewindWay,
    /// Epochs that were replayed or taken back to get there.
    pub distance: usize,
    /// Wall time.
    #[serde(serialize_with = "milliseconds")]
    pub elapsed_ms: Duration,
}

/// Takes the views back to `target`.
pub async fn rewind(
    config: PipelineConfig,
    connectors: Connectors,
    target: &Moment,
    options: &RewindOptions,
    observer: Arc<dyn Observer>,
) -> Result<RewindSummary, RuntimeError> {
    let started = Instant::now();
    let mut pipeline = recovery::open(config, connectors, observer, None, None).await?;
    let summary = pipeline.go_back(target, options).await?;
    Ok(RewindSummary { elapsed_ms: started.elapsed(), ..summary })
}
