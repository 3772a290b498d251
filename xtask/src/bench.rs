//! `cargo xtask bench`: the benchmarks by name. Each is a program of its own that prints a table,
//! writes `target/bench/<name>.json` and fails when one of its gates does not hold.

use anyhow::{Result, bail};
use clap::builder::PossibleValuesParser;

use crate::build;
use crate::process::{checkout, child};

/// Name and program.
const BENCHES: &[(&str, &str)] = &[("delta", "bench-delta"), ("engine", "bench-engine")];

/// The names that the command line takes.
pub fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(BENCHES.iter().map(|(name, _)| *name).chain(["all"]))
}

/// Runs one benchmark or all of them; all run even when one fails.
pub fn run(name: &str, arguments: &[String]) -> Result<()> {
    let chosen: Vec<_> = BENCHES.iter().filter(|(bench, _)| name == "all" || name == *bench).collect();
    let programs = build(&chosen.iter().map(|(_, program)| *program).collect::<Vec<_>>())?;
    let mut failed = Vec::new();
    for (bench, program) in chosen {
        if let Err(error) = child(programs.join(program)).args(arguments).current_dir(checkout()).run() {
            eprintln!("error: {error:#}");
            failed.push(*bench);
        }
    }
    if !failed.is_empty() {
        bail!("these benchmarks failed: {}", failed.join(", "));
    }
    Ok(())
}
