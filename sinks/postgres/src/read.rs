//! The rows of a table, streamed.

use arrow::array::{Int64Array, RecordBatch, RecordBatchOptions};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use tidegate_core::{ConnectorError, ViewInfo, ZSet};
use tidegate_postgres::tokio_postgres::types::{FromSql, Type};
use tidegate_postgres::tokio_postgres::{Row, RowStream};
use tidegate_postgres::{PostgresError, quote_name};

use crate::catalog::Catalog;
use crate::changes::names;
use crate::column::{Column, columns};
use crate::decode::{Reader, reader};
use crate::error::{PostgresSinkError, connector_error};
use crate::link::Link;

/// Rows of a batch.
const BATCH_ROWS: usize = 8_192;
/// A batch is handed out when it has this many bytes, whatever its rows.
const BATCH_BYTES: usize = 16 << 20;

/// Streams a view's table from a session of its own.
pub(crate) async fn rows(
    sink: &str,
    link: Link,
    schema: &str,
    view: &ViewInfo,
) -> Result<BoxStream<'static, Result<ZSet, ConnectorError>>, PostgresSinkError> {
    let columns = columns(view)?;
    let catalog = Catalog::read(&link.session, schema, &[view.name.as_str()], &[]).await?;
    let Some(found) = catalog.relations.get(view.name.as_str()) else { return Ok(stream::empty().boxed()) };
    if let Some(difference) = found.difference(&columns) {
        let (schema, view) = (schema.to_owned(), view.name.clone());
        return Err(PostgresSinkError::Altered { schema, view, difference });
    }
    let sql = format!("SELECT {} FROM {}", names(&columns), quote_name([schema, view.name.as_str()]));
    let rows = Box::pin(link.session.stream(DOING, &sql).await?);
    let (schema, sink) = (schema.to_owned(), sink.to_owned());
    let reading = Reading { rows, link, schema, view: view.clone(), columns, is_done: false };
    let batches =
        stream::try_unfold(reading, |mut reading| async { Ok(reading.next().await?.map(|batch| (batch, reading))) });
    Ok(batches.map_err(move |error| connector_error(&sink, error)).boxed())
}

const DOING: &str = "reading a table";

struct Reading {
    rows: std::pin::Pin<Box<RowStream>>,
    link: Link,
    schema: String,
    view: ViewInfo,
    columns: Vec<Column>,
    /// The server has said that there are no more rows; it is not to be asked again.
    is_done: bool,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<ZSet>, PostgresSinkError> {
        let fields = self.view.schema.fields();
        let mut readers: Vec<Box<dyn Reader>> =
            self.columns.iter().zip(fields).map(|(column, field)| reader(&column.kind, field.data_type())).collect();
        let (mut count, mut bytes) = (0, 0);
        while !self.is_done && count < BATCH_ROWS && bytes < BATCH_BYTES {
            // Sessions know when a server does not answer.
            let next = self.link.session.wait(DOING, self.rows.try_next()).await?;
            let Some(row) = next else {
                self.is_done = true;
                break;
            };
            for (index, reader) in readers.iter_mut().enumerate() {
                let value = raw(&row, index)?;
                bytes += value.map_or(0, <[u8]>::len);
                reader.push(value).map_err(|_| self.strange(index))?;
            }
            count += 1;
        }
        if count == 0 {
            return Ok(None);
        }
        let mut arrays = Vec::with_capacity(readers.len());
        for (index, reader) in readers.iter_mut().enumerate() {
            arrays.push(reader.finish().map_err(|_| self.strange(index))?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let batch = RecordBatch::try_new_with_options(self.view.schema.clone(), arrays, &options);
        let batch = batch.map_err(|error| PostgresSinkError::Altered {
            schema: self.schema.clone(),
            view: self.view.name.clone(),
            difference: error.to_string(),
        })?;
        Ok(Some(ZSet::new(batch, Int64Array::from(vec![1; count]))))
    }

    fn strange(&self, index: usize) -> PostgresSinkError {
        PostgresSinkError::Altered {
            schema: self.schema.clone(),
            view: self.view.name.clone(),
            difference: format!("column {} has a value that the view's type cannot have", self.columns[index].name),
        }
    }
}

/// A value as it comes.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Raw(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn raw(row: &Row, index: usize) -> Result<Option<&[u8]>, PostgresSinkError> {
    let value: Option<Raw<'_>> = row.try_get(index).map_err(|error| PostgresError::of(DOING, &error))?;
    Ok(value.map(|raw| raw.0))
}
