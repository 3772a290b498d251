//! The whole demo on this machine, in a folder that stays: a change, a run, and the next one.

use anyhow::{Context, Result};

use crate::bridge::Bridge;
use crate::lake::Lake;
use crate::print::{self, heading, table};
use crate::rounds::{self, ROUNDS};
use crate::{folder, pipeline, referee, times};

/// TPC-H's scale factor: 0.2 makes 1.2 million line items.
const SCALE_FACTOR: f64 = 0.2;

/// Whether everything was equal.
pub fn run() -> Result<bool> {
    let folder = folder::fresh("demo-quickstart")?;
    heading("A lake");
    let lake = Lake::create(&folder, SCALE_FACTOR)?;
    for (name, rows) in lake.row_counts()? {
        println!("  {name:<10} {:>12} rows", print::grouped(rows));
    }

    heading("A pipeline of three views");
    let file = pipeline::write(&folder)?;
    for line in pipeline::views_as_written().lines() {
        println!("  {line}");
    }
    let bridge = Bridge::find(file)?;
    println!("\n  $ tidegate run pipeline.toml --once");
    let load = bridge.run_once()?;
    println!("  loaded {} rows in {}", print::grouped(load.source_rows), times::milliseconds(load.elapsed_ms));

    heading("Changes, and the views after each of them");
    let mut lines = vec![rounds::titles()];
    for round in ROUNDS {
        lake.change(&(round.sql)(0)).with_context(|| format!("the round `{}`", round.title))?;
        let run = bridge.run_once()?;
        let recompute = lake.recompute_ms()?;
        lines.push(rounds::line(round, &run, recompute));
    }
    table(&lines, 2);
    println!(
        "\n  step: the maintenance of the views. whole run: `tidegate run --once` from start to exit; it attaches the"
    );
    println!("  lake, reads the changes, logs them, steps, commits both targets and makes a checkpoint durable.");
    println!("  recompute: DuckDB computes all three views anew, with the lake attached already.");

    heading("The mart, read with DuckDB");
    referee::show_mart(&folder)?;
    heading("The changes, read with DuckDB from the Parquet files");
    referee::show_changes(&folder)?;
    heading("Every view against a full recompute, row by row");
    let equal = referee::compare(&folder)?;
    println!("\n  It all stays in {}", folder.display());
    Ok(equal)
}
