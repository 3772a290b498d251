//! The lake: shipments in Parquet files, in a folder or on S3, the catalog in PostgreSQL, which admits several
//! processes at a time.

use std::fs;

use anyhow::{Context, Result};
use tidegate_duck::lake::Storage;
use tidegate_duck::{Access, Duck, Extension, Options, quote_literal};

use crate::site::{LAKE, Site};

/// A DuckDB with the lake attached as `lake`.
pub fn open(site: &Site) -> Result<Duck> {
    let duck = Duck::open_in_memory_with(&Options { threads: Some(1), ..Options::default() })?;
    attach(&duck, site, Access::ReadWrite)?;
    Ok(duck)
}

/// Attaches the lake under the name that the views use; makes it if it is not there and may be written.
pub fn attach(duck: &Duck, site: &Site, access: Access) -> Result<()> {
    duck.load(Extension::Ducklake)?;
    duck.load(Extension::PostgresScanner)?;
    if site.is_on_s3() {
        Storage::of_environment().make_available(duck)?;
    }
    let uri = quote_literal(&format!("ducklake:postgres:{}", site.connection(LAKE)));
    let options = match access {
        Access::ReadOnly => "READ_ONLY".to_owned(),
        Access::ReadWrite => {
            let files = site.lake_files();
            if !site.is_on_s3() {
                fs::create_dir_all(&files).with_context(|| format!("{files} cannot be made"))?;
            }
            format!("DATA_PATH {}", quote_literal(&format!("{files}/")))
        }
    };
    Ok(duck.execute(&format!("ATTACH {uri} AS lake ({options})"))?)
}

/// The single number that a query gives.
pub fn number(duck: &Duck, sql: &str) -> Result<u64> {
    Ok(duck.connection().query_row(sql, [], |row| row.get(0)).map_err(|error| duck.error(&error))?)
}
