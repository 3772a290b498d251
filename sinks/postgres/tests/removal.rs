//! The suite for removals, and objects of other people over a view's table.

use std::path::Path;

use tidegate_core::{Commit, Epoch, ErrorKind, Removal, RowIdentity, Sink, ViewName};
use tidegate_testkit::conformance::model::{ViewModel, header};
use tidegate_testkit::conformance::{Strangers, removal};
use tidegate_testkit::{Postgres, PostgresVersion};

use crate::suite::{database, database_of, shared, sink_of, sink_to};

/// A person at the database.
struct AtTheDatabase<'a>(&'a Postgres);

impl Strangers for AtTheDatabase<'_> {
    fn make(&self, folder: &Path, name: &str) {
        self.0.execute(&database_of(self.0, folder), &format!("CREATE TABLE \"{name}\" AS SELECT 42 AS answer"));
    }

    fn is_there(&self, folder: &Path, name: &str) -> bool {
        let sql = format!("SELECT count(*) FROM pg_class WHERE relname = '{name}'");
        self.0.value(&database_of(self.0, folder), &sql) != "0"
    }
}

#[test]
fn removals_conform() {
    for version in [PostgresVersion::V15, PostgresVersion::V18] {
        let server = shared(version);
        removal(|folder| Box::new(sink_of(&server, folder)), &AtTheDatabase(&server));
    }
}

#[tokio::test]
async fn what_others_stand_on_stays() {
    let server = shared(PostgresVersion::V15);
    let database = database(&server);
    let mut sink = sink_to(&server.url(&database));
    let mut view = ViewModel::new("pairs", &[("k", "INTEGER")], RowIdentity::WholeRow);
    sink.open(&[view.info().clone()]).await.unwrap();
    let delta = view.change_to("(1), (2)");
    let views = vec![view.changes([(header(1), delta)])];
    sink.commit(Commit { after: Epoch(0), header: header(1), views }).await.unwrap();
    server.execute(&database, "CREATE VIEW ours AS SELECT k FROM pairs");
    let name = ViewName::new("pairs");
    let error = sink.remove(&name).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    assert!(error.to_string().contains("view public.ours depends on table public.pairs"), "{error}");
    assert_eq!(server.value(&database, "SELECT count(*) FROM ours"), "2");
    assert_eq!(sink.open(&[view.info().clone()]).await.unwrap()[&name].unwrap().epoch, Epoch(1));
    server.execute(&database, "DROP VIEW ours");
    assert_eq!(sink.remove(&name).await.unwrap(), Removal::Removed);
    let left = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname !~ '^_tidegate_'";
    assert_eq!(server.value(&database, left), "0");
}
