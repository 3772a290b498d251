//! Puts `libduckdb.so` beside the binaries, where their rpath (`$ORIGIN` and `$ORIGIN/..`) finds it.

use std::path::{Path, PathBuf};
use std::{env, fs};

const LIBRARY: &str = "libduckdb.so";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=DUCKDB_LIB_DIR");
    if env::var_os("CARGO_FEATURE_BUNDLED").is_some() {
        return;
    }
    if let Err(message) = link_beside_binaries() {
        println!("cargo::error={message}");
        std::process::exit(1);
    }
}

fn link_beside_binaries() -> Result<(), String> {
    let dir = env::var_os("DUCKDB_LIB_DIR")
        .map(PathBuf::from)
        .ok_or("DUCKDB_LIB_DIR is not set: build inside the checkout, whose .cargo/config.toml sets it")?;
    println!("cargo::rerun-if-changed={}", dir.join(LIBRARY).display());
    let library = fs::canonicalize(dir.join(LIBRARY))
        .map_err(|_| format!("{} is missing: run `cargo xtask setup`", dir.join(LIBRARY).display()))?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    // OUT_DIR is <profile folder>/build/<package>-<hash>/out.
    let profile = out.ancestors().nth(3).ok_or_else(|| format!("{} has no profile folder", out.display()))?;
    replace_link(&library, &profile.join(LIBRARY))
}

/// Build scripts of several feature sets may run at once, so the link is replaced by a rename.
fn replace_link(library: &Path, link: &Path) -> Result<(), String> {
    if fs::canonicalize(link).is_ok_and(|present| present == library) {
        return Ok(());
    }
    let fresh = link.with_extension(format!("so.{}", std::process::id()));
    std::os::unix::fs::symlink(library, &fresh)
        .and_then(|()| fs::rename(&fresh, link))
        .map_err(|error| format!("cannot link {} to {}: {error}", link.display(), library.display()))
}
