//! What can go wrong with Delta tables as a target.

use deltalake::DeltaTableError;
use tidegate_core::{ConnectorError, Epoch, ErrorKind, ViewName};

/// An error of the Delta sink.
#[derive(Debug, thiserror::Error)]
pub enum DeltaSinkError {
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
    /// The settings contradict themselves.
    #[error("{fact}")]
    Config {
        /// What is wrong, and the way out.
        fact: String,
    },
    /// A table of that name exists and is not ours.
    #[error(
        "{table} already holds a Delta table that {writer} wrote: give the sink another path, rename the view, or \
         remove the table"
    )]
    Foreign {
        /// The table.
        table: String,
        /// Who wrote it.
        writer: String,
    },
    /// What has the name of a view that is to be removed is not ours.
    #[error(
        "{table} holds a Delta table that {writer} wrote: it stays as it is; remove it yourself if nobody needs it"
    )]
    NotOurs {
        /// The table.
        table: String,
        /// Who wrote it.
        writer: String,
    },
    /// The table needs what this version cannot do.
    #[error("{table} uses the Delta feature {feature}, which this version does not write: {way_out}")]
    Feature {
        /// The table.
        table: String,
        /// The feature.
        feature: String,
        /// What to do.
        way_out: &'static str,
    },
    /// The table is not as it was left.
    #[error(
        "table {table} was altered by somebody else ({difference}): remove the table's folder, and the next run \
         writes it anew"
    )]
    Altered {
        /// The table.
        table: String,
        /// The first difference.
        difference: String,
    },
    /// A history does not agree with its view, or with itself.
    #[error(
        "history {table} was altered by somebody else ({fact}): remove the folder of the view's table, and the next run \
         writes it anew and brings its history in line"
    )]
    HistoryAltered {
        /// The table.
        table: String,
        /// What was found.
        fact: String,
    },
    /// The history holds epochs that are still to come.
    #[error(
        "history {table} holds epoch {held}, and epoch {epoch} is to be written: another state of the pipeline wrote it. \
         Give the sink another path, or move the table's folder away, and the next run begins a new history"
    )]
    HistoryAhead {
        /// The table.
        table: String,
        /// The last epoch of the history.
        held: Epoch,
        /// The epoch of the commit.
        epoch: Epoch,
    },
    /// The view got other columns, and the pipeline file says that a person decides.
    #[error(
        "view {view} has other columns than table {table} ({difference}), and on_schema_change is \"error\": set it \
         to \"replace\", or give the sink another path"
    )]
    OtherColumns {
        /// The view.
        view: ViewName,
        /// The table.
        table: String,
        /// The first difference.
        difference: String,
    },
    /// What we wrote cannot be read any more.
    #[error("{path} is damaged ({fact}): remove the table's folder, and the next run writes it anew")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong with it.
        fact: String,
    },
    /// A view whose name or columns a Delta table cannot have.
    #[error("view {view} cannot be written as a Delta table: {fact}")]
    Unsupported {
        /// The view.
        view: ViewName,
        /// Why, and the way out.
        fact: String,
    },
    /// The log says so, or cannot be read.
    #[error("table {table}: {fact}")]
    Log {
        /// The table.
        table: String,
        /// What the library says.
        fact: String,
        /// What the caller should do.
        kind: ErrorKind,
    },
    /// Others keep committing to the table.
    #[error(
        "table {table} is being changed by another writer all the time: {attempts} attempts to commit met another's"
    )]
    Busy {
        /// The table.
        table: String,
        /// How often it was tried.
        attempts: usize,
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

impl DeltaSinkError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            DeltaSinkError::File { kind, .. } | DeltaSinkError::Log { kind, .. } => *kind,
            DeltaSinkError::Config { .. }
            | DeltaSinkError::Foreign { .. }
            | DeltaSinkError::NotOurs { .. }
            | DeltaSinkError::Feature { .. }
            | DeltaSinkError::OtherColumns { .. }
            | DeltaSinkError::Unsupported { .. } => ErrorKind::Reconfigure,
            DeltaSinkError::Altered { .. }
            | DeltaSinkError::HistoryAltered { .. }
            | DeltaSinkError::HistoryAhead { .. }
            | DeltaSinkError::Damaged { .. } => ErrorKind::Stop,
            DeltaSinkError::Busy { .. } => ErrorKind::Retry,
            DeltaSinkError::Contract { .. } => ErrorKind::Bug,
            DeltaSinkError::Input(error) => error.kind(),
        }
    }

    pub(crate) fn store(path: &str, action: &'static str, error: &object_store::Error) -> Self {
        DeltaSinkError::File { path: path.to_owned(), action, fact: error.to_string(), kind: store_kind(error) }
    }

    pub(crate) fn damaged(path: &str, fact: impl ToString) -> Self {
        DeltaSinkError::Damaged { path: path.to_owned(), fact: fact.to_string() }
    }

    pub(crate) fn unsupported(view: &ViewName, fact: impl Into<String>) -> Self {
        DeltaSinkError::Unsupported { view: view.clone(), fact: fact.into() }
    }

    pub(crate) fn contract(view: &ViewName, fact: impl ToString) -> Self {
        DeltaSinkError::Contract { view: view.clone(), fact: fact.to_string() }
    }

    /// What the library says about a table's log.
    pub(crate) fn log(table: &str, error: &DeltaTableError) -> Self {
        let kind = match error {
            DeltaTableError::ObjectStore { source } => store_kind(source),
            DeltaTableError::Kernel { .. } | DeltaTableError::KernelError(_) | DeltaTableError::Io { .. } => {
                kernel_kind(error)
            }
            _ => ErrorKind::Stop,
        };
        DeltaSinkError::Log { table: table.to_owned(), fact: error.to_string(), kind }
    }
}

/// The library wraps what the store says into errors of its own; the store's error is found among the causes.
fn kernel_kind(error: &DeltaTableError) -> ErrorKind {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<object_store::Error>() {
            return store_kind(error);
        }
        cause = error.source();
    }
    let text = error.to_string();
    let passing = ["timed out", "timeout", "connection", "Error after", "HTTP error", "object store"];
    if passing.iter().any(|word| text.contains(word)) { ErrorKind::Retry } else { ErrorKind::Stop }
}

fn store_kind(error: &object_store::Error) -> ErrorKind {
    match error {
        object_store::Error::PermissionDenied { .. }
        | object_store::Error::Unauthenticated { .. }
        | object_store::Error::InvalidPath { .. }
        | object_store::Error::NotSupported { .. }
        | object_store::Error::NotImplemented { .. }
        | object_store::Error::UnknownConfigurationKey { .. } => ErrorKind::Reconfigure,
        object_store::Error::Generic { source, .. } => match source.downcast_ref::<std::io::Error>() {
            Some(error) => io_kind(error),
            None => ErrorKind::Retry,
        },
        _ => ErrorKind::Retry,
    }
}

fn io_kind(error: &std::io::Error) -> ErrorKind {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied
        | std::io::ErrorKind::NotADirectory
        | std::io::ErrorKind::IsADirectory
        | std::io::ErrorKind::ReadOnlyFilesystem
        | std::io::ErrorKind::InvalidFilename => ErrorKind::Reconfigure,
        _ => ErrorKind::Retry,
    }
}

/// The error under the sink's name. An error of the stream goes through as it is.
pub(crate) fn connector_error(sink: &str, error: DeltaSinkError) -> ConnectorError {
    match error {
        DeltaSinkError::Input(error) => error,
        error => ConnectorError::new(error.kind(), format!("sink {sink}: {error}")),
    }
}
