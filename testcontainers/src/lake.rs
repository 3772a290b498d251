//! DuckLakes for tests: made in a folder, changed by SQL from a connection that holds them only
//! while it runs.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use tidegate_duck::lake::Storage;
use tidegate_duck::{Duck, DuckError, Extension, Options, quote_ident, quote_literal};

use crate::multiset::Multiset;
use crate::oracle::ViewRows;
use crate::postgres::Postgres;

/// Where a lake keeps its catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Catalog {
    /// A DuckDB file: one process at a time.
    DuckDb(PathBuf),
    /// A SQLite file: several processes.
    Sqlite(PathBuf),
    /// A PostgreSQL database, by its connection string.
    Postgres(String),
}

impl Catalog {
    /// A DuckDB file in a folder.
    pub fn duckdb(dir: &Path) -> Self {
        Catalog::DuckDb(dir.join("lake.ducklake"))
    }

    /// A SQLite file in a folder.
    pub fn sqlite(dir: &Path) -> Self {
        Catalog::Sqlite(dir.join("lake.sqlite"))
    }

    /// A new database of a server. DuckLake drops tables of inlined rows when it commits, and would wait for ever for a transaction
    /// that the same thread has left open.
    pub fn postgres(server: &Postgres) -> Self {
        Catalog::Postgres(server.create_impatient_database())
    }

    /// What stands in ATTACH.
    pub fn uri(&self) -> String {
        match self {
            Catalog::DuckDb(file) => format!("ducklake:{}", file.display()),
            Catalog::Sqlite(file) => format!("ducklake:sqlite:{}", file.display()),
            Catalog::Postgres(connection) => format!("ducklake:postgres:{connection}"),
        }
    }

    /// Loads what is needed to attach it.
    pub fn load_extensions(&self, duck: &Duck) -> Result<(), DuckError> {
        duck.load(Extension::Ducklake)?;
        match self {
            Catalog::DuckDb(_) => Ok(()),
            Catalog::Sqlite(_) => duck.load(Extension::SqliteScanner),
            Catalog::Postgres(_) => duck.load(Extension::PostgresScanner),
        }
    }
}

/// Attaches a lake under a name. The catalog knows where its files are.
pub fn attach(duck: &Duck, catalog: &Catalog, name: &str, options: &[String]) -> Result<(), DuckError> {
    catalog.load_extensions(duck)?;
    let mut options = options.to_vec();
    if matches!(catalog, Catalog::Sqlite(_)) {
        options.extend(["META_JOURNAL_MODE 'WAL'".to_owned(), "META_BUSY_TIMEOUT 5000".to_owned()]);
    }
    let options = if options.is_empty() { String::new() } else { format!(" ({})", options.join(", ")) };
    duck.execute(&format!("ATTACH {} AS {}{options}", quote_literal(&catalog.uri()), quote_ident(name)))
}

/// A lake. A catalog that one process has at a time is attached only while a call runs, so that the pipeline under test
/// can have it in between.
pub struct Lake {
    duck: Duck,
    catalog: Catalog,
    name: String,
    data_path: PathBuf,
    is_attached: Cell<bool>,
    /// How many calls of [`Lake::held`] run.
    held: Cell<u32>,
}

impl Lake {
    /// Makes a lake called `lake` with its files in `dir/files`.
    ///
    /// # Panics
    /// When DuckDB refuses.
    pub fn create(dir: &Path, catalog: Catalog) -> Self {
        Self::create_named(dir, catalog, "lake")
    }

    /// Makes a lake with the name that SQL calls it by.
    ///
    /// # Panics
    /// When DuckDB refuses.
    pub fn create_named(dir: &Path, catalog: Catalog, name: &str) -> Self {
        let data_path = dir.join(format!("{name}_files"));
        std::fs::create_dir_all(&data_path).unwrap_or_else(|error| panic!("{}: {error}", data_path.display()));
        Self::create_at(data_path, catalog, name, "", |_| Ok(()))
    }

    /// Makes a lake called `lake` whose files are encrypted, in `dir/lake_files`.
    ///
    /// # Panics
    /// When DuckDB refuses.
    pub fn create_encrypted(dir: &Path, catalog: Catalog) -> Self {
        let data_path = dir.join("lake_files");
        // The library that DuckDB prefers for it is in httpfs.
        Self::create_at(data_path, catalog, "lake", ", ENCRYPTED", |duck| {
            duck.execute("SET force_mbedtls_unsafe = true")
        })
    }

    /// Makes a lake called `lake` whose files are in an object store, below a URL.
    ///
    /// # Panics
    /// When DuckDB refuses.
    pub fn create_on(storage: &Storage, url: &str, catalog: Catalog) -> Self {
        Self::create_at(PathBuf::from(url), catalog, "lake", "", |duck| storage.make_available(duck))
    }

    /// The same with encrypted files.
    ///
    /// # Panics
    /// When DuckDB refuses.
    pub fn create_encrypted_on(storage: &Storage, url: &str, catalog: Catalog) -> Self {
        Self::create_at(PathBuf::from(url), catalog, "lake", ", ENCRYPTED", |duck| storage.make_available(duck))
    }

    fn create_at(
        data_path: PathBuf,
        catalog: Catalog,
        name: &str,
        further: &str,
        prepare: impl Fn(&Duck) -> Result<(), DuckError>,
    ) -> Self {
        let duck = Duck::open_in_memory_with(&Options { threads: Some(1), ..Options::default() })
            .unwrap_or_else(|error| panic!("DuckDB does not open: {error}"));
        prepare(&duck).unwrap_or_else(|error| panic!("DuckDB is not prepared: {error}"));
        let lake =
            Lake { duck, catalog, name: name.to_owned(), data_path, is_attached: Cell::new(false), held: Cell::new(0) };
        let options = [format!("DATA_PATH {}{further}", quote_literal(&lake.data_path.to_string_lossy()))];
        let made = attach(&lake.duck, &lake.catalog, name, &options).and_then(|()| lake.detach());
        made.unwrap_or_else(|error| panic!("lake {name} cannot be made: {error}"));
        lake
    }

    /// The name in SQL.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the catalog is.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// What stands in ATTACH, and as `catalog` in a pipeline file.
    pub fn uri(&self) -> String {
        self.catalog.uri()
    }

    /// The folder of its data files.
    pub fn data_path(&self) -> &Path {
        &self.data_path
    }

    /// Runs something while the lake is attached under its name.
    ///
    /// # Panics
    /// When the lake cannot be attached or let go.
    pub fn attached<T>(&self, run: impl FnOnce(&Duck) -> Result<T, DuckError>) -> Result<T, DuckError> {
        if !self.is_attached.replace(true) {
            attach(&self.duck, &self.catalog, &self.name, &[])
                .unwrap_or_else(|error| panic!("lake {} cannot be attached: {error}", self.name));
        }
        let result = run(&self.duck);
        let is_over = self.duck.connection().is_autocommit() && result.is_ok();
        if !is_over {
            // A transaction that failed is still open; without one this is refused, and rightly.
            let _ = self.duck.execute("ROLLBACK");
        }
        // Attaching is most of what a statement costs.
        if !is_over {
            self.let_go();
        }
        self.let_go_of_a_file();
        result
    }

    /// Runs something with many calls for this lake, which stays attached meanwhile whatever its catalog is.
    pub fn held<T>(&self, run: impl FnOnce() -> T) -> T {
        self.held.update(|held| held + 1);
        let result = run();
        self.held.update(|held| held - 1);
        self.let_go_of_a_file();
        result
    }

    fn let_go_of_a_file(&self) {
        if self.held.get() == 0 && matches!(self.catalog, Catalog::DuckDb(_)) {
            self.let_go();
        }
    }

    fn let_go(&self) {
        if self.is_attached.replace(false) {
            self.detach().unwrap_or_else(|error| panic!("lake {} cannot be detached: {error}", self.name));
        }
    }

    /// Runs statements; each is a transaction of its own unless they say otherwise.
    ///
    /// # Panics
    /// When DuckDB refuses them.
    pub fn execute(&self, sql: &str) {
        self.try_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Runs statements that may be refused.
    pub fn try_execute(&self, sql: &str) -> Result<(), DuckError> {
        let result = self.attached(|duck| duck.execute(sql));
        self.forget_columns(sql);
        result
    }

    /// After a change of columns: an attached lake keeps the statistics of a column that has another type now, and fails over them.
    pub(crate) fn forget_columns(&self, sql: &str) {
        if sql.contains("ALTER TABLE") {
            self.let_go();
        }
    }

    /// The columns and rows of a query.
    ///
    /// # Panics
    /// When DuckDB refuses it.
    pub fn query(&self, sql: &str) -> ViewRows {
        self.attached(|duck| ViewRows::read(duck, sql)).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The rows of a table at a snapshot (`None`: now).
    pub fn rows(&self, table: &str, snapshot: Option<u64>) -> Multiset {
        let at = snapshot.map(|id| format!(" AT (VERSION => {id})")).unwrap_or_default();
        self.query(&format!("FROM {}.{}{at}", quote_ident(&self.name), quote_ident(table))).rows
    }

    /// The newest snapshot.
    ///
    /// # Panics
    /// When the lake does not answer.
    pub fn snapshot(&self) -> u64 {
        let sql = format!("SELECT max(snapshot_id) FROM ducklake_snapshots({})", quote_literal(&self.name));
        let newest = self.attached(|duck| {
            duck.connection().query_row(&sql, [], |row| row.get(0)).map_err(|error| duck.error(&error))
        });
        newest.unwrap_or_else(|error| panic!("lake {}: {error}", self.name))
    }

    fn detach(&self) -> Result<(), DuckError> {
        self.duck.execute(&format!("DETACH {}", quote_ident(&self.name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Oracle;

    fn check(catalog: impl FnOnce(&Path) -> Catalog) {
        let dir = tempfile::tempdir().unwrap();
        let lake = Lake::create(dir.path(), catalog(dir.path()));
        lake.execute("CREATE TABLE lake.t (a INTEGER, b VARCHAR)");
        lake.execute("BEGIN; INSERT INTO lake.t VALUES (1, 'x'), (1, 'x'), (NULL, NULL); COMMIT");
        let before = lake.snapshot();
        lake.execute("DELETE FROM lake.t WHERE a = 1; INSERT INTO lake.t SELECT i, 'many' FROM range(100) r(i)");
        assert_eq!(lake.rows("t", Some(before)).len(), 3);
        assert_eq!(lake.rows("t", None).len(), 101);
        assert!(lake.try_execute("BEGIN; INSERT INTO lake.t VALUES (2, 'y'); SELECT nothing FROM lake.t").is_err());
        let views = [("v".into(), "SELECT count(*) FROM lake.t".to_owned())];
        let mut oracle = Oracle::new().unwrap();
        for (snapshot, rows) in [(Some(before), 3), (None, 101)] {
            let answer = &oracle.views_over_lake(&lake, snapshot, &views)[0];
            let expected = vec![crate::Value::Integer(rows)];
            assert_eq!(answer.rows.iter().collect::<Vec<_>>(), [(&expected, 1)]);
        }
    }

    #[test]
    fn lakes_in_duckdb_files() {
        check(Catalog::duckdb);
    }

    #[test]
    fn lakes_in_sqlite_files() {
        check(Catalog::sqlite);
    }

    #[test]
    fn lakes_in_postgres() {
        let server = Postgres::start();
        check(|_| Catalog::postgres(&server));
    }
}
