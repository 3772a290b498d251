//! DuckDB as referee: it reads the tables of both sources itself, computes every view anew, and compares.

use anyhow::Result;
use tidegate_duck::{Access, Duck, Extension, quote_ident, quote_literal};

use crate::site::{SHOP, Site};
use crate::{changes, lake, mart, pipeline, recompute};

/// Where the results are.
const PLACES: [recompute::Place<'_>; 3] =
    [("mart", "the mart"), ("memory", "the Parquet deltas"), ("delta", "the Delta tables")];

/// Compares every view with what DuckDB computes from the tables of PostgreSQL and the lake. Prints a line a
/// view; whether all were equal.
pub fn compare(site: &Site) -> Result<bool> {
    let duck = changes::open(&site.folder)?;
    lake::attach(&duck, site, Access::ReadOnly)?;
    duck.load(Extension::PostgresScanner)?;
    duck.execute(&format!("ATTACH {} AS app (TYPE postgres, READ_ONLY)", quote_literal(&site.connection(SHOP))))?;
    mart::attach(&duck, &site.mart())?;
    attach_delta(&duck, site)?;
    recompute::compare(&duck, &pipeline::views(), &PLACES)
}

/// Makes the Delta tables known as `delta`.
fn attach_delta(duck: &Duck, site: &Site) -> Result<()> {
    duck.load(Extension::Delta)?;
    duck.execute("ATTACH ':memory:' AS delta")?;
    for (view, _) in pipeline::views() {
        let place = quote_literal(&format!("{}/{view}", site.delta_tables()));
        duck.execute(&format!("CREATE VIEW delta.main.{} AS FROM delta_scan({place})", quote_ident(view)))?;
    }
    Ok(())
}
