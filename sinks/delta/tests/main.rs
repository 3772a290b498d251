//! The Delta sink against the suite that all sinks pass, and against what is its own.

mod book;
mod columns;
mod feed;
#[path = "../../parquet/tests/history.rs"]
mod history;
mod past;
mod python;
mod random;
mod removal;
mod stops;
mod stores;
mod suite;
mod upkeep;
mod work;
mod writers;
