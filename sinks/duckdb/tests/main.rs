//! The DuckDB sink against the suite that all sinks pass, and against what is its own.

mod faults;
#[path = "../../parquet/tests/history.rs"]
mod history;
mod loads;
mod past;
mod publish;
mod random;
mod removal;
mod rows;
mod stops;
mod suite;
