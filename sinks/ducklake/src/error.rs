//! What can go wrong with a lake as a target.

use std::path::Path;

use tidegate_core::{ConnectorError, ErrorKind, ViewName};
use tidegate_duck::DuckError;

/// An error of the DuckLake sink. `lake` is its catalog as one writes it in `ATTACH`, without passwords.
#[derive(Debug, thiserror::Error)]
pub enum DucklakeSinkError {
    /// The configuration says something that cannot be.
    #[error("{message}")]
    Config {
        /// What is wrong, and what to write instead.
        message: String,
    },
    /// Somebody has the catalog's file open.
    #[error(
        "the catalog {file} is held by {holder}: the changes wait until it lets go of the file; a catalog in a \
         DuckDB file admits one at a time, one in SQLite or PostgreSQL many"
    )]
    Held {
        /// The file.
        file: String,
        /// Who has it.
        holder: String,
    },
    /// There is no lake yet, and nothing says where its files shall go.
    #[error("there is no lake at {lake}: write data_path, where its files shall go, or correct `catalog`")]
    NoDataPath {
        /// The lake.
        lake: String,
    },
    /// The lake's files are elsewhere.
    #[error(
        "the files of {lake} are at {recorded}, not at {configured}: leave data_path out, or, if the same files are \
         reached there from here, set override_data_path = true under attach"
    )]
    DataPath {
        /// The lake.
        lake: String,
        /// What the catalog says.
        recorded: String,
        /// What the pipeline file says.
        configured: String,
    },
    /// The catalog follows another version of the specification.
    #[error(
        "the catalog of {lake} has DuckLake version {found}, this program writes version {expected}: \
         migrate the catalog with the DuckLake release that fits"
    )]
    Version {
        /// The lake.
        lake: String,
        /// What the catalog says.
        found: String,
        /// What this program writes.
        expected: &'static str,
    },
    /// The lake cannot be opened by the one it is opened as.
    #[error("{lake} cannot be opened: {message}")]
    Refused {
        /// The lake.
        lake: String,
        /// What DuckDB or the server says.
        message: String,
    },
    /// A folder cannot be made or emptied.
    #[error("the folder {path} cannot be used: {fact}")]
    Folder {
        /// The folder.
        path: String,
        /// What the system says.
        fact: String,
    },
    /// What has the name of a view that is to be removed is not ours.
    #[error(
        "{lake} has a table or view named {view} that Tidegate did not write: it stays as it is; drop it yourself if nobody \
         needs it"
    )]
    NotOurs {
        /// The lake.
        lake: String,
        /// The view.
        view: ViewName,
    },
    /// A table or view of that name exists and is not ours.
    #[error(
        "{lake} already has a table, view or macro named {view} that Tidegate did not write: rename it, rename the view, \
         or give the sink another schema"
    )]
    Foreign {
        /// The lake.
        lake: String,
        /// The view.
        view: ViewName,
    },
    /// The target table is not as it was written.
    #[error(
        "table {view} of {lake} was altered by somebody else ({difference}): drop the table, and the next run \
         writes it anew"
    )]
    Altered {
        /// The lake.
        lake: String,
        /// The view.
        view: ViewName,
        /// The first difference.
        difference: String,
    },
    /// Rows that must be there are not.
    #[error(
        "table {view} of {lake} was altered by somebody else ({found} of {expected} rows that epoch {epoch} removes \
         are there): drop the table, and the next run writes it anew"
    )]
    RowsMissing {
        /// The lake.
        lake: String,
        /// The view.
        view: ViewName,
        /// The last epoch of the range.
        epoch: u64,
        /// Rows to be removed that are there.
        found: u64,
        /// Rows to be removed.
        expected: u64,
    },
    /// The history and the view's table do not fit each other.
    #[error(
        "the history of view {view} in {lake} was altered by somebody else, or the table {view} was ({fact}): drop the \
         table {view}, and the next run writes it anew and brings its history in line"
    )]
    HistoryAltered {
        /// The lake.
        lake: String,
        /// The view.
        view: ViewName,
        /// What was found.
        fact: String,
    },
    /// The history holds epochs that are still to come.
    #[error(
        "the history of view {view} in {lake} holds epoch {held}, and epoch {epoch} is to be written: another state of \
         the pipeline wrote it. Give the sink another schema, or drop the tables {tables}, and the next run begins a new \
         history"
    )]
    HistoryAhead {
        /// The lake.
        lake: String,
        /// The view.
        view: ViewName,
        /// The last epoch of the history.
        held: u64,
        /// The epoch of the commit.
        epoch: u64,
        /// What is to be dropped.
        tables: String,
    },
    /// The table of times is of other epochs.
    #[error(
        "the table _tidegate_time of {lake} has other times than those of epoch {epoch} and before: another pipeline, \
         or another state of this one, keeps its history there. Give the sink another schema"
    )]
    OtherTimes {
        /// The lake.
        lake: String,
        /// The last epoch of the commit.
        epoch: u64,
    },
    /// A view whose name or columns the lake cannot have.
    #[error("view {view} cannot be written to {lake}: {fact}")]
    Unsupported {
        /// The lake.
        lake: String,
        /// The view.
        view: ViewName,
        /// Why, and the way out.
        fact: String,
    },
    /// Others changed the lake each time that this commit was tried.
    #[error("{lake} was changed by others {attempts} times while a commit was under way: {message}")]
    Contended {
        /// The lake.
        lake: String,
        /// How often it was tried.
        attempts: u32,
        /// What DuckLake said at last.
        message: String,
    },
    /// DuckDB refuses.
    #[error("{doing} {lake}: {message}")]
    Duck {
        /// The lake.
        lake: String,
        /// What was being done.
        doing: &'static str,
        /// What DuckDB says.
        message: String,
        /// What the caller should do.
        kind: ErrorKind,
    },
    /// Another transaction got there first; the whole of this one may be repeated.
    #[error("{lake} was changed by another writer at the same time: {message}")]
    Conflict {
        /// The lake.
        lake: String,
        /// What DuckLake says.
        message: String,
    },
    /// The deltas do not keep to the contract of the seam.
    #[error("deltas of view {view}: {fact}")]
    Contract {
        /// The view.
        view: ViewName,
        /// What is wrong with them.
        fact: String,
    },
    /// The stream of changes ended with an error of its own.
    #[error("the changes of a view could not be read")]
    Input(#[source] ConnectorError),
}

/// What PostgreSQL says to those whom it does not let in.
const REFUSALS: [&str; 5] =
    ["FATAL:  database", "FATAL:  role", "password authentication failed", "no pg_hba.conf entry", "permission denied"];

impl DucklakeSinkError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            DucklakeSinkError::Held { .. }
            | DucklakeSinkError::Contended { .. }
            | DucklakeSinkError::Conflict { .. } => ErrorKind::Retry,
            DucklakeSinkError::Config { .. }
            | DucklakeSinkError::NoDataPath { .. }
            | DucklakeSinkError::DataPath { .. }
            | DucklakeSinkError::Version { .. }
            | DucklakeSinkError::Refused { .. }
            | DucklakeSinkError::Folder { .. }
            | DucklakeSinkError::Foreign { .. }
            | DucklakeSinkError::NotOurs { .. }
            | DucklakeSinkError::Unsupported { .. } => ErrorKind::Reconfigure,
            DucklakeSinkError::Altered { .. }
            | DucklakeSinkError::RowsMissing { .. }
            | DucklakeSinkError::HistoryAltered { .. }
            | DucklakeSinkError::HistoryAhead { .. }
            | DucklakeSinkError::OtherTimes { .. } => ErrorKind::Stop,
            DucklakeSinkError::Duck { kind, .. } => *kind,
            DucklakeSinkError::Contract { .. } => ErrorKind::Bug,
            DucklakeSinkError::Input(error) => error.kind(),
        }
    }

    pub(crate) fn folder(path: &Path, error: &std::io::Error) -> Self {
        DucklakeSinkError::Folder { path: path.display().to_string(), fact: error.to_string() }
    }

    /// Sorts what DuckDB says while something is done to a lake.
    pub(crate) fn duck(lake: &str, doing: &'static str, error: DuckError) -> Self {
        let lake = lake.to_owned();
        let message = error.to_string();
        match error {
            DuckError::Locked { file, pid } => {
                let pid = pid.map(|pid| format!(" (PID {pid})")).unwrap_or_default();
                DucklakeSinkError::Held { file, holder: format!("another process{pid}") }
            }
            DuckError::Conflict { .. } => DucklakeSinkError::Conflict { lake, message },
            _ if message.contains("database is locked") || is_made_by_another(&message) => {
                DucklakeSinkError::Conflict { lake, message }
            }
            DuckError::Unavailable { .. } if REFUSALS.iter().any(|text| message.contains(text)) => {
                DucklakeSinkError::Refused { lake, message: tidied(&message) }
            }
            error => DucklakeSinkError::Duck { lake, doing, message: tidied(&message), kind: error.kind() },
        }
    }
}

/// Whether the lake itself is being made by another writer at the same time.
fn is_made_by_another(message: &str) -> bool {
    message.contains("Failed to initialize DuckLake")
        && (message.contains("already exists") || message.contains("duplicate key"))
}

/// The last line of what a server says holds the reason; before it stands the connection string.
fn tidied(message: &str) -> String {
    let message = message.trim();
    match message.split_once("Unable to connect to Postgres at ") {
        Some((_, said)) => said.split_once("\": ").map_or(said, |(_, reason)| reason).trim().to_owned(),
        None => message.to_owned(),
    }
}

/// The error under the sink's name. An error of the stream goes through as it is.
pub(crate) fn connector_error(sink: &str, error: DucklakeSinkError) -> ConnectorError {
    match error {
        DucklakeSinkError::Input(error) => error,
        error => ConnectorError::new(error.kind(), format!("sink {sink}: {error}")),
    }
}
