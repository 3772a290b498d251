//! What DuckDB refuses, sorted by what the caller can do about it.

use tidegate_core::{ConnectorError, ErrorKind, UnsupportedType};

/// An error of DuckDB or of what stands around it. Messages hold no row values; secrets that the
/// connection knows of ([`Duck::conceal`](crate::Duck::conceal)) are blotted out.
#[derive(Debug, thiserror::Error)]
pub enum DuckError {
    /// Another process holds the database file.
    #[error("{file} is held by another process{}: close it there, or wait", holder(.pid))]
    Locked {
        /// The file.
        file: String,
        /// The process that holds it, if DuckDB says so.
        pid: Option<u32>,
    },
    /// A file that a statement needs is not there.
    #[error("a file is missing: {message}")]
    MissingFile {
        /// What DuckDB says, with the file's name.
        message: String,
    },
    /// The disk is full.
    #[error("no space left on the device: {message}")]
    NoSpace {
        /// What DuckDB says.
        message: String,
    },
    /// A server cannot be reached, a file cannot be read, a lock timed out.
    #[error("{message}")]
    Unavailable {
        /// What DuckDB says.
        message: String,
    },
    /// Another transaction changed the same thing; the whole transaction may be repeated.
    #[error("{message}")]
    Conflict {
        /// What DuckDB says.
        message: String,
    },
    /// A value does not fit where it should go. DuckDB's own message would show the value.
    #[error("a value does not fit ({what})")]
    Value {
        /// DuckDB's name of the error, for example `Conversion Error`.
        what: String,
    },
    /// DuckDB refuses the statement.
    #[error("{message}")]
    Sql {
        /// What DuckDB says.
        message: String,
    },
    /// A file lies where DuckDB reads with httpfs alone.
    #[error("{message}")]
    NeedsHttpfs {
        /// What DuckDB says.
        message: String,
    },
    /// An extension cannot be loaded.
    #[error("the DuckDB extension {name} cannot be loaded ({tried}): run 'cargo xtask setup', or set TIDEGATE_EXTENSION_DIR to a folder that holds {name}.duckdb_extension of DuckDB {version}", version = crate::DUCKDB_VERSION)]
    Extension {
        /// The extension.
        name: &'static str,
        /// What was tried and how it failed.
        tried: String,
    },
    /// A column has a type that does not travel.
    #[error("column {column}: {source}")]
    UnsupportedType {
        /// The column.
        column: String,
        /// Which type, and the way out.
        source: UnsupportedType,
    },
    /// A result does not have the columns that were asked for.
    #[error("DuckDB's result does not match the schema asked for: {message}")]
    Mismatch {
        /// What differs.
        message: String,
    },
}

/// What a PostgreSQL that cannot be reached, or went away, leaves in a message.
const LOST_SERVER: [&str; 6] = [
    "unable to connect to postgres",
    "server closed the connection",
    "terminating connection",
    "connection to server",
    "no connection to the server",
    "ssl syscall error",
];

fn holder(pid: &Option<u32>) -> String {
    pid.map(|pid| format!(" (PID {pid})")).unwrap_or_default()
}

impl DuckError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            DuckError::Locked { .. }
            | DuckError::NoSpace { .. }
            | DuckError::Unavailable { .. }
            | DuckError::Conflict { .. } => ErrorKind::Retry,
            DuckError::MissingFile { .. } | DuckError::Value { .. } => ErrorKind::Stop,
            DuckError::Sql { .. }
            | DuckError::NeedsHttpfs { .. }
            | DuckError::Extension { .. }
            | DuckError::UnsupportedType { .. } => ErrorKind::Reconfigure,
            DuckError::Mismatch { .. } => ErrorKind::Bug,
        }
    }

    /// Whether a statement names this table, or view, and there is none.
    pub fn lacks_table(&self, name: &str) -> bool {
        let lacks = |message: &str| {
            let rest = message.strip_prefix("Catalog Error: Table with name ")?.strip_prefix(name)?;
            Some(rest.starts_with(" does not exist"))
        };
        matches!(self, DuckError::Sql { message } if lacks(message) == Some(true))
    }

    /// The error as a connector reports it, under a message that names the object.
    pub fn into_connector_error(self, object: &str) -> ConnectorError {
        ConnectorError::new(self.kind(), format!("{object}: {self}"))
    }

    /// Sorts what the `duckdb` crate reports, by its own words: a secret may be a part of any of them.
    pub(crate) fn from_duckdb(error: &duckdb::Error, secrets: &[String]) -> Self {
        Self::from_message(&error.to_string()).concealing(secrets)
    }

    fn concealing(mut self, secrets: &[String]) -> Self {
        match &mut self {
            DuckError::MissingFile { message }
            | DuckError::NoSpace { message }
            | DuckError::Unavailable { message }
            | DuckError::Conflict { message }
            | DuckError::Sql { message }
            | DuckError::NeedsHttpfs { message }
            | DuckError::Mismatch { message }
            | DuckError::Locked { file: message, .. }
            | DuckError::Extension { tried: message, .. } => *message = conceal(message, secrets),
            // Neither has a word of a statement.
            DuckError::Value { .. } | DuckError::UnsupportedType { .. } => {}
        }
        self
    }

    fn from_message(message: &str) -> Self {
        let message = clean(message);
        let lower = message.to_lowercase();
        let has = |text: &str| lower.contains(text);
        if has("could not set lock on file") || has("conflicting lock is held") {
            return DuckError::Locked { file: locked_file(&message), pid: pid(&message) };
        }
        if LOST_SERVER.iter().any(|text| has(text)) {
            return DuckError::Unavailable { message };
        }
        if has("no space left on device") {
            return DuckError::NoSpace { message };
        }
        if has("no such file or directory") || has("no files found that match the pattern") {
            return DuckError::MissingFile { message };
        }
        if has("not a valid duckdb database file") {
            return DuckError::Sql { message };
        }
        let what = message.split(':').next().unwrap_or_default().to_owned();
        match what.as_str() {
            "Conversion Error" | "Out of Range Error" | "Constraint Error" => DuckError::Value { what },
            "TransactionContext Error" | "Transaction Error" => DuckError::Conflict { message },
            "IO Error" | "HTTP Error" | "Connection Error" => DuckError::Unavailable { message },
            _ if has("database is locked") => DuckError::Unavailable { message },
            _ if has("requires the extension httpfs") => DuckError::NeedsHttpfs { message },
            _ => DuckError::Sql { message },
        }
    }
}

/// DuckDB's message without the stack trace and the pointers to its own documentation.
pub(crate) fn clean(message: &str) -> String {
    let message = message.split("\n\nStack Trace").next().unwrap_or(message);
    let message = message.split("\n\nLINE").next().unwrap_or(message);
    let message = message.split(". See also https://").next().unwrap_or(message);
    message.trim().to_owned()
}

/// `text` with every secret blotted out.
pub(crate) fn conceal(text: &str, secrets: &[String]) -> String {
    secrets.iter().filter(|secret| !secret.is_empty()).fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
}

fn locked_file(message: &str) -> String {
    let after = message.split_once("lock on file").map_or(message, |(_, after)| after);
    after.split('"').nth(1).unwrap_or("the database file").to_owned()
}

fn pid(message: &str) -> Option<u32> {
    let digits = message.split("PID ").nth(1)?;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_conflicts_name_file_and_pid() {
        let error = DuckError::from_message(
            "IO Error: Could not set lock on file \"/tmp/x.db\": Conflicting lock is held in /usr/bin/python (PID 4711). \
             See also https://duckdb.org/docs/stable/connect/concurrency",
        );
        assert!(matches!(&error, DuckError::Locked { file, pid: Some(4711) } if file == "/tmp/x.db"), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::Retry);
        assert_eq!(error.to_string(), "/tmp/x.db is held by another process (PID 4711): close it there, or wait");
    }

    #[test]
    fn values_stay_out_of_messages() {
        let error = DuckError::from_message("Conversion Error: Could not convert string 'salary 4711' to INT32");
        assert_eq!(error.to_string(), "a value does not fit (Conversion Error)");
    }

    #[test]
    fn missing_tables_are_told_by_their_name() {
        let duck = crate::Duck::open_in_memory().unwrap();
        duck.execute("CREATE TABLE other (a INTEGER); CREATE VIEW v AS FROM other; DROP TABLE other").unwrap();
        let error = duck.describe_columns("memory.main.\"a \"\"table\"").unwrap_err();
        assert!(error.lacks_table("a \"table") && !error.lacks_table("a"), "{error}");
        // A view that is broken is there.
        let error = duck.describe_columns("v").unwrap_err();
        assert!(error.lacks_table("other") && !error.lacks_table("v"), "{error}");
    }

    #[test]
    fn secrets_are_blotted_out() {
        let said = duckdb::Error::InvalidColumnName("x requires the extension httpfs".to_owned());
        let error = DuckError::from_duckdb(&said, &["x".to_owned()]);
        assert!(matches!(&error, DuckError::NeedsHttpfs { message } if message.contains("e***tension")), "{error}");
        assert_eq!(conceal("host=x password=hush", &["hush".to_owned()]), "host=x password=***");
    }
}
