//! The order of rows in files, and which rows are the same. Rows are ordered by the view's key, or by
//! all columns where there is none; rows that SQL calls equal (−0.0 and 0.0, 30 days and 1 month) are
//! neighbours. Whether two rows are the same is another question: there every bit counts.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, FixedSizeListArray, ListArray, MapArray, StringArray, StructArray,
};
use arrow::datatypes::{DataType, FieldRef, Fields, Float32Type, Float64Type, IntervalUnit, TimeUnit};
use arrow::error::ArrowError;
use arrow::row::{Row, RowConverter, Rows, SortField};
use tidegate_core::{RowIdentity, ViewInfo};

use crate::columns::{self, ColumnError};

/// How rows of a view are ordered and told apart. Columns are those that are stored.
pub(crate) struct RowOrder {
    sorted_by: Vec<usize>,
    types: Vec<DataType>,
    sorting: RowConverter,
    equality: RowConverter,
    identity: RowConverter,
}

/// What a column becomes to be compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Equal where SQL says so.
    Equal,
    /// Equal where every bit is.
    Same,
}

impl RowOrder {
    /// The order of a view's rows, with these columns before the key.
    pub(crate) fn new(view: &ViewInfo, first: &[usize]) -> Result<RowOrder, ColumnError> {
        let types: Vec<DataType> = view.schema.fields().iter().map(|field| field.data_type().clone()).collect();
        let mut sorted_by = first.to_vec();
        sorted_by.extend(key_columns(view).into_iter().filter(|column| !first.contains(column)));
        let converter = |form: Form, columns: &mut dyn Iterator<Item = usize>| {
            let fields = columns.map(|column| SortField::new(compared_type(&types[column], form)));
            RowConverter::new(fields.collect()).map_err(|_| ColumnError("a column has a type without an order"))
        };
        Ok(RowOrder {
            sorting: converter(Form::Equal, &mut sorted_by.iter().copied())?,
            equality: converter(Form::Equal, &mut (0..types.len()))?,
            identity: converter(Form::Same, &mut (0..types.len()))?,
            sorted_by,
            types,
        })
    }

    /// What rows are ordered by. No other column is looked at.
    pub(crate) fn keys(&self, stored: &[ArrayRef]) -> Result<Rows, ColumnError> {
        let columns = self.sorted_by.iter().map(|column| compared(&stored[*column], &self.types[*column], Form::Equal));
        rows(&self.sorting, columns)
    }

    /// The rows as SQL compares them.
    pub(crate) fn equal(&self, stored: &[ArrayRef]) -> Result<Rows, ColumnError> {
        rows(&self.equality, self.compared(stored, Form::Equal))
    }

    /// The rows, bit for bit.
    pub(crate) fn same(&self, stored: &[ArrayRef]) -> Result<Rows, ColumnError> {
        rows(&self.identity, self.compared(stored, Form::Same))
    }

    fn compared(&self, stored: &[ArrayRef], form: Form) -> impl Iterator<Item = Result<ArrayRef, ColumnError>> {
        stored.iter().zip(&self.types).map(move |(array, view)| compared(array, view, form))
    }

    /// The stored columns of rows from [`same`](RowOrder::same).
    pub(crate) fn stored(&self, bytes: &[&[u8]]) -> Result<Vec<ArrayRef>, ColumnError> {
        let parser = self.identity.parser();
        let rows: Vec<Row<'_>> = bytes.iter().map(|bytes| parser.parse(bytes)).collect();
        let arrays = self.identity.convert_rows(rows).map_err(not_ordered)?;
        arrays.iter().zip(&self.types).map(|(array, view)| restored(array, &columns::stored_type(view))).collect()
    }
}

/// The columns of the view's key; all where it has none, or one of no columns.
pub(crate) fn key_columns(view: &ViewInfo) -> Vec<usize> {
    match &view.identity {
        RowIdentity::Key(key) if !key.is_empty() => key.clone(),
        _ => (0..view.schema.fields().len()).collect(),
    }
}

/// The names of the key's columns; none where the view has no key.
pub(crate) fn key_names(view: &ViewInfo) -> Vec<&str> {
    match &view.identity {
        RowIdentity::Key(key) => key.iter().map(|column| view.schema.field(*column).name().as_str()).collect(),
        _ => Vec::new(),
    }
}

fn rows(
    converter: &RowConverter,
    columns: impl Iterator<Item = Result<ArrayRef, ColumnError>>,
) -> Result<Rows, ColumnError> {
    converter.convert_columns(&columns.collect::<Result<Vec<_>, _>>()?).map_err(not_ordered)
}

fn not_ordered(_: ArrowError) -> ColumnError {
    ColumnError("its values have no order")
}

fn nested(field: &FieldRef, form: Form) -> FieldRef {
    Arc::new(field.as_ref().clone().with_data_type(compared_type(field.data_type(), form)))
}

fn compared_type(view: &DataType, form: Form) -> DataType {
    match view {
        DataType::Interval(IntervalUnit::MonthDayNano) if form == Form::Equal => DataType::Decimal128(38, 0),
        DataType::Interval(IntervalUnit::MonthDayNano) => DataType::Utf8,
        DataType::Timestamp(TimeUnit::Second, zone) => DataType::Timestamp(TimeUnit::Millisecond, zone.clone()),
        DataType::List(item) => DataType::List(nested(item, form)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(nested(item, form), *size),
        // The row format has no maps; their entries are a list.
        DataType::Map(entries, _) => DataType::List(nested(entries, form)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|f| nested(f, form)).collect::<Fields>()),
        other => other.clone(),
    }
}

/// A stored array of a column with this type in the view, as it is compared.
fn compared(array: &ArrayRef, view: &DataType, form: Form) -> Result<ArrayRef, ColumnError> {
    let shape = |_| ColumnError("nested values are not built as their type says");
    Ok(match (view, array.data_type()) {
        (DataType::Interval(IntervalUnit::MonthDayNano), DataType::Utf8) if form == Form::Equal => {
            Arc::new(interval_lengths(array.as_string())?)
        }
        (DataType::Float32, DataType::Float32) if form == Form::Equal => {
            let equal = |value: f32| if value.is_nan() { f32::NAN } else { value + 0.0 };
            Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>(equal))
        }
        (DataType::Float64, DataType::Float64) if form == Form::Equal => {
            let equal = |value: f64| if value.is_nan() { f64::NAN } else { value + 0.0 };
            Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(equal))
        }
        (DataType::List(item), DataType::List(_)) => {
            let list = array.as_list::<i32>();
            let values = compared(list.values(), item.data_type(), form)?;
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            Arc::new(ListArray::try_new(nested(item, form), offsets, values, nulls).map_err(shape)?)
        }
        (DataType::FixedSizeList(item, size), DataType::FixedSizeList(..)) => {
            let list = array.as_fixed_size_list();
            let values = compared(list.values(), item.data_type(), form)?;
            let nulls = list.nulls().cloned();
            Arc::new(FixedSizeListArray::try_new(nested(item, form), *size, values, nulls).map_err(shape)?)
        }
        (DataType::Map(entries, _), DataType::Map(..)) => {
            let map = array.as_map();
            let values: ArrayRef = Arc::new(map.entries().clone());
            let values = compared(&values, entries.data_type(), form)?;
            let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
            Arc::new(ListArray::try_new(nested(entries, form), offsets, values, nulls).map_err(shape)?)
        }
        (DataType::Struct(fields), DataType::Struct(found)) if fields.len() == found.len() => {
            let structs = array.as_struct();
            let columns = structs.columns().iter().zip(fields).map(|(column, f)| compared(column, f.data_type(), form));
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            let fields = fields.iter().map(|field| nested(field, form)).collect::<Fields>();
            Arc::new(StructArray::try_new(fields, columns, structs.nulls().cloned()).map_err(shape)?)
        }
        (view, found) if compared_type(view, form) == *found => array.clone(),
        _ => return Err(ColumnError("its columns are not those of the view")),
    })
}

/// The stored array for one of the row format.
fn restored(array: &ArrayRef, stored: &DataType) -> Result<ArrayRef, ColumnError> {
    let shape = |_| ColumnError("nested values are not built as their type says");
    if array.data_type() == stored {
        return Ok(array.clone());
    }
    Ok(match (array.data_type(), stored) {
        (DataType::List(_), DataType::List(item)) => {
            let list = array.as_list::<i32>();
            let values = restored(list.values(), item.data_type())?;
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            Arc::new(ListArray::try_new(item.clone(), offsets, values, nulls).map_err(shape)?)
        }
        (DataType::List(_), DataType::Map(entries, sorted)) => {
            let list = array.as_list::<i32>();
            let values = restored(list.values(), entries.data_type())?.as_struct().clone();
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            Arc::new(MapArray::try_new(entries.clone(), offsets, values, nulls, *sorted).map_err(shape)?)
        }
        (DataType::FixedSizeList(..), DataType::FixedSizeList(item, size)) => {
            let list = array.as_fixed_size_list();
            let values = restored(list.values(), item.data_type())?;
            Arc::new(FixedSizeListArray::try_new(item.clone(), *size, values, list.nulls().cloned()).map_err(shape)?)
        }
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let structs = array.as_struct();
            let columns = structs.columns().iter().zip(fields).map(|(column, f)| restored(column, f.data_type()));
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            Arc::new(StructArray::try_new(fields.clone(), columns, structs.nulls().cloned()).map_err(shape)?)
        }
        _ => return Err(ColumnError("its columns are not those of the view")),
    })
}

/// Intervals in microseconds, with 30 days in a month: DuckDB's order.
fn interval_lengths(text: &StringArray) -> Result<Decimal128Array, ColumnError> {
    let length = |text: Option<&str>| {
        let Some(text) = text else { return Ok(None) };
        let interval = columns::parse_interval(text).ok_or(ColumnError("a stored interval is not one"))?;
        let days = i128::from(interval.months) * 30 + i128::from(interval.days);
        Ok(Some(days * 86_400_000_000 + i128::from(interval.nanoseconds) / 1000))
    };
    let lengths: Decimal128Array = text.iter().map(length).collect::<Result<Vec<_>, ColumnError>>()?.into();
    lengths.with_precision_and_scale(38, 0).map_err(|_| ColumnError("a stored interval is not one"))
}

#[cfg(test)]
mod tests {
    use tidegate_testkit::conformance::model::ViewModel;
    use tidegate_testkit::rows;

    use super::*;

    fn stored(view: &ViewModel, values: &str) -> Vec<ArrayRef> {
        let batch = rows::batch(view.schema(), values);
        batch.columns().iter().map(|column| columns::to_stored(column).unwrap()).collect()
    }

    #[test]
    fn rows_come_back_and_equal_ones_are_neighbours() {
        let columns = [
            ("d", "DOUBLE"),
            ("i", "INTERVAL"),
            ("m", "MAP(VARCHAR, DOUBLE)"),
            ("s", "STRUCT(a INTERVAL[], b MAP(INTEGER, TIMESTAMP_S))"),
            ("f", "INTEGER[2]"),
        ];
        let view = ViewModel::new("v", &columns, RowIdentity::WholeRow);
        let values = "(0.0, '30 days', MAP {'a': 0.0::DOUBLE}, {'a': ['1 day'::INTERVAL, NULL], 'b': MAP {1: NULL}}, [1, NULL]), \
                      ('-0.0', '1 month', MAP {'a': '-0.0'::DOUBLE}, {'a': ['24 hours'::INTERVAL, NULL], 'b': MAP {1: NULL}}, [1, NULL]), \
                      (NULL, NULL, NULL, NULL, NULL)";
        let stored = stored(&view, values);
        let order = RowOrder::new(view.info(), &[]).unwrap();
        let (keys, same) = (order.keys(&stored).unwrap(), order.same(&stored).unwrap());
        assert_eq!(keys.row(0), keys.row(1));
        assert_ne!(same.row(0), same.row(1));
        assert!(keys.row(2) < keys.row(0), "NULL comes first");
        let bytes: Vec<&[u8]> = same.iter().map(|row| row.data()).collect();
        assert_eq!(order.stored(&bytes).unwrap(), stored);
    }
}
