//! `cargo xtask`: everything that would otherwise be a shell script. It calls cargo, npm and pip
//! as child processes and needs nothing but the standard library beside them.

mod bench;
mod cache;
mod packages;
mod process;
mod setup;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use process::cargo;

/// Tidegate's build tasks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Fetches what the build and the tests need and is not there yet
    Setup,
    /// Sets up what is missing and runs every test; further arguments go to `cargo test`
    #[command(trailing_var_arg = true)]
    Test {
        #[arg(allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Sets up what is missing, builds, and runs the demo; further arguments go to the demo
    #[command(trailing_var_arg = true)]
    Demo {
        #[arg(allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Checks formatting, clippy's lints and the documentation's links
    Lint,
    /// Runs a benchmark, or `all` of them; further arguments go to the benchmark
    #[command(trailing_var_arg = true)]
    Bench {
        /// The benchmark
        #[arg(value_parser = bench::names())]
        name: String,
        #[arg(allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<()> {
    match verb {
        Verb::Setup => setup::run(),
        Verb::Test { arguments } => {
            setup::run()?;
            cargo(["test", "--release", "--workspace"]).args(&arguments).run()
        }
        Verb::Demo { arguments } => {
            setup::run()?;
            cargo(["build", "--release", "--package", "tidegate", "--package", "tidegate-demo-quickstart"]).run()?;
            cargo(["run", "--quiet", "--release", "--package", "tidegate-demo-quickstart", "--"]).args(&arguments).run()
        }
        Verb::Lint => lint(),
        Verb::Bench { name, arguments } => {
            setup::run()?;
            bench::run(&name, &arguments)
        }
    }
}

/// The fast check first.
fn lint() -> Result<()> {
    cargo(["fmt", "--all", "--check"]).run()?;
    setup::run()?;
    cargo(["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"]).run()?;
    cargo(["doc", "--release", "--workspace", "--no-deps", "--document-private-items"])
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()
}
