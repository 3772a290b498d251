//! How a view's columns are held by a lake.
//!
//! | DuckDB type | held as | why |
//! | --- | --- | --- |
//! | HUGEINT | DECIMAL(38,0) | Parquet has no such integer: DuckLake writes it as DOUBLE |
//! | INTERVAL | VARCHAR, as DuckDB writes it | Parquet's intervals have no sign and no microseconds |
//! | T\[n\] | T\[\] | DuckLake has no arrays of fixed size |
//! | every other | itself | |
//!
//! The same within lists, structs and maps. A cast to the view's type gives back every value.
//!
//! Small inserts are kept in the catalog. Where that is SQLite or PostgreSQL, the extension keeps nested
//! values there as texts that it cannot read back (structs lose quotes and backslashes, dates within
//! them make the table unreadable), so that tables with nested columns are never inlined
//! there; nor are, in SQLite, those with a column that SQLite takes for its row number.

use arrow::datatypes::{DataType, Field};
use tidegate_core::schema::duckdb_type;
use tidegate_core::{RowIdentity, ViewInfo};
use tidegate_duck::lake::LakeCatalog;
use tidegate_duck::quote_ident;

use crate::error::DucklakeSinkError;
use crate::stage::column;

/// Names that DuckLake keeps for its own columns beside a table's.
const RESERVED: [&str; 5] =
    ["row_id", "begin_snapshot", "end_snapshot", "_ducklake_internal_row_id", "_ducklake_internal_snapshot_id"];
/// Names that SQLite takes for its row number.
const ROW_NUMBERS: [&str; 3] = ["rowid", "_rowid_", "oid"];

/// A column of a view and of its table.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    /// Its name, quoted.
    pub(crate) name: String,
    /// The view's type.
    pub(crate) view_type: String,
    /// The table's type.
    pub(crate) held_type: String,
    has_intervals: bool,
    is_nested: bool,
    has_equal_values: bool,
    is_orderly: bool,
}

/// Whether DuckLake may keep rows of a table in the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inlining {
    /// As the lake's options say.
    Allowed,
    /// It would damage them.
    Harmful,
}

impl Column {
    fn of(field: &Field) -> Option<Column> {
        let view_type = duckdb_type(field)?;
        Some(Column {
            name: quote_ident(field.name()),
            view_type: view_type.to_owned(),
            held_type: held_type(view_type),
            has_intervals: contains(field.data_type(), &|t| matches!(t, DataType::Interval(_))),
            is_nested: field.data_type().is_nested(),
            has_equal_values: contains(field.data_type(), &|t| {
                matches!(t, DataType::Float32 | DataType::Float64 | DataType::Interval(_))
            }),
            is_orderly: is_orderly(field.data_type()),
        })
    }

    /// The expression for the table's value of the stage's column with this index.
    pub(crate) fn written(&self, index: usize, alias: &str) -> String {
        let staged = format!("{alias}.{}", column(index));
        if self.held_type == self.view_type { staged } else { format!("CAST({staged} AS {})", self.held_type) }
    }

    /// The expression for the view's value of this column of the table.
    pub(crate) fn read(&self, alias: &str) -> String {
        let held = format!("{alias}.{}", self.name);
        if self.held_type == self.view_type { held } else { format!("CAST({held} AS {})", self.view_type) }
    }

    /// Both sides of a comparison of the stage with the table. Held values are compared as they are, but
    /// intervals: a month equals 30 days, and their texts do not.
    pub(crate) fn compared(&self, index: usize) -> (String, String) {
        if self.has_intervals {
            (self.read("t"), format!("s.{}", column(index)))
        } else {
            (format!("t.{}", self.name), self.written(index, "s"))
        }
    }

    /// Whether `=` may stand for IS NOT DISTINCT FROM where no NULL is, and least and greatest values
    /// tell where a value can be.
    pub(crate) fn is_orderly(&self) -> bool {
        self.is_orderly
    }

    /// Whether it has values that DuckDB calls equal and shows differently.
    pub(crate) fn has_equal_values(&self) -> bool {
        self.has_equal_values
    }

    /// Whether tables may be in its order.
    pub(crate) fn is_sortable(&self) -> bool {
        !self.is_nested
    }
}

/// The columns of a view.
pub(crate) fn columns(lake: &str, view: &ViewInfo) -> Result<Vec<Column>, DucklakeSinkError> {
    let missing = |field: &Field| {
        let fact = format!("column {} carries no DuckDB type", field.name());
        DucklakeSinkError::Unsupported { lake: lake.to_owned(), view: view.name.clone(), fact }
    };
    view.schema.fields().iter().map(|field| Column::of(field).ok_or_else(|| missing(field))).collect()
}

/// Refuses views that a lake cannot hold. `taken` is the name that the table of epochs has.
pub(crate) fn check(lake: &str, view: &ViewInfo, taken: &str) -> Result<(), DucklakeSinkError> {
    let refuse =
        |fact: String| Err(DucklakeSinkError::Unsupported { lake: lake.to_owned(), view: view.name.clone(), fact });
    if view.name.as_str().eq_ignore_ascii_case(taken) {
        return refuse("the name is taken by the table of epochs: rename the view".to_owned());
    }
    let reserved = |field: &&std::sync::Arc<Field>| RESERVED.iter().any(|name| field.name().eq_ignore_ascii_case(name));
    if let Some(field) = view.schema.fields().iter().find(reserved) {
        return refuse(format!("DuckLake keeps the name of its column {} for itself: rename the column", field.name()));
    }
    if view.schema.fields().is_empty() {
        return refuse("it has no columns".to_owned());
    }
    columns(lake, view).map(|_| ())
}

/// Whether rows of a view may be kept in the catalog.
pub(crate) fn inlining(catalog: &LakeCatalog, view: &ViewInfo) -> Inlining {
    let harmful = |field: &std::sync::Arc<Field>| match catalog {
        LakeCatalog::DuckDb(_) => false,
        LakeCatalog::Postgres(_) => field.data_type().is_nested(),
        LakeCatalog::Sqlite(_) => {
            field.data_type().is_nested() || ROW_NUMBERS.iter().any(|name| field.name().eq_ignore_ascii_case(name))
        }
    };
    if view.schema.fields().iter().any(harmful) { Inlining::Harmful } else { Inlining::Allowed }
}

/// The columns whose order a view's table has by itself: those by which its rows are addressed.
pub(crate) fn natural_order(view: &ViewInfo, columns: &[Column]) -> Vec<String> {
    match &view.identity {
        RowIdentity::Key(key) if key.iter().all(|index| columns[*index].is_sortable()) => {
            key.iter().map(|index| columns[*index].name.clone()).collect()
        }
        _ => Vec::new(),
    }
}

/// The type that holds every value of a view's type in a lake.
fn held_type(view_type: &str) -> String {
    let mut rewriter = Rewriter { rest: view_type, written: String::new() };
    rewriter.rewrite_type();
    rewriter.written
}

/// Goes through a type as DuckDB writes it, which [`tidegate_core::duckdb_type`] has checked.
struct Rewriter<'a> {
    rest: &'a str,
    written: String,
}

impl<'a> Rewriter<'a> {
    fn rewrite_type(&mut self) {
        let word = self.take(|c| c.is_alphanumeric() || c == '_');
        match word.to_ascii_uppercase().as_str() {
            "HUGEINT" => self.written.push_str("DECIMAL(38,0)"),
            "INTERVAL" => self.written.push_str("VARCHAR"),
            "STRUCT" => self.rewrite_parts("STRUCT", true),
            "MAP" => self.rewrite_parts("MAP", false),
            _ => {
                self.written.push_str(word);
                // Digits of a decimal, or `WITH TIME ZONE`.
                let suffix = match self.rest.trim_start() {
                    rest if rest.starts_with('(') => rest.find(')').map_or(rest.len(), |end| end + 1),
                    rest => rest.find([',', ')', '[']).unwrap_or(rest.len()),
                };
                let blanks = self.rest.len() - self.rest.trim_start().len();
                let (suffix, rest) = self.rest.split_at(blanks + suffix);
                self.written.push_str(suffix.trim_end());
                self.rest = rest;
            }
        }
        while let Some(rest) = self.rest.trim_start().strip_prefix('[') {
            self.rest = rest.split_once(']').map_or("", |(_, rest)| rest);
            self.written.push_str("[]");
        }
    }

    /// The types between parentheses, each after a name where they have names.
    fn rewrite_parts(&mut self, keyword: &str, have_names: bool) {
        self.written.push_str(keyword);
        self.written.push('(');
        self.skip('(');
        loop {
            if have_names {
                self.copy_name();
                self.written.push(' ');
            }
            self.rewrite_type();
            if !self.skip(',') {
                break;
            }
            self.written.push_str(", ");
        }
        self.skip(')');
        self.written.push(')');
    }

    fn copy_name(&mut self) {
        self.rest = self.rest.trim_start();
        if !self.rest.starts_with('"') {
            let name = self.take(|c| c.is_alphanumeric() || c == '_');
            self.written.push_str(name);
            return;
        }
        let mut end = 1;
        while let Some(quote) = self.rest[end..].find('"') {
            end += quote + 1;
            if !self.rest[end..].starts_with('"') {
                break;
            }
            end += 1;
        }
        let (name, rest) = self.rest.split_at(end);
        self.written.push_str(name);
        self.rest = rest;
    }

    fn take(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest.trim_start();
        let (taken, rest) = rest.split_at(rest.find(|c| !belongs(c)).unwrap_or(rest.len()));
        self.rest = rest;
        taken
    }

    fn skip(&mut self, symbol: char) -> bool {
        let found = self.rest.trim_start().strip_prefix(symbol);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }
}

/// Whether a type, or one nested in it, is such a one.
fn contains(data_type: &DataType, wanted: &dyn Fn(&DataType) -> bool) -> bool {
    wanted(data_type)
        || match data_type {
            DataType::List(item) | DataType::FixedSizeList(item, _) => contains(item.data_type(), wanted),
            DataType::Map(entries, _) => contains(entries.data_type(), wanted),
            DataType::Struct(fields) => fields.iter().any(|field| contains(field.data_type(), wanted)),
            _ => false,
        }
}

fn is_orderly(data_type: &DataType) -> bool {
    match data_type {
        DataType::Date32 | DataType::Timestamp(..) | DataType::Decimal128(..) | DataType::Utf8 => true,
        other => other.is_integer(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_held_without_loss() {
        for (view_type, held) in [
            ("HUGEINT", "DECIMAL(38,0)"),
            ("DECIMAL(15,2)", "DECIMAL(15,2)"),
            ("TIMESTAMP WITH TIME ZONE", "TIMESTAMP WITH TIME ZONE"),
            ("TIMESTAMP WITH TIME ZONE[]", "TIMESTAMP WITH TIME ZONE[]"),
            ("INTERVAL[3][]", "VARCHAR[][]"),
            ("MAP(HUGEINT, INTEGER[2])", "MAP(DECIMAL(38,0), INTEGER[])"),
            (
                r#"STRUCT(hugeint UUID, "INTERVAL, ""x"")" STRUCT(d DECIMAL(4,1), i INTERVAL)[2])"#,
                r#"STRUCT(hugeint UUID, "INTERVAL, ""x"")" STRUCT(d DECIMAL(4,1), i VARCHAR)[])"#,
            ),
        ] {
            assert_eq!(held_type(view_type), held);
        }
    }
}
