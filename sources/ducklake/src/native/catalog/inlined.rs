//! Rows that the lake keeps in its catalog: each table's `ducklake_inlined_data_<table id>_<schema version>`, with
//! the columns that the table had at that version. What the extension reads back of them is the truth, losses
//! included; so every value goes the extension's way, from the stored form to the type it was stored as, and from
//! there to the type wanted.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array,
};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema, SchemaRef};
use tidegate_core::duckdb_type::arrow_type;
use tidegate_duck::{DuckError, Flow, quote_ident};

use super::texts::{TextColumn, type_of};
use super::values::{self, Column};
use super::{Backend, DOING, Reading, moved};
use crate::error::LakeError;
use crate::native::nested::applied;
use crate::row::{Cell, Row};

/// A table of inlined rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InlinedTable {
    /// Its name.
    pub name: String,
    /// The schema version whose columns it has.
    pub schema_version: u64,
}

/// A column as it is wanted.
#[derive(Debug, Clone)]
pub struct InlinedColumn {
    /// Its name in the table of inlined rows; `None` where that has no such column.
    pub stored: Option<String>,
    /// The DuckDB type that it had at that schema version.
    pub stored_type: String,
    /// DuckDB's expression for the wanted value in terms of `stored`, where a cast is not enough.
    pub rearranged: Option<String>,
    /// The column wanted, of a canonical type.
    pub field: FieldRef,
    /// Its only value where nothing is stored: one row. `None` is NULL.
    pub default: Option<ArrayRef>,
}

/// Some inlined rows, ordered by row id and then by begin.
#[derive(Debug, Clone)]
pub struct Inlined {
    /// The columns wanted.
    pub batch: RecordBatch,
    /// The snapshot that inserted each row.
    pub begin: Vec<u64>,
    /// The snapshot that deleted it, if one did.
    pub end: Vec<Option<u64>>,
}

impl Reading<'_> {
    /// The rows of a table of inlined rows for which `condition` holds, which speaks of `row_id`,
    /// `begin_snapshot` and `end_snapshot` and of numbers alone.
    pub fn inlined(
        &mut self,
        table: &InlinedTable,
        columns: &[InlinedColumn],
        condition: &str,
    ) -> Result<Inlined, LakeError> {
        for column in columns {
            self.check_column(table, column)?;
        }
        match self.backend {
            Backend::DuckDb(_) => self.inlined_in_duckdb(table, columns, condition),
            Backend::Postgres(_) | Backend::Sqlite(_) => self.inlined_elsewhere(table, columns, condition),
        }
    }

    fn check_column(&self, table: &InlinedTable, column: &InlinedColumn) -> Result<(), LakeError> {
        // It becomes a part of a statement, so it must be a type and nothing else.
        if column.stored.is_some() {
            arrow_type(&column.stored_type).map_err(|source| LakeError::ColumnType {
                lake: self.lake.to_owned(),
                table: table.name.clone(),
                column: column.field.name().clone(),
                source,
            })?;
        }
        match &column.default {
            Some(default) if default.len() != 1 || default.data_type() != column.field.data_type() => {
                Err(self
                    .mismatch(format!("the default of column {} is not one value of its type", column.field.name())))
            }
            _ => Ok(()),
        }
    }

    fn inlined_elsewhere(
        &mut self,
        table: &InlinedTable,
        columns: &[InlinedColumn],
        condition: &str,
    ) -> Result<Inlined, LakeError> {
        // The lake writes names without quotes where DuckDB needs none, and PostgreSQL folds and cuts those: columns are
        // found in what is there.
        let sql =
            format!("SELECT * FROM {} WHERE {condition} ORDER BY row_id, begin_snapshot", self.qualified(&table.name));
        let rows = self.rows(&sql).map_err(moved)?;
        let mut arrays: Vec<Option<ArrayRef>> = Vec::with_capacity(columns.len());
        let mut texts = Vec::new();
        let names = rows.first().map(Row::columns).unwrap_or_default();
        let place = |name: &str| names.iter().position(|found| is_named(found, name));
        let [begin, end] = ["begin_snapshot", "end_snapshot"].map(|name| place(name).unwrap_or(usize::MAX));
        for column in columns {
            let Some(stored) = &column.stored else {
                arrays.push(Some(self.missing(column, rows.len())?));
                continue;
            };
            let Some(at) = place(stored).or(names.is_empty().then_some(0)) else {
                return Err(LakeError::CatalogTable {
                    lake: self.lake.to_owned(),
                    message: format!("the catalog's table {} has no column {stored}", table.name),
                });
            };
            let cells: Vec<&Cell> = rows.iter().map(|row| row.cells().get(at).unwrap_or(&Cell::Null)).collect();
            match values::column(&cells, &column.stored_type, &column.field) {
                Some(Column::Ready(array)) => arrays.push(Some(array)),
                Some(Column::Texts(column_texts)) => {
                    arrays.push(None);
                    let stored_type = &column.stored_type;
                    let rearranged = column.rearranged.as_deref();
                    texts.push(TextColumn { texts: column_texts, stored_type, rearranged, field: &column.field });
                }
                None => {
                    return Err(LakeError::InlinedValue {
                        lake: self.lake.to_owned(),
                        table: table.name.clone(),
                        column: column.field.name().clone(),
                        wanted: type_of(&column.field),
                    });
                }
            }
        }
        let parsed = if texts.is_empty() { Vec::new() } else { self.texts.parse(self.lake, &table.name, &texts)? };
        let mut parsed = parsed.into_iter();
        let arrays: Vec<ArrayRef> = arrays.into_iter().filter_map(|array| array.or_else(|| parsed.next())).collect();
        let begin = rows.iter().map(|row| row.u64(begin)).collect::<Result<_, _>>()?;
        let end = rows.iter().map(|row| row.optional_u64(end)).collect::<Result<_, _>>()?;
        Ok(Inlined { batch: self.batch(columns, arrays, rows.len())?, begin, end })
    }

    fn inlined_in_duckdb(
        &mut self,
        table: &InlinedTable,
        columns: &[InlinedColumn],
        condition: &str,
    ) -> Result<Inlined, LakeError> {
        let Backend::DuckDb(file) = self.backend else { return Err(self.mismatch("not a DuckDB file".to_owned())) };
        let system = ["begin_snapshot", "end_snapshot"];
        let mut expressions: Vec<String> = system.map(str::to_owned).into();
        let mut fields: Vec<FieldRef> =
            system.iter().map(|name| Arc::new(Field::new(*name, DataType::Int64, true))).collect();
        for column in columns {
            let Some(stored) = &column.stored else { continue };
            let (stored, wanted) = (quote_ident(stored), type_of(&column.field));
            let same = column.stored_type.eq_ignore_ascii_case(&wanted);
            expressions.push(match &column.rearranged {
                Some(rearranged) => applied(rearranged, &stored),
                None if same => stored,
                None => format!("CAST({stored} AS {wanted})"),
            });
            fields.push(column.field.clone());
        }
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let mut parts = Vec::new();
        let rest = format!("WHERE {condition} ORDER BY row_id, begin_snapshot");
        let streamed = file.duck()?.stream(&expressions, &self.qualified(&table.name), &rest, &schema, |part| {
            parts.push(part);
            Ok::<_, DuckError>(Flow::Continue)
        });
        streamed.map_err(|error| file.failed(error))?;
        let all = concat_batches(&schema, &parts).map_err(|error| self.mismatch(error.to_string()))?;
        let mut stored = all.columns().iter().skip(system.len());
        let mut arrays = Vec::with_capacity(columns.len());
        for column in columns {
            let array = if column.stored.is_some() { stored.next().cloned() } else { None };
            arrays.push(match array {
                Some(array) => array,
                None => self.missing(column, all.num_rows())?,
            });
        }
        let number = |at: usize| all.column(at).as_primitive::<Int64Type>();
        Ok(Inlined {
            batch: self.batch(columns, arrays, all.num_rows())?,
            begin: self.counts(number(0), &table.name, "begin_snapshot")?,
            end: number(1)
                .iter()
                .map(|end| end.map(u64::try_from).transpose())
                .collect::<Result<_, _>>()
                .map_err(|_| self.not_a_count(&table.name, "end_snapshot"))?,
        })
    }

    fn counts(&self, numbers: &Int64Array, table: &str, column: &str) -> Result<Vec<u64>, LakeError> {
        let count = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
        let counts: Option<Vec<u64>> = numbers.iter().map(count).collect();
        counts.ok_or_else(|| self.not_a_count(table, column))
    }

    fn not_a_count(&self, table: &str, column: &str) -> LakeError {
        LakeError::CatalogValue {
            lake: self.lake.to_owned(),
            table: table.to_owned(),
            column: column.to_owned(),
            wanted: "a whole number from zero up",
        }
    }

    /// A column of which nothing is stored.
    fn missing(&self, column: &InlinedColumn, rows: usize) -> Result<ArrayRef, LakeError> {
        match &column.default {
            None => Ok(new_null_array(column.field.data_type(), rows)),
            Some(default) => {
                take(default, &UInt32Array::from(vec![0; rows]), None).map_err(|error| self.mismatch(error.to_string()))
            }
        }
    }

    fn batch(&self, columns: &[InlinedColumn], arrays: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, LakeError> {
        let fields: Vec<FieldRef> = columns.iter().map(|column| column.field.clone()).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
            .map_err(|error| self.mismatch(error.to_string()))
    }

    fn mismatch(&self, message: String) -> LakeError {
        LakeError::Duck { lake: self.lake.to_owned(), doing: DOING, source: DuckError::Mismatch { message } }
    }
}

/// Whether a column found in a catalog is the one with this name.
fn is_named(found: &str, name: &str) -> bool {
    /// Bytes that PostgreSQL keeps of a name.
    const KEPT: usize = 63;
    let cut = name.floor_char_boundary(KEPT);
    found.eq_ignore_ascii_case(name) || found.eq_ignore_ascii_case(&name[..cut])
}
