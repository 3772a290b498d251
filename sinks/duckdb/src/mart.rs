//! The database file while it is attached, and the table of epochs in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use tidegate_core::{Committed, EpochHeader, Micros, ViewInfo, ViewName};
use tidegate_duck::{Access, Duck, quote_literal, quote_name};

use crate::error::DuckdbSinkError;
use crate::history::names::Names;
use crate::known::{Known, Left};
use crate::stage::{column_types, qualified as stage_table};

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
    pub(crate) file: &'a Path,
    /// The file as it was when it was attached. It is ours alone meanwhile.
    pub(crate) known: Known,
    is_attached: bool,
}

impl<'a> Mart<'a> {
    /// Opens a database; it is created when it is not there and `access` is `ReadWrite`. Errors are
    /// told about `file`. What the last commit left is not looked for again.
    ///
    /// Commits write no log: [`Mart::commit`] makes them durable by a checkpoint, which puts the
    /// new state in force by a single write of a header. A log that another program left is read.
    pub(crate) fn attach(
        duck: &'a Duck,
        database: &Path,
        file: &'a Path,
        access: Access,
        left: Option<Left>,
    ) -> Result<Mart<'a>, DuckdbSinkError> {
        if database.is_dir() {
            return Err(DuckdbSinkError::File {
                path: file.display().to_string(),
                action: "opened as a database",
                fact: "it is a folder: give the sink the path of a file".to_owned(),
                kind: tidegate_core::ErrorKind::Reconfigure,
            });
        }
        if fs::metadata(database).is_ok_and(|found| found.len() == 0) {
            return Err(DuckdbSinkError::NotADatabase { file: file.display().to_string() });
        }
        let mode = match access {
            Access::ReadOnly => "READ_ONLY",
            Access::ReadWrite => "READ_WRITE, RECOVERY_MODE no_wal_writes",
        };
        let path = quote_literal(&database.to_string_lossy());
        let mut mart = Mart { duck, file, known: Known::default(), is_attached: true };
        mart.execute(&format!("ATTACH {path} AS {CATALOG} (TYPE duckdb, {mode})"))?;
        // Only now does nobody else write to it.
        mart.known = match left.and_then(|left| left.still(database)) {
            Some(known) => known,
            None => {
                let tables = mart.all_tables()?;
                let shown = if tables.contains(EPOCHS) { mart.all_shown()? } else { BTreeSet::new() };
                Known::of(tables, shown)
            }
        };
        Ok(mart)
    }

    /// Closes the file, and says whether all of it could be written.
    pub(crate) fn detach(mut self) -> Result<(), DuckdbSinkError> {
        self.execute(&format!("DETACH DATABASE {CATALOG}"))?;
        self.is_attached = false;
        Ok(())
    }

    /// What is known of the file, for who asks nothing more of it.
    pub(crate) fn take_known(&mut self) -> Known {
        std::mem::take(&mut self.known)
    }

    /// Ends the transaction and makes it durable, all of it or nothing.
    pub(crate) fn commit(&self) -> Result<(), DuckdbSinkError> {
        self.execute("COMMIT")?;
        self.execute(&format!("CHECKPOINT {CATALOG}"))
    }

    /// Runs statements; errors are told about the file.
    pub(crate) fn execute(&self, sql: &str) -> Result<(), DuckdbSinkError> {
        self.duck.execute(sql).map_err(|error| DuckdbSinkError::duck(self.file, error))
    }

    /// Runs a statement and answers how many rows it changed.
    pub(crate) fn change(&self, sql: &str) -> Result<u64, DuckdbSinkError> {
        self.with(|connection| connection.execute(sql, [])).map(|rows| rows as u64)
    }

    /// The numbers of the single row that a query gives.
    pub(crate) fn counts(&self, sql: &str, columns: usize) -> Result<Vec<u64>, DuckdbSinkError> {
        self.with(|connection| {
            connection.query_row(sql, [], |row| (0..columns).map(|column| row.get(column)).collect())
        })
    }

    /// Runs a statement with bound values.
    pub(crate) fn with<T>(
        &self,
        run: impl FnOnce(&tidegate_duck::duckdb::Connection) -> tidegate_duck::duckdb::Result<T>,
    ) -> Result<T, DuckdbSinkError> {
        run(self.duck.connection()).map_err(|error| DuckdbSinkError::duck(self.file, self.duck.error(&error)))
    }

    /// Runs statements while names without a catalog are those of the file.
    pub(crate) fn inside<T>(&self, run: impl FnOnce() -> Result<T, DuckdbSinkError>) -> Result<T, DuckdbSinkError> {
        self.execute(&format!("USE {CATALOG}"))?;
        let done = run();
        self.execute("USE memory")?;
        done
    }

    /// A table of the file, quoted.
    pub(crate) fn table(&self, name: &str) -> String {
        quote_name([CATALOG, "main", name])
    }

    /// Whether the file had a table of this name, whatever its case, when it was attached.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.known.tables.contains(&name.to_lowercase())
    }

    /// Whether a view stands in the file as a SQL view over its open versions, be they there or not.
    pub(crate) fn is_shown(&self, view: &ViewName) -> bool {
        self.known.shown.contains(&view.as_str().to_lowercase())
    }

    /// Whether the rows of a view are there: in a table of its name, or as open versions.
    pub(crate) fn holds(&self, view: &ViewName) -> bool {
        self.has(view.as_str()) || (self.is_shown(view) && self.has(&Names::of(view).open))
    }

    /// Whether the file has a SQL view of a view's name, whoever made it.
    pub(crate) fn has_view(&self, view: &ViewName) -> Result<bool, DuckdbSinkError> {
        let sql = "SELECT count(*) FROM duckdb_views() WHERE database_name = ? AND schema_name = 'main' \
                   AND lower(view_name) = lower(?)";
        let found: u64 =
            self.with(|connection| connection.query_row(sql, [CATALOG, view.as_str()], |row| row.get(0)))?;
        Ok(found > 0)
    }

    /// Views of the pipeline that stand in the file as SQL views: those that read the table of their open versions.
    fn all_shown(&self) -> Result<BTreeSet<String>, DuckdbSinkError> {
        let sql = "SELECT view_name, sql FROM duckdb_views() \
                   WHERE database_name = ? AND schema_name = 'main' AND NOT internal";
        let views: Vec<(String, String)> = self.with(|connection| {
            let mut statement = connection.prepare(sql)?;
            let rows = statement.query_map([CATALOG], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        })?;
        let is_ours = |(name, sql): &(String, String)| {
            let open = Names::of(&ViewName::new(name.clone())).open.replace('"', "\"\"");
            sql.to_lowercase().contains(&open.to_lowercase())
        };
        Ok(views.into_iter().filter(is_ours).map(|(name, _)| name.to_lowercase()).collect())
    }

    fn all_tables(&self) -> Result<BTreeSet<String>, DuckdbSinkError> {
        // Asking for columns or views instead takes several times as long.
        let sql = "SELECT table_name FROM duckdb_tables() WHERE database_name = ? AND schema_name = 'main'";
        let names: Vec<String> = self.with(|connection| {
            let mut statement = connection.prepare(sql)?;
            let rows = statement.query_map([CATALOG], |row| row.get(0))?;
            rows.collect()
        })?;
        Ok(names.into_iter().map(|name| name.to_lowercase()).collect())
    }

    /// The columns of a table and their types.
    pub(crate) fn columns(&self, table: &str) -> Result<Vec<(String, String)>, DuckdbSinkError> {
        let described = self.duck.describe_columns(table);
        let described = described.map_err(|error| DuckdbSinkError::duck(self.file, error))?;
        Ok(described.into_iter().map(|(name, duckdb_type, _)| (name, duckdb_type)).collect())
    }

    /// What the file holds of each of the views: their last epochs. A view whose table is gone
    /// is not held.
    pub(crate) fn committed<'v>(
        &self,
        views: impl IntoIterator<Item = &'v ViewName>,
    ) -> Result<BTreeMap<ViewName, Option<Committed>>, DuckdbSinkError> {
        let views: Vec<&ViewName> = views.into_iter().collect();
        let known = views.iter().map(|view| Some(((*view).clone(), Some(self.known.committed(view)?))));
        if let Some(known) = known.collect() {
            return Ok(known);
        }
        let mut last: BTreeMap<String, (i64, String)> = BTreeMap::new();
        if self.has(EPOCHS) {
            let sql =
                format!("SELECT view, max(epoch), arg_max(hash, epoch) FROM {} GROUP BY view", self.table(EPOCHS));
            let rows: Vec<(String, i64, String)> = self.with(|connection| {
                let mut statement = connection.prepare(&sql)?;
                let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
                rows.collect()
            })?;
            // A view may have been written with other letters once; what came last counts.
            for (view, epoch, hash) in rows {
                let entry = last.entry(view.to_lowercase()).or_insert((epoch, hash.clone()));
                if entry.0 < epoch {
                    *entry = (epoch, hash);
                }
            }
        }
        let mut found = BTreeMap::new();
        for view in views {
            let held = last.get(&view.as_str().to_lowercase()).filter(|_| self.holds(view));
            let committed = held.map(|(epoch, hash)| self.parse(view, *epoch, hash, EPOCHS)).transpose()?;
            found.insert(view.clone(), committed);
        }
        Ok(found)
    }

    /// Whether the file says anything about a view, be its table there or not.
    pub(crate) fn knows(&self, view: &ViewName) -> Result<bool, DuckdbSinkError> {
        let sql = format!("SELECT count(*) FROM {} WHERE lower(view) = lower(?)", self.table(EPOCHS));
        let rows: u64 = self.with(|connection| connection.query_row(&sql, [view.as_str()], |row| row.get(0)))?;
        Ok(rows > 0)
    }

    /// Makes the table of epochs where it is missing.
    pub(crate) fn create_epochs(&self) -> Result<(), DuckdbSinkError> {
        if self.has(EPOCHS) {
            return Ok(());
        }
        self.execute(&format!(
            "CREATE TABLE {} \
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
            Ok(())
        })
    }

    /// Forgets all but the newest of what the file says about a view, when that has become much.
    pub(crate) fn prune_epochs(&self, view: &ViewName) -> Result<(), DuckdbSinkError> {
        let (table, name) = (self.table(EPOCHS), view.as_str());
        self.with(|connection| {
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
        if self.known.has_columns_of(view) {
            return Ok(());
        }
        let altered = |difference: String| DuckdbSinkError::Altered {
            file: self.file.display().to_string(),
            view: view.name.clone(),
            difference,
        };
        let found = self.columns(&self.table(view.name.as_str()))?;
        let expected = self.columns(&stage_table(index))?;
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
}

impl Drop for Mart<'_> {
    fn drop(&mut self) {
        if !self.is_attached {
            return;
        }
        // Fails when the attach did, or inside an open transaction of a commit that failed.
        let _ = self.duck.execute("ROLLBACK");
        let _ = self.duck.execute("USE memory");
        let _ = self.duck.execute(&format!("DETACH DATABASE IF EXISTS {CATALOG}"));
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
