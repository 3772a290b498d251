//! What can go wrong with a folder of Parquet files as a target.

use std::io;

use tidegate_core::{ConnectorError, Epoch, ErrorKind, ViewName};

/// An error of the Parquet sink.
#[derive(Debug, thiserror::Error)]
pub enum ParquetSinkError {
    /// A file or folder cannot be used.
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
    /// The folder of a view holds Parquet files of somebody else, which readers would mix up with ours.
    #[error("{path} was not written by Tidegate: give the sink another path")]
    Foreign {
        /// The file.
        path: String,
    },
    /// The folder of a view that is to be removed holds Parquet files of somebody else.
    #[error(
        "{path} was not written by Tidegate: what is in the folder of view {view} stays; remove it yourself if nobody needs it"
    )]
    NotOurs {
        /// The file.
        path: String,
        /// The view.
        view: ViewName,
    },
    /// Another writer was there first, time and again.
    #[error("{path} was written by others each time it was to be changed: try again when they write less")]
    Contended {
        /// The manifest.
        path: String,
    },
    /// What we wrote cannot be read any more.
    #[error("{path} is damaged ({fact}): remove the folder of the view, and the next run writes it anew")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong with it.
        fact: String,
    },
    /// The manifest was written by a later version.
    #[error("{path} has format {found}, this version knows up to {known}: use the newer Tidegate, or another path")]
    Newer {
        /// The manifest.
        path: String,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// A file left by a commit that did not finish belongs to another history.
    #[error(
        "{path} holds epoch {epoch} of view {view} as another history wrote it: remove the folder of the view, and \
         the next run writes it anew"
    )]
    OtherHistory {
        /// The file.
        path: String,
        /// The view.
        view: ViewName,
        /// The epoch.
        epoch: Epoch,
    },
    /// The files have other columns than the changes.
    #[error("the files in {path} have other columns than the view: remove the folder, and the next run writes it anew")]
    OtherColumns {
        /// The folder of the view.
        path: String,
    },
    /// The path holds what a sink of the other mode wrote.
    #[error("{path} holds what a sink of another mode wrote: give the sink another path, or its former mode")]
    OtherMode {
        /// The sink's path.
        path: String,
    },
    /// The rows in the files are not those that the changes are made to.
    #[error(
        "the files in {path} do not hold rows that the changes of view {view} remove: somebody changed them; remove \
         the folder, and the next run writes it anew"
    )]
    Diverged {
        /// The folder.
        path: String,
        /// The view.
        view: ViewName,
    },
    /// A view whose name or columns the target cannot have.
    #[error("view {view} cannot be written as Parquet: {fact}")]
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

impl ParquetSinkError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            ParquetSinkError::File { kind, .. } => *kind,
            ParquetSinkError::Contended { .. } => ErrorKind::Retry,
            ParquetSinkError::Foreign { .. }
            | ParquetSinkError::NotOurs { .. }
            | ParquetSinkError::Newer { .. }
            | ParquetSinkError::OtherMode { .. }
            | ParquetSinkError::Unsupported { .. } => ErrorKind::Reconfigure,
            ParquetSinkError::Damaged { .. }
            | ParquetSinkError::OtherHistory { .. }
            | ParquetSinkError::Diverged { .. }
            | ParquetSinkError::OtherColumns { .. } => ErrorKind::Stop,
            ParquetSinkError::Contract { .. } => ErrorKind::Bug,
            ParquetSinkError::Input(error) => error.kind(),
        }
    }

    pub(crate) fn io(path: &str, action: &'static str, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::Interrupted
            | io::ErrorKind::TimedOut => ErrorKind::Retry,
            _ => ErrorKind::Reconfigure,
        };
        ParquetSinkError::File { path: path.to_owned(), action, fact: error.to_string(), kind }
    }

    pub(crate) fn store(path: &str, action: &'static str, error: &object_store::Error) -> Self {
        let kind = match error {
            object_store::Error::PermissionDenied { .. }
            | object_store::Error::Unauthenticated { .. }
            | object_store::Error::InvalidPath { .. }
            | object_store::Error::NotSupported { .. }
            | object_store::Error::NotImplemented { .. }
            | object_store::Error::UnknownConfigurationKey { .. } => ErrorKind::Reconfigure,
            _ => ErrorKind::Retry,
        };
        ParquetSinkError::File { path: path.to_owned(), action, fact: error.to_string(), kind }
    }

    /// A Parquet file that cannot be read: because it cannot be fetched, or is not what it was.
    pub(crate) fn reading(path: &str, error: parquet::errors::ParquetError) -> Self {
        let parquet::errors::ParquetError::External(cause) = &error else { return Self::damaged(path, error) };
        if let Some(error) = cause.downcast_ref::<object_store::Error>() {
            return Self::store(path, "read", error);
        }
        match cause.downcast_ref::<io::Error>() {
            Some(error) if error.kind() != io::ErrorKind::UnexpectedEof => Self::io(path, "read", error),
            _ => Self::damaged(path, error),
        }
    }

    pub(crate) fn damaged(path: &str, fact: impl ToString) -> Self {
        ParquetSinkError::Damaged { path: path.to_owned(), fact: fact.to_string() }
    }
}

/// The error under the sink's name. An error of the stream goes through as it is.
pub(crate) fn connector_error(sink: &str, error: ParquetSinkError) -> ConnectorError {
    match error {
        ParquetSinkError::Input(error) => error,
        error => ConnectorError::new(error.kind(), format!("sink {sink}: {error}")),
    }
}
