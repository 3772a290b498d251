//! Columns as they lie in the files. Two types have no exact form in Parquet: intervals (Parquet's
//! own has milliseconds) are text that DuckDB casts back, and timestamps in seconds are in
//! milliseconds. Everything else is stored as it travels.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, IntervalMonthDayNanoArray, TimestampMillisecondArray, TimestampSecondArray,
};
use arrow::datatypes::{
    DataType, Field, FieldRef, Fields, IntervalMonthDayNanoType, IntervalUnit, Schema, SchemaRef, TimeUnit,
    TimestampMillisecondType, TimestampSecondType,
};

pub(crate) use tidegate_columns::{ColumnError, parse_interval};
use tidegate_columns::{OTHER_COLUMNS, convert, interval_text, is_infinite, scaled};

/// What kind of change a row is.
pub(crate) const CHANGE_TYPE: &str = "_change_type";
/// The epoch.
pub(crate) const COMMIT_VERSION: &str = "_commit_version";
/// The epoch's time.
pub(crate) const COMMIT_TIMESTAMP: &str = "_commit_timestamp";

const BEYOND_MILLIS: &str = "a timestamp in seconds is beyond what milliseconds can hold";

/// How many columns the sink adds.
pub(crate) const ADDED: usize = 3;

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
    convert(array, &stored, &|array, _| match array.data_type() {
        DataType::Interval(_) => Ok(Arc::new(interval_text(array.as_primitive::<IntervalMonthDayNanoType>())?)),
        _ => {
            let seconds = array.as_primitive::<TimestampSecondType>();
            let millis: Result<TimestampMillisecondArray, _> =
                seconds.try_unary(|value| scaled(value, 1000, BEYOND_MILLIS));
            Ok(Arc::new(millis?))
        }
    })
}

/// A stored array as a column of the view's type.
pub(crate) fn from_stored(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ColumnError> {
    if array.data_type() == data_type {
        return Ok(array.clone());
    }
    convert(array, data_type, &|array, _| match array.data_type() {
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
        _ => Err(OTHER_COLUMNS),
    })
}

/// The constant columns of an epoch's rows.
pub(crate) fn versions(rows: usize, epoch: i64, time: i64) -> (ArrayRef, ArrayRef) {
    let times = arrow::array::TimestampMicrosecondArray::from(vec![time; rows]).with_timezone("UTC");
    (Arc::new(Int64Array::from(vec![epoch; rows])), Arc::new(times))
}

#[cfg(test)]
mod tests {
    use arrow::array::StructArray;
    use arrow::datatypes::IntervalMonthDayNano;

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
