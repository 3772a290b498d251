//! What the pipeline file says about a DuckDB sink.

use std::path::PathBuf;

use serde::Deserialize;

/// The keys of `[sinks.NAME]` with `type = "duckdb"` that concern the target itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DuckdbConfig {
    /// The database file that people open; created, with its folder, by the first commit.
    pub path: PathBuf,
    /// How commits come into that file.
    #[serde(default)]
    pub publish: Publish,
}

impl DuckdbConfig {
    /// A file that is written in place.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        DuckdbConfig { path: path.into(), publish: Publish::default() }
    }

    /// The same with another way of publishing.
    #[must_use]
    pub fn publish(mut self, publish: Publish) -> Self {
        self.publish = publish;
        self
    }
}

/// How a commit becomes visible under the name that readers open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Publish {
    /// The file is changed where it is. A reader that holds it delays the commit.
    #[default]
    InPlace,
    /// Commits go into a private file beside it (the name with `.tidegate` at its end), of which
    /// each leaves a complete copy under the name. Readers and commits never wait for each other.
    AtomicCopy,
}
