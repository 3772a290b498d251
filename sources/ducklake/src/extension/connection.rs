//! The connection to a lake: when it is attached, and what is let go between two calls.
//!
//! A catalog in a DuckDB file admits one process at a time, so it is attached only while a call
//! runs. The others stay attached for questions to the catalog tables. Rows and columns are only read
//! through a fresh attachment: the extension remembers what it knows of a schema version, and does
//! not notice when a flush has dropped the inlined rows of it. The connection is the lake's own and
//! never inside a transaction: reading the change feed inside one would show its uncommitted rows.

use std::sync::Arc;

use tidegate_core::{TableName, TableSchema};
use tidegate_duck::duckdb::types::Value;
use tidegate_duck::lake::{LakeCatalog, Storage, absolute};
use tidegate_duck::{Duck, DuckError, Extension, Gate, quote_ident, quote_literal};

use crate::catalog::{Catalog, SPEC_VERSION};
use crate::config::Attachment;
use crate::error::LakeError;
use crate::journal::prepare_for_writers;
use crate::row::{Asked, Cell, Row};
use crate::tables::schemas;

/// The lake's name inside our own DuckDB.
const ALIAS: &str = "tidegate_lake";

/// A lake and the DuckDB that reads it.
pub struct Lake {
    name: String,
    attachment: Attachment,
    duck: Option<Duck>,
    is_attached: bool,
    is_prepared: bool,
}

impl Lake {
    /// A lake that is not attached yet.
    pub fn new(name: String, attachment: Attachment) -> Self {
        Lake { name, attachment, duck: None, is_attached: false, is_prepared: false }
    }

    /// Makes readings not hold up writers, where that can be done.
    pub fn prepare_for_writers(&mut self) {
        self.is_prepared = self.is_prepared || prepare_for_writers(&self.name, &self.attachment.catalog);
    }

    /// Reaches files on S3 so.
    pub fn set_storage(&mut self, storage: Storage) {
        self.attachment.storage = storage;
    }

    /// Runs something that reads rows or columns of tables, through a fresh attachment.
    pub fn attached_anew<T>(&mut self, run: impl FnOnce(&Session) -> Result<T, LakeError>) -> Result<T, LakeError> {
        if let Some(duck) = self.duck.as_ref().filter(|_| self.is_attached) {
            self.is_attached = false;
            detach(&self.name, duck)?;
        }
        self.attached(run)
    }

    /// The schemas of some tables at a snapshot (`None`: the newest), in the order asked.
    pub fn tables(&mut self, wanted: &[TableName], at: Option<u64>) -> Result<Vec<TableSchema>, LakeError> {
        self.attached_anew(|session| {
            let snapshot = session.resolve(at)?;
            let in_sqlite = matches!(session.kind, LakeCatalog::Sqlite(_));
            schemas(session, wanted, snapshot, in_sqlite, &|table| session.describe(table, snapshot))
        })
    }

    /// Runs something that asks catalog tables alone.
    pub fn attached<T>(&mut self, run: impl FnOnce(&Session) -> Result<T, LakeError>) -> Result<T, LakeError> {
        let Lake { name, attachment, duck, is_attached, .. } = self;
        // A sink of this process may write the same lake, and waits for nobody while it has the file.
        let _pass = match &attachment.catalog {
            LakeCatalog::DuckDb(file) => Some(Gate::of(file).share()),
            LakeCatalog::Sqlite(_) | LakeCatalog::Postgres(_) => None,
        };
        let duck = match duck {
            Some(duck) => duck,
            None => duck.insert(open(name, attachment)?),
        };
        if !*is_attached {
            attach(name, attachment, duck)?;
            *is_attached = true;
        }
        let session = Session { lake: name, duck, kind: &attachment.catalog, schema: attachment.schema.as_deref() };
        let result = run(&session);
        if result.is_err() || matches!(attachment.catalog, LakeCatalog::DuckDb(_)) {
            *is_attached = false;
            let detached = detach(name, duck);
            if let (Ok(_), Err(error)) = (&result, detached) {
                return Err(error);
            }
        }
        result
    }
}

fn open(name: &str, attachment: &Attachment) -> Result<Duck, LakeError> {
    let load = || {
        let mut duck = Duck::open_in_memory()?;
        let secrets = attachment.secrets.iter().map(String::as_str).chain(attachment.storage.secrets());
        secrets.for_each(|secret| duck.conceal(secret));
        duck.load(Extension::Ducklake)?;
        attachment.catalog.extension().map_or(Ok(()), |extension| duck.load(extension))?;
        Ok(duck)
    };
    load().map_err(|source| LakeError::Duck { lake: name.to_owned(), doing: "opening DuckDB", source })
}

fn attach(name: &str, attachment: &Attachment, duck: &Duck) -> Result<(), LakeError> {
    if let Some(file) = attachment.catalog.file().filter(|file| !file.exists()) {
        return Err(LakeError::NoCatalog { lake: name.to_owned(), file: file.display().to_string() });
    }
    attach_with(name, attachment, duck, attachment.data_path.as_deref())?;
    let session = Session { lake: name, duck, kind: &attachment.catalog, schema: attachment.schema.as_deref() };
    let metadata = |key: &str| {
        let sql = format!("SELECT value FROM {} WHERE key = ? AND scope IS NULL", session.catalog("metadata"));
        session.values::<String>(&sql, [key], "reading the catalog")
    };
    let checked = metadata("version").and_then(|version| {
        let found = version.into_iter().next().unwrap_or_default();
        if found != SPEC_VERSION {
            return Err(LakeError::Version { lake: name.to_owned(), found, expected: SPEC_VERSION });
        }
        Ok(metadata("data_path")?.into_iter().next().unwrap_or_default())
    });
    match checked {
        // A relative path in the catalog is relative to the pipeline file, not to wherever the
        // program was started.
        Ok(recorded) if attachment.data_path.is_none() && is_relative(&recorded) => {
            detach(name, duck)?;
            attach_with(name, attachment, duck, Some(&absolute(&recorded, &attachment.base)))
        }
        Ok(_) => Ok(()),
        Err(error) => {
            detach(name, duck)?;
            Err(error)
        }
    }
}

fn detach(name: &str, duck: &Duck) -> Result<(), LakeError> {
    duck.execute(&format!("DETACH {}", quote_ident(ALIAS))).map_err(|source| LakeError::Duck {
        lake: name.to_owned(),
        doing: "letting go of the catalog",
        source,
    })
}

fn is_relative(path: &str) -> bool {
    !path.is_empty() && !path.contains("://") && !path.starts_with('/')
}

fn attach_with(name: &str, attachment: &Attachment, duck: &Duck, data_path: Option<&str>) -> Result<(), LakeError> {
    let mut options = vec!["READ_ONLY".to_owned()];
    if let Some(path) = data_path {
        options.push(format!("DATA_PATH {}, OVERRIDE_DATA_PATH true", quote_literal(path)));
    }
    options.extend(attachment.options.iter().cloned());
    let uri = quote_literal(&attachment.catalog.uri());
    let statement = format!("ATTACH {uri} AS {} ({})", quote_ident(ALIAS), options.join(", "));
    attachment.storage.attach(duck, &statement).map_err(|source| match version_mismatch(&source) {
        Some(found) => LakeError::Version { lake: name.to_owned(), found, expected: SPEC_VERSION },
        None => LakeError::Duck { lake: name.to_owned(), doing: "attaching the catalog", source },
    })
}

/// The version that the extension found, when that is what it complains about.
fn version_mismatch(error: &DuckError) -> Option<String> {
    let DuckError::Sql { message } = error else { return None };
    let rest = message.split("version mismatch: catalog version is ").nth(1)?;
    rest.split(',').next().map(str::to_owned)
}

/// An attached lake.
pub struct Session<'a> {
    /// The source's name, for errors.
    pub lake: &'a str,
    /// The connection.
    pub duck: &'a Duck,
    /// Where the catalog is.
    pub kind: &'a LakeCatalog,
    schema: Option<&'a str>,
}

impl Session<'_> {
    /// The lake's name in SQL.
    pub fn alias(&self) -> &'static str {
        ALIAS
    }

    /// An error of the connection.
    pub fn failed(&self, doing: &'static str) -> impl Fn(DuckError) -> LakeError {
        let lake = self.lake.to_owned();
        move |source| LakeError::Duck { lake: lake.clone(), doing, source }
    }

    /// The first column of a query.
    pub fn values<T: tidegate_duck::duckdb::types::FromSql>(
        &self,
        sql: &str,
        parameters: impl tidegate_duck::duckdb::Params,
        doing: &'static str,
    ) -> Result<Vec<T>, LakeError> {
        self.rows(sql, parameters, doing, |row| row.get(0))
    }

    /// The rows of a query.
    pub fn rows<T>(
        &self,
        sql: &str,
        parameters: impl tidegate_duck::duckdb::Params,
        doing: &'static str,
        read: impl FnMut(&tidegate_duck::duckdb::Row<'_>) -> tidegate_duck::duckdb::Result<T>,
    ) -> Result<Vec<T>, LakeError> {
        let run = || {
            let mut statement = self.duck.connection().prepare(sql)?;
            statement.query_map(parameters, read)?.collect::<Result<Vec<_>, _>>()
        };
        run().map_err(|error| self.failed(doing)(self.duck.error(&error)))
    }
}

impl Catalog for Session<'_> {
    fn lake(&self) -> &str {
        self.lake
    }

    fn catalog(&self, table: &str) -> String {
        self.beside(&format!("ducklake_{table}"))
    }

    fn beside(&self, table: &str) -> String {
        let catalog = quote_ident(&format!("__ducklake_metadata_{ALIAS}"));
        let schema = self.schema.map(|schema| format!("{}.", quote_ident(schema))).unwrap_or_default();
        format!("{catalog}.{schema}{}", quote_ident(table))
    }

    fn has_table(&self, table: &str) -> Result<bool, LakeError> {
        // The catalog's database is hidden from DuckDB's lists of tables.
        let sql = format!("SELECT 1 FROM {} LIMIT 0", self.catalog(table));
        match self.duck.connection().prepare(&sql) {
            Ok(_) => Ok(true),
            Err(error) if error.to_string().contains("does not exist") => Ok(false),
            Err(error) => Err(self.failed("reading the catalog")(self.duck.error(&error))),
        }
    }

    fn micros(&self, expression: &str) -> String {
        format!("epoch_us(CAST({expression} AS TIMESTAMPTZ))")
    }

    fn keeps_times_as_texts(&self) -> bool {
        matches!(self.kind, LakeCatalog::Sqlite(_))
    }

    fn ask(&self, sql: &str) -> Result<Vec<Row>, LakeError> {
        const DOING: &str = "reading the catalog";
        let read = || {
            let mut statement = self.duck.connection().prepare(sql)?;
            let mut rows = statement.query([])?;
            let columns = rows.as_ref().map_or(0, |statement| statement.column_count());
            let names =
                (0..columns).map(|at| rows.as_ref().and_then(|statement| statement.column_name(at).ok().cloned()));
            let names: Vec<String> = names.map(Option::unwrap_or_default).collect();
            let mut read = Vec::new();
            while let Some(row) = rows.next()? {
                read.push(
                    (0..columns)
                        .map(|at| row.get::<_, Value>(at))
                        .collect::<tidegate_duck::duckdb::Result<Vec<_>>>()?,
                );
            }
            Ok((names, read))
        };
        let read: tidegate_duck::duckdb::Result<(Vec<String>, Vec<Vec<Value>>)> = read();
        let (columns, read) = read.map_err(|error| self.failed(DOING)(self.duck.error(&error)))?;
        let asked = Arc::new(Asked { lake: self.lake.to_owned(), sql: sql.to_owned(), columns });
        let row = |values: Vec<Value>| Row::new(values.into_iter().map(cell).collect(), asked.clone());
        Ok(read.into_iter().map(row).collect())
    }
}

fn cell(value: Value) -> Cell {
    let integer = |number: i128| i64::try_from(number).map_or(Cell::Null, Cell::Integer);
    match value {
        Value::Boolean(value) => Cell::Bool(value),
        Value::TinyInt(number) => Cell::Integer(number.into()),
        Value::SmallInt(number) => Cell::Integer(number.into()),
        Value::Int(number) => Cell::Integer(number.into()),
        Value::BigInt(number) => Cell::Integer(number),
        Value::HugeInt(number) => integer(number),
        Value::UTinyInt(number) => Cell::Integer(number.into()),
        Value::USmallInt(number) => Cell::Integer(number.into()),
        Value::UInt(number) => Cell::Integer(number.into()),
        Value::UBigInt(number) => integer(number.into()),
        Value::Double(number) => Cell::Float(number),
        Value::Float(number) => Cell::Float(number.into()),
        Value::Text(text) => Cell::Text(text),
        Value::Blob(bytes) => Cell::Bytes(bytes),
        _ => Cell::Null,
    }
}
