//! The database file while it is attached, and the table of epochs in it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use tidegate_core::{Committed, Epoch, EpochHash, EpochHeader, Micros, ViewInfo, ViewName};
use tidegate_duck::{Access, Duck, quote_literal, quote_name};

use crate::error::DuckdbSinkError;
use crate::stage::{column_types, table as stage_table};

/// The table that says which epochs the file holds. The last row of a view counts.
pub(crate) const EPOCHS: &str = "_tidegate_epochs";
/// What the file is called while it is attached.
const CATALOG: &str = "tidegate_mart";
/// Rows of a view in the table of epochs at which the older ones go, and how many stay.
const EPOCH_ROWS_MAX: u64 = 2_000;
const EPOCH_ROWS_KEPT: u64 = 1_000;

/// The file, attached to a DuckDB in memory. Detached when dropped.
pub(crate) struct Mart<'a> {
    duck: &'a Duck,
    file: &'a Path,
}

/// A table or view of the file with its columns.
#[derive(Debug, Default)]
pub(crate) struct Relation {
    pub(crate) columns: Vec<(String, String)>,
}

impl<'a> Mart<'a> {
    /// Opens the file; it is created when it is not there and `access` is `ReadWrite`.
    pub(crate) fn attach(duck: &'a Duck, file: &'a Path, access: Access) -> Result<Mart<'a>, DuckdbSinkError> {
        if file.is_dir() {
            return Err(DuckdbSinkError::File {
                path: file.display().to_string(),
                action: "opened as a database",
                fact: "it is a folder: give the sink the path of a file".to_owned(),
                kind: tidegate_core::ErrorKind::Reconfigure,
            });
        }
        if fs::metadata(file).is_ok_and(|found| found.len() == 0) {
            return Err(DuckdbSinkError::NotADatabase { file: file.display().to_string() });
        }
        let mode = match access {
            Access::ReadOnly => "READ_ONLY",
            Access::ReadWrite => "READ_WRITE",
        };
        let path = quote_literal(&file.to_string_lossy());
        let mart = Mart { duck, file };
        mart.execute(&format!("ATTACH {path} AS {CATALOG} (TYPE duckdb, {mode})"))?;
        Ok(mart)
    }

    /// Closes the file, and says whether all of it could be written.
    fn detach(self) -> Result<(), DuckdbSinkError> {
        self.execute(&format!("DETACH DATABASE {CATALOG}"))
    }

    /// Runs statements; errors are told about the file.
    pub(crate) fn execute(&self, sql: &str) -> Result<(), DuckdbSinkError> {
        self.duck.execute(sql).map_err(|error| DuckdbSinkError::duck(self.file, error))
    }

    /// Runs a statement and answers how many rows it changed.
    pub(crate) fn change(&self, sql: &str) -> Result<u64, DuckdbSinkError> {
        self.with(|connection| connection.execute(sql, [])).map(|rows| rows as u64)
    }

    /// The single number that a query gives.
    pub(crate) fn count(&self, sql: &str) -> Result<u64, DuckdbSinkError> {
        self.with(|connection| connection.query_row(sql, [], |row| row.get(0)))
    }

    fn with<T>(
        &self,
        run: impl FnOnce(&tidegate_duck::duckdb::Connection) -> tidegate_duck::duckdb::Result<T>,
    ) -> Result<T, DuckdbSinkError> {
        run(self.duck.connection()).map_err(|error| DuckdbSinkError::duck(self.file, self.duck.error(&error)))
    }

    /// A table of the file, quoted.
    pub(crate) fn table(&self, name: &str) -> String {
        quote_name([CATALOG, "main", name])
    }

    /// The table or view that a name stands for, whatever its case.
    pub(crate) fn relation(&self, name: &str) -> Result<Option<Relation>, DuckdbSinkError> {
        self.columns(CATALOG, name)
    }

    fn columns(&self, catalog: &str, name: &str) -> Result<Option<Relation>, DuckdbSinkError> {
        let sql = "SELECT column_name, data_type FROM duckdb_columns() \
                   WHERE database_name = ? AND schema_name = 'main' AND lower(table_name) = lower(?) \
                   ORDER BY column_index";
        let columns: Vec<(String, String)> = self.with(|connection| {
            let mut statement = connection.prepare(sql)?;
            let rows = statement.query_map([catalog, name], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        })?;
        Ok((!columns.is_empty()).then_some(Relation { columns }))
    }

    /// What the file holds of each of the views: their last epochs. A view whose table is gone
    /// is not held.
    pub(crate) fn committed<'v>(
        &self,
        views: impl IntoIterator<Item = &'v ViewName>,
    ) -> Result<BTreeMap<ViewName, Option<Committed>>, DuckdbSinkError> {
        let known = self.relation(EPOCHS)?.is_some();
        let sql = format!(
            "SELECT epoch, hash FROM {} WHERE lower(view) = lower(?) ORDER BY epoch DESC LIMIT 1",
            self.table(EPOCHS)
        );
        let mut found = BTreeMap::new();
        for view in views {
            let mut committed = None;
            if known && self.relation(view.as_str())?.is_some() {
                let last: Option<(i64, String)> = self.with(|connection| {
                    let mut statement = connection.prepare(&sql)?;
                    let mut rows = statement.query([view.as_str()])?;
                    rows.next()?.map(|row| Ok((row.get(0)?, row.get(1)?))).transpose()
                })?;
                committed = last.map(|(epoch, hash)| self.parse(view, epoch, &hash)).transpose()?;
            }
            found.insert(view.clone(), committed);
        }
        Ok(found)
    }

    fn parse(&self, view: &ViewName, epoch: i64, hash: &str) -> Result<Committed, DuckdbSinkError> {
        let committed = u64::try_from(epoch).ok().zip(hash.parse::<EpochHash>().ok());
        let (epoch, hash) = committed.ok_or_else(|| DuckdbSinkError::Altered {
            file: self.file.display().to_string(),
            view: view.clone(),
            difference: format!("its row in {EPOCHS} is not one of ours"),
        })?;
        Ok(Committed { epoch: Epoch(epoch), hash })
    }

    /// Whether the file says anything about a view, be its table there or not.
    pub(crate) fn knows(&self, view: &ViewName) -> Result<bool, DuckdbSinkError> {
        let sql = format!("SELECT count(*) FROM {} WHERE lower(view) = lower(?)", self.table(EPOCHS));
        let rows: u64 = self.with(|connection| connection.query_row(&sql, [view.as_str()], |row| row.get(0)))?;
        Ok(rows > 0)
    }

    /// Makes the table of epochs where it is missing.
    pub(crate) fn create_epochs(&self) -> Result<(), DuckdbSinkError> {
        self.execute(&format!(
            "CREATE TABLE IF NOT EXISTS {} \
             (view VARCHAR, epoch BIGINT, hash VARCHAR, frontier JSON, committed_at TIMESTAMP WITH TIME ZONE)",
            self.table(EPOCHS)
        ))
    }

    /// Forgets what the file said about a view.
    pub(crate) fn forget_epochs(&self, view: &ViewName) -> Result<(), DuckdbSinkError> {
        let sql = format!("DELETE FROM {} WHERE lower(view) = lower(?)", self.table(EPOCHS));
        self.with(|connection| connection.execute(&sql, [view.as_str()])).map(|_| ())
    }

    /// Notes that the file holds a view up to an epoch.
    pub(crate) fn note_epoch(&self, view: &ViewName, header: &EpochHeader, at: Micros) -> Result<(), DuckdbSinkError> {
        let table = self.table(EPOCHS);
        let (hash, frontier) = (header.hash.to_string(), header.frontier.to_string());
        let name = view.as_str();
        self.with(|connection| {
            connection.execute(
                &format!("INSERT INTO {table} VALUES (?, ?, ?, ?, make_timestamp(?)::TIMESTAMP WITH TIME ZONE)"),
                tidegate_duck::duckdb::params![name, header.epoch.0, hash, frontier, at.0],
            )?;
            let count = format!("SELECT count(*) FROM {table} WHERE lower(view) = lower(?)");
            let rows: u64 = connection.query_row(&count, [name], |row| row.get(0))?;
            if rows > EPOCH_ROWS_MAX {
                let prune = format!(
                    "DELETE FROM {table} WHERE lower(view) = lower(?) AND epoch < (SELECT min(epoch) FROM \
                     (SELECT epoch FROM {table} WHERE lower(view) = lower(?) ORDER BY epoch DESC LIMIT {EPOCH_ROWS_KEPT}))"
                );
                connection.execute(&prune, [name, name])?;
            }
            Ok(())
        })
    }

    /// Whether the table still has the columns that were written, as the stage's table has them.
    pub(crate) fn check_columns(&self, view: &ViewInfo, index: usize) -> Result<(), DuckdbSinkError> {
        let altered = |difference: String| DuckdbSinkError::Altered {
            file: self.file.display().to_string(),
            view: view.name.clone(),
            difference,
        };
        let found = self.relation(view.name.as_str())?.unwrap_or_default().columns;
        let expected = self.columns("memory", &stage_table(index))?.unwrap_or_default().columns;
        let names = view.schema.fields().iter().map(|field| field.name().as_str());
        let mut found = found.iter();
        for (name, (_, duckdb_type)) in names.zip(&expected) {
            match found.next() {
                Some((n, t)) if n == name && t == duckdb_type => {}
                Some((n, t)) => {
                    return Err(altered(format!("column {n} {t} stands where the view has {name} {duckdb_type}")));
                }
                None => return Err(altered(format!("column {name} is missing"))),
            }
        }
        match found.next() {
            Some((extra, _)) => Err(altered(format!("column {extra} is not one of the view's"))),
            None => Ok(()),
        }
    }

    /// Writes what the log holds into the file itself, so that readers need not replay it. The
    /// commit stands whether this works or not.
    pub(crate) fn checkpoint(&self) {
        if let Err(error) = self.execute(&format!("CHECKPOINT {CATALOG}")) {
            tracing::warn!(file = %self.file.display(), %error, "checkpoint of the database file failed");
        }
    }
}

impl Drop for Mart<'_> {
    fn drop(&mut self) {
        // Fails when the attach did, or inside an open transaction of a commit that failed.
        let _ = self.duck.execute("ROLLBACK");
        let _ = self.duck.execute(&format!("DETACH DATABASE IF EXISTS {CATALOG}"));
    }
}

/// Makes an empty database in place of a file that is not there: under another name first, because a
/// database that was being made when the disk was full, or the process died, is none.
pub(crate) fn create(duck: &Duck, file: &Path) -> Result<(), DuckdbSinkError> {
    let mut name = std::ffi::OsString::from(".");
    name.push(file.file_name().unwrap_or_default());
    name.push(".tidegate-new");
    let unfinished = file.with_file_name(name);
    let remove = || match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(DuckdbSinkError::io(&unfinished, "removed", &error))
        }
        _ => Ok(()),
    };
    remove()?;
    let made = Mart::attach(duck, &unfinished, Access::ReadWrite).and_then(|mart| mart.detach());
    if made.is_err() {
        // It is in nobody's way, and the next attempt removes it too.
        let _ = remove();
    }
    made?;
    fs::rename(&unfinished, file).map_err(|error| DuckdbSinkError::io(file, "created", &error))?;
    sync_folder(file)
}

/// Makes the folder of the file, and says whether the file is there.
pub(crate) fn prepare_folder(file: &Path) -> Result<bool, DuckdbSinkError> {
    let folder = folder_of(file);
    fs::create_dir_all(&folder).map_err(|error| DuckdbSinkError::io(&folder, "created", &error))?;
    Ok(file.exists())
}

/// Makes the entry of a new file in its folder durable.
pub(crate) fn sync_folder(file: &Path) -> Result<(), DuckdbSinkError> {
    let folder = folder_of(file);
    let synced = File::open(&folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| DuckdbSinkError::io(&folder, "made durable", &error))
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Refuses views that a DuckDB file cannot hold as they are.
pub(crate) fn check_view(file: &Path, view: &ViewInfo) -> Result<(), DuckdbSinkError> {
    let refuse = |fact: &str| {
        let (file, view) = (file.display().to_string(), view.name.clone());
        Err(DuckdbSinkError::Unsupported { file, view, fact: fact.to_owned() })
    };
    if view.name.as_str().eq_ignore_ascii_case(EPOCHS) {
        return refuse("the name is taken by the table of epochs: rename the view");
    }
    let names_rowid = view.schema.fields().iter().any(|field| field.name().eq_ignore_ascii_case("rowid"));
    if names_rowid && !matches!(view.identity, tidegate_core::RowIdentity::Key(_)) {
        return refuse("its column rowid hides DuckDB's row id, by which equal rows are told apart: rename the column");
    }
    column_types(file, view).map(|_| ())
}
