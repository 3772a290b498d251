//! A sink that writes views as tables of a SQLite file: `<view>(row, copies)`, where a row is a JSON object.
//!
//! ```text
//! sqlite> SELECT row->>'region', row->>'revenue' FROM revenue;
//! ```
//!
//! One transaction of SQLite holds the rows of a commit and, in `_tidegate_epochs`, the epoch that they stand for. That is all that
//! exactly-once takes.

mod commit;
mod read;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior};
use tidegate_core::{
    Commit, CommitOutcome, Committed, ConnectorError, Epoch, ErrorKind, Removal, Sink, ViewContent, ViewInfo, ViewName,
    ZSet,
};
use tidegate_duck::quote_ident;
use tokio::sync::mpsc;

use commit::{Begin, Piece};

/// Where the file says what it holds.
const EPOCHS: &str = "_tidegate_epochs";
/// How long it waits for others who use the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Batches that wait for the thread that writes them, or for whoever reads them.
const AHEAD: usize = 2;

// ANCHOR: struct
/// A SQLite file.
#[derive(Debug, Clone)]
pub struct SqliteSink {
    name: String,
    path: PathBuf,
}

impl SqliteSink {
    /// The sink of this name under `[sinks.…]`. Touches nothing yet.
    pub fn new(name: &str, path: impl Into<PathBuf>) -> Self {
        SqliteSink { name: name.to_owned(), path: path.into() }
    }

    /// What went wrong, and whether it helps to try again. SQLite's messages hold no values: these are bound.
    fn error(&self, error: rusqlite::Error) -> ConnectorError {
        use ErrorCode::{CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, SystemIoFailure};
        let message = match error.sqlite_error_code() {
            Some(DatabaseBusy | DatabaseLocked | DiskFull | CannotOpen | SystemIoFailure) => {
                let message = format!("sink {}: {} cannot be used just now", self.name, self.path.display());
                return ConnectorError::with_source(ErrorKind::Retry, message, error);
            }
            Some(ErrorCode::NotADatabase) => "is no SQLite file: give the sink another path",
            _ => "is not as this sink has left it: restore it, or remove it, and the next run writes it anew",
        };
        let message = format!("sink {}: {} {message}", self.name, self.path.display());
        ConnectorError::with_source(ErrorKind::Stop, message, error)
    }

    fn stop(&self, view: &ViewName, fact: &str) -> ConnectorError {
        let message = format!(
            "sink {}: table {view} of {} {fact}: drop it and its row in {EPOCHS}, and the next run writes it anew",
            self.name,
            self.path.display()
        );
        ConnectorError::new(ErrorKind::Stop, message)
    }

    fn foreign(&self, view: &ViewName) -> ConnectorError {
        let message = format!(
            "sink {}: there is a table {view} in {} which this sink did not make: rename or drop it yourself",
            self.name,
            self.path.display()
        );
        ConnectorError::new(ErrorKind::Reconfigure, message)
    }

    fn connect(&self) -> rusqlite::Result<Connection> {
        let connection = Connection::open(&self.path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // Readers go on while it writes.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        Ok(connection)
    }

    /// Runs something that waits for a disk on a thread for that.
    async fn blocking<T: Send + 'static>(
        &self,
        run: impl FnOnce(SqliteSink) -> Result<T, ConnectorError> + Send + 'static,
    ) -> Result<T, ConnectorError> {
        let sink = self.clone();
        let running = tokio::task::spawn_blocking(move || run(sink));
        running.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
}

/// What the file says that it holds of a view.
fn held(connection: &Connection, view: &ViewName) -> rusqlite::Result<Option<Committed>> {
    if !exists(connection, EPOCHS)? {
        return Ok(None);
    }
    let sql = format!("SELECT epoch, hash FROM {EPOCHS} WHERE view = ?");
    let found = connection.query_row(&sql, [view.as_str()], |row| {
        let (epoch, hash): (i64, String) = (row.get(0)?, row.get(1)?);
        let hash = hash.parse().map_err(|_| rusqlite::Error::InvalidQuery)?;
        Ok(Committed { epoch: Epoch(epoch.unsigned_abs()), hash })
    });
    found.optional()
}

fn exists(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT count(*) FROM sqlite_schema WHERE lower(name) = lower(?)";
    connection.query_row(sql, [table], |row| Ok(row.get::<_, i64>(0)? > 0))
}
// ANCHOR_END: struct

// ANCHOR: sink
#[async_trait]
impl Sink for SqliteSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn default_commit_interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    async fn open(&mut self, views: &[ViewInfo]) -> Result<BTreeMap<ViewName, Option<Committed>>, ConnectorError> {
        let views: Vec<ViewName> = views.iter().map(|view| view.name.clone()).collect();
        self.blocking(move |sink| {
            if !sink.path.exists() {
                // The first commit makes it.
                return Ok(views.into_iter().map(|view| (view, None)).collect());
            }
            let connection = sink.connect().map_err(|error| sink.error(error))?;
            let found = views.into_iter().map(|view| Ok((view.clone(), held(&connection, &view)?)));
            found.collect::<rusqlite::Result<_>>().map_err(|error| sink.error(error))
        })
        .await
    }

    async fn commit(&mut self, commit: Commit) -> Result<CommitOutcome, ConnectorError> {
        let Commit { after, header, views } = commit;
        let (sender, pieces) = mpsc::channel(AHEAD);
        let sink = self.clone();
        let writing = tokio::task::spawn_blocking(move || sink.write(after, &header, pieces));
        // A send fails where the writer has ended already, because of a conflict or an error: then its answer is the answer.
        let send = async move |piece| sender.send(piece).await.is_ok();
        'pieces: {
            for part in views {
                let (begin, mut batches) = match part.content {
                    ViewContent::Changes(batches) => (Begin::Changes, batches),
                    ViewContent::Replace(batches) => (Begin::Replace, batches),
                };
                if !send(Piece::View { view: part.view, begin }).await {
                    break 'pieces;
                }
                while let Some(item) = batches.next().await {
                    // The error of a stream ends the commit; without an end, the writer rolls back.
                    if !send(Piece::Changes(item?.batch)).await {
                        break 'pieces;
                    }
                }
            }
            send(Piece::End).await;
        }
        writing.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    async fn read(
        &mut self,
        view: &ViewInfo,
    ) -> Result<BoxStream<'static, Result<ZSet, ConnectorError>>, ConnectorError> {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let (sink, view) = (self.clone(), view.clone());
        tokio::task::spawn_blocking(move || {
            if let Err(error) = sink.rows(&view, &sender) {
                // A receiver that is gone does not want to know.
                let _ = sender.blocking_send(Err(error));
            }
        });
        Ok(stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) }).boxed())
    }

    async fn remove(&mut self, view: &ViewName) -> Result<Removal, ConnectorError> {
        let view = view.clone();
        self.blocking(move |sink| {
            let failed = |error| sink.error(error);
            if !sink.path.exists() {
                return Ok(Removal::Nothing);
            }
            let mut connection = sink.connect().map_err(failed)?;
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
            if held(&transaction, &view).map_err(failed)?.is_none() {
                return match exists(&transaction, view.as_str()).map_err(failed)? {
                    true => Err(sink.foreign(&view)),
                    false => Ok(Removal::Nothing),
                };
            }
            transaction
                .execute_batch(&format!("DROP TABLE IF EXISTS {}", quote_ident(view.as_str())))
                .map_err(failed)?;
            transaction.execute(&format!("DELETE FROM {EPOCHS} WHERE view = ?"), [view.as_str()]).map_err(failed)?;
            transaction.commit().map_err(failed)?;
            Ok(Removal::Removed)
        })
        .await
    }
}
// ANCHOR_END: sink
