//! Dates, as `DateStyle=ISO` writes them.

use super::super::error::Fault;
use super::two_digits;

const NOT_A_DATE: Fault = Fault::Malformed("a date is not written as DateStyle=ISO writes it");
const OUT_OF_RANGE: Fault = Fault::Unrepresentable("a date is beyond DuckDB's range of dates");

/// DuckDB's `infinity`; its negative is `-infinity`.
const INFINITY: i32 = i32::MAX;
/// No calendar of PostgreSQL or DuckDB reaches a year of more digits.
const YEAR_DIGITS_MAX: usize = 7;

/// Days since 1970 in the proleptic Gregorian calendar.
pub(in super::super) fn date(text: &[u8]) -> Result<i32, Fault> {
    match text {
        b"infinity" => return Ok(INFINITY),
        b"-infinity" => return Ok(-INFINITY),
        _ => {}
    }
    let (text, era) = split_era(text);
    let (days, rest) = leading_date(text, era).ok_or(NOT_A_DATE)?;
    if !rest.is_empty() {
        return Err(NOT_A_DATE);
    }
    let finite = i32::try_from(days).ok().filter(|days| (-INFINITY + 1..INFINITY).contains(days));
    finite.ok_or(OUT_OF_RANGE)
}

/// Which side of the year 1 a year is counted on.
#[derive(Clone, Copy)]
pub(super) enum Era {
    Common,
    Before,
}

/// Cuts ` BC` off, which stands at the very end, after a time and its zone.
pub(super) fn split_era(text: &[u8]) -> (&[u8], Era) {
    match text {
        [date @ .., b' ', b'B', b'C'] => (date, Era::Before),
        date => (date, Era::Common),
    }
}

/// The days since 1970 of the `YYYY-MM-DD` that a text begins with, whose year may have more
/// digits, and what follows it.
pub(super) fn leading_date(text: &[u8], era: Era) -> Option<(i64, &[u8])> {
    let year_digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(4..=YEAR_DIGITS_MAX).contains(&year_digits) {
        return None;
    }
    let (year, rest) = text.split_at(year_digits);
    let [b'-', m1, m2, b'-', d1, d2, rest @ ..] = rest else { return None };
    let written = year.iter().fold(0i64, |year, digit| year * 10 + i64::from(digit - b'0'));
    // There is no year 0: the year before 1 is 1 BC.
    let year = match era {
        _ if written == 0 => return None,
        Era::Common => written,
        Era::Before => 1 - written,
    };
    let (month, day) = (two_digits(*m1, *m2)?, two_digits(*d1, *d2)?);
    let exists = (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day);
    exists.then(|| (days_since_1970(year, month, day), rest))
}

fn days_in_month(year: i64, month: u8) -> u8 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Counts whole eras of 400 years, 146097 days each, with years that begin in March, so that the
/// leap day is a year's last (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms",
/// `days_from_civil`).
fn days_since_1970(year: i64, month: u8, day: u8) -> i64 {
    let (month, day) = (i64::from(month), i64::from(day));
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}
