//! Intervals, as `IntervalStyle=iso_8601` writes them.

use arrow::datatypes::{IntervalMonthDayNano, IntervalMonthDayNanoType};

use super::super::error::Fault;
use super::micros_of_fraction;

const NOT_AN_INTERVAL: Fault = Fault::Malformed("an interval is not written as IntervalStyle=iso_8601 writes it");
const INFINITE: Fault = Fault::Unrepresentable("an interval is infinite, which no INTERVAL of DuckDB is");
const OUT_OF_RANGE: Fault = Fault::Unrepresentable("an interval has more months, days or hours than Arrow holds");

const SECOND: i64 = 1_000_000;

/// Months, days and time apart, as both systems keep them: `P1Y2M-3DT4H-5M6.789S`. Every part has
/// its own sign; parts that are zero are left out, `PT0S` has none. Arrow counts the time in
/// nanoseconds and so ends after 292 years of hours, where DuckDB and PostgreSQL go on.
pub(in super::super) fn interval(text: &[u8]) -> Result<IntervalMonthDayNano, Fault> {
    let mut rest = match text {
        b"infinity" | b"-infinity" => return Err(INFINITE),
        [b'P', rest @ ..] if !rest.is_empty() => rest,
        _ => return Err(NOT_AN_INTERVAL),
    };
    let (mut months, mut days, mut micros) = (0i64, 0i64, 0i64);
    let mut within_time = false;
    while !rest.is_empty() {
        if let [b'T', time @ ..] = rest
            && !within_time
            && !time.is_empty()
        {
            (within_time, rest) = (true, time);
        }
        let part = Part::leading(rest).ok_or(NOT_AN_INTERVAL)?;
        rest = part.rest;
        if part.fraction != 0 && part.unit != b'S' {
            return Err(NOT_AN_INTERVAL);
        }
        let (sum, unit) = match (within_time, part.unit) {
            (false, b'Y') => (&mut months, 12),
            (false, b'M') => (&mut months, 1),
            (false, b'D') => (&mut days, 1),
            (true, b'H') => (&mut micros, 3600 * SECOND),
            (true, b'M') => (&mut micros, 60 * SECOND),
            (true, b'S') => (&mut micros, SECOND),
            _ => return Err(NOT_AN_INTERVAL),
        };
        let amount = part.whole.checked_mul(unit).and_then(|whole| whole.checked_add(part.fraction));
        *sum = amount.and_then(|amount| sum.checked_add(amount)).ok_or(OUT_OF_RANGE)?;
    }
    let parts = (i32::try_from(months), i32::try_from(days), micros.checked_mul(1000));
    let (Ok(months), Ok(days), Some(nanos)) = parts else { return Err(OUT_OF_RANGE) };
    Ok(IntervalMonthDayNanoType::make_value(months, days, nanos))
}

/// `-5M`: a signed number and its unit.
struct Part<'a> {
    whole: i64,
    /// In millionths, with the sign of the part.
    fraction: i64,
    unit: u8,
    rest: &'a [u8],
}

impl<'a> Part<'a> {
    fn leading(text: &'a [u8]) -> Option<Self> {
        let (sign, unsigned) = match text {
            [b'-', unsigned @ ..] => (-1, unsigned),
            unsigned => (1, unsigned),
        };
        let digits = unsigned.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (whole, rest) = unsigned.split_at(digits);
        if whole.is_empty() || whole.len() > 18 {
            return None;
        }
        let whole = whole.iter().fold(0i64, |whole, digit| whole * 10 + i64::from(digit - b'0'));
        let (fraction, rest) = match rest {
            [b'.', rest @ ..] => {
                let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
                (micros_of_fraction(&rest[..digits])?, &rest[digits..])
            }
            rest => (0, rest),
        };
        let [unit, rest @ ..] = rest else { return None };
        Some(Part { whole: sign * whole, fraction: sign * i64::from(fraction), unit: *unit, rest })
    }
}
