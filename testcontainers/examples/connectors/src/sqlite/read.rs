//! The rows of a table, as they were given.

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::FieldRef;
use tidegate_core::{ConnectorError, ViewInfo, ZSet};
use tidegate_duck::quote_ident;
use tokio::sync::mpsc;

use super::{SqliteSink, held};

/// Rows of a batch.
const BATCH_ROWS: usize = 8_192;

// ANCHOR: read
impl SqliteSink {
    /// Sends every row with its copies, in batches.
    pub(super) fn rows(
        &self,
        view: &ViewInfo,
        sender: &mpsc::Sender<Result<ZSet, ConnectorError>>,
    ) -> Result<(), ConnectorError> {
        let failed = |error| self.error(error);
        if !self.path.exists() {
            return Ok(());
        }
        let connection = self.connect().map_err(failed)?;
        if held(&connection, &view.name).map_err(failed)?.is_none() {
            return Ok(());
        }
        let sql = format!("SELECT \"row\", copies FROM {}", quote_ident(view.name.as_str()));
        let mut statement = connection.prepare(&sql).map_err(failed)?;
        let mut rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(failed)?;
        loop {
            let chunk: Vec<(String, i64)> =
                rows.by_ref().take(BATCH_ROWS).collect::<rusqlite::Result<_>>().map_err(failed)?;
            if chunk.is_empty() {
                return Ok(());
            }
            let zset = decode(view, &chunk).ok_or_else(|| self.stop(&view.name, "has rows of other columns"))?;
            if sender.blocking_send(Ok(zset)).is_err() {
                return Ok(());
            }
        }
    }
}

/// Rows from their texts; `None` where they are not the view's.
fn decode(view: &ViewInfo, rows: &[(String, i64)]) -> Option<ZSet> {
    let parsed = rows.iter().map(|(text, _)| tidegate_json::parse(text)).collect::<Result<Vec<_>, _>>().ok()?;
    let column = |field: &FieldRef| {
        let values = parsed.iter().map(|row| row.get(field.name())).collect::<Option<Vec<_>>>()?;
        tidegate_json::column(field.data_type(), &values).ok()
    };
    let columns = view.schema.fields().iter().map(column).collect::<Option<Vec<_>>>()?;
    let copies: Int64Array = rows.iter().map(|(_, copies)| *copies).collect::<Vec<_>>().into();
    Some(ZSet::new(RecordBatch::try_new(view.schema.clone(), columns).ok()?, copies))
}
// ANCHOR_END: read
