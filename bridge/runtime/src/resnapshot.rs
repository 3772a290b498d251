//! `resnapshot`: a source's tables are copied once more, whatever the engine holds of them.

use std::cmp::Ordering;

use tidegate_core::{SourceId, TableName};
use tidegate_engine::{Program, RebuildScope};

use crate::barrier::{reload, without};
use crate::feed::Feed;
use crate::log::header::RecordKind;
use crate::pipeline::{Change, Pipeline};
use crate::summary::RunSummary;
use crate::{RuntimeError, StopSignal};

impl Pipeline {
    /// Copies the tables of a source again, or one of them, in one epoch; downstream sees only real
    /// differences. A source that can be read at any position is read where the pipeline stands, and where that is gone
    /// and all its tables are copied, where it stands itself. Views that are new or different are built on the way. After an
    /// error the pipeline must be opened again.
    pub async fn resnapshot(&mut self, source: &str, table: Option<&TableName>) -> Result<RunSummary, RuntimeError> {
        let started = std::time::Instant::now();
        self.summary = RunSummary::default();
        let Some(id) = self.feeds.iter().map(Feed::id).find(|id| id.name == source).cloned() else {
            let known = self.feeds.iter().map(|feed| feed.id().name.as_str()).collect::<Vec<_>>().join(", ");
            let known = format!("the sources of this pipeline are {known}");
            return Err(RuntimeError::UnknownSource { name: format!("source {source}"), known });
        };
        let stop = StopSignal::new();
        if matches!(self.change, Change::Load(..) | Change::Afresh(..) | Change::RebuildAll(..)) {
            // These copy everything.
            self.apply_change(&stop).await?;
        } else {
            let is_gone = table.is_none() && self.is_gone(&id).await?;
            let before = std::mem::replace(&mut self.change, Change::None);
            let (program, positions) = match (before, self.engine.program().cloned()) {
                // The wanted views do not fit the tables at the frontier yet.
                (Change::Later, Some(present)) if !is_gone => {
                    self.change = Change::Later;
                    (present, self.positions.clone())
                }
                _ => {
                    let here = self.positions.clone();
                    let here = if is_gone { without(&here, &id) } else { here };
                    let (program, at) = self.plan_at(&here, &stop).await?.into_result()?;
                    (program, here.join(&at))
                }
            };
            let names = self.chosen(&program, &id, table)?;
            let scope = match is_gone {
                true => self.source_anew(&program, &id, RebuildScope::Changed),
                false => reload(RebuildScope::Changed, names),
            };
            self.rebuild(program, scope, RecordKind::Rebuild, positions, &stop).await?;
        }
        self.save_progress().await?;
        self.trim_log().await?;
        self.write_status().await?;
        self.summary.epoch = self.epoch();
        self.summary.frontier = self.positions.clone();
        self.summary.elapsed_ms = started.elapsed();
        Ok(self.summary.clone())
    }

    /// Whether a source does not know any more how it was where the pipeline stands.
    async fn is_gone(&mut self, source: &SourceId) -> Result<bool, RuntimeError> {
        let Some(read) = self.positions.get(source).copied() else { return Ok(false) };
        let Some(feed) = self.feeds.iter_mut().find(|feed| feed.id() == source) else { return Ok(false) };
        let horizon = feed.source().await.horizon(&read).await.map_err(RuntimeError::source(source))?;
        Ok(horizon.is_some_and(|horizon| horizon.oldest.compare(&read).is_some_and(Ordering::is_gt)))
    }

    fn chosen(
        &self,
        program: &Program,
        source: &SourceId,
        table: Option<&TableName>,
    ) -> Result<Vec<TableName>, RuntimeError> {
        let names = self.names_of(program, source);
        match table {
            None if !names.is_empty() => Ok(names),
            Some(table) if names.contains(table) => Ok(vec![table.clone()]),
            _ => {
                let name = match table {
                    Some(table) => format!("table {table} that a view reads"),
                    None => format!("table of source {} that a view reads", source.name),
                };
                let known = program.tables().iter().map(|table| table.name.to_string()).collect::<Vec<_>>().join(", ");
                Err(RuntimeError::UnknownSource { name, known: format!("the views read {known}") })
            }
        }
    }
}
