//! A source that reads a folder: `tables.json` names the tables and their columns, and each file after it is a transaction.
//!
//! ```text
//! tables.json       {"orders": [["id", "INTEGER"], ["note", "VARCHAR"]]}
//! 00000001.jsonl    {"table": "orders", "copies": 1, "row": {"id": 1, "note": "two of these"}}
//! 00000002.jsonl    {"table": "orders", "copies": -1, "row": {"id": 1, "note": "two of these"}}
//! ```
//!
//! Whoever writes a file writes it under another name and renames it when it is whole. Numbers have no gaps, and files stay as they are,
//! so that any range can be read again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{FieldRef, Int64Type};
use async_trait::async_trait;
use futures::{StreamExt, stream};
use serde_json::Value;
use tidegate_core::{
    ConnectorError, ErrorKind, Integral, Micros, OnExpired, Polled, Position, RowIdentity, Snapshot, SnapshotId,
    Source, SourceId, TableEvent, TableName, TableSchema, ZSet, schema,
};
use tidegate_duck::{Duck, DuckError, Options, quote_literal};
use tokio::sync::mpsc;

/// Events that wait for whoever takes a snapshot.
const AHEAD: usize = 2;

type Event = Result<(TableName, TableEvent), ConnectorError>;

// ANCHOR: struct
/// A folder of numbered files. A position is the number of the last file that was read.
pub struct NumberedFiles {
    id: SourceId,
    folder: PathBuf,
}

impl NumberedFiles {
    /// The source of this name under `[sources.…]`. Touches nothing yet.
    pub fn new(name: &str, folder: impl Into<PathBuf>) -> Self {
        NumberedFiles { id: SourceId::new("numbered_files", name), folder: folder.into() }
    }

    fn file(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:08}.jsonl"))
    }

    /// The number of the last file after `known` without a gap.
    fn last_after(&self, known: u64) -> u64 {
        (known + 1..).find(|number| !self.file(*number).exists()).map_or(known, |missing| missing - 1)
    }
}

fn position(number: u64) -> Position {
    Position::SnapshotId(SnapshotId(number))
}

fn number(position: &Position) -> u64 {
    match position {
        Position::SnapshotId(SnapshotId(number)) => *number,
        Position::Lsn(_) => unreachable!("a source gets back the positions that it gave"),
    }
}
// ANCHOR_END: struct

// ANCHOR: tables
impl NumberedFiles {
    /// Every table, as `tables.json` has them.
    fn schemas(&self) -> Result<Vec<TableSchema>, ConnectorError> {
        let file = self.folder.join("tables.json");
        let wrong = |fact: String| {
            let message = format!("source {}: {} {fact}", self.id.name, file.display());
            ConnectorError::new(ErrorKind::Reconfigure, message)
        };
        let text = fs::read_to_string(&file).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        let tables: Value = serde_json::from_str(&text).map_err(|error| wrong(format!("is not JSON: {error}")))?;
        let tables = tables.as_object().ok_or_else(|| wrong("is no object with a member for each table".to_owned()))?;
        let schema = |(table, columns): (&String, &Value)| {
            let columns: Vec<(String, String)> = serde_json::from_value(columns.clone())
                .map_err(|_| wrong(format!("does not list the columns of {table} as [\"name\", \"type\"]")))?;
            let columns = schema::columns(columns.iter().map(|(name, ty)| (name.as_str(), ty.as_str(), true)))
                .map_err(|error| wrong(format!("gives {table} a column that cannot be read: {error}")))?;
            Ok(TableSchema {
                name: TableName::new(&self.id.name, "main", table),
                // Another one would mean that a table was dropped and made again under its name.
                incarnation: 1,
                columns,
                // Rows come with weights, and may stand there several times. A source that knows a key says so,
                // and may then send upserts and deletes.
                identity: RowIdentity::WholeRow,
                // It says itself what goes: the engine need not remember the table for it.
                integral: Integral::Source,
            })
        };
        tables.iter().map(schema).collect()
    }
}
// ANCHOR_END: tables

// ANCHOR: read
/// Reads files by DuckDB, so that values have its types.
struct Reader {
    duck: Duck,
    tables: Vec<TableSchema>,
}

impl Reader {
    fn new(tables: Vec<TableSchema>) -> Result<Self, ConnectorError> {
        let opened = Duck::open_in_memory_with(&Options { threads: Some(1), ..Options::default() });
        let failed = |error| ConnectorError::with_source(ErrorKind::Retry, "DuckDB does not open", error);
        Ok(Reader { duck: opened.map_err(failed)?, tables })
    }

    /// What a transaction did to the tables, in their order.
    fn events(&self, file: &Path) -> Result<Vec<(TableName, TableEvent)>, ConnectorError> {
        // DuckDB's message would quote the line.
        let unfit = |_: DuckError| {
            let message = format!("{} has a line that is not as tables.json says: correct one of them", file.display());
            ConnectorError::new(ErrorKind::Stop, message)
        };
        let lines = format!(
            "CREATE OR REPLACE TABLE lines AS FROM read_json({}, format = 'newline_delimited', \
             columns = {{'table': 'VARCHAR', 'copies': 'BIGINT', 'row': 'JSON'}})",
            quote_literal(&file.to_string_lossy())
        );
        self.duck.execute(&lines).map_err(unfit)?;
        let mut events = Vec::new();
        for table in &self.tables {
            let member = |field: &FieldRef| {
                let duckdb_type = schema::duckdb_type(field).expect("schema::columns gives every column its type");
                format!("{}: {}", Value::from(field.name().as_str()), Value::from(duckdb_type))
            };
            let members: Vec<_> = table.columns.fields().iter().map(member).collect();
            let query = format!(
                "SELECT r.*, copies FROM (SELECT from_json_strict(\"row\", {}) AS r, copies FROM lines WHERE \"table\" = {})",
                quote_literal(&format!("{{{}}}", members.join(", "))),
                quote_literal(&table.name.table)
            );
            let (_, batches) = self.duck.query(&query).map_err(unfit)?;
            for batch in batches.iter().filter(|batch| batch.num_rows() > 0) {
                let (copies, columns) = batch.columns().split_last().expect("the query has a column of copies");
                let rows = RecordBatch::try_new(table.columns.clone(), columns.to_vec());
                let weights = copies.as_primitive::<Int64Type>().clone();
                let event = TableEvent::Rows(ZSet::new(rows.expect("they were read as these columns"), weights));
                events.push((table.name.clone(), event));
            }
        }
        Ok(events)
    }

    /// Sends what happened in some files, one after another, while it is taken.
    fn send(&self, files: &[PathBuf], sender: &mpsc::Sender<Event>) -> Result<(), ConnectorError> {
        for event in files.iter().map(|file| self.events(file)) {
            if !event?.into_iter().all(|event| sender.blocking_send(Ok(event)).is_ok()) {
                break; // The receiver is gone.
            }
        }
        Ok(())
    }
}

/// When a transaction was committed: when its file was written.
fn commit_time(file: &Path) -> Option<Micros> {
    let modified = fs::metadata(file).and_then(|found| found.modified()).ok()?;
    Some(Micros(i64::try_from(modified.duration_since(UNIX_EPOCH).ok()?.as_micros()).ok()?))
}
// ANCHOR_END: read

// ANCHOR: source
#[async_trait]
impl Source for NumberedFiles {
    fn id(&self) -> &SourceId {
        &self.id
    }

    fn on_expired(&self) -> OnExpired {
        OnExpired::Stop
    }

    async fn head(&mut self) -> Result<Position, ConnectorError> {
        Ok(position(self.last_after(0)))
    }

    async fn list(&mut self, _at: Option<&Position>) -> Result<Vec<TableName>, ConnectorError> {
        Ok(self.schemas()?.into_iter().map(|table| table.name).collect())
    }

    async fn tables(
        &mut self,
        wanted: &[TableName],
        _at: Option<&Position>,
    ) -> Result<Vec<TableSchema>, ConnectorError> {
        let known = self.schemas()?;
        let find = |name: &TableName| {
            known.iter().find(|table| table.name == *name).cloned().ok_or_else(|| {
                let message = format!("source {}: there is no table {name}: add it to tables.json", self.id.name);
                ConnectorError::new(ErrorKind::Reconfigure, message)
            })
        };
        wanted.iter().map(find).collect()
    }

    /// The sum of all files up to a position. They are read on a thread that may wait, while the rows are taken.
    async fn snapshot(&mut self, tables: &[TableSchema], at: Option<&Position>) -> Result<Snapshot, ConnectorError> {
        let last = at.map_or_else(|| self.last_after(0), number);
        let files: Vec<_> = (1..=last).map(|number| self.file(number)).collect();
        let (commit_time, tables) = (files.last().and_then(|file| commit_time(file)), tables.to_vec());
        let (sender, receiver) = mpsc::channel(AHEAD);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = Reader::new(tables).and_then(|reader| reader.send(&files, &sender)) {
                let _ = sender.blocking_send(Err(error));
            }
        });
        let events = stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) });
        Ok(Snapshot { position: position(last), commit_time, rows_estimate: None, events: events.boxed() })
    }

    async fn poll(
        &mut self,
        tables: &[TableSchema],
        from: &Position,
        until: Option<&Position>,
        rows_max: u64,
    ) -> Result<Polled, ConnectorError> {
        let from = number(from);
        let last = self.last_after(from).min(until.map_or(u64::MAX, number));
        if last <= from {
            return Ok(Polled::Idle);
        }
        let files: Vec<_> = (from + 1..=last).map(|number| self.file(number)).collect();
        let tables = tables.to_vec();
        let reading = tokio::task::spawn_blocking(move || {
            let (reader, mut to, mut time, mut rows, mut events) = (Reader::new(tables)?, from, None, 0, Vec::new());
            // Whole files: a transaction is never torn. Not very many at once: the caller says how many rows it takes.
            for file in &files {
                let found = reader.events(file)?;
                to += 1;
                if !found.is_empty() {
                    time = time.max(commit_time(file));
                    rows += found.iter().map(|(_, event)| event.rows() as u64).sum::<u64>();
                    events.extend(found.into_iter().map(Ok));
                }
                if rows >= rows_max {
                    break;
                }
            }
            let to = position(to);
            Ok(match events.is_empty() {
                true => Polled::Advanced { to },
                false => Polled::Changes { to, commit_time: time, events: stream::iter(events).boxed() },
            })
        });
        reading.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    /// Files stay, whoever has read them.
    async fn acknowledge(&mut self, _position: &Position) -> Result<(), ConnectorError> {
        Ok(())
    }
}
// ANCHOR_END: source
