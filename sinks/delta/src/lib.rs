//! Delta tables as a target: one table a view at `<path>/<view>`, change data feed on.
//!
//! ```text
//! <path>/<view>/_delta_log/<version, 20 digits>.json   one entry a commit
//! <path>/<view>/epoch-<epoch>-….zstd.parquet            rows
//! <path>/<view>/_change_data/epoch-<epoch>-….parquet    what a commit changed, for the change data feed
//! <path>/<view>_history/…                               a table of its own: every version of every row, where that is kept
//! ```
//!
//! A commit takes a range of epochs as one version of each view's table: the content at the end of the range, the
//! net changes, and `txn` actions that say up to which epoch the table stands and with which hash. They decide what
//! a replay skips. Entries of the log are created under a condition, on a local folder as on S3.
//!
//! Rows are addressed by the view's key, or by all columns. Files are sorted by it, so that the bounds in the log
//! tell which files can hold a row; only those are looked into, and only those that hold it are written anew. What
//! a small change costs is bounded by `target_file_size`, not by the table.
//!
//! Removed rows must be there: if a person changed the table, the sink stops and says so instead of guessing.
//! Somebody else's OPTIMIZE, VACUUM or checkpoint is welcome.
//!
//! Types that Delta has not are stored in one that holds them without loss; the module `schema` has the table.

mod blocking;
mod bounds;
mod columns;
mod commit;
pub mod config;
mod curve;
mod encode;
pub mod error;
mod history;
mod layout;
mod load;
mod log;
mod lookup;
mod maintain;
mod net;
mod part;
mod protocol;
mod read;
mod remove;
mod rewrite;
mod scan;
mod schema;
mod shape;
mod store;
mod table;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use tidegate_core::{
    Commit, CommitOutcome, Committed, ConnectorError, Micros, Removal, Sink, ViewCommit, ViewInfo, ViewName, ZSet,
    failpoint,
};

use crate::commit::{Landed, Prepared, Scene};
pub use crate::config::{DeltaConfig, Location, OnSchemaChange};
pub use crate::error::DeltaSinkError;
use crate::error::connector_error;
use crate::maintain::{Done, Upkeep};
use crate::part::{Beside, Ended, Part};
use crate::store::{Store, TableStore};
use crate::table::{Role, Table};

/// Where the times of commits come from.
pub type Clock = Arc<dyn Fn() -> Micros + Send + Sync>;

/// How often tables are committed when the pipeline file does not say: each commit is a version and costs at
/// least one file.
pub const COMMIT_INTERVAL: Duration = Duration::from_secs(10);

/// Tables whose logs get their entries at the same time.
const LANDINGS: usize = 8;

/// A sink that keeps views as Delta tables.
pub struct DeltaSink {
    name: String,
    pipeline: String,
    store: Store,
    config: DeltaConfig,
    clock: Clock,
    /// The views that were opened or committed.
    views: BTreeMap<ViewName, Known>,
}

/// What is known of a view.
struct Known {
    view: ViewInfo,
    /// What its table held when that was last seen. Another writer has come if it holds something else.
    committed: Option<Committed>,
    /// The table as its log says it is; taken out while something is done with it, so that what fails or is cancelled
    /// leaves nothing believed.
    table: Option<Table>,
    upkeep: Upkeep,
    past: Past,
}

/// What is known of a view's history.
#[derive(Default)]
struct Past {
    /// As for the view's table.
    table: Option<Table>,
    upkeep: Upkeep,
}

impl DeltaSink {
    /// A sink of this name under `[sinks.…]`. Touches nothing yet. `location` is what the configured path
    /// stands for.
    pub fn new(
        name: impl Into<String>,
        pipeline: impl Into<String>,
        location: Location,
        config: DeltaConfig,
        clock: Clock,
    ) -> Self {
        DeltaSink {
            name: name.into(),
            pipeline: pipeline.into(),
            store: Store::new(location),
            config,
            clock,
            views: BTreeMap::new(),
        }
    }

    async fn committed(&mut self, views: &[ViewInfo]) -> Result<BTreeMap<ViewName, Option<Committed>>, DeltaSinkError> {
        self.views.clear();
        if let Some(fact) = self.config.fault() {
            return Err(DeltaSinkError::Config { fact });
        }
        self.store.check()?;
        history::check_names(views.iter())?;
        let mut committed = BTreeMap::new();
        for view in views {
            shape::check_view(view, &self.config)?;
            let store = self.store.table(&view.name)?;
            let table = Table::load(&store, &view.name, Role::Present, &self.pipeline).await?;
            let found = table.as_ref().and_then(|table| table.committed);
            committed.insert(view.name.clone(), found);
            let (upkeep, past) = (Upkeep::default(), Past::default());
            let known = Known { view: view.clone(), committed: found, table, upkeep, past };
            self.views.insert(view.name.clone(), known);
        }
        Ok(committed)
    }

    /// The table as it is now: what is known, unless the log has gone on.
    async fn current(&mut self, store: &TableStore, view: &ViewName) -> Result<Option<Table>, DeltaSinkError> {
        if let Some(table) = self.views.get_mut(view).and_then(|known| known.table.take())
            && is_newest(store, &table).await?
        {
            return Ok(Some(table));
        }
        Table::load(store, view, Role::Present, &self.pipeline).await
    }

    /// The table of a view's history as it is now.
    async fn current_history(&mut self, view: &ViewInfo) -> Result<Option<Table>, DeltaSinkError> {
        if let Some(table) = self.views.get_mut(&view.name).and_then(|known| known.past.table.take())
            && is_newest(&self.store.table(&history::versions::name_of(&view.name))?, &table).await?
        {
            return Ok(Some(table));
        }
        history::load(&self.store, view, &self.pipeline).await
    }

    async fn commit_range(&mut self, commit: Commit) -> Result<CommitOutcome, DeltaSinkError> {
        let Commit { after, header, views } = commit;
        let mut staged = Vec::with_capacity(views.len());
        match self.stage(views, after, &header, &mut staged).await {
            Ok(None) => {}
            ended => {
                for staged in &staged {
                    staged.discard().await;
                }
                return ended.map(|outcome| outcome.expect("only a conflict ends the staging early"));
            }
        }
        failpoint::hit("sink.delta.before_commit");
        let (config, pipeline) = (self.config.clone(), self.pipeline.clone());
        let scene = Scene { config: &config, pipeline: &pipeline, now: (self.clock)() };
        let mut landings = Vec::new();
        for part in staged {
            let view = part.view.view().clone();
            let landing = part.land(scene, &header);
            landings.push(async { (view, landing.await) }.boxed());
        }
        let landed: Vec<_> = stream::iter(landings).buffered(LANDINGS).collect().await;
        let (mut rows, mut conflict, mut failed) = (0, None, None);
        for (view, ended) in landed {
            match ended {
                Ok(Ended { view: Landed::Done { table, rows: changed }, history }) => {
                    rows += changed;
                    self.keep(view, *table, history);
                }
                Ok(Ended { view: Landed::Conflict(found), .. }) => {
                    conflict = Some(CommitOutcome::Conflict { view: view.name, found })
                }
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        if let Some(conflict) = conflict {
            return Ok(conflict);
        }
        failpoint::hit("sink.delta.committed");
        Ok(CommitOutcome::Committed { rows })
    }

    /// Remembers a table after a commit of ours.
    fn keep(&mut self, view: ViewInfo, table: Table, history: Option<Table>) {
        let known = self.views.remove(&view.name);
        let (upkeep, past) = known.map(|known| (known.upkeep, known.past)).unwrap_or_default();
        let past = Past { table: history, ..past };
        let known = Known { committed: table.committed, table: Some(table), upkeep, past, view: view.clone() };
        self.views.insert(view.name, known);
    }

    async fn maintain_tables(&mut self) -> Result<(), DeltaSinkError> {
        let names: Vec<ViewName> = self.views.keys().cloned().collect();
        let (config, pipeline) = (self.config.clone(), self.pipeline.clone());
        for name in names {
            let store = self.store.table(&name)?;
            let Some(table) = self.current(&store, &name).await? else { continue };
            let known = self.views.get_mut(&name).expect("the names are those of the views");
            // Where another writer or other columns have come, the next commit deals with it.
            let Some(shape) = table.shape(&known.view).filter(|_| known.committed == table.committed) else { continue };
            let scene = Scene { config: &config, pipeline: &pipeline, now: (self.clock)() };
            let (table, done) = maintain::maintain(scene, &store, &shape, table, &mut known.upkeep).await?;
            known.table = table;
            told(&self.name, &name, done);
            let view = known.view.clone();
            if view.history.is_some() {
                self.maintain_history(scene, &view).await?;
            }
        }
        Ok(())
    }

    async fn maintain_history(&mut self, scene: Scene<'_>, view: &ViewInfo) -> Result<(), DeltaSinkError> {
        let info = history::versions::versions_of(view);
        let store = self.store.table(&info.name)?;
        let Some(table) = self.current_history(view).await? else { return Ok(()) };
        let known = self.views.get_mut(&view.name).expect("the view is one of those that were opened");
        // Where the view went on without it, or not yet with it, the next commit deals with it.
        let Some(shape) = table.shape(&info).filter(|_| known.committed == table.committed) else { return Ok(()) };
        let (table, forgotten) = history::upkeep::forget(scene, &store, &shape, view, table).await?;
        let Some(table) = table else { return Ok(()) };
        let (table, done) = maintain::maintain(scene, &store, &shape, table, &mut known.past.upkeep).await?;
        known.past.table = table;
        if forgotten > 0 {
            tracing::info!(name: "history_forgotten", sink = %self.name, history = %info.name, forgotten, "old versions were forgotten");
        }
        told(&self.name, &info.name, done);
        Ok(())
    }

    async fn read_rows(
        &mut self,
        view: &ViewInfo,
    ) -> Result<BoxStream<'static, Result<ZSet, ConnectorError>>, DeltaSinkError> {
        let store = self.store.table(&view.name)?;
        let table = self.current(&store, &view.name).await?;
        if let Some(known) = self.views.get_mut(&view.name) {
            known.table.clone_from(&table);
        }
        read::rows(self.name.clone(), store, view.clone(), table)
    }

    /// Writes the files of all views; answers a conflict if there is one.
    async fn stage(
        &mut self,
        views: Vec<ViewCommit>,
        after: tidegate_core::Epoch,
        header: &tidegate_core::EpochHeader,
        staged: &mut Vec<Part>,
    ) -> Result<Option<CommitOutcome>, DeltaSinkError> {
        let (config, pipeline) = (self.config.clone(), self.pipeline.clone());
        let scene = Scene { config: &config, pipeline: &pipeline, now: (self.clock)() };
        history::check_names(views.iter().map(|part| &part.view))?;
        for ViewCommit { view, content } in views {
            shape::check_view(&view, &config)?;
            let store = self.store.table(&view.name)?;
            let known = self.views.get(&view.name).map(|known| known.committed);
            let table = self.current(&store, &view.name).await?;
            let found = table.as_ref().and_then(|table| table.committed);
            let name = view.name.clone();
            // Another writer was here since the sink was opened.
            if known.is_some_and(|known| known != found) {
                return Ok(Some(CommitOutcome::Conflict { view: name, found }));
            }
            let history = view.history.map(|_| view.clone());
            if table.is_none() {
                remove::make_room(&store).await?;
            }
            match commit::prepare(scene, store, view, table, content, after, header).await? {
                Prepared::Staged(view) => staged.push(Part { view: *view, history: Beside::Nothing }),
                Prepared::Conflict(found) => return Ok(Some(CommitOutcome::Conflict { view: name, found })),
            }
            let (Some(view), Some(part)) = (history, staged.last_mut()) else { continue };
            let table = self.current_history(&view).await?;
            if table.is_none() {
                remove::make_room(&self.store.table(&history::versions::name_of(&view.name))?).await?;
            }
            part.history = match history::prepare(scene, &self.store, &mut part.view, table, header).await? {
                history::Prepared::Staged(history) => Beside::Staged(history),
                history::Prepared::Done(table) => Beside::Done(table),
                history::Prepared::Conflict => return Ok(Some(CommitOutcome::Conflict { view: name, found })),
            };
        }
        Ok(None)
    }
}

/// Whether nobody has added to a table's log.
async fn is_newest(store: &TableStore, table: &Table) -> Result<bool, DeltaSinkError> {
    let entry = |version: u64| layout::entry(version)[layout::LOG.len() + 1..].to_owned();
    let found = store.log_from(table.version).await?;
    Ok(found.contains(&entry(table.version)) && !found.contains(&entry(table.version + 1)))
}

/// Says what maintenance has done.
fn told(sink: &str, table: &ViewName, Done { merged, vacuumed }: Done) {
    if merged > 0 || vacuumed > 0 {
        tracing::info!(name: "table_maintained", sink, %table, merged, vacuumed, "the table was maintained");
    }
}

#[async_trait]
impl Sink for DeltaSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn default_commit_interval(&self) -> Duration {
        COMMIT_INTERVAL
    }

    async fn open(&mut self, views: &[ViewInfo]) -> Result<BTreeMap<ViewName, Option<Committed>>, ConnectorError> {
        self.committed(views).await.map_err(|error| connector_error(&self.name, error))
    }

    async fn commit(&mut self, commit: Commit) -> Result<CommitOutcome, ConnectorError> {
        self.commit_range(commit).await.map_err(|error| connector_error(&self.name, error))
    }

    async fn maintain(&mut self) -> Result<(), ConnectorError> {
        self.maintain_tables().await.map_err(|error| connector_error(&self.name, error))
    }

    async fn read(
        &mut self,
        view: &ViewInfo,
    ) -> Result<BoxStream<'static, Result<ZSet, ConnectorError>>, ConnectorError> {
        self.read_rows(view).await.map_err(|error| connector_error(&self.name, error))
    }

    async fn remove(&mut self, view: &ViewName) -> Result<Removal, ConnectorError> {
        self.views.remove(view);
        let removed = remove::remove(&self.store, view, &self.pipeline).await;
        removed.map_err(|error| connector_error(&self.name, error))
    }
}
