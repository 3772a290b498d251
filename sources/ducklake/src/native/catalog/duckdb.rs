//! A catalog in a DuckDB file. The file admits one process at a time, so it is attached only while a reading
//! runs, as a plain database: nothing of the lake's extension is in the way.

use std::path::PathBuf;

use tidegate_duck::duckdb::types::ValueRef;
use tidegate_duck::{Duck, DuckError, Gate, Options, Pass, quote_ident, quote_literal};

use super::{Answer, DOING, Opened};
use crate::error::LakeError;
use crate::row::{Asked, Cell};

/// The catalog's name inside our own DuckDB.
pub const ALIAS: &str = "tidegate_catalog";

/// A catalog's file.
pub struct File {
    lake: String,
    path: PathBuf,
    duck: Option<Duck>,
    /// There is one while the file is attached.
    pass: Option<Pass>,
}

impl File {
    /// A file that is not attached yet.
    pub fn new(lake: &str, path: PathBuf) -> Self {
        File { lake: lake.to_owned(), path, duck: None, pass: None }
    }

    /// Begins a reading.
    pub fn begin(&mut self) -> Result<Opened, LakeError> {
        self.end();
        if !self.path.exists() {
            return Err(LakeError::NoCatalog { lake: self.lake.clone(), file: self.path.display().to_string() });
        }
        let pass = Gate::of(&self.path).share();
        let duck = match self.duck.take() {
            Some(duck) => duck,
            None => Duck::open_in_memory_with(&Options { threads: Some(1), ..Options::default() })
                .map_err(|error| self.failed(error))?,
        };
        let file = quote_literal(&self.path.to_string_lossy());
        let attached = duck.execute(&format!("ATTACH {file} AS {} (READ_ONLY, TYPE duckdb)", quote_ident(ALIAS)));
        attached.map_err(|error| self.failed(error))?;
        let begun = duck.execute("BEGIN TRANSACTION");
        (self.duck, self.pass) = (Some(duck), Some(pass));
        if let Err(error) = begun {
            self.end();
            return Err(self.failed(error));
        }
        Ok(Opened::Anew)
    }

    /// Ends a reading and lets the file go.
    pub fn end(&mut self) {
        if self.pass.is_none() {
            return;
        }
        let detach = format!("DETACH {}", quote_ident(ALIAS));
        if let Some(duck) = self.duck.take() {
            // A transaction that failed to begin is no reason to keep the file.
            let _ = duck.execute("ROLLBACK");
            // A DuckDB that does not let the file go is closed, and the file with it.
            self.duck = duck.execute(&detach).is_ok().then_some(duck);
        }
        self.pass = None;
    }

    /// The connection, while the file is attached.
    pub fn duck(&self) -> Result<&Duck, LakeError> {
        let attached = self.duck.as_ref().filter(|_| self.pass.is_some());
        attached.ok_or_else(|| LakeError::Abandoned { lake: self.lake.clone() })
    }

    /// The rows of a query; `$1` in it is `text`.
    pub fn rows(&self, sql: &str, text: Option<&str>) -> Result<Answer, LakeError> {
        let duck = self.duck()?;
        let failed = |error: tidegate_duck::duckdb::Error| self.failed(duck.error(&error));
        let mut statement = duck.connection().prepare(sql).map_err(failed)?;
        let parameters = tidegate_duck::duckdb::params_from_iter(text);
        let mut answered = statement.query(parameters).map_err(failed)?;
        let columns = answered.as_ref().map(|statement| statement.column_names()).unwrap_or_default();
        let asked = Asked { lake: self.lake.clone(), sql: sql.to_owned(), columns };
        let mut rows = Vec::new();
        while let Some(row) = answered.next().map_err(failed)? {
            let mut cells = Vec::with_capacity(asked.columns.len());
            for at in 0..asked.columns.len() {
                let value = row.get_ref(at).map_err(failed)?;
                cells.push(cell(value).ok_or_else(|| asked.not_a(at, "of a known type"))?);
            }
            rows.push(cells);
        }
        drop(answered);
        drop(statement);
        Ok(Answer { asked, rows })
    }

    /// An error of the connection.
    pub fn failed(&self, source: DuckError) -> LakeError {
        LakeError::Duck { lake: self.lake.clone(), doing: DOING, source }
    }
}

fn cell(value: ValueRef<'_>) -> Option<Cell> {
    let text = |bytes| std::str::from_utf8(bytes).ok().map(|text| Cell::Text(text.to_owned()));
    Some(match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Boolean(flag) => Cell::Bool(flag),
        ValueRef::TinyInt(number) => Cell::Integer(number.into()),
        ValueRef::SmallInt(number) => Cell::Integer(number.into()),
        ValueRef::Int(number) => Cell::Integer(number.into()),
        ValueRef::BigInt(number) => Cell::Integer(number),
        ValueRef::UTinyInt(number) => Cell::Integer(number.into()),
        ValueRef::USmallInt(number) => Cell::Integer(number.into()),
        ValueRef::UInt(number) => Cell::Integer(number.into()),
        ValueRef::UBigInt(number) => {
            i64::try_from(number).map_or_else(|_| Cell::Text(number.to_string()), Cell::Integer)
        }
        ValueRef::HugeInt(number) => {
            i64::try_from(number).map_or_else(|_| Cell::Text(number.to_string()), Cell::Integer)
        }
        ValueRef::Float(number) => Cell::Float(number.into()),
        ValueRef::Double(number) => Cell::Float(number),
        ValueRef::Text(bytes) => return text(bytes),
        ValueRef::Blob(bytes) => Cell::Bytes(bytes.to_vec()),
        _ => return None,
    })
}
