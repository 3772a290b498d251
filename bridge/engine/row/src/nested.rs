//! Lists, structs and maps as byte strings, in the order of Arrow's row format.
//!
//! That format knows no maps and keeps the bits of floats and intervals. So a column is rewritten
//! first: maps become lists of their entries, and values become canonical as the mode asks.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, LargeListArray, ListArray, MapArray, StructArray, new_null_array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::SortOptions;
use arrow::datatypes::{
    DataType, Field, FieldRef, Fields, Float32Type, Float64Type, IntervalMonthDayNanoType, IntervalUnit,
};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};

use crate::word::Word;
use crate::{KeyMode, RowError, interval};

/// NULLs inside nested values sort last, as in DuckDB.
const OPTIONS: SortOptions = SortOptions { descending: false, nulls_first: false };

/// The codec of one nested column.
#[derive(Debug)]
pub(crate) struct Nested {
    field: FieldRef,
    mode: KeyMode,
    converter: RowConverter,
    /// What a NULL column is in Arrow's row format.
    null: Vec<u8>,
}

impl Nested {
    pub(crate) fn new(field: &FieldRef, mode: KeyMode) -> Result<Self, RowError> {
        let stored = stored_type(field.data_type()).ok_or_else(|| RowError::UnsupportedType {
            column: field.name().clone(),
            data_type: field.data_type().clone(),
        })?;
        let build = || -> Result<(RowConverter, Vec<u8>), ArrowError> {
            let converter = RowConverter::new(vec![SortField::new_with_options(stored.clone(), OPTIONS)])?;
            let null = converter.convert_columns(&[new_null_array(&stored, 1)])?.row(0).data().to_vec();
            Ok((converter, null))
        };
        let (converter, null) = build().map_err(|source| arrow_error(field, source))?;
        Ok(Nested { field: Arc::clone(field), mode, converter, null })
    }

    pub(crate) fn encode(&self, array: &ArrayRef) -> Result<Rows, RowError> {
        store(array, self.mode)
            .and_then(|stored| self.converter.convert_columns(&[stored]))
            .map_err(|source| arrow_error(&self.field, source))
    }

    pub(crate) fn decode(
        &self,
        offsets: &[i64],
        bytes: &[u8],
        nulls: Option<&NullBuffer>,
    ) -> Result<ArrayRef, RowError> {
        let parser = self.converter.parser();
        let rows = offsets.windows(2).enumerate().map(|(index, ends)| {
            if nulls.is_some_and(|nulls| nulls.is_null(index)) {
                parser.parse(&self.null)
            } else {
                parser.parse(&bytes[ends[0] as usize..ends[1] as usize])
            }
        });
        let mut columns = self.converter.convert_rows(rows).map_err(|source| arrow_error(&self.field, source))?;
        let column = columns.pop().expect("the converter was made for one column");
        restore(&column, self.field.data_type()).map_err(|source| arrow_error(&self.field, source))
    }
}

fn arrow_error(field: &FieldRef, source: ArrowError) -> RowError {
    RowError::Arrow { column: field.name().clone(), data_type: field.data_type().clone(), source }
}

/// The type in which values of `data_type` are stored: maps are lists of entries. `None` for types
/// that rows cannot hold.
fn stored_type(data_type: &DataType) -> Option<DataType> {
    let stored_field = |field: &FieldRef| -> Option<FieldRef> {
        Some(Arc::new(Field::new(field.name(), stored_type(field.data_type())?, field.is_nullable())))
    };
    Some(match data_type {
        DataType::List(item) | DataType::Map(item, _) => DataType::List(stored_field(item)?),
        DataType::LargeList(item) => DataType::LargeList(stored_field(item)?),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(stored_field(item)?, *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(stored_field).collect::<Option<Fields>>()?),
        DataType::Interval(unit) if *unit != IntervalUnit::MonthDayNano => return None,
        DataType::Float16 => return None,
        nested if nested.is_nested() => return None,
        DataType::Dictionary(..) => return None,
        plain => plain.clone(),
    })
}

/// The array in its stored type, with canonical leaves.
fn store(array: &ArrayRef, mode: KeyMode) -> Result<ArrayRef, ArrowError> {
    let field = |of: &FieldRef, values: &ArrayRef| -> FieldRef {
        Arc::new(Field::new(of.name(), values.data_type().clone(), of.is_nullable()))
    };
    let nulls = array.nulls().cloned();
    Ok(match array.data_type() {
        DataType::List(item) => {
            let list = array.as_list::<i32>();
            let values = store(list.values(), mode)?;
            Arc::new(ListArray::try_new(field(item, &values), list.offsets().clone(), values, nulls)?)
        }
        DataType::LargeList(item) => {
            let list = array.as_list::<i64>();
            let values = store(list.values(), mode)?;
            Arc::new(LargeListArray::try_new(field(item, &values), list.offsets().clone(), values, nulls)?)
        }
        DataType::FixedSizeList(item, size) => {
            let values = store(array.as_fixed_size_list().values(), mode)?;
            Arc::new(FixedSizeListArray::try_new_with_length(field(item, &values), *size, values, nulls, array.len())?)
        }
        DataType::Map(entries, _) => {
            let map = array.as_map();
            let values = store(&(Arc::new(map.entries().clone()) as ArrayRef), mode)?;
            Arc::new(ListArray::try_new(field(entries, &values), map.offsets().clone(), values, nulls)?)
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns().iter().map(|column| store(column, mode));
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            let fields: Fields = fields.iter().zip(&columns).map(|(of, column)| field(of, column)).collect();
            Arc::new(StructArray::try_new_with_length(fields, columns, nulls, array.len())?)
        }
        DataType::Float32 => {
            let canonical = |value: f32| f32::from_word(value.to_word(mode));
            Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>(canonical))
        }
        DataType::Float64 => {
            let canonical = |value: f64| f64::from_word(value.to_word(mode));
            Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(canonical))
        }
        DataType::Interval(_) if mode == KeyMode::Canonical => {
            let intervals = array.as_primitive::<IntervalMonthDayNanoType>();
            Arc::new(intervals.unary::<_, IntervalMonthDayNanoType>(interval::normalise))
        }
        _ => Arc::clone(array),
    })
}

/// The inverse of [`store`]: the array in the type that the column has.
fn restore(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    let nulls = array.nulls().cloned();
    Ok(match data_type {
        DataType::List(item) => {
            let list = array.as_list::<i32>();
            let values = restore(list.values(), item.data_type())?;
            Arc::new(ListArray::try_new(Arc::clone(item), list.offsets().clone(), values, nulls)?)
        }
        DataType::LargeList(item) => {
            let list = array.as_list::<i64>();
            let values = restore(list.values(), item.data_type())?;
            Arc::new(LargeListArray::try_new(Arc::clone(item), list.offsets().clone(), values, nulls)?)
        }
        DataType::FixedSizeList(item, size) => {
            let values = restore(array.as_fixed_size_list().values(), item.data_type())?;
            Arc::new(FixedSizeListArray::try_new_with_length(Arc::clone(item), *size, values, nulls, array.len())?)
        }
        DataType::Map(entries, sorted) => {
            let list = array.as_list::<i32>();
            let values = restore(list.values(), entries.data_type())?;
            let offsets = list.offsets().clone();
            Arc::new(MapArray::try_new(Arc::clone(entries), offsets, values.as_struct().clone(), nulls, *sorted)?)
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns().iter().zip(fields);
            let columns = columns.map(|(column, field)| restore(column, field.data_type()));
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, array.len())?)
        }
        _ => Arc::clone(array),
    })
}
