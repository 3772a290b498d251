//! The suite for removals, with every kind of catalog, and what snapshots keep.

use std::path::Path;

use tidegate_core::{Commit, Epoch, Removal, RowIdentity, Sink, ViewName};
use tidegate_duck::{Duck, quote_ident};
use tidegate_testkit::conformance::model::{ViewModel, header};
use tidegate_testkit::conformance::{Strangers, removal};
use tidegate_testkit::lake;

use crate::lakes::{KINDS, Kind, catalog, reader, sink, table, texts};

/// A person at the lake.
struct AtTheLake(Kind);

impl Strangers for AtTheLake {
    fn make(&self, folder: &Path, name: &str) {
        let duck = Duck::open_in_memory().unwrap();
        let files = format!("DATA_PATH '{}'", folder.join("files").display());
        lake::attach(&duck, &catalog(self.0, folder), "lake", &[files]).unwrap();
        duck.execute(&format!("CREATE TABLE lake.main.{} AS SELECT 42 AS answer", quote_ident(name))).unwrap();
    }

    fn is_there(&self, folder: &Path, name: &str) -> bool {
        let sql = format!(
            "SELECT count(*) AS n FROM (SELECT table_name AS name FROM duckdb_tables() WHERE database_name = 'lake' \
             UNION ALL SELECT view_name FROM duckdb_views() WHERE database_name = 'lake') WHERE name = '{name}'"
        );
        texts(&reader(&catalog(self.0, folder)), &sql) != ["0"]
    }
}

#[test]
fn removals_conform() {
    for kind in KINDS {
        println!("{kind:?}");
        removal(|folder| Box::new(sink(kind, folder)), &AtTheLake(kind));
    }
}

#[tokio::test]
async fn snapshots_before_keep_the_rows() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(Kind::Sqlite, folder.path());
    let mut view = ViewModel::new("pairs", &[("k", "INTEGER")], RowIdentity::WholeRow);
    sink.open(&[view.info().clone()]).await.unwrap();
    let delta = view.change_to("(1), (2)");
    let views = vec![view.changes([(header(1), delta)])];
    sink.commit(Commit { after: Epoch(0), header: header(1), views }).await.unwrap();
    let catalog = catalog(Kind::Sqlite, folder.path());
    let before = crate::lakes::snapshot(&reader(&catalog));
    assert_eq!(sink.remove(&ViewName::new("pairs")).await.unwrap(), Removal::Removed);
    let (_, rows) = table(&reader(&catalog), &ViewName::new("pairs"), Some(before));
    rows.assert_equals(&view.multiset(), "the snapshot before");
    let said =
        texts(&reader(&catalog), "SELECT commit_message FROM lake.snapshots() ORDER BY snapshot_id DESC LIMIT 1");
    assert_eq!(said, ["view pairs is removed"]);
}
