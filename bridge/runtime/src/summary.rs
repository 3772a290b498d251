//! What a run did, as `run --json` prints it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};
use tidegate_core::{Epoch, Frontier, ViewName};

/// What a run did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RunSummary {
    /// Epochs made by this run.
    pub epochs: u64,
    /// The last epoch.
    pub epoch: Epoch,
    /// Where it stands.
    pub frontier: Frontier,
    /// Rows of all source events, or of the tables where they were loaded.
    pub source_rows: u64,
    /// Changed rows of each view, counting copies; all of them where a view is new.
    pub view_rows: BTreeMap<ViewName, u64>,
    /// The sinks that were compared with the views because they did not continue our history, and how many rows of each
    /// view were written.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub resynced: BTreeMap<String, BTreeMap<ViewName, u64>>,
    /// The sources whose tables were copied again because their past is gone.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub recopied: BTreeSet<String>,
    /// Wall time of the run.
    #[serde(serialize_with = "milliseconds")]
    pub elapsed_ms: Duration,
    /// Where it went.
    pub phases_ms: Phases,
}

/// Wall time of each phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Phases {
    /// Waiting for the sources.
    #[serde(serialize_with = "milliseconds")]
    pub read: Duration,
    /// Encoding, hashing and appending to the input log.
    #[serde(serialize_with = "milliseconds")]
    pub log: Duration,
    /// In the engine.
    #[serde(serialize_with = "milliseconds")]
    pub step: Duration,
    /// In the sinks.
    #[serde(serialize_with = "milliseconds")]
    pub commit: Duration,
    /// Checkpoints, delta log and retention.
    #[serde(serialize_with = "milliseconds")]
    pub checkpoint: Duration,
}

/// What a resync did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ResyncSummary {
    /// The sink.
    pub sink: String,
    /// The epoch it holds now.
    pub epoch: Epoch,
    /// Rows that were wrong in each view, counting copies; all of them where the columns differed.
    pub view_rows: BTreeMap<ViewName, u64>,
    /// Wall time.
    #[serde(serialize_with = "milliseconds")]
    pub elapsed_ms: Duration,
}

/// What a backup did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BackupSummary {
    /// Its name.
    pub backup: String,
    /// The pipeline.
    pub pipeline: String,
    /// The last epoch in it.
    pub epoch: Epoch,
    /// Where that stands.
    pub frontier: Frontier,
    /// Files that it consists of, and their bytes.
    pub files: u64,
    /// See there.
    pub bytes: u64,
    /// Files that were not there from an earlier backup, and their bytes.
    pub new_files: u64,
    /// See there.
    pub new_bytes: u64,
    /// The backups that there are now, oldest first.
    pub kept: Vec<String>,
    /// Wall time.
    #[serde(serialize_with = "milliseconds")]
    pub elapsed_ms: Duration,
}

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RestoreSummary {
    /// The backup.
    pub backup: String,
    /// The pipeline.
    pub pipeline: String,
    /// The last epoch in it.
    pub epoch: Epoch,
    /// Where that stands.
    pub frontier: Frontier,
    /// The pipeline file.
    pub pipeline_file: PathBuf,
    /// The SQL files.
    pub definitions: Vec<PathBuf>,
    /// The state folder.
    pub state_dir: PathBuf,
    /// Where the input log lies.
    pub log: String,
    /// Whether it was put there; otherwise it was there already, perhaps with later epochs.
    pub log_put: bool,
    /// Files of the backup, and their bytes.
    pub files: u64,
    /// See there.
    pub bytes: u64,
    /// Wall time.
    #[serde(serialize_with = "milliseconds")]
    pub elapsed_ms: Duration,
}

/// Milliseconds, to the microsecond.
pub(crate) fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_micros() as f64 / 1000.0)
}

/// Adds the time until it is dropped to a phase.
pub(crate) struct Timed<'a> {
    phase: &'a mut Duration,
    since: Instant,
}

impl<'a> Timed<'a> {
    pub(crate) fn new(phase: &'a mut Duration) -> Self {
        Timed { phase, since: Instant::now() }
    }
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        *self.phase += self.since.elapsed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_it_is_documented() {
        let mut summary = RunSummary { elapsed_ms: Duration::from_micros(1_500), ..RunSummary::default() };
        summary.view_rows.insert("v".into(), 2);
        drop(Timed::new(&mut summary.phases_ms.read));
        summary.phases_ms = Phases::default();
        let expected = r#"{"epochs":0,"epoch":0,"frontier":{},"source_rows":0,"view_rows":{"v":2},"elapsed_ms":1.5,"phases_ms":{"read":0.0,"log":0.0,"step":0.0,"commit":0.0,"checkpoint":0.0}}"#;
        assert_eq!(serde_json::to_string(&summary).unwrap(), expected);
    }
}
