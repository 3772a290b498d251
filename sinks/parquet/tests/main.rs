//! The Parquet sink against the suite that all sinks pass, and against what is its own.

mod faults;
mod files;
mod history;
mod interrupted;
mod random;
mod suite;
mod views_sql;
