//! What a pipeline tells while it works, for progress bars and for tests.

use std::collections::BTreeMap;

use tidegate_core::{Epoch, EpochHeader, SourceId, ViewName};

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
    /// An epoch was made.
    EpochStepped {
        /// Its header.
        header: &'a EpochHeader,
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
