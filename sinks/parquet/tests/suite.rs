//! The suite for sinks, over a folder and over an object store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use tidegate_core::{Commit, CommitOutcome, Committed, ConnectorError, Removal, Sink, ViewInfo, ViewName, ZSet};
use tidegate_sink_parquet::{Location, Options, ParquetConfig, ParquetSink};

/// A sink on a folder.
pub fn sink(folder: &Path) -> ParquetSink {
    ParquetSink::new("changes", Location::Folder(folder.join("out/changes"))).with_pipeline("shop")
}

/// Options as the pipeline file has them.
pub fn options(json: &str) -> Options {
    serde_json::from_str::<ParquetConfig>(json).unwrap().options().unwrap()
}

/// Merges two files as soon as there are two, and removes them the next time.
pub const EAGER: &str = r#"{"path": ".", "compaction_files": 2, "compaction_grace": "0s"}"#;
/// Snapshots of small files.
pub const SNAPSHOT: &str = r#"{"path": ".", "mode": "snapshot", "file_bytes": "16KB", "keep_snapshots": 2}"#;

/// A sink that is maintained after every commit.
pub struct Maintained(pub ParquetSink);

#[async_trait]
impl Sink for Maintained {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn default_commit_interval(&self) -> Duration {
        self.0.default_commit_interval()
    }

    async fn open(&mut self, views: &[ViewInfo]) -> Result<BTreeMap<ViewName, Option<Committed>>, ConnectorError> {
        self.0.open(views).await
    }

    async fn commit(&mut self, commit: Commit) -> Result<CommitOutcome, ConnectorError> {
        let outcome = self.0.commit(commit).await?;
        self.0.maintain().await?;
        Ok(outcome)
    }

    async fn read(
        &mut self,
        view: &ViewInfo,
    ) -> Result<BoxStream<'static, Result<ZSet, ConnectorError>>, ConnectorError> {
        self.0.read(view).await
    }

    async fn remove(&mut self, view: &ViewName) -> Result<Removal, ConnectorError> {
        self.0.remove(view).await
    }
}

/// A sink on a prefix of an object store.
pub fn remote(store: &Arc<InMemory>) -> ParquetSink {
    let store: Arc<dyn ObjectStore> = store.clone();
    let location = Location::Store { store, prefix: "out/changes".into(), url: "s3://bucket/out/changes".to_owned() };
    ParquetSink::new("changes", location)
}

#[test]
fn the_sink_conforms_in_a_folder() {
    tidegate_testkit::conformance::sink(|folder| Box::new(sink(folder)));
}

#[test]
fn the_sink_conforms_while_it_merges() {
    tidegate_testkit::conformance::sink(|folder| Box::new(Maintained(sink(folder).with_options(options(EAGER)))));
}

#[test]
fn snapshots_conform_in_a_folder() {
    tidegate_testkit::conformance::sink(|folder| Box::new(Maintained(sink(folder).with_options(options(SNAPSHOT)))));
}

#[test]
fn snapshots_conform_in_an_object_store() {
    let stores: Mutex<BTreeMap<PathBuf, Arc<InMemory>>> = Mutex::default();
    tidegate_testkit::conformance::sink(|folder| {
        let store = stores.lock().unwrap().entry(folder.to_owned()).or_default().clone();
        Box::new(Maintained(remote(&store).with_options(options(SNAPSHOT))))
    });
}

#[test]
fn the_sink_conforms_in_an_object_store() {
    let stores: Mutex<BTreeMap<PathBuf, Arc<InMemory>>> = Mutex::default();
    tidegate_testkit::conformance::sink(|folder| {
        let store = stores.lock().unwrap().entry(folder.to_owned()).or_default().clone();
        Box::new(remote(&store))
    });
}

#[test]
fn the_sink_conforms_in_s3() {
    let s3 = tidegate_testkit::S3::start();
    let store = s3.store();
    tidegate_testkit::conformance::sink(|folder| {
        let prefix = folder.file_name().unwrap().to_string_lossy().into_owned();
        let location = Location::Store { store: store.clone(), prefix: prefix.as_str().into(), url: s3.url(&prefix) };
        Box::new(ParquetSink::new("changes", location))
    });
}

#[test]
fn values_at_the_edges_return() {
    tidegate_testkit::conformance::values_at_the_edges(|folder| Box::new(sink(folder)), &[]);
}

#[test]
fn snapshots_keep_values_at_the_edges() {
    tidegate_testkit::conformance::values_at_the_edges(
        |folder| Box::new(Maintained(sink(folder).with_options(options(SNAPSHOT)))),
        &[],
    );
}
