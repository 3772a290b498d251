//! A column's type once the catalog and the policy have been asked.

use super::keyword::quoted;

/// The types whose values are told apart: one variant for each way to read text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PgType {
    /// `bool`.
    Bool,
    /// `int2`.
    Int2,
    /// `int4`.
    Int4,
    /// `int8`.
    Int8,
    /// `oid`, `xid`, `cid`.
    Oid,
    /// `xid8`.
    Xid8,
    /// `float4`.
    Float4,
    /// `float8`.
    Float8,
    /// `numeric` as a DECIMAL.
    Decimal {
        /// All digits, 1 to 38.
        precision: u8,
        /// Digits after the point, 0 to `precision`.
        scale: u8,
    },
    /// `numeric` as a DOUBLE.
    NumericDouble,
    /// `money`, a DECIMAL of 19 digits.
    Money {
        /// Digits after the point, 0 to 19.
        digits: u8,
    },
    /// `date`.
    Date,
    /// `time`.
    Time,
    /// `timestamp`.
    Timestamp,
    /// `timestamptz`.
    TimestampTz,
    /// `interval`.
    Interval,
    /// `uuid`.
    Uuid,
    /// `json` and `jsonb`.
    Json,
    /// `bytea`.
    Bytea,
    /// Every type that is kept as PostgreSQL writes it.
    Text,
    /// An array.
    Array {
        /// The type of the elements, which may again be an array where a domain stands between.
        element: Box<PgType>,
        /// How deep the lists are nested, 1 to 6.
        dimensions: u8,
    },
    /// A composite type with at least one attribute.
    Composite(Vec<StructField>),
    /// `hstore`.
    Hstore,
}

/// One attribute of a composite type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StructField {
    /// Its name, unquoted.
    pub name: String,
    /// Its type.
    pub pg_type: PgType,
}

impl PgType {
    /// The type as DuckDB's DESCRIBE writes it, which
    /// [`arrow_type`](tidegate_core::duckdb_type::arrow_type) takes.
    pub fn duckdb_type(&self) -> String {
        let plain = match self {
            PgType::Bool => "BOOLEAN",
            PgType::Int2 => "SMALLINT",
            PgType::Int4 => "INTEGER",
            PgType::Int8 => "BIGINT",
            PgType::Oid => "UINTEGER",
            PgType::Xid8 => "UBIGINT",
            PgType::Float4 => "FLOAT",
            PgType::Float8 | PgType::NumericDouble => "DOUBLE",
            PgType::Date => "DATE",
            PgType::Time => "TIME",
            PgType::Timestamp => "TIMESTAMP",
            PgType::TimestampTz => "TIMESTAMP WITH TIME ZONE",
            PgType::Interval => "INTERVAL",
            PgType::Uuid => "UUID",
            PgType::Json => "JSON",
            PgType::Bytea => "BLOB",
            PgType::Text => "VARCHAR",
            PgType::Hstore => "MAP(VARCHAR, VARCHAR)",
            PgType::Decimal { precision, scale } => return format!("DECIMAL({precision},{scale})"),
            PgType::Money { digits } => return format!("DECIMAL(19,{digits})"),
            PgType::Array { element, dimensions } => {
                return element.duckdb_type() + &"[]".repeat(usize::from(*dimensions));
            }
            PgType::Composite(fields) => {
                let fields: Vec<String> =
                    fields.iter().map(|f| format!("{} {}", quoted(&f.name), f.pg_type.duckdb_type())).collect();
                return format!("STRUCT({})", fields.join(", "));
            }
        };
        plain.to_owned()
    }
}
