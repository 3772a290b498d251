//! The suite for removals, in folders and in object stores.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use tidegate_testkit::conformance::{Strangers, removal};

use crate::suite::{remote, sink};

const ENTRY: &str = "_delta_log/00000000000000000000.json";

/// The log of a table that another program made.
const THEIRS: &str = r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}
{"metaData":{"id":"0c9c8aa1-6b0c-4ae5-9e0f-6f3d2f5a5f0a","format":{"provider":"parquet","options":{}},"schemaString":"{\"type\":\"struct\",\"fields\":[{\"name\":\"a\",\"type\":\"long\",\"nullable\":true,\"metadata\":{}}]}","partitionColumns":[],"configuration":{},"createdTime":0}}
"#;

/// Another program that writes Delta tables beside the sink's.
struct InTheFolder;

impl Strangers for InTheFolder {
    fn make(&self, folder: &Path, name: &str) {
        let entry = folder.join("out/lake").join(name).join(ENTRY);
        fs::create_dir_all(entry.parent().unwrap()).unwrap();
        fs::write(entry, THEIRS).unwrap();
    }

    fn is_there(&self, folder: &Path, name: &str) -> bool {
        folder.join("out/lake").join(name).exists()
    }
}

#[test]
fn removals_conform_in_a_folder() {
    removal(|folder| Box::new(sink(folder)), &InTheFolder);
}

/// Stores in memory, one a folder.
#[derive(Default)]
struct Stores(Mutex<BTreeMap<PathBuf, Arc<InMemory>>>);

impl Stores {
    fn of(&self, folder: &Path) -> Arc<InMemory> {
        self.0.lock().unwrap().entry(folder.to_owned()).or_default().clone()
    }
}

impl Strangers for Stores {
    fn make(&self, folder: &Path, name: &str) {
        let path = format!("out/lake/{name}/{ENTRY}");
        futures::executor::block_on(self.of(folder).put(&path.as_str().into(), THEIRS.into())).unwrap();
    }

    fn is_there(&self, folder: &Path, name: &str) -> bool {
        use futures::StreamExt;
        use object_store::ObjectStore;
        let path = format!("out/lake/{name}");
        futures::executor::block_on(self.of(folder).list(Some(&path.as_str().into())).next()).is_some()
    }
}

#[test]
fn removals_conform_in_an_object_store() {
    let stores = Stores::default();
    removal(|folder| Box::new(remote(stores.of(folder), "out/lake")), &stores);
}
