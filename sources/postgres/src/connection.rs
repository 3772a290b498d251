//! The sessions of a source, SQL and replication, with the server that the `url` names.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgwire_replication::{PgWireError, ReplicationClient, ReplicationConfig};
use tidegate_core::{ErrorKind, Lsn};
pub(crate) use tidegate_postgres::{quote_ident, quote_literal};
use tokio_postgres::Client;

use crate::error::{self, PostgresError, replication};

/// Settings of every session: text forms that do not depend on the server's configuration, and no
/// time-outs that would end a session which waits for us.
const OPTIONS: &str = "-c DateStyle=ISO,YMD -c IntervalStyle=iso_8601 -c TimeZone=UTC -c bytea_output=hex \
                       -c extra_float_digits=3 -c statement_timeout=0 -c lock_timeout=0 \
                       -c idle_in_transaction_session_timeout=0 -c search_path=pg_catalog -c row_security=off";

/// How `money` is written where values are read; the digits it has are asked under the database's own
/// setting.
pub(crate) const MONEY_SETTING: &str = "lc_monetary=C";

/// How to reach the server.
#[derive(Debug, Clone)]
pub(crate) struct Connection(tidegate_postgres::Connection);

impl Connection {
    /// Reads a URL. Relative files are relative to `base`.
    pub fn parse(text: &str, base: &Path) -> Result<Connection, String> {
        tidegate_postgres::Connection::parse(text, base).map(Connection).map_err(|error| error.to_string())
    }

    /// The database's name.
    pub fn database(&self) -> &str {
        self.0.database()
    }

    /// The role.
    pub fn user(&self) -> &str {
        self.0.user()
    }

    /// Opens an SQL session. `source` is the source's name, for errors.
    pub async fn session(&self, source: &str) -> Result<Session, PostgresError> {
        let session = self.0.session(OPTIONS).await.map_err(|error| error::connecting(source, &error))?;
        Ok(Session { source: source.to_owned(), session, given_up: AtomicBool::new(false) })
    }

    /// Opens a replication session that waits for commands before it streams.
    pub async fn replication(&self, source: &str, stream: Stream<'_>) -> Result<ReplicationClient, PostgresError> {
        let doing = "connecting for replication";
        let mut config = ReplicationConfig::new(
            self.0.host(),
            self.0.user(),
            self.0.password(),
            self.0.database(),
            stream.slot,
            stream.publication,
        )
        .with_port(self.0.port())
        .with_tls(self.0.tls().clone())
        .with_options(format!("{OPTIONS} -c {MONEY_SETTING}"))
        .with_application_name(self.0.application_name())
        .with_status_interval(Duration::from_millis(100))
        .with_wakeup_interval(Duration::from_secs(5))
        .with_start_lsn(pgwire_replication::Lsn::from_u64(stream.start.0));
        // Events between the client and us are counted, not weighed: few enough that large rows do not add up.
        config.buffer_events = 512;
        // What is durable is told by acknowledgement alone, never by where the stream starts.
        config.ack_lsn = Some(pgwire_replication::Lsn::from_u64(stream.acknowledged.0));
        let opened = async {
            let mut client = ReplicationClient::connect_gated(config).await?;
            client.simple_query("SELECT 1").await?;
            Ok::<_, PgWireError>(client)
        };
        match tokio::time::timeout(self.0.connect_timeout(), opened).await {
            Ok(opened) => opened.map_err(|error| replication(source, doing, &error)),
            Err(_) => {
                let seconds = self.0.connect_timeout().as_secs();
                let message = format!("{:?} does not answer within {seconds} s", self.0);
                let (database, doing, kind) = (source.to_owned(), "connecting", ErrorKind::Retry);
                Err(PostgresError::Server { database, doing, message, kind })
            }
        }
    }
}

/// What a replication session is to stream.
#[derive(Clone, Copy)]
pub(crate) struct Stream<'a> {
    pub slot: &'a str,
    pub publication: &'a str,
    pub start: Lsn,
    pub acknowledged: Lsn,
}

/// How long the server has for an answer. One that takes longer is cut off, or asked for too much; the session is
/// given up.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// An SQL session. Its queries bind their values; its errors name the source.
pub(crate) struct Session {
    source: String,
    session: tidegate_postgres::Session,
    given_up: AtomicBool,
}

impl Session {
    /// The client underneath.
    pub fn client(&self) -> &Client {
        self.session.client()
    }

    /// Whether the connection is gone, or did not answer.
    pub fn is_closed(&self) -> bool {
        self.session.is_closed() || self.given_up.load(Ordering::Relaxed)
    }

    /// Rows of a query.
    pub async fn query(
        &self,
        doing: &'static str,
        sql: &str,
        values: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> Result<Vec<tokio_postgres::Row>, PostgresError> {
        self.answer(doing, self.client().query(sql, values)).await
    }

    /// The one row of a query.
    pub async fn query_one(
        &self,
        doing: &'static str,
        sql: &str,
        values: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> Result<tokio_postgres::Row, PostgresError> {
        self.answer(doing, self.client().query_one(sql, values)).await
    }

    /// Statements without rows.
    pub async fn execute(&self, doing: &'static str, sql: &str) -> Result<(), PostgresError> {
        self.answer(doing, self.client().batch_execute(sql)).await
    }

    async fn answer<T>(
        &self,
        doing: &'static str,
        asked: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, PostgresError> {
        match tokio::time::timeout(ANSWER_WITHIN, asked).await {
            Ok(answer) => answer.map_err(|error| error::server(&self.source, doing, &error)),
            Err(_) => {
                self.given_up.store(true, Ordering::Relaxed);
                let message = format!("the server did not answer within {} s", ANSWER_WITHIN.as_secs());
                let kind = ErrorKind::Retry;
                Err(PostgresError::Server { database: self.source.clone(), doing, message, kind })
            }
        }
    }
}
