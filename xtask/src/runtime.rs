//! `cargo xtask runtime`: what a built program needs beside itself where there is no checkout and no cache
//! folder, as in a container image.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::cache;
use crate::packages::{PACKAGES, Package};

/// Where the library's package and the extensions have their places.
const LIBRARY: &str = "duckdb-";
const EXTENSIONS: &str = "extensions/";
/// The extensions that demos load beside those of the program: to make data, and to read Delta tables as others do.
const OF_DEMOS: [&str; 2] = ["tpch.duckdb_extension", "delta.duckdb_extension"];
/// The extension that only tests load.
const OF_TESTS: &str = "tpcds.duckdb_extension";

/// Who needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The library, and the extensions that `tidegate` loads
    Tidegate,
    /// What the programs of the demos load beside that
    Demos,
}

/// Puts `lib/libduckdb.so` and `extensions/*.duckdb_extension` into a folder, for the environment variables
/// DUCKDB_LIB_DIR (of the build) and TIDEGATE_EXTENSION_DIR (of the program). Fetches what is missing.
pub fn run(part: Part, folder: &Path) -> Result<()> {
    let cache = cache::folder()?;
    for package in PACKAGES.iter().filter(|package| part.needs(package)) {
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

impl Part {
    fn needs(self, package: &Package) -> bool {
        let place = package.place;
        let is_extension = place.starts_with(EXTENSIONS);
        let is_of_demos = OF_DEMOS.iter().any(|name| place.ends_with(name));
        match self {
            Part::Tidegate => {
                place.starts_with(LIBRARY) || (is_extension && !is_of_demos && !place.ends_with(OF_TESTS))
            }
            Part::Demos => is_extension && is_of_demos,
        }
    }
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
        let needed: Vec<_> = PACKAGES.iter().filter(|package| Part::Tidegate.needs(package)).collect();
        assert_eq!(needed.iter().filter(|package| package.place.starts_with(LIBRARY)).count(), 1);
        for name in ["ducklake", "sqlite_scanner", "postgres_scanner", "httpfs"] {
            assert!(
                needed.iter().any(|package| package.place.ends_with(&format!("{name}.duckdb_extension"))),
                "{name}"
            );
        }
        assert!(needed.iter().all(|package| package.purpose == "libduckdb.so" || package.purpose.contains("DuckDB")));
    }
    #[test]
    fn demos_need_more() {
        let count = |part: Part| PACKAGES.iter().filter(|package| part.needs(package)).count();
        assert_eq!(count(Part::Demos), OF_DEMOS.len());
        let both = PACKAGES.iter().filter(|package| Part::Demos.needs(package) && Part::Tidegate.needs(package));
        assert_eq!(both.count(), 0);
    }
}
