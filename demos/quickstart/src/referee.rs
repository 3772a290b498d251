//! DuckDB as reader and referee: the mart and the Parquet deltas are queried as anybody would, and
//! compared with a full recompute.

use std::path::{Path, PathBuf};

use anyhow::Result;
use tidegate_core::{Frontier, Position, SnapshotId};
use tidegate_duck::Duck;

use crate::following::Pipeline;
use crate::lake::Lake;
use crate::print::query;
use crate::{changes, mart, pipeline, recompute, sqlite_lake};

/// Some rows of the mart.
pub fn show_mart(folder: &Path) -> Result<()> {
    let duck = open_mart(folder)?;
    query(&duck, "SELECT * FROM segments ORDER BY revenue DESC")?;
    query(
        &duck,
        "SELECT view, max(epoch) AS epoch, max_by(frontier, epoch) AS frontier FROM _tidegate_epochs\nGROUP BY view ORDER BY view",
    )
}

/// A DuckDB that sees the views in the mart under their own names.
pub fn open_mart(folder: &Path) -> Result<Duck> {
    let duck = Duck::open_in_memory()?;
    mart::attach(&duck, &mart_of(folder))?;
    duck.execute("USE mart")?;
    Ok(duck)
}

/// Some changes, and a view as it was.
pub fn show_changes(folder: &Path) -> Result<()> {
    let duck = changes::open(folder)?;
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

/// Waits until the pipeline that another process runs has caught up with the lake.
pub fn wait(folder: &Path, lake: &Lake) -> Result<()> {
    let newest = Position::SnapshotId(SnapshotId(lake.snapshot()?));
    let goal = Frontier::new().with("ducklake:lake".parse()?, newest);
    Pipeline { folder, file: pipeline::NAME, variables: &[] }.until_caught_up(&goal, &mut || Ok(()))
}

/// Compares every view with what DuckDB computes from the lake. Prints a line a view; whether all were equal.
pub fn compare(folder: &Path) -> Result<bool> {
    let duck = changes::open(folder)?;
    sqlite_lake::attach(&duck, folder)?;
    let mut places = vec![("memory", "the Parquet deltas")];
    let file = pipeline::read(folder)?;
    if file.contains("[sinks.mart]") {
        mart::attach(&duck, &mart_of(folder))?;
        places.insert(0, ("mart", "the mart"));
    }
    recompute::compare(&duck, &recompute::views(&file), &places)
}

fn mart_of(folder: &Path) -> PathBuf {
    folder.join("out/mart.duckdb")
}
