//! The Parquet files of a lake: data files and delete files become batches in the canonical types.
//!
//! Only what is wanted is read: the footer once, then the column chunks of the row groups that hold
//! wanted rows. DuckDB writes one page a column chunk and no page index, so none is looked for. Values come back
//! exactly as DuckDB reads them. Where a conversion is not obviously the same, DuckDB itself does it.
//!
//! The files: `place` turns paths into object stores, `files` reads and counts bytes and keeps footers, `file` is one
//! footer, `schema` and `leaf` say what DuckDB makes of a file's types, `columns` is the lake's side, `plan` matches
//! the two, `convert` and `cast` carry it out, `select` says which rows of which row groups, `read` does it, `deletes`
//! reads delete files, `vector` deletion vectors, `sealed` decrypts.
//!
//! Calls block. They belong on a thread of the runtime's blocking pool.

mod cast;
mod columns;
mod convert;
mod deletes;
mod error;
mod file;
mod files;
mod hive;
mod leaf;
mod meter;
mod place;
mod plan;
mod read;
mod schema;
mod sealed;
mod select;
#[cfg(test)]
mod tests;
mod vector;

pub(crate) use columns::{LakeColumn, Matching, NameMapping, Wanted};
pub use error::FileError;
pub(crate) use file::DataFile;
pub(crate) use files::{FileEntry, Files};
pub(crate) use meter::Meter;
pub(crate) use read::Reading;

/// The Parquet field id of the snapshot that a row was inserted in, or deleted in by a delete file. The name of the
/// column, `_ducklake_internal_snapshot_id`, may also be a user's.
pub(crate) const SNAPSHOT_ID: i32 = 2_147_483_539;

/// The Parquet field id of the row id of a row.
pub(crate) const ROW_ID: i32 = 2_147_483_540;
