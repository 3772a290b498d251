//! The mart as its readers see it: a DuckDB file that anybody may open read-only between two commits. A
//! commit holds the file for some milliseconds, and a reader that holds it makes the next commit wait;
//! so one tries again, and lets go soon.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tidegate_duck::{Duck, DuckError, quote_literal};

use crate::site::Site;

/// How long a reader goes on trying.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where the mart is.
pub fn file(site: &Site) -> PathBuf {
    site.folder.join("out/mart.duckdb")
}

/// A DuckDB that sees the views in the mart under their own names.
pub fn open(site: &Site) -> Result<Duck> {
    let duck = Duck::open_in_memory()?;
    attach(&duck, site)?;
    duck.execute("USE mart")?;
    Ok(duck)
}

/// Attaches the mart as `mart` as soon as no commit holds it.
pub fn attach(duck: &Duck, site: &Site) -> Result<()> {
    let file = file(site);
    let sql = format!("ATTACH {} AS mart (READ_ONLY)", quote_literal(&file.to_string_lossy()));
    let deadline = Instant::now() + PATIENCE;
    loop {
        match duck.execute(&sql) {
            Err(DuckError::Locked { .. }) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
            attached => return attached.with_context(|| format!("the mart {}", file.display())),
        }
    }
}

/// One look at the mart.
pub struct Glance {
    pub epoch: u64,
    /// The newest hour in which something was shipped, by the clock of the shop.
    pub hour: String,
    pub shipped: u64,
    pub revenue: String,
    pub large_open_orders: u64,
}

/// Opens the mart, looks, and lets go.
pub fn glance(site: &Site) -> Result<Glance> {
    let duck = open(site)?;
    let sql = "SELECT (SELECT max(epoch) FROM _tidegate_epochs)::UBIGINT, strftime(max(hour), '%d %b %H:%M'),
                      sum(shipped)::UBIGINT, sum(revenue)::VARCHAR,
                      (SELECT count(*) FROM large_open_orders)::UBIGINT
               FROM revenue_by_hour";
    let read = |row: &tidegate_duck::duckdb::Row<'_>| {
        Ok(Glance {
            epoch: row.get(0)?,
            hour: row.get(1)?,
            shipped: row.get(2)?,
            revenue: row.get(3)?,
            large_open_orders: row.get(4)?,
        })
    };
    Ok(duck.connection().query_row(sql, [], read).map_err(|error| duck.error(&error))?)
}
