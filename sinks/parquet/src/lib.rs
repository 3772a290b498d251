//! Parquet files as a target: one file an epoch and view that changed, or with `mode = "snapshot"` every
//! row from time to time (the module `snapshot`).
//!
//! ```text
//! <path>/<view>/<epoch, 20 digits>.parquet   the view's columns, _change_type, _commit_version, _commit_timestamp
//! <path>/<view>/<from>-<to>.parquet          the same for several epochs: merged files
//! <path>/<view>/<0>-<to>.parquet             the content at the end of epoch `to`: what retention has left
//! <path>/views.sql                           DuckDB: <view>, <view>_asof(epoch), <view>_changes(from, to)
//! <path>/_tidegate/manifest.json             what has been committed
//! ```
//!
//! A file is written whole before anybody sees it and never changes afterwards; files of a view
//! appear in the order of their epochs. Readers leave out every file whose epochs are in another one. So
//! whoever reads `<view>/*.parquet` sees the view as of some epoch, at most one commit ahead of the
//! manifest. The file's key-value metadata holds `tidegate.epoch`, `tidegate.hash`, `tidegate.frontier` and
//! `tidegate.time` of its last epoch.
//!
//! The oldest file of a view holds its whole content (`tidegate.reset`). When a view gets other
//! columns or its content is written anew, all earlier files are removed: there is no as-of before
//! that epoch.
//!
//! Rows are in the order of the view's key (of all columns where there is none), then of their epochs: in
//! the whole file where it was merged or its rows fit in memory at once, else in each sorted part of it
//! (`tidegate.runs` are the row groups at which the order begins anew).
//!
//! Column types are those that DuckDB reads back as the view's own; HUGEINT (as `DECIMAL(38,0)`), UUID,
//! JSON and INTERVAL (as text) and TIMESTAMP_S (in milliseconds) are cast by `views.sql`.

mod blocking;
mod columns;
mod commit;
mod compact;
pub mod config;
mod consolidate;
mod encode;
pub mod error;
mod fold;
mod layout;
mod manifest;
mod merge;
mod order;
mod read;
mod remove;
mod row_group;
mod snapshot;
mod sort;
mod stage;
mod store;
mod views_sql;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures::stream::BoxStream;
use tidegate_core::{
    Commit, CommitOutcome, Committed, ConnectorError, Micros, Removal, Sink, ViewInfo, ViewName, ZSet,
};

use crate::commit::{Ledger, Target};
use crate::config::ContentOptions;
pub use crate::config::{Location, Mode, Options, ParquetConfig};
pub use crate::error::ParquetSinkError;
use crate::error::connector_error;
use crate::store::Store;

/// How often deltas are committed when the pipeline file does not say.
pub const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// How often snapshots are written when the pipeline file does not say.
pub const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(300);

/// The machine's time, or a test's.
pub type Clock = Arc<dyn Fn() -> Micros + Send + Sync>;

/// A sink that writes view deltas, or snapshots of views, as Parquet files.
pub struct ParquetSink {
    name: String,
    pipeline: Option<String>,
    options: Options,
    store: Store,
    clock: Clock,
    /// The views of the last open.
    views: Vec<ViewInfo>,
    /// What the target holds; unknown before the first open and after a commit that failed.
    ledger: Option<Ledger>,
}

impl ParquetSink {
    /// A sink of this name under `[sinks.…]`. Touches nothing yet.
    pub fn new(name: impl Into<String>, location: Location) -> Self {
        ParquetSink {
            name: name.into(),
            pipeline: None,
            options: Options::default(),
            store: Store::new(location),
            clock: Arc::new(wall_clock),
            views: Vec::new(),
            ledger: None,
        }
    }

    /// Notes the pipeline's name in manifest and files.
    #[must_use]
    pub fn with_pipeline(mut self, pipeline: impl Into<String>) -> Self {
        self.pipeline = Some(pipeline.into());
        self
    }

    /// Writes as the configuration says: [`ParquetConfig::options`].
    #[must_use]
    pub fn with_options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Takes another clock than the machine's. What is merged and removed, and when, follows it.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    fn target(&self) -> Target<'_> {
        Target { store: &self.store, sink: &self.name, pipeline: self.pipeline.as_deref(), files: &self.options.files }
    }

    /// What the target holds, taken out, so that what fails or is cancelled leaves nothing believed.
    async fn take_ledger(&mut self, views: &[ViewInfo]) -> Result<Ledger, ParquetSinkError> {
        match self.ledger.take() {
            Some(ledger) if ledger.is_current(&self.store).await? => Ok(ledger),
            _ => Ledger::load(&self.store, views, &self.options.content).await,
        }
    }

    async fn commit_range(&mut self, commit: Commit) -> Result<CommitOutcome, ParquetSinkError> {
        let views: Vec<_> = commit.views.iter().map(|part| part.view.clone()).collect();
        let mut ledger = self.take_ledger(&views).await?;
        let outcome = match &self.options.content {
            ContentOptions::Deltas(_) => commit::commit(self.target(), &mut ledger, commit).await?,
            ContentOptions::Snapshot(options) => snapshot::commit(self.target(), options, &mut ledger, commit).await?,
        };
        if matches!(outcome, CommitOutcome::Committed { .. }) {
            self.ledger = Some(ledger);
        }
        Ok(outcome)
    }

    async fn keep_in_order(&mut self) -> Result<(), ParquetSinkError> {
        let views = self.views.clone();
        let mut ledger = self.take_ledger(&views).await?;
        match &self.options.content {
            ContentOptions::Deltas(options) => {
                compact::maintain(self.target(), &mut ledger, &views, options, &*self.clock).await?;
            }
            ContentOptions::Snapshot(_) if ledger.is_new() => {}
            ContentOptions::Snapshot(_) => {
                let names: Vec<_> = views.iter().map(|view| view.name.clone()).collect();
                snapshot::tell(self.target(), &ledger, &names).await?;
            }
        }
        self.ledger = Some(ledger);
        Ok(())
    }
}

fn wall_clock() -> Micros {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

#[async_trait]
impl Sink for ParquetSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn default_commit_interval(&self) -> Duration {
        match self.options.content.mode() {
            Mode::Deltas => COMMIT_INTERVAL,
            Mode::Snapshot => SNAPSHOT_INTERVAL,
        }
    }

    async fn open(&mut self, views: &[ViewInfo]) -> Result<BTreeMap<ViewName, Option<Committed>>, ConnectorError> {
        self.ledger = None;
        self.views = views.to_vec();
        let ledger = Ledger::load(&self.store, views, &self.options.content).await;
        let ledger = ledger.map_err(|error| connector_error(&self.name, error))?;
        let committed = views.iter().map(|view| (view.name.clone(), ledger.manifest.committed(&view.name)));
        let committed = committed.collect();
        self.ledger = Some(ledger);
        Ok(committed)
    }

    async fn commit(&mut self, commit: Commit) -> Result<CommitOutcome, ConnectorError> {
        self.commit_range(commit).await.map_err(|error| connector_error(&self.name, error))
    }

    async fn maintain(&mut self) -> Result<(), ConnectorError> {
        self.keep_in_order().await.map_err(|error| connector_error(&self.name, error))
    }

    async fn read(
        &mut self,
        view: &ViewInfo,
    ) -> Result<BoxStream<'static, Result<ZSet, ConnectorError>>, ConnectorError> {
        let (name, store, view) = (self.name.clone(), self.store.clone(), view.clone());
        match &self.options.content {
            ContentOptions::Deltas(_) => read::rows(name, store, view).await,
            ContentOptions::Snapshot(options) => snapshot::rows(name, store, view, options.clone()).await,
        }
    }

    async fn remove(&mut self, view: &ViewName) -> Result<Removal, ConnectorError> {
        self.ledger = None;
        self.views.retain(|known| known.name != *view);
        remove::remove(self.target(), view).await.map_err(|error| connector_error(&self.name, error))
    }
}
