//! DuckDB as referee: it reads the tables of both sources itself, computes every view anew, and compares.

use std::fs;

use anyhow::{Context, Result};
use tidegate_duck::{Access, Duck, Extension, quote_ident, quote_literal};

use crate::print::{grouped, table};
use crate::site::{SHOP, Site};
use crate::{lake, mart, pipeline};

/// Compares rows and column types of each view, in the mart and in the Parquet deltas, with what
/// DuckDB computes from the tables of PostgreSQL and the lake. Prints a line a view; whether all were equal.
pub fn compare(site: &Site) -> Result<bool> {
    let duck = with_changes(site)?;
    lake::attach(&duck, site, Access::ReadOnly)?;
    duck.load(Extension::PostgresScanner)?;
    duck.execute(&format!("ATTACH {} AS app (TYPE postgres, READ_ONLY)", quote_literal(&site.connection(SHOP))))?;
    mart::attach(&duck, site)?;
    // Inside `truth` a view's bare name is the recomputed one.
    duck.execute("ATTACH ':memory:' AS truth; USE truth")?;
    let titles = ["view", "rows", "differences in the mart", "in the Parquet deltas", "column types"];
    let mut lines = vec![titles.map(str::to_owned).to_vec()];
    let (mut different, mut same_types) = (0, true);
    for (name, sql) in pipeline::views() {
        let quoted = quote_ident(name);
        duck.execute(&format!("CREATE TABLE truth.main.{quoted} AS {sql}"))?;
        let truth = format!("FROM truth.main.{quoted}");
        let [in_mart, in_parquet] = ["mart", "memory"].map(|catalog| format!("FROM {catalog}.main.{quoted}"));
        let rows = count(&duck, &truth)?;
        let found = [differences(&duck, &truth, &in_mart)?, differences(&duck, &truth, &in_parquet)?];
        let types = columns(&duck, &truth)?;
        let equal = types == columns(&duck, &in_mart)? && types == columns(&duck, &in_parquet)?;
        different += found[0] + found[1];
        same_types &= equal;
        let verdict = if equal { "equal" } else { "differ" };
        lines.push(vec![name.to_owned(), grouped(rows), grouped(found[0]), grouped(found[1]), verdict.to_owned()]);
    }
    table(&lines, 2);
    println!("\n  {} differences", grouped(different));
    Ok(different == 0 && same_types)
}

/// A DuckDB that knows the views of `views.sql`, which stands beside the Parquet files.
fn with_changes(site: &Site) -> Result<Duck> {
    let duck = Duck::open_in_memory()?;
    let file = site.folder.join("out/changes/views.sql");
    let sql = fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))?;
    duck.execute(&sql)?;
    Ok(duck)
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
    lake::number(duck, &format!("SELECT count(*)::UBIGINT FROM ({query})"))
}
