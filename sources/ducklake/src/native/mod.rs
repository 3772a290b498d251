//! The lake read without its extension: the catalog's tables as they are, the Parquet files as they are.
//!
//! `lake` holds the two together; `plan` says what must be read, `rows` reads it, `poll` and `snapshot` send it.

pub mod catalog;
mod erased;
mod files;
mod kills;
pub mod lake;
mod latest;
mod layout;
mod nested;
pub mod notify;
mod parquet;
mod plan;
pub mod poll;
mod rows;
mod session;
pub mod snapshot;
mod stamps;
mod types;
pub mod virtual_columns;

pub(crate) use parquet::FileError;
