//! The demo `inlined`: a DuckLake with its catalog in PostgreSQL, an ordinary DuckDB that commits one row at a time,
//! which DuckLake keeps in the catalog, and a running pipeline that is told of each commit. It says what a row waits
//! for on its way from the commit to the mart. Run it with `cargo xtask demo inlined`.
//!
//! With Docker Compose it goes on until it is stopped, and a page has histograms. The catalog is where CATALOG says.

#[path = "../../folder.rs"]
mod folder;
#[path = "../../following.rs"]
mod following;
mod histogram;
#[path = "../../journal.rs"]
mod journal;
mod local;
#[path = "../../mart.rs"]
mod mart;
mod page;
#[path = "../../print.rs"]
mod print;
#[path = "../../recompute.rs"]
mod recompute;
mod referee;
#[path = "../../running.rs"]
mod running;
mod stages;
mod writer;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};

use journal::tidegate;
use local::Local;
use writer::Place;

/// The pipeline file.
const PIPELINE: &str = include_str!("../pipeline.toml");
/// The sinks of the pipeline file, in the order in which they are shown.
const SINKS: [&str; 2] = ["changes", "mart"];

/// What a row that a lake keeps in its catalog waits for on its way into a mart
#[derive(Parser)]
#[command(name = "tidegate-demo-inlined", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    local: Local,
}

#[derive(Subcommand)]
enum Command {
    /// Makes the lake if it is not there, commits a row now and then until it is stopped, and serves the page
    Write {
        /// Milliseconds between two commits
        #[arg(long, default_value_t = 100)]
        pause_ms: u64,
        /// Where the page is served
        #[arg(long, default_value = "127.0.0.1:8080")]
        http: String,
        /// The status page of the pipeline, which says what the engine took
        #[arg(long, default_value = "tidegate:8080")]
        status: String,
    },
    /// Prints the page as text
    Show {
        /// Where it is served
        #[arg(long, default_value = "127.0.0.1:8080")]
        http: String,
    },
    /// Waits until the pipeline has caught up and compares the view with a recompute; stop the writer first
    Check,
}

fn main() -> ExitCode {
    print::ended(run(&Arguments::parse()))
}

/// Whether the mart holds what a recompute gives, where they are compared.
fn run(arguments: &Arguments) -> Result<bool> {
    match &arguments.command {
        None => local::run(&arguments.local),
        Some(Command::Write { pause_ms, http, status }) => {
            let place = Place::from_environment()?;
            page::serve(http, writer::start(&place, *pause_ms)?, status)?;
            Ok(true)
        }
        Some(Command::Show { http }) => {
            print!("{}", page::get(http, "/text")?);
            Ok(true)
        }
        Some(Command::Check) => writer::check(&Place::from_environment()?),
    }
}

/// Has the catalog tell of commits; what is said of that.
fn told_at_once(folder: &Path, connection: &str) -> Result<String> {
    let mut command = tidegate(folder, "doctor")?;
    let output = command.arg("--install-notify").env("CATALOG", connection).output()?;
    ensure!(
        output.status.success(),
        "`tidegate doctor` failed ({})\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
