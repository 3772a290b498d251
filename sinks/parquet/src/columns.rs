//! Columns as they lie in the files. Two types have no exact form in Parquet: intervals (Parquet's
//! own has milliseconds) are text that DuckDB casts back, and timestamps in seconds are in
//! milliseconds. Everything else is stored as it travels.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, Int64Array, IntervalMonthDayNanoArray, ListArray, MapArray,
    StringArray, StructArray, TimestampMillisecondArray, TimestampSecondArray,
};
use arrow::datatypes::{
    DataType, Field, FieldRef, Fields, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, Schema, SchemaRef,
    TimeUnit, TimestampMillisecondType, TimestampSecondType,
};

/// What kind of change a row is.
pub(crate) const CHANGE_TYPE: &str = "_change_type";
/// The epoch.
pub(crate) const COMMIT_VERSION: &str = "_commit_version";
/// The epoch's time.
pub(crate) const COMMIT_TIMESTAMP: &str = "_commit_timestamp";

/// How many columns the sink adds.
pub(crate) const ADDED: usize = 3;

/// A value that the stored form cannot hold.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ColumnError(pub(crate) &'static str);

/// The file's columns for a view's.
pub(crate) fn stored_schema(view: &Schema) -> SchemaRef {
    let mut fields: Vec<FieldRef> = view.fields().iter().map(stored_field).collect();
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    fields.push(Arc::new(Field::new(CHANGE_TYPE, DataType::Utf8, false)));
    fields.push(Arc::new(Field::new(COMMIT_VERSION, DataType::Int64, false)));
    fields.push(Arc::new(Field::new(COMMIT_TIMESTAMP, utc, false)));
    Arc::new(Schema::new(fields))
}

pub(crate) fn stored_field(field: &FieldRef) -> FieldRef {
    let stored = stored_type(field.data_type());
    if stored == *field.data_type() { field.clone() } else { Arc::new(field.as_ref().clone().with_data_type(stored)) }
}

pub(crate) fn stored_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Interval(IntervalUnit::MonthDayNano) => DataType::Utf8,
        DataType::Timestamp(TimeUnit::Second, zone) => DataType::Timestamp(TimeUnit::Millisecond, zone.clone()),
        DataType::List(item) => DataType::List(stored_field(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(stored_field(item), *size),
        DataType::Map(entries, sorted) => DataType::Map(stored_field(entries), *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(stored_field).collect::<Fields>()),
        other => other.clone(),
    }
}

/// An array of a view's column as it is stored.
pub(crate) fn to_stored(array: &ArrayRef) -> Result<ArrayRef, ColumnError> {
    let stored = stored_type(array.data_type());
    if stored == *array.data_type() {
        return Ok(array.clone());
    }
    convert(array, &stored, &|array| match array.data_type() {
        DataType::Interval(_) => Ok(Arc::new(interval_text(array.as_primitive::<IntervalMonthDayNanoType>())?)),
        _ => {
            let seconds = array.as_primitive::<TimestampSecondType>();
            let millis: Result<TimestampMillisecondArray, _> = seconds.try_unary(|value| scaled(value, 1000));
            Ok(Arc::new(millis?))
        }
    })
}

/// A stored array as a column of the view's type.
pub(crate) fn from_stored(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ColumnError> {
    if array.data_type() == data_type {
        return Ok(array.clone());
    }
    convert(array, data_type, &|array| match array.data_type() {
        DataType::Utf8 => {
            let text = array.as_string::<i32>();
            let parsed: Option<Vec<_>> =
                text.iter().map(|t| t.map(parse_interval).map_or(Some(None), |i| i.map(Some))).collect();
            Ok(Arc::new(IntervalMonthDayNanoArray::from(parsed.ok_or(ColumnError("a stored interval is not one"))?)))
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            let millis = array.as_primitive::<TimestampMillisecondType>();
            let seconds: TimestampSecondArray =
                millis.unary(|value| if is_infinite(value) { value } else { value / 1000 });
            Ok(Arc::new(seconds))
        }
        _ => Err(ColumnError("its columns are not those of the view")),
    })
}

/// Rebuilds nested arrays around converted leaves; `leaf` converts those whose type differs.
fn convert(
    array: &ArrayRef,
    target: &DataType,
    leaf: &dyn Fn(&ArrayRef) -> Result<ArrayRef, ColumnError>,
) -> Result<ArrayRef, ColumnError> {
    let shape = |_| ColumnError("nested values are not built as their type says");
    Ok(match (array.data_type(), target) {
        (found, target) if found == target => array.clone(),
        (DataType::List(_), DataType::List(item)) => {
            let list = array.as_list::<i32>();
            let values = convert(list.values(), item.data_type(), leaf)?;
            Arc::new(
                ListArray::try_new(item.clone(), list.offsets().clone(), values, list.nulls().cloned())
                    .map_err(shape)?,
            )
        }
        (DataType::FixedSizeList(..), DataType::FixedSizeList(item, size)) => {
            let list = array.as_fixed_size_list();
            let values = convert(list.values(), item.data_type(), leaf)?;
            Arc::new(FixedSizeListArray::try_new(item.clone(), *size, values, list.nulls().cloned()).map_err(shape)?)
        }
        (DataType::Map(..), DataType::Map(entries, sorted)) => {
            let map = array.as_map();
            let values: ArrayRef = Arc::new(map.entries().clone());
            let values = convert(&values, entries.data_type(), leaf)?.as_struct().clone();
            let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
            Arc::new(MapArray::try_new(entries.clone(), offsets, values, nulls, *sorted).map_err(shape)?)
        }
        (DataType::Struct(found), DataType::Struct(fields)) if found.len() == fields.len() => {
            let structs = array.as_struct();
            let columns = structs.columns().iter().zip(fields).map(|(column, f)| convert(column, f.data_type(), leaf));
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            Arc::new(StructArray::try_new(fields.clone(), columns, structs.nulls().cloned()).map_err(shape)?)
        }
        (_, target) => {
            let converted = leaf(array)?;
            if converted.data_type() != target {
                return Err(ColumnError("its columns are not those of the view"));
            }
            converted
        }
    })
}

/// DuckDB's infinities, which are no number of seconds.
fn is_infinite(value: i64) -> bool {
    value == i64::MAX || value == -i64::MAX
}

fn scaled(value: i64, factor: i64) -> Result<i64, ColumnError> {
    if is_infinite(value) {
        return Ok(value);
    }
    value.checked_mul(factor).ok_or(ColumnError("a timestamp in seconds is beyond what milliseconds can hold"))
}

/// Months, days and microseconds, each with its sign: what DuckDB casts back exactly.
fn interval_text(array: &IntervalMonthDayNanoArray) -> Result<StringArray, ColumnError> {
    let text = |interval: IntervalMonthDayNano| {
        if interval.nanoseconds % 1000 != 0 {
            return Err(ColumnError("an interval has parts of a microsecond"));
        }
        let IntervalMonthDayNano { months, days, nanoseconds } = interval;
        Ok(format!("{months} months {days} days {} microseconds", nanoseconds / 1000))
    };
    array.iter().map(|interval| interval.map(text).transpose()).collect()
}

pub(crate) fn parse_interval(text: &str) -> Option<IntervalMonthDayNano> {
    let mut words = text.split(' ');
    let mut part = |unit: &str| {
        let number = words.next()?.parse::<i64>().ok()?;
        (words.next()? == unit).then_some(number)
    };
    let (months, days, micros) = (part("months")?, part("days")?, part("microseconds")?);
    let months = i32::try_from(months).ok()?;
    let days = i32::try_from(days).ok()?;
    Some(IntervalMonthDayNano::new(months, days, micros.checked_mul(1000)?))
}

/// The constant columns of an epoch's rows.
pub(crate) fn versions(rows: usize, epoch: i64, time: i64) -> (ArrayRef, ArrayRef) {
    let times = arrow::array::TimestampMicrosecondArray::from(vec![time; rows]).with_timezone("UTC");
    (Arc::new(Int64Array::from(vec![epoch; rows])), Arc::new(times))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_and_seconds_come_back() {
        let intervals: ArrayRef = Arc::new(IntervalMonthDayNanoArray::from(vec![
            Some(IntervalMonthDayNano::new(-14, 3, -86_400_000_001_000)),
            None,
        ]));
        let seconds: ArrayRef = Arc::new(TimestampSecondArray::from(vec![Some(-1), Some(i64::MAX)]));
        let fields = Fields::from(vec![
            Field::new("i", intervals.data_type().clone(), true),
            Field::new("s", seconds.data_type().clone(), true),
        ]);
        let nested: ArrayRef = Arc::new(StructArray::new(fields, vec![intervals, seconds], None));
        let stored = to_stored(&nested).unwrap();
        assert_eq!(
            stored.as_struct().column(0).as_string::<i32>().value(0),
            "-14 months 3 days -86400000001 microseconds"
        );
        assert_eq!(&from_stored(&stored, nested.data_type()).unwrap(), &nested);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let seconds: ArrayRef = Arc::new(TimestampSecondArray::from(vec![i64::MAX - 1]));
        assert!(to_stored(&seconds).is_err());
        let interval: ArrayRef = Arc::new(IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano::new(0, 0, 1)]));
        assert!(to_stored(&interval).is_err());
    }
}
