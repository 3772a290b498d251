//! What is known of the tables: by their sources' own books, or by what the command was told.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::{DataType, Field};
use serde::Serialize;
use tidegate_core::{Integral, RowIdentity, TableName, TableSchema, TableStatistics};
use tidegate_engine::Input;

use super::COMMIT_ROWS;
use super::relation::{Column, Relation, TEXT_BYTES, Width};
use super::trace::Trace;
use super::walk::Said;

/// Who says how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A flag.
    Given,
    /// The source's statistics.
    Source,
    /// Nobody.
    Unknown,
}

/// One table.
#[derive(Debug, Clone, PartialEq)]
pub struct TableFacts {
    pub rows: f64,
    pub rows_from: Origin,
    /// Rows a day.
    pub changes: Option<f64>,
    pub changes_from: Origin,
    pub columns: Vec<Column>,
    /// Of a changed row in the input log.
    pub log_row_bytes: f64,
    /// An update of a keyed row is one in the log, and to the views one that goes and one that comes.
    pub rows_of_a_change: f64,
    /// What the engine keeps of it.
    pub kept: Option<Trace>,
    /// Columns of text of which the source does not know how long it is.
    pub unknown_texts: Vec<String>,
}

impl TableFacts {
    /// A table by its schema, and what its source knows.
    pub fn new(
        table: &TableSchema,
        known: &TableStatistics,
        rows: (f64, Origin),
        changes: (Option<f64>, Origin),
    ) -> Self {
        let key: &[usize] = match &table.identity {
            RowIdentity::Key(key) => key,
            RowIdentity::Rowid | RowIdentity::WholeRow => &[],
        };
        let fields = table.columns.fields();
        let mut columns = Vec::with_capacity(fields.len());
        let mut unknown_texts = Vec::new();
        for (position, field) in fields.iter().enumerate() {
            let statistics = known.column(field.name());
            let bytes = statistics.and_then(|column| column.bytes);
            let width = Width::of(field.data_type(), bytes.unwrap_or(TEXT_BYTES));
            if width.text > 0.0 && bytes.is_none() {
                unknown_texts.push(field.name().clone());
            }
            let distinct = statistics.and_then(|column| column.distinct).map(|values| values.min(rows.0.max(1.0)));
            let distinct = if key == [position] { Some(rows.0) } else { distinct };
            columns.push(Column { width, distinct });
        }
        let is_keyed = !key.is_empty();
        let width = |is_key: bool| {
            let own = columns.iter().enumerate().filter(|(position, _)| key.contains(position) == is_key);
            own.fold(Width::default(), |sum, (_, column)| sum.plus(column.width))
        };
        let is_kept = is_keyed || table.integral == Integral::Engine;
        let kept =
            Trace { rows: rows.0, keys: if is_keyed { rows.0 } else { 0.0 }, key: width(true), value: width(false) };
        let in_log: f64 = fields.iter().zip(&columns).map(|(field, column)| logged(field, column)).sum();
        TableFacts {
            rows: rows.0,
            rows_from: rows.1,
            changes: changes.0,
            changes_from: changes.1,
            columns,
            // A weight, or the code of an operation.
            log_row_bytes: in_log + if is_keyed { 1.0 } else { 8.0 },
            rows_of_a_change: if is_keyed { 2.0 } else { 1.0 },
            kept: is_kept.then_some(kept),
            unknown_texts,
        }
    }
}

/// Bytes of a value in an Arrow batch: its own, or those of its text and its end.
fn logged(field: &Field, column: &Column) -> f64 {
    match field.data_type() {
        DataType::Boolean => 0.125,
        data_type => match data_type.primitive_width() {
            Some(bytes) => bytes as f64,
            None => 4.0 + column.width.text,
        },
    }
}

/// All tables, and what a person says.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub tables: BTreeMap<TableName, TableFacts>,
    /// By view.
    pub said: BTreeMap<String, Said>,
    /// Commits a day by source, where they are known.
    pub commits: BTreeMap<String, f64>,
}

impl Facts {
    pub fn table(&self, name: &TableName) -> Option<&TableFacts> {
        self.tables.get(name)
    }

    pub fn said(&self, view: &str) -> Said {
        self.said.get(view).copied().unwrap_or_default()
    }

    /// What the engine keeps of tables.
    pub fn kept(&self) -> impl Iterator<Item = (&TableName, Trace)> {
        self.tables.iter().filter_map(|(name, table)| Some((name, table.kept?)))
    }

    /// Changed rows of all tables, where all are known.
    pub fn changes_per_day(&self) -> Option<f64> {
        self.tables.values().map(|table| table.changes).sum()
    }

    /// Commits of all sources, of which those that are not known have so many changed rows each.
    pub fn commits_per_day(&self, changes: Option<f64>) -> Option<f64> {
        changes?;
        let of = |source: &str| {
            let own = self.tables.iter().filter(|(name, _)| name.source == source);
            let changes: f64 = own.filter_map(|(_, table)| table.changes).sum();
            let commits = self.commits.get(source).copied();
            // None has less than one changed row.
            commits.map_or(changes / COMMIT_ROWS, |commits| commits.min(changes))
        };
        Some(self.sources().into_iter().map(of).sum())
    }

    fn sources(&self) -> BTreeSet<&str> {
        self.tables.keys().map(|name| name.source.as_str()).collect()
    }

    /// The tables in an epoch with so many changed rows: by their rates, or by their sizes where a rate is not known.
    pub fn relations(&self, changes: f64) -> BTreeMap<Input, Relation> {
        let rate = self.changes_per_day().filter(|rate| *rate > 0.0);
        let rows: f64 = self.tables.values().map(|table| table.rows).sum();
        let share = |table: &TableFacts| match (rate, table.changes) {
            (Some(all), Some(own)) => own / all,
            _ if rows > 0.0 => table.rows / rows,
            _ => 0.0,
        };
        let relation = |table: &TableFacts| Relation {
            rows: table.rows,
            changes: changes * share(table) * table.rows_of_a_change,
            columns: table.columns.clone(),
        };
        self.tables.iter().map(|(name, table)| (Input::Table(name.clone()), relation(table))).collect()
    }

    /// What is taken for granted of tables and sources.
    pub fn assumptions(&self, commits: &Option<f64>) -> BTreeSet<String> {
        let mut told = BTreeSet::new();
        for (name, table) in &self.tables {
            if table.changes.is_none() {
                told.insert(format!(
                    "table {name}: how many rows change in a day is not known, so that nothing is said of the log; \
                     --changes {name}=N/day says it"
                ));
            }
            if !table.unknown_texts.is_empty() {
                let columns = table.unknown_texts.join(", ");
                told.insert(format!(
                    "table {name}: a text has {TEXT_BYTES} bytes in {columns}, whose length is not known"
                ));
            }
        }
        for source in
            self.sources().into_iter().filter(|source| commits.is_some() && !self.commits.contains_key(*source))
        {
            told.insert(format!(
                "source {source}: a commit changes {COMMIT_ROWS} rows; --commits {source}=N/day says how many commits there are"
            ));
        }
        told
    }
}
