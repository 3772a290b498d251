//! The JSON Lines sink against the suite that all sinks pass, and against what is its own.

mod faults;
#[path = "../../parquet/tests/history.rs"]
mod history;
mod lines;
mod random;
mod stdout;
mod stops;
mod suite;
