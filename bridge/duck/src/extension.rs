//! Where DuckDB's extensions come from: a configured folder, the cache that `cargo xtask setup`
//! fills, and at last DuckDB's own download.

use std::env;
use std::path::PathBuf;

use duckdb::Connection;

use crate::{DUCKDB_VERSION, DuckError, quote_literal};

/// The folder that is searched first.
const EXTENSION_DIR: &str = "TIDEGATE_EXTENSION_DIR";

/// An extension the project knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// Lakes.
    Ducklake,
    /// Lake catalogs in SQLite files.
    SqliteScanner,
    /// Lake catalogs in PostgreSQL.
    PostgresScanner,
    /// Data sets for tests, demos and benches.
    Tpch,
    /// Queries for tests.
    Tpcds,
    /// Delta tables, as others read them.
    Delta,
    /// Files on S3 and HTTP.
    Httpfs,
    /// Time zones and collations; inside the prebuilt library.
    Icu,
}

impl Extension {
    /// DuckDB's name.
    pub fn name(self) -> &'static str {
        match self {
            Extension::Ducklake => "ducklake",
            Extension::SqliteScanner => "sqlite_scanner",
            Extension::PostgresScanner => "postgres_scanner",
            Extension::Tpch => "tpch",
            Extension::Tpcds => "tpcds",
            Extension::Delta => "delta",
            Extension::Httpfs => "httpfs",
            Extension::Icu => "icu",
        }
    }
}

/// The cache folder of this release and platform.
fn cache_dir() -> Option<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    Some(cache.join("tidegate/extensions").join(DUCKDB_VERSION).join("linux_amd64"))
}

/// Loads an extension unless it is loaded.
pub(crate) fn load(connection: &Connection, extension: Extension) -> Result<(), DuckError> {
    let name = extension.name();
    let loaded = connection
        .query_row("SELECT loaded FROM duckdb_extensions() WHERE extension_name = ?", [name], |row| row.get(0))
        .unwrap_or(false);
    if loaded {
        return Ok(());
    }
    let mut tried = Vec::new();
    let configured = env::var_os(EXTENSION_DIR).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    for dir in configured.into_iter().chain(cache_dir()) {
        let file = dir.join(format!("{name}.duckdb_extension"));
        if !file.is_file() {
            tried.push(format!("{}: not there", file.display()));
            continue;
        }
        match connection.execute_batch(&format!("LOAD {}", quote_literal(&file.to_string_lossy()))) {
            Ok(()) => return Ok(()),
            Err(error) => tried.push(format!("{}: {}", file.display(), first_line(&error))),
        }
    }
    tracing::debug!(extension = name, "extension is not in the cache, asking DuckDB to install it");
    match connection.execute_batch(&format!("INSTALL {name}; LOAD {name}")) {
        Ok(()) => Ok(()),
        Err(error) => {
            tried.push(format!("INSTALL: {}", first_line(&error)));
            Err(DuckError::Extension { name, tried: tried.join("; ") })
        }
    }
}

fn first_line(error: &duckdb::Error) -> String {
    crate::error::clean(&error.to_string()).lines().next().unwrap_or_default().to_owned()
}
