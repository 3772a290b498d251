//! A look into the mart, as its readers take one.

use anyhow::Result;
use tidegate_duck::Duck;

use crate::mart;
use crate::site::Site;

/// A DuckDB that sees the views in the mart under their own names.
pub fn open(site: &Site) -> Result<Duck> {
    let duck = Duck::open_in_memory()?;
    mart::attach(&duck, &site.mart())?;
    duck.execute("USE mart")?;
    Ok(duck)
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
