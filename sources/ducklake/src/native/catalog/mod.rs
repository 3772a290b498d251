//! Asking a lake's catalog tables directly: PostgreSQL and SQLite by clients of their own, DuckDB files as
//! plain databases. The lake's extension has no part in it.
//!
//! The calls block, and those to PostgreSQL wait on the runtime that the calling thread belongs to: they are for
//! threads of its blocking pool.
//!
//! The files: `postgres` (with `libpq`, `numeric`, `ahead`), `sqlite` and `duckdb` are the three databases, `row` is what
//! they answer, `inlined` reads the rows that a lake keeps in its catalog (`values` and `texts` make columns of
//! them), `timestamp` reads moments.

mod ahead;
mod duckdb;
mod inlined;
mod libpq;
mod numeric;
mod postgres;
mod sqlite;
#[cfg(test)]
mod tests;
mod texts;
mod values;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::FieldRef;
use tidegate_core::ErrorKind;
use tidegate_duck::lake::{LakeCatalog, absolute};
use tidegate_duck::{quote_ident, quote_literal};

use self::texts::Texts;
use crate::catalog::SPEC_VERSION;
use crate::config::Attachment;
use crate::error::LakeError;
use tidegate_postgres::Connection;

use crate::row::{Asked, Cell};

pub use self::inlined::{Inlined, InlinedColumn, InlinedTable};
pub use crate::row::Row;

/// What is being done, for errors.
const DOING: &str = "reading the catalog";
/// How long SQLite waits for another program's lock, when the pipeline file says nothing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Options of `ATTACH` that the direct way heeds, or that say nothing to a reader.
const KNOWN_OPTIONS: &[&str] = &[
    "metadata_schema",
    "meta_busy_timeout",
    "meta_journal_mode",
    "data_inlining_row_limit",
    "encrypted",
    "migrate_if_required",
];

/// Whether a reading has a connection of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opened {
    /// The connection is new, and nothing about the catalog has been checked.
    Anew,
    /// The connection was there.
    Before,
}

/// What a query answers.
struct Answer {
    asked: Asked,
    rows: Vec<Vec<Cell>>,
}

/// The database that keeps the catalog.
enum Backend {
    Postgres(Box<postgres::Server>),
    Sqlite(sqlite::File),
    DuckDb(duckdb::File),
}

impl Backend {
    fn begin(&mut self, follows: bool) -> Result<Opened, LakeError> {
        match self {
            Backend::Postgres(server) => server.begin(follows),
            Backend::Sqlite(file) => file.begin(),
            Backend::DuckDb(file) => file.begin(),
        }
    }

    fn end(&mut self, follows: bool) {
        match self {
            Backend::Postgres(server) => server.end(follows),
            Backend::Sqlite(file) => file.end(),
            Backend::DuckDb(file) => file.end(),
        }
    }

    fn rows(&self, sql: &str, text: Option<&str>) -> Result<Answer, LakeError> {
        match self {
            Backend::Postgres(server) => server.rows(sql, text),
            Backend::Sqlite(file) => file.rows(sql, text),
            Backend::DuckDb(file) => file.rows(sql, text),
        }
    }
}

/// The server of a catalog in PostgreSQL, and the schema of its tables.
pub fn server(lake: &str, attachment: &Attachment) -> Result<Option<(Connection, String)>, LakeError> {
    let LakeCatalog::Postgres(connection) = &attachment.catalog else { return Ok(None) };
    let refuse = |message: String| {
        let message = without(&message, &attachment.secrets);
        LakeError::Config { lake: lake.to_owned(), message }
    };
    let (server, _) = libpq::parse(connection, &attachment.base).map_err(refuse)?;
    Ok(Some((server, attachment.schema.clone().unwrap_or_else(|| "public".to_owned()))))
}

/// Who asks the catalog of a lake.
pub struct Client {
    lake: String,
    attachment: Attachment,
    backend: Backend,
    texts: Texts,
}

impl Client {
    /// A client of the catalog, which is connected when the first reading begins. `lake` is the source's name.
    pub fn open(lake: &str, attachment: &Attachment) -> Result<Client, LakeError> {
        let refuse = |message: String| LakeError::Config { lake: lake.to_owned(), message };
        let mut busy_timeout = BUSY_TIMEOUT;
        for option in &attachment.options {
            let (name, value) = option.split_once(' ').unwrap_or((option, ""));
            if !KNOWN_OPTIONS.contains(&name) {
                let message = format!(
                    "attach option `{name}` means nothing to the native reader: leave it out, or write \
                     reader = \"extension\""
                );
                return Err(refuse(message));
            }
            if name == "meta_busy_timeout" {
                let milliseconds = value.trim_matches('\'').parse();
                let wrong = |_| refuse("attach option `meta_busy_timeout` is a number of milliseconds".to_owned());
                busy_timeout = Duration::from_millis(milliseconds.map_err(wrong)?);
            }
        }
        let backend = match &attachment.catalog {
            LakeCatalog::Postgres(connection) => {
                let secrets = attachment.secrets.clone();
                Backend::Postgres(Box::new(postgres::Server::new(lake, connection, &attachment.base, secrets)?))
            }
            LakeCatalog::Sqlite(file) => Backend::Sqlite(sqlite::File::new(lake, file.clone(), busy_timeout)),
            LakeCatalog::DuckDb(file) => Backend::DuckDb(duckdb::File::new(lake, file.clone())),
        };
        Ok(Client { lake: lake.to_owned(), attachment: attachment.clone(), backend, texts: Texts::default() })
    }

    /// Runs something to which the catalog shows one state. Files are let go at the end: another program may want
    /// them. A server stays connected; a connection that broke is opened anew when the next reading begins.
    pub fn reading<T>(&mut self, run: impl FnOnce(&mut Reading<'_>) -> Result<T, LakeError>) -> Result<T, LakeError> {
        self.read(false, run)
    }

    /// The same for readings that go on where the last one of them ended, and ask much the same: a server is asked at
    /// once what they will probably ask.
    pub fn following<T>(&mut self, run: impl FnOnce(&mut Reading<'_>) -> Result<T, LakeError>) -> Result<T, LakeError> {
        self.read(true, run)
    }

    fn read<T>(
        &mut self,
        follows: bool,
        run: impl FnOnce(&mut Reading<'_>) -> Result<T, LakeError>,
    ) -> Result<T, LakeError> {
        let Client { lake, attachment, backend, texts } = self;
        let opened = backend.begin(follows)?;
        // Ended in every case, a panic included: others wait for the file.
        let open = Open { backend, follows };
        let mut reading = Reading { lake, attachment, backend: open.backend, texts };
        if opened == Opened::Anew {
            reading.check_version()?;
        }
        run(&mut reading)
    }

    /// The newest snapshot, when a connected server tells it by one statement; a reading has to ask it otherwise.
    pub fn glance(&self) -> Option<u64> {
        let Backend::Postgres(server) = &self.backend else { return None };
        let schema = quote_ident(self.attachment.schema.as_deref().unwrap_or("public"));
        let answer = server.glance(&format!("SELECT max(snapshot_id) FROM {schema}.ducklake_snapshot")).ok()?;
        rows_of(answer).first()?.optional_u64(0).ok()?
    }

    /// The same as [`Reading::parse_texts`], without a catalog.
    #[cfg(test)]
    pub fn parse_texts(&mut self, texts: &StringArray, field: &FieldRef) -> Result<ArrayRef, LakeError> {
        self.texts.parse_one(&self.lake, texts, field)
    }
}

/// A reading that ends.
struct Open<'a> {
    backend: &'a mut Backend,
    follows: bool,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.backend.end(self.follows);
    }
}

/// One state of the catalog.
pub struct Reading<'a> {
    lake: &'a str,
    attachment: &'a Attachment,
    backend: &'a Backend,
    texts: &'a mut Texts,
}

impl Reading<'_> {
    /// The source's name.
    pub fn lake(&self) -> &str {
        self.lake
    }

    /// The name in SQL of the catalog table `ducklake_<table>`.
    pub fn name(&self, table: &str) -> String {
        self.qualified(&format!("ducklake_{table}"))
    }

    /// The name in SQL of a table beside the catalog's.
    pub fn qualified(&self, table: &str) -> String {
        let name = format!("{}.{}", quote_ident(self.schema()), quote_ident(table));
        match self.backend {
            Backend::DuckDb(_) => format!("{}.{name}", quote_ident(duckdb::ALIAS)),
            Backend::Postgres(_) | Backend::Sqlite(_) => name,
        }
    }

    fn schema(&self) -> &str {
        match (&self.attachment.schema, self.backend) {
            (Some(schema), _) => schema,
            (None, Backend::Postgres(_)) => "public",
            (None, Backend::Sqlite(_) | Backend::DuckDb(_)) => "main",
        }
    }

    /// The rows of a query, in the part of SQL that all three databases speak. Numbers may be formatted into it,
    /// texts never.
    pub fn rows(&mut self, sql: &str) -> Result<Vec<Row>, LakeError> {
        self.backend.rows(sql, None).map(rows_of)
    }

    /// The rows of a query in which `$1` stands for a text.
    pub fn rows_where(&mut self, sql: &str, text: &str) -> Result<Vec<Row>, LakeError> {
        self.backend.rows(sql, Some(text)).map(rows_of)
    }

    /// What to select for a moment, to be read by [`Row::micros`].
    pub fn micros(&self, expression: &str) -> String {
        match self.backend {
            Backend::Postgres(_) => format!("CAST(extract(epoch FROM {expression}) * 1000000 AS BIGINT)"),
            // Kept as text there, and read as such.
            Backend::Sqlite(_) => expression.to_owned(),
            Backend::DuckDb(_) => format!("epoch_us(CAST({expression} AS TIMESTAMP WITH TIME ZONE))"),
        }
    }

    /// Whether moments are kept as texts.
    pub fn keeps_times_as_texts(&self) -> bool {
        matches!(self.backend, Backend::Sqlite(_))
    }

    /// What the catalog says of the lake as a whole, for example `data_path`.
    pub fn metadata(&mut self, key: &str) -> Result<Option<String>, LakeError> {
        let sql = format!("SELECT \"value\" FROM {} WHERE \"key\" = $1 AND scope IS NULL", self.name("metadata"));
        let rows = self.rows_where(&sql, key)?;
        rows.first().map(|row| row.text(0).map(str::to_owned)).transpose()
    }

    /// Where the data files are: what the pipeline file says, or else the catalog. A relative path is relative to
    /// the pipeline file's folder.
    pub fn data_path(&mut self) -> Result<String, LakeError> {
        if let Some(path) = &self.attachment.data_path {
            return Ok(path.clone());
        }
        match self.metadata("data_path")?.filter(|path| !path.is_empty()) {
            Some(path) => Ok(absolute(&path, &self.attachment.base)),
            None => Err(LakeError::Config {
                lake: self.lake.to_owned(),
                message: "its catalog does not say where the files are: set `data_path`".to_owned(),
            }),
        }
    }

    /// The tables of rows that the catalog keeps for a table, by schema version.
    pub fn inlined_tables(&mut self, table_id: u64) -> Result<Vec<InlinedTable>, LakeError> {
        let sql = format!(
            "SELECT table_name, schema_version FROM {} WHERE table_id = {table_id} ORDER BY schema_version",
            self.name("inlined_data_tables")
        );
        let rows = self.rows(&sql)?;
        let table = |row: &Row| Ok(InlinedTable { name: row.text(0)?.to_owned(), schema_version: row.u64(1)? });
        rows.iter().map(table).collect()
    }

    /// Whether there is a catalog table `ducklake_<table>`.
    pub fn has_table(&mut self, table: &str) -> Result<bool, LakeError> {
        let table = format!("ducklake_{table}");
        let (sql, text) = match self.backend {
            Backend::Postgres(_) => ("SELECT to_regclass($1) IS NOT NULL".to_owned(), self.qualified(&table)),
            Backend::Sqlite(_) => {
                let schema = quote_ident(self.schema());
                (format!("SELECT count(*) > 0 FROM {schema}.sqlite_schema WHERE type = 'table' AND name = $1"), table)
            }
            Backend::DuckDb(_) => {
                let [catalog, schema] = [duckdb::ALIAS, self.schema()].map(quote_literal);
                let sql = format!(
                    "SELECT count(*) > 0 FROM duckdb_tables() \
                     WHERE database_name = {catalog} AND schema_name = {schema} AND table_name = $1"
                );
                (sql, table)
            }
        };
        self.rows_where(&sql, &text)?.first().map_or(Ok(false), |row| row.bool(0))
    }

    /// How many questions were answered before they were asked.
    #[cfg(test)]
    pub fn foreseen(&self) -> usize {
        if let Backend::Postgres(server) = self.backend { server.foreseen() } else { 0 }
    }

    /// DuckDB's texts as values of a type, for example defaults of columns.
    pub fn parse_texts(&mut self, texts: &StringArray, field: &FieldRef) -> Result<ArrayRef, LakeError> {
        self.texts.parse_one(self.lake, texts, field)
    }

    fn check_version(&mut self) -> Result<(), LakeError> {
        let found = self.metadata("version").map_err(|error| match error {
            LakeError::CatalogTable { lake, message } => LakeError::Catalog {
                lake,
                message: format!("{message}: there is no lake in schema {}", self.schema()),
                kind: ErrorKind::Reconfigure,
            },
            other => other,
        })?;
        match found.unwrap_or_default() {
            found if found == SPEC_VERSION => Ok(()),
            found => Err(LakeError::Version { lake: self.lake.to_owned(), found, expected: SPEC_VERSION }),
        }
    }
}

/// A table of the catalog that was there a moment ago: a flush dropped it.
pub fn moved(error: LakeError) -> LakeError {
    match error {
        LakeError::CatalogTable { lake, .. } => LakeError::Moved { lake },
        other => other,
    }
}

fn rows_of(answer: Answer) -> Vec<Row> {
    let asked = Arc::new(answer.asked);
    answer.rows.into_iter().map(|cells| Row::new(cells, asked.clone())).collect()
}

/// `text` with every secret blotted out.
fn without(text: &str, secrets: &[String]) -> String {
    let secrets = secrets.iter().filter(|secret| !secret.is_empty());
    secrets.fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "***"))
}
