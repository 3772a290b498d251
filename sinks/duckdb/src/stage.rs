//! Deltas on their way into the file: tables of a DuckDB in memory, filled from the streams before
//! the file is opened, so that it is held only for as long as the transaction takes. Large
//! contents spill to a folder beside the file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use futures::StreamExt;
use tidegate_core::schema::duckdb_type;
use tidegate_core::{BatchStream, Epoch, EpochBatch, EpochHeader, ViewInfo};
use tidegate_duck::{Duck, Options, quote_ident};

use crate::blocking::blocking;
use crate::error::DuckdbSinkError;

/// Rows gathered from the stream before they go into a table.
const APPEND_ROWS: usize = 32_768;
/// Bytes gathered from the stream before they go into a table.
const APPEND_BYTES: usize = 32 << 20;
/// What DuckDB may keep in memory during a commit; the rest spills.
const MEMORY_LIMIT: &str = "1GiB";

/// A DuckDB in memory with one table a view: its columns as `c0, c1, …` with their DuckDB types,
/// then the epoch, the entry's place in the stream and its weight.
pub(crate) struct Stage {
    pub(crate) duck: Duck,
    file: PathBuf,
}

/// The name of the table that holds the deltas of the view with this index.
pub(crate) fn table(index: usize) -> String {
    format!("stage_{index}")
}

/// The name of a view's column in the stage.
pub(crate) fn column(index: usize) -> String {
    format!("c{index}")
}

impl Stage {
    /// An empty stage for commits to `file`, whose folder exists.
    pub(crate) fn open(file: &Path) -> Result<Stage, DuckdbSinkError> {
        let mut temp_dir = file.as_os_str().to_owned();
        temp_dir.push(".tidegate.tmp");
        let temp_dir = PathBuf::from(temp_dir);
        // DuckDB removes the folder when it closes; a killed process leaves it behind.
        remove_folder(&temp_dir)?;
        let options =
            Options { memory_limit: Some(MEMORY_LIMIT.to_owned()), temp_dir: Some(temp_dir), ..Options::default() };
        let duck = Duck::open_in_memory_with(&options).map_err(|error| DuckdbSinkError::duck(file, error))?;
        let stage = Stage { duck, file: file.to_owned() };
        stage.execute("SET preserve_insertion_order = false")?;
        Ok(stage)
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
        self.execute(&format!("CREATE TABLE {} ({columns}, epoch BIGINT, weight BIGINT)", table(index)))
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

/// Reads a stream to its end into the table of the view with this index; answers the number of
/// changed rows, counting copies.
pub(crate) async fn fill(
    mut stage: Stage,
    index: usize,
    view: &ViewInfo,
    mut stream: BatchStream,
    after: Epoch,
    last: &EpochHeader,
) -> Result<(Stage, u64), DuckdbSinkError> {
    let (mut pending, mut pending_rows, mut pending_bytes) = (Vec::new(), 0, 0);
    let (mut changed, mut reached) = (0, after);
    while let Some(item) = stream.next().await {
        let EpochBatch { header, batch } = item.map_err(DuckdbSinkError::Input)?;
        let in_order = header.epoch >= reached && header.epoch > after && header.epoch <= last.epoch;
        if !in_order {
            let fact = format!("epoch {} is out of order in ({after}, {}]", header.epoch, last.epoch);
            return Err(DuckdbSinkError::Contract { view: view.name.clone(), fact });
        }
        reached = header.epoch;
        changed += batch.changed_rows();
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
    Ok((stage, changed))
}

/// A batch in the columns of the stage's table.
fn staged(
    rows: &RecordBatch,
    weights: &Int64Array,
    epoch: Epoch,
    view: &ViewInfo,
) -> Result<RecordBatch, DuckdbSinkError> {
    let contract = |fact: String| DuckdbSinkError::Contract { view: view.name.clone(), fact };
    let types_agree = rows.num_columns() == view.schema.fields().len()
        && rows.columns().iter().zip(view.schema.fields()).all(|(column, f)| column.data_type() == f.data_type());
    if !types_agree {
        return Err(contract(format!("columns {:?} instead of {:?}", rows.schema().fields(), view.schema.fields())));
    }
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
