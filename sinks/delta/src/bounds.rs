//! Statistics of data files: as they stand in the log, and as bounds by which files are passed over.
//!
//! Passing over must never lose a row, whoever wrote the file. So a bound is only believed in the widest sense
//! that its writer may have meant: timestamps may be cut to milliseconds, decimals may have gone through a
//! double, texts may be cut, NaN may have been left out, and −0.0 equals 0.0.

use std::cmp::Ordering;
use std::fmt::Write;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{max, max_string, min, min_string};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Schema,
    TimestampMicrosecondType,
};
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime};
use serde_json::Value;

/// Columns of which statistics are written, counted from the first; those that address rows have them always.
const INDEXED_COLUMNS: usize = 32;
/// Characters of a text that are kept.
const TEXT_CHARS: usize = 32;
/// What a writer that cuts timestamps to milliseconds leaves out at most.
const CUT_MICROS: i128 = 999;
/// How far a decimal may be from what it became on its way through a double, relatively.
const DOUBLE_ERROR: f64 = 1e-15;

/// A bound or a value. Integers stand for every type that is one inside: dates are days, timestamps microseconds,
/// decimals their digits.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scalar {
    Integer(i128),
    Float(f64),
    Text(Box<str>),
}

impl Scalar {
    /// The order of the values of one column. NaN is no value here.
    pub(crate) fn order(&self, other: &Scalar) -> Ordering {
        match (self, other) {
            (Scalar::Integer(a), Scalar::Integer(b)) => a.cmp(b),
            (Scalar::Float(a), Scalar::Float(b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
            (Scalar::Text(a), Scalar::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
            _ => Ordering::Equal,
        }
    }

    fn at_most(&self, other: &Scalar) -> bool {
        self.order(other) != Ordering::Greater
    }
}

/// What is known of a column's values in a file.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Bounds {
    nulls: Option<u64>,
    min: Option<Scalar>,
    max: Option<Scalar>,
}

/// A value that is looked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Probe {
    Null,
    Value(Scalar),
    /// One that statistics say nothing about.
    Anything,
}

impl Bounds {
    pub(crate) fn min(&self) -> Option<&Scalar> {
        self.min.as_ref()
    }

    pub(crate) fn nulls(&self) -> Option<u64> {
        self.nulls
    }

    pub(crate) fn max(&self) -> Option<&Scalar> {
        self.max.as_ref()
    }

    /// Whether a file of so many rows may hold the value in this column.
    pub(crate) fn may_hold(&self, probe: &Probe, rows: Option<u64>) -> bool {
        match probe {
            Probe::Anything => true,
            Probe::Null => self.nulls != Some(0),
            Probe::Value(value) => {
                if self.nulls.is_some() && self.nulls == rows {
                    return false;
                }
                self.min.as_ref().is_none_or(|min| min.at_most(value))
                    && self.max.as_ref().is_none_or(|max| value.at_most(max))
            }
        }
    }
}

/// The value of a stored array at a row.
pub(crate) fn probe(array: &ArrayRef, row: usize) -> Probe {
    if array.is_null(row) {
        return Probe::Null;
    }
    macro_rules! integer {
        ($t:ty) => {
            Probe::Value(Scalar::Integer(array.as_primitive::<$t>().value(row).into()))
        };
    }
    let float = |value: f64| if value.is_nan() { Probe::Anything } else { Probe::Value(Scalar::Float(value)) };
    match array.data_type() {
        DataType::Int8 => integer!(Int8Type),
        DataType::Int16 => integer!(Int16Type),
        DataType::Int32 => integer!(Int32Type),
        DataType::Int64 => integer!(Int64Type),
        DataType::Decimal128(..) => integer!(Decimal128Type),
        DataType::Date32 => integer!(Date32Type),
        DataType::Timestamp(..) => integer!(TimestampMicrosecondType),
        DataType::Float32 => float(array.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => Probe::Value(Scalar::Text(array.as_string::<i32>().value(row).into())),
        _ => Probe::Anything,
    }
}

/// Whether statistics of the type have bounds.
pub(crate) fn has_bounds(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Decimal128(..)
            | DataType::Date32
            | DataType::Timestamp(..)
            | DataType::Float32
            | DataType::Float64
            | DataType::Utf8
    )
}

fn is_nested(data_type: &DataType) -> bool {
    matches!(data_type, DataType::List(_) | DataType::Struct(_) | DataType::Map(..))
}

/// The statistics of a file while it is written.
#[derive(Debug)]
pub(crate) struct FileStats {
    rows: u64,
    columns: Vec<ColumnStats>,
}

#[derive(Debug)]
struct ColumnStats {
    index: usize,
    name: String,
    data_type: DataType,
    nulls: u64,
    min: Option<Scalar>,
    max: Option<Scalar>,
    /// A value was there that the log has no form for: NaN, an infinity, a year that is not written so.
    unbounded: bool,
}

impl FileStats {
    /// Statistics of the first columns and of those that address rows.
    pub(crate) fn new(schema: &Schema, address: &[usize]) -> Self {
        let of = |(index, field): (usize, &std::sync::Arc<arrow::datatypes::Field>)| {
            let wanted = index < INDEXED_COLUMNS || address.contains(&index);
            (wanted && !is_nested(field.data_type())).then(|| ColumnStats {
                index,
                name: field.name().clone(),
                data_type: field.data_type().clone(),
                nulls: 0,
                min: None,
                max: None,
                unbounded: false,
            })
        };
        FileStats { rows: 0, columns: schema.fields().iter().enumerate().filter_map(of).collect() }
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Takes up the columns of a batch.
    pub(crate) fn update(&mut self, columns: &[ArrayRef]) {
        self.rows += columns.first().map_or(0, |column| column.len() as u64);
        for stats in &mut self.columns {
            stats.update(&columns[stats.index]);
        }
    }

    /// Takes up what is known of other rows of the same columns.
    pub(crate) fn absorb(&mut self, other: FileStats) {
        self.rows += other.rows;
        for (stats, other) in self.columns.iter_mut().zip(other.columns) {
            stats.nulls += other.nulls;
            stats.unbounded |= other.unbounded;
            stats.widen(other.min, other.max);
        }
    }

    /// The JSON of the log.
    pub(crate) fn to_json(&self) -> String {
        let list = |form: &dyn Fn(&ColumnStats) -> Option<String>| {
            let entry = |stats: &ColumnStats| Some(format!("{}:{}", Value::from(stats.name.as_str()), form(stats)?));
            self.columns.iter().filter_map(entry).collect::<Vec<_>>().join(",")
        };
        let bounded = |stats: &ColumnStats| !stats.unbounded;
        let min = list(&|stats| stats.min.as_ref().filter(|_| bounded(stats)).and_then(|s| stats.json(s, Side::Min)));
        let max = list(&|stats| stats.max.as_ref().filter(|_| bounded(stats)).and_then(|s| stats.json(s, Side::Max)));
        let nulls = list(&|stats| Some(stats.nulls.to_string()));
        let mut json = format!("{{\"numRecords\":{}", self.rows);
        let _ = write!(json, ",\"minValues\":{{{min}}},\"maxValues\":{{{max}}},\"nullCount\":{{{nulls}}}}}");
        json
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Min,
    Max,
}

impl ColumnStats {
    fn update(&mut self, array: &ArrayRef) {
        self.nulls += array.null_count() as u64;
        macro_rules! integers {
            ($t:ty) => {{
                let array = array.as_primitive::<$t>();
                (min(array).map(|v| Scalar::Integer(v.into())), max(array).map(|v| Scalar::Integer(v.into())))
            }};
        }
        macro_rules! floats {
            ($t:ty) => {{
                let array = array.as_primitive::<$t>();
                self.unbounded |= array.iter().flatten().any(|value| !value.is_finite());
                (min(array).map(|v| Scalar::Float(v.into())), max(array).map(|v| Scalar::Float(v.into())))
            }};
        }
        let (low, high) = match array.data_type() {
            DataType::Int8 => integers!(Int8Type),
            DataType::Int16 => integers!(Int16Type),
            DataType::Int32 => integers!(Int32Type),
            DataType::Int64 => integers!(Int64Type),
            DataType::Decimal128(..) => integers!(Decimal128Type),
            DataType::Date32 => integers!(Date32Type),
            DataType::Timestamp(..) => integers!(TimestampMicrosecondType),
            DataType::Float32 => floats!(Float32Type),
            DataType::Float64 => floats!(Float64Type),
            DataType::Utf8 => {
                let array = array.as_string::<i32>();
                let text = |text: Option<&str>| text.map(|text| Scalar::Text(text.into()));
                (text(min_string(array)), text(max_string(array)))
            }
            _ => (None, None),
        };
        self.widen(low, high);
    }

    fn widen(&mut self, low: Option<Scalar>, high: Option<Scalar>) {
        if let Some(low) = low
            && self.min.as_ref().is_none_or(|min| !min.at_most(&low))
        {
            self.min = Some(low);
        }
        if let Some(high) = high
            && self.max.as_ref().is_none_or(|max| !high.at_most(max))
        {
            self.max = Some(high);
        }
    }

    /// A bound as the log has it; `None` for values that it has no form for.
    fn json(&self, bound: &Scalar, side: Side) -> Option<String> {
        match (bound, &self.data_type) {
            (Scalar::Integer(value), DataType::Decimal128(_, scale)) => Some(decimal(*value, (*scale).max(0) as usize)),
            (Scalar::Integer(days), DataType::Date32) => {
                let date = NaiveDate::from_num_days_from_ce_opt(i32::try_from(*days + 719_163).ok()?)?;
                (1..=9999).contains(&date.year()).then(|| format!("\"{}\"", date.format("%Y-%m-%d")))
            }
            (Scalar::Integer(micros), DataType::Timestamp(_, zone)) => {
                let time = DateTime::from_timestamp_micros(i64::try_from(*micros).ok()?)?;
                let zone = if zone.is_some() { "Z" } else { "" };
                let text = || format!("\"{}{zone}\"", time.format("%Y-%m-%dT%H:%M:%S%.6f"));
                (1..=9999).contains(&time.year()).then(text)
            }
            (Scalar::Integer(value), _) => Some(value.to_string()),
            // Readers may tell the zeros apart.
            (Scalar::Float(value), _) if *value == 0.0 => {
                Some(if side == Side::Min { "-0.0" } else { "0.0" }.to_owned())
            }
            (Scalar::Float(value), _) => serde_json::to_string(value).ok(),
            (Scalar::Text(text), _) => {
                let text = match side {
                    Side::Min => text.chars().take(TEXT_CHARS).collect(),
                    Side::Max => upper_text(text)?,
                };
                Some(Value::from(text).to_string())
            }
        }
    }
}

/// The digits with the point where it belongs.
fn decimal(value: i128, scale: usize) -> String {
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if value < 0 { "-" } else { "" };
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// A short text that is not less than the given one.
fn upper_text(text: &str) -> Option<String> {
    let mut short: String = text.chars().take(TEXT_CHARS).collect();
    if short.len() == text.len() {
        return Some(short);
    }
    // Greater than everything that may follow, but for texts that go on with the greatest character themselves.
    short.push(char::MAX);
    (short.as_str() >= text).then_some(short)
}

/// The bounds of some columns from a file's statistics, and its number of rows.
pub(crate) fn parse(stats: Option<&str>, schema: &Schema, columns: &[usize]) -> (Option<u64>, Vec<Bounds>) {
    let stats: Value = stats.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let bounds = |column: &usize| {
        let field = schema.field(*column);
        let value = |kind: &str| &stats[kind][field.name().as_str()];
        Bounds {
            nulls: value("nullCount").as_u64(),
            min: scalar(value("minValues"), field.data_type(), Side::Min),
            max: scalar(value("maxValues"), field.data_type(), Side::Max),
        }
    };
    (stats["numRecords"].as_u64(), columns.iter().map(bounds).collect())
}

/// A bound in its widest sense; `None` for what cannot be understood, which bounds nothing.
fn scalar(json: &Value, data_type: &DataType, side: Side) -> Option<Scalar> {
    Some(match data_type {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Scalar::Integer(json.as_i64()?.into()),
        DataType::Decimal128(_, scale) => {
            let number = json.as_f64()? * 10f64.powi(i32::from(*scale));
            let slack = number.abs() * DOUBLE_ERROR + 1.0;
            Scalar::Integer(match side {
                Side::Min => (number - slack).floor() as i128,
                Side::Max => (number + slack).ceil() as i128,
            })
        }
        DataType::Date32 => {
            let date = NaiveDate::parse_from_str(json.as_str()?, "%Y-%m-%d").ok()?;
            Scalar::Integer(i128::from(date.num_days_from_ce()) - 719_163)
        }
        DataType::Timestamp(..) => {
            let text = json.as_str()?;
            let micros = match DateTime::parse_from_rfc3339(text) {
                Ok(time) => time.timestamp_micros(),
                Err(_) => {
                    NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").ok()?.and_utc().timestamp_micros()
                }
            };
            Scalar::Integer(i128::from(micros) + if side == Side::Max { CUT_MICROS } else { 0 })
        }
        DataType::Float32 | DataType::Float64 => Scalar::Float(json.as_f64()?),
        DataType::Utf8 => Scalar::Text(json.as_str()?.into()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidegate_core::schema::columns;

    use super::*;
    use crate::columns::to_stored;
    use crate::schema::{Mapping, delta_schema, stored_schema};

    /// Whether the statistics of a file with all but the last value admit each of the values.
    fn check(duckdb_type: &str, inside: &[&str], outside: &[&str]) {
        let view = columns([("c", duckdb_type, true)]).unwrap();
        let (delta, _) = delta_schema(&view, Mapping::None).unwrap();
        let schema = stored_schema(&view, &delta).unwrap();
        let stored = |values: &[&str]| {
            let rows = values.iter().map(|value| format!("({value})")).collect::<Vec<_>>().join(", ");
            to_stored(tidegate_testkit::rows::batch(&view, &rows).column(0), schema.field(0).data_type()).unwrap()
        };
        let array = stored(inside);
        let mut stats = FileStats::new(&schema, &[0]);
        stats.update(std::slice::from_ref(&array));
        let json = stats.to_json();
        let (rows, bounds) = parse(Some(&json), &schema, &[0]);
        assert_eq!(rows, Some(inside.len() as u64), "{json}");
        for (row, value) in inside.iter().enumerate() {
            assert!(bounds[0].may_hold(&probe(&array, row), rows), "{duckdb_type} {value}: {json}");
        }
        if outside.is_empty() {
            return;
        }
        let array = stored(outside);
        for (row, value) in outside.iter().enumerate() {
            assert!(!bounds[0].may_hold(&probe(&array, row), rows), "{duckdb_type} {value}: {json}");
        }
    }

    #[test]
    fn no_value_of_a_file_is_passed_over() {
        check("INTEGER", &["1", "5", "3"], &["0", "6", "NULL"]);
        check("INTEGER", &["NULL", "NULL"], &["0"]);
        check("HUGEINT", &["-99999999999999999999999999999999999999", "7"], &["99"]);
        check("DECIMAL(38,10)", &["-1234567890123456789012345678.0123456789", "-1"], &["1"]);
        check("DECIMAL(4,1)", &["-0.1", "0.1"], &["9.9"]);
        check("UBIGINT", &["18446744073709551615", "18446744073709551614"], &["1"]);
        check("DOUBLE", &["'-0.0'", "1.5"], &["2", "-1"]);
        check("DOUBLE", &["0.0", "'nan'", "'-inf'", "0.5"], &[]);
        check("FLOAT", &["0.1", "'-0.0'"], &["0.2"]);
        check("DATE", &["'infinity'", "'0001-01-01'"], &[]);
        check("DATE", &["'1969-12-31'", "'2024-02-29'"], &["'2024-03-01'", "'1969-12-30'"]);
        check(
            "TIMESTAMP",
            &["'1969-12-31 23:59:59.999999'", "'2024-02-29 12:00:00.000001'"],
            &["'2024-02-29 12:00:01'"],
        );
        check("TIMESTAMP WITH TIME ZONE", &["'-infinity'", "'2024-02-29 12:00:00.000001+02'"], &[]);
        check("TIMESTAMP_NS", &["'1969-12-31 23:59:59.999999999'"], &["'1970-01-01'"]);
        let long = format!("'{}'", "ü".repeat(40));
        let greatest = format!("'{}'", "\u{10FFFF}".repeat(40));
        check("VARCHAR", &["''", &long], &["'ýý'"]);
        check("VARCHAR", &["'a'", &greatest], &["''"]);
        check("BOOLEAN", &["true"], &["NULL"]);
        check("INTERVAL", &["'1 month'", "'30 days'"], &[]);
    }

    #[test]
    fn bounds_of_others_are_taken_in_their_widest_sense() {
        let view = columns([("t", "TIMESTAMP WITH TIME ZONE", true), ("f", "DOUBLE", true)]).unwrap();
        let (delta, _) = delta_schema(&view, Mapping::None).unwrap();
        let schema = stored_schema(&view, &delta).unwrap();
        let json = r#"{"numRecords": 3, "minValues": {"t": "2024-02-29T12:00:00.000Z", "f": 0.0},
                       "maxValues": {"t": "2024-02-29T12:00:00.123Z", "f": -0.0}, "nullCount": {}}"#;
        let (rows, bounds) = parse(Some(json), &schema, &[0, 1]);
        let at = Probe::Value(Scalar::Integer(1_709_208_000_123_999));
        assert!(bounds[0].may_hold(&at, rows));
        let floats: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![0.0, -0.0, f64::NAN]));
        assert!((0..3).all(|row| bounds[1].may_hold(&probe(&floats, row), rows)));
        assert!(bounds[1].may_hold(&Probe::Null, rows), "a missing count says nothing");
        assert_eq!(parse(None, &schema, &[0]).1, [Bounds::default()]);
    }

    #[test]
    fn decimals_have_all_their_digits() {
        assert_eq!(decimal(-5, 2), "-0.05");
        assert_eq!(decimal(123, 2), "1.23");
        assert_eq!(decimal(-99_999_999_999_999_999_999_999_999_999_999_999_999, 0), format!("-{}", "9".repeat(38)));
    }
}
