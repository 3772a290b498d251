//! A lake in the folder `lake`: the catalog in a SQLite file, which several programs may have open at a time, the data files
//! beside it. A demo includes this file as a module.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tidegate_duck::{Duck, Extension, quote_literal};

/// Where the catalog of the lake is that belongs to the pipeline file in a folder.
pub fn catalog(folder: &Path) -> PathBuf {
    folder.join("lake/lake.sqlite")
}

/// Attaches the lake under the name that the views use; makes it if it is not there.
pub fn attach(duck: &Duck, folder: &Path) -> Result<()> {
    duck.load(Extension::Ducklake)?;
    duck.load(Extension::SqliteScanner)?;
    let files = folder.join("lake/files");
    fs::create_dir_all(&files).with_context(|| format!("{} cannot be made", files.display()))?;
    let uri = quote_literal(&format!("ducklake:sqlite:{}", catalog(folder).display()));
    let files = quote_literal(&format!("{}/", files.display()));
    // Readers and a writer at a time, and those who wait.
    let options = format!("DATA_PATH {files}, META_JOURNAL_MODE 'WAL', META_BUSY_TIMEOUT 5000");
    Ok(duck.execute(&format!("ATTACH {uri} AS lake ({options})"))?)
}
