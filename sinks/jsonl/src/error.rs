//! What can go wrong with lines on their way out.

use std::io;
use std::path::Path;

use tidegate_core::{ConnectorError, ErrorKind, ViewName};

/// An error of the JSON Lines sink.
#[derive(Debug, thiserror::Error)]
pub enum JsonlSinkError {
    /// Another sink of this process writes there.
    #[error("another sink writes to standard output already: give one of them the path of a file")]
    StdoutTaken,
    /// The reader of standard output is gone.
    #[error("nobody reads standard output any more: start the program again with a reader")]
    StdoutClosed,
    /// Another process writes to the file.
    #[error("{file} is being written by another process: stop it, or give the sink another path")]
    Held {
        /// The file.
        file: String,
    },
    /// The file is something else.
    #[error("{file} was not written by this sink: give it another path")]
    Foreign {
        /// The file.
        file: String,
    },
    /// The file is not as it was written.
    #[error(
        "{file} was altered by somebody else ({difference}): restore it, or remove it, and the next run writes it anew"
    )]
    Altered {
        /// The file.
        file: String,
        /// Where, and what is wrong; never a value.
        difference: String,
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
    /// A view whose columns the lines cannot have.
    #[error("view {view} cannot be written as JSON: {fact}")]
    Unsupported {
        /// The view.
        view: ViewName,
        /// Why, and the way out.
        fact: String,
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

impl JsonlSinkError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            JsonlSinkError::Held { .. } => ErrorKind::Retry,
            JsonlSinkError::StdoutTaken
            | JsonlSinkError::StdoutClosed
            | JsonlSinkError::Foreign { .. }
            | JsonlSinkError::Unsupported { .. } => ErrorKind::Reconfigure,
            JsonlSinkError::Altered { .. } => ErrorKind::Stop,
            JsonlSinkError::File { kind, .. } => *kind,
            JsonlSinkError::Contract { .. } => ErrorKind::Bug,
            JsonlSinkError::Input(error) => error.kind(),
        }
    }

    pub(crate) fn io(path: &Path, action: &'static str, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge
            | io::ErrorKind::Interrupted
            | io::ErrorKind::TimedOut => ErrorKind::Retry,
            _ => ErrorKind::Reconfigure,
        };
        JsonlSinkError::File { path: path.display().to_string(), action, fact: error.to_string(), kind }
    }

    pub(crate) fn stream(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => JsonlSinkError::StdoutClosed,
            _ => JsonlSinkError::io(Path::new("standard output"), "written", error),
        }
    }
}

/// The error under the sink's name. An error of the stream goes through as it is.
pub(crate) fn connector_error(sink: &str, error: JsonlSinkError) -> ConnectorError {
    match error {
        JsonlSinkError::Input(error) => error,
        error => ConnectorError::new(error.kind(), format!("sink {sink}: {error}")),
    }
}
