//! The suite for sinks, over a folder and over object stores.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use object_store::ObjectStore;
use object_store::memory::InMemory;
use tidegate_core::Micros;
use tidegate_sink_delta::{Clock, DeltaConfig, DeltaSink, Location};

/// A clock that stands still.
pub fn clock() -> Clock {
    Arc::new(|| Micros(1_700_000_000_000_000))
}

/// A sink on a folder.
pub fn sink(folder: &Path) -> DeltaSink {
    configured(folder, DeltaConfig::new("out/lake"))
}

/// A sink on a folder with a configuration of its own.
pub fn configured(folder: &Path, config: DeltaConfig) -> DeltaSink {
    DeltaSink::new("lake", "shop", Location::Folder(folder.join("out/lake")), config, clock())
}

/// A sink on a prefix of an object store.
pub fn remote(store: Arc<dyn ObjectStore>, prefix: &str) -> DeltaSink {
    let url = format!("s3://bucket/{prefix}");
    let location = Location::Store { store, prefix: prefix.into(), url: url.clone() };
    DeltaSink::new("lake", "shop", location, DeltaConfig::new(url), clock())
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
        Box::new(remote(store, "out/lake"))
    });
}

#[test]
fn the_sink_conforms_in_s3() {
    let s3 = tidegate_testkit::S3::start();
    let store = s3.store();
    tidegate_testkit::conformance::sink(|folder| {
        Box::new(remote(store.clone(), &folder.file_name().unwrap().to_string_lossy()))
    });
}

#[test]
fn values_at_the_edges_return() {
    tidegate_testkit::conformance::values_at_the_edges(|folder| Box::new(sink(folder)), &[]);
}
