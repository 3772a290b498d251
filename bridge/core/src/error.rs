//! Errors of connectors: what went wrong and what the caller can do about it.

use std::error::Error;

/// What the caller should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Passing: connection, time-out, lock. Trying again may help (exit 1).
    Retry,
    /// The configuration or the target must be changed by a person (exit 2).
    Reconfigure,
    /// Going on would lose or double data: a person decides (exit 3).
    Stop,
    /// A broken invariant of ours (exit 1).
    Bug,
}

/// An error of a source or sink. The message names the object, the fact and what to do; it holds
/// no row values and no credentials. `Display` does not print the source.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ConnectorError {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl ConnectorError {
    /// An error without an inner cause.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        ConnectorError { kind, message: message.into(), source: None }
    }

    /// An error with its cause.
    pub fn with_source(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        ConnectorError { kind, message: message.into(), source: Some(source.into()) }
    }

    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}
