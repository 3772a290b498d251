//! One Arrow batch as an IPC stream, with columns of ours behind the user's. Columns are found by
//! position, never by name: a table may have a column of any name.

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

/// Appends the batch with `extra` columns to `out`. Field metadata is kept.
pub fn encode(batch: &RecordBatch, extra: Vec<(&str, ArrayRef)>, out: &mut Vec<u8>) -> Result<(), ArrowError> {
    let schema = batch.schema();
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    let mut columns = batch.columns().to_vec();
    for (name, column) in extra {
        fields.push(Arc::new(Field::new(name, column.data_type().clone(), column.null_count() > 0)));
        columns.push(column);
    }
    let schema = Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()));
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let batch = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
    let mut writer = StreamWriter::try_new(out, &schema)?;
    writer.write(&batch)?;
    writer.finish()
}

/// The batch and the `extra` columns behind it.
pub fn decode(bytes: &[u8], extra: usize) -> Result<(RecordBatch, Vec<ArrayRef>), ArrowError> {
    let mut reader = StreamReader::try_new(Cursor::new(bytes), None)?;
    let batch = reader.next().ok_or_else(|| ArrowError::IpcError("a section without a batch".to_owned()))??;
    let own = batch.num_columns().checked_sub(extra);
    let own = own.ok_or_else(|| ArrowError::IpcError("a section with too few columns".to_owned()))?;
    let schema = batch.schema();
    let fields: Vec<_> = schema.fields().iter().take(own).cloned().collect();
    let schema = Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()));
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let rows = RecordBatch::try_new_with_options(schema, batch.columns()[..own].to_vec(), &options)?;
    Ok((rows, batch.columns()[own..].to_vec()))
}
