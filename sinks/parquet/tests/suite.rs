//! The suite for sinks, over a folder and over an object store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use object_store::ObjectStore;
use object_store::memory::InMemory;
use tidegate_sink_parquet::{Location, ParquetSink};

/// A sink on a folder.
pub fn sink(folder: &Path) -> ParquetSink {
    ParquetSink::new("changes", Location::Folder(folder.join("out/changes"))).with_pipeline("shop")
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
