//! The DuckLake sink against the suite that all sinks pass, and against what is its own, on catalogs of
//! all three kinds.

mod book;
mod cost;
mod faults;
#[path = "../../parquet/tests/history.rs"]
mod history;
mod lakes;
mod loads;
mod past;
mod random;
mod remote;
mod removal;
mod rows;
mod snapshots;
mod stops;
mod suite;
mod upkeep;
mod writers;
