//! The demo `quickstart`: a DuckLake with TPC-H data, three views kept fresh by `tidegate run
//! --once`, and DuckDB as reader, stopwatch and referee. Run it with `cargo xtask demo`.
//!
//! With Docker Compose `tidegate run` follows a lake that changes by itself, and each subcommand is a container.

mod bridge;
#[path = "../../changes.rs"]
mod changes;
#[path = "../../folder.rs"]
mod folder;
#[path = "../../following.rs"]
mod following;
mod lake;
mod local;
#[path = "../../mart.rs"]
mod mart;
mod pipeline;
#[path = "../../print.rs"]
mod print;
#[path = "../../recompute.rs"]
mod recompute;
mod referee;
mod rounds;
#[path = "../../sqlite_lake.rs"]
mod sqlite_lake;
mod tide;
#[path = "../../times.rs"]
mod times;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use tidegate_duck::Duck;

use lake::Lake;

/// Views over a DuckLake that changes
#[derive(Parser)]
#[command(name = "tidegate-demo-quickstart")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Everything on this machine, round by round (the default)
    Local,
    /// Makes the lake in the working folder if it is not there, and changes it until it is stopped
    Load,
    /// Whether the lake is there
    Ready,
    /// Queries the mart and prints the result
    Query {
        /// A SELECT over the views' names
        sql: String,
    },
    /// Waits until the pipeline has caught up and compares every view with a recompute; stop the load first
    Check,
}

/// TPC-H's scale factor of the lake that changes by itself: 0.05 makes 300,000 line items.
const SCALE_FACTOR: f64 = 0.05;

fn main() -> ExitCode {
    print::ended(run(Arguments::parse().command.unwrap_or(Command::Local)))
}

/// Whether the views were equal, where they were compared.
fn run(command: Command) -> Result<bool> {
    if matches!(command, Command::Local) {
        return local::run();
    }
    let folder = std::env::current_dir()?;
    match command {
        Command::Local => unreachable!("it has its own folder"),
        Command::Load => tide::run(&Lake::complete(&folder, SCALE_FACTOR)?)?,
        Command::Ready => {
            ensure!(Lake::open(&folder, Duck::open_in_memory()?).is_complete(), "the lake is not there yet");
        }
        Command::Query { sql } => print::query(&referee::open_mart(&folder)?, &sql)?,
        Command::Check => {
            referee::wait(&folder, &Lake::open(&folder, Duck::open_in_memory()?))?;
            return referee::compare(&folder);
        }
    }
    Ok(true)
}
