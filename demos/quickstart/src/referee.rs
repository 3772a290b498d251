//! DuckDB as reader and referee: the mart and the Parquet deltas are queried as anybody would, and
//! compared with a full recompute.

use std::path::{Path, PathBuf};

use anyhow::Result;
use tidegate_duck::{Access, Duck, Extension, Options, quote_literal};

use crate::lake::attach;
use crate::print::query;
use crate::{pipeline, recompute};

/// Some rows of the mart.
pub fn show_mart(folder: &Path) -> Result<()> {
    let duck = Duck::open(&mart(folder), &Options { access: Access::ReadOnly, ..Options::default() })?;
    query(&duck, "SELECT * FROM segments ORDER BY revenue DESC")?;
    query(
        &duck,
        "SELECT view, max(epoch) AS epoch, max_by(frontier, epoch) AS frontier FROM _tidegate_epochs\nGROUP BY view ORDER BY view",
    )
}

/// Some changes, and a view as it was.
pub fn show_changes(folder: &Path) -> Result<()> {
    let duck = recompute::with_changes(folder)?;
    query(
        &duck,
        "SELECT _commit_version AS epoch, _change_type AS change, count(*) AS rows\nFROM late_by_air_changes(1, 7)\n\
         GROUP BY ALL ORDER BY ALL",
    )?;
    query(
        &duck,
        "SELECT c_mktsegment, now.revenue - before.revenue AS since_the_load\n\
         FROM segments now JOIN segments_asof(1) before USING (c_mktsegment)\nORDER BY ALL",
    )
}

/// Compares every view with what DuckDB computes from the lake. Prints a line a view; whether all were equal.
pub fn compare(folder: &Path) -> Result<bool> {
    let duck = recompute::with_changes(folder)?;
    duck.load(Extension::Ducklake)?;
    attach(&duck, &folder.join("lake.ducklake"))?;
    duck.execute(&format!("ATTACH {} AS mart (READ_ONLY)", quote_literal(&mart(folder).to_string_lossy())))?;
    Ok(recompute::compare(&duck, &pipeline::views())?.is_equal())
}

fn mart(folder: &Path) -> PathBuf {
    folder.join("out/mart.duckdb")
}
