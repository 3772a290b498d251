//! The input log after a checkpoint: what recovery replays.

use tidegate_core::{Frontier, Snapshots};
use tidegate_engine::ProgramDefinition;

use crate::checkpoint::CheckpointFile;
use crate::log::header::{Link, Origin, RecordHeader};
use crate::log::{InputLog, LogRecord};
use crate::{RuntimeError, SourceSlot};

/// What to do where epochs of the log need a checkpoint that cannot be read.
pub(crate) const LOST_CHECKPOINTS: &str = "restore the folder checkpoints from a backup, or move the state folder and the log away, run again, and bring \
     each sink in line with 'tidegate resync PIPELINE SINK'";

/// The log from a checkpoint on.
pub(crate) struct Tail {
    /// The records that continue it.
    pub records: Vec<LogRecord>,
    /// Whether the checkpoint's own epoch, or a later one, is in the log.
    pub knows_checkpoint: bool,
}

impl Tail {
    pub async fn read(checkpoint: &CheckpointFile, log: &InputLog) -> Result<Tail, RuntimeError> {
        let here = Link::from(&checkpoint.header);
        let mut records = log.records(here.epoch).await?;
        let knows_checkpoint = !records.is_empty();
        let differs = |fact: String| RuntimeError::LogForeign {
            log: log.name(),
            fact,
            way_out: "the log and the state folder are from different times: restore both from the same backup, or \
                      move both away, run again, and bring each sink in line with 'tidegate resync PIPELINE SINK'",
        };
        if records.first().is_some_and(|record| record.header.header.epoch == here.epoch) {
            let same = records.remove(0);
            if same.header.header.hash != here.hash {
                return Err(differs(format!("has another epoch {} than the newest checkpoint", here.epoch)));
            }
        }
        match records.first() {
            Some(next) if next.header.previous != here => {
                let (epoch, here) = (next.header.header.epoch, here.epoch);
                Err(differs(format!("has epoch {epoch} next, which does not continue the checkpoint of epoch {here}")))
            }
            _ => Ok(Tail { records, knows_checkpoint }),
        }
    }

    /// Whether what it holds can be replayed: the tables of a rebuild are read once more, which a source
    /// of the present only cannot do, nor can it be done with virtual columns, which may be others by now. Seen before the engine opens the checkpoint, which removes all that
    /// later ones need.
    pub fn check_repeatable(&self, sources: &[SourceSlot], log: &InputLog) -> Result<(), RuntimeError> {
        let present_only = sources.iter().filter(|slot| slot.source.snapshots() == Snapshots::PresentOnly);
        let present_only: Vec<&str> = present_only.map(|slot| slot.source.id().name.as_str()).collect();
        for RecordHeader { origin, header, .. } in self.records.iter().map(|record| &record.header) {
            let mut tables = origin.tables.iter().map(|table| table.name.source.as_str());
            let source = tables.find(|source| present_only.contains(source)).map(str::to_owned);
            if let Some(source) = source.or_else(|| with_virtual_columns(origin)) {
                let (kind, epoch) = (origin.kind.as_str(), header.epoch);
                return Err(RuntimeError::LogForeign {
                    log: log.name(),
                    fact: format!(
                        "has a {kind} in epoch {epoch} whose checkpoint cannot be read, and the tables of source \
                         {source} as they were then cannot be read again"
                    ),
                    way_out: LOST_CHECKPOINTS,
                });
            }
        }
        Ok(())
    }

    /// Where it ends.
    pub fn frontier(&self, checkpoint: &CheckpointFile) -> Frontier {
        self.records.last().map_or(&checkpoint.header, |record| &record.header.header).frontier.clone()
    }
}

/// The source of a table that a load or rebuild read with virtual columns.
fn with_virtual_columns(origin: &Origin) -> Option<String> {
    let definition: ProgramDefinition = serde_json::from_value(origin.definition.clone()?).ok()?;
    let table = definition.tables.into_iter().find(|table| !table.virtual_columns().is_empty())?;
    Some(table.name.source)
}
