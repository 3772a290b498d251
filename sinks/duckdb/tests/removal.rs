//! The suite for removals, in place and with copies, and what is the file's own about them.

use std::path::{Path, PathBuf};

use tidegate_core::{Removal, Sink, ViewName};
use tidegate_duck::{Duck, Options, quote_ident};
use tidegate_testkit::conformance::{Strangers, removal};

use crate::random::reader;
use crate::suite::{copying_sink, sink};

/// A person at the file that commits go to.
struct AtTheFile;

/// The private file where there is one: what readers open is a copy of it.
fn working(folder: &Path) -> PathBuf {
    let private = folder.join("mart.duckdb.tidegate");
    if private.exists() { private } else { folder.join("mart.duckdb") }
}

impl Strangers for AtTheFile {
    fn make(&self, folder: &Path, name: &str) {
        let duck = Duck::open(&working(folder), &Options::default()).unwrap();
        duck.execute(&format!("CREATE TABLE {} AS SELECT 42 AS answer", quote_ident(name))).unwrap();
    }

    fn is_there(&self, folder: &Path, name: &str) -> bool {
        if !folder.join("mart.duckdb").exists() {
            return false;
        }
        let sql = "SELECT count(*) FROM (SELECT table_name AS name FROM duckdb_tables() \
                   UNION ALL SELECT view_name FROM duckdb_views() WHERE NOT internal) WHERE name = ?";
        reader(folder).connection().query_row(sql, [name], |row| row.get::<_, u64>(0)).unwrap() > 0
    }
}

#[test]
fn removals_conform() {
    removal(|folder| Box::new(sink(folder)), &AtTheFile);
}

#[test]
fn removals_conform_with_copies() {
    removal(|folder| Box::new(copying_sink(folder)), &AtTheFile);
}

#[tokio::test]
async fn a_view_of_somebody_stays() {
    let folder = tempfile::tempdir().unwrap();
    let duck = Duck::open(&folder.path().join("mart.duckdb"), &Options::default()).unwrap();
    duck.execute("CREATE VIEW theirs AS SELECT 42 AS answer").unwrap();
    drop(duck);
    let mut sink = sink(folder.path());
    let error = sink.remove(&ViewName::new("Theirs")).await.unwrap_err();
    assert!(error.to_string().contains("drop it yourself"), "{error}");
    assert_eq!(sink.remove(&ViewName::new("others")).await.unwrap(), Removal::Nothing);
    assert!(AtTheFile.is_there(folder.path(), "theirs"));
}
