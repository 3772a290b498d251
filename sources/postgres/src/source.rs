//! The source itself: [`Source`] over a database.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tidegate_core::{
    ConnectorError, Finding, Lsn, OnExpired, Polled, Position, Snapshot, Snapshots, Source, SourceId, Statistics,
    TableName, TableSchema,
};
use tokio::sync::Notify;

use crate::catalog::{Catalog, Publication, Table};
use crate::config::{Config, OnSlotLost, Settings};
use crate::connection::Session;
use crate::error::PostgresError;
use crate::follower::{Durable, Follower};
use crate::identity::IdentityFile;
use crate::lag::LagWatch;
use crate::position::lsn_of;
use crate::setup::Setup;
use crate::slot::{self, Slot};
use crate::statistics;
use crate::types::Policy;

/// A PostgreSQL database as a source. The incarnation of a table is a hash over everything that
/// decides how its changes are read, so that another one means copying it again.
///
/// Calls need a Tokio runtime.
pub struct PostgresSource {
    pub(crate) id: SourceId,
    pub(crate) settings: Settings,
    pub(crate) folder: std::path::PathBuf,
    pub(crate) identity: IdentityFile,
    session: Option<Session>,
    system: Option<String>,
    pub(crate) stream: Option<Streaming>,
    pub(crate) durable: Arc<Durable>,
    pub(crate) wake: Arc<Notify>,
}

/// A stream under way.
pub(crate) struct Streaming {
    pub follower: Follower,
    /// Everything up to here was offered.
    pub offered: Lsn,
    pub tables: Vec<Table>,
    pub looked: Instant,
    pub _lag: LagWatch,
}

impl PostgresSource {
    /// A source under the name it has in the pipeline file. Relative paths are relative to `base`, the pipeline
    /// file's folder; `folder` takes what has to be remembered, and transactions that do not fit in memory.
    /// Nothing is opened yet.
    pub fn new(
        name: &str,
        config: &Config,
        pipeline: &str,
        base: &Path,
        folder: &Path,
    ) -> Result<Self, ConnectorError> {
        let settings = config.resolve(name, pipeline, base)?;
        Ok(PostgresSource {
            id: SourceId::new("postgres", name),
            identity: IdentityFile::new(name, folder),
            folder: folder.to_owned(),
            settings,
            session: None,
            system: None,
            stream: None,
            durable: Arc::default(),
            wake: Arc::default(),
        })
    }

    /// How often to poll while nothing arrives by itself.
    pub fn poll_interval(&self) -> Duration {
        self.settings.config.poll_interval
    }

    /// Told when a transaction has arrived.
    pub fn wake(&self) -> Arc<Notify> {
        self.wake.clone()
    }

    /// The SQL session, opened anew where it is gone.
    pub(crate) async fn session(&mut self) -> Result<&Session, PostgresError> {
        if self.session.as_ref().is_none_or(Session::is_closed) {
            let session = self.settings.connection.session(&self.settings.name).await?;
            let sql = "SELECT system_identifier::text FROM pg_control_system()";
            let system = session.query_one("asking for the system identifier", sql, &[]).await?.get(0);
            self.system = Some(system);
            self.session = Some(session);
        }
        self.session.as_ref().ok_or(PostgresError::Abandoned { database: self.id.name.clone(), what: "the session" })
    }

    /// The publication and the tables as they are now.
    pub(crate) async fn describe(
        &mut self,
        wanted: &[TableName],
    ) -> Result<(Option<Publication>, Vec<Table>), PostgresError> {
        self.session().await?;
        let (session, system) = self.opened()?;
        let catalog = Catalog::new(session, &self.settings, system);
        let publication = catalog.publication().await?;
        let tables = catalog.describe(wanted, publication.as_ref()).await?;
        Ok((publication, tables))
    }

    pub(crate) fn opened(&self) -> Result<(&Session, &str), PostgresError> {
        let what = "the session";
        let gone = || PostgresError::Abandoned { database: self.id.name.clone(), what };
        Ok((self.session.as_ref().ok_or_else(gone)?, self.system.as_deref().ok_or_else(gone)?))
    }

    /// The pipeline's replication slot as it is now; `None` when there is none.
    pub(crate) async fn slot(&mut self) -> Result<Option<Slot>, PostgresError> {
        let name = self.settings.slot.clone();
        slot::look(self.session().await?, &name).await
    }

    /// The end of the server's WAL.
    pub(crate) async fn now(&mut self) -> Result<Lsn, PostgresError> {
        let sql = "SELECT pg_current_wal_flush_lsn()::text";
        let row = self.session().await?.query_one("asking for the end of the WAL", sql, &[]).await?;
        row.get::<_, &str>(0).parse().map_err(|_| PostgresError::Stream {
            database: self.id.name.clone(),
            table: "of the server".to_owned(),
            fact: "the end of the WAL is not an LSN",
        })
    }

    pub(crate) fn policy(&self) -> Policy {
        let config = &self.settings.config;
        Policy { numeric: config.numeric, on_unrepresentable: config.on_unrepresentable, ..Policy::default() }
    }
}

#[async_trait]
impl Source for PostgresSource {
    fn id(&self) -> &SourceId {
        &self.id
    }

    /// A slot that was dropped here, by configuration, is followed by a copy, whatever is said of slots that are lost
    /// otherwise.
    fn on_expired(&self) -> OnExpired {
        let released = || self.identity.read().ok().flatten().is_some_and(|identity| identity.released);
        match self.settings.config.on_slot_lost {
            OnSlotLost::Resnapshot => OnExpired::Rebuild,
            OnSlotLost::Error if released() => OnExpired::Rebuild,
            OnSlotLost::Error => OnExpired::Stop,
        }
    }

    fn snapshots(&self) -> Snapshots {
        Snapshots::PresentOnly
    }

    async fn head(&mut self) -> Result<Position, ConnectorError> {
        Ok(Position::Lsn(self.now().await?))
    }

    async fn list(&mut self, _at: Option<&Position>) -> Result<Vec<TableName>, ConnectorError> {
        self.session().await?;
        let (session, system) = self.opened()?;
        Ok(Catalog::new(session, &self.settings, system).list().await?)
    }

    async fn tables(
        &mut self,
        wanted: &[TableName],
        _at: Option<&Position>,
    ) -> Result<Vec<TableSchema>, ConnectorError> {
        let (_, tables) = self.describe(wanted).await?;
        Ok(tables.into_iter().map(|table| table.schema).collect())
    }

    async fn check(&mut self, tables: &[TableSchema]) -> Result<Vec<Finding>, ConnectorError> {
        let names: Vec<TableName> = tables.iter().map(|schema| schema.name.clone()).collect();
        let (publication, tables) = self.describe(&names).await?;
        let slot = self.slot().await?;
        let (session, _) = self.opened()?;
        let (publication, slot) = (publication.as_ref(), slot.as_ref());
        let setup = Setup { session, settings: &self.settings, publication, slot, tables: &tables };
        Ok(setup.findings().await?)
    }

    async fn statistics(&mut self, tables: &[TableSchema]) -> Result<Statistics, ConnectorError> {
        let names: Vec<TableName> = tables.iter().map(|schema| schema.name.clone()).collect();
        let (_, tables) = self.describe(&names).await?;
        let (session, _) = self.opened()?;
        Ok(statistics::read(session, &tables).await?)
    }

    async fn snapshot(&mut self, tables: &[TableSchema], _at: Option<&Position>) -> Result<Snapshot, ConnectorError> {
        let copy = self.prepare(tables).await?;
        Ok(Snapshot {
            position: Position::Lsn(copy.position()),
            commit_time: Some(copy.taken_at),
            rows_estimate: copy.rows_estimate(),
            events: copy.start(),
        })
    }

    async fn poll(
        &mut self,
        tables: &[TableSchema],
        from: &Position,
        until: Option<&Position>,
        rows_max: u64,
    ) -> Result<Polled, ConnectorError> {
        let from = lsn_of(from, &self.id.name)?;
        let until = until.map(|until| lsn_of(until, &self.id.name)).transpose()?;
        Ok(self.poll_stream(tables, from, until, rows_max).await?)
    }

    async fn acknowledge(&mut self, position: &Position) -> Result<(), ConnectorError> {
        self.durable.raise(lsn_of(position, &self.id.name)?);
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), ConnectorError> {
        let durable = self.durable.get();
        while self.stream.as_ref().is_some_and(|stream| !stream.follower.has_ended()) {
            if self.slot().await?.is_none_or(|slot| slot.confirmed >= durable) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}
