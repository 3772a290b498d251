//! Other types to VARCHAR, in DuckDB's spelling.

use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, TimeUnit, TimestampMicrosecondType,
};
use chrono::{DateTime, Datelike, NaiveDate, Timelike};

use super::call::{Answer, Arguments};
use super::cast::{integers, texts};

/// Whether values of a type can be cast to texts.
pub(super) fn prints(source: &DataType) -> bool {
    source.is_integer()
        || matches!(
            source,
            DataType::Decimal128(..)
                | DataType::Float32
                | DataType::Float64
                | DataType::Boolean
                | DataType::Date32
                | DataType::Timestamp(TimeUnit::Microsecond, None)
        )
}

pub(super) fn kernel(args: &Arguments) -> Answer {
    let rows = 0..args.rows;
    Ok(match args.array(0).0.data_type() {
        DataType::Boolean => {
            let values = args.boolean(0);
            texts(rows.map(|row| values.get(row).map(|v| v.to_string())))
        }
        DataType::Float32 => {
            let values = args.primitive::<Float32Type>(0);
            texts(rows.map(|row| values.get(row).map(|v| float(f64::from(v), format!("{v:e}")))))
        }
        DataType::Float64 => {
            let values = args.primitive::<Float64Type>(0);
            texts(rows.map(|row| values.get(row).map(|v| float(v, format!("{v:e}")))))
        }
        DataType::Decimal128(_, scale) => {
            let values = args.primitive::<Decimal128Type>(0);
            let scale = usize::from(scale.unsigned_abs());
            texts(rows.map(|row| values.get(row).map(|v| decimal(v, scale))))
        }
        DataType::Date32 => {
            let values = args.primitive::<Date32Type>(0);
            let print = |v| date(v).map(|d| print_date(&d)).ok_or_else(unusual);
            let printed = rows.map(|row| values.get(row).map(print).transpose()).collect::<Result<Vec<_>, _>>()?;
            texts(printed.into_iter())
        }
        DataType::Timestamp(..) => {
            let values = args.primitive::<TimestampMicrosecondType>(0);
            let printed = rows.map(|row| values.get(row).map(timestamp).transpose()).collect::<Result<Vec<_>, _>>()?;
            texts(printed.into_iter())
        }
        _ => texts(integers(args).into_iter().map(|v| v.map(|v| v.to_string()))),
    })
}

fn unusual() -> String {
    "a date before year 1 or without end cannot be written as text here: filter such rows".to_owned()
}

/// `value` as it is, and as Rust's shortest digits with an exponent.
fn float(value: f64, scientific: String) -> String {
    if value.is_nan() {
        return if value.is_sign_negative() { "-nan" } else { "nan" }.to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    if !(-4..16).contains(&exponent) {
        return format!("{sign}{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs());
    }
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    if exponent < 0 {
        return format!("{sign}0.{}{digits}", "0".repeat((-exponent - 1) as usize));
    }
    let whole = exponent as usize + 1;
    if digits.len() <= whole {
        format!("{sign}{digits}{}.0", "0".repeat(whole - digits.len()))
    } else {
        format!("{sign}{}.{}", &digits[..whole], &digits[whole..])
    }
}

fn decimal(value: i128, scale: usize) -> String {
    if scale == 0 {
        return value.to_string();
    }
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    format!("{}{whole}.{fraction}", if value < 0 { "-" } else { "" })
}

/// A day since 1970-01-01 as a date of our era.
pub(super) fn date(days: i32) -> Option<NaiveDate> {
    let date = NaiveDate::default().checked_add_signed(chrono::TimeDelta::days(days.into()))?;
    (date.year() > 0).then_some(date)
}

fn print_date(date: &NaiveDate) -> String {
    format!("{:04}-{:02}-{:02}", date.year(), date.month(), date.day())
}

fn timestamp(micros: i64) -> Result<String, String> {
    let time = DateTime::from_timestamp_micros(micros).map(|t| t.naive_utc()).filter(|t| t.date().year() > 0);
    let time = time.ok_or_else(unusual)?;
    let fraction = format!("{:06}", time.nanosecond() / 1000);
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    Ok(format!(
        "{} {:02}:{:02}:{:02}{point}{fraction}",
        print_date(&time.date()),
        time.hour(),
        time.minute(),
        time.second()
    ))
}
