//! Why a command ends badly, and the exit code that says so to programs.

use std::error::Error;
use std::process::ExitCode;

use tidegate_core::{ErrorKind, chain};
use tidegate_runtime::Repair;

/// The end of a command that did not do what was asked.
#[derive(Debug)]
pub struct Failure {
    kind: ErrorKind,
    /// One message a fault; several only where one run shows all faults.
    messages: Vec<String>,
    /// What mends it.
    repairs: Vec<Repair>,
}

impl Failure {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Failure { kind, messages: vec![message.into()], repairs: Vec::new() }
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
        Failure { kind, messages, repairs: Vec::new() }
    }

    /// The same, with what mends it.
    #[must_use]
    pub fn with_repairs(mut self, repairs: Vec<Repair>) -> Self {
        self.repairs = repairs;
        self
    }

    /// What mends it.
    pub fn repairs(&self) -> &[Repair] {
        &self.repairs
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

    /// The same as lines of the log.
    pub fn log(&self) {
        for message in &self.messages {
            tracing::error!(name: "failed", exit_code = self.code(), "{message}");
        }
    }

    /// 1: retry may help, 2: wrong usage or configuration, 3: stopped to protect data.
    pub fn code(&self) -> u8 {
        match self.kind {
            ErrorKind::Retry | ErrorKind::Bug => 1,
            ErrorKind::Reconfigure => 2,
            ErrorKind::Stop => 3,
        }
    }

    /// The same for the system.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }
}
