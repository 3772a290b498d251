//! A database, a source that follows it, and what the source says its tables hold.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use tempfile::TempDir;
use tidegate_core::{ConnectorError, ErrorKind, Lsn, Polled, Position, Source, TableEvent, TableName, TableSchema};
use tidegate_source_postgres::{Config, PostgresSource};
use tidegate_testkit::Postgres;
use tidegate_testkit::contents::TableContents;
use tidegate_testkit::postgres::PostgresVersion;

/// How long something may take to come true.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The time between two looks at whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A server of a version, one for all tests that do nothing to the server as a whole.
pub fn shared(version: PostgresVersion) -> Arc<Postgres> {
    static SERVERS: OnceLock<Mutex<Vec<Arc<Postgres>>>> = OnceLock::new();
    let mut servers = SERVERS.get_or_init(Mutex::default).lock().unwrap();
    if let Some(server) = servers.iter().find(|server| server.version() == version) {
        return server.clone();
    }
    servers.push(Arc::new(Postgres::start_version(version)));
    servers.last().unwrap().clone()
}

/// A database of its own, with a slot and a publication that nobody else has.
pub struct Database {
    pub server: Arc<Postgres>,
    pub name: String,
    pub folder: TempDir,
    pub more: toml_like::Options,
}

/// Options of the source's section.
pub mod toml_like {
    /// Key and JSON value.
    pub type Options = Vec<(&'static str, serde_json::Value)>;
}

impl Database {
    pub fn new(server: Arc<Postgres>, setup: &str) -> Self {
        let connection = server.create_database();
        let name = connection.split_whitespace().find_map(|part| part.strip_prefix("dbname=")).unwrap().to_owned();
        server.execute(&name, setup);
        Database { server, name, folder: tempfile::tempdir().unwrap(), more: Vec::new() }
    }

    pub fn with(mut self, key: &'static str, value: impl Into<serde_json::Value>) -> Self {
        self.more.push((key, value.into()));
        self
    }

    pub fn sql(&self, sql: &str) {
        self.server.execute(&self.name, sql);
    }

    pub fn slot(&self) -> String {
        format!("tidegate_{}", self.name)
    }

    pub fn config(&self, url: &str) -> Config {
        let mut section = serde_json::json!({"url": url, "slot": self.slot(), "publication": "tidegate"});
        for (key, value) in &self.more {
            section[*key] = value.clone();
        }
        serde_json::from_value(section).unwrap()
    }

    pub fn connect(&self) -> PostgresSource {
        self.connect_to(&self.server.url(&self.name))
    }

    pub fn connect_to(&self, url: &str) -> PostgresSource {
        PostgresSource::new("app", &self.config(url), "test", Path::new("/"), &self.folder.path().join("sources"))
            .unwrap()
    }

    /// The bytes of WAL that the slot's reader has confirmed.
    pub fn confirmed(&self) -> Lsn {
        let sql = format!("SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '{}'", self.slot());
        self.server.value(&self.name, &sql).parse().unwrap()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Slots are few; a server that was stopped has none to give back.
        let sql = format!(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{0}' AND active; \
             SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{0}' AND NOT active",
            self.slot()
        );
        let _ = self.server.try_execute(&self.name, &sql);
    }
}

pub fn public(table: &str) -> TableName {
    TableName::new("app", "public", table)
}

/// A source and what it has said so far.
pub struct Follow {
    pub source: PostgresSource,
    pub tables: Vec<TableSchema>,
    pub contents: Vec<TableContents>,
    pub at: Position,
}

/// What ended a catching-up.
#[derive(Debug)]
pub enum End {
    Here,
    Schema(String),
    Expired(String),
}

impl Follow {
    /// Copies the tables.
    pub async fn begin(mut source: PostgresSource, tables: &[&str]) -> Self {
        let names: Vec<TableName> = tables.iter().map(|table| public(table)).collect();
        let tables = ok(source.tables(&names, None).await);
        let mut follow = Follow { source, contents: Vec::new(), at: Position::Lsn(Lsn(0)), tables };
        follow.copy().await;
        follow
    }

    /// Copies the tables (again).
    pub async fn copy(&mut self) {
        let snapshot = ok(self.source.snapshot(&self.tables, None).await);
        self.contents = self.tables.iter().cloned().map(TableContents::new).collect();
        let events: Vec<_> = ok(snapshot.events.try_collect().await);
        self.apply(&events);
        self.at = snapshot.position;
    }

    /// Goes on with another connector from where this one is.
    pub fn reconnect(&mut self, source: PostgresSource) {
        self.source = source;
    }

    fn apply(&mut self, events: &[(TableName, TableEvent)]) {
        for (name, event) in events {
            let table = self.contents.iter_mut().find(|table| table.schema().name == *name);
            table.unwrap_or_else(|| panic!("an event of {name}")).apply(event);
        }
    }

    /// Polls up to the server's present end.
    pub async fn try_catch_up(&mut self) -> Result<End, ConnectorError> {
        let head = self.source.head().await?;
        while self.at.compare(&head).is_some_and(|order| order.is_lt()) {
            let before = self.at;
            let end = self.step().await?;
            if self.at == before || !matches!(end, End::Here) {
                return Ok(end);
            }
        }
        Ok(End::Here)
    }

    /// Polls once.
    pub async fn step(&mut self) -> Result<End, ConnectorError> {
        match self.source.poll(&self.tables, &self.at, None, u64::MAX).await? {
            Polled::Idle => {}
            Polled::Advanced { to } => self.at = to,
            Polled::Changes { to, events, .. } => {
                let events: Vec<_> = events.try_collect().await?;
                self.apply(&events);
                self.at = to;
            }
            Polled::SchemaChanged { reason, .. } => return Ok(End::Schema(reason)),
            Polled::Expired { reason } => return Ok(End::Expired(reason)),
        }
        Ok(End::Here)
    }

    /// Polls until something ends it. A look at the catalog is due every two seconds, and connections may break
    /// meanwhile.
    pub async fn poll_until_it_ends(&mut self, what: &str) -> End {
        let started = Instant::now();
        loop {
            match self.step().await {
                Ok(End::Here) => tokio::time::sleep(LOOK_EVERY).await,
                Ok(end) => return end,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Retry, "{what}: {error}"),
            }
            assert!(started.elapsed() < PATIENCE, "{what}: nothing was noticed");
        }
    }

    pub async fn catch_up(&mut self) {
        let end = ok(self.try_catch_up().await);
        assert!(matches!(end, End::Here), "{end:?}");
    }

    /// What a table holds is what a fresh copy of it holds.
    pub async fn check(&mut self, what: &str) {
        self.catch_up().await;
        let other = ok(self.source.snapshot(&self.tables, None).await);
        let mut expected: Vec<TableContents> = self.tables.iter().cloned().map(TableContents::new).collect();
        let events: Vec<(TableName, TableEvent)> = ok(other.events.try_collect().await);
        for (name, event) in &events {
            expected.iter_mut().find(|table| table.schema().name == *name).unwrap().apply(event);
        }
        for (found, expected) in self.contents.iter().zip(&expected) {
            let what = format!("{what}, table {}", expected.schema().name);
            found.multiset().assert_equals(&expected.multiset(), &what);
        }
    }

    /// The rows of a table as text, sorted.
    pub fn rows(&self, table: usize) -> Vec<String> {
        let batch = self.contents[table].batch();
        let options = arrow::util::display::FormatOptions::default().with_null("NULL");
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| arrow::util::display::ArrayFormatter::try_new(column, &options).unwrap())
            .collect();
        let row = |row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|");
        let mut rows: Vec<String> = (0..batch.num_rows()).map(row).collect();
        rows.sort();
        rows
    }
}

pub fn ok<T>(result: Result<T, ConnectorError>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

/// Does something again and again until it works.
pub async fn until_ok(mut act: impl FnMut() -> Result<(), String>) {
    let started = Instant::now();
    while let Err(error) = act() {
        assert!(started.elapsed() < PATIENCE, "{error}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Runs a test on a server of each version.
pub fn on_both<F: Future<Output = ()>>(test: impl Fn(Arc<Postgres>) -> F) {
    for version in PostgresVersion::ALL {
        println!("on PostgreSQL {version:?}");
        run(test(shared(version)));
    }
}

pub fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test);
}
