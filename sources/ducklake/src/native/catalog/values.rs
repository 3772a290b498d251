//! From the values that PostgreSQL and SQLite give to columns: numbers, flags, plain texts, bytes, dates and moments
//! directly where they are written as DuckDB writes them, everything else as the text that DuckDB casts. A column that
//! has one value of the other kind goes to DuckDB whole.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, BooleanArray, PrimitiveArray, StringArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Field, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};

use super::texts::type_of;
use crate::row::Cell;
use crate::timestamp::{days, moment, time_of_day};

/// What becomes of a column's values.
pub enum Column {
    /// It is ready.
    Ready(ArrayRef),
    /// DuckDB has to cast these.
    Texts(StringArray),
}

/// The values of one column, `None` where they are no values of the stored type. `stored_type` is DuckDB's.
pub fn column(cells: &[&Cell], stored_type: &str, field: &Field) -> Option<Column> {
    if let Some(ready) = ready(cells, stored_type, field) {
        return Some(Column::Ready(ready));
    }
    let text = |cell: &&Cell| text(cell, stored_type);
    let texts: Option<Vec<Option<String>>> = cells.iter().map(text).collect();
    Some(Column::Texts(texts?.into_iter().collect()))
}

/// Values that need no casting, if all of them are such.
fn ready(cells: &[&Cell], stored_type: &str, field: &Field) -> Option<ArrayRef> {
    let wanted = type_of(field);
    let same = stored_type.eq_ignore_ascii_case(&wanted);
    // A whole number stays what it is in a wider type.
    if !(same || is_whole(stored_type) && field.data_type().is_integer()) {
        return None;
    }
    match field.data_type() {
        DataType::Int8 => whole::<Int8Type>(cells),
        DataType::Int16 => whole::<Int16Type>(cells),
        DataType::Int32 => whole::<Int32Type>(cells),
        DataType::Int64 => whole::<Int64Type>(cells),
        DataType::UInt8 => whole::<UInt8Type>(cells),
        DataType::UInt16 => whole::<UInt16Type>(cells),
        DataType::UInt32 => whole::<UInt32Type>(cells),
        DataType::UInt64 => whole::<UInt64Type>(cells),
        // Floats of four bytes were widened.
        DataType::Float32 => values::<Float32Type>(cells, |cell| match cell {
            Cell::Float(number) => Some(*number as f32),
            Cell::Text(text) => float(text),
            _ => None,
        }),
        DataType::Float64 => values::<Float64Type>(cells, |cell| match cell {
            Cell::Float(number) => Some(*number),
            Cell::Text(text) => float(text),
            _ => None,
        }),
        DataType::Decimal128(precision, scale) => {
            let decimals = texts::<Decimal128Type>(cells, |text| decimal(text, *precision, *scale))?;
            Some(Arc::new(decimals.with_precision_and_scale(*precision, *scale).ok()?))
        }
        DataType::Date32 => Some(Arc::new(texts::<Date32Type>(cells, |text| i32::try_from(days(text)?).ok())?)),
        DataType::Time64(TimeUnit::Microsecond) => {
            let micros = |text: &str| {
                time_of_day(text)
                    .filter(|(_, nanos)| nanos % 1_000 == 0)
                    .map(|(s, nanos)| s * 1_000_000 + nanos / 1_000)
            };
            Some(Arc::new(texts::<Time64MicrosecondType>(cells, micros)?))
        }
        DataType::Timestamp(unit, zone) => {
            let within = |per_second: i64| {
                move |text: &str| {
                    let moment = moment(text).filter(|moment| moment.has_zone == zone.is_some())?;
                    // What is no whole number of units is DuckDB's to round.
                    moment.in_units(per_second)
                }
            };
            Some(match unit {
                TimeUnit::Second => Arc::new(texts::<TimestampSecondType>(cells, within(1))?),
                TimeUnit::Millisecond => Arc::new(texts::<TimestampMillisecondType>(cells, within(1_000))?),
                TimeUnit::Nanosecond => Arc::new(texts::<TimestampNanosecondType>(cells, within(1_000_000_000))?),
                TimeUnit::Microsecond => {
                    let micros = texts::<TimestampMicrosecondType>(cells, within(1_000_000))?;
                    Arc::new(micros.with_timezone_opt(zone.clone()))
                }
            })
        }
        DataType::Boolean => {
            let flag = |cell: &&Cell| match cell {
                Cell::Null => Some(None),
                Cell::Bool(flag) => Some(Some(*flag)),
                Cell::Integer(number @ (0 | 1)) => Some(Some(*number == 1)),
                _ => None,
            };
            let flags: Option<Vec<Option<bool>>> = cells.iter().map(flag).collect();
            Some(Arc::new(BooleanArray::from(flags?)))
        }
        DataType::Utf8 => {
            let is_uuid = wanted.eq_ignore_ascii_case("UUID");
            let text = |cell: &&Cell| match cell {
                Cell::Null => Some(None),
                Cell::Text(text) if !is_uuid || is_plain_uuid(text) => Some(Some(text.clone())),
                Cell::Bytes(bytes) if !is_uuid => Some(Some(std::str::from_utf8(bytes).ok()?.to_owned())),
                _ => None,
            };
            let texts: Option<Vec<Option<String>>> = cells.iter().map(text).collect();
            Some(Arc::new(StringArray::from(texts?)))
        }
        DataType::Binary => {
            let bytes = |cell: &&Cell| match cell {
                Cell::Null => Some(None),
                Cell::Bytes(bytes) => Some(Some(bytes.clone())),
                _ => None,
            };
            let bytes: Option<Vec<Option<Vec<u8>>>> = cells.iter().map(bytes).collect();
            Some(Arc::new(bytes?.into_iter().collect::<BinaryArray>()))
        }
        _ => None,
    }
}

fn whole<T: ArrowPrimitiveType>(cells: &[&Cell]) -> Option<ArrayRef>
where
    T::Native: TryFrom<i64> + std::str::FromStr,
{
    values::<T>(cells, |cell| match cell {
        Cell::Integer(number) => T::Native::try_from(*number).ok(),
        Cell::Text(text) => text.parse().ok(),
        _ => None,
    })
}

/// An array of values, if `read` has one of every cell that is not NULL.
fn values<T: ArrowPrimitiveType>(cells: &[&Cell], read: impl Fn(&Cell) -> Option<T::Native>) -> Option<ArrayRef> {
    Some(Arc::new(primitives::<T>(cells, read)?))
}

/// The same of texts alone.
fn texts<T: ArrowPrimitiveType>(
    cells: &[&Cell],
    read: impl Fn(&str) -> Option<T::Native>,
) -> Option<PrimitiveArray<T>> {
    primitives(cells, |cell| match cell {
        Cell::Text(text) => read(text),
        _ => None,
    })
}

fn primitives<T: ArrowPrimitiveType>(
    cells: &[&Cell],
    read: impl Fn(&Cell) -> Option<T::Native>,
) -> Option<PrimitiveArray<T>> {
    let value = |cell: &&Cell| match cell {
        Cell::Null => Some(None),
        cell => read(cell).map(Some),
    };
    let values: Option<Vec<Option<T::Native>>> = cells.iter().map(value).collect();
    Some(values?.into_iter().collect())
}

/// A float as DuckDB writes it. The sign of what is not a number is DuckDB's to tell.
fn float<F: std::str::FromStr>(text: &str) -> Option<F> {
    let plain = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'+' | b'-'));
    let plain = plain || matches!(text, "inf" | "-inf" | "nan");
    plain.then(|| text.parse().ok()).flatten()
}

/// A decimal with as many digits after the point as its type has.
fn decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = || whole.bytes().chain(fraction.bytes());
    let fits = fraction.len() == usize::try_from(scale).ok()? && !whole.is_empty() && whole.len() <= 38;
    if !fits || !all().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut number: i128 = 0;
    for byte in all() {
        number = number.checked_mul(10)?.checked_add(i128::from(byte - b'0'))?;
    }
    let within = number < 10_i128.checked_pow(precision.into())?;
    within.then_some(if text.starts_with('-') { -number } else { number })
}

fn is_whole(duckdb_type: &str) -> bool {
    let types = ["TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"];
    types.iter().any(|known| known.eq_ignore_ascii_case(duckdb_type))
}

/// Whether a text is a UUID as DuckDB writes it.
fn is_plain_uuid(text: &str) -> bool {
    let digit = |(at, byte): (usize, u8)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    };
    text.len() == 36 && text.bytes().enumerate().all(digit)
}

/// A value as DuckDB's text of it; `Some(None)` is NULL.
fn text(cell: &Cell, stored_type: &str) -> Option<Option<String>> {
    Some(Some(match cell {
        Cell::Null => return Some(None),
        Cell::Bool(flag) => flag.to_string(),
        Cell::Integer(number) => number.to_string(),
        Cell::Float(number) => format!("{number:?}"),
        Cell::Text(text) => text.clone(),
        Cell::Bytes(bytes) if stored_type.eq_ignore_ascii_case("BLOB") => {
            bytes.iter().map(|byte| format!("\\x{byte:02X}")).collect()
        }
        Cell::Bytes(bytes) => std::str::from_utf8(bytes).ok()?.to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_only_as_duckdb_writes_them() {
        assert_eq!(decimal("-12.50", 4, 2), Some(-1_250));
        assert_eq!(decimal("0.05", 2, 2), Some(5));
        assert_eq!(decimal("99999999999999999999999999999999999999", 38, 0), Some(10_i128.pow(38) - 1));
        for text in ["12.5", "12.500", "+12.50", "1e2", "", ".50", "123.00", "-", "12.5x", "1 2.50"] {
            assert_eq!(decimal(text, 4, 2), None, "{text}");
        }
        assert_eq!(decimal("170141183460469231731687303715884105727", 38, 0), None);
    }

    #[test]
    fn floats_keep_their_sign_and_all_else_is_left_to_duckdb() {
        assert_eq!(float::<f64>("-0.0").map(f64::to_bits), Some((-0.0_f64).to_bits()));
        assert_eq!((float("1e+308"), float("-inf")), (Some(1e308_f64), Some(f64::NEG_INFINITY)));
        assert_eq!(
            (float::<f64>("-nan"), float::<f64>("1_0"), float::<f64>(""), float::<f64>("hush")),
            (None, None, None, None)
        );
    }
}
