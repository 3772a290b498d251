//! The one place that opens DuckDB: connections with the settings the project relies on,
//! extensions, Arrow in and out with DuckDB's exact types, and the binder that asks DuckDB what a
//! view's columns are.
//!
//! Connectors use [`Duck`] for everything and reach for [`Duck::connection`] only where a plain
//! statement with bound values is needed.

mod append;
mod binder;
mod carrier;
mod connection;
mod error;
mod extension;
mod gate;
pub mod history;
pub mod lake;
mod quote;
mod read;
mod scalar;

pub use append::importable;
pub use binder::DuckBinder;
pub use carrier::{carrier_expression, carrier_type};
pub use connection::{Access, Duck, Options, staging_memory};
pub use error::DuckError;
pub use extension::Extension;
pub use gate::{Gate, Pass};
pub use quote::{quote_ident, quote_literal, quote_name};
pub use read::Flow;
pub use scalar::{ScalarExpression, is_scalar_function, presumed_type, version};

/// The crate underneath, for statements with bound values.
pub use duckdb;

/// The DuckDB release this tree is built against; extensions must be of the same.
pub const DUCKDB_VERSION: &str = "1.5.5";
