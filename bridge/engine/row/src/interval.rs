//! Intervals, ordered the way DuckDB compares them: 24 hours are a day and 30 days are a month.
//!
//! Canonical rows hold the normalised interval in two words; exact rows hold it too, for the
//! order, and after it the interval as it was.

use arrow::datatypes::IntervalMonthDayNano;

const NANOS_PER_DAY: i64 = 86_400_000_000_000;
const DAYS_PER_MONTH: i64 = 30;
const SIGN: u64 = 1 << 63;
/// A normalised interval's nanoseconds lie within ±2^47 and its days within ±30.
const NANOS_BITS: u32 = 48;
const NANOS_ZERO: i64 = 1 << 47;
const DAYS_ZERO: i64 = 1 << 15;

/// Words of a canonical interval.
pub(crate) const CANONICAL_WORDS: usize = 2;
/// Words of an exact interval.
pub(crate) const EXACT_WORDS: usize = 4;

/// The canonical words. Like DuckDB's `interval_t::Normalize`, carries are truncated towards zero,
/// so parts of different signs stay apart.
#[inline]
pub(crate) fn write_canonical(interval: IntervalMonthDayNano, out: &mut [u64]) {
    let nanos = interval.nanoseconds % NANOS_PER_DAY;
    let all_days = i64::from(interval.days) + interval.nanoseconds / NANOS_PER_DAY;
    let days = all_days % DAYS_PER_MONTH;
    let months = i64::from(interval.months) + all_days / DAYS_PER_MONTH;
    out[0] = (months as u64) ^ SIGN;
    out[1] = (((days + DAYS_ZERO) as u64) << NANOS_BITS) | (nanos + NANOS_ZERO) as u64;
}

/// The interval of canonical words. Months that do not fit their 32 bits come back as days, and
/// days as nanoseconds: they fitted there before.
pub(crate) fn read_canonical(words: &[u64]) -> IntervalMonthDayNano {
    let all_months = (words[0] ^ SIGN) as i64;
    let nanos = (words[1] & ((1 << NANOS_BITS) - 1)) as i64 - NANOS_ZERO;
    let days = (words[1] >> NANOS_BITS) as i64 - DAYS_ZERO;
    let months = clamp(all_months);
    let all_days = all_months.saturating_sub(i64::from(months)).saturating_mul(DAYS_PER_MONTH).saturating_add(days);
    let days = clamp(all_days);
    let nanos = all_days.saturating_sub(i64::from(days)).saturating_mul(NANOS_PER_DAY).saturating_add(nanos);
    IntervalMonthDayNano::new(months, days, nanos)
}

fn clamp(value: i64) -> i32 {
    value.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
}

/// The exact words.
#[inline]
pub(crate) fn write_exact(interval: IntervalMonthDayNano, out: &mut [u64]) {
    write_canonical(interval, out);
    out[2] = (u64::from(interval.months as u32) << 32) | u64::from(interval.days as u32);
    out[3] = interval.nanoseconds as u64;
}

/// The interval of exact words.
pub(crate) fn read_exact(words: &[u64]) -> IntervalMonthDayNano {
    IntervalMonthDayNano::new((words[2] >> 32) as u32 as i32, words[2] as u32 as i32, words[3] as i64)
}

/// The interval in its normalised form, for values inside lists and structs.
pub(crate) fn normalise(interval: IntervalMonthDayNano) -> IntervalMonthDayNano {
    let mut words = [0; CANONICAL_WORDS];
    write_canonical(interval, &mut words);
    read_canonical(&words)
}
