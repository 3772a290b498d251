//! The pipeline file of the demo, and its views once more as DuckDB sees them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::recompute;

/// The views as they stand in the pipeline file.
pub const VIEWS: &str = include_str!("views.toml");

/// Writes the pipeline file.
pub fn write(folder: &Path) -> Result<PathBuf> {
    let file = folder.join("pipeline.toml");
    let head = "\
[pipeline]
name = \"quickstart\"
state_dir = \"state\"

[sources.lake]
type = \"ducklake\"
catalog = \"ducklake:lake.ducklake\"
";
    let sinks = "\
[sinks.changes]
type = \"parquet\"
path = \"out/changes\"

[sinks.mart]
type = \"duckdb\"
path = \"out/mart.duckdb\"
";
    fs::write(&file, format!("{head}\n{VIEWS}\n{sinks}")).with_context(|| format!("{}", file.display()))?;
    Ok(file)
}

/// Name and SELECT of each view, upstream views first.
pub fn views() -> Vec<(&'static str, &'static str)> {
    recompute::views(VIEWS)
}
