//! Tables whose states a rebuild keeps, of a source whose other tables can only be copied as they are
//! now: they are brought to the position of the copy, so that all tables of the source stand at one.
//!
//! What they lack goes into the rebuild's epoch, not into the input log: its checkpoint holds it, as
//! it holds the copy. A rebuild that is not published has changed nothing, and the next one begins at
//! the same position and reads on to another copy.

use std::cmp::Ordering;

use tidegate_core::{ConnectorError, ErrorKind, Micros, Polled, Position, SourceId, TableSchema};

use crate::RuntimeError;
use crate::pipeline::Pipeline;

/// Why nothing was loaded.
#[derive(Debug)]
pub(crate) enum Unloaded {
    /// Something failed.
    Failed(RuntimeError),
    /// The schema of a table that is kept changes before the position of the copy.
    Moved { source_id: SourceId, reason: String },
}

impl Pipeline {
    /// Feeds a rebuild what happened to the kept tables of a source between the position where they
    /// stand and that of the copy. Answers the latest commit among it.
    pub(crate) async fn bring(
        &mut self,
        index: usize,
        kept: &[TableSchema],
        mut from: Position,
        to: Position,
    ) -> Result<Option<Micros>, Unloaded> {
        let source_id = self.feeds[index].id().clone();
        let is_behind = |from: &Position| from.compare(&to).is_some_and(Ordering::is_lt);
        if from != to && !is_behind(&from) {
            let fact = format!(
                "it stands at {to}, before {from}, up to which it was read: it was set back, or is another one; \
                 point the pipeline to the right one, or move the state folder and the log away, run again, and bring \
                 each sink in line with 'tidegate resync PIPELINE SINK'"
            );
            return Err(RuntimeError::source(&source_id)(ConnectorError::new(ErrorKind::Stop, fact)).into());
        }
        let mut latest = None;
        while !kept.is_empty() && is_behind(&from) {
            let rows_max = self.config.epoch_rows_max;
            let polled = self.feeds[index].source().await.poll(kept, &from, Some(&to), rows_max).await;
            let reached = match polled.map_err(RuntimeError::source(&source_id))? {
                Polled::Idle => from,
                Polled::Advanced { to } => to,
                Polled::Changes { to, commit_time, events } => {
                    self.load_events(&source_id, events).await?;
                    latest = latest.max(commit_time);
                    to
                }
                Polled::SchemaChanged { reason, .. } => return Err(Unloaded::Moved { source_id, reason }),
                Polled::Expired { reason } => return Err(self.feeds[index].expired(reason).into()),
            };
            if reached == from {
                // It has not heard yet of what the copy has seen.
                self.feeds[index].pause().await;
            } else if !reached.compare(&from).is_some_and(Ordering::is_gt) || (reached != to && !is_behind(&reached)) {
                let bug =
                    format!("source {source_id} was read from {from} to {reached}, but asked for no more than {to}");
                return Err(RuntimeError::Bug(bug).into());
            }
            from = reached;
        }
        Ok(latest)
    }
}

impl Unloaded {
    /// The error of a rebuild that is not tried again.
    pub fn into_error(self) -> RuntimeError {
        match self {
            Unloaded::Failed(error) => error,
            Unloaded::Moved { source_id, reason } => {
                let error =
                    ConnectorError::new(ErrorKind::Retry, format!("{reason} while tables were copied; run again"));
                RuntimeError::Source { source_id, error }
            }
        }
    }
}

impl From<RuntimeError> for Unloaded {
    fn from(error: RuntimeError) -> Self {
        Unloaded::Failed(error)
    }
}
