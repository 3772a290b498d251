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

/// An error and its causes in one line; a cause that has been said already is left out, and so is what a cause repeats.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if inner_text.starts_with(&format!("{text}: ")) {
            text = inner_text;
        } else if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_said_once() {
        let cause = ConnectorError::with_source(ErrorKind::Retry, "the socket is closed", "reset by peer");
        let error = ConnectorError::with_source(ErrorKind::Retry, "asking failed: the socket is closed", cause);
        assert_eq!(chain(&error), "asking failed: the socket is closed: reset by peer");
        let cause = ConnectorError::new(ErrorKind::Retry, "sink mart: the disk is full");
        let error = ConnectorError::with_source(ErrorKind::Retry, "sink mart", cause);
        assert_eq!(chain(&error), "sink mart: the disk is full");
    }
}
