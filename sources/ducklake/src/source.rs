//! The source itself: [`Source`] over a lake.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tidegate_core::{
    ConnectorError, Finding, Horizon, Micros, OnExpired, Polled, Position, Severity, Snapshot, Source, SourceId,
    Statistics, TableName, TableSchema, VirtualColumn,
};
use tidegate_duck::lake::Storage;
use tidegate_postgres::{Connection, PostgresError};
use tokio::sync::Notify;

use crate::catalog::Catalog;
use crate::config::{Config, OnExpiredSnapshot, Reader};
use crate::error::LakeError;
use crate::extension;
use crate::extension::connection::Lake;
use crate::native;
use crate::native::lake::NativeLake;
use crate::native::notify::{self, Listener};
use crate::native::virtual_columns;
use crate::poll::{Request, poll};
use crate::position::{position_of, snapshot_of};
use crate::retention::{horizon, retention};
use crate::snapshot::snapshot;
use crate::statistics::statistics;
use crate::stream::{Shared, call};
use crate::tables::table_names;
use crate::time_map::{Stood, TimeMap};

/// A DuckLake as a source. All tables have [`WholeRow`](tidegate_core::RowIdentity::WholeRow)
/// identity; the incarnation of a table is its `table_id`.
///
/// Calls need a Tokio runtime, whose blocking pool they read on. A catalog in a DuckDB file is held
/// while a call runs and while its stream is consumed, and at no other time.
pub struct DucklakeSource {
    id: SourceId,
    on_expired: OnExpired,
    poll_interval: Duration,
    lake: Read,
    commits: Option<Commits>,
}

/// Who tells of commits, besides polling.
struct Commits {
    server: Connection,
    /// Where the catalog's tables are.
    schema: String,
    wake: Arc<Notify>,
    listener: Option<Listener>,
}

/// What was read of data and delete files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FilesRead {
    /// Requests to the store.
    pub requests: u64,
    /// Bytes asked for.
    pub bytes: u64,
}

/// The lake, by who reads it.
enum Read {
    Extension(Shared<Lake>),
    Native(Shared<NativeLake>),
}

impl DucklakeSource {
    /// A source under the name it has in the pipeline file; relative paths are relative to `base`, the
    /// pipeline file's folder. Nothing is opened yet.
    pub fn new(name: &str, config: &Config, base: &Path) -> Result<Self, ConnectorError> {
        let attachment = config.resolve(name, base)?;
        let server = match config.reader {
            Reader::Extension => None,
            Reader::Native => native::catalog::server(name, &attachment)?,
        };
        let commits = server.map(|(server, schema)| Commits { server, schema, wake: Arc::default(), listener: None });
        Ok(DucklakeSource {
            id: SourceId::new("ducklake", name),
            on_expired: match config.on_expired_snapshot {
                OnExpiredSnapshot::Fallback => OnExpired::Rebuild,
                OnExpiredSnapshot::Error => OnExpired::Stop,
            },
            poll_interval: config.poll_interval,
            commits,
            lake: match config.reader {
                Reader::Extension => Read::Extension(Arc::new(Mutex::new(Lake::new(name.to_owned(), attachment)))),
                Reader::Native => Read::Native(Arc::new(Mutex::new(NativeLake::new(name.to_owned(), attachment)))),
            },
        })
    }

    /// Says how files on S3 are reached, where it is not as the AWS environment says.
    pub fn with_storage(self, storage: &Storage) -> Self {
        match &self.lake {
            Read::Extension(lake) => lock(lake).set_storage(storage.clone()),
            Read::Native(lake) => lock(lake).set_storage(storage.clone()),
        }
        self
    }

    /// How often to poll while nothing happens.
    pub fn poll_interval(&self) -> Duration {
        self.poll_interval
    }

    fn refused(&self, source: PostgresError) -> ConnectorError {
        LakeError::Server { lake: self.id.name.clone(), source }.into()
    }

    /// What was read of data and delete files so far, where this program reads them itself.
    pub fn files_read(&self) -> Option<FilesRead> {
        let Read::Native(lake) = &self.lake else { return None };
        Some(lock(lake).files_read())
    }

    /// What is woken when the lake was written, where somebody tells of it.
    pub fn wake(&self) -> Option<Arc<Notify>> {
        self.commits.as_ref().map(|commits| commits.wake.clone())
    }

    /// Where the lake stood at a moment. The base of AS OF: no command asks it yet.
    pub async fn at(&mut self, time: Micros) -> Result<Stood, ConnectorError> {
        self.ask(move |catalog| TimeMap::read(catalog).map(|map| map.at(time))).await
    }

    /// Asks one state of the catalog.
    async fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Catalog) -> Result<T, LakeError> + Send + 'static,
    ) -> Result<T, ConnectorError> {
        let name = &self.id.name;
        match &self.lake {
            Read::Extension(lake) => call(lake, name, move |lake| lake.attached(|session| ask(session))).await,
            Read::Native(lake) => call(lake, name, move |lake| lake.reading(|session| ask(session))).await,
        }
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

    fn virtual_columns(&self) -> Vec<VirtualColumn> {
        match &self.lake {
            Read::Extension(_) => virtual_columns::refused(),
            Read::Native(_) => virtual_columns::offered(),
        }
    }

    async fn head(&mut self) -> Result<Position, ConnectorError> {
        self.ask(|catalog| catalog.head()).await.map(position_of)
    }

    async fn horizon(&mut self, read: &Position) -> Result<Option<Horizon>, ConnectorError> {
        let read = snapshot_of(read, &self.id.name)?;
        self.ask(move |catalog| horizon(catalog, read)).await.map(Some)
    }

    async fn retention(&mut self, read: &Position) -> Result<Vec<Finding>, ConnectorError> {
        let read = snapshot_of(read, &self.id.name)?;
        self.ask(move |catalog| retention(catalog, read)).await
    }

    async fn list(&mut self, at: Option<&Position>) -> Result<Vec<TableName>, ConnectorError> {
        let at = self.snapshot_id(at)?;
        self.ask(move |catalog| table_names(catalog, catalog.resolve(at)?)).await
    }

    async fn tables(
        &mut self,
        wanted: &[TableName],
        at: Option<&Position>,
    ) -> Result<Vec<TableSchema>, ConnectorError> {
        let (wanted, at, name) = (wanted.to_vec(), self.snapshot_id(at)?, &self.id.name);
        match &self.lake {
            Read::Extension(lake) => call(lake, name, move |lake| lake.tables(&wanted, at)).await,
            Read::Native(lake) => call(lake, name, move |lake| lake.tables(&wanted, at)).await,
        }
    }

    async fn snapshot(&mut self, tables: &[TableSchema], at: Option<&Position>) -> Result<Snapshot, ConnectorError> {
        let (tables, at, name) = (tables.to_vec(), self.snapshot_id(at)?, &self.id.name);
        match &self.lake {
            Read::Extension(lake) => {
                refuse_virtual_columns(name, &tables)?;
                snapshot(lake, name, tables, at, extension::snapshot::read).await
            }
            Read::Native(lake) => snapshot(lake, name, tables, at, native::snapshot::read).await,
        }
    }

    async fn poll(
        &mut self,
        tables: &[TableSchema],
        from: &Position,
        until: Option<&Position>,
        rows_max: u64,
    ) -> Result<Polled, ConnectorError> {
        let name = &self.id.name;
        if let Some(Commits { server, wake, listener, .. }) = &mut self.commits {
            listener.get_or_insert_with(|| Listener::start(name, server.clone(), wake.clone()));
        }
        let request = Request {
            tables: tables.to_vec(),
            from: snapshot_of(from, name)?,
            until: self.snapshot_id(until)?,
            rows_max,
        };
        match &self.lake {
            Read::Extension(lake) => {
                refuse_virtual_columns(name, tables)?;
                poll(lake, name, request, extension::changes::read).await
            }
            Read::Native(lake) => poll(lake, name, request, native::poll::read).await,
        }
    }

    async fn check(&mut self, _tables: &[TableSchema]) -> Result<Vec<Finding>, ConnectorError> {
        let Some(Commits { server, schema, .. }) = &self.commits else { return Ok(Vec::new()) };
        let installed = notify::is_installed(server, schema).await.map_err(|source| self.refused(source))?;
        let fact = if installed {
            "a trigger in the catalog tells of every commit at once".to_owned()
        } else {
            let every = self.poll_interval;
            format!(
                "commits are asked for every {every:?}: `tidegate doctor --install-notify` has the catalog tell of them"
            )
        };
        Ok(vec![Finding { severity: Severity::Good, fact, fix: None }])
    }

    async fn statistics(&mut self, tables: &[TableSchema]) -> Result<Statistics, ConnectorError> {
        let tables = tables.to_vec();
        self.ask(move |catalog| statistics(catalog, &tables)).await
    }

    async fn announce(&mut self, on: bool) -> Result<Option<String>, ConnectorError> {
        let Some(Commits { server, schema, .. }) = &self.commits else { return Ok(None) };
        let done = if on { notify::install(server, schema).await } else { notify::remove(server, schema).await };
        done.map_err(|source| self.refused(source))?;
        let said = if on { "has a trigger that tells of every commit" } else { "has no trigger that tells of commits" };
        Ok(Some(format!("the catalog at {server:?} {said}")))
    }

    /// A lake keeps its snapshots until they are expired there; it is not told who has read them.
    async fn acknowledge(&mut self, _position: &Position) -> Result<(), ConnectorError> {
        Ok(())
    }
}

fn lock<L>(lake: &Mutex<L>) -> MutexGuard<'_, L> {
    lake.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A pipeline whose views read such columns was given another reader.
fn refuse_virtual_columns(lake: &str, tables: &[TableSchema]) -> Result<(), LakeError> {
    let column = tables.iter().find_map(|table| Some((table, table.virtual_columns().first()?)));
    column.map_or(Ok(()), |(table, column)| {
        let (lake, table, column) = (lake.to_owned(), table.name.to_string(), column.name().clone());
        Err(LakeError::VirtualColumn { lake, table, column })
    })
}
