//! What no source event can say: columns that change and changes that are gone. The views are
//! planned anew and get their new content as one epoch.

use tidegate_core::{Frontier, OnExpired, Position, SourceId, TableName, failpoint};
use tidegate_engine::{Program, RebuildScope};

use crate::goal::Goal;
use crate::log::header::RecordKind;
use crate::pipeline::{Change, Pipeline};
use crate::{RuntimeError, StopSignal};

/// What ends a round, because it needs a rebuild.
pub(crate) enum Barrier {
    Schema { at: Position, reason: String },
    Expired { reason: String },
}

impl Pipeline {
    /// Rebuilds what a barrier of a source asks for. When a source fails meanwhile in a way that may
    /// pass, nothing has happened, and the source's next poll meets the barrier again.
    pub(crate) async fn pass(
        &mut self,
        index: usize,
        barrier: Barrier,
        goal: &Goal,
        stop: &StopSignal,
    ) -> Result<(), RuntimeError> {
        let before = std::mem::replace(&mut self.change, Change::None);
        match self.try_to_pass(index, barrier, stop).await {
            Err(error @ RuntimeError::Source { .. }) => {
                self.change = before;
                self.source_failed(index, error, goal)
            }
            Ok(()) => {
                self.feeds[index].trouble = None;
                Ok(())
            }
            failed => failed,
        }
    }

    async fn try_to_pass(&mut self, index: usize, barrier: Barrier, stop: &StopSignal) -> Result<(), RuntimeError> {
        let source = self.feeds[index].id().clone();
        let is_schema = matches!(barrier, Barrier::Schema { .. });
        let (at, reason) = match barrier {
            Barrier::Schema { at, reason } => {
                tracing::info!(name: "replanning", %source, %reason, position = %at, "the views are planned anew");
                (self.positions.clone().with(source.clone(), at), reason)
            }
            Barrier::Expired { reason } => {
                if self.feeds[index].on_expired() == OnExpired::Stop {
                    return Err(self.feeds[index].expired(reason));
                }
                if self.feeds[index].restored {
                    tracing::warn!(name: "source_ahead_of_backup", %source, "the source has gone on since the backup: only the differences go to the sinks");
                }
                self.summary.recopied.insert(source.name.clone());
                tracing::warn!(name: "past_gone", %source, %reason, "the views are built anew from the present content");
                (without(&self.positions, &source), reason)
            }
        };
        let mut planned = self.plan_at(&at, stop).await?;
        if planned.program.is_none() && planned.unreachable.is_empty() {
            // Perhaps the schema has moved on to one that the views fit.
            let faults = planned.fault_lines();
            planned = self.plan_at(&Frontier::new(), stop).await?;
            if planned.program.is_none() && planned.unreachable.is_empty() {
                return Err(RuntimeError::NoLongerBinds { reason, faults });
            }
        }
        let (program, positions) = planned.into_result()?;
        let says_what = is_schema && self.feeds[index].is_present_only() && self.has_other_tables(&program, &source);
        let scope = match says_what {
            true => RebuildScope::Changed,
            // All that is kept has lost touch with the source, or nobody can say what of it.
            false => self.source_anew(&program, &source, RebuildScope::Changed),
        };
        self.rebuild(program, scope, RecordKind::Rebuild, positions, stop).await?;
        if self.feeds[index].restored {
            failpoint::hit("restored.recopied");
        }
        Ok(())
    }

    /// The same scope with all tables of a source read anew. Where every source can be read at any
    /// position, everything is: that costs less than what a state for each table would.
    pub(crate) fn source_anew(&self, program: &Program, source: &SourceId, scope: RebuildScope) -> RebuildScope {
        match self.reads_present_only(program) {
            None => RebuildScope::All,
            Some(_) => reload(scope, self.names_of(program, source)),
        }
    }

    /// Whether a table of the source is not what the present views read.
    fn has_other_tables(&self, program: &Program, source: &SourceId) -> bool {
        let present = self.engine.program().map(|present| Self::tables_of(present, source)).unwrap_or_default();
        let wanted = Self::tables_of(program, source);
        present.iter().any(|table| wanted.iter().any(|other| table.name == other.name && table != other))
    }

    /// The names of the tables that a program reads of a source.
    pub(crate) fn names_of(&self, program: &Program, source: &SourceId) -> Vec<TableName> {
        Self::tables_of(program, source).into_iter().map(|table| table.name).collect()
    }
}

/// The same scope, and these tables as well: what the engine holds of them is replaced by what is
/// loaded, and views get the difference.
pub(crate) fn reload(scope: RebuildScope, tables: Vec<TableName>) -> RebuildScope {
    match scope {
        RebuildScope::All => RebuildScope::All,
        RebuildScope::Changed => RebuildScope::Tables(tables.into_iter().collect()),
        RebuildScope::Tables(others) => RebuildScope::Tables(others.into_iter().chain(tables).collect()),
    }
}

/// A frontier without one source.
pub(crate) fn without(frontier: &Frontier, source: &SourceId) -> Frontier {
    frontier.iter().filter(|(id, _)| *id != source).map(|(id, position)| (id.clone(), *position)).collect()
}
