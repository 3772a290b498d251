//! `cargo xtask runtime`: what a built program needs beside itself where there is no checkout and no cache
//! folder, as in a container image.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::cache;
use crate::packages::{PACKAGES, Package};

/// Where the library's package and the extensions have their places.
const LIBRARY: &str = "duckdb-";
const EXTENSIONS: &str = "extensions/";
/// Extensions that only tests and demos load.
const NOT_NEEDED: [&str; 2] = ["tpch.duckdb_extension", "tpcds.duckdb_extension"];

/// Puts `lib/libduckdb.so` and `extensions/*.duckdb_extension` into a folder, for the environment variables
/// DUCKDB_LIB_DIR (of the build) and TIDEGATE_EXTENSION_DIR (of the program). Fetches what is missing.
pub fn run(folder: &Path) -> Result<()> {
    let cache = cache::folder()?;
    for package in PACKAGES.iter().filter(|package| is_needed(package)) {
        let place = cache.join(package.place);
        if !place.exists() {
            eprintln!("fetching {} {} ({})", package.name, package.version, package.purpose);
            cache::fetch(package, &cache)?;
        }
        match package.place.starts_with(LIBRARY) {
            true => copy(&place.join("libduckdb.so"), &folder.join("lib"))?,
            false => copy(&place, &folder.join("extensions"))?,
        }
    }
    Ok(())
}

fn is_needed(package: &Package) -> bool {
    let place = package.place;
    place.starts_with(LIBRARY)
        || (place.starts_with(EXTENSIONS) && !NOT_NEEDED.iter().any(|name| place.ends_with(name)))
}

/// Copies a file under its name.
fn copy(file: &Path, folder: &Path) -> Result<()> {
    let target = folder.join(file.file_name().context("a package's file has a name")?);
    let copied = fs::create_dir_all(folder).and_then(|()| fs::copy(file, &target));
    copied.with_context(|| format!("{} cannot be made", target.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_and_the_extensions_of_sources_are_needed() {
        let needed: Vec<_> = PACKAGES.iter().filter(|package| is_needed(package)).collect();
        assert_eq!(needed.iter().filter(|package| package.place.starts_with(LIBRARY)).count(), 1);
        for name in ["ducklake", "sqlite_scanner", "postgres_scanner", "httpfs"] {
            assert!(
                needed.iter().any(|package| package.place.ends_with(&format!("{name}.duckdb_extension"))),
                "{name}"
            );
        }
        assert!(needed.iter().all(|package| package.purpose == "libduckdb.so" || package.purpose.contains("DuckDB")));
    }
}
