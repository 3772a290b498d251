//! A small pipeline whose views copy one table, so that what a sink must hold is plain.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use tidegate_core::schema::columns;
use tidegate_core::{
    BindError, Binder, DeclaredColumn, Integral, KeyedChanges, KeyedOp, RowIdentity, TableEvent, TableName,
    TableSchema, ViewName, ZSet, schema,
};
use tidegate_engine::ViewDef;
use tidegate_runtime::{
    CheckReport, Connectors, LogLocation, Observer, Pipeline, PipelineConfig, ResyncSummary, RunSummary, RuntimeError,
    Silent, SinkSlot, SourceSlot,
};
use tidegate_testkit::{MemorySink, MemorySource, Multiset};

pub const INCARNATION: u64 = 1;

/// Everything a test needs to open the same pipeline again and again.
pub struct Harness {
    pub dir: tempfile::TempDir,
    pub source: MemorySource,
    /// Further sources, of other names.
    pub more: Vec<MemorySource>,
    pub poll_interval: Duration,
    /// Whether the sources call when something arrives.
    pub wakes: bool,
    pub sinks: Vec<MemorySink>,
    pub views: Vec<ViewDef>,
    pub workers: usize,
    pub tune: fn(&mut PipelineConfig),
    pub log: LogLocation,
}

impl Harness {
    /// `lake.t` with rows 1, 2, 2; views `a` over it and `b` over `a`; one sink.
    pub fn new() -> Harness {
        let source = MemorySource::new("lake", [table("t", &[])]);
        source.commit([rows("t", &[1, 2, 2], 1)]);
        Harness {
            dir: tempfile::tempdir().unwrap(),
            source,
            more: Vec::new(),
            poll_interval: Duration::from_millis(10),
            wakes: false,
            sinks: vec![MemorySink::new("mart")],
            views: vec![view("a", "SELECT * FROM lake.t"), view("b", "SELECT * FROM a")],
            workers: 1,
            tune: |_| {},
            log: LogLocation::StateDir,
        }
    }

    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub fn config(&self) -> PipelineConfig {
        let mut config = PipelineConfig::new("shop", self.state_dir(), self.views.clone());
        config.workers = Some(self.workers);
        config.retry_for = Duration::from_millis(300);
        config.epoch_interval = Duration::ZERO;
        config.log = self.log.clone();
        (self.tune)(&mut config);
        config
    }

    pub fn connectors(&self) -> Connectors {
        let source = |source: &MemorySource| SourceSlot {
            source: Box::new(source.clone()),
            poll_interval: self.poll_interval,
            wake: self.wakes.then(|| source.wake()),
        };
        let sources = std::iter::once(&self.source).chain(&self.more).map(source).collect();
        let slot = |sink: &MemorySink| SinkSlot { sink: Box::new(sink.clone()), views: None, commits: None };
        Connectors { sources, sinks: self.sinks.iter().map(slot).collect(), binder: Arc::new(CopyBinder) }
    }

    pub async fn open(&self) -> Result<Pipeline, RuntimeError> {
        self.open_with(Arc::new(Silent)).await
    }

    pub async fn open_with(&self, observer: Arc<dyn Observer>) -> Result<Pipeline, RuntimeError> {
        Pipeline::open(self.config(), self.connectors(), observer).await
    }

    /// `run --once`.
    pub async fn once(&self) -> Result<RunSummary, RuntimeError> {
        self.open().await?.run_once().await
    }

    pub async fn check(&self) -> CheckReport {
        tidegate_runtime::check(&self.config(), &mut self.connectors()).await
    }

    pub async fn resync(&self, sink: &str) -> Result<ResyncSummary, RuntimeError> {
        tidegate_runtime::resync(self.config(), self.connectors(), sink, Arc::new(Silent)).await
    }

    /// Takes files of the circuits' saved states of an epoch away.
    pub fn damage_checkpoint(&self, epoch: u64, is_lost: impl Fn(&Path) -> bool) {
        let file = fs::read(self.state_dir().join(format!("checkpoints/{epoch:020}.json"))).unwrap();
        let file: serde_json::Value = serde_json::from_slice(&file).unwrap();
        for circuit in file["engine"]["nodes"].as_array().unwrap() {
            let [folder, uuid] = ["folder", "checkpoint"].map(|part| circuit[part].as_str().unwrap());
            let saved = self.state_dir().join("engine").join(folder).join(uuid);
            let files = fs::read_dir(&saved).unwrap().map(|entry| entry.unwrap().path());
            files.filter(|path| is_lost(path)).for_each(|path| fs::remove_file(path).unwrap());
            if fs::read_dir(&saved).unwrap().next().is_none() {
                fs::remove_dir(&saved).unwrap();
            }
        }
    }

    /// Both views are what the table is now, in every sink.
    pub fn assert_current(&self) {
        let contents = self.source.contents(&name("t"), None).unwrap();
        let expected = Multiset::of_batches([&contents.batch()]);
        for sink in &self.sinks {
            for view in &self.views {
                let held = sink.contents(&view.name).unwrap_or_else(|| panic!("the sink holds no {}", view.name));
                held.assert_equals(&expected, &format!("view {}", view.name));
            }
        }
    }

    /// Per commit of the first sink: its range and whether view `a` was replaced.
    pub fn commits(&self) -> Vec<(u64, u64, bool)> {
        let replaced =
            |views: &[(ViewName, bool)]| views.iter().any(|(view, replaced)| view.as_str() == "a" && *replaced);
        let log = self.sinks[0].log();
        log.iter().map(|commit| (commit.after.0, commit.header.epoch.0, replaced(&commit.views))).collect()
    }
}

pub fn name(table: &str) -> TableName {
    TableName::new("lake", "main", table)
}

/// Columns `id`, `name` and further ones of type VARCHAR.
pub fn table(table: &str, more: &[&str]) -> TableSchema {
    let base = [("id", "BIGINT", false), ("name", "VARCHAR", true)];
    let more = more.iter().map(|column| (*column, "VARCHAR", true));
    TableSchema {
        name: name(table),
        incarnation: INCARNATION,
        columns: columns(base.into_iter().chain(more)).unwrap(),
        identity: RowIdentity::WholeRow,
        integral: Integral::Source,
    }
}

pub fn view(name: &str, sql: &str) -> ViewDef {
    ViewDef { name: name.into(), sql: sql.to_owned(), key: None }
}

pub fn batch(schema: &TableSchema, ids: &[i64]) -> RecordBatch {
    let names = || -> ArrayRef {
        Arc::new(ids.iter().map(|id| (id % 3 != 0).then(|| format!("name {id}"))).collect::<StringArray>())
    };
    let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(ids.to_vec()))];
    columns.extend((1..schema.columns.fields().len()).map(|_| names()));
    RecordBatch::try_new(schema.columns.clone(), columns).unwrap()
}

/// Rows of a table without further columns, each with the same weight.
pub fn rows(of: &str, ids: &[i64], weight: i64) -> (TableName, TableEvent) {
    (name(of), TableEvent::Rows(ZSet::uniform(batch(&table(of, &[]), ids), weight)))
}

/// Knows the columns of `SELECT * FROM x`, and that of `SELECT CAST(…) AS n FROM x`, which is all
/// that these tests write.
struct CopyBinder;

impl Binder for CopyBinder {
    fn describe(
        &self,
        tables: &[TableSchema],
        views: &[(ViewName, String)],
    ) -> Vec<Result<Vec<DeclaredColumn>, BindError>> {
        let mut known: Vec<(String, Vec<DeclaredColumn>)> = Vec::new();
        for table in tables {
            let columns = table.columns.fields().iter().map(|field| DeclaredColumn {
                name: field.name().clone(),
                duckdb_type: schema::duckdb_type(field).unwrap().to_owned(),
            });
            known.push((format!("{}.{}", table.name.source, table.name.table), columns.collect()));
        }
        let mut answers = Vec::new();
        for (view, sql) in views {
            let from = sql.split_whitespace().last().unwrap();
            let mut found = known.iter().find(|(name, _)| name == from).map(|(_, columns)| columns.clone());
            if sql.starts_with("SELECT CAST(") {
                found = Some(vec![DeclaredColumn { name: "n".to_owned(), duckdb_type: "BIGINT".to_owned() }]);
            }
            if let Some(columns) = &found {
                known.push((view.0.clone(), columns.clone()));
            }
            let missing = || BindError { view: view.clone(), message: format!("there is no {from}") };
            answers.push(found.ok_or_else(missing));
        }
        answers
    }
}

/// A table with the key `id`.
pub fn keyed(name: &str, more: &[&str]) -> TableSchema {
    TableSchema { identity: RowIdentity::Key(vec![0]), integral: Integral::Engine, ..table(name, more) }
}

/// A table without a key whose content only the engine keeps.
pub fn unkeyed(name: &str, more: &[&str]) -> TableSchema {
    TableSchema { integral: Integral::Engine, ..table(name, more) }
}

/// The same table of another source.
pub fn of(source: &str, mut schema: TableSchema) -> TableSchema {
    schema.name.source = source.to_owned();
    schema
}

/// Rows of a table that now are.
pub fn upsert(of: &TableSchema, ids: &[i64]) -> (TableName, TableEvent) {
    (of.name.clone(), changes(of, KeyedOp::Upsert, ids))
}

/// Rows of a table that no longer are.
pub fn delete(of: &TableSchema, ids: &[i64]) -> (TableName, TableEvent) {
    (of.name.clone(), changes(of, KeyedOp::Delete, ids))
}

fn changes(of: &TableSchema, op: KeyedOp, ids: &[i64]) -> TableEvent {
    let rows = batch(of, ids);
    TableEvent::Keyed(KeyedChanges { ops: vec![op; ids.len()], unchanged: vec![None; rows.num_columns()], rows })
}

/// Rows that a table without a key has once more.
pub fn insert(of: &TableSchema, ids: &[i64]) -> (TableName, TableEvent) {
    (of.name.clone(), TableEvent::Rows(ZSet::uniform(batch(of, ids), 1)))
}
