//! The suite for sinks.

use std::path::Path;
use std::sync::Arc;

use tidegate_core::Micros;
use tidegate_sink_jsonl::{Clock, JsonlConfig, JsonlSink};

/// A clock that stands still.
pub fn clock() -> Clock {
    Arc::new(|| Micros(1_700_000_000_000_000))
}

/// A sink on `changes.jsonl` in a folder.
pub fn sink(folder: &Path) -> JsonlSink {
    sink_to(&folder.join("out/changes.jsonl"))
}

/// A sink on a file.
pub fn sink_to(path: &Path) -> JsonlSink {
    JsonlSink::new("lines", &JsonlConfig { path: path.to_owned() }, clock()).unwrap()
}

#[test]
fn the_sink_conforms() {
    tidegate_testkit::conformance::sink(|folder| Box::new(sink(folder)));
}

#[test]
fn values_at_the_edges_return() {
    tidegate_testkit::conformance::values_at_the_edges(|folder| Box::new(sink(folder)), &[]);
}
