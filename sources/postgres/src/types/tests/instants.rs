//! Dates, times, timestamps and intervals.

use arrow::datatypes::{
    Date32Type, IntervalMonthDayNano, IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType,
};

use super::super::*;
use super::{Random, value};
use ValueErrorKind::{Malformed, Unrepresentable};

fn date(text: &str) -> Result<i32, ValueErrorKind> {
    value::<Date32Type>(&PgType::Date, text)
}

fn timestamp(text: &str) -> Result<i64, ValueErrorKind> {
    value::<TimestampMicrosecondType>(&PgType::Timestamp, text)
}

fn timestamptz(text: &str) -> Result<i64, ValueErrorKind> {
    value::<TimestampMicrosecondType>(&PgType::TimestampTz, text)
}

#[test]
fn dates() {
    let cases = [
        ("1970-01-01", 0),
        ("1969-12-31", -1),
        ("2000-02-29", 11_016),
        ("0001-01-01", -719_162),
        ("0001-12-31 BC", -719_163),
        ("4713-01-01 BC", -2_440_550),
        ("10000-01-01", 2_932_897),
        ("5874897-12-31", 2_145_042_905),
        ("infinity", i32::MAX),
        ("-infinity", -i32::MAX),
        // DuckDB's first and last date.
        ("5877642-06-25 BC", -2_147_483_646),
        ("5881580-07-10", 2_147_483_646),
    ];
    for (text, days) in cases {
        assert_eq!(date(text), Ok(days), "{text}");
    }
    for text in ["5881580-07-11", "5877642-06-24 BC", "9999999-01-01"] {
        assert_eq!(date(text), Err(Unrepresentable), "{text}");
    }
    let malformed = [
        "",
        "Infinity",
        "2001-02-29",
        "1900-02-29",
        "2001-13-01",
        "2001-00-01",
        "2001-04-31",
        "2001-01-00",
        "0000-01-01",
        "0000-01-01 BC",
        "970-01-01",
        "2001-1-01",
        "2001-01-01 AD",
        "2001-01-01 00:00:00",
        "-2001-01-01",
        "01/02/2001",
        "99999999-01-01",
        " BC",
    ];
    for text in malformed {
        assert_eq!(date(text), Err(Malformed), "{text}");
    }
}

/// Counts the days one by one, from a date that is known.
#[test]
fn every_day_follows_the_day_before() {
    let mut days = -719_162 - 366 - 365;
    for year in -1i64..=2_425 {
        let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        for (month, length) in
            [31, 28 + u32::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31].into_iter().enumerate()
        {
            for day in 1..=length {
                let text = match year {
                    ..1 => format!("{:04}-{:02}-{day:02} BC", 1 - year, month + 1),
                    _ => format!("{year:04}-{:02}-{day:02}", month + 1),
                };
                if day == 1 || day == length {
                    assert_eq!(date(&text), Ok(days), "{text}");
                }
                days += 1;
            }
        }
    }
}

#[test]
fn times() {
    let read = |text: &str| value::<Time64MicrosecondType>(&PgType::Time, text);
    assert_eq!(read("00:00:00"), Ok(0));
    assert_eq!(read("23:59:59.999999"), Ok(86_399_999_999));
    assert_eq!(read("12:34:56.7"), Ok(45_296_700_000));
    assert_eq!(read("24:00:00"), Ok(86_400_000_000));
    let malformed = [
        "",
        "24:00:01",
        "24:00:00.000001",
        "25:00:00",
        "12:60:00",
        "12:00:60",
        "1:00:00",
        "12:00",
        "12:00:00.",
        "12:00:00.1234567",
        "12:00:00+00",
    ];
    for text in malformed {
        assert_eq!(read(text), Err(Malformed), "{text}");
    }
}

#[test]
fn timestamps() {
    let cases = [
        ("1970-01-01 00:00:00", 0),
        ("1969-12-31 23:59:59.999999", -1),
        ("2024-02-29 12:00:00.5", 1_709_208_000_500_000),
        ("0044-03-15 00:00:00 BC", -63_517_824_000_000_000),
        ("4713-01-01 00:00:00 BC", -210_863_520_000_000_000),
        ("infinity", i64::MAX),
        ("-infinity", -i64::MAX),
        ("294247-01-10 04:00:54.775806", i64::MAX - 1),
        ("290309-12-22 00:00:00 BC", -9_223_372_022_400_000_000),
    ];
    for (text, micros) in cases {
        assert_eq!(timestamp(text), Ok(micros), "{text}");
    }
    let beyond = ["294247-01-10 04:00:54.775807", "294247-01-11 00:00:00", "294276-12-31 23:59:59.999999"];
    for text in beyond.into_iter().chain(["290309-12-21 23:59:59.999999 BC", "9999999-01-01 00:00:00"]) {
        assert_eq!(timestamp(text), Err(Unrepresentable), "{text}");
    }
    let malformed = [
        "",
        "2001-01-01",
        "2001-01-01T00:00:00",
        "2001-01-01 24:00:00",
        "2001-01-01 00:00:00+00",
        "2001-01-01 00:00",
        "2001-02-30 00:00:00",
        "2001-01-01 00:00:00.1234567",
        "2001-01-01 00:00:00 ",
        "Mon Jan 01 00:00:00 2001",
    ];
    for text in malformed {
        assert_eq!(timestamp(text), Err(Malformed), "{text}");
    }
}

#[test]
fn timestamps_with_time_zone() {
    let cases = [
        ("1970-01-01 00:00:00+00", 0),
        ("1970-01-01 02:00:00.000001+02", 1),
        ("1970-01-01 00:00:00-05:30", 19_800_000_000),
        ("1883-11-18 12:03:58-04:56:02", -2_717_650_800_000_000),
        ("0044-03-15 00:00:00+00 BC", -63_517_824_000_000_000),
        ("infinity", i64::MAX),
        ("-infinity", -i64::MAX),
        ("294247-01-10 04:00:54.775806+00", i64::MAX - 1),
    ];
    for (text, micros) in cases {
        assert_eq!(timestamptz(text), Ok(micros), "{text}");
    }
    for text in ["294247-01-10 04:00:54.775806-01", "294247-01-10 04:00:54.775807+00", "290309-12-22 00:00:00+01 BC"] {
        assert_eq!(timestamptz(text), Err(Unrepresentable), "{text}");
    }
    let malformed = [
        "2001-01-01 00:00:00",
        "2001-01-01 00:00:00 UTC",
        "2001-01-01 00:00:00Z",
        "2001-01-01 00:00:00+0",
        "2001-01-01 00:00:00+00:60",
        "2001-01-01 00:00:00 00",
        "infinity+00",
    ];
    for text in malformed {
        assert_eq!(timestamptz(text), Err(Malformed), "{text}");
    }
}

#[test]
fn timestamps_are_dates_and_times() {
    let mut random = Random(5);
    for _ in 0..20_000 {
        let (year, month, day) = (1 + random.below(294_246), 1 + random.below(12), 1 + random.below(28));
        let day = format!("{year:04}-{month:02}-{day:02}");
        let (seconds, micros) = (random.below(86_400), random.below(1_000_000));
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let text = format!("{day} {hour:02}:{minute:02}:{second:02}.{micros:06}");
        let expected = i64::from(date(&day).unwrap()) * 86_400_000_000 + (seconds * 1_000_000 + micros) as i64;
        assert_eq!(timestamp(text.trim_end_matches('0')), Ok(expected), "{text}");
        assert_eq!(timestamptz(&format!("{text}+00")), Ok(expected), "{text}");
    }
}

#[test]
fn intervals() {
    let read = |text: &str| value::<IntervalMonthDayNanoType>(&PgType::Interval, text);
    let of = IntervalMonthDayNano::new;
    let hour = 3_600_000_000_000;
    let cases = [
        ("PT0S", of(0, 0, 0)),
        ("P1Y2M-3DT4H-5M6.789S", of(14, -3, 4 * hour - 300_000_000_000 + 6_789_000_000)),
        ("P-1Y-2M3DT-4H5M-6.000001S", of(-14, 3, -4 * hour + 300_000_000_000 - 6_000_001_000)),
        ("P1M", of(1, 0, 0)),
        ("PT1M", of(0, 0, 60_000_000_000)),
        ("PT-0.5S", of(0, 0, -500_000_000)),
        ("P178956970Y7M", of(i32::MAX, 0, 0)),
        ("P-178956970Y-8M", of(i32::MIN, 0, 0)),
        ("P-2147483648D", of(0, i32::MIN, 0)),
        // Days and hours are not made into one another.
        ("P40DT30H", of(0, 40, 30 * hour)),
        ("PT2562047H47M16.854775S", of(0, 0, 9_223_372_036_854_775_000)),
    ];
    for (text, interval) in cases {
        assert_eq!(read(text), Ok(interval), "{text}");
    }
    for text in ["infinity", "-infinity", "PT2562047788H", "PT2562047H47M16.854776S", "P178956970Y8M", "P2147483648D"] {
        assert_eq!(read(text), Err(Unrepresentable), "{text}");
    }
    for text in ["", "P", "PT", "P1", "P1DT", "P1H", "PT1D", "P1.5D", "PT1.S", "P1Y TH", "1 day", "P--1D", "P1DTT1S"] {
        assert_eq!(read(text), Err(Malformed), "{text}");
    }
}
