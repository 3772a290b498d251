//! Where DuckDB's extensions come from: a configured folder, the cache that `cargo xtask setup`
//! fills, and at last DuckDB's own download.

use std::collections::HashSet;
use std::env;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

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

/// Which build of a file it is: changed by whoever writes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Build {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Build {
    fn of(file: &Path) -> Option<Build> {
        let found = file.metadata().ok()?;
        Some(Build {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

/// The files whose signatures DuckDB has verified in this process. It hashes tens of megabytes each time, and this process opens many
/// DuckDBs.
static VERIFIED: LazyLock<Mutex<HashSet<Build>>> = LazyLock::new(Mutex::default);

fn verified() -> MutexGuard<'static, HashSet<Build>> {
    VERIFIED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a DuckDB verifies what it loads. That is said when it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signatures {
    /// DuckDB itself does.
    Verified,
    /// [`load`] sees to it.
    Known,
}

impl Signatures {
    /// What is worth while for one that is opened now.
    pub(crate) fn now() -> Signatures {
        if verified().is_empty() { Signatures::Verified } else { Signatures::Known }
    }

    /// The setting of DuckDB.
    pub(crate) fn allow_unsigned(self) -> &'static str {
        if self == Signatures::Known { "true" } else { "false" }
    }
}

/// Loads an extension unless it is loaded. Only what has a signature is.
pub(crate) fn load(connection: &Connection, signatures: Signatures, extension: Extension) -> Result<(), DuckError> {
    let name = extension.name();
    let loaded = connection
        .query_row("SELECT loaded FROM duckdb_extensions() WHERE extension_name = ?", [name], |row| row.get(0))
        .unwrap_or(false);
    if loaded {
        return Ok(());
    }
    let mut tried = Vec::new();
    let configured = env::var_os(EXTENSION_DIR).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    for dir in configured.into_iter().chain(beside_program()).chain(cache_dir()) {
        let file = dir.join(format!("{name}.duckdb_extension"));
        if !file.is_file() {
            tried.push(format!("{}: not there", file.display()));
            continue;
        }
        match load_file(connection, signatures, &file) {
            Ok(()) => return Ok(()),
            Err(error) => tried.push(format!("{}: {}", file.display(), first_line(&error))),
        }
    }
    tracing::debug!(extension = name, "extension is not in the cache, asking DuckDB to install it");
    match verify_then_load(connection, signatures, &format!("INSTALL {name}; LOAD {name}")) {
        Ok(()) => Ok(()),
        Err(error) => {
            tried.push(format!("INSTALL: {}", first_line(&error)));
            Err(DuckError::Extension { name, tried: tried.join("; ") })
        }
    }
}

/// Where a release has them: `../lib/tidegate/extensions` seen from the program.
fn beside_program() -> Option<PathBuf> {
    let program = env::current_exe().ok()?;
    let dir = program.parent()?.parent()?.join("lib/tidegate/extensions");
    dir.is_dir().then_some(dir)
}

fn load_file(connection: &Connection, signatures: Signatures, file: &Path) -> duckdb::Result<()> {
    // Which build it is, is looked up before DuckDB reads it: one that is put in its place meanwhile is not the verified one.
    let build = Build::of(file);
    let statement = format!("LOAD {}", quote_literal(&file.to_string_lossy()));
    if build.as_ref().is_some_and(|build| verified().contains(build)) {
        return connection.execute_batch(&statement);
    }
    verify_then_load(connection, signatures, &statement)?;
    verified().extend(build);
    Ok(())
}

/// Runs a statement that loads something; first in a DuckDB that verifies it where this one does not.
fn verify_then_load(connection: &Connection, signatures: Signatures, statement: &str) -> duckdb::Result<()> {
    if signatures == Signatures::Known {
        Connection::open_in_memory()?.execute_batch(statement)?;
    }
    connection.execute_batch(statement)
}

fn first_line(error: &duckdb::Error) -> String {
    crate::error::clean(&error.to_string()).lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Duck, Options};

    #[test]
    fn what_has_no_signature_is_loaded_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tpch.duckdb_extension");
        std::fs::copy(cache_dir().unwrap().join("tpch.duckdb_extension"), &file).unwrap();
        let opened = |of_users| Duck::open_in_memory_with(&Options { of_users, ..Options::default() }).unwrap();
        let load = |duck: &Duck| load_file(duck.connection(), duck.signatures(), &file);
        load(&opened(false)).unwrap();
        let trusting = opened(false);
        assert_eq!(trusting.signatures(), Signatures::Known);
        load(&trusting).unwrap();
        assert_eq!(opened(true).signatures(), Signatures::Verified);
        // Another one in its place, lest the one that is loaded changes.
        let (damaged, mut bytes) = (folder.path().join("damaged"), std::fs::read(&file).unwrap());
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&damaged, bytes).unwrap();
        std::fs::rename(&damaged, &file).unwrap();
        for of_users in [false, true] {
            let error = load(&opened(of_users)).unwrap_err().to_string();
            assert!(error.contains("signature"), "{error}");
        }
    }
}
