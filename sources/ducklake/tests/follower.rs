//! A reader that follows a lake as the pipeline does, and compares what it holds with the lake.

use std::path::Path;
use std::sync::LazyLock;

use futures::TryStreamExt;
use tidegate_core::{ConnectorError, Polled, Position, SnapshotId, Source, TableName, TableSchema};
use tidegate_source_ducklake::{Config, DucklakeSource};
use tidegate_testkit::{Catalog, Lake, Postgres, TableContents};

/// What `reader` of the configuration may be; every test of the source runs with each of them.
pub const READERS: [&str; 2] = ["extension", "native"];

/// A server for the tests that want nothing of it but a database for a catalog.
pub static SERVER: LazyLock<Postgres> = LazyLock::new(Postgres::start);

/// The source for a lake, as a pipeline file would describe it.
pub fn connect(lake: &Lake, reader: &str) -> DucklakeSource {
    connect_with(lake, serde_json::json!({ "catalog": lake.uri(), "reader": reader }))
}

/// The source for a lake, as this section of a pipeline file describes it.
pub fn connect_with(lake: &Lake, config: serde_json::Value) -> DucklakeSource {
    let config: Config = serde_json::from_value(config).unwrap();
    DucklakeSource::new(lake.name(), &config, Path::new("/nowhere")).unwrap()
}

/// Runs a future as the program would.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(future)
}

/// What a poll answered, without the events, which have been applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Idle,
    Advanced,
    Changes,
    SchemaChanged(String),
    Expired(String),
}

/// Some tables of a lake and what the polls said they hold.
pub struct Follower {
    pub source: DucklakeSource,
    pub tables: Vec<TableSchema>,
    pub contents: Vec<TableContents>,
    pub at: Position,
}

impl Follower {
    /// Loads tables of the schema `main` at the newest snapshot.
    pub fn load(lake: &Lake, reader: &str, tables: &[&str]) -> Follower {
        Follower::load_from(connect(lake, reader), lake, tables)
    }

    /// The same from this source.
    pub fn load_from(mut source: DucklakeSource, lake: &Lake, tables: &[&str]) -> Follower {
        let wanted: Vec<_> = tables.iter().map(|table| TableName::new(lake.name(), "main", *table)).collect();
        let tables = block_on(source.tables(&wanted, None)).unwrap();
        let mut follower = Follower { source, tables, contents: Vec::new(), at: Position::SnapshotId(SnapshotId(0)) };
        follower.reload();
        follower
    }

    /// Loads the tables anew, with the schemas they have now.
    pub fn reload(&mut self) {
        let wanted: Vec<_> = self.tables.iter().map(|table| table.name.clone()).collect();
        self.tables = block_on(self.source.tables(&wanted, None)).unwrap();
        let (at, contents) = self.snapshot(None);
        (self.at, self.contents) = (at, contents);
    }

    /// The tables at a snapshot, as the source reads them.
    pub fn snapshot(&mut self, at: Option<Position>) -> (Position, Vec<TableContents>) {
        let tables = self.tables.clone();
        block_on(async {
            let snapshot = self.source.snapshot(&tables, at.as_ref()).await.unwrap();
            let events: Vec<_> = snapshot.events.try_collect().await.unwrap();
            let mut contents: Vec<_> = tables.into_iter().map(TableContents::new).collect();
            apply(&mut contents, &events);
            (snapshot.position, contents)
        })
    }

    /// One poll.
    pub fn try_poll(&mut self, rows_max: u64) -> Result<Answer, ConnectorError> {
        block_on(async {
            match self.source.poll(&self.tables, &self.at, None, rows_max).await? {
                Polled::Idle => Ok(Answer::Idle),
                Polled::Advanced { to } => {
                    self.at = to;
                    Ok(Answer::Advanced)
                }
                Polled::Changes { to, events, .. } => {
                    let events: Vec<_> = events.try_collect().await?;
                    apply(&mut self.contents, &events);
                    self.at = to;
                    Ok(Answer::Changes)
                }
                Polled::SchemaChanged { at, reason } => {
                    self.at = at;
                    Ok(Answer::SchemaChanged(reason))
                }
                Polled::Expired { reason } => Ok(Answer::Expired(reason)),
            }
        })
    }

    /// One poll that succeeds.
    #[track_caller]
    pub fn poll(&mut self) -> Answer {
        self.try_poll(u64::MAX).unwrap()
    }

    /// Polls once and finds `expected`, then that the tables hold what the lake says they hold there.
    #[track_caller]
    pub fn expect(&mut self, expected: Answer) {
        assert_eq!(self.poll(), expected, "after {}", self.at);
        self.agree();
    }

    /// The tables hold what the lake says they hold at this position.
    #[track_caller]
    pub fn agree(&mut self) {
        let (_, expected) = self.snapshot(Some(self.at));
        for (found, expected) in self.contents.iter().zip(&expected) {
            let what = format!("{} at {}", expected.schema().name, self.at);
            found.multiset().assert_equals(&expected.multiset(), &what);
        }
    }
}

/// Applies events to the tables they name.
pub fn apply(contents: &mut [TableContents], events: &[(TableName, tidegate_core::TableEvent)]) {
    for (name, event) in events {
        contents.iter_mut().find(|table| table.schema().name == *name).unwrap().apply(event);
    }
}

/// Runs a test on a lake with its catalog in a DuckDB file, one in SQLite, and one in PostgreSQL. The extension, for which the catalog
/// makes no difference but in how it is attached, has its turn on the last.
pub fn on_every_catalog(test: impl Fn(&Lake, &str)) {
    on(&Catalog::duckdb, &["native"], &test);
    on(&Catalog::sqlite, &["native"], &test);
    on(&|_| Catalog::postgres(&SERVER), &READERS, &test);
}

/// Runs a test with every reader, on a lake with its catalog in SQLite.
pub fn on_sqlite(test: impl Fn(&Lake, &str)) {
    on(&Catalog::sqlite, &READERS, &test);
}

fn on(catalog: &dyn Fn(&Path) -> Catalog, readers: &[&str], test: &dyn Fn(&Lake, &str)) {
    for reader in readers {
        let dir = tempfile::tempdir().unwrap();
        let lake = Lake::create(dir.path(), catalog(dir.path()));
        println!("reader: {reader}, catalog: {}", lake.uri());
        test(&lake, reader);
    }
}
