//! The lake: TPC-H orders, lineitem and customer in a DuckLake with a SQLite catalog. The lake is attached for each piece
//! of work alone.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use tidegate_duck::{Duck, Extension, Options, quote_ident};

use crate::{pipeline, sqlite_lake};

/// The tables that are copied into the lake.
const TABLES: [&str; 3] = ["customer", "orders", "lineitem"];

/// The lake and a DuckDB to work on it.
pub struct Lake {
    /// Holds the pipeline file.
    folder: PathBuf,
    duck: Duck,
}

impl Lake {
    /// Makes the lake, all tables in one snapshot.
    pub fn create(folder: &Path, scale_factor: f64) -> Result<Self> {
        let lake = Lake::open(folder, Duck::open_in_memory()?);
        lake.duck.load(Extension::Tpch)?;
        lake.duck.execute(&format!("CALL dbgen(sf = {scale_factor})"))?;
        lake.attached(|duck| {
            let copies =
                TABLES.map(quote_ident).map(|table| format!("CREATE TABLE lake.{table} AS FROM memory.{table};"));
            Ok(duck.execute(&format!("BEGIN; {} COMMIT", copies.concat()))?)
        })?;
        for table in TABLES.map(quote_ident) {
            lake.duck.execute(&format!("DROP TABLE memory.{table}"))?;
        }
        Ok(lake)
    }

    /// The lake in a folder; makes it if it is not there.
    pub fn complete(folder: &Path, scale_factor: f64) -> Result<Self> {
        let duck = Duck::open_in_memory_with(&Options { threads: Some(1), ..Options::default() })?;
        let lake = Lake::open(folder, duck);
        if lake.is_complete() {
            return Ok(lake);
        }
        Lake::create(folder, scale_factor)
    }

    /// The lake of the pipeline in a folder.
    pub fn open(folder: &Path, duck: Duck) -> Self {
        Lake { folder: folder.to_owned(), duck }
    }

    /// Whether the tables are there.
    pub fn is_complete(&self) -> bool {
        sqlite_lake::catalog(&self.folder).is_file() && self.row_counts().is_ok()
    }

    /// Works on the attached lake.
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

    /// The tables and their numbers of rows.
    pub fn row_counts(&self) -> Result<Vec<(&'static str, u64)>> {
        let count = |table: &'static str| {
            Ok((table, self.number(&format!("SELECT count(*)::UBIGINT FROM lake.{}", quote_ident(table)))?))
        };
        TABLES.into_iter().map(count).collect()
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Result<u64> {
        self.number("SELECT max(snapshot_id)::UBIGINT FROM ducklake_snapshots('lake')")
    }

    /// The single number that a query gives.
    pub fn number(&self, sql: &str) -> Result<u64> {
        self.attached(|duck| {
            Ok(duck.connection().query_row(sql, [], |row| row.get(0)).map_err(|error| duck.error(&error))?)
        })
    }

    /// Runs a round's statements.
    pub fn change(&self, sql: &str) -> Result<()> {
        self.attached(|duck| Ok(duck.execute(sql)?))
    }

    /// Milliseconds that DuckDB takes to compute all views anew.
    pub fn recompute_ms(&self) -> Result<f64> {
        self.attached(|duck| {
            let start = Instant::now();
            for (name, sql) in pipeline::views() {
                duck.execute(&format!("CREATE OR REPLACE TEMP TABLE {} AS {sql}", quote_ident(name)))?;
            }
            Ok(start.elapsed().as_secs_f64() * 1000.0)
        })
    }
}
