//! Views that are built while the others go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidegate_core::{Epoch, TableSchema};
use tidegate_runtime::{
    Beside, NotBeside, Observer, Pipeline, PipelineConfig, PipelineHandle, Progress, RunSummary, RunUntil,
    RuntimeError, Silent, StopSignal,
};
use tidegate_testkit::{MemorySource, Multiset};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::harness::{Harness, delete, keyed, rows, table, upsert, view};
use crate::live::{Ear, PATIENCE};

/// Hears whether tables are loaded while all stand still.
struct Stillness {
    ear: Arc<Ear>,
    loads: AtomicBool,
}

impl Observer for Stillness {
    fn notify(&self, event: Progress<'_>) {
        if matches!(event, Progress::LoadStarted { .. }) {
            self.loads.store(true, Ordering::SeqCst);
        }
        self.ear.notify(event);
    }
}

/// A pipeline that runs.
struct Going {
    handle: PipelineHandle,
    stop: StopSignal,
    task: JoinHandle<(Result<RunSummary, RuntimeError>, Pipeline)>,
}

impl Going {
    fn on(mut pipeline: Pipeline) -> Going {
        let (handle, stop) = (pipeline.handle(), StopSignal::new());
        let signal = stop.clone();
        let task = tokio::spawn(async move { (pipeline.run(RunUntil::Stopped, signal).await, pipeline) });
        Going { handle, stop, task }
    }

    async fn built(&self, config: &PipelineConfig) -> Result<Beside, NotBeside> {
        let laid = self.handle.groundwork(config.clone()).await.expect("the pipeline answers");
        laid?.build(&Silent, &StopSignal::new()).await
    }

    /// Ends after its epoch, and goes on as the harness says now.
    async fn reopened(self, h: &Harness, ear: &Arc<Ear>, beside: Option<Beside>) -> (Going, Arc<Stillness>) {
        self.stop.stop();
        let (ended, pipeline) = timeout(PATIENCE, self.task).await.expect("the run ends").unwrap();
        ended.unwrap();
        let hears = Arc::new(Stillness { ear: ear.clone(), loads: AtomicBool::new(false) });
        let pipeline = pipeline.reopen(h.config(), h.connectors(), hears.clone(), beside).await.unwrap();
        (Going::on(pipeline), hears)
    }

    async fn end(self) {
        self.stop.stop();
        timeout(PATIENCE, self.task).await.expect("the run ends").unwrap().0.unwrap();
    }
}

/// Waits until the sink holds what the source has of a table, in each of the views.
async fn holds(h: &Harness, ear: &Ear, of: &TableSchema, views: &[&str]) {
    let expected = || Multiset::of_batches([&h.source.contents(&of.name, None).unwrap().batch()]);
    let held = |view: &&str| h.sinks[0].contents(&(**view).into()).is_some_and(|held| held == expected());
    ear.until(|| views.iter().all(held)).await;
}

fn leftovers(h: &Harness) -> bool {
    h.state_dir().join("beside").exists()
}

#[tokio::test(flavor = "multi_thread")]
async fn others_go_on_while_views_are_built() {
    let mut h = Harness::new();
    let ear = Ear::new();
    let t = table("t", &[]);
    let going = Going::on(h.open_with(ear.clone()).await.unwrap());
    holds(&h, &ear, &t, &["a", "b"]).await;
    h.views.extend([view("c", "SELECT * FROM lake.t"), view("d", "SELECT * FROM c"), view("e", "SELECT * FROM b")]);
    let laid = going.handle.groundwork(h.config()).await.unwrap().unwrap();
    // What happens from here on is not in what is read for the new views: it comes by the log.
    for id in 0..5 {
        h.source.commit([rows("t", &[id, 100 + id], 1)]);
        h.source.commit([rows("t", &[id], -1)]);
        holds(&h, &ear, &t, &["a", "b"]).await;
    }
    let beside = laid.build(&Silent, &StopSignal::new()).await.unwrap();
    // And what happens after it was built, too.
    h.source.commit([rows("t", &[77], 1)]);
    holds(&h, &ear, &t, &["a", "b"]).await;
    assert!(h.sinks[0].contents(&"c".into()).is_none(), "they are in force together");
    let read = h.source.snapshots_taken().len();
    let (going, hears) = going.reopened(&h, &ear, Some(beside)).await;
    holds(&h, &ear, &t, &["a", "b", "c", "d", "e"]).await;
    h.source.commit([rows("t", &[78], 1)]);
    holds(&h, &ear, &t, &["a", "b", "c", "d", "e"]).await;
    assert!(!hears.loads.load(Ordering::SeqCst), "something was loaded while all stood still");
    assert_eq!(h.source.snapshots_taken().len(), read, "a table was read once more");
    assert!(!leftovers(&h));
    let built = h.sinks[0]
        .log()
        .iter()
        .filter(|range| range.views.iter().any(|(view, replaced)| view.as_str() == "a" && *replaced))
        .count();
    assert_eq!(built, 1, "what was there is not built anew");
    going.end().await;
    // It is as if they had been built in any other way.
    h.once().await.unwrap();
    h.assert_current();
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_the_engine_keeps_are_not_read_for_it() {
    let mut h = Harness::new();
    let t = keyed("k", &["note"]);
    h.source = MemorySource::new("lake", [t.clone()]).present_only();
    h.source.commit([upsert(&t, &[1, 2, 3])]);
    h.views = vec![view("a", "SELECT * FROM lake.k")];
    let ear = Ear::new();
    let going = Going::on(h.open_with(ear.clone()).await.unwrap());
    holds(&h, &ear, &t, &["a"]).await;
    h.source.commit([delete(&t, &[2])]);
    holds(&h, &ear, &t, &["a"]).await;
    let read = h.source.snapshots_taken().len();
    h.views = vec![view("b", "SELECT * FROM lake.k")];
    let laid = going.handle.groundwork(h.config()).await.unwrap().unwrap();
    h.source.commit([upsert(&t, &[2, 4]), delete(&t, &[1])]);
    holds(&h, &ear, &t, &["a"]).await;
    let beside = laid.build(&Silent, &StopSignal::new()).await.unwrap();
    h.source.commit([upsert(&t, &[5])]);
    let (going, hears) = going.reopened(&h, &ear, Some(beside)).await;
    holds(&h, &ear, &t, &["b"]).await;
    h.source.commit([delete(&t, &[4])]);
    holds(&h, &ear, &t, &["b"]).await;
    assert_eq!((h.source.snapshots_taken().len(), hears.loads.load(Ordering::SeqCst)), (read, false));
    going.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_built_beside_is_built_as_ever() {
    let mut h = Harness::new();
    let ear = Ear::new();
    let t = table("t", &[]);
    h.source = MemorySource::new("lake", [t.clone(), table("new", &[])]);
    h.source.commit([rows("t", &[1, 2, 2], 1)]);
    let going = Going::on(h.open_with(ear.clone()).await.unwrap());
    holds(&h, &ear, &t, &["a", "b"]).await;
    // A table that nobody has read, of whose changes the log tells nothing.
    h.source.commit([rows("new", &[9], 1)]);
    h.source.commit([rows("t", &[9], 1)]);
    holds(&h, &ear, &t, &["a", "b"]).await;
    let known = h.views.clone();
    h.views.push(view("c", "SELECT * FROM lake.new"));
    let refused = going.built(&h.config()).await.err().expect("it cannot be");
    assert!(refused.0.contains("table lake.main.new was not read until now"), "{refused}");
    // Views that are the same.
    h.views = known;
    let refused = going.built(&h.config()).await.err().expect("nothing is to be built");
    assert_eq!(refused.0, "nothing is built");
    // What was built for other views than the file has by then, and after what came between, is not used.
    h.views.push(view("c", "SELECT * FROM lake.t"));
    let beside = going.built(&h.config()).await.unwrap();
    h.views.pop();
    h.views.push(view("c", "SELECT * FROM b"));
    h.source.commit([rows("t", &[10], 1)]);
    let (going, hears) = going.reopened(&h, &ear, Some(beside)).await;
    holds(&h, &ear, &t, &["a", "b", "c"]).await;
    assert!(hears.loads.load(Ordering::SeqCst), "it is built as ever");
    // It is told to stop.
    h.views.push(view("d", "SELECT * FROM c"));
    let laid = going.handle.groundwork(h.config()).await.unwrap().unwrap();
    let stop = StopSignal::new();
    stop.stop();
    assert!(laid.build(&Silent, &stop).await.is_err());
    let (going, _) = going.reopened(&h, &ear, None).await;
    holds(&h, &ear, &t, &["d"]).await;
    assert!(!leftovers(&h));
    going.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_meanwhile_leaves_nothing() {
    let mut h = Harness::new();
    let ear = Ear::new();
    let going = Going::on(h.open_with(ear.clone()).await.unwrap());
    holds(&h, &ear, &table("t", &[]), &["a", "b"]).await;
    let before = h.config();
    h.views.push(view("c", "SELECT * FROM lake.t"));
    let beside = going.built(&h.config()).await.unwrap();
    assert!(leftovers(&h));
    h.source.commit([rows("t", &[5], 1)]);
    going.task.abort();
    let _ = going.task.await;
    drop(beside);
    let pipeline = Pipeline::open(before, h.connectors(), ear.clone()).await.unwrap();
    assert!(!leftovers(&h));
    assert_eq!(pipeline.program().unwrap().views().len(), 2);
    drop(pipeline);
    assert_eq!(h.once().await.unwrap().epoch, Epoch(3));
    h.assert_current();
}
