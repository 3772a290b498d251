//! What a pipeline is made of: its settings, its connectors, and how long it shall run.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::{Binder, Epoch, Frontier, History, Sink, Source, ViewName};
use tidegate_engine::ViewDef;
use tokio::sync::{Notify, watch};

use crate::{Clock, Commits, LogLocation, ReadBack};

/// The settings of a pipeline.
#[derive(Debug, Clone)]
pub struct PipelineConfig {
    /// The name, which the state folder remembers.
    pub name: String,
    /// Logs, checkpoints and engine state.
    pub state_dir: PathBuf,
    /// The views.
    pub views: Vec<ViewDef>,
    /// The views of which targets keep the past too, and for how long.
    pub histories: BTreeMap<ViewName, History>,
    /// What sinks write and sources read: no view may come to read itself that way.
    pub read_backs: Vec<ReadBack>,
    /// Whether this is a branch of another pipeline: its state folder has been made by [`branch`](crate::branch()).
    pub is_branch: bool,
    /// Where the input log lies.
    pub log: LogLocation,
    /// How long log records are kept that recovery no longer needs.
    pub log_retention: Duration,
    /// The shortest time between two epochs under load.
    pub epoch_interval: Duration,
    /// Worker threads of each view's circuit. `None`: those of the state, and one for a new one.
    pub workers: Option<usize>,
    /// Bytes of engine memory beyond which state goes to disk.
    pub memory_limit: Option<u64>,
    /// How long `--once` goes on trying a source or sink that answers `Retry`.
    pub retry_for: Duration,
    /// About how many rows one poll of a source offers.
    pub epoch_rows_max: u64,
    /// Bytes of an epoch's events that are held in memory; more goes through a file.
    pub staging_bytes_max: u64,
    /// Bytes of deltas that wait for a sink in memory; more goes to the delta log.
    pub pending_bytes_max: u64,
    /// Bytes of deltas that are kept for one sink that is behind.
    pub sink_lag_max: u64,
    /// What happens when a sink fails for good, or is further behind than that.
    pub on_sink_failure: OnSinkFailure,
    /// The longest time between two checkpoints while epochs are made.
    pub checkpoint_interval: Duration,
    /// Epochs after which a checkpoint is taken.
    pub checkpoint_epochs: u64,
    /// Bytes of input log after which a checkpoint is taken.
    pub checkpoint_log_bytes: u64,
    /// The wall clock: for retention and for people. Nothing is computed from it but the time of epochs where
    /// views read that, which the log records.
    pub clock: Clock,
}

impl PipelineConfig {
    /// The documented defaults.
    pub fn new(name: impl Into<String>, state_dir: impl Into<PathBuf>, views: Vec<ViewDef>) -> Self {
        PipelineConfig {
            name: name.into(),
            state_dir: state_dir.into(),
            views,
            histories: BTreeMap::new(),
            read_backs: Vec::new(),
            is_branch: false,
            log: LogLocation::StateDir,
            log_retention: Duration::from_secs(7 * 24 * 60 * 60),
            epoch_interval: Duration::from_millis(200),
            workers: None,
            memory_limit: None,
            retry_for: Duration::from_secs(10),
            epoch_rows_max: 500_000,
            staging_bytes_max: 128 << 20,
            pending_bytes_max: 64 << 20,
            sink_lag_max: 4 << 30,
            on_sink_failure: OnSinkFailure::Pause,
            checkpoint_interval: Duration::from_secs(60),
            checkpoint_epochs: 64,
            checkpoint_log_bytes: 256 << 20,
            clock: Clock::default(),
        }
    }
}

/// What happens when a sink fails for good, or lacks more than [`PipelineConfig::sink_lag_max`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnSinkFailure {
    /// Nobody loses anything: one that fails for good stops the pipeline, and for one that is too far behind
    /// the sources wait.
    #[default]
    Pause,
    /// The others go on without it, and what it lacks is not kept any longer, until somebody brings it in line with
    /// `resync`. For one that is merely slow the sources wait all the same.
    Detach,
}

/// A source and how often to ask it.
pub struct SourceSlot {
    /// The connector.
    pub source: Box<dyn Source>,
    /// The time between two polls that find nothing.
    pub poll_interval: Duration,
    /// Whoever knows that something has arrived notifies this (`notify_one`), and the source is polled
    /// at once. `None`: it is only asked from time to time.
    pub wake: Option<Arc<Notify>>,
}

/// A sink, which views it takes, and how often it commits.
pub struct SinkSlot {
    /// The connector.
    pub sink: Box<dyn Sink>,
    /// `None`: all views.
    pub views: Option<Vec<ViewName>>,
    /// `None`: as often as is the sink's own default.
    pub commits: Option<Commits>,
}

/// Everything outside.
pub struct Connectors {
    /// The sources.
    pub sources: Vec<SourceSlot>,
    /// The sinks.
    pub sinks: Vec<SinkSlot>,
    /// Names and types the views' columns.
    pub binder: Arc<dyn Binder>,
}

/// How long a pipeline runs.
#[derive(Debug, Clone, PartialEq)]
pub enum RunUntil {
    /// Until the sources' positions of the moment it began.
    Once,
    /// Until it is stopped.
    Stopped,
    /// Until a frontier, for which sources that have not come as far are waited. Sources that it does not name are read up to
    /// where they stand at the beginning.
    Frontier(Frontier),
    /// Until an epoch.
    Epoch(Epoch),
}

/// Asks a running pipeline to stop after the present epoch. Clones are the same signal.
#[derive(Clone)]
pub struct StopSignal(Arc<watch::Sender<bool>>);

impl StopSignal {
    /// A signal that has not been given.
    pub fn new() -> Self {
        StopSignal(Arc::new(watch::Sender::new(false)))
    }

    /// Gives it.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    /// Whether it was given.
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when it is given.
    pub async fn stopped(&self) {
        let mut receiver = self.0.subscribe();
        // The sender lives as long as `self`.
        let _ = receiver.wait_for(|stopped| *stopped).await;
    }
}

impl Default for StopSignal {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StopSignal({})", self.is_stopped())
    }
}
