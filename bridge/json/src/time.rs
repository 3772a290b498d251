//! Dates, times and intervals as text, and back, over all values that DuckDB has.
//!
//! The calendar is the proleptic Gregorian one with a year 0, computed over days as in Howard Hinnant,
//! "chrono-Compatible Low-Level Date Algorithms".

use arrow::datatypes::{IntervalMonthDayNano, TimeUnit};

const INFINITY: &str = "infinity";
const MINUS_INFINITY: &str = "-infinity";

/// Days since 1970-01-01 as text.
pub fn date_text(days: i32) -> String {
    match days {
        i32::MAX => INFINITY.to_owned(),
        // DuckDB's is the negative of the other, and the number beyond it is no date of its.
        i32::MIN | -2_147_483_647 => MINUS_INFINITY.to_owned(),
        days => civil_text(days.into()),
    }
}

pub(crate) fn parse_date(text: &str) -> Option<i32> {
    match text {
        INFINITY => Some(i32::MAX),
        MINUS_INFINITY => Some(-i32::MAX),
        text => i32::try_from(parse_civil(text)?).ok(),
    }
}

/// Microseconds since midnight as text.
pub(crate) fn time_text(micros: i64) -> String {
    clock_text(micros, 1_000_000, 6)
}

pub(crate) fn parse_time(text: &str) -> Option<i64> {
    parse_clock(text, 6)
}

/// A timestamp in this unit as text, without a zone.
pub fn timestamp_text(value: i64, unit: TimeUnit) -> String {
    match value {
        i64::MAX => return INFINITY.to_owned(),
        i64::MIN | -9_223_372_036_854_775_807 => return MINUS_INFINITY.to_owned(),
        _ => {}
    }
    let digits = digits(unit);
    let second = 10_i64.pow(digits);
    let day = 86_400 * second;
    format!("{}T{}", civil_text(value.div_euclid(day)), clock_text(value.rem_euclid(day), second, digits as usize))
}

/// The timestamp in this unit that [`timestamp_text`] writes; a `Z` at its end is let pass.
pub fn parse_timestamp(text: &str, unit: TimeUnit) -> Option<i64> {
    match text {
        INFINITY => return Some(i64::MAX),
        MINUS_INFINITY => return Some(-i64::MAX),
        _ => {}
    }
    let (date, time) = text.strip_suffix('Z').unwrap_or(text).split_once('T')?;
    let digits = digits(unit);
    // The least timestamps lie in a day whose midnight does not fit.
    let total = i128::from(parse_civil(date)?) * 86_400 * 10_i128.pow(digits) + i128::from(parse_clock(time, digits)?);
    i64::try_from(total).ok()
}

pub(crate) fn interval_text(value: IntervalMonthDayNano) -> String {
    let IntervalMonthDayNano { months, days, nanoseconds } = value;
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let nanos = nanoseconds.unsigned_abs();
    let (seconds, part) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    // DuckDB's intervals count microseconds.
    if part % 1000 == 0 {
        format!("P{months}M{days}DT{sign}{seconds}.{:06}S", part / 1000)
    } else {
        format!("P{months}M{days}DT{sign}{seconds}.{part:09}S")
    }
}

pub(crate) fn parse_interval(text: &str) -> Option<IntervalMonthDayNano> {
    let (months, rest) = text.strip_prefix('P')?.split_once('M')?;
    let (days, seconds) = rest.split_once("DT")?;
    let seconds = seconds.strip_suffix('S')?;
    let (sign, seconds) = seconds.strip_prefix('-').map_or((1, seconds), |seconds| (-1, seconds));
    let (whole, part) = seconds.split_once('.')?;
    let scale = 9_usize.checked_sub(part.len())?;
    let nanos = i128::from(whole.parse::<u64>().ok()?) * 1_000_000_000
        + i128::from(part.parse::<u64>().ok()?) * 10_i128.pow(scale as u32);
    let nanoseconds = i64::try_from(sign * nanos).ok()?;
    Some(IntervalMonthDayNano::new(months.parse().ok()?, days.parse().ok()?, nanoseconds))
}

fn digits(unit: TimeUnit) -> u32 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

fn clock_text(value: i64, second: i64, digits: usize) -> String {
    let (seconds, part) = (value / second, value % second);
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if digits == 0 { clock } else { format!("{clock}.{part:0digits$}") }
}

fn parse_clock(text: &str, digits: u32) -> Option<i64> {
    let (clock, part) = if digits == 0 { (text, "0") } else { text.split_once('.')? };
    if digits > 0 && part.len() != digits as usize {
        return None;
    }
    let mut seconds = 0;
    let mut fields = clock.split(':');
    for limit in [24, 59, 60] {
        let field: u32 = number(fields.next()?)?.try_into().ok()?;
        if field > limit {
            return None;
        }
        seconds = seconds * 60 + i64::from(field);
    }
    fields.next().is_none().then_some(())?;
    Some(seconds * 10_i64.pow(digits) + number(part)?)
}

fn civil_text(days: i64) -> String {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    if (0..=9999).contains(&year) {
        format!("{year:04}-{month:02}-{day:02}")
    } else {
        format!("{year:+05}-{month:02}-{day:02}")
    }
}

fn parse_civil(text: &str) -> Option<i64> {
    let (sign, rest) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let mut fields = rest.split('-');
    let year = sign * number(fields.next()?)?;
    let (month, day) = (number(fields.next()?)?, number(fields.next()?)?);
    if fields.next().is_some() || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// Digits alone, and not so many that anything could overflow.
fn number(text: &str) -> Option<i64> {
    let plain = !text.is_empty() && text.len() <= 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let cases = [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (19_782, "2024-02-29"),
            (-719_528, "0000-01-01"),
            (-719_529, "-0001-12-31"),
            (2_932_897, "+10000-01-01"),
            (i32::MAX, "infinity"),
            (-i32::MAX, "-infinity"),
        ];
        for (days, text) in cases {
            assert_eq!((date_text(days).as_str(), parse_date(text)), (text, Some(days)));
        }
        for days in (-2_147_000_000..2_147_000_000).step_by(99_991) {
            assert_eq!(parse_date(&date_text(days)), Some(days));
        }
        for text in ["", "-", "2024", "2024-13-01", "2024-1", "2024-01-32", "x-01-01", "2024-01-01-01"] {
            assert_eq!(parse_date(text), None, "{text}");
        }
    }

    #[test]
    fn timestamps() {
        let cases = [
            (-1, TimeUnit::Microsecond, "1969-12-31T23:59:59.999999"),
            (-1, TimeUnit::Second, "1969-12-31T23:59:59"),
            (i64::MIN + 2, TimeUnit::Nanosecond, "1677-09-21T00:12:43.145224194"),
            (i64::MAX - 1, TimeUnit::Microsecond, "+294247-01-10T04:00:54.775806"),
            (i64::MAX, TimeUnit::Millisecond, "infinity"),
            (-i64::MAX, TimeUnit::Second, "-infinity"),
        ];
        for (value, unit, text) in cases {
            assert_eq!((timestamp_text(value, unit).as_str(), parse_timestamp(text, unit)), (text, Some(value)));
        }
        assert_eq!(parse_timestamp("1970-01-01T00:00:00.000001Z", TimeUnit::Microsecond), Some(1));
        assert_eq!(parse_timestamp("1970-01-01T00:00:00", TimeUnit::Microsecond), None);
        assert_eq!(
            (time_text(86_400_000_000).as_str(), parse_time("24:00:00.000000")),
            ("24:00:00.000000", Some(86_400_000_000))
        );
    }

    #[test]
    fn intervals() {
        let interval = IntervalMonthDayNano::new;
        let cases = [
            (interval(-14, 3, -1000), "P-14M3DT-0.000001S"),
            (interval(0, 0, i64::MAX / 1000 * 1000), "P0M0DT9223372036.854775S"),
            (interval(0, -1, 1), "P0M-1DT0.000000001S"),
            (interval(i32::MIN, i32::MAX, i64::MIN), "P-2147483648M2147483647DT-9223372036.854775808S"),
        ];
        for (value, text) in cases {
            assert_eq!((interval_text(value).as_str(), parse_interval(text)), (text, Some(value)));
        }
    }
}
