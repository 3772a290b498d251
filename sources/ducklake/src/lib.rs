//! DuckLake as a source: the lake's snapshots become Z-sets of whole rows.
//!
//! What the official extension calls the change feed is not safe to build on as it is: row ids
//! change and repeat, rewrites show up as changes, expiry leaves silent gaps. This crate reads it
//! in the one way that holds (called *Protocol P* in the code): one snapshot at a time, maintenance
//! left out, insertions as +1 and deletions as −1, whole rows and nothing else. Where even that
//! would be wrong, two neighbouring snapshots are compared instead.
//!
//! The files: [`config`](Config) is the pipeline file's section, `catalog` the lake's metadata,
//! `tokens` what a snapshot says about itself, `commits` which files it wrote, `doubts` what it does not say, `tables` the schemas,
//! `time_map` when a snapshot was committed, `retention` which ones are kept, `statistics` how large tables are, `snapshot` and `poll` are the two
//! halves of [`Source`](tidegate_core::Source), `extension` and `native` the two readers.

mod catalog;
mod commits;
mod config;
mod doubts;
mod error;
mod extension;
mod journal;
mod native;
mod poll;
mod position;
mod retention;
mod row;
mod snapshot;
mod source;
mod statistics;
mod stream;
mod tables;
mod time_map;
mod timestamp;
mod tokens;

pub use config::{Config, DeletionVectors, OnExpiredSnapshot, Reader};
pub use source::{DucklakeSource, FilesRead};
pub use tidegate_duck::lake::AttachValue;
pub use time_map::Stood;
