//! The first copy: all rows of some tables as of one position, read by several connections at the same
//! time.
//!
//! The order of things is what makes it exact. The tables are locked against DDL first (ACCESS SHARE, as
//! any SELECT does), so that what they hold cannot be rewritten between the position and the copy; then
//! a slot is created, whose exported snapshot and position belong together; then the copying connections
//! take that snapshot and the same locks: a TRUNCATE that waits for ours would otherwise hold up their reading, and wait for ever,
//! because the server sees no circle. What comes in between all the same ends the copy after a while, which begins again. A table is read in ranges of its blocks, each of which is handed on when it is complete: one that
//! breaks off is read again, as long as the exporting session lives.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt, pin_mut};
use tidegate_core::{ConnectorError, ErrorKind, EventStream, KeyedOp, Lsn, Micros, TableEvent, TableName, ZSet};
use tokio::sync::mpsc;

use crate::batch::TableBatch;
use crate::catalog::Table;
use crate::config::Settings;
use crate::connection::{MONEY_SETTING, Session, quote_ident, quote_literal};
use crate::copy_text::Line;
use crate::error::{self, PostgresError};
use crate::setup::quoted;
use crate::slot::Exported;
use crate::types::Policy;

/// Blocks of 8 KiB that one COPY reads.
const RANGE_PAGES: i64 = 2_048;
/// How often a range is tried.
const ATTEMPTS: u32 = 5;

/// A part of a table.
#[derive(Debug, Clone)]
struct Range {
    table: usize,
    sql: String,
}

/// Locks tables against DDL for as long as the session's transaction lasts.
pub(crate) async fn lock(session: &Session, tables: &[Table]) -> Result<(), PostgresError> {
    let sql = format!("BEGIN; {}", locking(tables, "30s"));
    session.execute("locking the tables against changes of their definition", &sql).await
}

/// Locks tables as any SELECT does; locks are not waited for longer than `most`.
fn locking(tables: &[Table], most: &str) -> String {
    let list: Vec<String> = tables.iter().map(quoted).collect();
    format!("SET LOCAL lock_timeout = '{most}'; LOCK TABLE {} IN ACCESS SHARE MODE", list.join(", "))
}

/// The server's clock. Asked when a snapshot has been taken, it is no earlier than the commit of any transaction in it: a
/// transaction reads the clock before it writes its commit, and is in no snapshot before that. A server whose clock steps
/// back says less; without `track_commit_timestamp` nobody knows more.
pub(crate) async fn clock(session: &Session) -> Result<Micros, PostgresError> {
    let sql = "SELECT ceil(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
    let row = session.query_one("asking for the time", sql, &[]).await?;
    Ok(Micros(row.get(0)))
}

/// What a copy needs.
pub(crate) struct Copy {
    pub settings: Settings,
    pub tables: Vec<Table>,
    pub policy: Policy,
    pub exported: Exported,
    /// The server's clock when the snapshot had been taken.
    pub taken_at: Micros,
    /// The session that holds the locks.
    pub _locks: Session,
}

impl Copy {
    /// The position of the rows.
    pub fn position(&self) -> Lsn {
        self.exported.position
    }

    /// Rows to come; `None` before the server has counted any.
    pub fn rows_estimate(&self) -> Option<u64> {
        let rows: f64 = self.tables.iter().flat_map(|table| &table.leaves).map(|leaf| leaf.rows_estimate).sum();
        (rows > 0.0).then_some(rows as u64)
    }

    /// Starts copying. The stream ends after the last range.
    pub fn start(self) -> EventStream {
        let ranges: VecDeque<Range> = self.ranges().collect();
        let workers = self.settings.config.copy_workers.min(ranges.len()).max(1);
        // A range at a time waits for each worker, which bounds memory.
        let (sender, receiver) = mpsc::channel(workers);
        let shared = Arc::new(Shared { copy: self, ranges: Mutex::new(ranges) });
        let tasks: Vec<_> = (0..workers).map(|_| tokio::spawn(work(shared.clone(), sender.clone()))).collect();
        drop((shared, sender));
        let tasks = Tasks(tasks);
        let events = futures::stream::unfold((receiver, tasks), async |(mut receiver, tasks)| {
            let part: Part = receiver.recv().await?;
            Some((part, (receiver, tasks)))
        });
        Box::pin(events.flat_map(|part| {
            futures::stream::iter(match part {
                Ok(events) => events.into_iter().map(Ok).collect::<Vec<_>>(),
                Err(error) => vec![Err(ConnectorError::from(error))],
            })
        }))
    }

    fn ranges(&self) -> impl Iterator<Item = Range> + '_ {
        self.tables.iter().enumerate().flat_map(|(index, table)| {
            let columns: Vec<String> = table.columns.iter().map(|column| quote_ident(&column.name)).collect();
            table.leaves.iter().flat_map(move |leaf| {
                let from = format!("ONLY {}.{}", quote_ident(&leaf.schema), quote_ident(&leaf.name));
                let columns = columns.join(", ");
                let filter = table.filter.clone();
                bounds(leaf.pages).map(move |(lower, upper)| {
                    let mut conditions: Vec<String> = filter.iter().map(|filter| format!("({filter})")).collect();
                    conditions.extend(lower.map(|page| format!("ctid >= '({page},0)'")));
                    conditions.extend(upper.map(|page| format!("ctid < '({page},0)'")));
                    let condition = match conditions.is_empty() {
                        true => String::new(),
                        false => format!(" WHERE {}", conditions.join(" AND ")),
                    };
                    let sql = format!("COPY (SELECT {columns} FROM {from}{condition}) TO STDOUT");
                    Range { table: index, sql }
                })
            })
        })
    }
}

/// Ranges of blocks; the first and the last are open, because a table grows.
fn bounds(pages: i64) -> impl Iterator<Item = (Option<i64>, Option<i64>)> {
    let parts = (pages / RANGE_PAGES).max(1);
    (0..parts).map(move |part| {
        let lower = (part > 0).then_some(part * RANGE_PAGES);
        let upper = (part + 1 < parts).then_some((part + 1) * RANGE_PAGES);
        (lower, upper)
    })
}

type Part = Result<Vec<(TableName, TableEvent)>, PostgresError>;

struct Shared {
    copy: Copy,
    ranges: Mutex<VecDeque<Range>>,
}

/// Tasks that end with their handle.
struct Tasks(Vec<tokio::task::JoinHandle<()>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

async fn work(shared: Arc<Shared>, parts: mpsc::Sender<Part>) {
    let next = || shared.ranges.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let mut session = None;
    while let Some(range) = next() {
        let part = read(&shared.copy, &range, &mut session).await;
        let failed = part.is_err();
        if parts.send(part).await.is_err() || failed {
            return;
        }
    }
}

/// Reads a range, again where its connection breaks.
async fn read(copy: &Copy, range: &Range, session: &mut Option<Session>) -> Part {
    let mut attempt = 1;
    loop {
        let result = read_once(copy, range, session).await;
        match result {
            // Who waits for our locks holds up a new one: only giving up all of them helps.
            Err(error) if error.kind() == ErrorKind::Retry && !error.is_lock_timeout() && attempt < ATTEMPTS => {
                tracing::warn!(name: "copy_retried", source = %copy.settings.name, %error, attempt, "a part of a copy is read again");
                *session = None;
                attempt += 1;
            }
            result => return result,
        }
    }
}

async fn read_once(copy: &Copy, range: &Range, session: &mut Option<Session>) -> Part {
    let doing = "copying a table";
    let name = &copy.settings.name;
    let session = match session {
        Some(open) => open,
        None => session.insert(importer(copy).await?),
    };
    let failed = |error: &tokio_postgres::Error| error::server(name, doing, error);
    let lines = session.client().copy_out(&range.sql).await.map_err(|error| failed(&error))?;
    pin_mut!(lines);
    let table = &copy.tables[range.table];
    let mut batch = TableBatch::new(name, table, &copy.policy);
    let mut line = Line::default();
    while let Some(bytes) = lines.next().await {
        let bytes = bytes.map_err(|error| failed(&error))?;
        batch.row(line.values(&bytes))?;
    }
    let events = batch.finish()?;
    Ok(events.into_iter().map(|event| (table.schema.name.clone(), whole_rows(event))).collect())
}

/// Rows that exist, in the form that loads fastest.
fn whole_rows(event: TableEvent) -> TableEvent {
    match event {
        TableEvent::Keyed(changes) if changes.ops.iter().all(|op| *op == KeyedOp::Upsert) => {
            TableEvent::Rows(ZSet::uniform(changes.rows, 1))
        }
        other => other,
    }
}

/// A session that sees the exported snapshot.
async fn importer(copy: &Copy) -> Result<Session, PostgresError> {
    let session = copy.settings.connection.session(&copy.settings.name).await?;
    // A setting of the session, before the transaction that takes the snapshot.
    let (setting, value) = MONEY_SETTING.split_once('=').unwrap_or((MONEY_SETTING, ""));
    let sql = format!(
        "SET {setting} = {}; BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}; {}",
        quote_literal(value),
        quote_literal(&copy.exported.snapshot),
        locking(&copy.tables, "10s")
    );
    session.execute("taking the exported snapshot", &sql).await?;
    Ok(session)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_no_gaps_and_open_ends() {
        assert_eq!(bounds(0).collect::<Vec<_>>(), [(None, None)]);
        assert_eq!(bounds(RANGE_PAGES * 2 - 1).collect::<Vec<_>>(), [(None, None)]);
        let ranges: Vec<_> = bounds(RANGE_PAGES * 3 + 5).collect();
        assert_eq!(ranges.first().map(|range| range.0), Some(None));
        assert_eq!(ranges.last().map(|range| range.1), Some(None));
        assert!(ranges.windows(2).all(|pair| pair[0].1.is_some() && pair[0].1 == pair[1].0), "{ranges:?}");
    }
}
