//! What can go wrong with a database, and what the caller can do about it.

use pgwire_replication::PgWireError;
use tidegate_core::{ConnectorError, ErrorKind, Lsn, Position, chain};
use tidegate_postgres::{PostgresError as Unopened, is_passing, tls_kind};

/// An error of a database. `database` is the source's name in the pipeline file.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The configuration says something that cannot be.
    #[error("source {database}: {message}")]
    Config {
        /// The source.
        database: String,
        /// What is wrong, and what to write instead.
        message: String,
    },
    /// The server refuses, or does not answer.
    #[error("source {database}: {doing} failed: {message}")]
    Server {
        /// The source.
        database: String,
        /// What was being done.
        doing: &'static str,
        /// What the server says, without details that could hold values.
        message: String,
        /// What that means for the caller.
        kind: ErrorKind,
    },
    /// Something a person must set right at the server.
    #[error("source {database}: {fact}{}", fix_line(.fix))]
    Setup {
        /// The source.
        database: String,
        /// The object and the fact.
        fact: String,
        /// The SQL or command that mends it.
        fix: Option<String>,
    },
    /// A table is not there.
    #[error("source {database}: there is no table {table} (any more), or it cannot be seen by this role")]
    NoTable {
        /// The source.
        database: String,
        /// The table asked for.
        table: String,
    },
    /// A column's type does not travel.
    #[error("source {database}: column {column} of table {table}: {message}")]
    ColumnType {
        /// The source.
        database: String,
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// Which type, and the way out.
        message: String,
    },
    /// A value that its column's type cannot hold here.
    #[error("source {database}: a value in column {column} of table {table}: {message}")]
    Value {
        /// The source.
        database: String,
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// What is wrong with it; never the value.
        message: String,
    },
    /// The stream says what it must not say.
    #[error("source {database}: table {table}: {fact}")]
    Stream {
        /// The source.
        database: String,
        /// The table, or the stream itself.
        table: String,
        /// What is wrong.
        fact: &'static str,
    },
    /// A table changed between planning and reading.
    #[error("source {database}: table {table} was changed while it was planned; it is planned anew")]
    Moved {
        /// The source.
        database: String,
        /// The table.
        table: String,
    },
    /// Somebody else reads from the slot.
    #[error(
        "source {database}: replication slot {slot} is in use by process {pid} of the server: stop the other \
         reader, or give this pipeline a `slot` of its own"
    )]
    SlotInUse {
        /// The source.
        database: String,
        /// The slot.
        slot: String,
        /// The server's process.
        pid: i32,
    },
    /// The server does not get a slot ready, because transactions that began before do not end.
    #[error(
        "source {database}: a replication slot waits for transactions that began before it; the oldest are those of \
         server processes {pids}: end them (SELECT pg_terminate_backend(pid)), or wait"
    )]
    SlotWaits {
        /// The source.
        database: String,
        /// Who holds it up.
        pids: String,
    },
    /// The server did not send what it has.
    #[error("source {database}: the server has not sent its WAL up to {target} in time; it stands at {reached}")]
    Behind {
        /// The source.
        database: String,
        /// What was waited for.
        target: Lsn,
        /// What has come.
        reached: Lsn,
    },
    /// A position of another kind of source.
    #[error("source {database}: {position} is not a position in a WAL")]
    NotAnLsn {
        /// The source.
        database: String,
        /// What came.
        position: Position,
    },
    /// A file in the state folder.
    #[error("source {database}: {path} cannot be {doing}: {error}")]
    File {
        /// The source.
        database: String,
        /// The file.
        path: String,
        /// `read` or `written`.
        doing: &'static str,
        /// Why not.
        error: std::io::Error,
    },
    /// A task of ours ended without an answer.
    #[error("source {database}: {what} ended without an answer")]
    Abandoned {
        /// The source.
        database: String,
        /// Which.
        what: &'static str,
    },
}

impl PostgresError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            PostgresError::Config { .. }
            | PostgresError::Setup { .. }
            | PostgresError::NoTable { .. }
            | PostgresError::ColumnType { .. } => ErrorKind::Reconfigure,
            PostgresError::Server { kind, .. } => *kind,
            PostgresError::Value { .. } | PostgresError::Stream { .. } => ErrorKind::Stop,
            PostgresError::Moved { .. }
            | PostgresError::SlotInUse { .. }
            | PostgresError::SlotWaits { .. }
            | PostgresError::Behind { .. }
            | PostgresError::File { .. } => ErrorKind::Retry,
            PostgresError::NotAnLsn { .. } | PostgresError::Abandoned { .. } => ErrorKind::Bug,
        }
    }
}

impl PostgresError {
    /// Whether a lock was not to be had in time.
    pub(crate) fn is_lock_timeout(&self) -> bool {
        matches!(self, PostgresError::Server { message, .. } if message.contains("(SQLSTATE 55P03)"))
    }
}

impl From<PostgresError> for ConnectorError {
    fn from(error: PostgresError) -> Self {
        ConnectorError::new(error.kind(), error.to_string())
    }
}

fn fix_line(fix: &Option<String>) -> String {
    fix.as_ref().map(|fix| format!("\n  fix: {fix}")).unwrap_or_default()
}

/// What an answer of the server means for the caller.
pub(crate) fn kind_of(state: Option<&str>) -> ErrorKind {
    match state {
        Some(state) if is_passing(state) => ErrorKind::Retry,
        // What was there is gone, or never was: undefined_object, undefined_table.
        Some("42704" | "42P01" | "55000" | "58P01" | "XX000" | "XX001" | "XX002") => ErrorKind::Stop,
        Some(_) => ErrorKind::Reconfigure,
        None => ErrorKind::Retry,
    }
}

/// Why a session could not be opened.
pub(crate) fn connecting(database: &str, error: &Unopened) -> PostgresError {
    let (doing, message, kind) = match error {
        Unopened::Url { message } => ("connecting", message.clone(), ErrorKind::Reconfigure),
        Unopened::Unreachable { doing, message, passing } => {
            (*doing, message.clone(), if *passing { ErrorKind::Retry } else { ErrorKind::Reconfigure })
        }
        Unopened::Refused { doing, message, state, .. } => {
            (*doing, format!("{message} (SQLSTATE {state})"), kind_of(Some(state)))
        }
    };
    PostgresError::Server { database: database.to_owned(), doing, message, kind }
}

/// What tokio-postgres reports.
pub(crate) fn server(database: &str, doing: &'static str, error: &tokio_postgres::Error) -> PostgresError {
    let (message, kind) = match error.as_db_error() {
        // The primary message alone: details can quote rows.
        Some(db) => (format!("{} (SQLSTATE {})", db.message(), db.code().code()), kind_of(Some(db.code().code()))),
        None => (chain(error), ErrorKind::Retry),
    };
    PostgresError::Server { database: database.to_owned(), doing, message, kind }
}

/// What the replication connection reports.
pub(crate) fn replication(database: &str, doing: &'static str, error: &PgWireError) -> PostgresError {
    let kind = match error {
        PgWireError::Server(text) => kind_of(sqlstate(text)),
        PgWireError::Auth(_) => ErrorKind::Reconfigure,
        PgWireError::Tls(_) => tls_kind(&error.to_string()),
        PgWireError::Protocol(_) | PgWireError::MessageTooLarge { .. } => ErrorKind::Stop,
        _ => ErrorKind::Retry,
    };
    PostgresError::Server { database: database.to_owned(), doing, message: error.to_string(), kind }
}

/// The SQLSTATE in `message (SQLSTATE 42704)`.
pub(crate) fn sqlstate(text: &str) -> Option<&str> {
    let (_, rest) = text.rsplit_once("(SQLSTATE ")?;
    rest.split_once(')').map(|(state, _)| state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_tried_again_and_nothing_else() {
        for state in ["08006", "57P01", "57P03", "53300", "55006", "55P03"] {
            assert_eq!(kind_of(Some(state)), ErrorKind::Retry, "{state}");
        }
        for state in ["28P01", "28000", "42501", "3D000", "22023"] {
            assert_eq!(kind_of(Some(state)), ErrorKind::Reconfigure, "{state}");
        }
        assert_eq!(kind_of(Some("42704")), ErrorKind::Stop);
        assert_eq!(kind_of(sqlstate("terminating connection (SQLSTATE 57P01)")), ErrorKind::Retry);
    }
}
