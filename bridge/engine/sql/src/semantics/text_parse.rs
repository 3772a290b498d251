//! VARCHAR to other types. The usual spellings are read as DuckDB reads them; the rare ones it
//! also takes (`1_000`, `0x10`, `1e3` as an integer, zones in timestamps, years before Christ)
//! are errors that say so, never other values.

use std::sync::Arc;

use arrow::array::{BooleanArray, Float32Array, Float64Array, PrimitiveArray};
use arrow::datatypes::{DataType, Date32Type, TimeUnit, TimestampMicrosecondType};
use chrono::{NaiveDate, NaiveDateTime, NaiveTime};

use super::call::{Answer, Arguments};
use super::cast::{decimals, divide_rounded, narrow};
use crate::explain::type_name;

/// Whether texts can be cast to a type.
pub(super) fn parses(target: &DataType) -> bool {
    target.is_integer()
        || matches!(
            target,
            DataType::Decimal128(..)
                | DataType::Float32
                | DataType::Float64
                | DataType::Boolean
                | DataType::Date32
                | DataType::Timestamp(TimeUnit::Microsecond, None)
        )
}

pub(super) fn kernel(args: &Arguments) -> Answer {
    let column = args.text(0);
    let texts = (0..args.rows).map(|row| column.get(row).map(str::trim_ascii));
    let wrong = || {
        format!(
            "a text cannot be read as {}: write it in the plain form, or filter such rows",
            type_name(args.return_type)
        )
    };
    Ok(match args.return_type {
        DataType::Boolean => {
            let read = |t: &str| boolean(t).ok_or_else(wrong);
            Arc::new(texts.map(|t| t.map(read).transpose()).collect::<Result<BooleanArray, _>>()?)
        }
        DataType::Float32 => {
            let read = |t: &str| float(t).and_then(|t| t.parse::<f32>().ok()).ok_or_else(wrong);
            Arc::new(texts.map(|t| t.map(read).transpose()).collect::<Result<Float32Array, _>>()?)
        }
        DataType::Float64 => {
            let read = |t: &str| float(t).and_then(|t| t.parse::<f64>().ok()).ok_or_else(wrong);
            Arc::new(texts.map(|t| t.map(read).transpose()).collect::<Result<Float64Array, _>>()?)
        }
        DataType::Date32 => {
            let read = |t: &str| date(t).map(days).ok_or_else(wrong);
            Arc::new(texts.map(|t| t.map(read).transpose()).collect::<Result<PrimitiveArray<Date32Type>, _>>()?)
        }
        DataType::Timestamp(..) => {
            let read = |t: &str| timestamp(t).ok_or_else(wrong);
            let values = texts.map(|t| t.map(read).transpose());
            Arc::new(values.collect::<Result<PrimitiveArray<TimestampMicrosecondType>, _>>()?)
        }
        DataType::Decimal128(_, scale) => {
            let scale = scale.unsigned_abs();
            let read = |t: &str| number(t, scale.into()).ok_or_else(wrong);
            let values = texts.map(|t| t.map(read).transpose()).collect::<Result<Vec<_>, _>>()?;
            return decimals(args, values.into_iter().map(|v| v.map(Some)));
        }
        _ => {
            let read = |t: &str| number(t, 0).ok_or_else(wrong);
            return narrow(args, texts.map(|t| t.map(read).transpose()).collect::<Result<Vec<_>, _>>()?);
        }
    })
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "1" => Some(true),
        "false" | "f" | "no" | "n" | "0" => Some(false),
        _ => None,
    }
}

/// Texts that Rust and DuckDB read alike.
fn float(text: &str) -> Option<&str> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let named = ["inf", "infinity", "nan"].iter().any(|name| unsigned.eq_ignore_ascii_case(name));
    let plain = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    (named || plain).then_some(text)
}

/// Digits with a sign and a point, times ten to the scale, rounded half away from zero.
fn number(text: &str, scale: usize) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if !plain(whole) || !plain(fraction) || whole.len() + fraction.len() == 0 {
        return None;
    }
    // One digit more than needed decides the rounding: half or more goes away from zero.
    let kept: String = fraction.chars().chain(std::iter::repeat('0')).take(scale + 1).collect();
    let value = format!("{whole}{kept}").parse::<i128>().ok()?;
    let rounded = divide_rounded(value, 10);
    Some(if negative { -rounded } else { rounded })
}

fn date(text: &str) -> Option<NaiveDate> {
    let mut parts = text.splitn(3, '-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let plain =
        |part: &str, longest: usize| (1..=longest).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    if year.len() != 4 || !plain(year, 4) || !plain(month, 2) || !plain(day, 2) || year == "0000" {
        return None;
    }
    NaiveDate::from_ymd_opt(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?)
}

/// Days since 1970-01-01.
pub(super) fn days(date: NaiveDate) -> i32 {
    date.signed_duration_since(NaiveDate::default()).num_days() as i32
}

fn timestamp(text: &str) -> Option<i64> {
    let Some((day, time)) = text.split_once([' ', 'T']) else {
        return Some(NaiveDateTime::new(date(text)?, NaiveTime::MIN).and_utc().timestamp_micros());
    };
    let mut parts = time.splitn(3, ':');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next().unwrap_or("00"));
    let (second, fraction) = second.split_once('.').unwrap_or((second, ""));
    let two = |part: &str| -> Option<u32> {
        (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse().ok())?
    };
    if fraction.len() > 6 || !fraction.bytes().all(|b| b.is_ascii_digit()) || time.ends_with('.') {
        return None;
    }
    let micros: u32 = format!("{fraction:0<6}").parse().ok()?;
    let time = NaiveTime::from_hms_micro_opt(two(hour)?, two(minute)?, two(second)?, micros)?;
    Some(NaiveDateTime::new(date(day)?, time).and_utc().timestamp_micros())
}
