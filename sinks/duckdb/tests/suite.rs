//! The suite for sinks.

use std::path::Path;
use std::sync::Arc;

use tidegate_core::Micros;
use tidegate_sink_duckdb::{Clock, DuckdbConfig, DuckdbSink, Publish};

/// A clock that stands still.
pub fn clock() -> Clock {
    Arc::new(|| Micros(1_700_000_000_000_000))
}

/// A sink on `mart.duckdb` in a folder.
pub fn sink(folder: &Path) -> DuckdbSink {
    DuckdbSink::new("mart", DuckdbConfig::new(folder.join("mart.duckdb")), clock())
}

/// The same with copies for readers.
pub fn copying_sink(folder: &Path) -> DuckdbSink {
    let config = DuckdbConfig::new(folder.join("mart.duckdb")).publish(Publish::AtomicCopy);
    DuckdbSink::new("mart", config, clock())
}

#[test]
fn values_at_the_edges_return() {
    tidegate_testkit::conformance::values_at_the_edges(|folder| Box::new(sink(folder)), &[]);
}

#[test]
fn the_sink_conforms_with_copies() {
    tidegate_testkit::conformance::sink(|folder| Box::new(copying_sink(folder)));
}

#[test]
fn the_sink_conforms() {
    tidegate_testkit::conformance::sink(|folder| Box::new(sink(folder)));
}
