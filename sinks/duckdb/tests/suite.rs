//! The suite for sinks.

use std::path::Path;
use std::sync::Arc;

use tidegate_core::Micros;
use tidegate_sink_duckdb::{Clock, DuckdbConfig, DuckdbSink};

/// A clock that stands still.
pub fn clock() -> Clock {
    Arc::new(|| Micros(1_700_000_000_000_000))
}

/// A sink on `mart.duckdb` in a folder.
pub fn sink(folder: &Path) -> DuckdbSink {
    DuckdbSink::new("mart", DuckdbConfig { path: folder.join("mart.duckdb") }, clock())
}

#[test]
fn the_sink_conforms() {
    tidegate_testkit::conformance::sink(|folder| Box::new(sink(folder)));
}
