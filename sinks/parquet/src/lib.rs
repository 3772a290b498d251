//! Parquet deltas as a target: one file an epoch and view that changed.
//!
//! ```text
//! <path>/<view>/<epoch, 20 digits>.parquet   the view's columns, _change_type, _commit_version, _commit_timestamp
//! <path>/views.sql                           DuckDB: <view>, <view>_asof(epoch), <view>_changes(from, to)
//! <path>/_tidegate/manifest.json             what has been committed
//! ```
//!
//! A file is written whole before anybody sees it and never changes afterwards; files of a view
//! appear in the order of their epochs. So whoever reads `<view>/*.parquet` sees the view as of some
//! epoch, at most one commit ahead of the manifest. The file's key-value metadata holds
//! `tidegate.epoch`, `tidegate.hash` and `tidegate.frontier`.
//!
//! The oldest file of a view holds its whole content (`tidegate.reset`). When a view gets other
//! columns or its content is written anew, all earlier files are removed: there is no as-of before
//! that epoch.
//!
//! Column types are those that DuckDB reads back as the view's own; HUGEINT (as `DECIMAL(38,0)`), UUID,
//! JSON and INTERVAL (as text) and TIMESTAMP_S (in milliseconds) are cast by `views.sql`.

mod blocking;
mod columns;
mod commit;
pub mod config;
pub mod error;
mod layout;
mod manifest;
mod read;
mod stage;
mod store;
mod views_sql;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use tidegate_core::{Commit, CommitOutcome, Committed, ConnectorError, Sink, ViewInfo, ViewName, ZSet};

use crate::commit::Ledger;
pub use crate::config::{Location, ParquetConfig};
pub use crate::error::ParquetSinkError;
use crate::error::connector_error;
use crate::store::Store;

/// How often deltas are committed when the pipeline file does not say.
pub const COMMIT_INTERVAL: Duration = Duration::from_secs(1);

/// A sink that writes view deltas as Parquet files.
pub struct ParquetSink {
    name: String,
    pipeline: Option<String>,
    store: Store,
    /// What the target holds; unknown before the first open and after a commit that failed.
    ledger: Option<Ledger>,
}

impl ParquetSink {
    /// A sink of this name under `[sinks.…]`. Touches nothing yet.
    pub fn new(name: impl Into<String>, location: Location) -> Self {
        ParquetSink { name: name.into(), pipeline: None, store: Store::new(location), ledger: None }
    }

    /// Notes the pipeline's name in manifest and files.
    #[must_use]
    pub fn with_pipeline(mut self, pipeline: impl Into<String>) -> Self {
        self.pipeline = Some(pipeline.into());
        self
    }

    async fn commit_range(&mut self, commit: Commit) -> Result<CommitOutcome, ParquetSinkError> {
        // Taken out, so that a commit that fails or is cancelled leaves nothing believed.
        let mut ledger = match self.ledger.take() {
            Some(ledger) if ledger.is_current(&self.store).await? => ledger,
            _ => {
                let views: Vec<_> = commit.views.iter().map(|part| part.view.clone()).collect();
                Ledger::load(&self.store, &views).await?
            }
        };
        let outcome = commit::commit(&self.store, &mut ledger, commit, &self.name, self.pipeline.as_deref()).await?;
        if matches!(outcome, CommitOutcome::Committed { .. }) {
            self.ledger = Some(ledger);
        }
        Ok(outcome)
    }
}

#[async_trait]
impl Sink for ParquetSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn default_commit_interval(&self) -> Duration {
        COMMIT_INTERVAL
    }

    async fn open(&mut self, views: &[ViewInfo]) -> Result<BTreeMap<ViewName, Option<Committed>>, ConnectorError> {
        self.ledger = None;
        let ledger = Ledger::load(&self.store, views).await.map_err(|error| connector_error(&self.name, error))?;
        let committed = views.iter().map(|view| (view.name.clone(), ledger.manifest.committed(&view.name)));
        let committed = committed.collect();
        self.ledger = Some(ledger);
        Ok(committed)
    }

    async fn commit(&mut self, commit: Commit) -> Result<CommitOutcome, ConnectorError> {
        self.commit_range(commit).await.map_err(|error| connector_error(&self.name, error))
    }

    async fn read(
        &mut self,
        view: &ViewInfo,
    ) -> Result<BoxStream<'static, Result<ZSet, ConnectorError>>, ConnectorError> {
        read::rows(self.name.clone(), self.store.clone(), view.clone()).await
    }
}
