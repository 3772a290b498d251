//! A DuckDB file as a target: one table a view, with DuckDB's own types, ready for SQL.
//!
//! Beside the tables stands `_tidegate_epochs(view, epoch, hash, frontier, committed_at)`, written
//! in the same transaction: the last row of a view says what its table holds, the earlier ones
//! which source positions the commits before stood for (some thousand are kept).
//!
//! A commit first stages the deltas in a DuckDB in memory, which spills beside the file. Only then
//! is the file attached, all views of the commit are written in one transaction, and the file is
//! checkpointed and detached, so that others can open it in between. While a reader holds the file,
//! commits fail with an error of kind `Retry` that names the file and the process.
//!
//! Removed rows must be there: if a person changed the table, the sink stops and says so instead of
//! guessing. Commits that only bring rows do not read the table; those that remove some scan the
//! columns by which rows are addressed.

mod blocking;
mod commit;
pub mod config;
pub mod error;
mod gate;
mod mart;
mod read;
mod stage;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use tidegate_core::{
    Commit, CommitOutcome, Committed, ConnectorError, Micros, Sink, ViewContent, ViewInfo, ViewName, ZSet,
};
use tidegate_duck::{Access, Duck};

use crate::blocking::blocking;
use crate::commit::{Mode, Staged};
pub use crate::config::DuckdbConfig;
pub use crate::error::DuckdbSinkError;
use crate::error::connector_error;
use crate::gate::Gate;
use crate::mart::Mart;
use crate::stage::Stage;

/// Where `committed_at` comes from.
pub type Clock = Arc<dyn Fn() -> Micros + Send + Sync>;

/// How often a mart is committed when the pipeline file does not say: often enough to look live,
/// rarely enough that readers find the file free most of the time.
pub const COMMIT_INTERVAL: Duration = Duration::from_secs(1);

/// A sink that keeps views as tables of one DuckDB file.
pub struct DuckdbSink {
    name: String,
    file: PathBuf,
    clock: Clock,
    gate: Gate,
}

impl DuckdbSink {
    /// A sink of this name under `[sinks.…]`. Touches nothing yet.
    pub fn new(name: impl Into<String>, config: DuckdbConfig, clock: Clock) -> Self {
        let gate = Gate::of(&config.path);
        DuckdbSink { name: name.into(), file: config.path, clock, gate }
    }

    async fn committed(&self, views: Vec<ViewInfo>) -> Result<BTreeMap<ViewName, Option<Committed>>, DuckdbSinkError> {
        let (guard, file) = (self.gate.pass().await, self.file.clone());
        blocking(move || {
            let _guard = guard;
            views.iter().try_for_each(|view| mart::check_view(&file, view))?;
            let names = views.iter().map(|view| &view.name);
            if !file.exists() {
                return Ok(names.map(|view| (view.clone(), None)).collect());
            }
            let duck = Duck::open_in_memory().map_err(|error| DuckdbSinkError::duck(&file, error))?;
            Mart::attach(&duck, &file, Access::ReadOnly)?.committed(names)
        })
        .await
    }

    async fn commit_range(&self, commit: Commit) -> Result<CommitOutcome, DuckdbSinkError> {
        let Commit { after, header, views } = commit;
        let mode = |content: &ViewContent| match content {
            ViewContent::Changes(_) => Mode::Changes,
            ViewContent::Replace(_) => Mode::Replace,
        };
        // Before anything is read from the streams: can the file be written, and does it stand
        // where the range begins?
        let (guard, file) = (self.gate.pass().await, self.file.clone());
        let wanted: Vec<_> = views.iter().map(|v| (v.view.clone(), mode(&v.content))).collect();
        let prepared = blocking(move || {
            let _guard = guard;
            wanted.iter().try_for_each(|(view, _)| mart::check_view(&file, view))?;
            let exists = mart::prepare_folder(&file)?;
            let stage = Stage::open(&file)?;
            let conflict = if exists {
                let mart = Mart::attach(&stage.duck, &file, Access::ReadWrite)?;
                commit::conflict(&mart, wanted.iter().map(|(view, mode)| (&view.name, *mode)), after)?
            } else {
                let changed = wanted.iter().find(|(_, mode)| *mode == Mode::Changes && after.0 > 0);
                changed.map(|(view, _)| (view.name.clone(), None))
            };
            for (index, (view, _)) in wanted.iter().enumerate() {
                stage.create(index, view)?;
            }
            Ok((stage, conflict))
        });
        let (mut stage, conflict) = prepared.await?;
        if let Some((view, found)) = conflict {
            return Ok(CommitOutcome::Conflict { view, found });
        }
        let mut staged = Vec::with_capacity(views.len());
        for (index, part) in views.into_iter().enumerate() {
            let mode = mode(&part.content);
            let (ViewContent::Changes(stream) | ViewContent::Replace(stream)) = part.content;
            // The whole content stands for the last epoch alone.
            let after =
                if mode == Mode::Replace { tidegate_core::Epoch(header.epoch.0.saturating_sub(1)) } else { after };
            let rows;
            (stage, rows) = stage::fill(stage, index, &part.view, stream, after, &header).await?;
            staged.push(Staged { view: part.view, mode, rows });
        }
        let (guard, file, at) = (self.gate.pass().await, self.file.clone(), (self.clock)());
        blocking(move || {
            let _guard = guard;
            commit::apply(&stage, &file, &staged, after, &header, at)
        })
        .await
    }
}

#[async_trait]
impl Sink for DuckdbSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn default_commit_interval(&self) -> Duration {
        COMMIT_INTERVAL
    }

    async fn open(&mut self, views: &[ViewInfo]) -> Result<BTreeMap<ViewName, Option<Committed>>, ConnectorError> {
        self.committed(views.to_vec()).await.map_err(|error| connector_error(&self.name, error))
    }

    async fn commit(&mut self, commit: Commit) -> Result<CommitOutcome, ConnectorError> {
        self.commit_range(commit).await.map_err(|error| connector_error(&self.name, error))
    }

    async fn read(
        &mut self,
        view: &ViewInfo,
    ) -> Result<BoxStream<'static, Result<ZSet, ConnectorError>>, ConnectorError> {
        let guard = self.gate.pass().await;
        Ok(read::rows(self.name.clone(), self.file.clone(), view.clone(), guard))
    }
}
