//! JSON values into Arrow columns.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, Decimal128Array, FixedSizeListArray, ListArray, MapArray,
    PrimitiveArray, StringArray, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};

use crate::Json;
use crate::time;

/// A value that is not one of its column's type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("value {row} is not a {data_type}")]
pub struct Unfit {
    /// Which of the values.
    pub row: usize,
    /// The type, as Arrow names it.
    pub data_type: DataType,
}

/// A column of these values, in the form that [`write_value`](crate::write_value) gives them.
///
/// # Panics
/// For types that no DuckDB column travels as.
pub fn column(data_type: &DataType, values: &[&Json<'_>]) -> Result<ArrayRef, Unfit> {
    let column = Column { data_type, values };
    Ok(match data_type {
        DataType::Boolean => Arc::new(BooleanArray::from(column.read(|value| match value {
            Json::Bool(value) => Some(*value),
            _ => None,
        })?)),
        DataType::Int8 => column.integers::<Int8Type>()?,
        DataType::Int16 => column.integers::<Int16Type>()?,
        DataType::Int32 => column.integers::<Int32Type>()?,
        DataType::Int64 => column.integers::<Int64Type>()?,
        DataType::UInt8 => column.integers::<UInt8Type>()?,
        DataType::UInt16 => column.integers::<UInt16Type>()?,
        DataType::UInt32 => column.integers::<UInt32Type>()?,
        DataType::UInt64 => column.integers::<UInt64Type>()?,
        DataType::Decimal128(precision, scale) => {
            let digits = column.read(|value| decimal(digits(value)?, *precision, *scale))?;
            let array = Decimal128Array::from(digits).with_precision_and_scale(*precision, *scale);
            Arc::new(array.expect("the digits were counted and the type is one of DuckDB's"))
        }
        DataType::Float32 => column.primitives::<Float32Type>(|value| float(value))?,
        DataType::Float64 => column.primitives::<Float64Type>(|value| float(value))?,
        DataType::Utf8 => Arc::new(StringArray::from(column.read(Json::as_str)?)),
        DataType::Binary => {
            let bytes = column.read(|value| bytes(value.as_str()?))?;
            Arc::new(BinaryArray::from_iter(bytes))
        }
        DataType::Date32 => column.primitives::<Date32Type>(|value| time::parse_date(value.as_str()?))?,
        DataType::Time64(TimeUnit::Microsecond) => {
            column.primitives::<Time64MicrosecondType>(|value| time::parse_time(value.as_str()?))?
        }
        DataType::Timestamp(unit, _) => {
            let read = |value: &Json<'_>| time::parse_timestamp(value.as_str()?, *unit);
            match unit {
                TimeUnit::Second => column.primitives::<TimestampSecondType>(read)?,
                TimeUnit::Millisecond => column.primitives::<TimestampMillisecondType>(read)?,
                TimeUnit::Microsecond => column.primitives::<TimestampMicrosecondType>(read)?,
                TimeUnit::Nanosecond => column.primitives::<TimestampNanosecondType>(read)?,
            }
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            column.primitives::<IntervalMonthDayNanoType>(|value| time::parse_interval(value.as_str()?))?
        }
        DataType::List(item) => {
            let (offsets, children) = column.lists()?;
            let child = self::column(item.data_type(), &children)?;
            Arc::new(ListArray::new(item.clone(), offsets, child, column.nulls()))
        }
        DataType::FixedSizeList(item, size) => {
            let null = Json::Null;
            let mut children: Vec<&Json<'_>> = Vec::new();
            for (row, value) in values.iter().enumerate() {
                let length = usize::try_from(*size).expect("a size is not negative");
                match value {
                    Json::Array(found) if found.len() == length => children.extend(found),
                    Json::Null => children.extend(std::iter::repeat_n(&null, length)),
                    _ => return Err(column.unfit(row)),
                }
            }
            let child = self::column(item.data_type(), &children)?;
            Arc::new(FixedSizeListArray::new(item.clone(), *size, child, column.nulls()))
        }
        DataType::Struct(fields) => {
            let null = Json::Null;
            let mut columns = Vec::with_capacity(fields.len());
            for field in fields {
                let mut children = Vec::with_capacity(values.len());
                for (row, value) in values.iter().enumerate() {
                    children.push(match value {
                        Json::Null => &null,
                        value => value.get(field.name()).ok_or_else(|| column.unfit(row))?,
                    });
                }
                columns.push(self::column(field.data_type(), &children)?);
            }
            Arc::new(StructArray::new(fields.clone(), columns, column.nulls()))
        }
        DataType::Map(entries, sorted) => {
            let (offsets, children) = column.lists()?;
            let structs = self::column(entries.data_type(), &children)?;
            let structs = arrow::array::AsArray::as_struct(&structs).clone();
            Arc::new(MapArray::new(entries.clone(), offsets, structs, column.nulls(), *sorted))
        }
        other => panic!("no DuckDB column travels as {other}"),
    })
}

struct Column<'a, 'j> {
    data_type: &'a DataType,
    values: &'a [&'a Json<'j>],
}

impl<'a, 'j> Column<'a, 'j> {
    fn unfit(&self, row: usize) -> Unfit {
        Unfit { row, data_type: self.data_type.clone() }
    }

    fn read<T>(&self, read: impl Fn(&'a Json<'j>) -> Option<T>) -> Result<Vec<Option<T>>, Unfit> {
        let value = |(row, value): (usize, &&'a Json<'j>)| match *value {
            Json::Null => Ok(None),
            value => read(value).map(Some).ok_or_else(|| self.unfit(row)),
        };
        self.values.iter().enumerate().map(value).collect()
    }

    fn primitives<T: ArrowPrimitiveType>(
        &self,
        read: impl Fn(&'a Json<'j>) -> Option<T::Native>,
    ) -> Result<ArrayRef, Unfit> {
        let array: PrimitiveArray<T> = self.read(read)?.into_iter().collect();
        Ok(Arc::new(array.with_data_type(self.data_type.clone())))
    }

    fn integers<T: ArrowPrimitiveType>(&self) -> Result<ArrayRef, Unfit>
    where
        T::Native: TryFrom<i128>,
    {
        self.primitives::<T>(|value| T::Native::try_from(digits(value)?.parse::<i128>().ok()?).ok())
    }

    fn nulls(&self) -> Option<NullBuffer> {
        let nulls: NullBuffer = self.values.iter().map(|value| !matches!(value, Json::Null)).collect::<Vec<_>>().into();
        (nulls.null_count() > 0).then_some(nulls)
    }

    /// The elements of all lists, and where each begins.
    fn lists(&self) -> Result<(OffsetBuffer<i32>, Vec<&'a Json<'j>>), Unfit> {
        let (mut lengths, mut children) = (Vec::with_capacity(self.values.len()), Vec::new());
        for (row, value) in self.values.iter().enumerate() {
            let found: &'a [Json<'j>] = match value {
                Json::Array(found) => found,
                Json::Null => &[],
                _ => return Err(self.unfit(row)),
            };
            lengths.push(found.len());
            children.extend(found);
        }
        Ok((OffsetBuffer::from_lengths(lengths), children))
    }
}

/// The text of a number, whether it stands in quotes or not.
fn digits<'a>(value: &'a Json<'_>) -> Option<&'a str> {
    match value {
        Json::Number(text) => Some(text),
        Json::String(text) => Some(text),
        _ => None,
    }
}

fn decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let scale = usize::try_from(scale).ok()?;
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let padding = scale.checked_sub(part.len())?;
    if !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: i128 = format!("{whole}{part}").parse().ok()?;
    let value = value.checked_mul(10_i128.checked_pow(padding as u32)?)?;
    (value.unsigned_abs() < 10_u128.pow(precision.into())).then_some(value)
}

fn float<F: std::str::FromStr>(value: &Json<'_>) -> Option<F> {
    match value {
        Json::Number(text) => text.parse().ok(),
        Json::String(text) if matches!(text.as_ref(), "NaN" | "Infinity" | "-Infinity" | "-0") => text.parse().ok(),
        _ => None,
    }
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    let nibble = |digit: u8| char::from(digit).to_digit(16);
    let byte = |pair: &[u8]| Some((nibble(pair[0])? << 4 | nibble(pair[1])?) as u8);
    let pairs = text.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() { None } else { pairs.map(byte).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{parse, write_value};

    /// Values of a type, as this crate writes them, and read back.
    fn round(data_type: &str, texts: &[&str]) {
        let data_type = tidegate_core::duckdb_type::arrow_type(data_type).unwrap();
        let values: Vec<_> = texts.iter().map(|text| parse(text).unwrap()).collect();
        let array = column(&data_type, &values.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(array.data_type(), &data_type);
        for (row, expected) in texts.iter().enumerate() {
            let mut written = String::new();
            write_value(&array, row, &mut written);
            assert_eq!(written, *expected, "{data_type}");
        }
    }

    #[test]
    fn every_type_comes_back() {
        round("BOOLEAN", &["true", "false", "null"]);
        round("TINYINT", &["-128", "127", "null"]);
        round("UBIGINT", &["0", "9007199254740991", "\"9007199254740992\"", "\"18446744073709551615\""]);
        round("BIGINT", &["\"-9223372036854775808\"", "-9007199254740991", "null"]);
        round("HUGEINT", &["\"-99999999999999999999999999999999999999\"", "5"]);
        round("DECIMAL(5,2)", &["\"-0.01\"", "\"999.99\"", "null"]);
        round("FLOAT", &["0.1", "1e-45", "3.4028235e38", "\"-0\"", "0.0", "\"NaN\"", "\"-Infinity\""]);
        round("DOUBLE", &["5e-324", "1.7976931348623157e308", "0.30000000000000004", "\"Infinity\"", "null"]);
        round("VARCHAR", &["\"\"", r#""a\"b\\\n🦆""#, "null"]);
        round("BLOB", &["\"\"", "\"00ff\"", "null"]);
        round("DATE", &["\"infinity\"", "\"-4713-11-23\"", "null"]);
        round("TIME", &["\"24:00:00.000000\""]);
        round("TIMESTAMP WITH TIME ZONE", &["\"2024-06-01T10:00:00.000000Z\"", "\"-infinity\"", "null"]);
        round("TIMESTAMP_NS", &["\"1969-12-31T23:59:59.999999999\"", "null"]);
        round("INTERVAL[2]", &["[\"P1M0DT0.000000S\",null]", "null"]);
        round("VARCHAR[][]", &["[[\"a\"],[],null]", "[]", "null"]);
        round(
            "STRUCT(a DECIMAL(5,2)[], \"b \"\"c\" STRUCT(d DATE))",
            &[r#"{"a":["1.50"],"b \"c":{"d":"2024-01-01"}}"#, r#"{"a":null,"b \"c":null}"#, "null"],
        );
        round("MAP(VARCHAR, INTEGER)", &[r#"[{"key":"b","value":1},{"key":"a","value":null}]"#, "[]", "null"]);
    }

    #[test]
    fn values_of_other_types_are_refused_by_their_place() {
        let cases = [
            ("INTEGER", "2147483648"),
            ("INTEGER", "1.5"),
            ("INTEGER", "true"),
            ("DECIMAL(5,2)", "\"1000.00\""),
            ("DECIMAL(5,2)", "\"1.001\""),
            ("DOUBLE", "\"1\""),
            ("BLOB", "\"0\""),
            ("BLOB", "\"0g\""),
            ("DATE", "5"),
            ("INTEGER[2]", "[1]"),
            ("STRUCT(a INTEGER)", "{}"),
            ("MAP(VARCHAR, INTEGER)", "{}"),
        ];
        for (data_type, text) in cases {
            let arrow_type = tidegate_core::duckdb_type::arrow_type(data_type).unwrap();
            let value = parse(text).unwrap();
            let error = column(&arrow_type, &[&Json::Null, &value]).unwrap_err();
            assert!(error.row == 1 || data_type.contains('('), "{data_type} {text}: {error}");
        }
    }
}
