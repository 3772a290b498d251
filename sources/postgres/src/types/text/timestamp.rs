//! Times of day and timestamps, as `DateStyle=ISO` writes them.

use super::super::error::Fault;
use super::date::{leading_date, split_era};
use super::{micros_of_fraction, two_digits};

const NOT_A_TIME: Fault = Fault::Malformed("a time is not written as HH:MM:SS.ffffff");
const NOT_A_TIMESTAMP: Fault = Fault::Malformed("a timestamp is not written as DateStyle=ISO writes it");
const OUT_OF_RANGE: Fault = Fault::Unrepresentable("a timestamp is beyond DuckDB's range of timestamps");

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
/// DuckDB's `infinity`; its negative is `-infinity`.
const INFINITY: i64 = i64::MAX;
/// DuckDB's first timestamp, 290309-12-22 (BC) 00:00:00. The last one is just before infinity.
const FIRST: i64 = -9_223_372_022_400_000_000;

/// Microseconds since midnight. `24:00:00`, the end of the day, is a time in both systems.
pub(in super::super) fn time(text: &[u8]) -> Result<i64, Fault> {
    match leading_time(text) {
        Some((micros, [])) if micros <= DAY => Ok(micros),
        _ => Err(NOT_A_TIME),
    }
}

/// Microseconds since 1970 on a clock without time zone.
pub(in super::super) fn timestamp(text: &[u8]) -> Result<i64, Fault> {
    match read(text)? {
        (micros, []) => Ok(micros),
        _ => Err(NOT_A_TIMESTAMP),
    }
}

/// Microseconds since 1970 in UTC; any offset is taken into account.
pub(in super::super) fn timestamptz(text: &[u8]) -> Result<i64, Fault> {
    match read(text)? {
        (micros, []) if micros.abs() == INFINITY => Ok(micros),
        (micros, zone) => {
            let offset = offset(zone).ok_or(NOT_A_TIMESTAMP)?;
            in_range(i128::from(micros) - i128::from(offset))
        }
    }
}

/// A timestamp and what follows it: its offset, if any.
fn read(text: &[u8]) -> Result<(i64, &[u8]), Fault> {
    match text {
        b"infinity" => return Ok((INFINITY, &[])),
        b"-infinity" => return Ok((-INFINITY, &[])),
        _ => {}
    }
    let (text, era) = split_era(text);
    let (days, rest) = leading_date(text, era).ok_or(NOT_A_TIMESTAMP)?;
    let [b' ', rest @ ..] = rest else { return Err(NOT_A_TIMESTAMP) };
    let (micros, rest) = leading_time(rest).filter(|(micros, _)| *micros < DAY).ok_or(NOT_A_TIMESTAMP)?;
    Ok((in_range(i128::from(days) * i128::from(DAY) + i128::from(micros))?, rest))
}

fn in_range(micros: i128) -> Result<i64, Fault> {
    i64::try_from(micros).ok().filter(|micros| (FIRST..INFINITY).contains(micros)).ok_or(OUT_OF_RANGE)
}

/// The microseconds of the `HH:MM:SS[.ffffff]` that a text begins with, and what follows it.
fn leading_time(text: &[u8]) -> Option<(i64, &[u8])> {
    let [h1, h2, b':', m1, m2, b':', s1, s2, rest @ ..] = text else { return None };
    let (hours, minutes, seconds) = (two_digits(*h1, *h2)?, two_digits(*m1, *m2)?, two_digits(*s1, *s2)?);
    if hours > 24 || minutes > 59 || seconds > 59 {
        return None;
    }
    let (fraction, rest) = match rest {
        [b'.', rest @ ..] => {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            (micros_of_fraction(&rest[..digits])?, &rest[digits..])
        }
        rest => (0, rest),
    };
    let whole = (i64::from(hours) * 60 + i64::from(minutes)) * 60 + i64::from(seconds);
    Some((whole * SECOND + i64::from(fraction), rest))
}

/// The microseconds of `[+-]HH[:MM[:SS]]`.
fn offset(text: &[u8]) -> Option<i64> {
    let (sign, hours, minutes, seconds) = match text {
        [sign, h1, h2] => (sign, two_digits(*h1, *h2)?, 0, 0),
        [sign, h1, h2, b':', m1, m2] => (sign, two_digits(*h1, *h2)?, two_digits(*m1, *m2)?, 0),
        [sign, h1, h2, b':', m1, m2, b':', s1, s2] => {
            (sign, two_digits(*h1, *h2)?, two_digits(*m1, *m2)?, two_digits(*s1, *s2)?)
        }
        _ => return None,
    };
    if hours > 24 || minutes > 59 || seconds > 59 {
        return None;
    }
    let micros = ((i64::from(hours) * 60 + i64::from(minutes)) * 60 + i64::from(seconds)) * SECOND;
    match sign {
        b'+' => Some(micros),
        b'-' => Some(-micros),
        _ => None,
    }
}
