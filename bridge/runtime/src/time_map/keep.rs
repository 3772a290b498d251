//! The time map in the life of a pipeline: completed when it opens and at checkpoints, trimmed with the log.

use std::time::Duration;

use super::TimeMap;
use crate::RuntimeError;
use crate::checkpoint::CheckpointFile;
use crate::log::header::RecordHeader;
use crate::pipeline::{LastEpoch, Pipeline};
use crate::tail::Tail;

impl Pipeline {
    /// Which epoch stood where, and when.
    pub fn time_map(&self) -> &TimeMap {
        &self.time_map
    }

    /// Brings the map in line with a checkpoint and the log after it.
    pub(crate) async fn recover_time_map(
        &mut self,
        checkpoint: &CheckpointFile,
        tail: &Tail,
    ) -> Result<(), RuntimeError> {
        let CheckpointFile { header, previous, origin, .. } = checkpoint.clone();
        let here = self.record(&LastEpoch { header, previous, origin }, Vec::new());
        let records: Vec<RecordHeader> =
            std::iter::once(here).chain(tail.records.iter().map(|record| record.header.clone())).collect();
        self.time_map.complete(&self.log, &records).await
    }

    /// The map holds every epoch up to the last one, durably.
    pub(crate) async fn save_time_map(&mut self) -> Result<(), RuntimeError> {
        if let Some(last) = &self.last {
            let last = self.record(last, Vec::new());
            self.time_map.complete(&self.log, &[last]).await?;
        }
        self.time_map.sync()
    }

    /// Forgets epochs that neither the log nor any history can be asked about any more.
    pub(crate) fn trim_time_map(&mut self) -> Result<(), RuntimeError> {
        let histories = self.config.histories.values().map(|history| history.retention);
        let kept: Option<Vec<Duration>> = histories.chain([Some(self.config.log_retention)]).collect();
        let Some(longest) = kept.and_then(|kept| kept.into_iter().max()) else { return Ok(()) };
        self.time_map.trim(self.config.clock.now().before(longest)).map(drop)
    }
}
