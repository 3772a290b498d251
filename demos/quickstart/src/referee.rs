//! DuckDB as reader and referee: the mart and the Parquet deltas are queried as anybody would, and
//! compared with a full recompute.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use tidegate_duck::{Access, Duck, Extension, Options, quote_ident, quote_literal};

use crate::lake::attach;
use crate::pipeline;
use crate::print::{grouped, query, table};

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
    let duck = with_changes(folder)?;
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

/// A DuckDB that knows the views of `views.sql`.
fn with_changes(folder: &Path) -> Result<Duck> {
    let duck = Duck::open_in_memory()?;
    let file = folder.join("out/changes/views.sql");
    let sql = fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))?;
    duck.execute(&sql)?;
    Ok(duck)
}

fn mart(folder: &Path) -> std::path::PathBuf {
    folder.join("out/mart.duckdb")
}

/// Compares rows and column types of each view, in the mart and in the Parquet deltas, with what
/// DuckDB computes from the lake. Prints a line a view; whether all were equal.
pub fn compare(folder: &Path) -> Result<bool> {
    let duck = with_changes(folder)?;
    duck.load(Extension::Ducklake)?;
    attach(&duck, &folder.join("lake.ducklake"))?;
    duck.execute(&format!("ATTACH {} AS mart (READ_ONLY)", quote_literal(&mart(folder).to_string_lossy())))?;
    duck.execute("ATTACH ':memory:' AS truth")?;
    let mut lines = vec![
        ["view", "rows", "differences in the mart", "in the Parquet deltas", "column types"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let mut equal = true;
    // Inside `truth` a view's bare name is the recomputed one.
    duck.execute("USE truth")?;
    for (name, sql) in pipeline::views() {
        let quoted = quote_ident(name);
        duck.execute(&format!("CREATE TABLE truth.main.{quoted} AS {sql}"))?;
        let truth = format!("FROM truth.main.{quoted}");
        let in_mart = format!("FROM mart.main.{quoted}");
        let in_parquet = format!("FROM memory.main.{quoted}");
        let rows = count(&duck, &truth)?;
        let differences = [differences(&duck, &truth, &in_mart)?, differences(&duck, &truth, &in_parquet)?];
        let types = |query: &str| -> Result<Vec<_>> {
            Ok(duck.describe_columns(query)?.into_iter().map(|(name, duckdb_type, _)| (name, duckdb_type)).collect())
        };
        let same_types = types(&truth)? == types(&in_mart)? && types(&truth)? == types(&in_parquet)?;
        equal &= same_types && differences == [0, 0];
        let verdict = if same_types { "equal" } else { "differ" };
        lines.push(vec![
            name.to_owned(),
            grouped(rows),
            grouped(differences[0]),
            grouped(differences[1]),
            verdict.to_owned(),
        ]);
    }
    table(&lines, 2);
    Ok(equal)
}

/// Rows that one side has more often than the other.
fn differences(duck: &Duck, truth: &str, found: &str) -> Result<u64> {
    Ok(count(duck, &format!("({truth} EXCEPT ALL {found})"))? + count(duck, &format!("({found} EXCEPT ALL {truth})"))?)
}

fn count(duck: &Duck, query: &str) -> Result<u64> {
    Ok(duck.connection().query_row(&format!("SELECT count(*) FROM ({query})"), [], |row| row.get(0))?)
}
