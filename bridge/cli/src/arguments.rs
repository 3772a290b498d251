//! The command line. What is not built yet is not here.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use tidegate_core::{Epoch, Frontier, units};

use crate::log::LogFormat;
use crate::past::Format;

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
    /// Estimates state, memory, log and times from the sizes of the tables and how they change
    Estimate {
        /// The pipeline file
        pipeline: PathBuf,
        /// A table has so many rows, or a view comes to so many
        #[arg(long, value_name = "NAME=N")]
        rows: Vec<String>,
        /// So many rows of a table change in a day
        #[arg(long, value_name = "TABLE=N/day")]
        changes: Vec<String>,
        /// A source has so many commits in a day
        #[arg(long, value_name = "SOURCE=N/day")]
        commits: Vec<String>,
        /// GROUP BY and DISTINCT of a view come to so many groups
        #[arg(long, value_name = "VIEW=N")]
        groups: Vec<String>,
        /// Each filter of a view keeps this share of the rows, such as 0.1
        #[arg(long, value_name = "VIEW=SHARE")]
        filter: Vec<String>,
        /// Answer with JSON
        #[arg(long)]
        json: bool,
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
        /// Serve the status page, the JSON API, /metrics, /healthz and /readyz there, such as 127.0.0.1:8080
        #[arg(long, value_name = "ADDR")]
        http: Option<SocketAddr>,
        /// Answer with JSON at the end
        #[arg(long)]
        json: bool,
    },
    /// Shows what the pipeline file changes, and has the running process bring it in force
    Apply {
        /// The pipeline file
        pipeline: PathBuf,
        /// Show the changes and nothing else
        #[arg(long, conflicts_with = "yes")]
        plan: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Then remove from the sinks what they hold of views that were dropped
        #[arg(long)]
        remove_dropped: bool,
        /// How long to wait for it to be in force, such as 90s
        #[arg(long, default_value = "3600s", value_parser = parse_duration)]
        timeout: Duration,
        /// Answer with JSON
        #[arg(long)]
        json: bool,
    },
    /// Removes what sinks hold of views that the pipeline does not write there any more
    Remove {
        /// The pipeline file
        pipeline: PathBuf,
        /// The views
        #[arg(required = true)]
        view: Vec<String>,
        /// Only from this sink; several times for several sinks; from all of the pipeline by default
        #[arg(long)]
        sink: Vec<String>,
        /// Show what would be removed and nothing else
        #[arg(long, conflicts_with = "yes")]
        plan: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Answer with JSON
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
    /// Shows the same live in the terminal; `q` leaves
    Top {
        /// The pipeline file
        pipeline: PathBuf,
    },
    /// Lets the running process finish what is in flight, save and end, and waits for that
    Drain {
        /// The pipeline file
        pipeline: PathBuf,
        /// How long to wait, such as 90s
        #[arg(long, default_value = "120s", value_parser = parse_duration)]
        timeout: Duration,
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
    /// Takes the views back to a moment; the next runs go through the log after it again
    #[command(group(ArgGroup::new("target").required(true).args(["to", "epoch", "timestamp"])))]
    Rewind {
        /// The pipeline file
        pipeline: PathBuf,
        /// A frontier (JSON): the last epoch that is nowhere beyond it
        #[arg(long, value_name = "FRONTIER")]
        to: Option<Frontier>,
        /// The number of an epoch
        #[arg(long)]
        epoch: Option<u64>,
        /// A timestamp (UTC where it has no zone): the last epoch such that none up to it holds a later source commit
        #[arg(long)]
        timestamp: Option<String>,
        /// Leaves out what the log holds of lakes after that: they are read again from there
        #[arg(long, conflicts_with = "branch")]
        discard_after: bool,
        /// Makes a copy of the pipeline at that moment instead, which reads the log and nothing else
        #[arg(long, value_name = "NAME", requires = "out")]
        branch: Option<String>,
        /// The folder of the copy
        #[arg(long, value_name = "DIR", requires = "branch")]
        out: Option<PathBuf>,
        /// Answer with JSON
        #[arg(long)]
        json: bool,
    },
    /// Shows the rows of a view or a tracked table as they were
    Asof {
        /// The pipeline file
        pipeline: PathBuf,
        /// The view, or a tracked table such as app.orders
        view: String,
        /// When: a timestamp (UTC where it has no zone), the number of an epoch, or a frontier as JSON
        #[arg(long, value_name = "MOMENT")]
        at: String,
        /// At most so many rows
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
        #[command(flatten)]
        asking: Asking,
    },
    /// Shows what changed in a view or a tracked table between two moments
    Diff {
        /// The pipeline file
        pipeline: PathBuf,
        /// The view, or a tracked table such as app.orders
        view: String,
        /// From when: a timestamp, the number of an epoch, or a frontier
        #[arg(long, value_name = "MOMENT")]
        from: String,
        /// Until when
        #[arg(long, value_name = "MOMENT")]
        to: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// Answers one query over a mart: SELECT … FROM view AS OF TIMESTAMP '…' | AS OF EPOCH n | AS OF FRONTIER '{…}'
    Sql {
        /// The pipeline file
        pipeline: PathBuf,
        /// The query, in DuckDB's SQL
        query: String,
        /// The DuckDB sink that is asked; by default the first that holds the views
        #[arg(long)]
        sink: Option<String>,
        /// How the answer looks
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Keeps the rows of a source's table as they were, from the next run on; edits the pipeline file
    Track {
        /// The pipeline file
        pipeline: PathBuf,
        /// The table: SOURCE.TABLE or SOURCE.SCHEMA.TABLE
        table: String,
        /// The columns that tell its rows apart
        #[arg(long, required = true, value_name = "COLUMN")]
        key: Vec<String>,
        /// How long a version is kept after its end, such as 90d; for ever by default
        #[arg(long)]
        retention: Option<String>,
    },
    /// Keeps them no longer; edits the pipeline file
    Untrack {
        /// The pipeline file
        pipeline: PathBuf,
        /// The table
        table: String,
    },
    /// Writes what a shell needs to complete the command's lines
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Writes the manual page, in the format of man(1)
    Man,
    /// Writes the JSON Schema of the pipeline file, for editors
    Schema,
    /// Copies definitions and state to a folder or an object store, also while the pipeline runs
    Backup {
        /// The pipeline file
        pipeline: PathBuf,
        /// A folder, or s3://bucket/prefix
        dest: String,
        /// Keep this many backups there and remove older ones
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        keep: Option<u32>,
        /// Answer with JSON
        #[arg(long)]
        json: bool,
    },
    /// Makes a pipeline of a backup, which then goes on where that was taken
    Restore {
        /// What `tidegate backup` was given
        src: String,
        /// The folder for the pipeline file, which must not exist or be empty
        dir: PathBuf,
        /// Which backup; the newest if not given
        #[arg(long, value_name = "NAME")]
        at: Option<String>,
        /// A file whose tables `storage` say how SRC is reached, such as a pipeline file
        #[arg(long, value_name = "FILE")]
        storage: Option<PathBuf>,
        /// Answer with JSON
        #[arg(long)]
        json: bool,
    },
}

/// What `asof` and `diff` ask alike.
#[derive(Args)]
pub struct Asking {
    /// Only rows with this value, of a column of the key; several times for several columns
    #[arg(long, value_name = "COLUMN=VALUE")]
    pub key: Vec<String>,
    /// The DuckDB sink that is asked; by default the first that holds the view
    #[arg(long)]
    pub sink: Option<String>,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

/// How `explain` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExplainFormat {
    /// For people
    Text,
    /// For programs
    Json,
    /// Column lineage as a Mermaid flowchart
    Mermaid,
    /// Column lineage as a picture
    Svg,
}

/// Where a run stops.
#[derive(Debug, Clone, PartialEq)]
pub enum Until {
    Epoch(Epoch),
    Frontier(Frontier),
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    units::duration(text).ok_or_else(|| "write for example 500ms, 90s or 5m".to_owned())
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
        assert_eq!(
            names,
            [
                "init",
                "check",
                "explain",
                "estimate",
                "run",
                "apply",
                "remove",
                "status",
                "top",
                "drain",
                "doctor",
                "resnapshot",
                "resync",
                "rewind",
                "asof",
                "diff",
                "sql",
                "track",
                "untrack",
                "completions",
                "man",
                "schema",
                "backup",
                "restore"
            ]
        );
    }
}
