//! The lake through DuckDB's official extension.

pub mod changes;
pub mod connection;
mod history;
mod rows;
pub mod snapshot;
