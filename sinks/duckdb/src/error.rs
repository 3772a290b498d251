//! What can go wrong with a DuckDB file as a target.

use std::io;
use std::path::Path;

use tidegate_core::{ConnectorError, ErrorKind, ViewName};
use tidegate_duck::DuckError;

/// An error of the DuckDB sink.
#[derive(Debug, thiserror::Error)]
pub enum DuckdbSinkError {
    /// Another process has the file open.
    #[error(
        "{file} is held by another process{holder}: the changes wait until it lets go of the file; \
         readers should open it only while they read"
    )]
    Held {
        /// The file.
        file: String,
        /// The process, as DuckDB names it.
        holder: String,
    },
    /// The file is something else.
    #[error("{file} is not a DuckDB database: give the sink another path")]
    NotADatabase {
        /// The file.
        file: String,
    },
    /// The file is a database whose blocks do not match their checksums.
    #[error("{file} is damaged: restore it, or remove it, and the next run writes it anew")]
    Damaged {
        /// The file.
        file: String,
    },
    /// The file was written by a DuckDB that ours does not understand.
    #[error("{file} was written by a newer DuckDB than {version}: give the sink another path, or export it with that DuckDB", version = tidegate_duck::DUCKDB_VERSION)]
    Newer {
        /// The file.
        file: String,
    },
    /// The file or its folder cannot be used.
    #[error("{path} cannot be {action}: {fact}")]
    File {
        /// The file or folder.
        path: String,
        /// What was tried.
        action: &'static str,
        /// What the system says.
        fact: String,
        /// Whether trying again may help.
        kind: ErrorKind,
    },
    /// Somebody writes to what is only a copy.
    #[error(
        "{log} shows that a program opened {file} for writing, and what it writes there would be lost: end that \
         program, remove the file {log}, and open {file} for reading only"
    )]
    CopyWritten {
        /// The file that readers open.
        file: String,
        /// The log beside it.
        log: String,
    },
    /// A table or view of that name exists and is not ours.
    #[error(
        "{file} already has a table, view or macro named {view} that Tidegate did not write: rename it, rename the view, \
         or give the sink another path"
    )]
    Foreign {
        /// The file.
        file: String,
        /// The view.
        view: ViewName,
    },
    /// What has the name of a view that is to be removed is not ours.
    #[error(
        "{file} has a table or view named {view} that Tidegate did not write: it stays as it is; drop it yourself if nobody \
         needs it"
    )]
    NotOurs {
        /// The file.
        file: String,
        /// The view.
        view: ViewName,
    },
    /// The target table has other columns than what was written into it.
    #[error(
        "table {view} of {file} was altered by somebody else ({difference}): drop the table, and the next run \
         writes it anew"
    )]
    Altered {
        /// The file.
        file: String,
        /// The view.
        view: ViewName,
        /// The first difference.
        difference: String,
    },
    /// Rows that must be there are not.
    #[error(
        "table {view} of {file} was altered by somebody else ({found} of {expected} rows that epoch {epoch} removes \
         are there): drop the table, and the next run writes it anew"
    )]
    RowsMissing {
        /// The file.
        file: String,
        /// The view.
        view: ViewName,
        /// The last epoch of the range.
        epoch: u64,
        /// Rows to be removed that are there.
        found: u64,
        /// Rows to be removed.
        expected: u64,
    },
    /// The history is not what was written.
    #[error(
        "the history of view {view} in {file} was altered by somebody else, or its rows were ({fact}): drop {view} there, \
         and the next run writes it anew and brings its history in line"
    )]
    HistoryAltered {
        /// The file.
        file: String,
        /// The view.
        view: ViewName,
        /// What was found.
        fact: String,
    },
    /// The history holds epochs that are still to come.
    #[error(
        "the history of view {view} in {file} holds epoch {held}, and epoch {epoch} is to be written: another state of \
         the pipeline wrote it. Give the sink another path, or drop the tables {tables}, and the next run begins a new \
         history"
    )]
    HistoryAhead {
        /// The file.
        file: String,
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
        "the table _tidegate_time of {file} has other times than those of epoch {epoch} and before: another pipeline, \
         or another state of this one, keeps its history in the file. Give the sink another path"
    )]
    OtherTimes {
        /// The file.
        file: String,
        /// The last epoch of the commit.
        epoch: u64,
    },
    /// A view whose name or columns the target cannot have.
    #[error("view {view} cannot be written to {file}: {fact}")]
    Unsupported {
        /// The file.
        file: String,
        /// The view.
        view: ViewName,
        /// Why, and the way out.
        fact: String,
    },
    /// DuckDB refuses.
    #[error("{object}: {message}")]
    Duck {
        /// What was being done with which file.
        object: String,
        /// What DuckDB says.
        message: String,
        /// What the caller should do.
        kind: ErrorKind,
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

impl DuckdbSinkError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            DuckdbSinkError::Held { .. } | DuckdbSinkError::CopyWritten { .. } => ErrorKind::Retry,
            DuckdbSinkError::NotADatabase { .. }
            | DuckdbSinkError::Newer { .. }
            | DuckdbSinkError::Foreign { .. }
            | DuckdbSinkError::NotOurs { .. }
            | DuckdbSinkError::Unsupported { .. } => ErrorKind::Reconfigure,
            DuckdbSinkError::Damaged { .. }
            | DuckdbSinkError::Altered { .. }
            | DuckdbSinkError::RowsMissing { .. }
            | DuckdbSinkError::HistoryAltered { .. }
            | DuckdbSinkError::HistoryAhead { .. }
            | DuckdbSinkError::OtherTimes { .. } => ErrorKind::Stop,
            DuckdbSinkError::File { kind, .. } | DuckdbSinkError::Duck { kind, .. } => *kind,
            DuckdbSinkError::Contract { .. } => ErrorKind::Bug,
            DuckdbSinkError::Input(error) => error.kind(),
        }
    }

    /// Sorts what DuckDB says about the file itself from what it says about statements.
    pub(crate) fn duck(file: &Path, error: DuckError) -> Self {
        let shown = file.display().to_string();
        let message = error.to_string();
        if let DuckError::Locked { pid, .. } = &error {
            let holder = pid.map(|pid| format!(" (PID {pid})")).unwrap_or_default();
            return DuckdbSinkError::Held { file: shown, holder };
        }
        if message.contains("not a valid DuckDB database") {
            return DuckdbSinkError::NotADatabase { file: shown };
        }
        if message.contains("Corrupt database file") {
            return DuckdbSinkError::Damaged { file: shown };
        }
        if message.contains("Trying to read a database file with version number") || message.contains("newer version") {
            return DuckdbSinkError::Newer { file: shown };
        }
        if message.contains("Permission denied") || message.contains("Read-only file system") {
            let fact = "permission denied: let the pipeline's user write there".to_owned();
            return DuckdbSinkError::File { path: shown, action: "written", fact, kind: ErrorKind::Reconfigure };
        }
        DuckdbSinkError::Duck { object: format!("writing to {shown}"), message, kind: error.kind() }
    }

    pub(crate) fn io(path: &Path, action: &'static str, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::Interrupted | io::ErrorKind::TimedOut => ErrorKind::Retry,
            _ => ErrorKind::Reconfigure,
        };
        DuckdbSinkError::File { path: path.display().to_string(), action, fact: error.to_string(), kind }
    }
}

/// The error under the sink's name. An error of the stream goes through as it is.
pub(crate) fn connector_error(sink: &str, error: DuckdbSinkError) -> ConnectorError {
    match error {
        DuckdbSinkError::Input(error) => error,
        error => ConnectorError::new(error.kind(), format!("sink {sink}: {error}")),
    }
}
