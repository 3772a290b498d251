//! Rows for people and programs.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Schema;
use clap::ValueEnum;
use serde_json::Value;
use tidegate_core::schema::columns;
use tidegate_core::{ErrorKind, duckdb_type};
use tidegate_duck::{Duck, DuckError, Flow, quote_ident};
use tidegate_json::RowWriter;

use crate::failure::Failure;
use crate::output;

/// How rows are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// One JSON object, with the rows as a list
    Json,
    /// With a heading; NULL is an empty field, an empty text is ""
    Csv,
}

/// A query whose rows are wanted.
pub struct Rows<'d> {
    pub duck: &'d Duck,
    pub query: String,
    /// The query's columns with their types, where they are known; else DuckDB is asked.
    pub columns: Option<Vec<(String, String)>>,
}

/// What is said besides the rows.
pub struct Answer {
    /// For people.
    pub about: String,
    /// The same for programs.
    pub facts: serde_json::Map<String, Value>,
    /// What the list of rows is called.
    pub rows: &'static str,
}

impl Rows<'_> {
    /// Writes them to the standard output.
    pub fn write(&self, answer: Answer, format: Format) -> Result<(), Failure> {
        if format == Format::Json {
            return self.write_json(answer);
        }
        if !answer.about.is_empty() {
            eprintln!("{}", answer.about);
        }
        let columns = match &self.columns {
            Some(columns) => columns.clone(),
            None => self.duck.describe_columns(&self.query)?.into_iter().map(|(name, of, _)| (name, of)).collect(),
        };
        let (names, numeric): (Vec<String>, Vec<bool>) =
            columns.into_iter().map(|(name, duckdb_type)| (name, is_numeric(&duckdb_type))).unzip();
        let mut lines = vec![names.clone()];
        self.texts(names.len(), |row| match format {
            Format::Csv => {
                if lines.len() == 1 {
                    output::line(csv(lines[0].iter().map(|name| Some(name.as_str()))));
                    lines.push(Vec::new());
                }
                output::line(csv(row.iter().map(Option::as_deref)));
            }
            _ => lines.push(row.into_iter().map(|cell| cell.map_or("NULL".to_owned(), one_line)).collect()),
        })?;
        match format {
            Format::Csv if lines.len() == 1 => output::line(csv(names.iter().map(|name| Some(name.as_str())))),
            Format::Csv => {}
            _ => output::aligned_table(&lines, &numeric),
        }
        Ok(())
    }

    /// Every row with its values as DuckDB writes them.
    fn texts(&self, columns_count: usize, mut each: impl FnMut(Vec<Option<String>>)) -> Result<(), Failure> {
        let named: Vec<String> = (0..columns_count).map(|index| format!("c{index}")).collect();
        let schema = named.iter().map(|name| (name.as_str(), "VARCHAR", true));
        let schema = columns(schema).map_err(|error| Failure::caused(ErrorKind::Bug, &error))?;
        let expressions: Vec<String> =
            named.iter().map(|name| format!("CAST(tidegate_rows.{} AS VARCHAR)", quote_ident(name))).collect();
        let from = format!("(\n{}\n) AS tidegate_rows({})", self.query, named.join(", "));
        self.duck.stream(&expressions, &from, "", &schema, |batch| {
            let columns: Vec<_> = batch.columns().iter().map(|column| column.as_string::<i32>()).collect();
            for row in 0..batch.num_rows() {
                each(columns.iter().map(|column| column.is_valid(row).then(|| column.value(row).to_owned())).collect());
            }
            Ok::<_, DuckError>(Flow::Continue)
        })?;
        Ok(())
    }

    fn write_json(&self, answer: Answer) -> Result<(), Failure> {
        // As a table the query has each name once.
        let from = format!("(\n{}\n)", self.query);
        let schema = match &self.columns {
            Some(known) => {
                let field = |(name, of): &(String, String)| {
                    let field = duckdb_type::field(name, of, true);
                    field.map_err(|source| DuckError::UnsupportedType { column: name.clone(), source })
                };
                Arc::new(Schema::new(known.iter().map(field).collect::<Result<Vec<_>, _>>()?))
            }
            None => self.duck.describe(&format!("FROM {from}"))?,
        };
        let names = schema.fields().iter().map(|field| quote_ident(field.name())).collect::<Vec<_>>();
        let writer = RowWriter::new(&schema);
        let mut text = String::from("[");
        self.duck.stream(&names, &from, "", &schema, |batch| {
            for row in 0..batch.num_rows() {
                text.push_str(if text.len() == 1 { "" } else { "," });
                writer.write(&batch, row, &mut text);
            }
            Ok::<_, DuckError>(Flow::Continue)
        })?;
        text.push(']');
        let mut facts = Value::Object(answer.facts).to_string();
        facts.pop();
        let comma = if facts.len() > 1 { "," } else { "" };
        output::line(format!("{facts}{comma}\"{}\":{text}}}", answer.rows));
        Ok(())
    }
}

/// Whether values of a type are numbers, which stand to the right.
fn is_numeric(duckdb_type: &str) -> bool {
    let name = duckdb_type.split('(').next().unwrap_or_default();
    let number = matches!(name, "DECIMAL" | "FLOAT" | "DOUBLE") || name.ends_with("INT") || name.ends_with("INTEGER");
    number && !duckdb_type.ends_with(']')
}

/// A cell of a table must not break it.
fn one_line(text: String) -> String {
    match text.contains(|c: char| c.is_control()) {
        true => text.chars().flat_map(|c| c.escape_debug()).collect(),
        false => text,
    }
}

/// A line of CSV (RFC 4180).
fn csv<'t>(fields: impl Iterator<Item = Option<&'t str>>) -> String {
    let field = |field: Option<&str>| match field {
        None => String::new(),
        Some(text) if text.is_empty() || text.contains(['"', ',', '\n', '\r']) => {
            format!("\"{}\"", text.replace('"', "\"\""))
        }
        Some(text) => text.to_owned(),
    };
    fields.map(field).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        assert_eq!(csv([Some("a"), None, Some(""), Some("b,\"c\"")].into_iter()), "a,,\"\",\"b,\"\"c\"\"\"");
        assert_eq!(one_line("a\nb".to_owned()), "a\\nb");
        assert_eq!(one_line("a \\ b".to_owned()), "a \\ b");
    }

    #[test]
    fn numbers_are_told_by_their_type() {
        for number in ["TINYINT", "INTEGER", "UBIGINT", "HUGEINT", "DECIMAL(12,2)", "DOUBLE"] {
            assert!(is_numeric(number), "{number}");
        }
        for other in ["VARCHAR", "INTERVAL", "INTEGER[]", "DECIMAL(12,2)[]", "STRUCT(a INTEGER)", "TIMESTAMP"] {
            assert!(!is_numeric(other), "{other}");
        }
    }
}
