//! `cargo xtask`: everything that would otherwise be a shell script. It calls cargo, npm, pip,
//! apt-get and docker as child processes and needs nothing but the standard library beside them.

mod bench;
mod cache;
mod debian;
mod demos;
mod dist;
mod docs;
mod packages;
mod process;
mod runtime;
mod setup;
mod tests;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand, ValueEnum};
use serde_json::Value;

use process::{cargo, child};

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
    /// Sets up what is missing, builds, and runs a demo; further arguments go to the demo
    #[command(trailing_var_arg = true)]
    Demo {
        /// The demo
        #[arg(value_enum, default_value = "quickstart")]
        name: Demo,
        #[arg(allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Tries the demos with Docker Compose: builds, starts, compares with a recompute, and removes all of it
    Demos {
        /// The demos; all by default
        #[arg(value_enum)]
        names: Vec<demos::Demo>,
    },
    /// Checks formatting, clippy's lints and the documentation's links
    Lint,
    /// Builds the book, checks its links, takes pictures of its pages, and runs its blocks
    Docs {
        /// Write the pages of the reference anew instead
        #[arg(long)]
        write: bool,
    },
    /// Runs a benchmark, or `all` of them; further arguments go to the benchmark
    #[command(trailing_var_arg = true)]
    Bench {
        /// The benchmark
        #[arg(value_parser = bench::names())]
        name: String,
        #[arg(allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Makes a release: an archive that can be unpacked anywhere, a Debian package, bill of materials, checksums
    Dist {
        /// The folder; `dist` in the checkout by default
        folder: Option<PathBuf>,
        /// Where the built program lies; it is built by default
        #[arg(long, value_name = "FOLDER")]
        programs: Option<PathBuf>,
        /// How the archive and the package are packed
        #[arg(long, value_enum, default_value_t = dist::Pack::Small)]
        pack: dist::Pack,
    },
    /// Puts DuckDB's library and extensions into a folder, for a container image
    Runtime {
        /// The folder
        folder: PathBuf,
        /// Which part of it
        #[arg(long, value_enum, default_value_t = runtime::Part::Tidegate)]
        needed_by: runtime::Part,
    },
}

/// The demos, named like their folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Demo {
    /// A DuckLake that changes round by round
    Quickstart,
    /// Orders in PostgreSQL and shipments in a DuckLake that change all the time
    Orders,
    /// Four ways to keep a GROUP BY over a DuckLake up to date: what each costs, and whether it stays right
    Feed,
    /// What a single row that a lake keeps in its catalog waits for on its way into a mart
    Inlined,
    /// A number on a page jumps: finds the batch that did it, tries a correction on a branch, goes back and on
    TimeTravel,
}

impl Demo {
    /// The demo's program.
    fn program(self) -> &'static str {
        match self {
            Demo::Quickstart => "tidegate-demo-quickstart",
            Demo::Orders => "orders-demo",
            Demo::Feed => "tidegate-demo-feed",
            Demo::Inlined => "tidegate-demo-inlined",
            Demo::TimeTravel => "tidegate-demo-time-travel",
        }
    }
}

fn main() -> ExitCode {
    let line: Vec<String> = std::env::args().collect();
    match run(Arguments::parse().verb, &line) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Trailing arguments as they were written: clap takes a leading `--` away.
fn as_written<'a>(line: &'a [String], arguments: &[String]) -> &'a [String] {
    let start = line.len() - arguments.len();
    let separated = start > 2 && line[start - 1] == "--";
    &line[start - usize::from(separated)..]
}

fn run(verb: Verb, line: &[String]) -> Result<()> {
    match verb {
        Verb::Setup => setup::run(),
        Verb::Test { arguments } => {
            setup::run()?;
            tests::run(as_written(line, &arguments))
        }
        Verb::Demo { name, arguments } => {
            setup::run()?;
            let programs = build(Place::ThisMachine, &["tidegate", name.program()])?;
            child(programs.join(name.program())).args(arguments).run()
        }
        Verb::Demos { names } => demos::run(&names),
        Verb::Lint => lint(),
        Verb::Docs { write } => {
            setup::run()?;
            if write { docs::write() } else { docs::run(&target()?) }
        }
        Verb::Bench { name, arguments } => {
            setup::run()?;
            bench::run(&name, &arguments)
        }
        Verb::Dist { folder, programs, pack } => {
            setup::run()?;
            let folder = folder.unwrap_or_else(dist::folder);
            std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
            let programs = programs.map_or_else(|| build(Place::Anywhere, &["tidegate"]), Ok)?;
            dist::run(&folder, &programs, pack)
        }
        Verb::Runtime { folder, needed_by } => runtime::run(needed_by, &folder),
    }
}

/// Where a program is to run.
enum Place {
    ThisMachine,
    /// It has no path of this machine in it, see `bridge/cli/build.rs`.
    Anywhere,
}

/// Builds programs and returns the folder they lie in. They are built as parts of the whole
/// workspace, as the tests are: built alone, their dependencies would have other features and be
/// compiled once more.
fn build(place: Place, programs: &[&str]) -> Result<PathBuf> {
    let chosen = programs.iter().flat_map(|program| ["--bin", program]);
    let build = cargo(["build", "--release", "--workspace"]).args(chosen);
    match place {
        Place::ThisMachine => build.run()?,
        Place::Anywhere => build.env("TIDEGATE_RELOCATABLE", "1").run()?,
    };
    Ok(target()?.join("release"))
}

/// Cargo's target folder.
fn target() -> Result<PathBuf> {
    let metadata = cargo(["metadata", "--format-version=1", "--no-deps"]).output()?;
    let metadata: Value = serde_json::from_str(&metadata).context("the output of `cargo metadata`")?;
    let target = metadata["target_directory"].as_str().context("`cargo metadata` names no target folder")?;
    Ok(PathBuf::from(target))
}

/// The fast check first.
fn lint() -> Result<()> {
    cargo(["fmt", "--all", "--check"]).run()?;
    setup::run()?;
    cargo(["clippy", "--profile", "tests", "--workspace", "--all-targets", "--", "-D", "warnings"]).run()?;
    cargo(["doc", "--profile", "tests", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings").run()
}

#[cfg(test)]
mod command_line {
    use super::*;

    #[test]
    fn arguments_are_passed_on() {
        for passed in [&["-p", "tidegate", "--", "--nocapture"][..], &["--", "--nocapture"], &["name"], &[]] {
            let line: Vec<String> = ["xtask", "test"].iter().chain(passed).map(|part| (*part).to_owned()).collect();
            let Verb::Test { arguments } = Arguments::try_parse_from(&line).unwrap().verb else { unreachable!() };
            assert_eq!(as_written(&line, &arguments), passed);
        }
    }
}
