//! One state of the catalog, shared by those who ask it.

use std::cell::RefCell;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::FieldRef;

use super::catalog::{Inlined, InlinedColumn, InlinedTable, Reading};
use crate::catalog::Catalog;
use crate::config::DeletionVectors;
use crate::error::LakeError;
use crate::row::Row;

/// One state of the catalog.
pub struct Session<'a, 'b> {
    lake: String,
    reading: RefCell<&'a mut Reading<'b>>,
    vectors: DeletionVectors,
}

impl<'a, 'b> Session<'a, 'b> {
    /// Of a reading.
    pub fn new(reading: &'a mut Reading<'b>, vectors: DeletionVectors) -> Self {
        Session { lake: reading.lake().to_owned(), reading: RefCell::new(reading), vectors }
    }

    /// Where the data files are.
    pub fn data_path(&self) -> Result<String, LakeError> {
        self.reading.borrow_mut().data_path()
    }

    /// The tables of rows that the catalog keeps for a table.
    pub fn inlined_tables(&self, table: u64) -> Result<Vec<InlinedTable>, LakeError> {
        self.reading.borrow_mut().inlined_tables(table)
    }

    /// Rows that the catalog keeps.
    pub fn inlined(
        &self,
        table: &InlinedTable,
        columns: &[InlinedColumn],
        condition: &str,
    ) -> Result<Inlined, LakeError> {
        self.reading.borrow_mut().inlined(table, columns, condition)
    }

    /// DuckDB's texts as values of a type.
    pub fn parse_texts(&self, texts: &StringArray, field: &FieldRef) -> Result<ArrayRef, LakeError> {
        self.reading.borrow_mut().parse_texts(texts, field)
    }

    /// Whether the catalog names the file at a path.
    pub fn names_file(&self, file: &str) -> Result<bool, LakeError> {
        let name = file.rsplit('/').next().unwrap_or(file);
        let pattern = format!("%{}", name.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"));
        let of = |table| {
            format!("SELECT path, path_is_relative FROM {} WHERE path LIKE $1 ESCAPE '\\'", self.catalog(table))
        };
        let sql = format!("{} UNION ALL {}", of("data_file"), of("delete_file"));
        let names = |row: &Row| {
            let (path, is_relative) = (row.text(0)?, row.bool(1)?);
            Ok(if is_relative { file.ends_with(&format!("/{path}")) } else { file == path })
        };
        let rows = self.reading.borrow_mut().rows_where(&sql, &pattern)?;
        rows.iter().map(names).try_fold(false, |found, names: Result<bool, LakeError>| Ok(found || names?))
    }
}

impl Catalog for Session<'_, '_> {
    fn lake(&self) -> &str {
        &self.lake
    }

    fn catalog(&self, table: &str) -> String {
        self.reading.borrow().name(table)
    }

    fn beside(&self, table: &str) -> String {
        self.reading.borrow().qualified(table)
    }

    fn has_table(&self, table: &str) -> Result<bool, LakeError> {
        self.reading.borrow_mut().has_table(table)
    }

    fn micros(&self, expression: &str) -> String {
        self.reading.borrow().micros(expression)
    }

    fn reads_deletion_vectors(&self) -> bool {
        self.vectors == DeletionVectors::Diff
    }

    fn keeps_times_as_texts(&self) -> bool {
        self.reading.borrow().keeps_times_as_texts()
    }

    fn ask(&self, sql: &str) -> Result<Vec<Row>, LakeError> {
        self.reading.borrow_mut().rows(sql)
    }
}
