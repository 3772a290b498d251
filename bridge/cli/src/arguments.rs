//! The command line. What is not built yet is not here.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use tidegate_core::{Epoch, Frontier};

use crate::log::LogFormat;

/// Keeps SQL views over lakes and databases exactly up to date, and hands on their changes
#[derive(Parser)]
#[command(name = "tidegate", version)]
pub struct Arguments {
    /// How log lines on standard error look
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Writes a commented pipeline file and sample data to try it on
    Init {
        /// The folder
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
    /// Parses, connects and plans; says how each view will be maintained
    Check {
        /// The pipeline file
        pipeline: PathBuf,
        /// Answer with JSON
        #[arg(long)]
        json: bool,
    },
    /// Shows how a view is maintained: operators, row identity, columns
    Explain {
        /// The pipeline file
        pipeline: PathBuf,
        /// The view
        view: String,
        /// How the answer looks
        #[arg(long, value_enum, default_value_t = ExplainFormat::Text)]
        format: ExplainFormat,
    },
    /// Keeps the views fresh until SIGINT or SIGTERM, then stops gracefully
    Run {
        /// The pipeline file
        pipeline: PathBuf,
        /// Catch up with the sources' positions at the start, commit, exit
        #[arg(long)]
        once: bool,
        /// Stop at a frontier (JSON) or an epoch (a number)
        #[arg(long, value_name = "FRONTIER|EPOCH", value_parser = parse_until)]
        until: Option<Until>,
        /// Answer with JSON at the end
        #[arg(long)]
        json: bool,
    },
    /// Shows frontier, lag, last epoch, rows and state sizes, per view and sink
    Status {
        /// The pipeline file
        pipeline: PathBuf,
        /// Answer with JSON
        #[arg(long)]
        json: bool,
    },
    /// Looks at servers, slots, publications and lakes; says what is wrong with them and what to do
    Doctor {
        /// The pipeline file
        pipeline: PathBuf,
        /// Has lakes with a catalog in PostgreSQL tell of every commit at once, by a trigger
        #[arg(long)]
        install_notify: bool,
        /// Removes that trigger
        #[arg(long, conflicts_with = "install_notify")]
        remove_notify: bool,
        /// Answer with JSON
        #[arg(long)]
        json: bool,
    },
    /// Copies a source's tables again; downstream sees only real differences
    Resnapshot {
        /// The pipeline file
        pipeline: PathBuf,
        /// A source, or one of its tables
        #[arg(value_name = "SOURCE[.TABLE]")]
        source: String,
        /// Answer with JSON
        #[arg(long)]
        json: bool,
    },
    /// Compares a sink with the view state and writes the difference
    Resync {
        /// The pipeline file
        pipeline: PathBuf,
        /// The sink
        sink: String,
        /// Answer with JSON
        #[arg(long)]
        json: bool,
    },
}

/// How `explain` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExplainFormat {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Where a run stops.
#[derive(Debug, Clone, PartialEq)]
pub enum Until {
    Epoch(Epoch),
    Frontier(Frontier),
}

fn parse_until(text: &str) -> Result<Until, String> {
    if let Ok(epoch) = text.parse() {
        return Ok(Until::Epoch(Epoch(epoch)));
    }
    text.parse().map(Until::Frontier).map_err(|error| {
        format!("neither an epoch nor a frontier such as {{\"ducklake:lake\": {{\"snapshot_id\": 42}}}}: {error}")
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn until_takes_epochs_and_frontiers() {
        assert_eq!(parse_until("7"), Ok(Until::Epoch(Epoch(7))));
        let frontier = r#"{"ducklake:lake":{"snapshot_id":42}}"#;
        assert_eq!(parse_until(frontier), Ok(Until::Frontier(frontier.parse().unwrap())));
        assert!(parse_until("yesterday").unwrap_err().contains("snapshot_id"));
    }

    #[test]
    fn help_shows_what_is_built_and_nothing_else() {
        let command = Arguments::command();
        let names: Vec<_> = command.get_subcommands().map(|command| command.get_name()).collect();
        assert_eq!(names, ["init", "check", "explain", "run", "status", "doctor", "resnapshot", "resync"]);
    }
}
