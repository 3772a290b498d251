//! DuckDB as referee: it reads the tables of both sources itself, computes every view anew, and compares.

use anyhow::Result;
use tidegate_duck::{Access, Extension, quote_literal};

use crate::print::grouped;
use crate::site::{SHOP, Site};
use crate::{lake, mart, pipeline, recompute};

/// Compares every view with what DuckDB computes from the tables of PostgreSQL and the lake. Prints a line a
/// view; whether all were equal.
pub fn compare(site: &Site) -> Result<bool> {
    let duck = recompute::with_changes(&site.folder)?;
    lake::attach(&duck, site, Access::ReadOnly)?;
    duck.load(Extension::PostgresScanner)?;
    duck.execute(&format!("ATTACH {} AS app (TYPE postgres, READ_ONLY)", quote_literal(&site.connection(SHOP))))?;
    mart::attach(&duck, site)?;
    let verdict = recompute::compare(&duck, &pipeline::views())?;
    println!("\n  {} differences", grouped(verdict.differences));
    Ok(verdict.is_equal())
}
