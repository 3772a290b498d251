//! A catalog in a SQLite file. Each reading has a connection and a transaction of its own.
//!
//! A connection must not outlive the reading: other parts of this program write such files through DuckDB's
//! extension, which has a SQLite of its own. Two SQLites in one process do not see each other's locks (they
//! belong to the process; <https://sqlite.org/howtocorrupt.html>, 2.2.1), and whoever closes the file last takes
//! away the log that the other one still reads. So the file is open only behind its gate.

use std::path::PathBuf;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tidegate_core::ErrorKind;
use tidegate_duck::{Gate, Pass};

use super::{Answer, DOING, Opened};
use crate::error::LakeError;
use crate::row::{Asked, Cell};

/// How long a sink of this process may keep the file before the reading is put off.
const PATIENCE: Duration = Duration::from_secs(10);

/// A catalog's file.
pub struct File {
    lake: String,
    path: PathBuf,
    busy_timeout: Duration,
    /// The connection goes before the pass.
    open: Option<(Connection, Pass)>,
}

impl File {
    /// A file that is not open yet.
    pub fn new(lake: &str, path: PathBuf, busy_timeout: Duration) -> Self {
        File { lake: lake.to_owned(), path, busy_timeout, open: None }
    }

    /// Begins a reading.
    pub fn begin(&mut self) -> Result<Opened, LakeError> {
        self.end();
        if !self.path.exists() {
            return Err(LakeError::NoCatalog { lake: self.lake.clone(), file: self.path.display().to_string() });
        }
        // Whoever writes the file through DuckDB's extension has it while he shares it.
        let pass = Gate::of(&self.path).pass_within(PATIENCE).ok_or_else(|| LakeError::Catalog {
            lake: self.lake.clone(),
            message: format!("a sink of this process has {} open", self.path.display()),
            kind: ErrorKind::Retry,
        })?;
        let open = || {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(&self.path, flags)?;
            connection.busy_timeout(self.busy_timeout)?;
            // A name in double quotes that is no column is an error, not a text.
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
            connection.execute_batch("BEGIN")?;
            Ok::<_, rusqlite::Error>(connection)
        };
        self.open = Some((open().map_err(|error| self.failed(&error))?, pass));
        Ok(Opened::Anew)
    }

    /// Ends a reading and closes the file.
    pub fn end(&mut self) {
        self.open = None;
    }

    /// The rows of a query; `$1` in it is `text`.
    pub fn rows(&self, sql: &str, text: Option<&str>) -> Result<Answer, LakeError> {
        let (connection, _) = self.open.as_ref().ok_or_else(|| LakeError::Abandoned { lake: self.lake.clone() })?;
        let failed = |error: rusqlite::Error| self.failed(&error);
        let mut statement = connection.prepare(sql).map_err(failed)?;
        let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let asked = Asked { lake: self.lake.clone(), sql: sql.to_owned(), columns };
        let mut answered = statement.query(rusqlite::params_from_iter(text)).map_err(failed)?;
        let mut rows = Vec::new();
        while let Some(row) = answered.next().map_err(failed)? {
            let mut cells = Vec::with_capacity(asked.columns.len());
            for at in 0..asked.columns.len() {
                let not_text = || asked.not_a(at, "text in UTF-8");
                cells.push(match row.get_ref(at).map_err(failed)? {
                    ValueRef::Null => Cell::Null,
                    ValueRef::Integer(number) => Cell::Integer(number),
                    ValueRef::Real(number) => Cell::Float(number),
                    ValueRef::Text(text) => Cell::Text(std::str::from_utf8(text).map_err(|_| not_text())?.to_owned()),
                    ValueRef::Blob(bytes) => Cell::Bytes(bytes.to_vec()),
                });
            }
            rows.push(cells);
        }
        drop(answered);
        drop(statement);
        Ok(Answer { asked, rows })
    }

    fn failed(&self, error: &rusqlite::Error) -> LakeError {
        let message = format!("{DOING} {} failed: {error}", self.path.display());
        let passing =
            [ErrorCode::DatabaseBusy, ErrorCode::DatabaseLocked, ErrorCode::SystemIoFailure, ErrorCode::OutOfMemory];
        let kind = match error.sqlite_error_code() {
            Some(code) if passing.contains(&code) => ErrorKind::Retry,
            Some(ErrorCode::DatabaseCorrupt) => ErrorKind::Stop,
            _ => ErrorKind::Reconfigure,
        };
        LakeError::Catalog { lake: self.lake.clone(), message, kind }
    }
}
