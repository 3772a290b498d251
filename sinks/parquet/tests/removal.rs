//! The suite for removals, of deltas and of snapshots, in folders and in object stores.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use tidegate_core::{Commit, Epoch, Removal, RowIdentity, Sink, ViewName};
use tidegate_testkit::conformance::model::{ViewModel, header};
use tidegate_testkit::conformance::{Strangers, removal};

use crate::suite::{EAGER, Maintained, SNAPSHOT, options, remote, sink};

/// Somebody who writes beside the sink's folders.
struct InTheFolder;

impl Strangers for InTheFolder {
    fn make(&self, folder: &Path, name: &str) {
        let place = folder.join("out/changes").join(name);
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("theirs.parquet"), "theirs").unwrap();
    }

    fn is_there(&self, folder: &Path, name: &str) -> bool {
        folder.join("out/changes").join(name).exists()
    }
}

#[test]
fn removals_conform_in_a_folder() {
    removal(|folder| Box::new(sink(folder)), &InTheFolder);
}

#[test]
fn removals_conform_where_files_are_merged() {
    removal(|folder| Box::new(Maintained(sink(folder).with_options(options(EAGER)))), &InTheFolder);
}

#[test]
fn removals_of_snapshots_conform() {
    removal(|folder| Box::new(Maintained(sink(folder).with_options(options(SNAPSHOT)))), &InTheFolder);
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
        let path = format!("out/changes/{name}/theirs.parquet");
        let store = self.of(folder);
        futures::executor::block_on(store.put(&path.as_str().into(), "theirs".into())).unwrap();
    }

    fn is_there(&self, folder: &Path, name: &str) -> bool {
        let path = format!("out/changes/{name}");
        let listed = futures::executor::block_on(self.of(folder).list_with_delimiter(Some(&path.as_str().into())));
        !listed.unwrap().objects.is_empty()
    }
}

#[test]
fn removals_conform_in_an_object_store() {
    let stores = Stores::default();
    removal(|folder| Box::new(remote(&stores.of(folder))), &stores);
    let stores = Stores::default();
    removal(|folder| Box::new(Maintained(remote(&stores.of(folder)).with_options(options(SNAPSHOT)))), &stores);
}

#[tokio::test]
async fn files_that_no_reader_looks_at_stay_and_views_sql_forgets() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(folder.path());
    let mut view = ViewModel::new("pairs", &[("k", "INTEGER")], RowIdentity::WholeRow);
    sink.open(&[view.info().clone()]).await.unwrap();
    let delta = view.change_to("(1), (2)");
    let views = vec![view.changes([(header(1), delta)])];
    sink.commit(Commit { after: Epoch(0), header: header(1), views }).await.unwrap();
    let place = folder.path().join("out/changes");
    fs::write(place.join("pairs/notes.txt"), "notes").unwrap();
    let told = || fs::read_to_string(place.join("views.sql")).unwrap().contains("pairs");
    assert!(told());
    let theirs = place.join("pairs/theirs.parquet");
    fs::write(&theirs, "theirs").unwrap();
    let error = sink.remove(&ViewName::new("pairs")).await.unwrap_err();
    assert!(error.to_string().contains("theirs.parquet"), "{error}");
    assert!(told() && fs::read_dir(place.join("pairs")).unwrap().count() == 3, "something was changed");
    fs::remove_file(theirs).unwrap();
    assert_eq!(sink.remove(&ViewName::new("pairs")).await.unwrap(), Removal::Removed);
    assert!(!told());
    assert_eq!(fs::read_to_string(place.join("pairs/notes.txt")).unwrap(), "notes");
    assert_eq!(fs::read_dir(place.join("pairs")).unwrap().count(), 1);
}
