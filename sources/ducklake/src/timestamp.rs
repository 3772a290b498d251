//! Moments as DuckDB writes them, which is how a catalog in SQLite keeps them.

/// A moment, or a time on nobody's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Seconds since 1970, in UTC where it has a zone.
    pub seconds: i64,
    /// The rest.
    pub nanos: i64,
    /// Whether the text says how far from UTC it is.
    pub has_zone: bool,
}

/// Microseconds since 1970 UTC of `2024-02-29 12:00:00.123456+05:30`; without a zone it is UTC. Nothing of other text.
pub fn micros(text: &str) -> Option<i64> {
    moment(text)?.in_units(1_000_000)
}

impl Moment {
    /// In units of which a second has so many; nothing where that loses a part of it.
    pub fn in_units(self, per_second: i64) -> Option<i64> {
        let nanos = 1_000_000_000 / per_second;
        let whole = self.seconds.checked_mul(per_second)?.checked_add(self.nanos / nanos)?;
        (self.nanos % nanos == 0).then_some(whole)
    }
}

/// `2024-02-29 12:00:00.123456789+05:30`, without what is not there. Nothing of other text, nor of infinities and
/// years before the first.
pub fn moment(text: &str) -> Option<Moment> {
    let (date, rest) = text.split_once([' ', 'T'])?;
    let zone = rest.find(['+', '-', 'Z']).unwrap_or(rest.len());
    let (time, zone) = rest.split_at(zone);
    let (seconds, nanos) = time_of_day(time).filter(|(seconds, _)| *seconds < 86_400)?;
    let seconds = days(date)? * 86_400 + seconds - offset(zone)?;
    Some(Moment { seconds, nanos, has_zone: !zone.is_empty() })
}

/// Days since 1970 of `2024-02-29`.
pub fn days(text: &str) -> Option<i64> {
    let [year, month, day] = numbers::<3>(text, '-')?;
    let exists = year > 0 && (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
    exists.then(|| days_since_1970(year, month, day))
}

/// Seconds and nanoseconds of `12:00:00.123456789`; a day may end at `24:00:00`.
pub fn time_of_day(text: &str) -> Option<(i64, i64)> {
    let (time, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let [hours, minutes, seconds] = numbers::<3>(time, ':')?;
    let nanos = number(fraction)? * 10_i64.pow(9_u32.checked_sub(u32::try_from(fraction.len()).ok()?)?);
    let total = hours * 3_600 + minutes * 60 + seconds;
    let exists = minutes <= 59 && seconds <= 59 && (hours <= 23 || (total == 86_400 && nanos == 0));
    exists.then_some((total, nanos))
}

/// Seconds east of UTC: nothing or `Z`, `+05`, `-05:30`, `+05:30:15`. Without one the moment is UTC.
fn offset(zone: &str) -> Option<i64> {
    let (sign, digits) = match zone.split_at_checked(1) {
        None | Some(("Z", "")) => return Some(0),
        Some(("+", digits)) => (1, digits),
        Some(("-", digits)) => (-1, digits),
        Some(_) => return None,
    };
    let mut seconds = 0;
    let mut unit = 3_600;
    for part in digits.split(':') {
        seconds += number(part)? * unit;
        unit /= 60;
    }
    (digits.len() <= 8).then_some(sign * seconds)
}

fn numbers<const N: usize>(text: &str, separator: char) -> Option<[i64; N]> {
    text.split(separator).map(number).collect::<Option<Vec<_>>>()?.try_into().ok()
}

/// Up to nine digits and nothing else.
fn number(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn days_of(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The proleptic Gregorian calendar; years of March to February, so that the leap day is the last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 719_469
}

#[cfg(test)]
mod tests {
    use super::{days, micros, moment, time_of_day};

    #[test]
    fn moments_are_read_as_duckdb_writes_them() {
        for (text, expected) in [
            ("1970-01-01 00:00:00+00", 0),
            ("1970-01-01 00:00:00", 0),
            ("1969-12-31 23:59:59.999999+00", -1),
            ("2024-02-29 12:00:00.5+05:30", 1_709_188_200_500_000),
            ("2024-02-29T12:00:00-05", 1_709_226_000_000_000),
            ("2000-01-01 00:00:00Z", 946_684_800_000_000),
            ("2026-11-21 18:17:49.093922+00", 1_795_285_069_093_922),
        ] {
            assert_eq!(micros(text), Some(expected), "{text}");
        }
        for text in ["", "infinity", "2024-02-30 00:00:00", "2024-13-01 00:00:00", "2024-01-01", "2024-01-01 25:00:00"]
        {
            assert_eq!(micros(text), None, "{text}");
        }
        for text in ["0044-03-15 (BC) 01:02:03+00", "2024-01-01 24:00:00", "2024-01-01 00:00:00.1234567"] {
            assert_eq!(micros(text), None, "{text}");
        }
        assert_eq!((days("1970-01-02"), days("1970-01-32"), days("infinity")), (Some(1), None, None));
        assert_eq!((time_of_day("24:00:00"), time_of_day("24:00:01")), (Some((86_400, 0)), None));
        assert!(!moment("2024-01-01 00:00:00").unwrap().has_zone);
    }
}
