//! Lakes of all kinds, the sink that writes them, and readers of their own.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};

use arrow::array::AsArray;
use serde_json::{Value, json};
use tidegate_core::{Micros, ViewName};
use tidegate_duck::{Duck, Options, quote_ident};
use tidegate_sink_ducklake::{Clock, DucklakeConfig, DucklakeSink};
use tidegate_testkit::lake::{self, Catalog};
use tidegate_testkit::{Multiset, Postgres};

/// Where a lake keeps its catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    DuckDb,
    Sqlite,
    Postgres,
}

pub const KINDS: [Kind; 3] = [Kind::DuckDb, Kind::Sqlite, Kind::Postgres];

static SERVER: LazyLock<Postgres> = LazyLock::new(Postgres::start);
static DATABASES: LazyLock<Mutex<BTreeMap<PathBuf, String>>> = LazyLock::new(Mutex::default);

/// The lake that belongs to a folder.
pub fn catalog(kind: Kind, folder: &Path) -> Catalog {
    match kind {
        Kind::DuckDb => Catalog::duckdb(folder),
        Kind::Sqlite => Catalog::sqlite(folder),
        Kind::Postgres => {
            let mut databases = DATABASES.lock().unwrap();
            Catalog::Postgres(databases.entry(folder.to_owned()).or_insert_with(|| SERVER.create_database()).clone())
        }
    }
}

/// A clock that stands still.
pub fn clock() -> Clock {
    Arc::new(|| Micros(1_700_000_000_000_000))
}

/// The section of the pipeline file, with some keys of its own.
pub fn config(catalog: &Catalog, more: &Value) -> DucklakeConfig {
    let mut section = json!({ "catalog": catalog.uri(), "data_path": "files" });
    section.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(section).unwrap()
}

/// The sink on the lake of a folder.
pub fn sink_with(catalog: &Catalog, folder: &Path, more: &Value) -> DucklakeSink {
    let config = config(catalog, more);
    DucklakeSink::new("lake", &config, folder, &folder.join("spill"), clock()).unwrap().with_pipeline("shop")
}

/// The sink on the lake of a folder, without further settings.
pub fn sink(kind: Kind, folder: &Path) -> DucklakeSink {
    sink_with(&catalog(kind, folder), folder, &json!({}))
}

/// The lake as somebody else opens it, called `lake`, until it is dropped.
pub struct Reader {
    duck: Option<Duck>,
}

/// Those that nobody uses: loading the extensions takes a while.
static READERS: Mutex<Vec<Duck>> = Mutex::new(Vec::new());

pub fn reader(catalog: &Catalog) -> Reader {
    let idle = READERS.lock().unwrap().pop();
    let options = Options { threads: Some(1), ..Options::default() };
    let duck = idle.unwrap_or_else(|| Duck::open_in_memory_with(&options).unwrap());
    lake::attach(&duck, catalog, "lake", &[]).unwrap();
    Reader { duck: Some(duck) }
}

impl Deref for Reader {
    type Target = Duck;

    fn deref(&self) -> &Duck {
        self.duck.as_ref().unwrap()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let duck = self.duck.take().unwrap();
        if duck.execute("DETACH lake").is_ok() {
            READERS.lock().unwrap().push(duck);
        }
    }
}

/// The columns of a table with their types, and its rows, as the lake has them.
pub fn table(duck: &Duck, name: &ViewName, snapshot: Option<u64>) -> (Vec<String>, Multiset) {
    let at = snapshot.map(|snapshot| format!(" AT (VERSION => {snapshot})")).unwrap_or_default();
    let query = format!("FROM lake.main.{}{at}", quote_ident(name.as_str()));
    let types = duck.describe_columns(&query).unwrap().into_iter().map(|(name, ty, _)| format!("{name} {ty}"));
    (types.collect(), Multiset::of_batches(&duck.query(&query).unwrap().1))
}

/// The single column of a query, as texts.
pub fn texts(duck: &Duck, query: &str) -> Vec<String> {
    let sql = format!("SELECT CAST(COLUMNS(*) AS VARCHAR) FROM ({query})");
    let (_, batches) = duck.query(&sql).unwrap_or_else(|error| panic!("{query}: {error}"));
    let text = |value: Option<&str>| value.unwrap_or("NULL").to_owned();
    batches.iter().flat_map(|batch| batch.column(0).as_string::<i32>().iter().map(text).collect::<Vec<_>>()).collect()
}

/// The newest snapshot.
pub fn snapshot(duck: &Duck) -> u64 {
    texts(duck, "SELECT max(snapshot_id) AS id FROM lake.snapshots()")[0].parse().unwrap()
}
