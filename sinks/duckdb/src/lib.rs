//! A DuckDB file as a target: one table a view, with DuckDB's own types, ready for SQL. Of a view that keeps its history it
//! has the versions, and over those without an end a SQL view of the view's name.
//!
//! Beside the tables stands `_tidegate_epochs(view, epoch, hash, frontier, committed_at)`, written
//! in the same transaction: the last row of a view says what its table holds, the earlier ones
//! which source positions the commits before stood for (some thousand are kept).
//!
//! A commit first stages the changes in a DuckDB in memory, which spills beside the file. Only then
//! is the file attached, all views of the commit are written in one transaction, a checkpoint puts
//! it in force, and the file is detached: between commits it is free, and holds everything. The
//! whole content of a view (its first load) goes from the stream into the file without a stage; a
//! file that does not exist yet is made under another name meanwhile.
//!
//! While a reader holds the file, commits fail with an error of kind `Retry` that names the file
//! and the process. With `publish = "atomic-copy"` they never meet: commits go into a private file
//! `<path>.tidegate`, and what readers open is a complete copy of it, renamed into place.
//!
//! Removed rows must be there: if a person changed the table, the sink stops and says so instead of
//! guessing. Commits that only bring rows do not read the table. Those that remove some look for
//! them by the columns that address rows, in those parts of the table whose least and greatest
//! values admit them: loads write keyed views in the order of the key, so that a few changes read
//! little of a large table; changes all over the keys read that column as a whole.

mod blocking;
mod commit;
pub mod config;
pub mod error;
mod feed;
mod files;
mod gate;
mod history;
mod known;
mod mart;
mod read;
mod remove;
mod stage;
mod target;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::Either;
use futures::stream::BoxStream;
use tidegate_core::{
    Commit, CommitOutcome, Committed, ConnectorError, Epoch, Micros, Removal, Sink, ViewContent, ViewInfo, ViewName,
    ZSet,
};
use tidegate_duck::{Access, Duck};

use crate::blocking::blocking;
use crate::commit::{Content, Mode, Part, Range};
pub use crate::config::{DuckdbConfig, Publish};
pub use crate::error::DuckdbSinkError;
use crate::error::connector_error;
use crate::feed::Feed;
use crate::files::Files;
use crate::gate::Gate;
use crate::mart::Mart;
use crate::stage::{Inflow, Stage};

/// Where `committed_at` comes from.
pub type Clock = Arc<dyn Fn() -> Micros + Send + Sync>;

/// How often a mart is committed when the pipeline file does not say: often enough to look live,
/// rarely enough that readers find the file free most of the time.
pub const COMMIT_INTERVAL: Duration = Duration::from_secs(1);

/// The same where each commit copies the file.
pub const COPY_INTERVAL: Duration = Duration::from_secs(10);

/// A sink that keeps views as tables of one DuckDB file.
pub struct DuckdbSink {
    name: String,
    files: Files,
    default_commit_interval: Duration,
    clock: Clock,
    gate: Gate,
    /// What a stage may keep in memory.
    staging_memory: String,
    /// The stage of the last commit. A failed commit leaves none.
    stage: Option<Stage>,
}

impl DuckdbSink {
    /// A sink of this name under `[sinks.…]`. Touches nothing yet.
    pub fn new(name: impl Into<String>, config: DuckdbConfig, clock: Clock) -> Self {
        let gate = Gate::of(&config.path);
        let default_commit_interval = match config.publish {
            Publish::InPlace => COMMIT_INTERVAL,
            Publish::AtomicCopy => COPY_INTERVAL,
        };
        let files = Files::new(config);
        let staging_memory = tidegate_duck::staging_memory(None);
        DuckdbSink { name: name.into(), files, default_commit_interval, clock, gate, staging_memory, stage: None }
    }

    /// Says what the engine beside it may keep in memory, in bytes, so that the sink takes a share of that.
    #[must_use]
    pub fn with_memory_limit(mut self, engine_limit: Option<u64>) -> Self {
        self.staging_memory = tidegate_duck::staging_memory(engine_limit);
        self
    }

    async fn committed(
        &mut self,
        views: Vec<ViewInfo>,
    ) -> Result<BTreeMap<ViewName, Option<Committed>>, DuckdbSinkError> {
        let (guard, file) = (self.gate.pass().await, self.files.held());
        blocking(move || {
            let _guard = guard;
            views.iter().try_for_each(|view| mart::check_view(&file, view))?;
            history::names::check(&file, &views.iter().collect::<Vec<_>>())?;
            let names = views.iter().map(|view| &view.name);
            if !file.exists() {
                return Ok(names.map(|view| (view.clone(), None)).collect());
            }
            let duck = Duck::open_in_memory().map_err(|error| DuckdbSinkError::duck(&file, error))?;
            Mart::attach(&duck, &file, &file, Access::ReadOnly, None)?.committed(names)
        })
        .await
    }

    async fn commit_range(&mut self, commit: Commit) -> Result<CommitOutcome, DuckdbSinkError> {
        let Commit { after, header, views } = commit;
        let wanted: Vec<_> = views.iter().map(|v| (v.view.clone(), mode(&v.content))).collect();
        // Changes are staged while others may use the file; contents are fetched while it is written.
        let (mut inflows, mut contents) = (Vec::with_capacity(views.len()), Vec::new());
        let mut look = Look::Later;
        for part in views {
            let inflow = match part.content {
                ViewContent::Changes(stream) => {
                    let mut inflow = Inflow::new(&part.view, stream, after, header.epoch);
                    // Few changes are no loss if the file cannot be written.
                    if look == Look::Later && !inflow.gather().await? {
                        look = Look::First;
                    }
                    Either::Left(inflow)
                }
                ViewContent::Replace(stream) => {
                    let (sender, feed) = Feed::new(&part.view)?;
                    contents.push((sender, part.view.clone(), stream));
                    look = Look::First;
                    Either::Right(feed)
                }
            };
            inflows.push((part.view, inflow));
        }
        let (guard, files, kept) = (self.gate.pass().await, self.files.clone(), self.stage.take());
        let memory = self.staging_memory.clone();
        let prepared = blocking(move || {
            let _guard = guard;
            let opened = || Stage::open(&files, &memory);
            prepare(&files, || kept.map_or_else(opened, Ok), &wanted, after, look)
        });
        let (mut stage, conflict) = prepared.await?;
        if let Some((view, found)) = conflict {
            return Ok(CommitOutcome::Conflict { view, found });
        }
        let mut parts = Vec::with_capacity(inflows.len());
        for (index, (view, inflow)) in inflows.into_iter().enumerate() {
            let content = match inflow {
                Either::Left(inflow) => {
                    let staged;
                    (stage, staged) = inflow.fill(stage, index).await?;
                    Content::Staged(staged)
                }
                Either::Right(feed) => Content::Fed(feed),
            };
            parts.push(Part { view, content });
        }
        let (guard, files) = (self.gate.pass().await, self.files.clone());
        let (last, range) = (header.epoch, Range { after, header, at: (self.clock)() });
        let applied = blocking(move || {
            let _guard = guard;
            let outcome = commit::apply(&mut stage, &files, &parts, &range)?;
            let rows = if let CommitOutcome::Committed { rows } = outcome { rows } else { 0 };
            Ok((outcome, stage.kept(rows)))
        });
        let fetched = async {
            for (sender, view, stream) in contents {
                stage::send(&sender, &view, stream, last).await;
            }
        };
        let (applied, ()) = tokio::join!(applied, fetched);
        let outcome;
        (outcome, self.stage) = applied?;
        Ok(outcome)
    }
}

fn mode(content: &ViewContent) -> Mode {
    match content {
        ViewContent::Changes(_) => Mode::Changes,
        ViewContent::Replace(_) => Mode::Replace,
    }
}

/// When the file is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Before the streams are read: can it be written, and does it stand where the range begins?
    First,
    /// By the transaction itself: the changes are few, and have been read.
    Later,
}

/// A view that stands elsewhere than the range begins, and where.
type Elsewhere = (ViewName, Option<Committed>);

/// Makes ready what a commit needs: the stage with its tables. Answers the view that stands
/// elsewhere, as far as the file is looked at.
fn prepare(
    files: &Files,
    stage: impl FnOnce() -> Result<Stage, DuckdbSinkError>,
    views: &[(ViewInfo, Mode)],
    after: Epoch,
    look: Look,
) -> Result<(Stage, Option<Elsewhere>), DuckdbSinkError> {
    let file = files.working();
    views.iter().try_for_each(|(view, _)| mart::check_view(&file, view))?;
    history::names::check(&file, &views.iter().map(|(view, _)| view).collect::<Vec<_>>())?;
    files.prepare_folder()?;
    let stage = stage()?;
    let _turn = files.turn()?;
    files.settle(&stage.duck)?;
    let conflict = if file.exists() && look == Look::First {
        let mart = Mart::attach(&stage.duck, &file, &file, Access::ReadWrite, None)?;
        commit::conflict(&mart, views.iter().map(|(view, mode)| (&view.name, *mode)), after)?
    } else {
        None
    };
    for (index, (view, mode)) in views.iter().enumerate() {
        if *mode == Mode::Changes {
            stage.create(index, view)?;
        }
    }
    Ok((stage, conflict))
}

#[async_trait]
impl Sink for DuckdbSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn default_commit_interval(&self) -> Duration {
        self.default_commit_interval
    }

    async fn open(&mut self, views: &[ViewInfo]) -> Result<BTreeMap<ViewName, Option<Committed>>, ConnectorError> {
        self.committed(views.to_vec()).await.map_err(|error| connector_error(&self.name, error))
    }

    async fn commit(&mut self, commit: Commit) -> Result<CommitOutcome, ConnectorError> {
        self.commit_range(commit).await.map_err(|error| connector_error(&self.name, error))
    }

    /// Gives readers the copy that a stop between a commit and its publication left out.
    async fn maintain(&mut self) -> Result<(), ConnectorError> {
        let (guard, files) = (self.gate.pass().await, self.files.clone());
        let published = blocking(move || {
            let _guard = guard;
            let _turn = files.turn()?;
            files.publish()
        });
        published.await.map_err(|error| connector_error(&self.name, error))
    }

    async fn read(
        &mut self,
        view: &ViewInfo,
    ) -> Result<BoxStream<'static, Result<ZSet, ConnectorError>>, ConnectorError> {
        let guard = self.gate.pass().await;
        Ok(read::rows(self.name.clone(), self.files.held(), view.clone(), guard))
    }

    async fn remove(&mut self, view: &ViewName) -> Result<Removal, ConnectorError> {
        // What the last commit left to the next one is not so any more.
        self.stage = None;
        let (guard, files, view) = (self.gate.pass().await, self.files.clone(), view.clone());
        let removed = blocking(move || {
            let _guard = guard;
            remove::remove(&files, &view)
        });
        removed.await.map_err(|error| connector_error(&self.name, error))
    }
}
