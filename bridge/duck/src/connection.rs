//! Connections with the settings that everything else relies on.

use std::path::{Path, PathBuf};

use duckdb::{AccessMode, Config, Connection};

use crate::error::conceal;
use crate::extension::Signatures;
use crate::{DuckError, Extension, extension};

/// Whether a database file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Read and write; the file is created when it is not there.
    #[default]
    ReadWrite,
    /// Read only; several processes may do that at once.
    ReadOnly,
}

/// Limits of a connection. `None` leaves DuckDB's default.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether the file is written.
    pub access: Access,
    /// Worker threads.
    pub threads: Option<usize>,
    /// As in `SET memory_limit`, for example `4GiB`.
    pub memory_limit: Option<String>,
    /// Where large intermediate results go. An in-memory database spills to `.tmp` in the working
    /// folder when this is `None`, so that folder is switched off then.
    pub temp_dir: Option<PathBuf>,
    /// Whether statements of users run in it. Then nothing without a signature can be loaded whatever they say; others
    /// load by [`Duck::load`] alone, which verifies a file once in a process.
    pub of_users: bool,
}

impl Options {
    fn signatures(&self) -> Signatures {
        if self.of_users { Signatures::Verified } else { Signatures::now() }
    }
}

/// What a DuckDB that gathers changes for a sink may keep in memory beside an engine with this limit, in bytes; what is
/// more spills. A quarter, at most 1 GiB and at least 64 MiB; as [`Options::memory_limit`] takes it.
pub fn staging_memory(engine_limit: Option<u64>) -> String {
    let limit = engine_limit.map_or(u64::MAX, |limit| limit / 4).clamp(64 << 20, 1 << 30);
    format!("{}KiB", limit >> 10)
}

/// An open DuckDB: UTC, nothing installed or loaded behind one's back, exact Arrow types.
pub struct Duck {
    connection: Connection,
    signatures: Signatures,
    secrets: Vec<String>,
}

impl Duck {
    /// A database of its own in memory.
    pub fn open_in_memory() -> Result<Duck, DuckError> {
        Self::open_in_memory_with(&Options::default())
    }

    /// A database of its own in memory, with limits.
    pub fn open_in_memory_with(options: &Options) -> Result<Duck, DuckError> {
        let signatures = options.signatures();
        let opened = config(options, signatures).and_then(Connection::open_in_memory_with_flags);
        Self::prepare(opened, signatures)
    }

    /// A database file.
    pub fn open(path: &Path, options: &Options) -> Result<Duck, DuckError> {
        let signatures = options.signatures();
        let opened = config(options, signatures).and_then(|config| Connection::open_with_flags(path, config));
        Self::prepare(opened, signatures)
    }

    fn prepare(opened: duckdb::Result<Connection>, signatures: Signatures) -> Result<Duck, DuckError> {
        let connection = opened.map_err(|error| DuckError::from_duckdb(&error, &[]))?;
        let duck = Duck { connection, signatures, secrets: Vec::new() };
        if cfg!(feature = "bundled") {
            duck.load(Extension::Icu)?;
        }
        // These are known only once DuckDB is open; each statement takes some tenths of a millisecond.
        duck.execute("SET TimeZone = 'UTC'; SET Calendar = 'gregorian'")?;
        Ok(duck)
    }

    /// A second connection to the same database: its own transactions and temporary tables.
    pub fn try_clone(&self) -> Result<Duck, DuckError> {
        let connection = self.connection.try_clone().map_err(|error| self.error(&error))?;
        let duck = Duck { connection, signatures: self.signatures, secrets: self.secrets.clone() };
        duck.execute("SET TimeZone = 'UTC'; SET Calendar = 'gregorian'")?;
        Ok(duck)
    }

    /// Makes an extension available.
    pub fn load(&self, extension: Extension) -> Result<(), DuckError> {
        extension::load(&self.connection, self.signatures, extension)
    }

    /// Whether it verifies what it loads.
    #[cfg(test)]
    pub(crate) fn signatures(&self) -> Signatures {
        self.signatures
    }

    /// Runs statements without results. The text must come from us: names quoted, values quoted.
    pub fn execute(&self, sql: &str) -> Result<(), DuckError> {
        self.connection.execute_batch(sql).map_err(|error| self.error(&error))
    }

    /// The connection underneath, for statements with bound values. Turn its errors into ours with
    /// [`Duck::error`].
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// A text that must not appear in any error message of this connection: a password, or a
    /// connection string with one.
    pub fn conceal(&mut self, secret: impl Into<String>) {
        self.secrets.push(secret.into());
        self.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    }

    /// Sorts an error of the crate underneath.
    pub fn error(&self, error: &duckdb::Error) -> DuckError {
        DuckError::from_duckdb(error, &self.secrets)
    }

    /// `text` with this connection's secrets blotted out.
    pub fn without_secrets(&self, text: &str) -> String {
        conceal(text, &self.secrets)
    }
}

fn config(options: &Options, signatures: Signatures) -> duckdb::Result<Config> {
    let temp_dir = options.temp_dir.as_deref().map(Path::to_string_lossy).unwrap_or_default();
    let mut config = Config::default()
        .access_mode(match options.access {
            Access::ReadWrite => AccessMode::ReadWrite,
            Access::ReadOnly => AccessMode::ReadOnly,
        })?
        .with("autoinstall_known_extensions", "false")?
        .with("autoload_known_extensions", "false")?
        .with("allow_unsigned_extensions", signatures.allow_unsigned())?
        .with("temp_directory", temp_dir)?
        .with("arrow_lossless_conversion", "false")?
        .with("arrow_output_version", "1.0")?;
    if let Some(threads) = options.threads {
        config = config.with("threads", threads.to_string())?;
    }
    if let Some(limit) = &options.memory_limit {
        config = config.max_memory(limit)?;
    }
    Ok(config)
}
