//! The lake: TPC-H orders, lineitem and customer in a DuckLake with a DuckDB-file catalog. Such a
//! catalog admits one process at a time, so the lake is attached for each piece of work alone.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use tidegate_duck::{Duck, Extension, quote_ident, quote_literal};

use crate::pipeline;

/// The tables that are copied into the lake.
const TABLES: [&str; 3] = ["customer", "orders", "lineitem"];

/// The lake and a DuckDB to work on it.
pub struct Lake {
    catalog: PathBuf,
    duck: Duck,
}

impl Lake {
    /// Makes the lake.
    pub fn create(folder: &Path, scale_factor: f64) -> Result<Self> {
        let duck = Duck::open_in_memory()?;
        duck.load(Extension::Tpch)?;
        duck.load(Extension::Ducklake)?;
        let lake = Lake { catalog: folder.join("lake.ducklake"), duck };
        lake.duck.execute(&format!("CALL dbgen(sf = {scale_factor})"))?;
        lake.attached(|duck| {
            for table in TABLES.map(quote_ident) {
                duck.execute(&format!("CREATE TABLE lake.{table} AS FROM memory.{table}; DROP TABLE memory.{table}"))?;
            }
            Ok(())
        })?;
        Ok(lake)
    }

    /// Works on the attached lake.
    fn attached<T>(&self, work: impl FnOnce(&Duck) -> Result<T>) -> Result<T> {
        attach(&self.duck, &self.catalog)?;
        let done = work(&self.duck);
        self.duck.execute("DETACH lake")?;
        done
    }

    /// The tables and their numbers of rows.
    pub fn row_counts(&self) -> Result<Vec<(&'static str, u64)>> {
        self.attached(|duck| {
            let count = |table: &'static str| {
                let sql = format!("SELECT count(*) FROM lake.{}", quote_ident(table));
                Ok((table, duck.connection().query_row(&sql, [], |row| row.get(0))?))
            };
            TABLES.into_iter().map(count).collect()
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

/// Attaches the lake under the name that the views use.
pub fn attach(duck: &Duck, catalog: &Path) -> Result<()> {
    let catalog = quote_literal(&format!("ducklake:{}", catalog.display()));
    Ok(duck.execute(&format!("ATTACH {catalog} AS lake"))?)
}
