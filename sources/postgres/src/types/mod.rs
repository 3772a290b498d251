//! PostgreSQL's types: which DuckDB type, and so which Arrow type, stands for each, and how its
//! text becomes Arrow arrays.
//!
//! [`TYPES_SQL`] reads the catalog, [`TypeCatalog::resolve`] turns a column's type into a
//! [`PgType`], and a [`ColumnBuilder`] takes the text of its values, as COPY and pgoutput both
//! give it. The text is read as these session settings write it: `DateStyle=ISO`, `TimeZone=UTC`,
//! `IntervalStyle=iso_8601`, `bytea_output=hex`, `extra_float_digits=3`, `lc_monetary=C`, and
//! UTF-8 as the client's encoding.
//!
//! No value is rounded, cut or replaced unless the [`Policy`] says so.

mod buffer;
mod builder;
mod catalog;
mod catalog_row;
mod column;
mod error;
mod keyword;
mod nested;
mod pg_type;
mod policy;
mod text;

#[cfg(test)]
mod tests;

pub use builder::ColumnBuilder;
pub use catalog::TypeCatalog;
pub use catalog_row::{Attribute, TYPES_SQL, TypeRow};
pub use error::{UnsupportedType, ValueError, ValueErrorKind};
pub use pg_type::{PgType, StructField};
pub use policy::{NotNumericAs, NumericAs, OnUnrepresentable, Policy};
