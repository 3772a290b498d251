//! Timestamps in the forms that programs write and most people do, read without a DuckDB. What is read means, to the
//! microsecond, what DuckDB reads in it; whatever else a text may mean is left to DuckDB.

use chrono::{NaiveDate, NaiveTime, TimeDelta};
use tidegate_core::Micros;

/// Before it DuckDB's calendar and the one here may differ.
const FIRST_YEAR: i32 = 1600;

/// `2026-11-22`, `2026-11-22T15:00` or `2026-11-22 15:00:00.123456+01:00`, UTC where no zone is given; `None` for anything
/// that is not exactly of this form.
pub fn read(text: &str) -> Option<Micros> {
    let (date, rest) = text.is_ascii().then(|| text.split_at_checked(10))??;
    let (year, date) = date.split_at(4);
    let (month, day) = (date.strip_prefix('-')?.get(..2)?, date.get(3..)?.strip_prefix('-')?);
    let year = i32::try_from(number(year)?).ok().filter(|year| *year >= FIRST_YEAR)?;
    let date = NaiveDate::from_ymd_opt(year, number(month)?, number(day)?)?;
    let (time, zone) = match rest.strip_prefix(['T', ' ']) {
        None if rest.is_empty() => (NaiveTime::MIN, TimeDelta::zero()),
        None => return None,
        Some(rest) => clock(rest)?,
    };
    Some(Micros((date.and_time(time) - zone).and_utc().timestamp_micros()))
}

/// `15:00`, or `15:00:00` with or without a fraction and a zone.
fn clock(text: &str) -> Option<(NaiveTime, TimeDelta)> {
    let (hour, minute) = pair(text.get(..5)?)?;
    let Some(rest) = text[5..].strip_prefix(':') else {
        return text[5..].is_empty().then_some((NaiveTime::from_hms_opt(hour, minute, 0)?, TimeDelta::zero()));
    };
    let (second, rest) = rest.split_at_checked(2)?;
    let (micros, zone) = match rest.strip_prefix('.') {
        None => (0, rest),
        Some(rest) => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if !(1..=6).contains(&digits) {
                return None;
            }
            (number(&rest[..digits])? * 10u32.pow(6 - digits as u32), &rest[digits..])
        }
    };
    let time = NaiveTime::from_hms_micro_opt(hour, minute, number(second)?, micros)?;
    Some((time, offset(zone)?))
}

/// How far a zone is ahead of UTC: `Z`, `+01`, `-03:30` or nothing.
fn offset(zone: &str) -> Option<TimeDelta> {
    let ahead = match zone.chars().next() {
        None => return Some(TimeDelta::zero()),
        Some('Z') => return (zone.len() == 1).then(TimeDelta::zero),
        Some('+') => 1,
        Some('-') => -1,
        Some(_) => return None,
    };
    let (hours, minutes) = match &zone[1..] {
        hours if hours.len() == 2 => (number(hours)?, 0),
        both => pair(both)?,
    };
    // No zone is further away.
    (hours <= 14 && minutes < 60).then(|| TimeDelta::minutes(ahead * i64::from(60 * hours + minutes)))
}

/// `15:00`
fn pair(text: &str) -> Option<(u32, u32)> {
    let (first, second) = text.split_at_checked(2)?;
    let second = second.strip_prefix(':').filter(|second| second.len() == 2)?;
    Some((number(first)?, number(second)?))
}

fn number(digits: &str) -> Option<u32> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::seq::IndexedRandom;
    use rand::{Rng, SeedableRng};
    use tidegate_duck::Duck;

    use super::*;

    /// What DuckDB reads in each text.
    fn of_duckdb(texts: &[String]) -> Vec<Option<i64>> {
        let duck = Duck::open_in_memory().unwrap();
        let sql = "SELECT epoch_us(TRY_CAST(? AS TIMESTAMP WITH TIME ZONE))";
        let mut statement = duck.connection().prepare(sql).unwrap();
        texts.iter().map(|text| statement.query_row([text], |row| row.get(0)).unwrap()).collect()
    }

    fn text(rng: &mut StdRng) -> String {
        let year = *[0, 1, 1582, 1599, 1600, 1900, 1970, 2000, 2024, 2026, 2100, 9999, 10_000].choose(rng).unwrap();
        let number = |rng: &mut StdRng, most: u32| match rng.random_range(0..8) {
            0 => [0, most, most + 1][rng.random_range(0..3)],
            _ => rng.random_range(0..=most),
        };
        let mut text = format!("{year:04}-{:02}-{:02}", number(rng, 12), number(rng, 31));
        if rng.random_bool(0.9) {
            text.push(if rng.random_bool(0.5) { 'T' } else { ' ' });
            text.push_str(&format!("{:02}:{:02}", number(rng, 23), number(rng, 59)));
        }
        if rng.random_bool(0.8) {
            text.push_str(&format!(":{:02}", number(rng, 59)));
        }
        if rng.random_bool(0.6) {
            let digits = rng.random_range(0..8);
            text.push('.');
            (0..digits).for_each(|_| text.push(char::from(rng.random_range(b'0'..=b'9'))));
        }
        let (hours, minutes) = (number(rng, 15), number(rng, 59));
        text.push_str(&match rng.random_range(0..6) {
            0 | 1 => String::new(),
            2 => "Z".to_owned(),
            3 => format!("+{hours:02}"),
            4 => format!("{}{hours:02}:{minutes:02}", if rng.random_bool(0.5) { '+' } else { '-' }),
            _ => format!("-{hours:02}{minutes:02}"),
        });
        // What is nearly such a text is more likely to be taken for one than anything else.
        if rng.random_bool(0.3) {
            let mut chars: Vec<char> = text.chars().collect();
            let at = rng.random_range(0..chars.len());
            match rng.random_range(0..3) {
                0 => drop(chars.remove(at)),
                1 => chars.insert(at, *[' ', '0', '-', ':', '.', 'Z', 'é'].choose(rng).unwrap()),
                _ => chars[at] = *[' ', '9', '+', 't', 'z', '٣'].choose(rng).unwrap(),
            }
            text = chars.into_iter().collect();
        }
        text
    }

    #[test]
    fn what_is_read_is_what_duckdb_reads() {
        let seed = std::env::var("TIDEGATE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
        eprintln!("instants: TIDEGATE_SEED={seed}");
        let rng = &mut StdRng::seed_from_u64(seed);
        let texts: Vec<String> = (0..20_000).map(|_| text(rng)).collect();
        let mut read_here = 0;
        for (text, theirs) in texts.iter().zip(of_duckdb(&texts)) {
            if let Some(Micros(ours)) = read(text) {
                assert_eq!(Some(ours), theirs, "{text}");
                read_here += 1;
            }
        }
        assert!(read_here > 2_000, "{read_here}");
    }

    #[test]
    fn the_usual_forms_need_no_duckdb() {
        for (text, micros) in [
            ("2026-11-22", 1_795_305_600_000_000),
            ("2026-11-22 15:00", 1_795_359_600_000_000),
            ("2026-11-22T15:00:00Z", 1_795_359_600_000_000),
            ("2026-11-22 15:00:00.5", 1_795_359_600_500_000),
            ("2026-11-22T15:00:00.000001Z", 1_795_359_600_000_001),
            ("2026-11-22 16:00:00+01", 1_795_359_600_000_000),
            ("2026-11-22T11:30:00.123456-03:30", 1_795_359_600_123_456),
        ] {
            assert_eq!(read(text), Some(Micros(micros)), "{text}");
        }
        let written = Micros(1_795_359_600_123_456);
        assert_eq!(read(&written.to_string()), Some(written), "what we write we read");
    }
}
