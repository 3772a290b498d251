//! Deltas on their way into the lake: tables of a DuckDB in memory, filled from the streams before the
//! lake is attached, so that the transaction is short, and can be repeated as a whole. Large ones spill to a
//! folder of the pipeline's state. Whole contents are staged only after another writer was in the way of one
//! that came through a feed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use futures::StreamExt;
use tidegate_core::{BatchStream, Epoch, EpochBatch, EpochHeader, ViewInfo};
use tidegate_duck::{Duck, Extension, Options, quote_ident, quote_literal};

use crate::blocking::blocking;
use crate::columns::Column;
use crate::config::Place;
use crate::error::DucklakeSinkError;
use crate::feed::{FUNCTION, FeedFunction};
use crate::history::Moments;
use crate::lake;

/// Rows gathered from the stream before they go into a table.
const APPEND_ROWS: usize = 32_768;
/// Bytes gathered from the stream before they go into a table.
const APPEND_BYTES: usize = 32 << 20;
const STAGING: &str = "gathering the changes for";

/// A DuckDB in memory with one table a view: its columns as `c0, c1, …` with their DuckDB types,
/// then the epoch and the weight.
pub(crate) struct Stage {
    pub(crate) duck: Duck,
    lake: String,
    extension: Option<Extension>,
}

/// One that nobody uses, with this extension.
fn idle(extension: Option<Extension>) -> Option<Duck> {
    let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
    let at = idle.iter().position(|(has, _)| *has == extension)?;
    Some(idle.swap_remove(at).1)
}

/// Rows that came and went, copies counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Changed {
    pub(crate) inserted: u64,
    pub(crate) deleted: u64,
}

impl Changed {
    pub(crate) fn rows(self) -> u64 {
        self.inserted + self.deleted
    }
}

/// The name of the table that holds the deltas of the view with this index.
pub(crate) fn table(index: usize) -> String {
    format!("stage_{index}")
}

/// The name of a view's column in the stage.
pub(crate) fn column(index: usize) -> String {
    format!("c{index}")
}

/// DuckDBs that nobody uses, each with the extension of its catalogs: to open one takes longer than a
/// small commit, because the signatures of the extensions are checked.
static IDLE: Mutex<Vec<(Option<Extension>, Duck)>> = Mutex::new(Vec::new());
/// As many stay.
const IDLE_MAX: usize = 4;

impl Stage {
    /// An empty stage, which spills to a folder that it makes when it needs it.
    pub(crate) fn open(place: &Place, spill: &Path) -> Result<Stage, DucklakeSinkError> {
        let lake = place.shown.clone();
        if let Some(folder) = spill.parent() {
            std::fs::create_dir_all(folder).map_err(|error| DucklakeSinkError::folder(folder, &error))?;
        }
        let (folder, memory) = (quote_literal(&spill.to_string_lossy()), quote_literal(&place.staging_memory));
        let spills_there = format!("SET temp_directory = {folder}; SET memory_limit = {memory}");
        while let Some(mut duck) = idle(place.catalog.extension()) {
            // One that has spilled keeps to its folder.
            if duck.execute(&spills_there).is_ok() {
                lake::conceal(&mut duck, place);
                return Ok(Stage { duck, lake, extension: place.catalog.extension() });
            }
        }
        let options = Options {
            memory_limit: Some(place.staging_memory.clone()),
            temp_dir: Some(spill.to_owned()),
            ..Options::default()
        };
        let opened = Duck::open_in_memory_with(&options);
        let mut duck = opened.map_err(|error| DucklakeSinkError::duck(&lake, STAGING, error))?;
        lake::conceal(&mut duck, place);
        lake::load(&duck, place)?;
        let stage = Stage { duck, lake, extension: place.catalog.extension() };
        stage.execute("SET preserve_insertion_order = false")?;
        let registered = stage.duck.connection().register_table_function::<FeedFunction>(FUNCTION);
        registered.map_err(|error| DucklakeSinkError::duck(&stage.lake, STAGING, stage.duck.error(&error)))?;
        Ok(stage)
    }

    /// Leaves the DuckDB, empty again, to the next stage. Not after an error, which it may remember.
    pub(crate) fn close(self) {
        let tables = "SELECT table_name FROM duckdb_tables() WHERE database_name IN ('memory', 'temp')";
        let listed = || {
            let mut statement = self.duck.connection().prepare(tables)?;
            statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()
        };
        let is_empty = listed().is_ok_and(|tables| {
            tables.iter().all(|table| self.execute(&format!("DROP TABLE {}", quote_ident(table))).is_ok())
        });
        let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        if is_empty && idle.len() < IDLE_MAX {
            idle.push((self.extension, self.duck));
        }
    }

    fn execute(&self, sql: &str) -> Result<(), DucklakeSinkError> {
        self.duck.execute(sql).map_err(|error| DucklakeSinkError::duck(&self.lake, STAGING, error))
    }

    /// Makes the table for a view.
    pub(crate) fn create(&self, index: usize, columns: &[Column]) -> Result<(), DucklakeSinkError> {
        let columns = columns.iter().enumerate().map(|(i, c)| format!("{} {}", column(i), c.view_type));
        let columns = columns.collect::<Vec<_>>().join(", ");
        self.execute(&format!("CREATE TABLE {} ({columns}, epoch BIGINT, weight BIGINT)", table(index)))
    }

    fn append(&self, index: usize, batches: Vec<RecordBatch>) -> Result<(), DucklakeSinkError> {
        let appended = self.duck.append(&[&table(index)], batches);
        appended.map(|_| ()).map_err(|error| DucklakeSinkError::duck(&self.lake, STAGING, error))
    }
}

/// Reads a stream to its end into the table of the view with this index. Answers what changed, and the moments of the epochs
/// with changes where the view's past is kept.
pub(crate) async fn fill(
    mut stage: Stage,
    index: usize,
    view: &ViewInfo,
    mut stream: BatchStream,
    after: Epoch,
    last: &EpochHeader,
) -> Result<(Stage, Changed, BTreeMap<Epoch, Moments>), DucklakeSinkError> {
    let mut moments = BTreeMap::new();
    let (mut pending, mut pending_rows, mut pending_bytes) = (Vec::new(), 0, 0);
    let (mut changed, mut reached) = (Changed::default(), after);
    while let Some(item) = stream.next().await {
        let EpochBatch { header, batch } = item.map_err(DucklakeSinkError::Input)?;
        check_epoch(view, header.epoch, reached, after, last.epoch)?;
        reached = header.epoch;
        if view.history.is_some() && !batch.is_empty() {
            moments.insert(header.epoch, (header.time, header.latest_commit));
        }
        for weight in batch.weights.values() {
            let side = if *weight > 0 { &mut changed.inserted } else { &mut changed.deleted };
            *side += weight.unsigned_abs();
        }
        let batch = staged(&batch.rows, &batch.weights, header.epoch, view)?;
        pending_rows += batch.num_rows();
        pending_bytes += batch.get_array_memory_size();
        pending.push(batch);
        if pending_rows >= APPEND_ROWS || pending_bytes >= APPEND_BYTES {
            (pending_rows, pending_bytes) = (0, 0);
            let batches = std::mem::take(&mut pending);
            stage = blocking(move || stage.append(index, batches).map(|()| stage)).await?;
        }
    }
    if !pending.is_empty() {
        stage = blocking(move || stage.append(index, pending).map(|()| stage)).await?;
    }
    Ok((stage, changed, moments))
}

/// Refuses an epoch that may not come after `reached` in the range from `after` to `last`.
pub(crate) fn check_epoch(
    view: &ViewInfo,
    epoch: Epoch,
    reached: Epoch,
    after: Epoch,
    last: Epoch,
) -> Result<(), DucklakeSinkError> {
    if epoch >= reached && epoch > after && epoch <= last {
        return Ok(());
    }
    let fact = format!("epoch {epoch} is out of order in ({after}, {last}]");
    Err(DucklakeSinkError::Contract { view: view.name.clone(), fact })
}

/// Refuses rows that do not have the view's columns.
pub(crate) fn check_columns(view: &ViewInfo, rows: &RecordBatch) -> Result<(), DucklakeSinkError> {
    let types_agree = rows.num_columns() == view.schema.fields().len()
        && rows.columns().iter().zip(view.schema.fields()).all(|(column, f)| column.data_type() == f.data_type());
    if types_agree {
        return Ok(());
    }
    let fact = format!("columns {:?} instead of {:?}", rows.schema().fields(), view.schema.fields());
    Err(DucklakeSinkError::Contract { view: view.name.clone(), fact })
}

/// A batch in the columns of the stage's table.
fn staged(
    rows: &RecordBatch,
    weights: &Int64Array,
    epoch: Epoch,
    view: &ViewInfo,
) -> Result<RecordBatch, DucklakeSinkError> {
    let contract = |fact: String| DucklakeSinkError::Contract { view: view.name.clone(), fact };
    check_columns(view, rows)?;
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
