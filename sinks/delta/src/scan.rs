//! Reading data files.

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Int8Array, Int16Array, Int32Array, Int64Array, RecordBatch,
    RecordBatchOptions, StringArray, new_null_array,
};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use chrono::{Datelike, NaiveDate};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::{AsyncFileReader, ParquetObjectReader};
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::errors::ParquetError;

use crate::columns::conform;
use crate::error::DeltaSinkError;
use crate::shape::Shape;
use crate::store::TableStore;
use crate::table::DataFile;

/// Rows read at a time.
const BATCH_ROWS: usize = 16_384;
/// Files up to this size are read whole.
const WHOLE_BYTES: u64 = 256 << 10;
/// What is read of the end of a larger file at first: seldom less than all that stands there.
const FOOTER_BYTES: usize = 64 << 10;

/// The rows of a file in some columns, as they are stored.
pub(crate) type Rows = BoxStream<'static, Result<RecordBatch, DeltaSinkError>>;

/// Streams a file's rows in the given columns, in that order.
pub(crate) async fn scan(
    store: &TableStore,
    shape: &Shape,
    path: &str,
    file: &DataFile,
    columns: &[usize],
) -> Result<Rows, DeltaSinkError> {
    let shown = store.shown(path);
    let reader = open(store, path, file).await?;
    // What a file says of its Arrow types is another writer's; the Parquet types are what the log promises.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchStreamBuilder::new_with_options(reader, options);
    let builder = builder.await.map_err(|error| fault(&shown, error))?;
    let found = builder.schema().clone();
    let position = |column: &usize| found.index_of(shape.physical(*column)).ok();
    let roots = columns.iter().filter(|column| !shape.partitions.contains(column)).filter_map(position);
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots.collect::<Vec<_>>());
    let rows = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build();
    let rows = rows.map_err(|error| fault(&shown, error))?;
    let schema = Arc::new(Schema::new(columns.iter().map(|c| shape.stored.fields()[*c].clone()).collect::<Vec<_>>()));
    let constants = columns.iter().map(|column| constant(shape, *column, file));
    let constants = constants.collect::<Option<Vec<_>>>();
    let constants =
        constants.ok_or_else(|| DeltaSinkError::damaged(&shown, "its partition values cannot be understood"))?;
    let rows = rows.map_err({
        let shown = shown.clone();
        move |error| fault(&shown, error)
    });
    Ok(rows
        .map(move |batch| arranged(&batch?, &schema, &constants).map_err(|fact| DeltaSinkError::damaged(&shown, fact)))
        .boxed())
}

/// A small file comes whole, which takes one request; of a larger one the end and the columns that are asked for.
async fn open(store: &TableStore, path: &str, file: &DataFile) -> Result<Box<dyn AsyncFileReader>, DeltaSinkError> {
    if file.size > WHOLE_BYTES {
        let (objects, key) = store.object(path);
        let reader = ParquetObjectReader::new(objects, key).with_file_size(file.size);
        return Ok(Box::new(reader.with_footer_size_hint(FOOTER_BYTES)));
    }
    match store.read(path).await? {
        Some(content) => Ok(Box::new(Cursor::new(content))),
        None => Err(gone(&store.shown(path))),
    }
}

fn gone(shown: &str) -> DeltaSinkError {
    DeltaSinkError::damaged(shown, "it is not there any more")
}

/// What comes of a file's columns.
fn arranged(batch: &RecordBatch, schema: &SchemaRef, constants: &[Option<ArrayRef>]) -> Result<RecordBatch, String> {
    let rows = batch.num_rows();
    let column = |(field, constant): (&Arc<arrow::datatypes::Field>, &Option<ArrayRef>)| match constant {
        Some(constant) => repeated(constant, rows),
        None => match batch.column_by_name(field.name()) {
            Some(array) => conform(array, field.data_type()).map_err(|error| error.to_string()),
            // The file is older than the column.
            None => Ok(new_null_array(field.data_type(), rows)),
        },
    };
    let columns = schema.fields().iter().zip(constants).map(column).collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(|error| error.to_string())
}

fn repeated(value: &ArrayRef, rows: usize) -> Result<ArrayRef, String> {
    let first = arrow::array::UInt32Array::from(vec![0; rows]);
    arrow::compute::take(value, &first, None).map_err(|error| error.to_string())
}

/// The value of a partition column in a file, as an array of one row; `Some(None)` for other columns.
fn constant(shape: &Shape, column: usize, file: &DataFile) -> Option<Option<ArrayRef>> {
    if !shape.partitions.contains(&column) {
        return Some(None);
    }
    let data_type = shape.stored.field(column).data_type();
    // An empty text stands for NULL as well.
    let text = file.partition.get(shape.physical(column)).cloned().flatten().filter(|text| !text.is_empty());
    let Some(text) = text else { return Some(Some(new_null_array(data_type, 1))) };
    Some(Some(match data_type {
        DataType::Boolean => Arc::new(BooleanArray::from(vec![text.parse::<bool>().ok()?])),
        DataType::Int8 => Arc::new(Int8Array::from(vec![text.parse::<i8>().ok()?])),
        DataType::Int16 => Arc::new(Int16Array::from(vec![text.parse::<i16>().ok()?])),
        DataType::Int32 => Arc::new(Int32Array::from(vec![text.parse::<i32>().ok()?])),
        DataType::Int64 => Arc::new(Int64Array::from(vec![text.parse::<i64>().ok()?])),
        DataType::Date32 => {
            let date = NaiveDate::parse_from_str(&text, "%Y-%m-%d").ok()?;
            Arc::new(Date32Array::from(vec![date.num_days_from_ce() - 719_163]))
        }
        DataType::Utf8 => Arc::new(StringArray::from(vec![text])),
        _ => return None,
    }))
}

/// Whether the store or the file is at fault.
fn fault(shown: &str, error: ParquetError) -> DeltaSinkError {
    match &error {
        ParquetError::External(source) => match source.downcast_ref::<object_store::Error>() {
            Some(object_store::Error::NotFound { .. }) => gone(shown),
            Some(error) => DeltaSinkError::store(shown, "read", error),
            None => DeltaSinkError::damaged(shown, error),
        },
        _ => DeltaSinkError::damaged(shown, error),
    }
}
