//! The rows of a view: the sum of its files.

use arrow::array::{AsArray, Int64Array, RecordBatch};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use tidegate_core::{ChangeType, ConnectorError, ErrorKind, ViewInfo, ZSet};

use crate::columns::{CHANGE_TYPE, from_stored};
use crate::commit::epochs_after;
use crate::error::{ParquetSinkError, connector_error};
use crate::layout;
use crate::store::Store;

/// Every change of every file, +1 for rows that came and −1 for rows that went: together the rows
/// that the view holds. Nothing is kept in memory but one batch.
pub(crate) async fn rows(
    sink: String,
    store: Store,
    view: ViewInfo,
) -> Result<BoxStream<'static, Result<ZSet, ConnectorError>>, ConnectorError> {
    let epochs = epochs_after(&store, &view.name, None).await.map_err(|error| connector_error(&sink, error))?;
    let names: Vec<_> = epochs.into_iter().map(|epoch| layout::file(&view.name, epoch)).collect();
    let files = stream::iter(names).then(move |name| {
        let (store, view, sink) = (store.clone(), view.clone(), sink.clone());
        async move { file_rows(store, view, name).await.map_err(|error| connector_error(&sink, error)) }
    });
    Ok(files.try_flatten().boxed())
}

async fn file_rows(
    store: Store,
    view: ViewInfo,
    name: String,
) -> Result<BoxStream<'static, Result<ZSet, ConnectorError>>, ParquetSinkError> {
    let path = store.path(&name);
    let file = store.open(&name).await?;
    let reader = ParquetRecordBatchStreamBuilder::new(file).await.and_then(|builder| builder.build());
    let reader = reader.map_err(|error| ParquetSinkError::damaged(&path, error))?;
    let zset = move |batch: parquet::errors::Result<RecordBatch>| {
        let damaged = |fact: String| {
            let error = ParquetSinkError::damaged(&path, fact);
            ConnectorError::new(ErrorKind::Stop, error.to_string())
        };
        let batch = batch.map_err(|error| damaged(error.to_string()))?;
        signed(&batch, &view).map_err(damaged)
    };
    Ok(reader.map(zset).boxed())
}

fn signed(batch: &RecordBatch, view: &ViewInfo) -> Result<ZSet, String> {
    let column = |name: &str| batch.column_by_name(name).ok_or_else(|| format!("column {name} is missing"));
    let mut columns = Vec::with_capacity(view.schema.fields().len());
    for field in view.schema.fields() {
        columns.push(from_stored(column(field.name())?, field.data_type()).map_err(|error| error.to_string())?);
    }
    let labels = column(CHANGE_TYPE)?.as_string_opt::<i32>().ok_or("its change types are no text")?;
    let all = [ChangeType::Insert, ChangeType::Delete, ChangeType::UpdatePreimage, ChangeType::UpdatePostimage];
    let weight = |label: Option<&str>| all.iter().find(|c| Some(c.as_str()) == label).map(|change| change.sign());
    let weights: Option<Vec<i64>> = labels.iter().map(weight).collect();
    let weights = weights.ok_or("it has an unknown change type")?;
    let rows = RecordBatch::try_new(view.schema.clone(), columns).map_err(|error| error.to_string())?;
    Ok(ZSet::new(rows, Int64Array::from(weights)))
}
