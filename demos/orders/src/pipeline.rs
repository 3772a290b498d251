//! The pipeline file of the demo, and its views once more as DuckDB sees them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::recompute;

/// The pipeline file.
const FILE: &str = include_str!("../pipeline.toml");

/// Its name in the folder.
pub const NAME: &str = "pipeline.toml";

/// The part of it that people want to see.
pub fn views_as_written() -> &'static str {
    let start = FILE.find("# What was shipped").expect("the first view has its comment");
    let end = FILE.find("[sinks.").expect("the sinks come last");
    FILE[start..end].trim_end()
}

/// Writes the pipeline file.
pub fn write(folder: &Path) -> Result<()> {
    let file = folder.join(NAME);
    fs::write(&file, FILE).with_context(|| format!("{} cannot be written", file.display()))
}

/// Name and SELECT of each view, upstream views first.
pub fn views() -> Vec<(&'static str, &'static str)> {
    recompute::views(FILE)
}
