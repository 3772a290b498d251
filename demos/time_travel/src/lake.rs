//! The lake: one table of orders that come in daily batches. It is attached for each piece of work alone.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tidegate_duck::Duck;

use crate::sqlite_lake;

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

/// What makes the bad batch good.
pub const CORRECTION: &str = "UPDATE lake.orders SET amount = amount / 100 WHERE batch = 'thursday';";

/// The lake and a DuckDB to work on it.
pub struct Lake {
    folder: PathBuf,
    duck: Duck,
}

impl Lake {
    /// The lake of the pipeline in a folder, which has nothing in it if it is not there.
    pub fn open(folder: &Path) -> Result<Self> {
        Ok(Lake { folder: folder.to_owned(), duck: Duck::open_in_memory()? })
    }

    /// Runs statements with the lake attached as `lake`.
    pub fn change(&self, sql: &str) -> Result<()> {
        self.attached(|duck| duck.execute(sql).with_context(|| sql.to_owned()))
    }

    /// The single number that a query gives.
    pub fn number(&self, sql: &str) -> Result<u64> {
        self.attached(|duck| {
            Ok(duck.connection().query_row(sql, [], |row| row.get(0)).map_err(|error| duck.error(&error))?)
        })
    }

    fn attached<T>(&self, work: impl FnOnce(&Duck) -> Result<T>) -> Result<T> {
        sqlite_lake::attach(&self.duck, &self.folder)?;
        let done = work(&self.duck);
        if done.is_err() {
            // A transaction that failed is still open; without one this is refused, and rightly.
            let _ = self.duck.execute("ROLLBACK");
        }
        self.duck.execute("DETACH lake")?;
        done
    }
}
