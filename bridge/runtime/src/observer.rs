//! What a pipeline tells while it works, for progress bars and for tests.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidegate_core::{Epoch, EpochHeader, SourceId, ViewDelta, ViewName};
use tidegate_engine::Program;

use crate::status::Status;
use crate::summary::Phases;

/// Something that happened.
#[derive(Debug, Clone, Copy)]
pub enum Progress<'a> {
    /// Tables are read whole from here on.
    LoadStarted {
        /// Rows to come, where the sources know.
        rows_estimate: Option<u64>,
    },
    /// Rows were read.
    RowsLoaded {
        /// Since the last time.
        rows: u64,
    },
    /// The views are computed from them.
    LoadFinished,
    /// An epoch of the log was applied again.
    Replayed {
        /// Which.
        epoch: Epoch,
    },
    /// What the loop does from here on.
    Phase(Phase),
    /// The sources were asked and had nothing that makes an epoch. What that took is no epoch's.
    Idle {
        /// The time that each phase has taken since the run began.
        phases: &'a Phases,
    },
    /// A program is in force from here on.
    Program(&'a Program),
    /// An epoch changed views.
    Changed {
        /// Its header.
        header: &'a EpochHeader,
        /// The changes.
        deltas: &'a [ViewDelta],
    },
    /// Where the pipeline stands: about once a second, and at the end of a run.
    Status(&'a Status),
    /// A piece of the work for an epoch is done: for the next that is told by `EpochStepped`, unless it names one itself, or
    /// for none when `Idle` comes first.
    Worked {
        /// What.
        work: Work<'a>,
        /// When.
        time: Stretch,
    },
    /// An epoch was made.
    EpochStepped {
        /// Its header.
        header: &'a EpochHeader,
        /// The time that each phase has taken since the run began.
        phases: &'a Phases,
        /// Rows of its events.
        source_rows: u64,
        /// Changed rows of each view that changed.
        view_rows: &'a BTreeMap<ViewName, u64>,
    },
    /// A sink holds an epoch.
    Committed {
        /// The sink.
        sink: &'a str,
        /// The epoch.
        epoch: Epoch,
        /// When the sink committed.
        time: Stretch,
    },
    /// A sink failed and is tried again.
    SinkRetry {
        /// The sink.
        sink: &'a str,
        /// What it said.
        error: &'a str,
    },
    /// A source failed and is tried again.
    SourceRetry {
        /// The source.
        source: &'a SourceId,
        /// What it said.
        error: &'a str,
    },
}

/// A piece of the work for an epoch. What a sink does is told by [`Progress::Committed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work<'a> {
    /// A source was asked, and what it had was taken in; or its tables were read whole.
    Read(&'a SourceId),
    /// The epoch was made durable in the input log.
    Log,
    /// The views were computed.
    Step,
    /// The state at this epoch was saved.
    Checkpoint(Epoch),
}

/// From when to when something was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// From here on.
    pub began: Instant,
    /// Until then.
    pub ended: Instant,
}

impl Stretch {
    /// From then until now.
    pub fn since(began: Instant) -> Stretch {
        Stretch { began, ended: Instant::now() }
    }

    /// How long that is.
    pub fn took(&self) -> Duration {
        self.ended.saturating_duration_since(self.began)
    }
}

/// What a pipeline does at a moment. Sinks commit beside all of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It waits for the sources.
    Waiting,
    /// It takes in what sources offer.
    Reading,
    /// It makes an epoch durable in the input log.
    Logging,
    /// The views are computed.
    Stepping,
    /// It waits for sinks.
    Committing,
    /// It saves its state.
    Checkpointing,
    /// It reads whole tables.
    Loading,
    /// It applies epochs of the log again.
    Replaying,
}

impl Phase {
    /// Its name in outputs.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Waiting => "waiting",
            Phase::Reading => "reading",
            Phase::Logging => "logging",
            Phase::Stepping => "stepping",
            Phase::Committing => "committing",
            Phase::Checkpointing => "checkpointing",
            Phase::Loading => "loading",
            Phase::Replaying => "replaying",
        }
    }
}

/// Listens.
pub trait Observer: Send + Sync {
    /// Called on the pipeline's task: return soon.
    fn notify(&self, event: Progress<'_>) {
        let _ = event;
    }
}

/// Nobody listens.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}
