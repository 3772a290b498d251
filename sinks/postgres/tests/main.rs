//! The PostgreSQL sink against the suite that all sinks pass, and against what is its own.

mod cost;
mod faults;
#[path = "../../parquet/tests/history.rs"]
mod history;
mod interruptions;
mod past;
mod random;
mod removal;
mod rows;
mod shape;
mod stops;
mod suite;
mod types;
