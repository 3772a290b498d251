//! Tells the program where `cargo xtask setup` has put `libduckdb.so`, so that it runs wherever `cargo install` copies it. A release has
//! the library beside the program, and no path of the machine that built it.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=DUCKDB_LIB_DIR");
    println!("cargo::rerun-if-env-changed=TIDEGATE_RELOCATABLE");
    if env::var_os("TIDEGATE_RELOCATABLE").is_some() {
        return;
    }
    // Where it is not there, the build of tidegate-duck says so.
    let place = env::var_os("DUCKDB_LIB_DIR").map(PathBuf::from).and_then(|dir| fs::canonicalize(dir).ok());
    if let Some(place) = place {
        println!("cargo::rustc-link-arg-bin=tidegate=-Wl,-rpath,{}", place.display());
    }
}
