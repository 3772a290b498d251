//! Literals whose DuckDB type depends on how they are written: decimals and intervals.

use datafusion_sql::sqlparser::ast::{DateTimeField, Expr, Interval, Value};

use crate::error::Refusal;

/// The DuckDB type of a number that is not a plain integer: `1.50` is DECIMAL(3,2), `1e3` DOUBLE.
pub(super) fn number_type(text: &str) -> Option<String> {
    if text.contains(['e', 'E']) {
        return Some("DOUBLE".to_owned());
    }
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let scale = text.split_once('.')?.1.chars().filter(char::is_ascii_digit).count();
    Some(if digits > 38 { "DOUBLE".to_owned() } else { format!("DECIMAL({digits},{scale})") })
}

/// An interval in DuckDB's three parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Parts {
    pub(super) months: i32,
    pub(super) days: i32,
    pub(super) micros: i64,
}

/// `INTERVAL 3 DAY`, `INTERVAL '3' DAY` and `INTERVAL '1 month 2 days'`: whole numbers of units.
pub(super) fn interval(interval: &Interval) -> Result<Parts, Refusal> {
    let refuse = || {
        Refusal::new(format!(
            "{interval} cannot be maintained: write whole numbers of units, for example INTERVAL '1 month 2 days'"
        ))
    };
    let (negative, value) = match interval.value.as_ref() {
        Expr::UnaryOp { op: datafusion_sql::sqlparser::ast::UnaryOperator::Minus, expr } => (true, expr.as_ref()),
        Expr::Nested(inner) => (false, inner.as_ref()),
        value => (false, value),
    };
    let Expr::Value(value) = value else { return Err(refuse()) };
    let text = match &value.value {
        Value::Number(text, _) => text.clone(),
        Value::SingleQuotedString(text) if !negative => text.clone(),
        _ => return Err(refuse()),
    };
    let mut parts = Parts::default();
    let mut add = |count: &str, unit: &str| -> Option<()> {
        let count = count.parse::<i64>().ok()?;
        let count = if negative { -count } else { count };
        parts.add(count, unit)
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let added = match (&interval.leading_field, words.as_slice()) {
        (Some(field), [count]) => add(count, &unit(field)),
        (None, words) if !words.is_empty() && words.len() % 2 == 0 => {
            words.chunks(2).try_for_each(|pair| add(pair[0], pair[1]))
        }
        _ => None,
    };
    if interval.last_field.is_some() {
        return Err(refuse());
    }
    added.map(|()| parts).ok_or_else(refuse)
}

fn unit(field: &DateTimeField) -> String {
    field.to_string()
}

impl Parts {
    fn add(&mut self, count: i64, unit: &str) -> Option<()> {
        const SECOND: i64 = 1_000_000;
        let unit = unit.to_ascii_lowercase();
        let unit = if unit == "s" { "second" } else { unit.strip_suffix('s').unwrap_or(&unit) };
        let months = match unit {
            "month" | "mon" => 1,
            "quarter" => 3,
            "year" | "yr" | "y" => 12,
            "decade" => 120,
            "century" => 1200,
            _ => 0,
        };
        let days = match unit {
            "day" | "d" => 1,
            "week" | "w" => 7,
            _ => 0,
        };
        let micros = match unit {
            "microsecond" | "u" => 1,
            "millisecond" | "m" => 1000,
            "second" | "sec" => SECOND,
            "minute" | "min" => 60 * SECOND,
            "hour" | "hr" | "h" => 3600 * SECOND,
            _ => 0,
        };
        // The one-letter units and the plural of "ms" and "us" are too easily confused.
        if matches!(unit, "u" | "m" | "y" | "d" | "w" | "h") || (months == 0 && days == 0 && micros == 0) {
            return None;
        }
        self.months = self.months.checked_add(i32::try_from(count.checked_mul(months)?).ok()?)?;
        self.days = self.days.checked_add(i32::try_from(count.checked_mul(days)?).ok()?)?;
        self.micros = self.micros.checked_add(count.checked_mul(micros)?)?;
        Some(())
    }
}
