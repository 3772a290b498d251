//! Where a pipeline stands, for people and programs; `status.json` keeps it for when no process runs.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tidegate_core::{Epoch, Frontier, Position, ViewName};

use crate::delivery::Aside;
use crate::lock::Lock;
use crate::observer::Progress;
use crate::pipeline::Pipeline;
use crate::{RuntimeError, durable};

/// Where a pipeline stands, as `status --json` prints it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The pipeline's name.
    pub pipeline: String,
    /// The last epoch.
    pub epoch: Epoch,
    /// Where the sources have been read.
    pub frontier: Frontier,
    /// The last epoch's time.
    pub committed_at: Option<String>,
    /// The past that is gone through again after a rewind, as long as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplayStatus>,
    /// Whether a process works on it.
    pub running: bool,
    /// By source.
    pub sources: BTreeMap<String, SourceStatus>,
    /// By view.
    pub views: BTreeMap<ViewName, ViewStatus>,
    /// By sink.
    pub sinks: BTreeMap<String, SinkStatus>,
}

/// How far a past has been gone through again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayStatus {
    /// The epoch of the past that the last one stands for.
    pub done: Epoch,
    /// The last epoch of that past.
    pub until: Epoch,
}

/// Where a source stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// How far it was read.
    pub position: Option<Position>,
    /// How far that was behind its end when it was last looked at.
    pub lag: Lag,
    /// How it fares.
    #[serde(default)]
    pub state: SourceState,
    /// What it said last, if it fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When the source committed that position, by its own clock: the latest commit of those that were read with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed_at: Option<String>,
    /// From where it could still be read then, where the source forgets without asking who has read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Position>,
    /// When the source committed that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_committed_at: Option<String>,
    /// How long that was before the position that had been read then, in milliseconds; nothing where the clock went backwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_ms: Option<u64>,
}

/// How a source fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    /// It answers.
    #[default]
    Ok,
    /// It failed, and is tried again.
    Failing,
}

/// A distance between two positions; empty when the end is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lag {
    /// Of a lake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshots: Option<u64>,
    /// Of a WAL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Milliseconds since the source committed what was read last, while there is more to read; 0 without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
}

/// How a view fares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewStatus {
    /// How it is maintained.
    pub mode: String,
    /// Its rows, counting copies.
    pub rows: u64,
    /// Steps that followed the change alone, since it was last built.
    pub incremental_steps: u64,
    /// How often it was computed as a whole: once when it was new, and each time it was built anew.
    pub full_steps: u64,
    /// Its state on disk.
    pub state_bytes: u64,
}

/// Where a sink stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkStatus {
    /// The last epoch it holds of every view.
    pub epoch: Option<Epoch>,
    /// Epochs it lacks.
    pub behind: u64,
    /// Bytes of changes that are kept for it.
    #[serde(default)]
    pub behind_bytes: u64,
    /// How it fares.
    #[serde(default)]
    pub state: SinkState,
    /// When it commits next, if it has a schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_commit: Option<String>,
    /// What it said last, if it failed, or why it is detached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How a sink fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SinkState {
    /// It takes what it is given.
    #[default]
    Attached,
    /// It failed, and is tried again.
    Failing,
    /// It gets nothing until it is resynced.
    Detached,
}

impl Pipeline {
    /// Where it stands now.
    pub fn status(&self) -> Status {
        let epoch = self.epoch();
        let source = |feed: &crate::feed::Feed| {
            let position = self.positions.get(feed.id()).copied();
            let committed_at = position.and_then(|at| feed.committed_at(&at));
            let ago = committed_at.and_then(|time| self.config.clock.now().since(time));
            let lag = position.zip(feed.head).map(|(at, head)| lag(&at, &head, ago)).unwrap_or_default();
            let committed_at = committed_at.map(|time| time.to_string());
            let horizon = feed.horizon;
            let oldest_at = horizon.and_then(|horizon| horizon.oldest_at);
            let kept = horizon.and_then(|horizon| horizon.read_at?.since(horizon.oldest_at?));
            let state = if feed.trouble.is_some() { SourceState::Failing } else { SourceState::Ok };
            let status = SourceStatus {
                position,
                lag,
                state,
                error: feed.trouble.as_ref().map(|trouble| trouble.error.clone()),
                committed_at,
                oldest: horizon.map(|horizon| horizon.oldest),
                oldest_committed_at: oldest_at.map(|time| time.to_string()),
                kept_ms: kept.and_then(|kept| u64::try_from(kept.as_millis()).ok()),
            };
            (feed.id().name.clone(), status)
        };
        let view = |stats: tidegate_engine::ViewStats| {
            let status = ViewStatus {
                mode: "incremental".to_owned(),
                rows: stats.rows,
                incremental_steps: stats.steps,
                full_steps: stats.full_steps,
                state_bytes: stats.state_bytes,
            };
            (stats.view, status)
        };
        let sink = |driver: &crate::delivery::Driver| {
            let held = driver.epoch();
            let behind = epoch.0.saturating_sub(held.unwrap_or_default().0);
            let (state, error) = match (&driver.aside, &driver.trouble) {
                (Some(Aside::Detached(reason)), _) => (SinkState::Detached, Some(reason.clone())),
                (_, Some(trouble)) => (SinkState::Failing, Some(tidegate_core::chain(&trouble.error))),
                _ => (SinkState::Attached, None),
            };
            let behind_bytes = driver.floor().map_or(0, |floor| self.pending.bytes_after(floor));
            let next_commit = driver.pace.next_moment().map(|moment| moment.to_string());
            (driver.name.clone(), SinkStatus { epoch: held, behind, behind_bytes, state, next_commit, error })
        };
        Status {
            pipeline: self.config.name.clone(),
            epoch,
            frontier: self.positions.clone(),
            committed_at: self.header().map(|header| header.time.to_string()),
            replay: self.replay_under_way().map(|replay| ReplayStatus { done: replay.done, until: replay.until }),
            running: true,
            sources: self.feeds.iter().map(source).collect(),
            views: self.engine.stats().into_iter().map(view).collect(),
            sinks: self.drivers.iter().map(sink).collect(),
        }
    }

    /// Writes the status down.
    pub(crate) async fn write_status(&mut self) -> Result<(), RuntimeError> {
        self.status_at = Some(Instant::now());
        let status = self.status();
        self.observer.notify(Progress::Status(&status));
        durable::write_json(&self.config.state_dir.join("status.json"), &status)
    }
}

/// The status of a state folder, whether or not a process works on it; `None` before the first
/// load.
pub fn read_status(state_dir: &Path) -> Result<Option<Status>, RuntimeError> {
    let path = state_dir.join("status.json");
    let status: Option<Status> = durable::read_json(&path, "remove it: the next run writes it anew")?;
    Ok(status.map(|status| Status { running: Lock::is_held(state_dir), ..status }))
}

fn lag(at: &Position, head: &Position, ago: Option<Duration>) -> Lag {
    let lag = match (at, head) {
        (Position::SnapshotId(at), Position::SnapshotId(head)) => {
            Lag { snapshots: Some(head.0.saturating_sub(at.0)), ..Lag::default() }
        }
        (Position::Lsn(at), Position::Lsn(head)) => Lag { bytes: Some(head.0.saturating_sub(at.0)), ..Lag::default() },
        _ => return Lag::default(),
    };
    let ago = ago.and_then(|ago| u64::try_from(ago.as_millis()).ok());
    Lag { ms: if lag.snapshots.or(lag.bytes) == Some(0) { Some(0) } else { ago }, ..lag }
}
