//! Arrays of a view's columns as they are stored, and back. [`crate::schema`] has the table of types.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, IntervalMonthDayNanoArray, ListArray, StringArray, StructArray,
    Time64MicrosecondArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Decimal128Type, Field, Float32Type, Float64Type, Int64Type, IntervalMonthDayNanoType,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt64Type,
};
pub(crate) use tidegate_columns::ColumnError;
use tidegate_columns::{OTHER_COLUMNS, convert, interval_text, is_infinite, parse_interval, scaled};

const BEYOND_MICROS: &str = "a timestamp is beyond what microseconds can hold";
const MICROS_PER_DAY: i64 = 86_400_000_000;

/// An array of a view's column in its stored type.
pub(crate) fn to_stored(array: &ArrayRef, stored: &DataType) -> Result<ArrayRef, ColumnError> {
    convert(array, stored, &store_leaf)
}

/// A stored array in the type of the view's column.
pub(crate) fn from_stored(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ColumnError> {
    convert(array, data_type, &load_leaf)
}

/// An array as a file of another writer has it, in the stored type.
pub(crate) fn conform(array: &ArrayRef, stored: &DataType) -> Result<ArrayRef, ColumnError> {
    convert(array, stored, &|array, stored| {
        let strict = arrow::compute::CastOptions { safe: false, ..Default::default() };
        arrow::compute::cast_with_options(array, stored, &strict).map_err(|_| OTHER_COLUMNS)
    })
}

fn store_leaf(array: &ArrayRef, stored: &DataType) -> Result<ArrayRef, ColumnError> {
    Ok(match (array.data_type(), stored) {
        (DataType::UInt8 | DataType::UInt16 | DataType::UInt32, _) => cast(array, stored).map_err(|_| OTHER_COLUMNS)?,
        (DataType::UInt64, DataType::Decimal128(20, 0)) => {
            let digits: Decimal128Array = array.as_primitive::<UInt64Type>().unary(i128::from);
            Arc::new(digits.with_data_type(stored.clone()))
        }
        (DataType::Time64(_), DataType::Utf8) => {
            let times = array.as_primitive::<Time64MicrosecondType>();
            Arc::new(times.iter().map(|time| time.map(time_text)).collect::<StringArray>())
        }
        (DataType::Interval(_), DataType::Utf8) => {
            Arc::new(interval_text(array.as_primitive::<IntervalMonthDayNanoType>())?)
        }
        (DataType::Timestamp(TimeUnit::Second, _), DataType::Timestamp(TimeUnit::Microsecond, _)) => {
            let micros: Result<TimestampMicrosecondArray, _> =
                array.as_primitive::<TimestampSecondType>().try_unary(|value| scaled(value, 1_000_000, BEYOND_MICROS));
            Arc::new(micros?)
        }
        (DataType::Timestamp(TimeUnit::Millisecond, _), DataType::Timestamp(TimeUnit::Microsecond, _)) => {
            let micros: Result<TimestampMicrosecondArray, _> =
                array.as_primitive::<TimestampMillisecondType>().try_unary(|value| scaled(value, 1000, BEYOND_MICROS));
            Arc::new(micros?)
        }
        (DataType::Timestamp(TimeUnit::Nanosecond, _), DataType::Int64) => {
            Arc::new(array.as_primitive::<TimestampNanosecondType>().reinterpret_cast::<Int64Type>())
        }
        _ => return Err(OTHER_COLUMNS),
    })
}

fn load_leaf(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ColumnError> {
    Ok(match (array.data_type(), data_type) {
        (_, DataType::UInt8 | DataType::UInt16 | DataType::UInt32) => {
            let strict = arrow::compute::CastOptions { safe: false, ..Default::default() };
            arrow::compute::cast_with_options(array, data_type, &strict).map_err(|_| OTHER_COLUMNS)?
        }
        (DataType::Decimal128(_, 0), DataType::UInt64) => {
            let numbers: Result<UInt64Array, _> = array
                .as_primitive::<Decimal128Type>()
                .try_unary(|value| u64::try_from(value).map_err(|_| ColumnError("a stored number is beyond UBIGINT")));
            Arc::new(numbers?)
        }
        (DataType::Utf8, DataType::Time64(_)) => {
            let parse = |text: Option<&str>| text.map(|t| parse_time(t).ok_or(ColumnError("a stored time is not one")));
            let times = array.as_string::<i32>().iter().map(|text| parse(text).transpose());
            Arc::new(times.collect::<Result<Time64MicrosecondArray, _>>()?)
        }
        (DataType::Utf8, DataType::Interval(_)) => {
            let fault = ColumnError("a stored interval is not one");
            let parsed: Option<Vec<_>> = array
                .as_string::<i32>()
                .iter()
                .map(|text| text.map(parse_interval).map_or(Some(None), |interval| interval.map(Some)))
                .collect();
            Arc::new(IntervalMonthDayNanoArray::from(parsed.ok_or(fault)?))
        }
        (DataType::Timestamp(TimeUnit::Microsecond, _), DataType::Timestamp(unit, None)) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>();
            let scaled = |factor: i64| micros.unary::<_, Int64Type>(|v| if is_infinite(v) { v } else { v / factor });
            match unit {
                TimeUnit::Second => Arc::new(scaled(1_000_000).reinterpret_cast::<TimestampSecondType>()),
                TimeUnit::Millisecond => Arc::new(scaled(1000).reinterpret_cast::<TimestampMillisecondType>()),
                _ => return Err(OTHER_COLUMNS),
            }
        }
        (DataType::Int64, DataType::Timestamp(TimeUnit::Nanosecond, None)) => {
            Arc::new(array.as_primitive::<Int64Type>().reinterpret_cast::<TimestampNanosecondType>())
        }
        _ => return Err(OTHER_COLUMNS),
    })
}

/// When two values count as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Equality {
    /// When DuckDB groups them: one zero, and intervals with months of 30 days.
    Grouped,
    /// When nothing tells them apart.
    Same,
}

/// The array in a form of which equal bytes mean equal values; NaNs are one value always. Maps become
/// lists of their entries.
pub(crate) fn comparable(stored: &ArrayRef, view: &DataType, equality: Equality) -> Result<ArrayRef, ColumnError> {
    let one = |value: f64| match equality {
        _ if value.is_nan() => f64::NAN,
        Equality::Grouped => value + 0.0,
        Equality::Same => value,
    };
    let shape = |_| ColumnError("nested values are not built as their type says");
    let item = |values: &ArrayRef| Arc::new(Field::new("element", values.data_type().clone(), true));
    Ok(match (stored.data_type(), view) {
        (DataType::Float32, _) => {
            let floats = stored.as_primitive::<Float32Type>();
            Arc::new(floats.unary::<_, Float64Type>(|value| one(f64::from(value))))
        }
        (DataType::Float64, _) => Arc::new(stored.as_primitive::<Float64Type>().unary::<_, Float64Type>(one)),
        (DataType::Utf8, DataType::Interval(_)) if equality == Equality::Grouped => {
            let micros = |text: &str| {
                let interval = parse_interval(text).ok_or(ColumnError("a stored interval is not one"))?;
                let days = i128::from(interval.months) * 30 + i128::from(interval.days);
                Ok(days * i128::from(MICROS_PER_DAY) + i128::from(interval.nanoseconds / 1000))
            };
            let micros = stored.as_string::<i32>().iter().map(|text| text.map(micros).transpose());
            Arc::new(micros.collect::<Result<Decimal128Array, ColumnError>>()?)
        }
        (DataType::List(_), DataType::List(of) | DataType::FixedSizeList(of, _)) => {
            let list = stored.as_list::<i32>();
            let values = comparable(list.values(), of.data_type(), equality)?;
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            Arc::new(ListArray::try_new(item(&values), offsets, values, nulls).map_err(shape)?)
        }
        (DataType::Map(..), DataType::Map(entries, _)) => {
            let map = stored.as_map();
            let values: ArrayRef = Arc::new(map.entries().clone());
            let values = comparable(&values, entries.data_type(), equality)?;
            let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
            Arc::new(ListArray::try_new(item(&values), offsets, values, nulls).map_err(shape)?)
        }
        (DataType::Struct(fields), DataType::Struct(view)) if fields.len() == view.len() => {
            let structs = stored.as_struct();
            let parts = structs.columns().iter().zip(view).map(|(part, f)| comparable(part, f.data_type(), equality));
            let parts = parts.collect::<Result<Vec<_>, _>>()?;
            let named = fields.iter().zip(&parts).map(|(f, part)| Field::new(f.name(), part.data_type().clone(), true));
            Arc::new(StructArray::try_new(named.collect(), parts, structs.nulls().cloned()).map_err(shape)?)
        }
        _ => stored.clone(),
    })
}

/// Whether a type has values that are equal and not the same.
pub(crate) fn has_equal_values(data_type: &DataType) -> bool {
    match data_type {
        DataType::Float32 | DataType::Float64 | DataType::Interval(_) => true,
        DataType::List(item) | DataType::FixedSizeList(item, _) => has_equal_values(item.data_type()),
        DataType::Map(entries, _) => has_equal_values(entries.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_equal_values(field.data_type())),
        _ => false,
    }
}

/// Hours to microseconds; DuckDB's day ends with 24:00:00.
fn time_text(micros: i64) -> String {
    let seconds = micros.div_euclid(1_000_000);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{:06}", seconds % 60, micros.rem_euclid(1_000_000))
}

fn parse_time(text: &str) -> Option<i64> {
    let (clock, fraction) = text.split_once('.')?;
    let mut parts = clock.split(':').map(|part| part.parse::<i64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    let fraction: i64 = fraction.parse().ok().filter(|_| fraction.len() == 6)?;
    let micros = ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + fraction;
    (0..=MICROS_PER_DAY).contains(&micros).then_some(micros)
}

#[cfg(test)]
mod tests {
    use arrow::array::TimestampSecondArray;
    use tidegate_core::schema::columns;

    use super::*;
    use crate::schema::{Mapping, delta_schema, stored_schema};

    /// Values of a type as SQL, stored and read back.
    fn round_trip(duckdb_type: &str, values: &str) -> ArrayRef {
        let view = columns([("c", duckdb_type, true)]).unwrap();
        let (delta, _) = delta_schema(&view, Mapping::None).unwrap();
        let stored_type = stored_schema(&view, &delta).unwrap().field(0).data_type().clone();
        let array = tidegate_testkit::rows::batch(&view, values).column(0).clone();
        let stored = to_stored(&array, &stored_type).unwrap();
        assert_eq!(&from_stored(&stored, array.data_type()).unwrap(), &array, "{duckdb_type}");
        stored
    }

    #[test]
    fn what_changes_its_type_comes_back() {
        let times = round_trip("TIME", "('24:00:00'), ('00:00:00.000001'), (NULL)");
        assert_eq!(times.as_string::<i32>().value(0), "24:00:00.000000");
        round_trip("UBIGINT", "(18446744073709551615), (0), (NULL)");
        round_trip("TIMESTAMP_S", "('infinity'), ('1969-12-31 23:59:59'), (NULL)");
        round_trip("TIMESTAMP_NS", "('1969-12-31 23:59:59.999999999'), (NULL)");
        round_trip("INTERVAL", "('-14 months 3 days -1 microsecond'), (NULL)");
        round_trip("UTINYINT[2][]", "([[1, NULL], NULL]), ([]), (NULL)");
        round_trip("MAP(TIME, STRUCT(a UINTEGER))", "(MAP {'01:02:03'::TIME: {'a': 1}}), (NULL)");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let seconds: ArrayRef = Arc::new(TimestampSecondArray::from(vec![i64::MAX - 1]));
        assert!(to_stored(&seconds, &DataType::Timestamp(TimeUnit::Microsecond, None)).is_err());
    }

    #[test]
    fn equal_values_have_equal_bytes() {
        let floats: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![0.0, -0.0, f64::NAN, -f64::NAN]));
        let grouped = comparable(&floats, &DataType::Float64, Equality::Grouped).unwrap();
        let bits: Vec<u64> = grouped.as_primitive::<Float64Type>().values().iter().map(|f| f.to_bits()).collect();
        assert!(bits[0] == bits[1] && bits[2] == bits[3]);
        let same = comparable(&floats, &DataType::Float64, Equality::Same).unwrap();
        let bits: Vec<u64> = same.as_primitive::<Float64Type>().values().iter().map(|f| f.to_bits()).collect();
        assert!(bits[0] != bits[1] && bits[2] == bits[3]);
    }
}
