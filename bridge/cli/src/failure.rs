//! Why a command ends badly, and the exit code that says so to programs.

use std::error::Error;
use std::process::ExitCode;

use tidegate_core::{ErrorKind, chain};

/// The end of a command that did not do what was asked.
#[derive(Debug)]
pub struct Failure {
    kind: ErrorKind,
    /// One message a fault; several only where one run shows all faults.
    messages: Vec<String>,
}

impl Failure {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Failure { kind, messages: vec![message.into()] }
    }

    /// An error and its causes in one line.
    pub fn caused(kind: ErrorKind, error: &dyn Error) -> Self {
        Failure::new(kind, chain(error))
    }

    /// Wrong usage or configuration.
    pub fn usage(message: impl Into<String>) -> Self {
        Failure::new(ErrorKind::Reconfigure, message)
    }

    /// Several faults of one kind.
    pub fn several(kind: ErrorKind, messages: Vec<String>) -> Self {
        Failure { kind, messages }
    }

    /// The messages.
    pub fn messages(&self) -> &[String] {
        &self.messages
    }

    /// Writes the messages to standard error.
    pub fn report(&self) {
        for message in &self.messages {
            eprintln!("error: {message}");
        }
    }

    /// 1: retry may help, 2: wrong usage or configuration, 3: stopped to protect data.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self.kind {
            ErrorKind::Retry | ErrorKind::Bug => 1,
            ErrorKind::Reconfigure => 2,
            ErrorKind::Stop => 3,
        })
    }
}
