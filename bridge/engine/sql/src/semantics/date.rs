//! Dates and timestamps without a zone: arithmetic, parts and truncation. Those of values with a time zone
//! DuckDB computes, in UTC.

use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, PrimitiveArray};
use arrow::datatypes::{
    DataType, Date32Type, Int32Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
    TimestampMicrosecondType,
};
use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike};

use super::arithmetic::Operation;
use super::bound::Bound;
use super::call::{Answer, Arguments, call};
use super::cast::TIMESTAMP;
use super::function::{exactly, one};
use super::text_parse::days;
use crate::error::Refusal;
use crate::explain::type_name;

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// `+` and `-` where one side is a date, a timestamp or an interval; `None` where none is.
pub(super) fn arithmetic(op: Operation, left: &Bound, right: &Bound) -> Result<Option<Bound>, Refusal> {
    use Operation::{Add, Subtract};
    let temporal = |t: &DataType| {
        matches!(t, DataType::Date32 | DataType::Timestamp(..) | DataType::Interval(_) | DataType::Time64(_))
    };
    let (a, b) = (&left.data_type, &right.data_type);
    if !temporal(a) && !temporal(b) {
        return Ok(None);
    }
    let day_count = |v: &Bound| match v.data_type {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => true,
        _ => v.as_integer().is_some_and(|i| i32::try_from(i).is_ok()),
    };
    let point = |t: &DataType| *t == DataType::Date32 || *t == TIMESTAMP;
    let (left, right) = (left.clone(), right.clone());
    Ok(Some(match (op, a, b) {
        (Add, DataType::Date32, _) if day_count(&right) => call(
            "date_add_days",
            |args| add_days(args, 1),
            vec![left.expr, right.to(&DataType::Int32)?],
            DataType::Date32,
        ),
        (Add, _, DataType::Date32) if day_count(&left) => call(
            "date_add_days",
            |args| add_days(args, 1),
            vec![right.expr, left.to(&DataType::Int32)?],
            DataType::Date32,
        ),
        (Subtract, DataType::Date32, _) if day_count(&right) => {
            let args = vec![left.expr, right.to(&DataType::Int32)?];
            call("date_subtract_days", |args| add_days(args, -1), args, DataType::Date32)
        }
        (Subtract, DataType::Date32, DataType::Date32) => {
            call("date_difference", date_difference, vec![left.expr, right.expr], DataType::Int64)
        }
        (Subtract, a, b) if point(a) && point(b) => {
            let args = vec![left.to(&TIMESTAMP)?, right.to(&TIMESTAMP)?];
            call("timestamp_difference", timestamp_difference, args, INTERVAL)
        }
        (Add, a, b) if point(a) && *b == INTERVAL => {
            call("timestamp_add", |args| add_interval(args, 1), vec![left.to(&TIMESTAMP)?, right.expr], TIMESTAMP)
        }
        (Add, a, b) if *a == INTERVAL && point(b) => {
            call("timestamp_add", |args| add_interval(args, 1), vec![right.to(&TIMESTAMP)?, left.expr], TIMESTAMP)
        }
        (Subtract, a, b) if point(a) && *b == INTERVAL => {
            call("timestamp_subtract", |args| add_interval(args, -1), vec![left.to(&TIMESTAMP)?, right.expr], TIMESTAMP)
        }
        _ => {
            return Err(Refusal::new(format!(
                "such arithmetic of {} and {} is not supported: use dates or timestamps with whole days or intervals",
                type_name(a),
                type_name(b)
            )));
        }
    }))
}

/// Parts by name. Those of smaller units count the larger ones in, as in DuckDB: the millisecond
/// of 1.5 s is 1500.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Year,
    Quarter,
    Month,
    Week,
    Day,
    Hour,
    Minute,
    Second,
    Millisecond,
    Microsecond,
    DayOfWeek,
    IsoDayOfWeek,
    DayOfYear,
    IsoYear,
    Decade,
    Epoch,
}

impl Part {
    const ALL: [(Part, &'static str); 16] = [
        (Part::Year, "year"),
        (Part::Quarter, "quarter"),
        (Part::Month, "month"),
        (Part::Week, "week"),
        (Part::Day, "day"),
        (Part::Hour, "hour"),
        (Part::Minute, "minute"),
        (Part::Second, "second"),
        (Part::Millisecond, "millisecond"),
        (Part::Microsecond, "microsecond"),
        (Part::DayOfWeek, "dayofweek"),
        (Part::IsoDayOfWeek, "isodow"),
        (Part::DayOfYear, "dayofyear"),
        (Part::IsoYear, "isoyear"),
        (Part::Decade, "decade"),
        (Part::Epoch, "epoch"),
    ];

    fn by_name(name: &str) -> Option<Part> {
        let name = name.to_ascii_lowercase();
        let name = match name.as_str() {
            "years" => "year",
            "quarters" => "quarter",
            "months" => "month",
            "weeks" | "weekofyear" => "week",
            "days" | "dayofmonth" => "day",
            "hours" => "hour",
            "minutes" => "minute",
            "seconds" => "second",
            "milliseconds" => "millisecond",
            "microseconds" => "microsecond",
            "dow" | "weekday" => "dayofweek",
            "doy" => "dayofyear",
            "decades" => "decade",
            other => other,
        };
        Self::ALL.into_iter().find(|(_, n)| *n == name).map(|(part, _)| part)
    }

    fn kernel_name(self) -> &'static str {
        Self::ALL.iter().find(|(part, _)| *part == self).map_or("part", |(_, name)| name)
    }
}

pub(super) fn bind(name: &str, args: Vec<Bound>) -> Result<Bound, Refusal> {
    match name {
        "date_part" | "datepart" => {
            let [part, value]: [Bound; 2] = exactly(name, args)?;
            date_part(named_part(name, &part)?, value)
        }
        "date_trunc" | "datetrunc" => {
            let [part, value]: [Bound; 2] = exactly(name, args)?;
            date_trunc(named_part(name, &part)?, value)
        }
        "date_diff" | "datediff" => {
            let [part, from, to]: [Bound; 3] = exactly(name, args)?;
            date_diff(named_part(name, &part)?, from, to)
        }
        "last_day" => {
            let value = moment(name, one(name, args)?)?;
            Ok(call("last_day", last_day, vec![value.to(&TIMESTAMP)?], DataType::Date32))
        }
        _ => {
            let part = Part::by_name(name).ok_or_else(|| super::unknown_function(name))?;
            date_part(part, one(name, args)?)
        }
    }
}

fn named_part(name: &str, part: &Bound) -> Result<Part, Refusal> {
    let text = part
        .as_text()
        .ok_or_else(|| Refusal::new(format!("{name} takes a part that is written out, for example 'month'")))?;
    Part::by_name(text).ok_or_else(|| {
        let known = Part::ALL.iter().map(|(_, name)| *name);
        Refusal::new(format!("{name} does not know the part '{text}'{}", crate::names::did_you_mean(text, known)))
    })
}

/// A date or a timestamp without a zone.
fn moment(name: &str, value: Bound) -> Result<Bound, Refusal> {
    if value.data_type == DataType::Date32 || value.data_type == TIMESTAMP {
        return Ok(value);
    }
    let data_type = type_name(&value.data_type);
    Err(Refusal::new(format!("{name} of {data_type} is not supported: cast it to DATE or TIMESTAMP")))
}

fn date_part(part: Part, value: Bound) -> Result<Bound, Refusal> {
    let value = moment(part.kernel_name(), value)?.to(&TIMESTAMP)?;
    if part == Part::Epoch {
        return Ok(call("epoch", epoch, vec![value], DataType::Float64));
    }
    macro_rules! part {
        ($($variant:ident => $name:literal),*) => {
            match part {
                $(Part::$variant => ($name, (|args| part_kernel(args, Part::$variant)) as super::call::Kernel),)*
                Part::Epoch => ("epoch", epoch as super::call::Kernel),
            }
        };
    }
    let (name, kernel) = part!(Year => "year", Quarter => "quarter", Month => "month", Week => "week", Day => "day",
        Hour => "hour", Minute => "minute", Second => "second", Millisecond => "millisecond",
        Microsecond => "microsecond", DayOfWeek => "dayofweek", IsoDayOfWeek => "isodow", DayOfYear => "dayofyear",
        IsoYear => "isoyear", Decade => "decade");
    Ok(call(name, kernel, vec![value], DataType::Int64))
}

fn date_trunc(part: Part, value: Bound) -> Result<Bound, Refusal> {
    let value = moment("date_trunc", value)?.to(&TIMESTAMP)?;
    macro_rules! trunc {
        ($($variant:ident => $name:literal),*) => {
            match part {
                $(Part::$variant => ($name, (|args| trunc_kernel(args, Part::$variant)) as super::call::Kernel),)*
                other => {
                    return Err(Refusal::new(format!("date_trunc to {} is not supported: truncate to year, quarter, month, week, day, hour, minute or second", other.kernel_name())));
                }
            }
        };
    }
    let (name, kernel) = trunc!(Year => "trunc_year", Quarter => "trunc_quarter", Month => "trunc_month",
        Week => "trunc_week", Day => "trunc_day", Hour => "trunc_hour", Minute => "trunc_minute",
        Second => "trunc_second", Millisecond => "trunc_millisecond", Microsecond => "trunc_microsecond");
    Ok(call(name, kernel, vec![value], TIMESTAMP))
}

/// How many boundaries of a part lie between two moments.
fn date_diff(part: Part, from: Bound, to: Bound) -> Result<Bound, Refusal> {
    let args = vec![moment("date_diff", from)?.to(&TIMESTAMP)?, moment("date_diff", to)?.to(&TIMESTAMP)?];
    macro_rules! diff {
        ($($variant:ident => $name:literal),*) => {
            match part {
                $(Part::$variant => ($name, (|args| diff_kernel(args, Part::$variant)) as super::call::Kernel),)*
                other => return Err(Refusal::new(format!("date_diff in {} is not supported: count in year, month, day, hour, minute or second", other.kernel_name()))),
            }
        };
    }
    let (name, kernel) = diff!(Year => "diff_year", Quarter => "diff_quarter", Month => "diff_month", Day => "diff_day",
        Hour => "diff_hour", Minute => "diff_minute", Second => "diff_second");
    Ok(call(name, kernel, args, DataType::Int64))
}

fn out_of_range() -> String {
    "a date or timestamp is out of range or infinite: filter such rows".to_owned()
}

fn is_infinite(micros: i64) -> bool {
    micros == i64::MAX || micros == -i64::MAX
}

fn time(micros: i64) -> Result<NaiveDateTime, String> {
    let time = if is_infinite(micros) { None } else { DateTime::from_timestamp_micros(micros) };
    time.map(|t| t.naive_utc()).ok_or_else(out_of_range)
}

fn micros(time: NaiveDateTime) -> i64 {
    time.and_utc().timestamp_micros()
}

/// Computes from the timestamps of argument 0.
fn each<N>(args: &Arguments, f: impl Fn(NaiveDateTime) -> Result<N, String>) -> Result<Vec<Option<N>>, String> {
    let values = args.primitive::<TimestampMicrosecondType>(0);
    (0..args.rows).map(|row| values.get(row).map(|v| f(time(v)?)).transpose()).collect()
}

fn part_kernel(args: &Arguments, part: Part) -> Answer {
    Ok(Arc::new(each(args, |t| Ok(part_of(t, part)))?.into_iter().collect::<Int64Array>()))
}

fn part_of(t: NaiveDateTime, part: Part) -> i64 {
    let in_minute = i64::from(t.second()) * 1_000_000 + i64::from(t.nanosecond() / 1000);
    match part {
        Part::Year => t.year().into(),
        Part::Quarter => i64::from(t.month0() / 3 + 1),
        Part::Month => t.month().into(),
        Part::Week => t.iso_week().week().into(),
        Part::Day => t.day().into(),
        Part::Hour => t.hour().into(),
        Part::Minute => t.minute().into(),
        Part::Second => t.second().into(),
        Part::Millisecond => in_minute / 1000,
        Part::Microsecond => in_minute,
        Part::DayOfWeek => t.weekday().num_days_from_sunday().into(),
        Part::IsoDayOfWeek => t.weekday().number_from_monday().into(),
        Part::DayOfYear => t.ordinal().into(),
        Part::IsoYear => t.iso_week().year().into(),
        Part::Decade => i64::from(t.year() / 10),
        Part::Epoch => t.and_utc().timestamp(),
    }
}

fn epoch(args: &Arguments) -> Answer {
    Ok(Arc::new(each(args, |t| Ok(micros(t) as f64 / 1e6))?.into_iter().collect::<Float64Array>()))
}

fn trunc_kernel(args: &Arguments, part: Part) -> Answer {
    let truncated = each(args, |t| trunc(t, part).map(micros).ok_or_else(out_of_range))?;
    Ok(Arc::new(truncated.into_iter().collect::<PrimitiveArray<TimestampMicrosecondType>>()))
}

fn trunc(t: NaiveDateTime, part: Part) -> Option<NaiveDateTime> {
    let midnight = |date: NaiveDate| NaiveDateTime::new(date, NaiveTime::MIN);
    let floor = |unit: i64| DateTime::from_timestamp_micros(micros(t).div_euclid(unit) * unit).map(|t| t.naive_utc());
    match part {
        Part::Year => NaiveDate::from_ymd_opt(t.year(), 1, 1).map(midnight),
        Part::Quarter => NaiveDate::from_ymd_opt(t.year(), t.month0() / 3 * 3 + 1, 1).map(midnight),
        Part::Month => NaiveDate::from_ymd_opt(t.year(), t.month(), 1).map(midnight),
        Part::Week => {
            let since_monday = Days::new(t.weekday().num_days_from_monday().into());
            t.date().checked_sub_days(since_monday).map(midnight)
        }
        Part::Day => Some(midnight(t.date())),
        Part::Hour => floor(3_600_000_000),
        Part::Minute => floor(60_000_000),
        Part::Second => floor(1_000_000),
        Part::Millisecond => floor(1_000),
        _ => Some(t),
    }
}

fn diff_kernel(args: &Arguments, part: Part) -> Answer {
    let (from, to) = (args.primitive::<TimestampMicrosecondType>(0), args.primitive::<TimestampMicrosecondType>(1));
    let boundary = |t: NaiveDateTime| match part {
        Part::Year => i64::from(t.year()),
        Part::Quarter => i64::from(t.year()) * 4 + i64::from(t.month0() / 3),
        Part::Month => i64::from(t.year()) * 12 + i64::from(t.month0()),
        Part::Day => micros(t).div_euclid(86_400_000_000),
        Part::Hour => micros(t).div_euclid(3_600_000_000),
        Part::Minute => micros(t).div_euclid(60_000_000),
        _ => micros(t).div_euclid(1_000_000),
    };
    let mut answer = Vec::with_capacity(args.rows);
    for row in 0..args.rows {
        answer.push(match (from.get(row), to.get(row)) {
            (Some(from), Some(to)) => Some(boundary(time(to)?) - boundary(time(from)?)),
            _ => None,
        });
    }
    Ok(Arc::new(answer.into_iter().collect::<Int64Array>()))
}

fn last_day(args: &Arguments) -> Answer {
    let last = each(args, |t| {
        let first = NaiveDate::from_ymd_opt(t.year(), t.month(), 1);
        let last = first.and_then(|d| d.checked_add_months(Months::new(1))).and_then(|d| d.pred_opt());
        last.map(days).ok_or_else(out_of_range)
    })?;
    Ok(Arc::new(last.into_iter().collect::<PrimitiveArray<Date32Type>>()))
}

fn is_infinite_date(days: i32) -> bool {
    days == i32::MAX || days == -i32::MAX
}

/// An infinite date stays what it is.
fn shift_days(date: i32, count: i32) -> Option<i32> {
    if is_infinite_date(date) { Some(date) } else { date.checked_add(count).filter(|date| !is_infinite_date(*date)) }
}

fn add_days(args: &Arguments, sign: i32) -> Answer {
    let (dates, counts) = (args.primitive::<Date32Type>(0), args.primitive::<Int32Type>(1));
    let mut answer = Vec::with_capacity(args.rows);
    for row in 0..args.rows {
        answer.push(match (dates.get(row), counts.get(row)) {
            (Some(date), Some(count)) => {
                let count = count.checked_mul(sign).ok_or_else(out_of_range)?;
                Some(shift_days(date, count).ok_or_else(out_of_range)?)
            }
            _ => None,
        });
    }
    Ok(Arc::new(answer.into_iter().collect::<PrimitiveArray<Date32Type>>()))
}

/// DuckDB takes an infinite date for the number that stands for it.
fn date_difference(args: &Arguments) -> Answer {
    let (a, b) = (args.primitive::<Date32Type>(0), args.primitive::<Date32Type>(1));
    let mut answer = Vec::with_capacity(args.rows);
    for row in 0..args.rows {
        answer.push(match (a.get(row), b.get(row)) {
            (Some(a), Some(b)) => Some(i64::from(a) - i64::from(b)),
            _ => None,
        });
    }
    Ok(Arc::new(answer.into_iter().collect::<PrimitiveArray<Int64Type>>()))
}

/// Days and microseconds, both with the sign of the difference.
fn timestamp_difference(args: &Arguments) -> Answer {
    const DAY: i64 = 86_400_000_000;
    let (a, b) = (args.primitive::<TimestampMicrosecondType>(0), args.primitive::<TimestampMicrosecondType>(1));
    let mut answer = Vec::with_capacity(args.rows);
    for row in 0..args.rows {
        answer.push(match (a.get(row), b.get(row)) {
            (Some(a), Some(b)) => {
                let difference = micros(time(a)?).checked_sub(micros(time(b)?)).ok_or_else(out_of_range)?;
                let days = i32::try_from(difference / DAY).map_err(|_| out_of_range())?;
                Some(IntervalMonthDayNano::new(0, days, difference % DAY * 1000))
            }
            _ => None,
        });
    }
    Ok(Arc::new(answer.into_iter().collect::<PrimitiveArray<IntervalMonthDayNanoType>>()))
}

/// First months, keeping the day of the month where it exists, then days, then the rest. An infinite timestamp
/// stays what it is.
fn add_interval(args: &Arguments, sign: i64) -> Answer {
    let (times, intervals) =
        (args.primitive::<TimestampMicrosecondType>(0), args.primitive::<IntervalMonthDayNanoType>(1));
    let mut answer = Vec::with_capacity(args.rows);
    for row in 0..args.rows {
        answer.push(match (times.get(row), intervals.get(row)) {
            (Some(t), Some(_)) if is_infinite(t) => Some(t),
            (Some(t), Some(interval)) => Some(shift(time(t)?, interval, sign).map(micros).ok_or_else(out_of_range)?),
            _ => None,
        });
    }
    Ok(Arc::new(answer.into_iter().collect::<PrimitiveArray<TimestampMicrosecondType>>()))
}

fn shift(t: NaiveDateTime, interval: IntervalMonthDayNano, sign: i64) -> Option<NaiveDateTime> {
    let months = i64::from(interval.months) * sign;
    let count = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
    let t = if months < 0 { t.checked_sub_months(count)? } else { t.checked_add_months(count)? };
    let t = t.checked_add_signed(TimeDelta::try_days(i64::from(interval.days) * sign)?)?;
    t.checked_add_signed(TimeDelta::microseconds((interval.nanoseconds / 1000).checked_mul(sign)?))
}
