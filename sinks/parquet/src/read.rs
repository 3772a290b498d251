//! The rows of a view: the sum of its files that count.

use arrow::array::{Int64Array, RecordBatch};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use tidegate_core::{ConnectorError, ViewInfo, ZSet};

use crate::columns::{CHANGE_TYPE, from_stored};
use crate::compact::listed;
use crate::error::{ParquetSinkError, connector_error};
use crate::layout::chosen;
use crate::sort::weights;
use crate::store::Store;

/// Every change of every file, +1 for rows that came and −1 for rows that went: together the rows
/// that the view holds. Nothing is kept in memory but one batch.
pub(crate) async fn rows(
    sink: String,
    store: Store,
    view: ViewInfo,
) -> Result<BoxStream<'static, Result<ZSet, ConnectorError>>, ConnectorError> {
    let found = listed(&store, &view.name).await.map_err(|error| connector_error(&sink, error))?;
    let (counts, _) = chosen(found.into_keys());
    let names: Vec<_> = counts.into_iter().map(|span| span.file(&view.name)).collect();
    let files = stream::iter(names).then(move |name| file_rows(store.clone(), view.clone(), name)).try_flatten();
    Ok(files.map_err(move |error| connector_error(&sink, error)).boxed())
}

async fn file_rows(
    store: Store,
    view: ViewInfo,
    name: String,
) -> Result<BoxStream<'static, Result<ZSet, ParquetSinkError>>, ParquetSinkError> {
    let path = store.path(&name);
    let file = store.open(&name).await?;
    let reader = ParquetRecordBatchStreamBuilder::new(file).await.and_then(|builder| builder.build());
    let reader = reader.map_err(|error| ParquetSinkError::reading(&path, error))?;
    let zset = move |batch: parquet::errors::Result<RecordBatch>| {
        let batch = batch.map_err(|error| ParquetSinkError::reading(&path, error))?;
        signed(&batch, &view).map_err(|fact| ParquetSinkError::damaged(&path, fact))
    };
    Ok(reader.map(zset).boxed())
}

/// Changes as a Z-set of the view's rows.
pub(crate) fn signed(batch: &RecordBatch, view: &ViewInfo) -> Result<ZSet, String> {
    let column = |name: &str| batch.column_by_name(name).ok_or_else(|| format!("column {name} is missing"));
    let mut columns = Vec::with_capacity(view.schema.fields().len());
    for field in view.schema.fields() {
        columns.push(from_stored(column(field.name())?, field.data_type()).map_err(|error| error.to_string())?);
    }
    let weights = weights(column(CHANGE_TYPE)?).map_err(|error| error.to_string())?;
    let rows = RecordBatch::try_new(view.schema.clone(), columns).map_err(|error| error.to_string())?;
    Ok(ZSet::new(rows, Int64Array::from(weights)))
}
