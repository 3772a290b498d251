//! The Parquet deltas as DuckDB reads them. A demo includes this file as a module.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use tidegate_duck::Duck;

/// A DuckDB that knows the views of `views.sql`, which stands beside the Parquet files.
pub fn open(folder: &Path) -> Result<Duck> {
    let duck = Duck::open_in_memory()?;
    let file = folder.join("out/changes/views.sql");
    let sql = fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))?;
    duck.execute(&sql)?;
    Ok(duck)
}
