//! Checkpoints beside a log on an object store: a lost state folder is made again from them.

use std::fs;
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use tidegate_core::{Epoch, ErrorKind};
use tidegate_runtime::LogLocation;
use tidegate_testkit::SinkFault;

use crate::harness::{Harness, rows};

fn harness() -> (Harness, Arc<InMemory>) {
    let store = Arc::new(InMemory::new());
    let mut h = Harness::new();
    h.log = LogLocation::ObjectStore { store: store.clone(), prefix: Path::from("log"), url: "s3://bucket/log".into() };
    (h, store)
}

async fn objects(store: &InMemory, folder: &str) -> Vec<ObjectMeta> {
    store.list(Some(&Path::from(folder))).try_collect().await.unwrap()
}

async fn change(h: &Harness, id: i64) {
    h.source.commit([rows("t", &[id], 1)]);
    h.once().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_state_folder_is_made_again() {
    let (h, _) = harness();
    h.once().await.unwrap();
    for id in 70..75 {
        change(&h, id).await;
        if id % 2 == 0 {
            fs::remove_dir_all(h.state_dir()).unwrap();
        }
    }
    h.assert_current();
    assert_eq!(h.commits().len(), 6, "a load and five changes, each committed once");
    assert!(h.commits().iter().all(|(_, epoch, replaced)| *replaced == (*epoch == 1)), "nothing was loaded again");
}

/// The process dies after it logged an epoch, and the folder is lost before it is started again.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_logged_after_the_checkpoint_is_replayed() {
    let (h, _) = harness();
    change(&h, 70).await;
    h.source.commit([rows("t", &[71], 1)]);
    h.sinks[0].inject(SinkFault::Before(ErrorKind::Bug));
    h.once().await.unwrap_err();
    fs::remove_dir_all(h.state_dir()).unwrap();
    let summary = h.once().await.unwrap();
    assert_eq!((summary.epochs, summary.epoch), (0, Epoch(2)));
    h.assert_current();
}

/// Deltas that a sink lacks are kept in the state folder alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_was_behind_is_brought_in_line() {
    let (h, _) = harness();
    change(&h, 70).await;
    h.source.commit([rows("t", &[71], 1)]);
    h.sinks[0].set_available(false);
    h.once().await.unwrap_err();
    fs::remove_dir_all(h.state_dir()).unwrap();
    h.sinks[0].set_available(true);
    let summary = h.once().await.unwrap();
    assert_eq!(summary.resynced["mart"][&"a".into()], 1, "what it holds is ours, and it gets the difference");
    h.assert_current();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_changed_is_put_and_what_nobody_needs_goes() {
    let (h, store) = harness();
    h.source.commit([rows("t", &(100..20_000).collect::<Vec<_>>(), 1)]);
    h.once().await.unwrap();
    let largest = |objects: Vec<ObjectMeta>| objects.into_iter().max_by_key(|object| object.size).unwrap();
    let loaded = largest(objects(&store, "log/checkpoints/files").await);
    assert!(loaded.size > 100_000, "the loaded rows are in one of the files");
    for id in 70..74 {
        change(&h, id).await;
    }
    let files = objects(&store, "log/checkpoints/files").await;
    assert!(files.contains(&loaded), "the loaded rows were not put again");
    let documents = objects(&store, "log/checkpoints").await.len() - files.len();
    assert_eq!(documents, 2, "the newest two are kept");
    let before: u64 = files.iter().map(|object| object.size).sum();
    for id in 74..80 {
        change(&h, id).await;
    }
    let after: u64 = objects(&store, "log/checkpoints/files").await.iter().map(|object| object.size).sum();
    assert!(after < 2 * before, "{before} bytes became {after}: old files stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_named_and_the_checkpoint_before_is_used() {
    let (h, store) = harness();
    h.once().await.unwrap();
    change(&h, 70).await;
    fs::remove_dir_all(h.state_dir()).unwrap();
    let newest = Path::from(format!("log/checkpoints/{}.json", Epoch(2).digits()));
    store.put(&newest, "{}".into()).await.unwrap();
    change(&h, 71).await;
    h.assert_current();
    fs::remove_dir_all(h.state_dir()).unwrap();
    for object in objects(&store, "log/checkpoints/files").await {
        store.put(&object.location, "damaged".into()).await.unwrap();
    }
    let error = h.once().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stop);
    assert!(error.to_string().contains("s3://bucket/log/checkpoints/files/"), "{error}");
    assert!(error.to_string().contains("does not match its hash"), "{error}");
    assert!(!h.state_dir().join("state.json").exists(), "half a state folder is none");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_pipeline_is_refused_by_name() {
    let (mut h, _) = harness();
    h.once().await.unwrap();
    fs::remove_dir_all(h.state_dir()).unwrap();
    h.tune = |config| config.name = "bank".to_owned();
    let error = h.once().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    assert!(error.to_string().contains("\"shop\"") && error.to_string().contains("\"bank\""), "{error}");
}
