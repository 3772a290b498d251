//! DuckDB's texts as values: what a type's text means is DuckDB's business, so DuckDB casts it. One database in
//! memory serves all castings of a client, and the columns of a batch are cast together.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray, new_empty_array, new_null_array};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use tidegate_core::ErrorKind;
use tidegate_core::duckdb_type::arrow_type;
use tidegate_core::schema::duckdb_type;
use tidegate_duck::{Duck, DuckError, Flow, Options, presumed_type};

use crate::error::LakeError;
use crate::native::nested::applied;

/// A column of texts.
pub struct TextColumn<'a> {
    /// The texts.
    pub texts: StringArray,
    /// The DuckDB type that they are texts of.
    pub stored_type: &'a str,
    /// DuckDB's expression for the wanted value in terms of `stored`, where a cast is not enough.
    pub rearranged: Option<&'a str>,
    /// What becomes of them.
    pub field: &'a FieldRef,
}

/// The database that casts.
#[derive(Default)]
pub struct Texts {
    duck: Option<Duck>,
    /// There is a table for so many columns.
    widths: BTreeSet<usize>,
}

/// DuckDB's name of a field's type.
pub fn type_of(field: &Field) -> String {
    duckdb_type(field).map_or_else(|| presumed_type(field.data_type()), str::to_owned)
}

impl Texts {
    /// Texts that the catalog has for one column, which are those of its own type.
    pub fn parse_one(&mut self, lake: &str, texts: &StringArray, field: &FieldRef) -> Result<ArrayRef, LakeError> {
        let stored_type = type_of(field);
        let column = TextColumn { texts: texts.clone(), stored_type: &stored_type, rearranged: None, field };
        let parsed = self.parse(lake, "the catalog", &[column]).map_err(|error| match error {
            LakeError::InlinedValue { lake, column, wanted, .. } => LakeError::Catalog {
                lake,
                message: format!(
                    "the catalog has a text for column {column}, such as its default, that does not read as {wanted}: it \
                     is damaged, or was written by a release of DuckLake that this program does not know"
                ),
                kind: ErrorKind::Stop,
            },
            other => other,
        })?;
        parsed.into_iter().next().ok_or_else(|| LakeError::Abandoned { lake: lake.to_owned() })
    }

    /// The texts of some columns of equal length. An error names the column, of `table`, that has a wrong one.
    pub fn parse(&mut self, lake: &str, table: &str, columns: &[TextColumn<'_>]) -> Result<Vec<ArrayRef>, LakeError> {
        for column in columns {
            // It becomes a part of a statement, so it must be a type and nothing else.
            arrow_type(column.stored_type).map_err(|source| LakeError::ColumnType {
                lake: lake.to_owned(),
                table: table.to_owned(),
                column: column.field.name().clone(),
                source,
            })?;
        }
        let error = match self.cast(columns) {
            Ok(arrays) => return Ok(arrays),
            Err(error) => error,
        };
        let culprit = columns.iter().find(|column| self.cast(std::slice::from_ref(*column)).is_err());
        Err(match culprit {
            Some(column) => LakeError::InlinedValue {
                lake: lake.to_owned(),
                table: table.to_owned(),
                column: column.field.name().clone(),
                wanted: type_of(column.field),
            },
            None => LakeError::Duck { lake: lake.to_owned(), doing: "reading inlined values", source: error },
        })
    }

    fn cast(&mut self, columns: &[TextColumn<'_>]) -> Result<Vec<ArrayRef>, DuckError> {
        let rows = columns.first().map_or(0, |column| column.texts.len());
        if columns.iter().all(|column| column.texts.null_count() == rows) {
            return Ok(columns.iter().map(|column| new_null_array(column.field.data_type(), rows)).collect());
        }
        let duck = match self.duck.take() {
            Some(duck) => duck,
            None => Duck::open_in_memory_with(&Options { threads: Some(1), ..Options::default() })?,
        };
        let duck = self.duck.insert(duck);
        let table = format!("texts_{}", columns.len());
        if !self.widths.contains(&columns.len()) {
            let names = (0..columns.len()).map(|at| format!("c{at} VARCHAR")).collect::<Vec<_>>().join(", ");
            duck.execute(&format!("CREATE TABLE {table} ({names})"))?;
            self.widths.insert(columns.len());
        }
        duck.execute("BEGIN TRANSACTION")?;
        let cast = cast_through(duck, &table, columns);
        duck.execute("ROLLBACK")?;
        cast
    }
}

/// Appends the texts to the table and reads them back as values.
fn cast_through(duck: &Duck, table: &str, columns: &[TextColumn<'_>]) -> Result<Vec<ArrayRef>, DuckError> {
    let mismatch = |error: arrow::error::ArrowError| DuckError::Mismatch { message: error.to_string() };
    let fields: Vec<_> = (0..columns.len()).map(|at| Field::new(format!("c{at}"), DataType::Utf8, true)).collect();
    let texts = columns.iter().map(|column| Arc::new(column.texts.clone()) as ArrayRef).collect();
    let texts = RecordBatch::try_new(Arc::new(Schema::new(fields)), texts).map_err(mismatch)?;
    duck.append(&[table], [texts])?;
    let expression = |(at, column): (usize, &TextColumn<'_>)| {
        let (stored, wanted) = (column.stored_type, type_of(column.field));
        let value = format!("CAST(c{at} AS {stored})");
        match column.rearranged {
            Some(rearranged) => applied(rearranged, &value),
            None if stored.eq_ignore_ascii_case(&wanted) => value,
            None => format!("CAST({value} AS {wanted})"),
        }
    };
    let expressions: Vec<_> = columns.iter().enumerate().map(expression).collect();
    let schema = Arc::new(Schema::new(columns.iter().map(|column| column.field.clone()).collect::<Vec<_>>()));
    let mut parts: Vec<RecordBatch> = Vec::new();
    duck.stream(&expressions, table, "", &schema, |batch| {
        parts.push(batch);
        Ok::<_, DuckError>(Flow::Continue)
    })?;
    let column = |(at, column): (usize, &TextColumn<'_>)| {
        let parts: Vec<&dyn Array> = parts.iter().map(|part| part.column(at).as_ref()).collect();
        match parts.as_slice() {
            [] => Ok(new_empty_array(column.field.data_type())),
            parts => concat(parts).map_err(mismatch),
        }
    };
    columns.iter().enumerate().map(column).collect()
}
