//! Delta tables as a target: one table a view at `<path>/<view>`, change data feed on.
//!
//! ```text
//! <path>/<view>/_delta_log/<version, 20 digits>.json   one entry a commit
//! <path>/<view>/epoch-<epoch>-….zstd.parquet            rows
//! <path>/<view>/_change_data/epoch-<epoch>-….parquet    what a commit changed, for the change data feed
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
mod layout;
mod load;
mod log;
mod lookup;
mod maintain;
mod net;
mod protocol;
mod read;
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
    Commit, CommitOutcome, Committed, ConnectorError, Micros, Sink, ViewCommit, ViewInfo, ViewName, ZSet, failpoint,
};

use crate::commit::{Landed, Prepared, Scene, Staged};
pub use crate::config::{DeltaConfig, Location, OnSchemaChange};
pub use crate::error::DeltaSinkError;
use crate::error::connector_error;
use crate::maintain::{Done, Upkeep};
use crate::store::{Store, TableStore};
use crate::table::Table;

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
        let mut committed = BTreeMap::new();
        for view in views {
            shape::check_view(view, &self.config)?;
            let table = Table::load(&self.store.table(&view.name)?, &view.name, &self.pipeline).await?;
            let found = table.as_ref().and_then(|table| table.committed);
            committed.insert(view.name.clone(), found);
            let known = Known { view: view.clone(), committed: found, table, upkeep: Upkeep::default() };
            self.views.insert(view.name.clone(), known);
        }
        Ok(committed)
    }

    /// The table as it is now: what is known, unless the log has gone on.
    async fn current(&mut self, store: &TableStore, view: &ViewName) -> Result<Option<Table>, DeltaSinkError> {
        if let Some(table) = self.views.get_mut(view).and_then(|known| known.table.take()) {
            let entry = |version: u64| layout::entry(version)[layout::LOG.len() + 1..].to_owned();
            let found = store.log_from(table.version).await?;
            if found.contains(&entry(table.version)) && !found.contains(&entry(table.version + 1)) {
                return Ok(Some(table));
            }
        }
        Table::load(store, view, &self.pipeline).await
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
            let view = part.view().clone();
            let landing = part.land(scene, &header);
            landings.push(async { (view, landing.await) }.boxed());
        }
        let landed: Vec<_> = stream::iter(landings).buffered(LANDINGS).collect().await;
        let (mut rows, mut conflict, mut failed) = (0, None, None);
        for (view, ended) in landed {
            match ended {
                Ok(Landed::Done { table, rows: changed }) => {
                    rows += changed;
                    self.keep(view, *table);
                }
                Ok(Landed::Conflict(found)) => conflict = Some(CommitOutcome::Conflict { view: view.name, found }),
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
    fn keep(&mut self, view: ViewInfo, table: Table) {
        let upkeep = self.views.remove(&view.name).map(|known| known.upkeep).unwrap_or_default();
        let known = Known { committed: table.committed, table: Some(table), upkeep, view: view.clone() };
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
            if done.merged > 0 || done.vacuumed > 0 {
                let Done { merged, vacuumed } = done;
                tracing::info!(sink = %self.name, view = %name, merged, vacuumed, "the table was maintained");
            }
        }
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
        staged: &mut Vec<Staged>,
    ) -> Result<Option<CommitOutcome>, DeltaSinkError> {
        let (config, pipeline) = (self.config.clone(), self.pipeline.clone());
        let scene = Scene { config: &config, pipeline: &pipeline, now: (self.clock)() };
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
            match commit::prepare(scene, store, view, table, content, after, header).await? {
                Prepared::Staged(part) => staged.push(*part),
                Prepared::Conflict(found) => return Ok(Some(CommitOutcome::Conflict { view: name, found })),
            }
        }
        Ok(None)
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
}
