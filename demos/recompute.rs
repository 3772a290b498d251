//! DuckDB as referee: it computes every view of a pipeline file anew, and compares. Each demo includes
//! this file as a module.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use tidegate_duck::{Duck, quote_ident};

use crate::print::{grouped, table};

/// What a comparison found.
pub struct Verdict {
    /// Rows that one side has more often than the other, over all views.
    pub differences: u64,
    /// Whether all columns have the names and types that they should.
    pub same_types: bool,
}

impl Verdict {
    /// Whether nothing differs.
    pub fn is_equal(&self) -> bool {
        self.differences == 0 && self.same_types
    }
}

/// Name and SELECT of each view in a pipeline file, upstream views first.
pub fn views(file: &'static str) -> Vec<(&'static str, &'static str)> {
    file.split("[views.")
        .skip(1)
        .map(|section| {
            let (name, rest) = section.split_once(']').expect("a view's section has a name");
            let sql = rest.split("\"\"\"").nth(1).expect("a view has its SQL in triple quotes");
            (name, sql.trim())
        })
        .collect()
}

/// A DuckDB that knows the views of `views.sql`, which stands beside the Parquet files.
pub fn with_changes(folder: &Path) -> Result<Duck> {
    let duck = Duck::open_in_memory()?;
    let file = folder.join("out/changes/views.sql");
    let sql = fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))?;
    duck.execute(&sql)?;
    Ok(duck)
}

/// Compares rows and column types of each view, in the mart and in the Parquet deltas, with what DuckDB
/// computes from the sources. Prints a line a view. The DuckDB is one [`with_changes`] that has the sources
/// attached under the names that the views use, and the mart as `mart`.
pub fn compare(duck: &Duck, views: &[(&str, &str)]) -> Result<Verdict> {
    // Inside `truth` a view's bare name is the recomputed one.
    duck.execute("ATTACH ':memory:' AS truth; USE truth")?;
    let titles = ["view", "rows", "differences in the mart", "in the Parquet deltas", "column types"];
    let mut lines = vec![titles.map(str::to_owned).to_vec()];
    let mut verdict = Verdict { differences: 0, same_types: true };
    for (name, sql) in views {
        let quoted = quote_ident(name);
        duck.execute(&format!("CREATE TABLE truth.main.{quoted} AS {sql}"))?;
        let truth = format!("FROM truth.main.{quoted}");
        let [in_mart, in_parquet] = ["mart", "memory"].map(|catalog| format!("FROM {catalog}.main.{quoted}"));
        let rows = count(duck, &truth)?;
        let found = [differences(duck, &truth, &in_mart)?, differences(duck, &truth, &in_parquet)?];
        let types = columns(duck, &truth)?;
        let same_types = types == columns(duck, &in_mart)? && types == columns(duck, &in_parquet)?;
        verdict.differences += found[0] + found[1];
        verdict.same_types &= same_types;
        let word = if same_types { "equal" } else { "differ" };
        lines.push(vec![(*name).to_owned(), grouped(rows), grouped(found[0]), grouped(found[1]), word.to_owned()]);
    }
    table(&lines, 2);
    Ok(verdict)
}

/// Names and types.
fn columns(duck: &Duck, query: &str) -> Result<Vec<(String, String)>> {
    Ok(duck.describe_columns(query)?.into_iter().map(|(name, duckdb_type, _)| (name, duckdb_type)).collect())
}

/// Rows that one side has more often than the other.
fn differences(duck: &Duck, truth: &str, found: &str) -> Result<u64> {
    Ok(count(duck, &format!("({truth} EXCEPT ALL {found})"))? + count(duck, &format!("({found} EXCEPT ALL {truth})"))?)
}

fn count(duck: &Duck, query: &str) -> Result<u64> {
    let sql = format!("SELECT count(*)::UBIGINT FROM ({query})");
    Ok(duck.connection().query_row(&sql, [], |row| row.get(0)).map_err(|error| duck.error(&error))?)
}
