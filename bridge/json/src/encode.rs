//! Arrow values into JSON text.

use std::fmt::Write;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, IntervalUnit, Schema, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};

use crate::time;

/// The largest integer that every reader of JSON takes for itself.
const INTEGER_MAX: i128 = (1 << 53) - 1;

/// Writes rows as objects. The names of the columns are escaped once.
pub struct RowWriter {
    names: Vec<String>,
}

impl RowWriter {
    /// For rows of these columns.
    pub fn new(schema: &Schema) -> Self {
        let name = |name: &str| {
            let mut text = String::new();
            write_string(name, &mut text);
            text
        };
        RowWriter { names: schema.fields().iter().map(|field| name(field.name())).collect() }
    }

    /// Appends a row.
    ///
    /// # Panics
    /// Where a column has a type that no DuckDB column travels as.
    pub fn write(&self, rows: &RecordBatch, row: usize, out: &mut String) {
        out.push('{');
        for (index, (name, column)) in self.names.iter().zip(rows.columns()).enumerate() {
            out.push_str(if index == 0 { "" } else { "," });
            out.push_str(name);
            out.push(':');
            write_value(column, row, out);
        }
        out.push('}');
    }
}

/// Appends a value.
///
/// # Panics
/// For types that no DuckDB column travels as.
pub fn write_value(array: &ArrayRef, row: usize, out: &mut String) {
    if array.is_null(row) {
        return out.push_str("null");
    }
    macro_rules! get {
        ($t:ty) => {
            array.as_primitive::<$t>().value(row)
        };
    }
    match array.data_type() {
        DataType::Boolean => out.push_str(if array.as_boolean().value(row) { "true" } else { "false" }),
        DataType::Int8 => integer(get!(Int8Type).into(), out),
        DataType::Int16 => integer(get!(Int16Type).into(), out),
        DataType::Int32 => integer(get!(Int32Type).into(), out),
        DataType::Int64 => integer(get!(Int64Type).into(), out),
        DataType::UInt8 => integer(get!(UInt8Type).into(), out),
        DataType::UInt16 => integer(get!(UInt16Type).into(), out),
        DataType::UInt32 => integer(get!(UInt32Type).into(), out),
        DataType::UInt64 => integer(get!(UInt64Type).into(), out),
        DataType::Decimal128(_, 0) => integer(get!(Decimal128Type), out),
        DataType::Decimal128(_, scale) => decimal(get!(Decimal128Type), *scale, out),
        DataType::Float32 => {
            let value = get!(Float32Type);
            if !special_float(value.into(), out) {
                show(format_args!("{value:?}"), out);
            }
        }
        DataType::Float64 => {
            let value = get!(Float64Type);
            if !special_float(value, out) {
                show(format_args!("{value:?}"), out);
            }
        }
        DataType::Utf8 => write_string(array.as_string::<i32>().value(row), out),
        DataType::Binary => {
            out.push('"');
            array.as_binary::<i32>().value(row).iter().for_each(|byte| show(format_args!("{byte:02x}"), out));
            out.push('"');
        }
        DataType::Date32 => quoted(&time::date_text(get!(Date32Type)), out),
        DataType::Time64(TimeUnit::Microsecond) => quoted(&time::time_text(get!(Time64MicrosecondType)), out),
        DataType::Timestamp(unit, zone) => {
            let value = match unit {
                TimeUnit::Second => get!(TimestampSecondType),
                TimeUnit::Millisecond => get!(TimestampMillisecondType),
                TimeUnit::Microsecond => get!(TimestampMicrosecondType),
                TimeUnit::Nanosecond => get!(TimestampNanosecondType),
            };
            let mut text = time::timestamp_text(value, *unit);
            if zone.is_some() && !text.ends_with("infinity") {
                text.push('Z');
            }
            quoted(&text, out);
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            quoted(&time::interval_text(get!(IntervalMonthDayNanoType)), out);
        }
        DataType::List(_) => list(&array.as_list::<i32>().value(row), out),
        DataType::FixedSizeList(..) => list(&array.as_fixed_size_list().value(row), out),
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            object(fields.iter().map(|field| field.name().as_str()).zip(columns), row, out);
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            out.push('[');
            for entry in 0..entries.len() {
                out.push_str(if entry == 0 { "" } else { "," });
                object(["key", "value"].into_iter().zip(entries.columns()), entry, out);
            }
            out.push(']');
        }
        other => panic!("no DuckDB column travels as {other}"),
    }
}

/// Appends a text with its quotes.
pub fn write_string(text: &str, out: &mut String) {
    out.push('"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[plain..at]);
        plain = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            other => show(format_args!("\\u{other:04x}"), out),
        }
    }
    out.push_str(&text[plain..]);
    out.push('"');
}

fn show(text: std::fmt::Arguments<'_>, out: &mut String) {
    out.write_fmt(text).expect("a String takes all text");
}

/// For text without anything to escape.
fn quoted(text: &str, out: &mut String) {
    show(format_args!("\"{text}\""), out);
}

fn integer(value: i128, out: &mut String) {
    if value.abs() <= INTEGER_MAX {
        show(format_args!("{value}"), out);
    } else {
        show(format_args!("\"{value}\""), out);
    }
}

fn decimal(digits: i128, scale: i8, out: &mut String) {
    let scale = usize::try_from(scale).unwrap_or_else(|_| panic!("DuckDB's decimals have no negative scale"));
    let unit = 10_u128.pow(scale as u32);
    let (whole, part) = (digits.unsigned_abs() / unit, digits.unsigned_abs() % unit);
    let sign = if digits < 0 { "-" } else { "" };
    show(format_args!("\"{sign}{whole}.{part:0scale$}\""), out);
}

/// Writes the floats that are no numbers of JSON.
fn special_float(value: f64, out: &mut String) -> bool {
    let text = match value {
        value if value.is_nan() => "\"NaN\"",
        f64::INFINITY => "\"Infinity\"",
        f64::NEG_INFINITY => "\"-Infinity\"",
        value if value == 0.0 && value.is_sign_negative() => "\"-0\"",
        _ => return false,
    };
    out.push_str(text);
    true
}

fn list(values: &ArrayRef, out: &mut String) {
    out.push('[');
    for row in 0..values.len() {
        out.push_str(if row == 0 { "" } else { "," });
        write_value(values, row, out);
    }
    out.push(']');
}

fn object<'a>(fields: impl Iterator<Item = (&'a str, &'a ArrayRef)>, row: usize, out: &mut String) {
    out.push('{');
    for (index, (name, column)) in fields.enumerate() {
        out.push_str(if index == 0 { "" } else { "," });
        write_string(name, out);
        out.push(':');
        write_value(column, row, out);
    }
    out.push('}');
}
