//! `cargo xtask bench`: the benchmarks by name. Each is a program of its own that prints a table,
//! writes `bench/<name>.json` in the target folder, says so, and fails when one of its gates does
//! not hold.

use anyhow::{Result, bail};
use clap::builder::PossibleValuesParser;

use crate::process::cargo;

/// The `[[bench]]` targets of the workspace.
const BENCHES: &[&str] =
    &["delta", "ducklake", "engine", "estimate", "inlined", "large", "load", "postgres", "sinks", "time", "tpch"];

/// The names that the command line takes.
pub fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(BENCHES.iter().copied().chain(["all"]))
}

/// Runs one benchmark or all of them; all run even when one fails.
pub fn run(name: &str, arguments: &[String]) -> Result<()> {
    let mut failed = Vec::new();
    for bench in BENCHES.iter().filter(|bench| name == "all" || name == **bench) {
        // As a part of the whole workspace, for the reason that `build` gives.
        let run = cargo(["bench", "--quiet", "--workspace", "--bench", bench, "--"]).args(arguments);
        if let Err(error) = run.run() {
            eprintln!("error: {error:#}");
            failed.push(*bench);
        }
    }
    if !failed.is_empty() {
        bail!("these benchmarks failed: {}", failed.join(", "));
    }
    Ok(())
}
