//! What a view's columns are in PostgreSQL.
//!
//! | DuckDB | PostgreSQL |
//! | --- | --- |
//! | `BOOLEAN` | `boolean` |
//! | `TINYINT`, `SMALLINT`, `UTINYINT` | `smallint` |
//! | `INTEGER`, `USMALLINT` | `integer` |
//! | `BIGINT`, `UINTEGER` | `bigint` |
//! | `UBIGINT` | `numeric(20,0)` |
//! | `HUGEINT` | `numeric(38,0)` |
//! | `DECIMAL(p,s)` | `numeric(p,s)` |
//! | `FLOAT`, `DOUBLE` | `real`, `double precision` |
//! | `VARCHAR` | `text` |
//! | `UUID`, `JSON`, `BLOB` | `uuid`, `json`, `bytea` |
//! | `DATE`, `TIME`, `INTERVAL` | `date`, `time`, `interval` |
//! | `TIMESTAMP_S`, `TIMESTAMP_MS`, `TIMESTAMP` | `timestamp(0)`, `timestamp(3)`, `timestamp` |
//! | `TIMESTAMP WITH TIME ZONE` | `timestamptz` |
//! | `TIMESTAMP_NS` | `text`, as `2024-02-29T12:00:00.000000001`: PostgreSQL counts microseconds |
//! | lists and arrays of these | arrays of these; of `JSON`, `text[]` |
//! | lists of lists, `STRUCT`, `MAP` and all lists of them | `jsonb`, in the form of [`tidegate_json`] |
//!
//! PostgreSQL's arrays of several dimensions are rectangular and know no NULL in place of an inner array, so they
//! hold no lists of lists. `jsonb` keeps numbers exactly and tells its values apart, and the form that is written
//! leaves nothing to the order of members; `json`, which keeps texts as they are, stands for `JSON` alone.

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use tidegate_core::ViewInfo;
use tidegate_core::schema::duckdb_type;

use crate::error::PostgresSinkError;

/// How values of one column travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// As values of a base type.
    Scalar(Scalar),
    /// As an array of one dimension.
    Array(Scalar),
    /// As `json`: the text as it is.
    Json,
    /// As `jsonb`.
    Nested,
}

/// The base types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scalar {
    Bool,
    Int2,
    Int4,
    Int8,
    Numeric { precision: u8, scale: u8 },
    Float4,
    Float8,
    Text,
    Uuid,
    Bytea,
    Date,
    Time,
    Timestamp { digits: u8 },
    TimestampTz,
    TimestampText,
    Interval,
}

/// A column of the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// The type as `format_type` writes it.
    pub(crate) pg_type: String,
    pub(crate) not_null: bool,
}

/// PostgreSQL cuts longer names off without an error.
const NAME_BYTES_MAX: usize = 63;
/// PostgreSQL's limit less the two columns that a stage has more.
const COLUMNS_MAX: usize = 1_598;
/// Names of columns that every table of PostgreSQL has already.
const SYSTEM_COLUMNS: &[&str] = &["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

/// The columns of a view, if PostgreSQL can have them.
pub(crate) fn columns(view: &ViewInfo) -> Result<Vec<Column>, PostgresSinkError> {
    let refuse = |fact: String| PostgresSinkError::Unsupported { view: view.name.clone(), fact };
    let name = check_name(view.name.as_str());
    name.map_err(|fact| refuse(format!("its name {fact}: rename the view")))?;
    let fields = view.schema.fields();
    if fields.len() > COLUMNS_MAX {
        return Err(refuse(format!("it has {} columns, and a table has at most {COLUMNS_MAX}", fields.len())));
    }
    let mut columns = Vec::with_capacity(fields.len());
    for field in fields {
        check_name(field.name())
            .map_err(|fact| refuse(format!("the name of column {} {fact}: give it another name", field.name())))?;
        if SYSTEM_COLUMNS.contains(&field.name().as_str()) {
            let name = field.name();
            return Err(refuse(format!("every table of PostgreSQL has a column {name} already: give it another name")));
        }
        columns.push(column(field).map_err(|fact| refuse(format!("column {}: {fact}", field.name())))?);
    }
    Ok(columns)
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("is empty".to_owned());
    }
    if name.contains('\0') {
        return Err("has the character U+0000".to_owned());
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(format!("has {} bytes, and PostgreSQL's names have at most {NAME_BYTES_MAX}", name.len()));
    }
    Ok(())
}

fn column(field: &Field) -> Result<Column, String> {
    let name = duckdb_type(field).ok_or("it carries no DuckDB type")?;
    let kind = match field.data_type() {
        DataType::List(item) | DataType::FixedSizeList(item, _) if !item.data_type().is_nested() => {
            let element = name.rsplit_once('[').map_or(name, |(element, _)| element).trim();
            Kind::Array(scalar(item.data_type(), element)?)
        }
        nested if nested.is_nested() => Kind::Nested,
        DataType::Utf8 if name.eq_ignore_ascii_case("JSON") => Kind::Json,
        plain => Kind::Scalar(scalar(plain, name)?),
    };
    let pg_type = kind.pg_type();
    Ok(Column { name: field.name().clone(), kind, pg_type, not_null: !field.is_nullable() })
}

fn scalar(data_type: &DataType, duckdb_type: &str) -> Result<Scalar, String> {
    Ok(match data_type {
        DataType::Boolean => Scalar::Bool,
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => Scalar::Int2,
        DataType::Int32 | DataType::UInt16 => Scalar::Int4,
        DataType::Int64 | DataType::UInt32 => Scalar::Int8,
        DataType::UInt64 => Scalar::Numeric { precision: 20, scale: 0 },
        DataType::Decimal128(precision, scale) => {
            let scale = u8::try_from(*scale).map_err(|_| "its scale is negative: cast it to another DECIMAL")?;
            Scalar::Numeric { precision: *precision, scale }
        }
        DataType::Float32 => Scalar::Float4,
        DataType::Float64 => Scalar::Float8,
        DataType::Utf8 if duckdb_type.eq_ignore_ascii_case("UUID") => Scalar::Uuid,
        DataType::Utf8 => Scalar::Text,
        DataType::Binary => Scalar::Bytea,
        DataType::Date32 => Scalar::Date,
        DataType::Time64(TimeUnit::Microsecond) => Scalar::Time,
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => Scalar::TimestampTz,
        DataType::Timestamp(TimeUnit::Second, None) => Scalar::Timestamp { digits: 0 },
        DataType::Timestamp(TimeUnit::Millisecond, None) => Scalar::Timestamp { digits: 3 },
        DataType::Timestamp(TimeUnit::Microsecond, None) => Scalar::Timestamp { digits: 6 },
        DataType::Timestamp(TimeUnit::Nanosecond, None) => Scalar::TimestampText,
        DataType::Interval(IntervalUnit::MonthDayNano) => Scalar::Interval,
        other => return Err(format!("no type of PostgreSQL stands for {other}: cast it to VARCHAR")),
    })
}

impl Kind {
    fn pg_type(&self) -> String {
        match self {
            Kind::Scalar(scalar) => scalar.pg_type(),
            Kind::Array(scalar) => format!("{}[]", scalar.pg_type()),
            Kind::Json => "json".to_owned(),
            Kind::Nested => "jsonb".to_owned(),
        }
    }

    /// Whether PostgreSQL calls values equal that are shown differently: 0 and −0, 30 days and a month.
    pub(crate) fn has_equal_values(&self) -> bool {
        let (Kind::Scalar(scalar) | Kind::Array(scalar)) = self else { return false };
        matches!(scalar, Scalar::Float4 | Scalar::Float8 | Scalar::Interval)
    }
}

impl Scalar {
    fn pg_type(self) -> String {
        let plain = match self {
            Scalar::Bool => "boolean",
            Scalar::Int2 => "smallint",
            Scalar::Int4 => "integer",
            Scalar::Int8 => "bigint",
            Scalar::Numeric { precision, scale } => return format!("numeric({precision},{scale})"),
            Scalar::Float4 => "real",
            Scalar::Float8 => "double precision",
            Scalar::Text | Scalar::TimestampText => "text",
            Scalar::Uuid => "uuid",
            Scalar::Bytea => "bytea",
            Scalar::Date => "date",
            Scalar::Time => "time without time zone",
            Scalar::Timestamp { digits: 6 } => "timestamp without time zone",
            Scalar::Timestamp { digits } => return format!("timestamp({digits}) without time zone"),
            Scalar::TimestampTz => "timestamp with time zone",
            Scalar::Interval => "interval",
        };
        plain.to_owned()
    }

    /// The type's number, which stands in the binary form of arrays.
    pub(crate) fn oid(self) -> u32 {
        use tidegate_postgres::tokio_postgres::types::Type;
        let found = match self {
            Scalar::Bool => Type::BOOL,
            Scalar::Int2 => Type::INT2,
            Scalar::Int4 => Type::INT4,
            Scalar::Int8 => Type::INT8,
            Scalar::Numeric { .. } => Type::NUMERIC,
            Scalar::Float4 => Type::FLOAT4,
            Scalar::Float8 => Type::FLOAT8,
            Scalar::Text | Scalar::TimestampText => Type::TEXT,
            Scalar::Uuid => Type::UUID,
            Scalar::Bytea => Type::BYTEA,
            Scalar::Date => Type::DATE,
            Scalar::Time => Type::TIME,
            Scalar::Timestamp { .. } => Type::TIMESTAMP,
            Scalar::TimestampTz => Type::TIMESTAMPTZ,
            Scalar::Interval => Type::INTERVAL,
        };
        found.oid()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Schema;
    use tidegate_core::{RowIdentity, schema};

    use super::*;

    fn view(name: &str, column: &str) -> ViewInfo {
        let schema = schema::columns([(column, "INTEGER", true)]).unwrap();
        ViewInfo::new(name.into(), schema, RowIdentity::WholeRow)
    }

    #[test]
    fn names_that_postgres_cannot_have_are_refused() {
        let long = "ü".repeat(32);
        let cases = [
            (view("", "k"), "its name is empty"),
            (view(&long, "k"), "its name has 64 bytes, and PostgreSQL's names have at most 63: rename the view"),
            (view("v", &long), "has 64 bytes"),
            (view("v", "a\0"), "U+0000"),
            (view("v", "ctid"), "has a column ctid already"),
        ];
        for (view, fact) in cases {
            let error = columns(&view).unwrap_err();
            assert!(error.to_string().contains(fact), "{error}");
        }
        assert!(columns(&view("v", "CTID")).is_ok());
        assert!(columns(&view(&"x".repeat(63), "k")).is_ok());
    }

    #[test]
    fn types() {
        let cases = [
            ("UBIGINT", "numeric(20,0)"),
            ("HUGEINT[]", "numeric(38,0)[]"),
            ("UUID[3]", "uuid[]"),
            ("JSON", "json"),
            ("JSON[]", "text[]"),
            ("TIMESTAMP_S", "timestamp(0) without time zone"),
            ("TIMESTAMP_NS[]", "text[]"),
            ("VARCHAR[][]", "jsonb"),
            ("STRUCT(a INTEGER)", "jsonb"),
            ("STRUCT(a INTEGER)[]", "jsonb"),
            ("MAP(INTEGER, INTEGER)", "jsonb"),
        ];
        for (duckdb_type, expected) in cases {
            let schema: Arc<Schema> = schema::columns([("c", duckdb_type, false)]).unwrap();
            let view = ViewInfo::new("v".into(), schema, RowIdentity::WholeRow);
            let column = columns(&view).unwrap().remove(0);
            assert_eq!((column.pg_type.as_str(), column.not_null), (expected, true), "{duckdb_type}");
        }
    }
}
