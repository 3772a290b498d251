//! Which DuckDB type a leaf of a file has, by the rules of DuckDB's Parquet reader, and its values in the Arrow
//! type that stands for that.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, IntervalMonthDayNanoArray, PrimitiveArray, StringBuilder,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Int64Type, IntervalMonthDayNano, IntervalUnit, Time32MillisecondType, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
};
use parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use parquet::schema::types::ColumnDescriptor;

/// Time zone of canonical time stamps.
const UTC: &str = "UTC";
/// An error for what Arrow would turn into NULL.
pub(super) const STRICT: CastOptions<'static> =
    CastOptions { safe: false, format_options: arrow::util::display::FormatOptions::new() };

/// What a leaf of a file is to DuckDB.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FileType {
    /// DuckDB's name of the type.
    pub(super) duckdb: String,
    /// The Arrow type that stands for it.
    pub(super) arrow: DataType,
    decoded: Decoded,
}

/// How the values are decoded.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Decoded {
    /// As they should be.
    Same,
    /// In a type that Arrow widens exactly.
    Cast,
    /// Sixteen bytes.
    Uuid,
    /// Months, days and milliseconds in twelve bytes.
    Interval,
    TimeMillis,
    Timestamp(TimeUnit),
}

impl FileType {
    /// `None` for what only DuckDB reads. `column` is the leaf as the file declares it, `arrow` as it is decoded.
    pub(super) fn of(column: &ColumnDescriptor, arrow: &DataType) -> Option<FileType> {
        let (converted, logical) = (column.converted_type(), column.logical_type_ref());
        let same =
            |duckdb: &str| Some(FileType { duckdb: duckdb.to_owned(), arrow: arrow.clone(), decoded: Decoded::Same });
        let other = |duckdb: &str, arrow, decoded| Some(FileType { duckdb: duckdb.to_owned(), arrow, decoded });
        match arrow {
            DataType::Null => same("\"NULL\""),
            DataType::Boolean => same("BOOLEAN"),
            DataType::Int8 => same("TINYINT"),
            DataType::Int16 => same("SMALLINT"),
            DataType::Int32 => same("INTEGER"),
            DataType::Int64 => same("BIGINT"),
            DataType::UInt8 => same("UTINYINT"),
            DataType::UInt16 => same("USMALLINT"),
            DataType::UInt32 => same("UINTEGER"),
            DataType::UInt64 => same("UBIGINT"),
            DataType::Float16 => other("FLOAT", DataType::Float32, Decoded::Cast),
            DataType::Float32 => same("FLOAT"),
            DataType::Float64 => same("DOUBLE"),
            DataType::Decimal128(precision, scale) => same(&format!("DECIMAL({precision},{scale})")),
            DataType::Decimal256(precision, scale) if *precision <= 38 => {
                other(&format!("DECIMAL({precision},{scale})"), DataType::Decimal128(*precision, *scale), Decoded::Cast)
            }
            DataType::Utf8 if converted == ConvertedType::JSON => same("JSON"),
            DataType::Utf8 => same("VARCHAR"),
            DataType::Binary if converted == ConvertedType::ENUM => other("VARCHAR", DataType::Utf8, Decoded::Cast),
            DataType::Binary if converted == ConvertedType::NONE && logical.is_none() => same("BLOB"),
            DataType::FixedSizeBinary(12) if converted == ConvertedType::INTERVAL => {
                other("INTERVAL", DataType::Interval(IntervalUnit::MonthDayNano), Decoded::Interval)
            }
            DataType::FixedSizeBinary(16) if matches!(logical, Some(LogicalType::Uuid)) => {
                other("UUID", DataType::Utf8, Decoded::Uuid)
            }
            DataType::FixedSizeBinary(_) if converted == ConvertedType::NONE && logical.is_none() => {
                other("BLOB", DataType::Binary, Decoded::Cast)
            }
            DataType::Date32 => same("DATE"),
            DataType::Time32(_) | DataType::Time64(TimeUnit::Microsecond) => {
                let adjusted = matches!(logical, Some(LogicalType::Time { is_adjusted_to_u_t_c: true, .. }));
                let duckdb = if adjusted { "TIME WITH TIME ZONE" } else { "TIME" };
                let decoded = if matches!(arrow, DataType::Time32(_)) { Decoded::TimeMillis } else { Decoded::Same };
                other(duckdb, DataType::Time64(TimeUnit::Microsecond), decoded)
            }
            DataType::Timestamp(unit, _) => {
                let adjusted = column.physical_type() == Physical::INT64
                    && matches!(logical, Some(LogicalType::Timestamp { is_adjusted_to_u_t_c: true, .. }));
                match (unit, adjusted) {
                    (TimeUnit::Nanosecond, false) => other(
                        "TIMESTAMP_NS",
                        DataType::Timestamp(TimeUnit::Nanosecond, None),
                        Decoded::Timestamp(*unit),
                    ),
                    (_, false) => {
                        other("TIMESTAMP", DataType::Timestamp(TimeUnit::Microsecond, None), Decoded::Timestamp(*unit))
                    }
                    (_, true) => other(
                        "TIMESTAMP WITH TIME ZONE",
                        DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
                        Decoded::Timestamp(*unit),
                    ),
                }
            }
            _ => None,
        }
    }

    /// The decoded values in this type; `None` if one does not fit.
    pub(super) fn values(&self, array: &ArrayRef) -> Option<ArrayRef> {
        Some(match self.decoded {
            Decoded::Same => array.clone(),
            Decoded::Cast => cast_with_options(array, &self.arrow, &STRICT).ok()?,
            Decoded::Uuid => uuids(array)?,
            Decoded::Interval => intervals(array)?,
            Decoded::TimeMillis => {
                let times = array.as_primitive_opt::<Time32MillisecondType>()?;
                Arc::new(times.unary::<_, Time64MicrosecondType>(|millis| i64::from(millis) * 1000))
            }
            Decoded::Timestamp(unit) => self.timestamps(array, unit)?,
        })
    }

    fn timestamps(&self, array: &ArrayRef, unit: TimeUnit) -> Option<ArrayRef> {
        let DataType::Timestamp(to, zone) = &self.arrow else { return None };
        let numbers: PrimitiveArray<Int64Type> = match unit {
            TimeUnit::Millisecond => array.as_primitive_opt::<TimestampMillisecondType>()?.reinterpret_cast(),
            TimeUnit::Microsecond => array.as_primitive_opt::<TimestampMicrosecondType>()?.reinterpret_cast(),
            TimeUnit::Nanosecond => array.as_primitive_opt::<TimestampNanosecondType>()?.reinterpret_cast(),
            TimeUnit::Second => return None,
        };
        let numbers = match (unit, to) {
            // The greatest number and its negative are DuckDB's infinities in every unit.
            (TimeUnit::Millisecond, _) => {
                let micros = |millis: i64| match millis {
                    i64::MAX => Ok(millis),
                    millis if millis == -i64::MAX => Ok(millis),
                    millis => millis.checked_mul(1000).ok_or(()),
                };
                numbers.try_unary::<_, Int64Type, _>(micros).ok()?
            }
            (TimeUnit::Nanosecond, TimeUnit::Microsecond) => numbers.unary(|nanos| nanos / 1000),
            _ => numbers,
        };
        Some(match to {
            TimeUnit::Nanosecond => Arc::new(stamped::<TimestampNanosecondType>(&numbers)),
            _ => Arc::new(stamped::<TimestampMicrosecondType>(&numbers).with_timezone_opt(zone.clone())),
        })
    }
}

fn stamped<T: ArrowPrimitiveType<Native = i64>>(numbers: &PrimitiveArray<Int64Type>) -> PrimitiveArray<T> {
    numbers.reinterpret_cast()
}

fn uuids(array: &ArrayRef) -> Option<ArrayRef> {
    const LENGTH: usize = 36;
    let bytes = array.as_fixed_size_binary_opt()?;
    let mut texts = StringBuilder::with_capacity(bytes.len(), bytes.len() * LENGTH);
    let mut text = String::with_capacity(LENGTH);
    for value in bytes.iter() {
        let Some(value) = value else {
            texts.append_null();
            continue;
        };
        text.clear();
        for (at, byte) in value.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            text.extend([byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or_default()));
        }
        texts.append_value(&text);
    }
    Some(Arc::new(texts.finish()))
}

fn intervals(array: &ArrayRef) -> Option<ArrayRef> {
    let bytes = array.as_fixed_size_binary_opt()?;
    let part = |value: &[u8], at: usize| value.get(at..at + 4)?.try_into().ok();
    let interval = |value: &[u8]| {
        Some(IntervalMonthDayNano {
            months: i32::from_le_bytes(part(value, 0)?),
            days: i32::from_le_bytes(part(value, 4)?),
            nanoseconds: i64::from(u32::from_le_bytes(part(value, 8)?)) * 1_000_000,
        })
    };
    Some(Arc::new(bytes.iter().map(|value| value.and_then(interval)).collect::<IntervalMonthDayNanoArray>()))
}
