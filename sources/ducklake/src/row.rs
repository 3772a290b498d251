//! Rows of the catalog tables, whichever database keeps them. The three keep the same values as different
//! types: a flag is a boolean in PostgreSQL and a number in SQLite, a large number may be a text. The getters
//! take all of these, and refuse what is none of them by naming table and column, never the value.

use std::sync::Arc;

use crate::error::LakeError;
use crate::timestamp;

/// A value as the catalog's database gives it.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// NULL.
    Null,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A float; those of four bytes are widened.
    Float(f64),
    /// A text. Numbers beyond 64 bits, decimals, UUIDs, times and intervals are texts that DuckDB reads back.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// What a row answers, for errors.
#[derive(Debug)]
pub struct Asked {
    /// The source's name.
    pub lake: String,
    /// The statement; it holds no texts but names.
    pub sql: String,
    /// The names of the columns that it answers.
    pub columns: Vec<String>,
}

impl Asked {
    /// The catalog tables that a statement names.
    fn tables(&self) -> String {
        let mut tables: Vec<&str> = Vec::new();
        for (at, _) in self.sql.match_indices("ducklake_") {
            let rest = &self.sql[at..];
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            let table = &rest[..end];
            if !tables.contains(&table) {
                tables.push(table);
            }
        }
        if tables.is_empty() { "the catalog".to_owned() } else { tables.join(", ") }
    }

    /// The error of a value that is not what it should be.
    pub fn not_a(&self, at: usize, wanted: &'static str) -> LakeError {
        let column = self.columns.get(at).cloned().unwrap_or_else(|| format!("number {}", at + 1));
        LakeError::CatalogValue { lake: self.lake.clone(), table: self.tables(), column, wanted }
    }
}

/// A row of an answer. Columns are counted from zero.
#[derive(Debug, Clone)]
pub struct Row {
    cells: Vec<Cell>,
    asked: Arc<Asked>,
}

impl Row {
    pub fn new(cells: Vec<Cell>, asked: Arc<Asked>) -> Self {
        Row { cells, asked }
    }

    /// The values.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// The names of the columns.
    pub fn columns(&self) -> &[String] {
        &self.asked.columns
    }

    /// A whole number that is not negative.
    pub fn u64(&self, at: usize) -> Result<u64, LakeError> {
        self.optional_u64(at)?.ok_or_else(|| self.asked.not_a(at, A_COUNT))
    }

    /// The same, or nothing.
    pub fn optional_u64(&self, at: usize) -> Result<Option<u64>, LakeError> {
        let number = match self.cells.get(at) {
            Some(Cell::Null) => return Ok(None),
            Some(Cell::Integer(number)) => u64::try_from(*number).ok(),
            Some(Cell::Text(text)) => text.parse().ok(),
            _ => None,
        };
        number.map(Some).ok_or_else(|| self.asked.not_a(at, A_COUNT))
    }

    /// A whole number.
    pub fn i64(&self, at: usize) -> Result<i64, LakeError> {
        self.optional_i64(at)?.ok_or_else(|| self.asked.not_a(at, A_NUMBER))
    }

    /// The same, or nothing.
    pub fn optional_i64(&self, at: usize) -> Result<Option<i64>, LakeError> {
        let number = match self.cells.get(at) {
            Some(Cell::Null) => return Ok(None),
            Some(Cell::Integer(number)) => Some(*number),
            Some(Cell::Text(text)) => text.parse().ok(),
            _ => None,
        };
        number.map(Some).ok_or_else(|| self.asked.not_a(at, A_NUMBER))
    }

    /// A text.
    pub fn text(&self, at: usize) -> Result<&str, LakeError> {
        self.optional_text(at)?.ok_or_else(|| self.asked.not_a(at, A_TEXT))
    }

    /// The same, or nothing.
    pub fn optional_text(&self, at: usize) -> Result<Option<&str>, LakeError> {
        match self.cells.get(at) {
            Some(Cell::Null) => Ok(None),
            Some(Cell::Text(text)) => Ok(Some(text)),
            _ => Err(self.asked.not_a(at, A_TEXT)),
        }
    }

    /// A flag.
    pub fn bool(&self, at: usize) -> Result<bool, LakeError> {
        self.optional_bool(at)?.ok_or_else(|| self.asked.not_a(at, A_FLAG))
    }

    /// The same, or nothing.
    pub fn optional_bool(&self, at: usize) -> Result<Option<bool>, LakeError> {
        match self.cells.get(at) {
            Some(Cell::Null) => Ok(None),
            Some(Cell::Bool(flag)) => Ok(Some(*flag)),
            Some(Cell::Integer(0)) => Ok(Some(false)),
            Some(Cell::Integer(1)) => Ok(Some(true)),
            Some(Cell::Text(text)) if matches!(text.as_str(), "false" | "f" | "0") => Ok(Some(false)),
            Some(Cell::Text(text)) if matches!(text.as_str(), "true" | "t" | "1") => Ok(Some(true)),
            _ => Err(self.asked.not_a(at, A_FLAG)),
        }
    }

    /// A moment that was asked for through [`Reading::micros`](super::Reading::micros), in microseconds since
    /// 1970 UTC.
    pub fn micros(&self, at: usize) -> Result<i64, LakeError> {
        let micros = match self.cells.get(at) {
            Some(Cell::Integer(micros)) => Some(*micros),
            Some(Cell::Text(text)) => timestamp::micros(text),
            _ => None,
        };
        micros.ok_or_else(|| self.asked.not_a(at, "a moment"))
    }
}

const A_COUNT: &str = "a whole number from zero up";
const A_NUMBER: &str = "a whole number";
const A_TEXT: &str = "a text";
const A_FLAG: &str = "true or false";

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: Vec<Cell>) -> Row {
        let columns = (0..cells.len()).map(|at| format!("c{at}")).collect();
        let sql = "SELECT c FROM \"main\".\"ducklake_snapshot\" JOIN \"main\".\"ducklake_table\"".to_owned();
        Row::new(cells, Arc::new(Asked { lake: "lake".to_owned(), sql, columns }))
    }

    #[test]
    fn values_are_taken_however_they_are_kept() {
        let row = row(vec![
            Cell::Integer(7),
            Cell::Text("18446744073709551615".into()),
            Cell::Integer(1),
            Cell::Text("2024-02-29 12:00:00.5+05".into()),
            Cell::Null,
            Cell::Integer(-1),
        ]);
        assert_eq!((row.u64(0).unwrap(), row.u64(1).unwrap(), row.i64(5).unwrap()), (7, u64::MAX, -1));
        assert!(row.bool(2).unwrap());
        assert_eq!(row.micros(3).unwrap(), 1_709_190_000_500_000);
        assert_eq!((row.optional_u64(4).unwrap(), row.optional_text(4).unwrap()), (None, None));
        assert_eq!((row.optional_i64(4).unwrap(), row.optional_bool(4).unwrap()), (None, None));
    }

    #[test]
    fn refusals_name_table_and_column_and_not_the_value() {
        let row = row(vec![Cell::Text("hush".into()), Cell::Integer(-4711), Cell::Null]);
        let refused = [
            row.u64(0).map(drop),
            row.i64(0).map(drop),
            row.bool(0).map(drop),
            row.micros(0).map(drop),
            row.u64(1).map(drop),
            row.bool(1).map(drop),
            row.text(1).map(drop),
            row.u64(2).map(drop),
            row.text(2).map(drop),
            row.bool(2).map(drop),
            row.optional_u64(3).map(drop),
        ];
        for refused in refused {
            let text = refused.unwrap_err().to_string();
            assert!(text.contains("ducklake_snapshot, ducklake_table") && text.contains("column"), "{text}");
            assert!(!text.contains("hush") && !text.contains("4711"), "{text}");
        }
    }
}
