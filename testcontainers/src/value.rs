//! Values as DuckDB groups them: one canonical form for each, whatever array they came from.
//!
//! Two values are equal exactly when `SELECT DISTINCT` would call them so: NULL equals NULL and
//! nothing else, NaN equals NaN, −0.0 equals 0.0, and intervals compare with months of 30 days.

use std::fmt;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow::temporal_conversions as temporal;

/// One value of one column. The order has no meaning but is total, so that output is stable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// No value.
    Null,
    /// A truth value.
    Boolean(bool),
    /// Integers of every width.
    Integer(i128),
    /// Decimals and HUGEINT: the digits without the point, and how many of them follow it.
    Decimal(i128, i8),
    /// FLOAT, canonical.
    Float(Float),
    /// DOUBLE, canonical.
    Double(Float),
    /// Text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since midnight.
    Time(i64),
    /// Count since 1970-01-01 in units of 10⁻ⁿ seconds.
    Timestamp(i64, u8),
    /// Microseconds, with months of 30 days and days of 24 hours.
    Interval(i128),
    /// A list or fixed-size array.
    List(Vec<Value>),
    /// A struct: its values in the order of its fields.
    Struct(Vec<Value>),
    /// A map: its entries in their order.
    Map(Vec<(Value, Value)>),
}

/// A float with one NaN and one zero, ordered as DuckDB orders it (NaN is the greatest).
#[derive(Debug, Clone, Copy)]
pub struct Float(f64);

impl Float {
    fn new(value: f64, equality: Equality) -> Self {
        Float(if equality == Equality::Same {
            value
        } else if value.is_nan() {
            f64::NAN
        } else if value == 0.0 {
            0.0
        } else {
            value
        })
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }

    /// How many doubles lie between the two; `None` when one of them is not finite.
    pub fn ulps(self, other: Float) -> Option<u64> {
        // The bits of a float, made to grow with it across zero.
        let rank = |f: f64| if f.is_sign_negative() { -((f.to_bits() << 1 >> 1) as i64) } else { f.to_bits() as i64 };
        (self.0.is_finite() && other.0.is_finite()).then(|| rank(self.0).abs_diff(rank(other.0)))
    }
}

impl PartialEq for Float {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Float {}

impl PartialOrd for Float {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Float {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl std::hash::Hash for Float {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

/// When two values count as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Equality {
    /// When DuckDB groups them.
    Grouped,
    /// When nothing tells them apart: −0.0 is not 0.0, a month is not thirty days. That is how rows
    /// of a Z-set are told apart.
    Same,
}

impl Value {
    /// The value at `row` of an array, as DuckDB groups it.
    ///
    /// # Panics
    /// For types that no DuckDB column travels as.
    pub fn at(array: &ArrayRef, row: usize) -> Value {
        Self::read(array, row, Equality::Grouped)
    }

    /// The value at `row` of an array of any type that a table or view can have.
    ///
    /// # Panics
    /// For types that no DuckDB column travels as.
    pub fn read(array: &ArrayRef, row: usize, equality: Equality) -> Value {
        if array.is_null(row) {
            return Value::Null;
        }
        macro_rules! get {
            ($t:ty) => {
                array.as_primitive::<$t>().value(row)
            };
        }
        match array.data_type() {
            DataType::Null => Value::Null,
            DataType::Boolean => Value::Boolean(array.as_boolean().value(row)),
            DataType::Int8 => Value::Integer(get!(Int8Type).into()),
            DataType::Int16 => Value::Integer(get!(Int16Type).into()),
            DataType::Int32 => Value::Integer(get!(Int32Type).into()),
            DataType::Int64 => Value::Integer(get!(Int64Type).into()),
            DataType::UInt8 => Value::Integer(get!(UInt8Type).into()),
            DataType::UInt16 => Value::Integer(get!(UInt16Type).into()),
            DataType::UInt32 => Value::Integer(get!(UInt32Type).into()),
            DataType::UInt64 => Value::Integer(get!(UInt64Type).into()),
            DataType::Decimal128(_, scale) => Value::Decimal(get!(Decimal128Type), *scale),
            DataType::Float32 => Value::Float(Float::new(get!(Float32Type).into(), equality)),
            DataType::Float64 => Value::Double(Float::new(get!(Float64Type), equality)),
            DataType::Utf8 => Value::Text(array.as_string::<i32>().value(row).to_owned()),
            DataType::LargeUtf8 => Value::Text(array.as_string::<i64>().value(row).to_owned()),
            DataType::Utf8View => Value::Text(array.as_string_view().value(row).to_owned()),
            DataType::Binary => Value::Blob(array.as_binary::<i32>().value(row).to_vec()),
            DataType::LargeBinary => Value::Blob(array.as_binary::<i64>().value(row).to_vec()),
            DataType::BinaryView => Value::Blob(array.as_binary_view().value(row).to_vec()),
            DataType::Date32 => Value::Date(get!(Date32Type)),
            DataType::Time64(TimeUnit::Microsecond) => Value::Time(get!(Time64MicrosecondType)),
            DataType::Timestamp(TimeUnit::Second, _) => Value::Timestamp(get!(TimestampSecondType), 0),
            DataType::Timestamp(TimeUnit::Millisecond, _) => Value::Timestamp(get!(TimestampMillisecondType), 3),
            DataType::Timestamp(TimeUnit::Microsecond, _) => Value::Timestamp(get!(TimestampMicrosecondType), 6),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => Value::Timestamp(get!(TimestampNanosecondType), 9),
            DataType::Interval(IntervalUnit::MonthDayNano) => {
                let interval = get!(IntervalMonthDayNanoType);
                if equality == Equality::Same {
                    let parts = [interval.months.into(), interval.days.into(), interval.nanoseconds.into()];
                    return Value::Struct(parts.map(Value::Integer).into());
                }
                let days = i128::from(interval.months) * 30 + i128::from(interval.days);
                Value::Interval(days * 86_400_000_000 + i128::from(interval.nanoseconds) / 1_000)
            }
            DataType::List(_) => Value::List(all(&array.as_list::<i32>().value(row), equality)),
            DataType::LargeList(_) => Value::List(all(&array.as_list::<i64>().value(row), equality)),
            DataType::FixedSizeList(..) => Value::List(all(&array.as_fixed_size_list().value(row), equality)),
            DataType::Struct(_) => Value::Struct(
                array.as_struct().columns().iter().map(|child| Value::read(child, row, equality)).collect(),
            ),
            DataType::Map(..) => {
                let entries = array.as_map().value(row);
                Value::Map(all(entries.column(0), equality).into_iter().zip(all(entries.column(1), equality)).collect())
            }
            other => panic!("no DuckDB column travels as {other}"),
        }
    }

    /// The double behind FLOAT and DOUBLE.
    pub fn as_float(&self) -> Option<Float> {
        match self {
            Value::Float(float) | Value::Double(float) => Some(*float),
            _ => None,
        }
    }
}

/// Every value of an array.
fn all(array: &ArrayRef, equality: Equality) -> Vec<Value> {
    (0..array.len()).map(|row| Value::read(array, row, equality)).collect()
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("NULL"),
            Value::Boolean(value) => write!(f, "{value}"),
            Value::Integer(value) => write!(f, "{value}"),
            Value::Decimal(digits, scale) => match u32::try_from(*scale) {
                Ok(scale @ 1..) => {
                    let unit = 10u128.pow(scale);
                    let (whole, part) = (digits.unsigned_abs() / unit, digits.unsigned_abs() % unit);
                    let sign = if *digits < 0 { "-" } else { "" };
                    write!(f, "{sign}{whole}.{part:0width$}", width = scale as usize)
                }
                _ => write!(f, "{digits}"),
            },
            Value::Float(value) | Value::Double(value) => write!(f, "{:?}", value.get()),
            Value::Text(text) => write!(f, "{text:?}"),
            Value::Blob(bytes) => {
                f.write_str("x'")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                f.write_str("'")
            }
            Value::Date(days) => match temporal::date32_to_datetime(*days) {
                Some(date) => write!(f, "{}", date.date()),
                None => write!(f, "{days} days"),
            },
            Value::Time(micros) => match temporal::time64us_to_time(*micros) {
                Some(time) => write!(f, "{time}"),
                None => write!(f, "{micros} us"),
            },
            Value::Timestamp(count, digits) => {
                let time = match digits {
                    0 => temporal::timestamp_s_to_datetime(*count),
                    3 => temporal::timestamp_ms_to_datetime(*count),
                    6 => temporal::timestamp_us_to_datetime(*count),
                    _ => temporal::timestamp_ns_to_datetime(*count),
                };
                match time {
                    Some(time) => write!(f, "{time}"),
                    None => write!(f, "{count}e-{digits} s"),
                }
            }
            Value::Interval(micros) => write!(f, "{micros} us"),
            Value::List(values) => list(f, "[", values.iter(), "]"),
            Value::Struct(values) => list(f, "{", values.iter(), "}"),
            Value::Map(entries) => {
                f.write_str("MAP {")?;
                entries.iter().try_for_each(|(key, value)| write!(f, "{key}: {value}, "))?;
                f.write_str("}")
            }
        }
    }
}

fn list<'a>(
    f: &mut fmt::Formatter<'_>,
    open: &str,
    values: impl Iterator<Item = &'a Value>,
    close: &str,
) -> fmt::Result {
    f.write_str(open)?;
    for (index, value) in values.enumerate() {
        write!(f, "{}{value}", if index == 0 { "" } else { ", " })?;
    }
    f.write_str(close)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, Float64Array, IntervalMonthDayNanoArray};
    use arrow::datatypes::IntervalMonthDayNano;

    use super::*;

    fn double(value: f64) -> Value {
        let array: ArrayRef = Arc::new(Float64Array::from(vec![value]));
        Value::at(&array, 0)
    }

    #[test]
    fn floats_are_grouped_as_duckdb_groups_them() {
        assert_eq!(double(-0.0), double(0.0));
        assert_eq!(double(f64::NAN), double(-f64::NAN));
        assert_ne!(double(f64::NAN), Value::Null);
        assert!(double(f64::NAN) > double(f64::INFINITY));
    }

    #[test]
    fn ulps_count_across_zero() {
        let float = |f| Float::new(f, Equality::Grouped);
        assert_eq!(float(1.0).ulps(float(1.0 + f64::EPSILON)), Some(1));
        assert_eq!(float(-f64::from_bits(1)).ulps(float(f64::from_bits(1))), Some(2));
        assert_eq!(float(f64::NAN).ulps(float(f64::NAN)), None);
    }

    #[test]
    fn a_month_is_thirty_days() {
        let array: ArrayRef = Arc::new(IntervalMonthDayNanoArray::from(vec![
            IntervalMonthDayNano::new(1, 0, 0),
            IntervalMonthDayNano::new(0, 30, 0),
            IntervalMonthDayNano::new(0, 29, 86_400_000_000_000),
        ]));
        assert_eq!(Value::at(&array, 0), Value::at(&array, 1));
        assert_eq!(Value::at(&array, 1), Value::at(&array, 2));
    }

    #[test]
    fn decimals_print_with_their_point() {
        let array = Decimal128Array::from(vec![-5, 123]).with_precision_and_scale(10, 2).unwrap();
        let array: ArrayRef = Arc::new(array);
        assert_eq!(Value::at(&array, 0).to_string(), "-0.05");
        assert_eq!(Value::at(&array, 1).to_string(), "1.23");
    }
}
