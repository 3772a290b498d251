//! Schemas: Arrow schemas whose fields also say which DuckDB type they stand for.
//!
//! Views have the column types that DuckDB gives them, and some of those have no Arrow type of
//! their own: HUGEINT travels as `Decimal128(38, 0)`, UUID as text. Every field therefore carries
//! DuckDB's name of its type in the metadata key [`DUCKDB_TYPE`]; targets that speak DuckDB cast
//! back to it.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{RowIdentity, TableName, UnsupportedType, ViewName, duckdb_type};

/// Field metadata key: the column's type as DuckDB writes it, for example `HUGEINT`,
/// `DECIMAL(15,2)` or `TIMESTAMP WITH TIME ZONE`.
pub const DUCKDB_TYPE: &str = "tidegate.type";

/// DuckDB's name of a field's type, where the field carries one.
pub fn duckdb_type(field: &Field) -> Option<&str> {
    field.metadata().get(DUCKDB_TYPE).map(String::as_str)
}

/// The field with DuckDB's name of its type attached.
#[must_use]
pub fn with_duckdb_type(field: Field, duckdb_type: impl Into<String>) -> Field {
    let mut metadata = field.metadata().clone();
    metadata.insert(DUCKDB_TYPE.to_owned(), duckdb_type.into());
    field.with_metadata(metadata)
}

/// Field metadata key of a [virtual column](VirtualColumn) of a table. The value is why it cannot be read, or empty.
const VIRTUAL: &str = "tidegate.virtual";

/// A column that a source can tell of every row of a table besides the table's own: `*` leaves it out, and it is read only
/// where a view names it. A column of the table with the same name, whatever its case, hides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VirtualColumn {
    /// Its name.
    pub name: &'static str,
    /// Its type as DuckDB writes it.
    pub duckdb_type: &'static str,
    /// Why views cannot have it, and the way out; `None` where they can.
    pub refused: Option<&'static str>,
}

/// Whether a column of a table is a [virtual one](VirtualColumn).
pub fn is_virtual(field: &Field) -> bool {
    field.metadata().contains_key(VIRTUAL)
}

/// Why a virtual column cannot be read.
pub fn refused(field: &Field) -> Option<&str> {
    field.metadata().get(VIRTUAL).map(String::as_str).filter(|reason| !reason.is_empty())
}

/// The column as one of the table's own.
#[must_use]
pub fn as_own(field: &Field) -> Field {
    let mut metadata = field.metadata().clone();
    metadata.remove(VIRTUAL);
    field.clone().with_metadata(metadata)
}

fn as_virtual(field: Field, refused: &str) -> Field {
    let mut metadata = field.metadata().clone();
    metadata.insert(VIRTUAL.to_owned(), refused.to_owned());
    field.with_metadata(metadata)
}

/// A table as a source offers it. Its columns are serialised as their names, DuckDB types and
/// nullability, and read back through [`duckdb_type::field`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSchema {
    /// The table's name, in the source's case.
    pub name: TableName,
    /// What the source itself calls the table whatever its name (DuckLake's `table_id`,
    /// PostgreSQL's OID): a drop and recreate under one name changes it.
    pub incarnation: u64,
    /// The columns, each with its [`DUCKDB_TYPE`]. The [virtual ones](VirtualColumn) that are wanted come last.
    #[serde(serialize_with = "write_columns", deserialize_with = "read_columns")]
    pub columns: SchemaRef,
    /// `Key` when the source sends [`Keyed`](crate::TableEvent::Keyed) events by these columns,
    /// else `WholeRow`.
    pub identity: RowIdentity,
    /// Who can say what the table holds now.
    #[serde(default)]
    pub integral: Integral,
}

impl TableSchema {
    /// The table's own columns.
    pub fn own_columns(&self) -> &[Arc<Field>] {
        let fields: &[Arc<Field>] = self.columns.fields();
        &fields[..fields.iter().position(|field| is_virtual(field)).unwrap_or(fields.len())]
    }

    /// The virtual columns that are wanted.
    pub fn virtual_columns(&self) -> &[Arc<Field>] {
        &self.columns.fields()[self.own_columns().len()..]
    }

    /// The same table with a virtual column more, unless one of its columns has that name.
    pub fn with_virtual_column(self, column: &VirtualColumn) -> Result<TableSchema, UnsupportedType> {
        if self.columns.fields().iter().any(|field| field.name().eq_ignore_ascii_case(column.name)) {
            return Ok(self);
        }
        let field = duckdb_type::field(column.name, column.duckdb_type, true)?;
        let more = Arc::new(as_virtual(field, column.refused.unwrap_or_default()));
        let fields = self.columns.fields().iter().cloned().chain([more]);
        Ok(TableSchema { columns: Arc::new(Schema::new(fields.collect::<Vec<_>>())), ..self })
    }

    /// The same table with the virtual columns alone that a condition holds for.
    #[must_use]
    pub fn with_virtual_columns_if(self, wanted: impl Fn(&Field) -> bool) -> TableSchema {
        let fields = self.columns.fields().iter().filter(|field| !is_virtual(field) || wanted(field)).cloned();
        let columns = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        TableSchema { columns, ..self }
    }
}

/// Who can say what a table without a key holds: the one who keeps its integral. Of a table with a key
/// the engine always keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Integral {
    /// The source, at any position: the engine keeps no copy, and takes weighted rows alone.
    #[default]
    Source,
    /// The engine: the source tells only what changes, and the engine's copy serves TRUNCATE, replaced
    /// contents and new views.
    Engine,
}

/// A schema with the given columns: name, DuckDB type, nullable.
pub fn columns<'a>(columns: impl IntoIterator<Item = (&'a str, &'a str, bool)>) -> Result<SchemaRef, UnsupportedType> {
    let fields =
        columns.into_iter().map(|(name, duckdb_type, nullable)| duckdb_type::field(name, duckdb_type, nullable));
    Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<_>, _>>()?)))
}

/// A column as it is serialised.
#[derive(Serialize, Deserialize)]
struct Column {
    name: String,
    #[serde(rename = "type")]
    duckdb_type: String,
    nullable: bool,
    #[serde(rename = "virtual", default, skip_serializing_if = "std::ops::Not::not")]
    is_virtual: bool,
}

fn write_columns<S: Serializer>(columns: &SchemaRef, serializer: S) -> Result<S::Ok, S::Error> {
    let column = |field: &Arc<Field>| match duckdb_type(field) {
        Some(duckdb_type) => Ok(Column {
            name: field.name().clone(),
            duckdb_type: duckdb_type.to_owned(),
            nullable: field.is_nullable(),
            is_virtual: is_virtual(field),
        }),
        None => Err(serde::ser::Error::custom(format!("column {} carries no DuckDB type", field.name()))),
    };
    serializer.collect_seq(columns.fields().iter().map(column).collect::<Result<Vec<_>, _>>()?)
}

fn read_columns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SchemaRef, D::Error> {
    let read = Vec::<Column>::deserialize(deserializer)?;
    let field = |column: Column| {
        let field = duckdb_type::field(&column.name, &column.duckdb_type, column.nullable)?;
        Ok(if column.is_virtual { as_virtual(field, "") } else { field })
    };
    let fields = read.into_iter().map(field).collect::<Result<Vec<_>, UnsupportedType>>();
    Ok(Arc::new(Schema::new(fields.map_err(serde::de::Error::custom)?)))
}

/// A column of a view as DuckDB binds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclaredColumn {
    /// The name, in DuckDB's spelling for unaliased expressions (`count_star()`, `sum(x)`).
    pub name: String,
    /// The type as DuckDB writes it.
    pub duckdb_type: String,
}

/// DuckDB's refusal of a view's SQL.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct BindError {
    /// The view whose SQL was refused.
    pub view: ViewName,
    /// What DuckDB says: construct, place in the SQL and near matches.
    pub message: String,
}

/// Asks DuckDB what a view's columns are called and which types they have. SQL means what DuckDB
/// says it means; the engine takes names and types from here and refuses views whose types it
/// cannot reproduce.
pub trait Binder: Send + Sync {
    /// Binds each view over empty tables with the given schemas. Views may read the views before
    /// them in the list by their bare names. One answer a view, in order; the error of one view
    /// does not keep the others from being bound, unless they read it.
    fn describe(
        &self,
        tables: &[TableSchema],
        views: &[(ViewName, String)],
    ) -> Vec<Result<Vec<DeclaredColumn>, BindError>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_schemas_round_trip() {
        let schema = TableSchema {
            name: TableName::new("lake", "main", "Orders"),
            incarnation: 7,
            columns: columns([
                ("id", "BIGINT", false),
                ("total", "HUGEINT", true),
                ("tags", "STRUCT(\"a b\" DECIMAL(4,1), c UUID[])", true),
                ("at", "TIMESTAMP WITH TIME ZONE", true),
            ])
            .unwrap(),
            identity: RowIdentity::Key(vec![0]),
            integral: Integral::Source,
        };
        let json = serde_json::to_string(&schema).unwrap();
        assert!(json.contains(r#"{"name":"id","type":"BIGINT","nullable":false}"#), "{json}");
        assert_eq!(serde_json::from_str::<TableSchema>(&json).unwrap(), schema);
        assert!(!json.contains("virtual"), "{json}");
        let column = VirtualColumn { name: "rowid", duckdb_type: "BIGINT", refused: None };
        let with = schema.clone().with_virtual_column(&column).unwrap();
        assert_eq!((with.own_columns(), with.virtual_columns().len()), (schema.own_columns(), 1));
        let again = serde_json::from_str::<TableSchema>(&serde_json::to_string(&with).unwrap()).unwrap();
        assert_eq!(again, with);
        assert_ne!(with, schema);
        assert_eq!(with.clone().with_virtual_columns_if(|_| false), schema);
        let hidden = VirtualColumn { name: "TOTAL", ..column };
        assert_eq!(schema.clone().with_virtual_column(&hidden).unwrap(), schema);
        let unknown = json.replace("HUGEINT", "BIT");
        assert!(serde_json::from_str::<TableSchema>(&unknown).unwrap_err().to_string().contains("BIT"));
    }
}
