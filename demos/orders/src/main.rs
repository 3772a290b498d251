//! The demo `orders`: customers and orders in PostgreSQL, shipments in a DuckLake, two views kept fresh by
//! `tidegate run` while a load generator changes both, and DuckDB as reader and referee.
//!
//! `cargo xtask demo orders` runs all of it on a PostgreSQL of its own. With Docker Compose each
//! subcommand is a container, PostgreSQL is where PGHOST, PGPORT, PGUSER and PGPASSWORD say, and STORE where the
//! lake's files and the Delta tables are.

mod bridge;
#[path = "../../changes.rs"]
mod changes;
#[path = "../../folder.rs"]
mod folder;
#[path = "../../following.rs"]
mod following;
mod glance;
mod lake;
mod load;
mod local;
#[path = "../../mart.rs"]
mod mart;
mod pipeline;
#[path = "../../print.rs"]
mod print;
#[path = "../../recompute.rs"]
mod recompute;
mod referee;
#[path = "../../running.rs"]
mod running;
mod setup;
mod site;
mod wait;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};

use load::Load;
use site::Site;

/// Orders in PostgreSQL, shipments in a DuckLake, and views over both
#[derive(Parser)]
#[command(name = "orders-demo")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Everything on this machine, with a PostgreSQL server of its own (the default)
    Local {
        /// How long the load generator runs
        #[arg(long, default_value_t = 15)]
        seconds: u64,
    },
    /// Makes the tables and the lake if they are not there, and changes them until it is stopped
    Load,
    /// Whether the tables and the lake are there
    Ready,
    /// Queries the mart and prints the result
    Query {
        /// A SELECT over the views' names
        sql: String,
    },
    /// Waits until the pipeline has caught up and compares every view with a recompute; stop the load first
    Check,
}

/// What the load generator draws from, so that two runs do the same.
const SEED: u64 = 20_260_302;

fn main() -> ExitCode {
    print::ended(run(Arguments::parse().command.unwrap_or(Command::Local { seconds: 15 })))
}

/// Whether the views were equal, where they were compared.
fn run(command: Command) -> Result<bool> {
    match command {
        Command::Local { seconds } => local::run(Duration::from_secs(seconds)),
        Command::Load => {
            let site = Site::from_environment()?;
            setup::complete(&site)?;
            Load::start(&site, SEED)?.run_until_failure()?;
            Ok(true)
        }
        Command::Ready => {
            ensure!(setup::is_complete(&Site::from_environment()?)?, "the tables are not there yet");
            Ok(true)
        }
        Command::Query { sql } => {
            print::query(&glance::open(&Site::from_environment()?)?, &sql)?;
            Ok(true)
        }
        Command::Check => {
            let site = Site::from_environment()?;
            wait::until_caught_up(&site, &mut || Ok(()))?;
            referee::compare(&site)
        }
    }
}
