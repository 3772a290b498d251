//! The rows of a table, streamed.

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use tidegate_core::{ConnectorError, ViewInfo, ZSet};

use crate::error::{DeltaSinkError, connector_error};
use crate::scan::scan;
use crate::schema::{self, Difference, Mapping};
use crate::store::TableStore;
use crate::table::Table;

/// Every row of the table's files, once each. Nothing is kept in memory but one batch.
pub(crate) fn rows(
    sink: String,
    store: TableStore,
    view: ViewInfo,
    table: Option<Table>,
) -> Result<BoxStream<'static, Result<ZSet, ConnectorError>>, DeltaSinkError> {
    let Some(table) = table else { return Ok(stream::empty().boxed()) };
    let Some(shape) = table.shape(&view) else {
        let wanted = schema::delta_schema(&view.schema, Mapping::None).map(|(schema, _)| schema).unwrap_or_default();
        let difference = match schema::difference(&table.metadata.schema, &wanted) {
            Difference::Added(difference) | Difference::Other(difference) => difference,
            Difference::None => "its partition columns are not the view's".to_owned(),
        };
        return Err(DeltaSinkError::Altered { table: store.shown(""), difference });
    };
    let columns: Vec<usize> = (0..shape.stored.fields().len()).collect();
    let files = stream::iter(table.files).then(move |(path, file)| {
        let (store, shape, columns, sink) = (store.clone(), shape.clone(), columns.clone(), sink.clone());
        async move {
            let fault = |error| connector_error(&sink, error);
            let rows = scan(&store, &shape, &path, &file, &columns).await.map_err(fault)?;
            let shown = store.shown(&path);
            let sink = sink.clone();
            Ok::<_, ConnectorError>(rows.map(move |batch| {
                let loaded = batch.and_then(|b| shape.load(&b).map_err(|fact| DeltaSinkError::damaged(&shown, fact)));
                loaded.map(|rows| ZSet::uniform(rows, 1)).map_err(|error| connector_error(&sink, error))
            }))
        }
    });
    Ok(files.try_flatten().boxed())
}
