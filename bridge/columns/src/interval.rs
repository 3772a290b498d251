//! Intervals as text, which Parquet's own type has no room for.

use arrow::array::{IntervalMonthDayNanoArray, StringArray};
use arrow::datatypes::IntervalMonthDayNano;

use crate::ColumnError;

/// Months, days and microseconds, each with its sign: what DuckDB casts back exactly.
pub fn interval_text(array: &IntervalMonthDayNanoArray) -> Result<StringArray, ColumnError> {
    let text = |interval: IntervalMonthDayNano| {
        if interval.nanoseconds % 1000 != 0 {
            return Err(ColumnError("an interval has parts of a microsecond"));
        }
        let IntervalMonthDayNano { months, days, nanoseconds } = interval;
        Ok(format!("{months} months {days} days {} microseconds", nanoseconds / 1000))
    };
    array.iter().map(|interval| interval.map(text).transpose()).collect()
}

/// An interval from its text; `None` of other text.
pub fn parse_interval(text: &str) -> Option<IntervalMonthDayNano> {
    let mut words = text.split(' ');
    let mut part = |unit: &str| {
        let number = words.next()?.parse::<i64>().ok()?;
        (words.next()? == unit).then_some(number)
    };
    let (months, days, micros) = (part("months")?, part("days")?, part("microseconds")?);
    let (months, days) = (i32::try_from(months).ok()?, i32::try_from(days).ok()?);
    Some(IntervalMonthDayNano::new(months, days, micros.checked_mul(1000)?))
}
