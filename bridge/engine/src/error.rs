//! Errors of the engine.

use tidegate_core::{ErrorKind, TableName, ViewName};
use tidegate_engine_row::RowError;
use tidegate_engine_sql::{PlanError, StretchError};

/// What can go wrong in the engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A view's plan has a shape that the compiler does not take.
    #[error("view {view}: {construct} cannot be maintained incrementally")]
    Unsupported {
        /// The view.
        view: ViewName,
        /// What was found.
        construct: String,
    },
    /// A row format error.
    #[error("a value could not be brought into the engine's row format")]
    Row(#[from] RowError),
    /// An expression failed on some row.
    #[error("an expression of a view failed while it was maintained")]
    Expression(#[from] StretchError),
    /// A sum is beyond 38 digits.
    #[error("view {view}: a sum has more than 38 digits, which no column type can hold")]
    SumOverflow {
        /// The view.
        view: ViewName,
    },
    /// The rows of one window partition, or the first rows of an order, are more than the state can hold as one.
    #[error(
        "view {view}: a partition of a window, or the rows that a LIMIT keeps, take more than a gibibyte: \
         choose a finer PARTITION BY, a lower LIMIT or fewer columns"
    )]
    PartitionTooLarge {
        /// The view.
        view: ViewName,
    },
    /// A statistic that DuckDB, too, fails to compute: of infinities, NaNs or numbers that are too large.
    #[error("view {view}: {function} is out of range: filter such values")]
    OutOfRange {
        /// The view.
        view: ViewName,
        /// The aggregate.
        function: String,
    },
    /// A recursive query added rows for too many rounds, or too many rows.
    #[error(
        "view {view}: its WITH RECURSIVE does not reach an end ({fact}): use UNION instead of UNION ALL where rows \
         come in circles, and a condition that ends it, as on a depth, where new ones always follow"
    )]
    Endless {
        /// The view.
        view: ViewName,
        /// What was reached instead.
        fact: &'static str,
    },
    /// Arrow refused something.
    /// A subquery that stands for one value has several rows, for which DuckDB, too, has no answer.
    #[error(
        "view {view}: a subquery that stands for one value has more than one row: aggregate it, for example with max, \
         or filter it down to one row"
    )]
    SeveralRows {
        /// The view.
        view: ViewName,
    },
    /// Arrow refused something.
    #[error("an Arrow operation failed in the engine")]
    Arrow(#[from] arrow::error::ArrowError),
    /// DBSP failed.
    #[error("the circuit of view {view} failed: {during}")]
    Circuit {
        /// The view.
        view: ViewName,
        /// What was being done.
        during: &'static str,
        /// What DBSP says.
        source: CircuitError,
    },
    /// The state folder cannot be used.
    #[error("engine state {path}: {fact}")]
    Storage {
        /// The file or folder.
        path: String,
        /// What is wrong with it.
        fact: String,
        /// The system's error.
        source: Option<std::io::Error>,
    },
    /// The state was written by a version with another row format.
    #[error("the engine's state has format {found}, this version reads {expected}: the views must be rebuilt")]
    IncompatibleFormat {
        /// Format of the state.
        found: u32,
        /// Format of this program.
        expected: u32,
    },
    /// The recorded program can no longer be planned.
    #[error("the recorded program cannot be planned any more: {}", .0.first().map(ToString::to_string).unwrap_or_default())]
    Plan(Vec<PlanError>),
    /// A name that the engine was not given.
    #[error("view {0} is not part of the program")]
    UnknownView(ViewName),
    /// Events of a table in a form that its declaration excludes.
    #[error("table {table}: {fact}")]
    Event {
        /// The table.
        table: TableName,
        /// What is wrong with the event.
        fact: &'static str,
    },
    /// A delta that contradicts the view state: the source's events are not consistent.
    #[error("view {view}: {fact}; the source's changes contradict what it sent before")]
    Inconsistent {
        /// The view.
        view: ViewName,
        /// The contradiction.
        fact: &'static str,
    },
    /// Rows of a view have the same values in the columns that it declares as its key.
    #[error(
        "view {view}: several rows have the declared key {key}: correct them at the source before this epoch is read, or \
         declare more columns as the key or none, and the view is built anew"
    )]
    KeyNotUnique {
        /// The view.
        view: ViewName,
        /// The columns of the key with their values.
        key: String,
    },
    /// Events that contradict the table state: the source's events are not consistent.
    #[error("table {table}: {fact}; the source's changes contradict what it sent before")]
    InconsistentTable {
        /// The table.
        table: TableName,
        /// The contradiction.
        fact: &'static str,
    },
    /// A step failed before; the state in memory is void.
    #[error("the engine stopped after an error and must be opened again from its last checkpoint")]
    Poisoned,
    /// Calls in the wrong order.
    #[error("{0}")]
    Misuse(&'static str),
}

/// What DBSP says of a circuit that failed, in a line: without stack traces, and without advice to those who run it otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CircuitError(String);

impl From<dbsp::Error> for CircuitError {
    fn from(error: dbsp::Error) -> Self {
        CircuitError(said(&error.to_string()).to_owned())
    }
}

/// The first line that names the fault.
fn said(text: &str) -> &str {
    let panicked = text.split_once("panic message: ").map_or(text, |(_, message)| message);
    let line = panicked.lines().next().unwrap_or_default().trim_end_matches('.');
    line.strip_prefix("The pipeline crashed because storage I/O failed: ").unwrap_or(line)
}

impl EngineError {
    /// Whether there is no room for the state on the disk.
    pub fn is_disk_full(&self) -> bool {
        match self {
            EngineError::Circuit { source, .. } => source.0.contains("no storage space"),
            EngineError::Storage { source: Some(error), .. } => error.kind() == std::io::ErrorKind::StorageFull,
            _ => false,
        }
    }

    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            EngineError::Unsupported { .. } | EngineError::Plan(_) => ErrorKind::Reconfigure,
            EngineError::Circuit { .. } | EngineError::Storage { .. } => ErrorKind::Retry,
            EngineError::Expression(_)
            | EngineError::SumOverflow { .. }
            | EngineError::OutOfRange { .. }
            | EngineError::SeveralRows { .. }
            | EngineError::PartitionTooLarge { .. }
            | EngineError::Endless { .. }
            | EngineError::KeyNotUnique { .. }
            | EngineError::Inconsistent { .. }
            | EngineError::InconsistentTable { .. }
            | EngineError::IncompatibleFormat { .. } => ErrorKind::Stop,
            EngineError::Row(_)
            | EngineError::Arrow(_)
            | EngineError::UnknownView(_)
            | EngineError::Event { .. }
            | EngineError::Poisoned
            | EngineError::Misuse(_) => ErrorKind::Bug,
        }
    }

    /// Whether the checkpoint cannot be read by this version, so that all views must be rebuilt.
    pub fn is_incompatible(&self) -> bool {
        matches!(self, EngineError::IncompatibleFormat { .. } | EngineError::Plan(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circuit_says_one_line() {
        let text = "runtime error: One or more worker threads terminated unexpectedly\nforeground worker thread 0 panicked\n\
                    panic message: The pipeline crashed because storage I/O failed: /state/w0.feldera: write failed: no storage space.\n\n\
                    The crash was likely caused by storage exhaustion\n\nstack trace:\n   0: dbsp::circuit";
        assert_eq!(said(text), "/state/w0.feldera: write failed: no storage space");
        assert_eq!(said("circuit has been terminated"), "circuit has been terminated");
        let source = CircuitError(said(text).to_owned());
        assert!(EngineError::Circuit { view: "v".into(), during: "saving", source }.is_disk_full());
    }
}
