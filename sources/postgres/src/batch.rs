//! Rows of one table on their way to Arrow: text values in, events out.

use arrow::array::{ArrayRef, BooleanArray, BooleanBufferBuilder, Int64Array, RecordBatch, RecordBatchOptions};
use tidegate_core::{KeyedChanges, KeyedOp, TableEvent, ZSet};

use crate::catalog::Table;
use crate::error::PostgresError;
use crate::pgoutput::{Old, Tuple, Value};
use crate::types::{ColumnBuilder, Policy, ValueErrorKind};

/// Rows and bytes of text of one event, about.
const ROWS_MAX: usize = 65_536;
const BYTES_MAX: usize = 16 << 20;

/// Collects the changes of one table and makes events of them.
pub(crate) struct TableBatch {
    source: String,
    table: Table,
    columns: Vec<ColumnBuilder>,
    ops: Vec<KeyedOp>,
    weights: Vec<i64>,
    /// Per column, where its value did not change; empty until that happens.
    unchanged: Vec<Option<BooleanBufferBuilder>>,
    rows: usize,
    bytes: usize,
    events: Vec<TableEvent>,
}

impl TableBatch {
    /// Nothing yet. `source` is the source's name.
    pub fn new(source: &str, table: &Table, policy: &Policy) -> Self {
        let columns: Vec<_> = table.columns.iter().map(|c| ColumnBuilder::new(&c.pg_type, policy)).collect();
        TableBatch {
            source: source.to_owned(),
            unchanged: columns.iter().map(|_| None).collect(),
            columns,
            ops: Vec::new(),
            weights: Vec::new(),
            rows: 0,
            bytes: 0,
            events: Vec::new(),
            table: table.clone(),
        }
    }

    /// The table.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// A row that exists, of a copy.
    pub fn row<'v>(&mut self, values: impl Iterator<Item = Option<&'v [u8]>>) -> Result<(), PostgresError> {
        self.make_room()?;
        let mut columns = 0;
        for (column, value) in values.enumerate() {
            if column >= self.columns.len() {
                return Err(self.malformed("a copied row has more columns than the table"));
            }
            self.append(column, value)?;
            columns = column + 1;
        }
        if columns != self.columns.len() {
            return Err(self.malformed("a copied row has fewer columns than the table"));
        }
        self.end_row(KeyedOp::Upsert, 1);
        Ok(())
    }

    /// A row was inserted.
    pub fn insert(&mut self, new: Tuple<'_>) -> Result<(), PostgresError> {
        self.put(new, None, KeyedOp::Upsert, 1)
    }

    /// A row was updated.
    pub fn update(&mut self, old: Option<Old<'_>>, new: Tuple<'_>) -> Result<(), PostgresError> {
        let Some(key) = self.table.key.clone() else {
            let Some(Old::Full(old)) = old else {
                return Err(self.malformed("an update of a table without key came without its old row"));
            };
            self.put(old, None, KeyedOp::Upsert, -1)?;
            return self.put(new, Some(old), KeyedOp::Upsert, 1);
        };
        let full = match old {
            Some(Old::Full(old)) => Some(old),
            _ => None,
        };
        match old.map(|old| old.tuple()) {
            Some(old) if is_rekeyed(&key, old, new) => {
                self.key_of(&key, old)?;
                self.put_keyed(new, Some(old), full.is_some(), KeyedOp::Rekeyed)
            }
            old => self.put_keyed(new, old, full.is_some(), KeyedOp::Upsert),
        }
    }

    /// A row was deleted.
    pub fn delete(&mut self, old: Old<'_>) -> Result<(), PostgresError> {
        match (self.table.key.clone(), old) {
            (Some(key), old) => self.key_of(&key, old.tuple()),
            (None, Old::Full(old)) => self.put(old, None, KeyedOp::Upsert, -1),
            (None, Old::Key(_)) => Err(self.malformed("a delete of a table without key came without its old row")),
        }
    }

    /// The table was emptied.
    pub fn truncate(&mut self) -> Result<(), PostgresError> {
        self.flush()?;
        self.events.push(TableEvent::Truncate);
        Ok(())
    }

    /// The events that are complete.
    pub fn take(&mut self) -> Vec<TableEvent> {
        std::mem::take(&mut self.events)
    }

    /// Whether there are any.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Everything as events.
    pub fn finish(&mut self) -> Result<Vec<TableEvent>, PostgresError> {
        self.flush()?;
        Ok(self.take())
    }

    /// A whole row, each value as it is. `old` fills what is left out.
    fn put(&mut self, row: Tuple<'_>, old: Option<Tuple<'_>>, op: KeyedOp, weight: i64) -> Result<(), PostgresError> {
        self.check_width(row)?;
        self.make_room()?;
        let mut before = old.map(|old| old.values());
        for (column, value) in row.values().enumerate() {
            let before = before.as_mut().and_then(Iterator::next);
            match (value, before) {
                (Value::Unchanged, Some(Value::Text(text))) => self.append(column, Some(text))?,
                (Value::Unchanged, Some(Value::Null)) => self.append(column, None)?,
                (Value::Unchanged, _) => return Err(self.malformed("a value was left out of a whole row")),
                (Value::Null, _) => self.append(column, None)?,
                (Value::Text(text), _) => self.append(column, Some(text))?,
            }
        }
        self.end_row(op, weight);
        Ok(())
    }

    /// The new row of an update by key. What is left out comes from the old row where that is whole, or for
    /// columns of the key; else it is marked as unchanged, and the engine's table state has it.
    fn put_keyed(
        &mut self,
        row: Tuple<'_>,
        old: Option<Tuple<'_>>,
        is_full: bool,
        op: KeyedOp,
    ) -> Result<(), PostgresError> {
        self.check_width(row)?;
        if op != KeyedOp::Rekeyed {
            // A rekeyed row stays in the event of the delete before it.
            self.make_room()?;
        }
        let mut before = old.map(|old| old.values());
        let key = self.table.key.clone().unwrap_or_default();
        for (column, value) in row.values().enumerate() {
            let before = before.as_mut().and_then(Iterator::next);
            match (value, before) {
                (Value::Unchanged, Some(Value::Text(text))) if is_full || key.contains(&column) => {
                    self.append(column, Some(text))?;
                }
                (Value::Unchanged, Some(Value::Null)) if is_full => self.append(column, None)?,
                (Value::Unchanged, _) if key.contains(&column) => {
                    return Err(self.malformed("a value of the key was left out"));
                }
                (Value::Unchanged, _) => {
                    self.append(column, None)?;
                    let marks = self.unchanged[column].get_or_insert_with(|| BooleanBufferBuilder::new(0));
                    marks.append_n(self.rows - marks.len(), false);
                    marks.append(true);
                }
                (Value::Null, _) => self.append(column, None)?,
                (Value::Text(text), _) => self.append(column, Some(text))?,
            }
        }
        self.end_row(op, 1);
        Ok(())
    }

    /// The delete of a key. Other columns hold nothing.
    fn key_of(&mut self, key: &[usize], row: Tuple<'_>) -> Result<(), PostgresError> {
        self.check_width(row)?;
        self.make_room()?;
        for (column, value) in row.values().enumerate() {
            match value {
                Value::Text(text) if key.contains(&column) => self.append(column, Some(text))?,
                _ if key.contains(&column) => return Err(self.malformed("a deleted row came without its key")),
                _ => self.append(column, None)?,
            }
        }
        self.end_row(KeyedOp::Delete, -1);
        Ok(())
    }

    fn check_width(&self, row: Tuple<'_>) -> Result<(), PostgresError> {
        match row.len() == self.columns.len() {
            true => Ok(()),
            false => Err(self.malformed("a row has another number of columns than the table")),
        }
    }

    fn append(&mut self, column: usize, value: Option<&[u8]>) -> Result<(), PostgresError> {
        let Some(text) = value else {
            self.columns[column].append_null();
            return Ok(());
        };
        self.bytes += text.len();
        let Err(error) = self.columns[column].append_text(text) else { return Ok(()) };
        debug_assert_ne!(error.kind, ValueErrorKind::Full, "batches are far smaller than Arrow's limits");
        Err(PostgresError::Value {
            database: self.source.clone(),
            table: self.table.schema.name.to_string(),
            column: self.table.columns[column].name.clone(),
            message: error.to_string(),
        })
    }

    fn end_row(&mut self, op: KeyedOp, weight: i64) {
        match self.table.key {
            Some(_) => self.ops.push(op),
            None => self.weights.push(weight),
        }
        self.rows += 1;
    }

    fn make_room(&mut self) -> Result<(), PostgresError> {
        if self.rows >= ROWS_MAX || self.bytes >= BYTES_MAX { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), PostgresError> {
        if self.rows == 0 {
            return Ok(());
        }
        let columns: Vec<ArrayRef> = self.columns.iter_mut().map(ColumnBuilder::finish).collect();
        let nulled: u64 = self.columns.iter_mut().map(ColumnBuilder::nulled).sum();
        if nulled > 0 {
            let table = &self.table.schema.name;
            tracing::warn!(name: "values_nulled", source = %self.source, %table, values = nulled, "values that no type here holds became NULL");
        }
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        let rows = RecordBatch::try_new_with_options(self.table.schema.columns.clone(), columns, &options);
        let rows = rows.map_err(|_| self.malformed("a column of the key holds NULL"))?;
        let count = std::mem::take(&mut self.rows);
        self.bytes = 0;
        let event = match self.table.key {
            None => TableEvent::Rows(ZSet::new(rows, Int64Array::from(std::mem::take(&mut self.weights)))),
            Some(_) => {
                let marks = self.unchanged.iter_mut().map(|marks| finish_marks(marks.take(), count)).collect();
                TableEvent::Keyed(KeyedChanges { ops: std::mem::take(&mut self.ops), rows, unchanged: marks })
            }
        };
        self.events.push(event);
        Ok(())
    }

    fn malformed(&self, fact: &'static str) -> PostgresError {
        PostgresError::Stream { database: self.source.clone(), table: self.table.schema.name.to_string(), fact }
    }
}

fn finish_marks(marks: Option<BooleanBufferBuilder>, rows: usize) -> Option<BooleanArray> {
    let mut marks = marks?;
    marks.append_n(rows - marks.len(), false);
    Some(BooleanArray::new(marks.finish(), None))
}

/// Whether an update changed the key. A key that was left out did not change.
fn is_rekeyed(key: &[usize], old: Tuple<'_>, new: Tuple<'_>) -> bool {
    let pairs = old.values().zip(new.values()).enumerate();
    pairs.filter(|(column, _)| key.contains(column)).any(|(_, (old, new))| match (old, new) {
        (Value::Text(old), Value::Text(new)) => old != new,
        _ => false,
    })
}
