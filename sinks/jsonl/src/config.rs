//! What the pipeline file says about a JSON Lines sink.

use std::path::PathBuf;

use serde::Deserialize;

/// The keys of `[sinks.NAME]` with `type = "jsonl"` that concern the target itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JsonlConfig {
    /// The file; created, with its folder, by the first commit. `-` is standard output.
    pub path: PathBuf,
}

impl JsonlConfig {
    /// Whether the lines go to standard output.
    pub fn is_stdout(&self) -> bool {
        self.path.as_os_str() == "-"
    }
}
