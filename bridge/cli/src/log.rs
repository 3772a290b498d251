//! Where log lines go: standard error, as text or as JSON, one a line.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// The environment variable that says what is logged, for example `tidegate=debug`.
const FILTER: &str = "TIDEGATE_LOG";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// Begins logging: our own crates from INFO on, the libraries' warnings.
pub fn begin(format: LogFormat) {
    let filter = EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| {
        // A prefix covers all crates of ours. DBSP warns of open-file limits that are high enough for it; how a
        // replication session ended is told by the source.
        EnvFilter::new("warn,dbsp=error,pgwire_replication=off,tidegate=info")
    });
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => subscriber.with_ansi(std::io::stderr().is_terminal()).with_target(false).init(),
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
    }
}
