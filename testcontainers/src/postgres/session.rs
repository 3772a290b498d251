//! SQL over connections of the test's own. The calls block their thread and work inside and outside
//! of an asynchronous runtime, because the connections live on a runtime of their own.

use std::error::Error;
use std::future::Future;
use std::sync::{Arc, LazyLock, mpsc};

use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// A result's rows as the server writes their values; `None` is NULL.
pub type TextRows = Vec<Vec<Option<String>>>;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("postgres-sessions").enable_all().build();
    runtime.expect("a runtime can be made")
});

/// A session that is held: transactions stay open between calls. Sessions may be used from several
/// threads. Dropping one closes it.
pub struct PgClient {
    client: Arc<Client>,
}

impl PgClient {
    /// Connects, without TLS.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn connect(url: &str) -> Self {
        Self::try_connect(url).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    /// Connects, without TLS, or answers the server's message.
    pub fn try_connect(url: &str) -> Result<Self, String> {
        let url = url.to_owned();
        wait(async move {
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await.map_err(describe)?;
            // Its end is the end of the session, and the session's calls report it.
            tokio::spawn(async { drop(connection.await) });
            Ok(PgClient { client: Arc::new(client) })
        })
    }

    /// Runs statements, separated by semicolons.
    ///
    /// # Panics
    /// When the server refuses one.
    pub fn execute(&self, sql: &str) {
        self.try_execute(sql).unwrap_or_else(|error| panic!("{error}: {}", shortened(sql)));
    }

    /// Runs statements, separated by semicolons, or answers the server's message and SQLSTATE.
    pub fn try_execute(&self, sql: &str) -> Result<(), String> {
        let (client, sql) = (Arc::clone(&self.client), sql.to_owned());
        wait(async move { client.batch_execute(&sql).await.map_err(describe) })
    }

    /// The rows of a query.
    ///
    /// # Panics
    /// When the server refuses it.
    pub fn query(&self, sql: &str) -> TextRows {
        self.try_query(sql).unwrap_or_else(|error| panic!("{error}: {}", shortened(sql)))
    }

    /// The rows of a query, or the server's message and SQLSTATE.
    pub fn try_query(&self, sql: &str) -> Result<TextRows, String> {
        let (client, sql) = (Arc::clone(&self.client), sql.to_owned());
        wait(async move {
            let messages = client.simple_query(&sql).await.map_err(describe)?;
            let rows = messages.iter().filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row),
                _ => None,
            });
            Ok(rows.map(|row| (0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect()).collect())
        })
    }

    /// A query's only value.
    ///
    /// # Panics
    /// When the server refuses it, or it has another number of values, or the value is NULL.
    pub fn value(&self, sql: &str) -> String {
        only_value(self.query(sql), sql)
    }
}

/// The only value of a query's rows.
pub(super) fn only_value(rows: TextRows, sql: &str) -> String {
    let mut values = rows.into_iter().flatten();
    match (values.next(), values.next()) {
        (Some(Some(value)), None) => value,
        _ => panic!("not one value: {}", shortened(sql)),
    }
}

/// Runs a future on the runtime of the sessions. The thread waits on a channel, which, other than
/// a nested runtime, is allowed everywhere.
pub(crate) fn wait<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let (sender, receiver) = mpsc::sync_channel(1);
    RUNTIME.spawn(async move { drop(sender.send(future.await)) });
    receiver.recv().expect("the sessions' runtime does not end before the process")
}

/// The server's own words, else the chain of causes.
fn describe(error: tokio_postgres::Error) -> String {
    if let Some(error) = error.as_db_error() {
        return format!("{}: {} (SQLSTATE {})", error.severity(), error.message(), error.code().code());
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// As much of a statement as one wants to read.
fn shortened(sql: &str) -> String {
    const CHARACTERS_MAX: usize = 500;
    match sql.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{} … ({} bytes)", &sql[..end], sql.len()),
        None => sql.to_owned(),
    }
}
