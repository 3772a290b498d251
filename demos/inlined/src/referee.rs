//! DuckDB as reader and referee of the mart.

use std::path::Path;

use anyhow::Result;
use tidegate_duck::Duck;

use crate::print::query;
use crate::{PIPELINE, mart, recompute};

/// Shows some of the mart; whether all of it is what DuckDB computes from the attached lake.
pub fn compare(duck: &Duck, folder: &Path) -> Result<bool> {
    mart::attach(duck, &folder.join("out/mart.duckdb"))?;
    query(duck, "SELECT * FROM mart.main.spending ORDER BY spent DESC, customer LIMIT 3")?;
    let equal = recompute::compare(duck, &recompute::views(PIPELINE), &[("mart", "the mart")])?;
    duck.execute("USE memory; DETACH mart")?;
    Ok(equal)
}
