//! From what a person names to an epoch that the log can go back to.

use tidegate_core::{Epoch, EpochHeader};

use crate::RuntimeError;
use crate::log::header::RecordHeader;
use crate::pipeline::Pipeline;
use crate::time_map::Moment;

impl Pipeline {
    /// The record of the epoch that a moment means, if the log and the checkpoints reach back to it.
    pub(super) async fn find_target(
        &mut self,
        target: &Moment,
        headers: &[&RecordHeader],
    ) -> Result<RecordHeader, RuntimeError> {
        let entry = self.epoch_of(target).await.map_err(|error| RuntimeError::Unresolved(Box::new(error)))?;
        let log_after = self.log.begins_after().await?.unwrap_or(self.epoch());
        let reachable = self.saved.kept.iter().map(|saved| saved.rung.epoch).filter(|epoch| *epoch >= log_after);
        let oldest = reachable.min();
        let found =
            headers.iter().find(|record| record.header.epoch == entry.epoch && record.header.hash == entry.hash);
        match found.filter(|record| oldest.is_some_and(|oldest| oldest <= record.header.epoch)) {
            Some(record) => Ok((*record).clone()),
            None => Err(out_of_reach(target, entry.epoch, headers, oldest)),
        }
    }
}

fn out_of_reach(target: &Moment, epoch: Epoch, headers: &[&RecordHeader], oldest: Option<Epoch>) -> RuntimeError {
    let oldest = oldest.and_then(|oldest| headers.iter().find(|record| record.header.epoch >= oldest));
    let reach = match oldest.map(|record| &record.header) {
        Some(EpochHeader { epoch, frontier, latest_commit, .. }) => {
            let commits = latest_commit.map_or(String::new(), |time| format!(", commits up to {time}"));
            format!("back to epoch {epoch} ({frontier}{commits})")
        }
        None => "not back at all".to_owned(),
    };
    RuntimeError::OutOfReach { target: target.to_string(), epoch, reach }
}
