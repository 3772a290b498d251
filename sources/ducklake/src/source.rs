//! The source itself: [`Source`] over a lake.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tidegate_core::{ConnectorError, OnExpired, Polled, Position, Snapshot, Source, SourceId, TableName, TableSchema};
use tidegate_duck::lake::Storage;

use crate::changes::{self, Request};
use crate::config::{Config, OnExpiredSnapshot};
use crate::connection::Lake;
use crate::position::{position_of, snapshot_of};
use crate::snapshot;
use crate::stream::{SharedLake, call};

/// A DuckLake as a source. All tables have [`WholeRow`](tidegate_core::RowIdentity::WholeRow)
/// identity; the incarnation of a table is its `table_id`.
///
/// Calls need a Tokio runtime, whose blocking pool they read on. A catalog in a DuckDB file is held
/// while a call runs and while its stream is consumed, and at no other time.
pub struct DucklakeSource {
    id: SourceId,
    on_expired: OnExpired,
    poll_interval: Duration,
    lake: SharedLake,
}

impl DucklakeSource {
    /// A source under the name it has in the pipeline file; relative paths are relative to `base`, the
    /// pipeline file's folder. Nothing is opened yet.
    pub fn new(name: &str, config: &Config, base: &Path) -> Result<Self, ConnectorError> {
        let attachment = config.resolve(name, base)?;
        Ok(DucklakeSource {
            id: SourceId::new("ducklake", name),
            on_expired: match config.on_expired_snapshot {
                OnExpiredSnapshot::Fallback => OnExpired::Rebuild,
                OnExpiredSnapshot::Error => OnExpired::Stop,
            },
            poll_interval: config.poll_interval,
            lake: Arc::new(Mutex::new(Lake::new(name.to_owned(), attachment))),
        })
    }

    /// Says how files on S3 are reached, where it is not as the AWS environment says.
    pub fn with_storage(self, storage: &Storage) -> Self {
        self.lake.lock().unwrap_or_else(PoisonError::into_inner).set_storage(storage.clone());
        self
    }

    /// How often to poll while nothing happens.
    pub fn poll_interval(&self) -> Duration {
        self.poll_interval
    }

    fn snapshot_id(&self, at: Option<&Position>) -> Result<Option<u64>, ConnectorError> {
        Ok(at.map(|position| snapshot_of(position, &self.id.name)).transpose()?)
    }
}

#[async_trait]
impl Source for DucklakeSource {
    fn id(&self) -> &SourceId {
        &self.id
    }

    fn on_expired(&self) -> OnExpired {
        self.on_expired
    }

    async fn head(&mut self) -> Result<Position, ConnectorError> {
        let head = call(&self.lake, &self.id.name, |lake| lake.attached(|session| session.head())).await?;
        Ok(position_of(head))
    }

    async fn list(&mut self, at: Option<&Position>) -> Result<Vec<TableName>, ConnectorError> {
        let at = self.snapshot_id(at)?;
        let list = move |lake: &mut Lake| lake.attached(|session| session.table_names(session.resolve(at)?));
        call(&self.lake, &self.id.name, list).await
    }

    async fn tables(
        &mut self,
        wanted: &[TableName],
        at: Option<&Position>,
    ) -> Result<Vec<TableSchema>, ConnectorError> {
        let (wanted, at) = (wanted.to_vec(), self.snapshot_id(at)?);
        let tables =
            move |lake: &mut Lake| lake.attached_anew(|session| session.schemas(&wanted, session.resolve(at)?));
        call(&self.lake, &self.id.name, tables).await
    }

    async fn snapshot(&mut self, tables: &[TableSchema], at: Option<&Position>) -> Result<Snapshot, ConnectorError> {
        let at = self.snapshot_id(at)?;
        snapshot::snapshot(&self.lake, &self.id.name, tables.to_vec(), at).await
    }

    async fn poll(
        &mut self,
        tables: &[TableSchema],
        from: &Position,
        until: Option<&Position>,
        rows_max: u64,
    ) -> Result<Polled, ConnectorError> {
        let request = Request {
            tables: tables.to_vec(),
            from: snapshot_of(from, &self.id.name)?,
            until: self.snapshot_id(until)?,
            rows_max,
        };
        changes::poll(&self.lake, &self.id.name, request).await
    }

    /// A lake keeps its snapshots until they are expired there; it is not told who has read them.
    async fn acknowledge(&mut self, _position: &Position) -> Result<(), ConnectorError> {
        Ok(())
    }
}
