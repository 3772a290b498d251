//! Results on standard output: tables for people, JSON for programs. A reader that went away is
//! no error.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use serde_json::Value;
use tidegate_core::ErrorKind;

use crate::failure::Failure;

/// A result as JSON, which is also what the texts for people are made from.
pub fn value(result: &impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(result).map_err(|error| Failure::caused(ErrorKind::Bug, &error))
}

/// Reading of results; what is not there is zero or empty.
pub trait Json {
    fn number(&self, key: &str) -> u64;
    fn text(&self, key: &str) -> String;
    fn entries(&self, key: &str) -> impl Iterator<Item = (&String, &Value)>;
}

impl Json for Value {
    fn number(&self, key: &str) -> u64 {
        self[key].as_u64().or_else(|| self[key].as_f64().map(|number| number.round() as u64)).unwrap_or_default()
    }

    fn text(&self, key: &str) -> String {
        self[key].as_str().unwrap_or_default().to_owned()
    }

    fn entries(&self, key: &str) -> impl Iterator<Item = (&String, &Value)> {
        self[key].as_object().into_iter().flatten()
    }
}

/// Whether the standard output belongs to somebody else.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// From here on results go to the standard error: a sink writes to the other one.
pub fn results_to_standard_error() {
    TAKEN.store(true, Ordering::Relaxed);
}

/// Writes a line.
pub fn line(text: impl AsRef<str>) {
    // Nobody is left to be told.
    let _ = match TAKEN.load(Ordering::Relaxed) {
        false => writeln!(io::stdout(), "{}", text.as_ref()),
        true => writeln!(io::stderr(), "{}", text.as_ref()),
    };
}

/// Writes one JSON value on one line.
pub fn json(value: &Value) {
    line(value.to_string());
}

/// Writes lines as columns, the first one being the heading.
pub fn table(lines: &[Vec<String>]) {
    aligned_table(lines, &[]);
}

/// The same, where columns that are said to be `numeric` stand to the right.
pub fn aligned_table(lines: &[Vec<String>], numeric: &[bool]) {
    let columns = lines.first().map_or(0, Vec::len);
    let widths: Vec<usize> =
        (0..columns).map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0)).collect();
    for cells in lines {
        let padded = cells.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match numeric.get(column) {
            Some(true) => format!("{cell:>width$}"),
            _ => format!("{cell:<width$}"),
        });
        line(padded.collect::<Vec<_>>().join("  ").trim_end());
    }
}

/// Writes the `view_rows` of a summary, whose rows are what `heading` says.
pub fn view_rows(summary: &Value, heading: &str) {
    let mut lines = vec![["view", heading].map(str::to_owned).to_vec()];
    for (view, rows) in summary.entries("view_rows") {
        lines.push(vec![view.clone(), grouped(rows.as_u64().unwrap_or_default())]);
    }
    table(&lines);
}

/// A number with its thousands apart.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
