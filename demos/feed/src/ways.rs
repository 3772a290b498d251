//! The ways that need nothing but DuckDB and its extension: compute the result anew, compare two snapshots, or ask for
//! the table's changes. Each keeps its result in a table, as its users would.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use tidegate_duck::{Duck, quote_literal};

use crate::lake::number;

/// The pipeline file; the result is its view.
pub const PIPELINE: &str = include_str!("pipeline.toml");

/// A way to follow the lake.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Recompute,
    Except,
    TableChanges,
}

impl Way {
    pub const ALL: [Way; 3] = [Way::Recompute, Way::Except, Way::TableChanges];

    /// What people call it.
    pub fn title(self) -> &'static str {
        match self {
            Way::Recompute => "recompute",
            Way::Except => "EXCEPT ALL",
            Way::TableChanges => "table_changes",
        }
    }

    /// The table that it keeps its result in.
    pub fn table(self) -> &'static str {
        match self {
            Way::Recompute => "memory.main.recomputed",
            Way::Except => "memory.main.by_except",
            Way::TableChanges => "memory.main.by_changes",
        }
    }

    /// Computes the result for the first time.
    pub fn load(self, duck: &Duck) -> Result<()> {
        Ok(duck.execute(&format!("CREATE OR REPLACE TABLE {} AS {}", self.table(), view()))?)
    }

    /// Brings the result from a snapshot to another one; how many milliseconds that took.
    pub fn refresh_ms(self, duck: &Duck, from: u64, to: u64) -> Result<f64> {
        let started = Instant::now();
        let done = match self {
            Way::Recompute => self.load(duck),
            Way::Except => {
                let [before, after] = [from, to].map(|at| format!("FROM lake.orders AT (VERSION => {at})"));
                apply(
                    duck,
                    self,
                    &format!(
                        "SELECT *, 1 AS weight FROM ({after} EXCEPT ALL {before})
                     UNION ALL SELECT *, -1 FROM ({before} EXCEPT ALL {after})"
                    ),
                )
            }
            Way::TableChanges => apply(
                duck,
                self,
                &format!(
                    "SELECT customer, region, amount,
                        CASE WHEN change_type IN ('insert', 'update_postimage') THEN 1 ELSE -1 END AS weight
                 FROM ducklake_table_changes('lake', 'main', 'orders', {}, {to})",
                    from + 1
                ),
            ),
        };
        done.with_context(|| self.title())?;
        Ok(started.elapsed().as_secs_f64() * 1000.0)
    }
}

/// The view's SELECT, as it stands in the pipeline file.
fn view() -> &'static str {
    PIPELINE.split("\"\"\"").nth(1).expect("the pipeline file has one view")
}

/// Adds changed rows, with weights, to a result: sums and counts change by what the rows bring, and a group without rows goes.
fn apply(duck: &Duck, way: Way, changes: &str) -> Result<()> {
    Ok(duck.execute(&format!(
        "MERGE INTO {} AS held
         USING (SELECT customer, region, sum(weight)::BIGINT AS orders, sum(weight * amount) AS spent
                FROM ({changes}) GROUP BY ALL HAVING sum(weight) <> 0 OR sum(weight * amount) <> 0) AS delta
         ON held.customer = delta.customer AND held.region = delta.region
         WHEN MATCHED AND held.orders + delta.orders = 0 THEN DELETE
         WHEN MATCHED THEN UPDATE SET orders = held.orders + delta.orders, spent = held.spent + delta.spent
         WHEN NOT MATCHED THEN INSERT VALUES (delta.customer, delta.region, delta.orders, delta.spent)",
        way.table()
    ))?)
}

/// Rows that a result has and a recompute has not, or the other way round.
pub fn differences(duck: &Duck, table: &str) -> Result<u64> {
    let truth = Way::Recompute.table();
    number(
        duck,
        &format!(
            "SELECT (SELECT count(*) FROM (FROM {truth} EXCEPT ALL FROM {table}))
              + (SELECT count(*) FROM (FROM {table} EXCEPT ALL FROM {truth}))"
        ),
    )
}

/// The same of the mart that Tidegate wrote; names and types are to be the same, too.
pub fn mart_differs(duck: &Duck, mart: &Path) -> Result<u64> {
    duck.execute(&format!("ATTACH {} AS mart (READ_ONLY)", quote_literal(&mart.to_string_lossy())))?;
    let table = "mart.main.spending";
    let [held, truth] = [columns(duck, table)?, columns(duck, Way::Recompute.table())?];
    ensure!(held == truth, "the mart has the columns {held:?}, a recompute {truth:?}");
    let found = differences(duck, table)?;
    duck.execute("DETACH mart")?;
    Ok(found)
}

/// Names and types.
fn columns(duck: &Duck, table: &str) -> Result<Vec<(String, String)>> {
    let columns = duck.describe_columns(&format!("FROM {table}"))?;
    Ok(columns.into_iter().map(|(name, duckdb_type, _)| (name, duckdb_type)).collect())
}
