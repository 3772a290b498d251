//! The lake while it is attached. It is attached anew for each commit: the extension remembers what it
//! knows of a schema version, and does not notice when a flush has dropped the inlined rows of it.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_duck::duckdb::{Params, Row};
use tidegate_duck::lake::{LakeCatalog, absolute};
use tidegate_duck::{Access, Duck, DuckError, Extension, Gate, Pass, quote_ident, quote_literal, quote_name};

use crate::config::{INLINING, Place};
use crate::error::DucklakeSinkError;

/// The version of the catalog specification that this program writes.
const SPEC_VERSION: &str = "1.0";
/// The lake's name inside our own DuckDB.
const ALIAS: &str = "tidegate_lake";
/// How long a reader of this process may keep a catalog's file before the commit is put off.
const PATIENCE: Duration = Duration::from_secs(10);
/// What the extension says of a catalog that holds no lake.
const NO_LAKE: &str = "creating a new DuckLake is explicitly disabled";

/// What small inserts of one attachment do where neither table nor lake say otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inserts {
    /// They may go into the catalog.
    AsUsual,
    /// They go into files.
    IntoFiles,
}

/// A lake, attached. Detached when dropped.
pub(crate) struct Lake<'a> {
    pub(crate) duck: &'a Duck,
    pub(crate) place: &'a Place,
    _pass: Option<Pass>,
}

/// A table or view of our schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Relation {
    /// Its name, in its own case.
    pub(crate) name: String,
    /// The catalog's number of a table; `None` for a view.
    pub(crate) table: Option<u64>,
    /// The table's own option for inlined rows.
    pub(crate) inlining: Option<u64>,
}

/// What stood in our schema when the lake was attached, by names in lower case.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) relations: BTreeMap<String, Relation>,
    /// What the lake says about inlined rows of all tables of the schema.
    pub(crate) inlining: Option<u64>,
}

impl Survey {
    pub(crate) fn relation(&self, name: &str) -> Option<&Relation> {
        self.relations.get(&name.to_lowercase())
    }
}

/// Keeps passwords out of what a DuckDB says.
pub(crate) fn conceal(duck: &mut Duck, place: &Place) {
    place.secrets.iter().map(String::as_str).chain(place.storage.secrets()).for_each(|secret| duck.conceal(secret));
}

/// Loads what a lake needs.
pub(crate) fn load(duck: &Duck, place: &Place) -> Result<(), DucklakeSinkError> {
    let loaded = duck.load(Extension::Ducklake);
    let loaded = loaded.and_then(|()| place.catalog.extension().map_or(Ok(()), |extension| duck.load(extension)));
    loaded.map_err(|error| DucklakeSinkError::duck(&place.shown, "opening DuckDB for", error))
}

fn is_remote(path: &str) -> bool {
    path.contains("://")
}

impl<'a> Lake<'a> {
    /// Attaches the lake; `None` where there is none. A lake that is not there is made when `access`
    /// is `ReadWrite`.
    pub(crate) fn attach(
        duck: &'a Duck,
        place: &'a Place,
        access: Access,
        inserts: Inserts,
    ) -> Result<Option<Lake<'a>>, DucklakeSinkError> {
        if let Some(file) = place.catalog.file() {
            if file.is_dir() {
                let message = "it is a folder, not the catalog of a lake".to_owned();
                return Err(DucklakeSinkError::Refused { lake: place.shown.clone(), message });
            }
            if !file.exists() && place.data_path.is_none() {
                return Err(DucklakeSinkError::NoDataPath { lake: place.shown.clone() });
            }
            if !file.exists() && access == Access::ReadOnly {
                return Ok(None);
            }
            if let Some(folder) = file.parent().filter(|folder| !file.exists() && !folder.as_os_str().is_empty()) {
                std::fs::create_dir_all(folder).map_err(|error| DucklakeSinkError::folder(folder, &error))?;
            }
        }
        let lake = Lake { duck, place, _pass: pass(place, access)? };
        let mode = match access {
            Access::ReadOnly => "READ_ONLY",
            Access::ReadWrite => "CREATE_IF_NOT_EXISTS false",
        };
        match lake.attach_with(vec![mode.to_owned()], inserts) {
            Err(error) if error.to_string().contains(NO_LAKE) => {
                let Some(path) = &place.data_path else {
                    return Err(DucklakeSinkError::NoDataPath { lake: place.shown.clone() });
                };
                if access == Access::ReadOnly {
                    return Ok(None);
                }
                lake.attach_with(vec![format!("DATA_PATH {}", quote_literal(path))], inserts)?;
                return Ok(Some(lake));
            }
            attached => attached?,
        }
        let recorded = lake.recorded_data_path()?;
        if let Some(path) = lake.other_data_path(&recorded)? {
            lake.detach();
            let path = format!("DATA_PATH {}, OVERRIDE_DATA_PATH true", quote_literal(&path));
            lake.attach_with(vec![mode.to_owned(), path], inserts)?;
        }
        Ok(Some(lake))
    }

    fn attach_with(&self, mut options: Vec<String>, inserts: Inserts) -> Result<(), DucklakeSinkError> {
        options.extend(self.place.options.iter().filter(|option| !option.starts_with(INLINING)).cloned());
        match inserts {
            Inserts::IntoFiles => options.push(format!("{INLINING} 0")),
            Inserts::AsUsual => {
                options.extend(self.place.options.iter().filter(|option| option.starts_with(INLINING)).cloned());
            }
        }
        let uri = quote_literal(&self.place.catalog.uri());
        let attach = format!("ATTACH {uri} AS {} ({})", quote_ident(ALIAS), options.join(", "));
        let attached = self.place.storage.attach(self.duck, &attach);
        attached.map_err(|error| self.error("opening", error))
    }

    /// Where the catalog says that the lake's files are; also checks the catalog's version.
    fn recorded_data_path(&self) -> Result<String, DucklakeSinkError> {
        let sql = format!("SELECT value FROM {} WHERE key = ? AND scope IS NULL", self.catalog("metadata"));
        let value = |key: &str| -> Result<String, DucklakeSinkError> {
            Ok(self.rows(&sql, [key], |row| row.get(0))?.into_iter().next().unwrap_or_default())
        };
        let found = value("version")?;
        if found != SPEC_VERSION {
            let lake = self.place.shown.clone();
            return Err(DucklakeSinkError::Version { lake, found, expected: SPEC_VERSION });
        }
        value("data_path")
    }

    /// The path by which the lake's files are reached, where that is not the one that the catalog
    /// says. A relative path in the catalog is relative to the pipeline file, not to wherever the
    /// program was started.
    fn other_data_path(&self, recorded: &str) -> Result<Option<String>, DucklakeSinkError> {
        let is_relative = !recorded.is_empty() && !is_remote(recorded) && !recorded.starts_with('/');
        let resolved = absolute(recorded, &self.place.base);
        let same = |a: &str, b: &str| a.trim_end_matches('/') == b.trim_end_matches('/');
        match &self.place.data_path {
            Some(configured) if !same(configured, &resolved) => {
                if self.place.overrides_data_path {
                    return Ok(Some(configured.clone()));
                }
                Err(DucklakeSinkError::DataPath {
                    lake: self.place.shown.clone(),
                    recorded: recorded.to_owned(),
                    configured: configured.clone(),
                })
            }
            _ => Ok(is_relative.then_some(resolved)),
        }
    }

    fn detach(&self) {
        // Fails when the attach did.
        let _ = self.duck.execute(&format!("DETACH DATABASE IF EXISTS {}", quote_ident(ALIAS)));
    }

    /// An error of the connection, told about the lake.
    pub(crate) fn error(&self, doing: &'static str, error: DuckError) -> DucklakeSinkError {
        DucklakeSinkError::duck(&self.place.shown, doing, error)
    }

    /// Runs statements.
    pub(crate) fn execute(&self, sql: &str) -> Result<(), DucklakeSinkError> {
        self.duck.execute(sql).map_err(|error| self.error("writing to", error))
    }

    /// Runs a statement and answers how many rows it changed.
    pub(crate) fn change(&self, sql: &str, parameters: impl Params) -> Result<u64, DucklakeSinkError> {
        let changed = self.duck.connection().execute(sql, parameters);
        changed.map(|rows| rows as u64).map_err(|error| self.error("writing to", self.duck.error(&error)))
    }

    /// The rows of a query.
    pub(crate) fn rows<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        read: impl FnMut(&Row<'_>) -> tidegate_duck::duckdb::Result<T>,
    ) -> Result<Vec<T>, DucklakeSinkError> {
        let run = || {
            let mut statement = self.duck.connection().prepare(sql)?;
            statement.query_map(parameters, read)?.collect::<Result<Vec<_>, _>>()
        };
        run().map_err(|error| self.error("reading", self.duck.error(&error)))
    }

    /// The single number that a query gives.
    pub(crate) fn count(&self, sql: &str) -> Result<u64, DucklakeSinkError> {
        Ok(self.rows(sql, [], |row| row.get(0))?.into_iter().next().unwrap_or(0))
    }

    /// The name in SQL of the catalog table `ducklake_<table>`.
    pub(crate) fn catalog(&self, table: &str) -> String {
        self.catalog_table(&format!("ducklake_{table}"))
    }

    /// A table of the catalog, quoted.
    pub(crate) fn catalog_table(&self, name: &str) -> String {
        let schema = self.place.metadata_schema.as_deref().map(|schema| format!("{}.", quote_ident(schema)));
        format!("{}.{}{}", quote_ident(&self.catalog_database()), schema.unwrap_or_default(), quote_ident(name))
    }

    /// What DuckDB calls the database with the catalog.
    pub(crate) fn catalog_database(&self) -> String {
        format!("__ducklake_metadata_{ALIAS}")
    }

    /// A table of our schema, quoted.
    pub(crate) fn table(&self, name: &str) -> String {
        quote_name([ALIAS, &self.place.schema, name])
    }

    /// Our schema, quoted.
    pub(crate) fn schema(&self) -> String {
        quote_name([ALIAS, &self.place.schema])
    }

    /// Runs statements while names without a catalog are those of our schema.
    pub(crate) fn inside<T>(&self, run: impl FnOnce() -> Result<T, DucklakeSinkError>) -> Result<T, DucklakeSinkError> {
        self.execute(&format!("USE {}", self.schema()))?;
        let done = run();
        self.execute("USE memory")?;
        done
    }

    /// Calls a function of the lake.
    pub(crate) fn call(&self, function: &str, arguments: &str) -> Result<(), DucklakeSinkError> {
        self.execute(&format!("CALL {}.{function}({arguments})", quote_ident(ALIAS)))
    }

    /// The lake's name as a literal, for functions that take it.
    pub(crate) fn literal(&self) -> String {
        quote_literal(ALIAS)
    }

    /// What stands in our schema. Asks the catalog's tables; within a transaction of ours it would see
    /// more than that does.
    pub(crate) fn survey(&self) -> Result<Survey, DucklakeSinkError> {
        let [schemas, tables, views, metadata] = ["schema", "table", "view", "metadata"].map(|name| self.catalog(name));
        let limit = |scope: &str, id: &str| {
            format!(
                "(SELECT max(TRY_CAST(value AS UBIGINT)) FROM {metadata} \
                 WHERE key = '{INLINING}' AND scope = '{scope}' AND CAST(scope_id AS BIGINT) = CAST({id} AS BIGINT))"
            )
        };
        let ours = "lower(s.schema_name) = lower(?) AND s.end_snapshot IS NULL";
        let sql = format!(
            "SELECT t.table_name, CAST(t.table_id AS UBIGINT), {} FROM {tables} t JOIN {schemas} s USING (schema_id) \
             WHERE {ours} AND t.end_snapshot IS NULL \
             UNION ALL SELECT v.view_name, NULL, NULL FROM {views} v JOIN {schemas} s USING (schema_id) \
             WHERE {ours} AND v.end_snapshot IS NULL",
            limit("table", "t.table_id"),
        );
        let schema = self.place.schema.as_str();
        let relations = self.rows(&sql, [schema, schema], |row| {
            let relation = Relation { name: row.get(0)?, table: row.get(1)?, inlining: row.get(2)? };
            Ok((relation.name.to_lowercase(), relation))
        })?;
        let sql = format!(
            "SELECT coalesce((SELECT {} FROM {schemas} s WHERE {ours}), \
             (SELECT max(TRY_CAST(value AS UBIGINT)) FROM {metadata} WHERE key = '{INLINING}' AND scope IS NULL))",
            limit("schema", "s.schema_id"),
        );
        let inlining = self.rows(&sql, [schema], |row| row.get(0))?.into_iter().next().flatten();
        Ok(Survey { relations: relations.into_iter().collect(), inlining })
    }

    /// Says how many rows of an insert into a table may go into the catalog. Not part of a transaction.
    pub(crate) fn set_inlining(&self, table: &str, rows: u64) -> Result<(), DucklakeSinkError> {
        let [schema, table] = [&self.place.schema, table].map(quote_literal);
        self.call("set_option", &format!("'{INLINING}', {rows}, schema => {schema}, table_name => {table}"))
    }
}

impl Drop for Lake<'_> {
    fn drop(&mut self) {
        // There is one when something failed within a transaction.
        let _ = self.duck.execute("ROLLBACK");
        let _ = self.duck.execute("USE memory");
        self.detach();
    }
}

/// Waits until nobody else of this process has a catalog's file open in a way that excludes ours.
fn pass(place: &Place, access: Access) -> Result<Option<Pass>, DucklakeSinkError> {
    let file = match &place.catalog {
        LakeCatalog::DuckDb(file) => file,
        // A SQLite file has two libraries in this process, which do not see each other's locks: the one inside DuckDB's
        // extension, whose users share the file, and the native reader's, which waits for them.
        LakeCatalog::Sqlite(file) => return Ok(Some(Gate::of(file).share())),
        LakeCatalog::Postgres(_) => return Ok(None),
    };
    match access {
        Access::ReadOnly => Ok(Some(Gate::of(file).share())),
        Access::ReadWrite => {
            let pass = Gate::of(file).pass_within(PATIENCE);
            let held = || DucklakeSinkError::Held {
                file: file.display().to_string(),
                holder: "a source of this pipeline that reads from it".to_owned(),
            };
            pass.map(Some).ok_or_else(held)
        }
    }
}
