//! The Parquet sink against the suite that all sinks pass, and against what is its own.

mod compaction;
mod faults;
mod figures;
mod files;
mod history;
mod interrupted;
mod interrupted_merge;
mod random;
mod readers;
mod removal;
mod retention;
mod snapshot;
mod store_faults;
mod suite;
mod views_sql;
