//! An SQL session. Its queries bind their values; its waits end when the server does not work on them any more.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::SinkExt;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, CopyInSink, Row, RowStream, SimpleQueryMessage};

use crate::connection::Connection;
use crate::error::PostgresError;

/// A bound value and its type.
pub type Value<'a> = (&'a (dyn ToSql + Sync), Type);

/// A session. Dropping it closes the connection, and the server rolls back what was open.
pub struct Session {
    client: Client,
    connection: Connection,
    /// The server's process.
    process: i32,
    given_up: AtomicBool,
    driver: tokio::task::JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    pub(crate) async fn begin(
        client: Client,
        connection: Connection,
        driver: tokio::task::JoinHandle<()>,
    ) -> Result<Self, PostgresError> {
        let mut session = Session { client, connection, process: 0, given_up: AtomicBool::new(false), driver };
        let asked = session.client.query_typed("SELECT pg_backend_pid()", &[]).await;
        let rows = asked.map_err(|error| PostgresError::of("connecting", &error))?;
        session.process = rows.first().map_or(0, |row| row.get(0));
        Ok(session)
    }

    /// The client underneath, for what has no method here. Its waits do not end.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Whether the connection is gone, or did not answer.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed() || self.given_up.load(Ordering::Relaxed)
    }

    /// Rows of a query, whose values carry their types: one round trip.
    pub async fn query(&self, doing: &'static str, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, PostgresError> {
        self.wait(doing, self.client.query_typed(sql, values)).await
    }

    /// Rows of a query without values, streamed as the server sends them.
    pub async fn stream(&self, doing: &'static str, sql: &str) -> Result<RowStream, PostgresError> {
        self.wait(doing, self.client.query_typed_raw(sql, std::iter::empty::<(&(dyn ToSql + Sync), Type)>())).await
    }

    /// Statements without values and rows, separated by semicolons.
    pub async fn execute(&self, doing: &'static str, sql: &str) -> Result<(), PostgresError> {
        self.wait(doing, self.client.batch_execute(sql)).await
    }

    /// Statements without values, sent together: one round trip. They run in order, the first that fails ends them.
    pub async fn batch(&self, doing: &'static str, statements: &[String]) -> Result<Vec<Outcome>, PostgresError> {
        let messages = self.wait(doing, self.client.simple_query(&statements.join(";\n"))).await?;
        let (mut outcomes, mut numbers) = (Vec::with_capacity(statements.len()), Vec::new());
        for message in messages {
            match message {
                SimpleQueryMessage::Row(row) if numbers.is_empty() => {
                    numbers = (0..row.len()).map(|at| row.get(at)?.parse().ok()).collect();
                }
                SimpleQueryMessage::CommandComplete(rows) => {
                    outcomes.push(Outcome { rows, numbers: std::mem::take(&mut numbers) });
                }
                _ => {}
            }
        }
        Ok(outcomes)
    }

    /// Begins a COPY into a table.
    pub async fn copy_in(&self, doing: &'static str, sql: &str) -> Result<CopyIn<'_>, PostgresError> {
        let sink = self.wait(doing, self.client.copy_in(sql)).await?;
        Ok(CopyIn { session: self, doing, sink: Box::pin(sink) })
    }

    /// Waits for an answer. One that takes long is waited for as long as the server says, to a connection of its
    /// own, that it works on it: a cut that nobody reports would otherwise hold us for ever. One that the server
    /// has just given may still be under way, so it is given up only when the server denies it twice.
    pub async fn wait<T>(
        &self,
        doing: &'static str,
        asked: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, PostgresError> {
        let mut asked = std::pin::pin!(asked);
        let mut denied = 0;
        while denied < 2 {
            match tokio::time::timeout(self.connection.answer_within(), asked.as_mut()).await {
                Ok(answer) => return answer.map_err(|error| PostgresError::of(doing, &error)),
                Err(_) if self.is_worked_on().await => denied = 0,
                Err(_) => denied += 1,
            }
        }
        self.given_up.store(true, Ordering::Relaxed);
        let message = format!("{:?} did not answer, and does not work on it", self.connection);
        Err(PostgresError::Unreachable { doing, message, passing: true })
    }

    /// Whether the server says that this session's statement runs.
    async fn is_worked_on(&self) -> bool {
        let asked = async {
            // Boxed, because opening a session may wait like this one.
            let opened: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(self.connection.session(""));
            let other = opened.await.ok()?;
            let sql = "SELECT 1 FROM pg_catalog.pg_stat_activity WHERE pid = $1 AND state = 'active'";
            let rows = other.client.query_typed(sql, &[(&self.process, Type::INT4)]).await.ok()?;
            (!rows.is_empty()).then_some(())
        };
        tokio::time::timeout(self.connection.connect_timeout(), asked).await.ok().flatten().is_some()
    }
}

/// How a statement of a batch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Rows changed or answered.
    pub rows: u64,
    /// The first answered row, as far as its values are numbers.
    pub numbers: Vec<Option<i64>>,
}

/// A COPY under way. Dropped before [`finish`](CopyIn::finish), it fails at the server, and with it the
/// transaction.
pub struct CopyIn<'a> {
    session: &'a Session,
    doing: &'static str,
    sink: Pin<Box<CopyInSink<Bytes>>>,
}

impl CopyIn<'_> {
    /// Sends a part of the data; how it is cut into parts has no meaning.
    pub async fn send(&mut self, data: Bytes) -> Result<(), PostgresError> {
        self.session.wait(self.doing, self.sink.send(data)).await
    }

    /// Ends the data; answers the number of rows.
    pub async fn finish(mut self) -> Result<u64, PostgresError> {
        self.session.wait(self.doing, self.sink.as_mut().finish()).await
    }
}
