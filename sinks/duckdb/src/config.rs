//! What the pipeline file says about a DuckDB sink.

use std::path::PathBuf;

use serde::Deserialize;

/// The keys of `[sinks.NAME]` with `type = "duckdb"` that concern the target itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DuckdbConfig {
    /// The database file; created, with its folder, by the first commit.
    pub path: PathBuf,
}
