//! What a run did, as `run --json` prints it.

use std::collections::BTreeMap;
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

/// Milliseconds, to the microsecond.
fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
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
