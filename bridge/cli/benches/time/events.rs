//! A pipeline over a table in memory: many small epochs, a view whose state grows with the table and one whose does not,
//! the real engine, log and checkpoints. It can be killed, and put back to where it was.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use tempfile::TempDir;
use tidegate_core::{
    Epoch, ErrorKind, Integral, RowIdentity, TableEvent, TableName, TableSchema, ViewName, ZSet, schema,
};
use tidegate_duck::DuckBinder;
use tidegate_engine::ViewDef;
use tidegate_runtime::{
    Commits, Connectors, Observer, Pipeline, PipelineConfig, Progress, RunUntil, SinkSlot, SourceSlot, StopSignal,
};
use tidegate_testkit::{MemorySource, SourceFault};

use crate::forgetful::{ForgetfulSink, Standing};

/// Rows that get another amount in an epoch.
const UPDATES: u64 = 10;
/// Rows of a batch of the first load.
const BATCH_ROWS: usize = 65_536;
const VIEWS: [(&str, &str); 2] = [
    ("buckets", "SELECT bucket, count(*) AS n, sum(amount) AS total FROM lake.events GROUP BY bucket"),
    (
        "parts",
        "SELECT bucket % 100 AS part, count(*) AS n, sum(amount) AS total FROM lake.events GROUP BY bucket % 100",
    ),
];

/// Everything to open the pipeline again and again.
pub struct Events {
    folder: TempDir,
    schema: TableSchema,
    source: MemorySource,
    sink: ForgetfulSink,
    amounts: Vec<i64>,
    /// What the sink held when the state was kept.
    kept: Standing,
}

/// Counts what is replayed, and kills the pipeline after an epoch.
struct Watch {
    source: MemorySource,
    last: Option<Epoch>,
    replayed: AtomicU64,
}

impl Observer for Watch {
    fn notify(&self, event: Progress<'_>) {
        match event {
            Progress::Replayed { .. } => drop(self.replayed.fetch_add(1, Ordering::Relaxed)),
            Progress::EpochStepped { header, .. } if Some(header.epoch) == self.last => {
                self.source.inject(SourceFault::Fail(ErrorKind::Stop));
            }
            _ => {}
        }
    }
}

impl Events {
    /// A table of so many rows, ten in a bucket, and its pipeline, which has not run.
    pub fn new(rows: u64) -> Events {
        let columns = ["id", "bucket", "amount"].map(|name| (name, "BIGINT", false));
        let schema = TableSchema {
            name: TableName::new("lake", "main", "events"),
            incarnation: 1,
            columns: schema::columns(columns).expect("DuckDB has the type"),
            identity: RowIdentity::WholeRow,
            integral: Integral::Source,
        };
        let source = MemorySource::new("lake", [schema.clone()]);
        let events = Events {
            folder: tempfile::tempdir().expect("a folder"),
            schema,
            source,
            sink: ForgetfulSink::default(),
            amounts: vec![0; rows as usize],
            kept: Standing::new(),
        };
        let ids: Vec<i64> = (0..rows as i64).collect();
        let load: Vec<_> = ids.chunks(BATCH_ROWS).map(|ids| events.rows(ids, &vec![0; ids.len()])).collect();
        let load = load.into_iter().map(|rows| ZSet::uniform(rows, 1));
        events.source.commit(load.map(|rows| (events.schema.name.clone(), TableEvent::Rows(rows))));
        events
    }

    fn rows(&self, ids: &[i64], amounts: &[i64]) -> RecordBatch {
        let buckets = ids.iter().map(|id| id / 10);
        let columns: [ArrayRef; 3] = [
            Arc::new(Int64Array::from(ids.to_vec())),
            Arc::new(Int64Array::from_iter_values(buckets)),
            Arc::new(Int64Array::from(amounts.to_vec())),
        ];
        RecordBatch::try_new(self.schema.columns.clone(), columns.to_vec()).expect("the columns are the table's")
    }

    /// Another transaction: some rows, all over the table, get another amount.
    fn commit(&mut self, number: u64) {
        let held = self.amounts.len() as u64;
        let ids: Vec<i64> = (0..UPDATES).map(|n| ((number * UPDATES + n) * 2_654_435_761 % held) as i64).collect();
        let (mut rows, mut amounts) = (Vec::new(), Vec::new());
        for id in ids {
            let amount = &mut self.amounts[id as usize];
            rows.extend([id, id]);
            amounts.extend([*amount, *amount + 1 + id % 7]);
            *amount += 1 + id % 7;
        }
        let weights = [-1, 1].repeat(UPDATES as usize);
        let changes = ZSet::new(self.rows(&rows, &amounts), Int64Array::from(weights));
        self.source.commit([(self.schema.name.clone(), TableEvent::Rows(changes))]);
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Checkpoints come by epochs alone.
    pub fn config(&self) -> PipelineConfig {
        let views = VIEWS.map(|(name, sql)| ViewDef { name: ViewName::from(name), sql: sql.to_owned(), key: None });
        let mut config = PipelineConfig::new("bench", self.state(), views.to_vec());
        config.epoch_interval = Duration::ZERO;
        config.checkpoint_interval = Duration::from_secs(3600);
        // A transaction is an epoch.
        config.epoch_rows_max = 1;
        config
    }

    pub fn connectors(&self) -> Connectors {
        let source = SourceSlot {
            source: Box::new(self.source.clone()),
            poll_interval: Duration::from_millis(10),
            wake: Some(self.source.wake()),
        };
        let sink =
            SinkSlot { sink: Box::new(self.sink.clone()), views: None, commits: Some(Commits::Every(Duration::ZERO)) };
        Connectors { sources: vec![source], sinks: vec![sink], binder: Arc::new(DuckBinder) }
    }

    /// Opens it; answers how many epochs were replayed, too.
    pub async fn open(&self) -> (Pipeline, u64) {
        self.open_until(None).await
    }

    async fn open_until(&self, last: Option<Epoch>) -> (Pipeline, u64) {
        let watch = Arc::new(Watch { source: self.source.clone(), last, replayed: AtomicU64::new(0) });
        let pipeline = Pipeline::open(self.config(), self.connectors(), watch.clone()).await.expect("it opens");
        (pipeline, watch.replayed.load(Ordering::Relaxed))
    }

    /// Loads the table and makes epochs up to this one; ends with a checkpoint.
    pub async fn run_to(&mut self, epochs: u64) {
        self.load().await;
        (1..epochs).for_each(|number| self.commit(number));
        let (mut pipeline, _) = self.open().await;
        pipeline.run(RunUntil::Epoch(Epoch(epochs)), StopSignal::new()).await.expect("the run succeeds");
        assert_eq!(pipeline.epoch(), Epoch(epochs));
    }

    /// The same, but after the last epoch it ends at once, and nothing more is saved.
    pub async fn killed_at(&mut self, epochs: u64) {
        self.load().await;
        (1..epochs).for_each(|number| self.commit(number));
        let (mut pipeline, _) = self.open_until(Some(Epoch(epochs))).await;
        let run = pipeline.run(RunUntil::Epoch(Epoch(u64::MAX)), StopSignal::new()).await;
        run.expect_err("the source fails in the end");
        assert_eq!(pipeline.epoch(), Epoch(epochs));
    }

    async fn load(&mut self) {
        let (mut pipeline, _) = self.open().await;
        pipeline.run_once().await.expect("the load");
        assert_eq!(pipeline.epoch(), Epoch(1));
    }

    /// Keeps the state as it is now, to be put back.
    pub fn keep(&mut self) {
        self.kept = self.sink.standing();
        self.copy("state", "kept");
    }

    /// Puts the state back.
    pub fn put_back(&self) {
        self.sink.set(&self.kept);
        std::fs::remove_dir_all(self.state()).expect("the state folder can be removed");
        self.copy("kept", "state");
    }

    /// Checkpoints share files; the copies do, too.
    fn copy(&self, from: &str, to: &str) {
        let at = |name: &str| self.folder.path().join(name);
        let status = Command::new("cp").arg("-a").args([at(from), at(to)]).status();
        assert!(status.expect("cp can be started").success());
    }
}
