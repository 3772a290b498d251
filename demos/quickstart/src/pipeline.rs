//! The pipeline file: the one of this demo, which comes with the program, or another over the same lake, which lies in the
//! working folder. `demos/job` has such a one.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::recompute;

/// The pipeline file of this demo.
const FILE: &str = include_str!("../pipeline.toml");

/// Its name in the folder.
pub const NAME: &str = "pipeline.toml";

/// The part of it that people want to see.
pub fn views_as_written() -> &'static str {
    let start = FILE.find("[views.").expect("there are views");
    let end = FILE.find("[sinks.").expect("the sinks come last");
    FILE[start..end].trim_end()
}

/// Writes the pipeline file.
pub fn write(folder: &Path) -> Result<PathBuf> {
    let file = folder.join(NAME);
    fs::write(&file, FILE).with_context(|| format!("{} cannot be written", file.display()))?;
    Ok(file)
}

/// The pipeline file in a folder.
pub fn read(folder: &Path) -> Result<String> {
    let file = folder.join(NAME);
    fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))
}

/// Name and SELECT of each view of this demo, upstream views first.
pub fn views() -> Vec<(&'static str, &'static str)> {
    recompute::views(FILE)
}
