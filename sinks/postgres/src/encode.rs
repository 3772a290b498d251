//! Rows in PostgreSQL's binary COPY form.
//!
//! Source: the PostgreSQL manual, COPY, "Binary Format", and the `*_recv` functions of the types.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use bytes::{BufMut, BytesMut};
use tidegate_core::ViewName;

use crate::column::{Column, Kind, Scalar};
use crate::error::PostgresSinkError;
use crate::numeric;

/// What a COPY begins with: the signature, no flags, no extension.
pub(crate) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What it ends with.
pub(crate) const TRAILER: &[u8] = &[0xff, 0xff];

/// 1970-01-01 in PostgreSQL's dates, whose day 0 is 2000-01-01.
pub(crate) const EPOCH_DAYS: i32 = 10_957;
pub(crate) const EPOCH_MICROS: i64 = 946_684_800_000_000;
/// 4714-11-24 BC and the day after 5874897-12-31, as PostgreSQL counts.
const DATES: std::ops::Range<i32> = -2_451_545..2_145_031_949;
/// The same and 294277-01-01 for timestamps.
const TIMESTAMPS: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;

/// A value that the type does not have, and the way out.
type Fault = &'static str;

const NUL: Fault = "a text with the character U+0000, which PostgreSQL's text cannot have: remove it in the view, for \
                    example with replace(column, chr(0), '')";
const DATE: Fault = "a date that PostgreSQL cannot have (4714-11-24 BC to 5874897-12-31): cast the column to VARCHAR";
const TIMESTAMP: Fault =
    "a timestamp that PostgreSQL cannot have (4714-11-24 BC to 294276-12-31): cast the column to VARCHAR";
const INTERVAL: Fault = "an interval that is not counted in microseconds: cast the column to VARCHAR";
const UUID: Fault = "a UUID that is not written as one: cast the column to VARCHAR";

/// The rows of a batch as fields of COPY.
pub(crate) struct Rows<'a> {
    view: &'a ViewName,
    columns: &'a [Column],
    batch: &'a RecordBatch,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(view: &'a ViewName, columns: &'a [Column], batch: &'a RecordBatch) -> Self {
        Rows { view, columns, batch }
    }

    /// Appends a row, with numbers after its columns.
    pub(crate) fn write(&self, row: usize, more: &[i64], out: &mut BytesMut) -> Result<(), PostgresSinkError> {
        out.put_i16((self.columns.len() + more.len()) as i16);
        for (column, array) in self.columns.iter().zip(self.batch.columns()) {
            field(&column.kind, array, row, out).map_err(|fact| PostgresSinkError::Value {
                view: self.view.clone(),
                column: column.name.clone(),
                fact: fact.to_owned(),
            })?;
        }
        for number in more {
            out.put_i32(8);
            out.put_i64(*number);
        }
        Ok(())
    }
}

/// A value with its length before it; NULL has the length −1.
fn field(kind: &Kind, array: &ArrayRef, row: usize, out: &mut BytesMut) -> Result<(), Fault> {
    if array.is_null(row) {
        out.put_i32(-1);
        return Ok(());
    }
    let at = out.len();
    out.put_i32(0);
    match kind {
        Kind::Scalar(scalar) => value(*scalar, array, row, out)?,
        Kind::Json => text(array.as_string::<i32>().value(row), out)?,
        Kind::Array(scalar) => {
            let items = match array.data_type() {
                DataType::List(_) => array.as_list::<i32>().value(row),
                _ => array.as_fixed_size_list().value(row),
            };
            elements(*scalar, &items, out)?;
        }
        Kind::Nested => {
            let mut json = String::new();
            tidegate_json::write_value(array, row, &mut json);
            if json.contains("\\u0000") && has_nul(array, row) {
                return Err(NUL);
            }
            // The version of the form.
            out.put_u8(1);
            out.put_slice(json.as_bytes());
        }
    }
    let length = (out.len() - at - 4) as i32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

fn elements(scalar: Scalar, items: &ArrayRef, out: &mut BytesMut) -> Result<(), Fault> {
    out.put_i32(i32::from(!items.is_empty()));
    out.put_i32(i32::from(items.null_count() > 0));
    out.put_u32(scalar.oid());
    if !items.is_empty() {
        out.put_i32(items.len() as i32);
        out.put_i32(1);
    }
    (0..items.len()).try_for_each(|item| field(&Kind::Scalar(scalar), items, item, out))
}

fn value(scalar: Scalar, array: &ArrayRef, row: usize, out: &mut BytesMut) -> Result<(), Fault> {
    macro_rules! get {
        ($t:ty) => {
            array.as_primitive::<$t>().value(row)
        };
    }
    match (scalar, array.data_type()) {
        (Scalar::Bool, _) => out.put_u8(array.as_boolean().value(row).into()),
        (Scalar::Int2, DataType::Int8) => out.put_i16(get!(Int8Type).into()),
        (Scalar::Int2, DataType::UInt8) => out.put_i16(get!(UInt8Type).into()),
        (Scalar::Int2, _) => out.put_i16(get!(Int16Type)),
        (Scalar::Int4, DataType::UInt16) => out.put_i32(get!(UInt16Type).into()),
        (Scalar::Int4, _) => out.put_i32(get!(Int32Type)),
        (Scalar::Int8, DataType::UInt32) => out.put_i64(get!(UInt32Type).into()),
        (Scalar::Int8, _) => out.put_i64(get!(Int64Type)),
        (Scalar::Numeric { .. }, DataType::UInt64) => numeric::write(get!(UInt64Type).into(), 0, out),
        (Scalar::Numeric { scale, .. }, _) => numeric::write(get!(Decimal128Type), scale, out),
        (Scalar::Float4, _) => out.put_f32(get!(Float32Type)),
        (Scalar::Float8, _) => out.put_f64(get!(Float64Type)),
        (Scalar::Text, _) => text(array.as_string::<i32>().value(row), out)?,
        (Scalar::Uuid, _) => out.put_slice(&uuid(array.as_string::<i32>().value(row)).ok_or(UUID)?),
        (Scalar::Bytea, _) => out.put_slice(array.as_binary::<i32>().value(row)),
        (Scalar::Date, _) => out.put_i32(date(get!(Date32Type)).ok_or(DATE)?),
        (Scalar::Time, _) => out.put_i64(get!(Time64MicrosecondType)),
        (Scalar::Timestamp { .. } | Scalar::TimestampTz, DataType::Timestamp(unit, _)) => {
            let (value, factor) = match unit {
                TimeUnit::Second => (get!(TimestampSecondType), 1_000_000),
                TimeUnit::Millisecond => (get!(TimestampMillisecondType), 1_000),
                _ => (get!(TimestampMicrosecondType), 1),
            };
            out.put_i64(timestamp(value, factor).ok_or(TIMESTAMP)?);
        }
        (Scalar::TimestampText, _) => {
            let value = get!(TimestampNanosecondType);
            out.put_slice(tidegate_json::timestamp_text(value, TimeUnit::Nanosecond).as_bytes());
        }
        (Scalar::Interval, _) => {
            let interval = get!(IntervalMonthDayNanoType);
            if interval.nanoseconds % 1000 != 0 {
                return Err(INTERVAL);
            }
            out.put_i64(interval.nanoseconds / 1000);
            out.put_i32(interval.days);
            out.put_i32(interval.months);
        }
        (scalar, data_type) => unreachable!("{scalar:?} was chosen for another type than {data_type}"),
    }
    Ok(())
}

fn text(text: &str, out: &mut BytesMut) -> Result<(), Fault> {
    if text.as_bytes().contains(&0) {
        return Err(NUL);
    }
    out.put_slice(text.as_bytes());
    Ok(())
}

/// Whether a text within a nested value has the character that no text of PostgreSQL may have. The escape alone does
/// not tell: a backslash before `u0000` is written as two.
fn has_nul(array: &ArrayRef, row: usize) -> bool {
    let any = |items: ArrayRef| (0..items.len()).any(|item| has_nul(&items, item));
    if array.is_null(row) {
        return false;
    }
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(row).contains('\0'),
        DataType::List(_) => any(array.as_list::<i32>().value(row)),
        DataType::FixedSizeList(..) => any(array.as_fixed_size_list().value(row)),
        DataType::Struct(fields) => {
            let names = fields.iter().any(|field| field.name().contains('\0'));
            names || array.as_struct().columns().iter().any(|column| has_nul(column, row))
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            entries.columns().iter().any(|column| (0..entries.len()).any(|entry| has_nul(column, entry)))
        }
        _ => false,
    }
}

fn uuid(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    let mut digits = text.bytes().filter(|byte| *byte != b'-').map(|digit| char::from(digit).to_digit(16));
    for byte in &mut bytes {
        *byte = (digits.next()?? << 4 | digits.next()??) as u8;
    }
    digits.next().is_none().then_some(bytes)
}

fn date(days: i32) -> Option<i32> {
    match days {
        i32::MAX => Some(i32::MAX),
        days if days <= -i32::MAX => Some(i32::MIN),
        days => days.checked_sub(EPOCH_DAYS).filter(|days| DATES.contains(days)),
    }
}

fn timestamp(value: i64, factor: i64) -> Option<i64> {
    match value {
        i64::MAX => Some(i64::MAX),
        value if value <= -i64::MAX => Some(i64::MIN),
        value => value.checked_mul(factor)?.checked_sub(EPOCH_MICROS).filter(|micros| TIMESTAMPS.contains(micros)),
    }
}
