//! The lake: one table of orders, its catalog in SQLite, which admits several processes at a time.

use std::path::Path;

use anyhow::{Context, Result};
use tidegate_duck::{Duck, Extension, quote_literal};

/// Rows of an insert while the lake is made, so that it has several files.
const BATCH: u64 = 500_000;

/// The lake, attached to a DuckDB, which also keeps the results of the ways that are DuckDB's.
pub struct Lake(Duck);

impl Lake {
    /// Makes the lake.
    pub fn create(folder: &Path, rows: u64) -> Result<Self> {
        let duck = Duck::open_in_memory()?;
        duck.load(Extension::SqliteScanner)?;
        duck.load(Extension::Ducklake)?;
        let catalog = quote_literal(&format!("ducklake:sqlite:{}", folder.join("lake.sqlite").display()));
        let files = quote_literal(&format!("{}/", folder.join("lake_files").display()));
        let options = format!("DATA_PATH {files}, META_JOURNAL_MODE 'WAL', META_BUSY_TIMEOUT 5000");
        duck.execute(&format!("ATTACH {catalog} AS lake ({options})"))?;
        duck.execute("CREATE TABLE lake.orders (id BIGINT, customer BIGINT, region VARCHAR, amount DECIMAL(9, 2))")?;
        for first in (0..rows).step_by(usize::try_from(BATCH)?) {
            let last = (first + BATCH).min(rows);
            duck.execute(&format!(
                "INSERT INTO lake.orders
                 SELECT i, i * 271 % 20000, ['north', 'east', 'south', 'west'][1 + i % 4],
                        5 + (i * 7919 % 99500)::DECIMAL(9, 2) / 100
                 FROM range({first}, {last}) t(i)"
            ))?;
        }
        Ok(Lake(duck))
    }

    /// The DuckDB.
    pub fn duck(&self) -> &Duck {
        &self.0
    }

    /// Runs a round's statements.
    pub fn change(&self, sql: &str) -> Result<()> {
        Ok(self.0.execute(sql)?)
    }

    /// The newest snapshot.
    pub fn newest(&self) -> Result<u64> {
        number(&self.0, "SELECT max(snapshot_id) FROM ducklake_snapshots('lake')")
    }
}

/// The single number that a query gives.
pub fn number(duck: &Duck, sql: &str) -> Result<u64> {
    let value = duck.connection().query_row(sql, [], |row| row.get(0)).map_err(|error| duck.error(&error));
    value.with_context(|| sql.to_owned())
}
