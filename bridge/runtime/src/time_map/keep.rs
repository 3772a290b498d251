//! The time map in the life of a pipeline: completed when it opens and at checkpoints, trimmed with the log.

use std::time::Duration;

use super::mend::Reach;
use super::{Moment, TimeMap, TimeMapEntry, Unresolved};
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

    /// The epoch that a moment means. What is damaged on the way there is mended.
    pub(crate) async fn epoch_of(&mut self, moment: &Moment) -> Result<TimeMapEntry, Unresolved> {
        match self.time_map.resolve(moment) {
            Err(Unresolved::Failed(_)) => {
                self.time_map.mend(&self.log, Reach::Whole).await?;
                self.time_map.resolve(moment)
            }
            resolved => resolved,
        }
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
        self.time_map.mend(&self.log, Reach::Recent).await?;
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
    pub(crate) async fn trim_time_map(&mut self) -> Result<(), RuntimeError> {
        let histories = self.config.histories.values().map(|history| history.retention);
        let kept: Option<Vec<Duration>> = histories.chain([Some(self.config.log_retention)]).collect();
        let Some(longest) = kept.and_then(|kept| kept.into_iter().max()) else { return Ok(()) };
        let older_than = self.config.clock.now().before(longest);
        if self.time_map.trim(older_than).is_err() {
            self.time_map.mend(&self.log, Reach::Whole).await?;
            self.time_map.trim(older_than)?;
        }
        Ok(())
    }
}
