//! Arrow batches into DuckDB tables, by the appender.
//!
//! The appender casts to the table's types, so that a HUGEINT column takes `DECIMAL(38,0)` and a
//! UUID column text. Batches go in by DuckDB's vector size. Two things are brought into a form that
//! is certain to arrive whole: intervals travel as text (the conversion underneath drops their
//! NULLs), and sliced lists are compacted first (it would copy the whole child array with every
//! slice).

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, IntervalMonthDayNanoArray, ListArray, MapArray, RecordBatch,
    StringArray, StructArray,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, IntervalMonthDayNanoType, IntervalUnit, Schema};

use crate::{Duck, DuckError};

/// DuckDB's vector size.
const VECTOR_ROWS: usize = 2048;

impl Duck {
    /// Appends rows to a table of this connection, columns by position. `table` is the unquoted
    /// name parts: table, schema.table or catalog.schema.table.
    pub fn append(&self, table: &[&str], batches: impl IntoIterator<Item = RecordBatch>) -> Result<u64, DuckError> {
        let connection = self.connection();
        let appender = match *table {
            [table] => connection.appender(table),
            [schema, table] => connection.appender_to_db(table, schema),
            [catalog, schema, table] => connection.appender_to_catalog_and_db(table, catalog, schema),
            _ => return Err(DuckError::Mismatch { message: "a table name has one to three parts".into() }),
        };
        let mut appender = appender.map_err(|error| self.error(&error))?;
        let mut rows = 0;
        for batch in batches {
            for offset in (0..batch.num_rows()).step_by(VECTOR_ROWS) {
                let slice = batch.slice(offset, VECTOR_ROWS.min(batch.num_rows() - offset));
                appender.append_record_batch(importable(&slice)?).map_err(|error| self.error(&error))?;
            }
            rows += batch.num_rows() as u64;
        }
        appender.flush().map_err(|error| self.error(&error))?;
        Ok(rows)
    }
}

/// The batch in a form that the crate's conversion into DuckDB's vectors takes without loss; DuckDB casts
/// the columns to what they are. Table functions that hand out rows need it as the appender does.
pub fn importable(batch: &RecordBatch) -> Result<RecordBatch, DuckError> {
    let mut fields = Vec::with_capacity(batch.num_columns());
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let column = importable_array(column)?;
        fields.push(Field::new(field.name(), column.data_type().clone(), true));
        columns.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(mismatch)
}

fn mismatch(error: arrow::error::ArrowError) -> DuckError {
    DuckError::Mismatch { message: error.to_string() }
}

fn importable_array(array: &ArrayRef) -> Result<ArrayRef, DuckError> {
    Ok(match array.data_type() {
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            Arc::new(interval_text(array.as_primitive::<IntervalMonthDayNanoType>()))
        }
        DataType::List(item) => {
            let list = array.as_list::<i32>();
            let (offsets, values) = compact(list.offsets(), list.values());
            let values = importable_array(&values)?;
            let item = retyped(item, &values);
            Arc::new(ListArray::try_new(item, offsets, values, list.nulls().cloned()).map_err(mismatch)?)
        }
        DataType::Map(entries, sorted) => {
            let map = array.as_map();
            let entries_array: ArrayRef = Arc::new(map.entries().clone());
            let (offsets, values) = compact(map.offsets(), &entries_array);
            let values = importable_array(&values)?;
            let entries = retyped(entries, &values);
            let values = values.as_struct().clone();
            Arc::new(MapArray::try_new(entries, offsets, values, map.nulls().cloned(), *sorted).map_err(mismatch)?)
        }
        DataType::FixedSizeList(item, size) => {
            let list = array.as_fixed_size_list();
            let values = importable_array(list.values())?;
            let item = retyped(item, &values);
            Arc::new(FixedSizeListArray::try_new(item, *size, values, list.nulls().cloned()).map_err(mismatch)?)
        }
        DataType::Struct(fields) => {
            let array = array.as_struct();
            let columns = array.columns().iter().map(importable_array).collect::<Result<Vec<_>, _>>()?;
            let fields = fields.iter().zip(&columns).map(|(field, column)| retyped(field, column)).collect();
            Arc::new(StructArray::try_new(fields, columns, array.nulls().cloned()).map_err(mismatch)?)
        }
        _ => array.clone(),
    })
}

fn retyped(field: &FieldRef, array: &ArrayRef) -> FieldRef {
    Arc::new(Field::new(field.name(), array.data_type().clone(), field.is_nullable()))
}

/// Offsets from zero, and only the values they reach.
fn compact(offsets: &OffsetBuffer<i32>, values: &ArrayRef) -> (OffsetBuffer<i32>, ArrayRef) {
    let first = offsets[0];
    let last = offsets[offsets.len() - 1];
    let values = values.slice(first as usize, (last - first) as usize);
    let offsets: ScalarBuffer<i32> = offsets.iter().map(|offset| offset - first).collect();
    (OffsetBuffer::new(offsets), values)
}

/// Intervals as DuckDB reads them back exactly: months, days and microseconds stay apart.
fn interval_text(array: &IntervalMonthDayNanoArray) -> StringArray {
    array
        .iter()
        .map(|interval| {
            interval.map(|i| format!("{} months {} days {} microseconds", i.months, i.days, i.nanoseconds / 1000))
        })
        .collect()
}
