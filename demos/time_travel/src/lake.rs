//! The lake: one table of orders that come in daily batches. Its catalog is a DuckDB file, which admits one process
//! at a time, so the lake is attached for each piece of work alone.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tidegate_duck::{Duck, Extension, quote_literal};

/// What happens before the bad batch; the pipeline runs after each.
pub const GOOD_DAYS: [&str; 3] = [
    "CREATE TABLE lake.orders (id BIGINT, region VARCHAR, amount DECIMAL(12, 2), batch VARCHAR);
     INSERT INTO lake.orders
     SELECT i, ['east', 'north', 'south', 'west'][1 + i % 4], 5 + (i * 7919 % 9500)::DECIMAL(12, 2) / 100, 'monday'
     FROM range(1, 201) t(i)",
    "INSERT INTO lake.orders
     SELECT i, ['east', 'north', 'south', 'west'][1 + i % 4], 5 + (i * 7919 % 9500)::DECIMAL(12, 2) / 100, 'tuesday'
     FROM range(201, 221) t(i)",
    "INSERT INTO lake.orders
     SELECT i, ['east', 'north', 'south', 'west'][1 + i % 4], 5 + (i * 7919 % 9500)::DECIMAL(12, 2) / 100, 'wednesday'
     FROM range(221, 241) t(i);
     UPDATE lake.orders SET amount = amount + 1.50 WHERE id IN (11, 42);
     DELETE FROM lake.orders WHERE id = 93",
];

/// Six new orders, and one that is sent once more; all of them in cents.
pub const BAD_DAY: &str = "
    BEGIN;
    INSERT INTO lake.orders
    SELECT i, ['east', 'north', 'south', 'west'][1 + i % 4], 500 + i * 7919 % 9500, 'thursday' FROM range(241, 247) t(i);
    UPDATE lake.orders SET amount = 1250, batch = 'thursday' WHERE id = 7;
    COMMIT";

/// The lake and a DuckDB to work on it.
pub struct Lake {
    catalog: PathBuf,
    duck: Duck,
}

impl Lake {
    /// A lake with nothing in it.
    pub fn create(folder: &Path) -> Result<Self> {
        let duck = Duck::open_in_memory()?;
        duck.load(Extension::Ducklake)?;
        Ok(Lake { catalog: folder.join("lake.ducklake"), duck })
    }

    /// Runs statements with the lake attached as `lake`.
    pub fn change(&self, sql: &str) -> Result<()> {
        attach(&self.duck, &self.catalog)?;
        let done = self.duck.execute(sql).with_context(|| sql.to_owned());
        self.duck.execute("DETACH lake")?;
        done
    }
}

/// Attaches the lake under the name that the views use.
pub fn attach(duck: &Duck, catalog: &Path) -> Result<()> {
    let catalog = quote_literal(&format!("ducklake:{}", catalog.display()));
    Ok(duck.execute(&format!("ATTACH {catalog} AS lake"))?)
}
