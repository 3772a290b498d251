//! The suites for sinks.

use std::path::Path;

use rusqlite::Connection;
use tidegate_core::{Commit, Epoch, ErrorKind, RowIdentity, Sink};
use tidegate_example_connectors::sqlite::SqliteSink;
use tidegate_testkit::conformance::model::{ViewModel, header};
use tidegate_testkit::conformance::{self, Strangers};

// ANCHOR: suite
/// A sink on a file in a folder: an empty folder is an empty target.
fn sink(folder: &Path) -> Box<dyn Sink> {
    Box::new(SqliteSink::new("local", folder.join("out/views.sqlite")))
}

#[test]
fn the_sink_conforms() {
    conformance::sink(sink);
}

#[test]
fn values_at_the_edges_return() {
    conformance::values_at_the_edges(sink, &[]);
}
// ANCHOR_END: suite

// ANCHOR: strangers
/// Tables that somebody else makes in the same file.
struct Others;

impl Others {
    fn file(folder: &Path) -> Connection {
        std::fs::create_dir_all(folder.join("out")).unwrap();
        Connection::open(folder.join("out/views.sqlite")).unwrap()
    }
}

impl Strangers for Others {
    fn make(&self, folder: &Path, name: &str) {
        Self::file(folder).execute(&format!("CREATE TABLE \"{name}\" (n INTEGER)"), []).unwrap();
    }

    fn is_there(&self, folder: &Path, name: &str) -> bool {
        let found = "SELECT count(*) FROM sqlite_schema WHERE name = ?";
        Self::file(folder).query_row(found, [name], |row| Ok(row.get::<_, i64>(0)? > 0)).unwrap()
    }
}

#[test]
fn views_are_removed() {
    conformance::removal(sink, &Others);
}
// ANCHOR_END: strangers

/// A row that a person removed is not taken away once more: the sink stops before anything is lost, and the file stays as it is.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_person_removed_stop_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut view = ViewModel::new("orders", &[("id", "INTEGER"), ("note", "VARCHAR")], RowIdentity::WholeRow);
    let mut sink = sink(folder.path());
    let commit = |epoch: u64, views| Commit { after: Epoch(epoch - 1), header: header(epoch), views };
    let delta = view.change_to("(1, 'secret'), (1, 'secret'), (2, NULL)");
    sink.commit(commit(1, vec![view.changes([(header(1), delta)])])).await.unwrap();
    let file = Others::file(folder.path());
    let rows = |id: i64| {
        let sql = "SELECT copies FROM orders WHERE row->>'id' = ?";
        file.query_row(sql, [id], |row| row.get::<_, i64>(0)).unwrap_or_default()
    };
    assert_eq!((rows(1), rows(2)), (2, 1));
    file.execute("UPDATE orders SET copies = 1 WHERE row->>'note' = 'secret'", []).unwrap();
    let delta = view.change_to("(3, 'new')");
    let error = sink.commit(commit(2, vec![view.changes([(header(2), delta)])])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stop);
    let told = tidegate_core::chain(&error);
    assert!(told.contains("table orders") && !told.contains("secret"), "{told}");
    assert_eq!((rows(1), rows(2), rows(3)), (1, 1, 0));
}
