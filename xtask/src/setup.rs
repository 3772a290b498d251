//! `cargo xtask setup`: finds out what is missing, says which programs are needed for that, and
//! fetches it. A second run finds everything in its place and changes nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::cache;
use crate::debian;
use crate::packages::{DUCKDB, PACKAGES, PYTHON_SETS, Package, PythonSet, Registry};
use crate::process::{checkout, child};

/// Brings the cache folder and the checkout into the state that the build needs.
pub fn run() -> Result<()> {
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "the prebuilt DuckDB is for Linux on x86-64. Elsewhere, put libduckdb {DUCKDB} into .deps/duckdb and the \
         signed extensions into the cache folder, and call cargo directly"
    );
    let cache = cache::folder()?;
    let missing: Vec<&Package> = PACKAGES.iter().filter(|package| !cache.join(package.place).exists()).collect();
    let python: Vec<&PythonSet> = PYTHON_SETS.iter().filter(|set| !cache.join(set.place).exists()).collect();
    check_programs(&missing, !python.is_empty(), provide_postgres(&cache))?;
    for package in missing {
        eprintln!("fetching {} {} ({})", package.name, package.version, package.purpose);
        cache::fetch(package, &cache)?;
    }
    for set in python {
        eprintln!("fetching {} ({})", set.place, set.purpose);
        cache::fetch_python(set, &checkout(), &cache)?;
    }
    link_duckdb(&cache)
}

/// Whether PostgreSQL 15 is there or could be fetched, which comes first: where it cannot, a person
/// has to install it, as the other programs that are missing.
fn provide_postgres(cache: &Path) -> bool {
    if debian::has_postgres(cache) {
        return true;
    }
    eprintln!("fetching PostgreSQL 15 (Debian's, for the tests)");
    let fetched = debian::fetch_postgres(cache);
    if let Err(error) = &fetched {
        eprintln!("it could not be fetched: {error:#}");
    }
    fetched.is_ok()
}

/// One message names every program that is missing, and what installs it.
fn check_programs(missing: &[&Package], python_set: bool, postgres: bool) -> Result<()> {
    let npm = missing.iter().any(|package| package.registry == Registry::Npm);
    let pypi = python_set || missing.iter().any(|package| package.registry == Registry::PyPi);
    let needs = [
        (true, "a C compiler (cc)", "build-essential", child("cc").args(["--version"]).succeeds()),
        (true, "Node.js (node)", "nodejs", child("node").args(["--version"]).succeeds()),
        (true, "openssl", "openssl", child("openssl").args(["version"]).succeeds()),
        (npm, "npm", "npm", !npm || child("npm").args(["--version"]).succeeds()),
        (pypi, "python3", "python3", !pypi || child("python3").args(["--version"]).succeeds()),
        (pypi, "pip", "python3-pip", !pypi || cache::pip().is_some()),
        (true, "PostgreSQL 15 (Debian 12 and apt.postgresql.org have it)", "postgresql-15", postgres),
    ];
    let absent: Vec<_> = needs.iter().filter(|(needed, _, _, present)| *needed && !present).collect();
    if absent.is_empty() {
        return Ok(());
    }
    let list = |of: fn(&(bool, &'static str, &'static str, bool)) -> &'static str, between: &str| {
        absent.iter().map(|need| of(need)).collect::<Vec<_>>().join(between)
    };
    bail!("not found: {}. On Debian or Ubuntu: apt-get install {}", list(|need| need.1, ", "), list(|need| need.2, " "))
}

/// `.deps/duckdb` in the checkout leads to the library; `.cargo/config.toml` points the build there.
fn link_duckdb(cache: &Path) -> Result<()> {
    let target = cache.join(format!("duckdb-{DUCKDB}"));
    let folder = checkout().join(".deps");
    let link = folder.join("duckdb");
    if fs::read_link(&link).is_ok_and(|present| present == target) {
        return Ok(());
    }
    fs::create_dir_all(&folder)?;
    let fresh = folder.join(format!(".duckdb-{}", std::process::id()));
    symlink(&target, &fresh).with_context(|| format!("{} cannot be made", fresh.display()))?;
    fs::rename(&fresh, &link).with_context(|| format!("{} cannot be replaced", link.display()))
}
