//! Changes on their way into the file: tables of a DuckDB in memory, filled from the streams before
//! the file is opened, so that it is held only for as long as the transaction takes. Large
//! ones spill to a folder beside the file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use futures::StreamExt;
use tidegate_core::schema::duckdb_type;
use tidegate_core::{BatchStream, Epoch, EpochBatch, ViewInfo};
use tidegate_duck::{Duck, Options, quote_ident};
use tokio::sync::mpsc;

use crate::blocking::blocking;
use crate::error::DuckdbSinkError;
use crate::feed::{FUNCTION, FeedFunction, Message};
use crate::files::Files;
use crate::history::Moments;
use crate::known::Left;

/// Rows gathered from the stream before they go into a table.
const APPEND_ROWS: usize = 32_768;
/// Bytes gathered from the stream before they go into a table.
const APPEND_BYTES: usize = 32 << 20;
/// Rows of a commit that the stage may keep until the next one.
const KEPT_ROWS: u64 = 10_000;

/// A DuckDB in memory with one table a view: its columns as `c0, c1, …` with their DuckDB types,
/// then the epoch, the entry's place in the stream and its weight.
pub(crate) struct Stage {
    pub(crate) duck: Duck,
    file: PathBuf,
    spill: PathBuf,
    commits: u64,
    /// What the last commit left behind.
    pub(crate) left: Option<Left>,
}

/// The name of the table that holds the deltas of the view with this index.
pub(crate) fn table(index: usize) -> String {
    format!("stage_{index}")
}

/// The same wherever another catalog is in use.
pub(crate) fn qualified(index: usize) -> String {
    format!("memory.main.{}", table(index))
}

/// The name of a view's column in the stage.
pub(crate) fn column(index: usize) -> String {
    format!("c{index}")
}

impl Stage {
    /// An empty stage for commits to a mart, whose folder exists. What needs more memory than so much spills.
    pub(crate) fn open(files: &Files, memory: &str) -> Result<Stage, DuckdbSinkError> {
        let (file, spill) = (files.working(), files.spill());
        // DuckDB removes the folder when it closes; a killed process leaves it behind.
        remove_folder(&spill)?;
        let options =
            Options { memory_limit: Some(memory.to_owned()), temp_dir: Some(spill.clone()), ..Options::default() };
        let duck = Duck::open_in_memory_with(&options).map_err(|error| DuckdbSinkError::duck(&file, error))?;
        let stage = Stage { duck, file, spill, commits: 0, left: None };
        stage.execute("SET preserve_insertion_order = false")?;
        let registered = stage.duck.connection().register_table_function::<FeedFunction>(FUNCTION);
        registered.map_err(|error| DuckdbSinkError::duck(&stage.file, stage.duck.error(&error)))?;
        Ok(stage)
    }

    /// The stage for the next commit: it takes longer to open one than to commit a few rows. `None`
    /// where much went through this one, which keeps memory, and a folder for what spilled.
    pub(crate) fn kept(mut self, rows: u64) -> Option<Stage> {
        self.commits += 1;
        (rows <= KEPT_ROWS && !self.spill.exists()).then_some(self)
    }

    /// How many commits went through it.
    pub(crate) fn commits(&self) -> u64 {
        self.commits
    }

    /// Runs statements; errors are told about the file.
    pub(crate) fn execute(&self, sql: &str) -> Result<(), DuckdbSinkError> {
        self.duck.execute(sql).map_err(|error| DuckdbSinkError::duck(&self.file, error))
    }

    /// Makes the table for a view.
    pub(crate) fn create(&self, index: usize, view: &ViewInfo) -> Result<(), DuckdbSinkError> {
        let columns = column_types(&self.file, view)?;
        let columns = columns.iter().enumerate().map(|(i, duckdb_type)| format!("{} {duckdb_type}", column(i)));
        let columns = columns.collect::<Vec<_>>().join(", ");
        self.execute(&format!("CREATE OR REPLACE TABLE {} ({columns}, epoch BIGINT, weight BIGINT)", table(index)))
    }

    fn append(&self, index: usize, batches: Vec<RecordBatch>) -> Result<(), DuckdbSinkError> {
        let appended = self.duck.append(&[&table(index)], batches);
        appended.map(|_| ()).map_err(|error| DuckdbSinkError::duck(&self.file, error))
    }
}

fn remove_folder(folder: &Path) -> Result<(), DuckdbSinkError> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(DuckdbSinkError::io(folder, "removed", &error))
        }
        _ => Ok(()),
    }
}

/// The DuckDB types of a view's columns.
pub(crate) fn column_types(file: &Path, view: &ViewInfo) -> Result<Vec<String>, DuckdbSinkError> {
    let missing = |field: &Field| DuckdbSinkError::Unsupported {
        file: file.display().to_string(),
        view: view.name.clone(),
        fact: format!("column {} carries no DuckDB type", field.name()),
    };
    let types = view.schema.fields().iter().map(|field| duckdb_type(field).ok_or_else(|| missing(field)));
    types.map(|found| found.map(str::to_owned)).collect()
}

/// The columns of a table as a `CREATE TABLE` lists them.
pub(crate) fn column_definitions(file: &Path, view: &ViewInfo) -> Result<String, DuckdbSinkError> {
    let types = column_types(file, view)?;
    let columns = view
        .schema
        .fields()
        .iter()
        .zip(types)
        .map(|(field, duckdb_type)| format!("{} {duckdb_type}", quote_ident(field.name())));
    Ok(columns.collect::<Vec<_>>().join(", "))
}

/// What the stage's table of a view holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Staged {
    /// Changed rows, copies counted.
    pub(crate) rows: u64,
    /// Entries that remove rows.
    pub(crate) removals: u64,
    /// Whether an entry brings or removes more than one copy of its row.
    pub(crate) has_copies: bool,
    /// NULLs of each column, in all entries.
    pub(crate) nulls: Vec<u64>,
    /// Whether the entries are of one epoch, or of several.
    pub(crate) epochs: Epochs,
    /// The epochs with changes and their moments, where the view's past is kept.
    pub(crate) moments: BTreeMap<Epoch, Moments>,
}

/// How many epochs some changes are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Epochs {
    /// One: every row stands in them once.
    #[default]
    One,
    /// Several: a row may come and go.
    Several,
}

/// The changes of a view on their way into its stage's table.
pub(crate) struct Inflow {
    view: ViewInfo,
    stream: BatchStream,
    after: Epoch,
    last: Epoch,
    reached: Epoch,
    pending: Vec<RecordBatch>,
    pending_rows: usize,
    pending_bytes: usize,
    ended: bool,
    staged: Staged,
}

impl Inflow {
    pub(crate) fn new(view: &ViewInfo, stream: BatchStream, after: Epoch, last: Epoch) -> Inflow {
        let staged = Staged { nulls: vec![0; view.schema.fields().len()], ..Staged::default() };
        let (pending, pending_rows, pending_bytes) = (Vec::new(), 0, 0);
        let view = view.clone();
        Inflow { view, stream, after, last, reached: after, pending, pending_rows, pending_bytes, ended: false, staged }
    }

    /// Reads until there is enough to be staged, or the stream ends; answers whether it did.
    pub(crate) async fn gather(&mut self) -> Result<bool, DuckdbSinkError> {
        while !self.ended && self.pending_rows < APPEND_ROWS && self.pending_bytes < APPEND_BYTES {
            let Some(item) = self.stream.next().await else {
                self.ended = true;
                break;
            };
            let EpochBatch { header, batch } = item.map_err(DuckdbSinkError::Input)?;
            check_epoch(&self.view, header.epoch, self.reached, self.after, self.last)?;
            check_columns(&self.view, &batch.rows)?;
            if self.staged.rows > 0 && header.epoch > self.reached {
                self.staged.epochs = Epochs::Several;
            }
            self.reached = header.epoch;
            if self.view.history.is_some() && !batch.is_empty() {
                self.staged.moments.insert(header.epoch, (header.time, header.latest_commit));
            }
            self.staged.rows += batch.changed_rows();
            self.staged.removals += batch.weights.values().iter().filter(|weight| **weight < 0).count() as u64;
            self.staged.has_copies |= batch.weights.values().iter().any(|weight| weight.unsigned_abs() > 1);
            for (nulls, column) in self.staged.nulls.iter_mut().zip(batch.rows.columns()) {
                *nulls += column.logical_null_count() as u64;
            }
            let batch = staged(&batch.rows, &batch.weights, header.epoch, &self.view)?;
            self.pending_rows += batch.num_rows();
            self.pending_bytes += batch.get_array_memory_size();
            self.pending.push(batch);
        }
        Ok(self.ended)
    }

    /// Stages the stream to its end.
    pub(crate) async fn fill(mut self, mut stage: Stage, index: usize) -> Result<(Stage, Staged), DuckdbSinkError> {
        loop {
            let ended = self.gather().await?;
            if !self.pending.is_empty() {
                (self.pending_rows, self.pending_bytes) = (0, 0);
                let batches = std::mem::take(&mut self.pending);
                stage = blocking(move || stage.append(index, batches).map(|()| stage)).await?;
            }
            if ended {
                return Ok((stage, self.staged));
            }
        }
    }
}

/// Sends the whole content of a view to its feed. Ends early when nobody fetches any more, which
/// is for the fetching side to explain.
pub(crate) async fn send(feed: &mpsc::Sender<Message>, view: &ViewInfo, mut stream: BatchStream, last: Epoch) {
    while let Some(item) = stream.next().await {
        let rows = item.map_err(DuckdbSinkError::Input).and_then(|EpochBatch { header, batch }| {
            check_epoch(view, header.epoch, last, Epoch(last.0.saturating_sub(1)), last)?;
            check_columns(view, &batch.rows)?;
            Ok(Message::Rows(batch.rows, batch.weights))
        });
        let failed = rows.is_err();
        if feed.send(rows.unwrap_or_else(Message::Failed)).await.is_err() || failed {
            return;
        }
    }
    let _ = feed.send(Message::End).await;
}

/// Whether an epoch may come after `reached` in the range from `after` to `last`.
fn check_epoch(
    view: &ViewInfo,
    epoch: Epoch,
    reached: Epoch,
    after: Epoch,
    last: Epoch,
) -> Result<(), DuckdbSinkError> {
    if epoch >= reached && epoch > after && epoch <= last {
        return Ok(());
    }
    let fact = format!("epoch {epoch} is out of order in ({after}, {last}]");
    Err(DuckdbSinkError::Contract { view: view.name.clone(), fact })
}

fn check_columns(view: &ViewInfo, rows: &RecordBatch) -> Result<(), DuckdbSinkError> {
    let types_agree = rows.num_columns() == view.schema.fields().len()
        && rows.columns().iter().zip(view.schema.fields()).all(|(column, f)| column.data_type() == f.data_type());
    if types_agree {
        return Ok(());
    }
    let fact = format!("columns {:?} instead of {:?}", rows.schema().fields(), view.schema.fields());
    Err(DuckdbSinkError::Contract { view: view.name.clone(), fact })
}

/// A batch in the columns of the stage's table.
fn staged(
    rows: &RecordBatch,
    weights: &Int64Array,
    epoch: Epoch,
    view: &ViewInfo,
) -> Result<RecordBatch, DuckdbSinkError> {
    let contract = |fact: String| DuckdbSinkError::Contract { view: view.name.clone(), fact };
    let number = i64::try_from(epoch.0).map_err(|_| contract(format!("epoch {epoch} is not a BIGINT")))?;
    let mut fields: Vec<Field> = rows
        .columns()
        .iter()
        .enumerate()
        .map(|(index, array)| Field::new(column(index), array.data_type().clone(), true))
        .collect();
    fields.push(Field::new("epoch", DataType::Int64, false));
    fields.push(Field::new("weight", DataType::Int64, false));
    let mut columns = rows.columns().to_vec();
    columns.push(Arc::new(Int64Array::from(vec![number; rows.num_rows()])) as ArrayRef);
    columns.push(Arc::new(weights.clone()));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|error| contract(error.to_string()))
}

#[cfg(test)]
mod tests {
    use tidegate_duck::staging_memory;

    use super::*;
    use crate::DuckdbConfig;

    #[test]
    fn a_stage_takes_a_share_of_the_engines_memory() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(DuckdbConfig::new(folder.path().join("mart.duckdb")));
        for (limit, share) in [(None, "1.0 GiB"), (Some(2 << 30), "512.0 MiB"), (Some(1 << 20), "64.0 MiB")] {
            let stage = Stage::open(&files, &staging_memory(limit)).unwrap();
            let shown: String = stage
                .duck
                .connection()
                .query_row("SELECT current_setting('memory_limit')", [], |row| row.get(0))
                .unwrap();
            assert_eq!(shown, share);
        }
    }
}
