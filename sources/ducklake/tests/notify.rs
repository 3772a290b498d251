//! A catalog in PostgreSQL tells of commits.

use std::time::Duration;

use tidegate_core::{Position, SnapshotId, Source};
use tidegate_testkit::{Catalog, Lake, Postgres};

use crate::follower::{block_on, connect};

/// Far more than a notification takes, for a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn commits_wake_the_pipeline_once_the_trigger_is_there() {
    let server = Postgres::start();
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::create(folder.path(), Catalog::postgres(&server));
    lake.execute("CREATE TABLE lake.orders (id INTEGER)");
    block_on(async {
        let mut source = connect(&lake, "native");
        let wake = source.wake().expect("a server can tell of commits");
        let fact = source.check(&[]).await.unwrap()[0].fact.clone();
        assert!(fact.contains("--install-notify"), "{fact}");
        for _ in 0..2 {
            let said = source.announce(true).await.unwrap().expect("there is something to install");
            assert!(said.contains("has a trigger"), "{said}");
        }
        assert!(source.check(&[]).await.unwrap()[0].fact.contains("tells of every commit"));

        // The first poll begins to listen, and what came before is asked for once more.
        let at = |id| Position::SnapshotId(SnapshotId(id));
        source.poll(&[], &at(lake.snapshot()), None, 10).await.unwrap();
        tokio::time::timeout(PATIENCE, wake.notified()).await.expect("listening begins with a wake");
        for id in 0..3 {
            lake.execute(&format!("INSERT INTO lake.orders VALUES ({id})"));
            tokio::time::timeout(PATIENCE, wake.notified()).await.expect("the commit is told");
        }

        // A connection that was cut is made again, and what came meanwhile is asked for.
        server.execute(
            "postgres",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE pid <> pg_backend_pid() AND query LIKE 'LISTEN%'",
        );
        tokio::time::timeout(PATIENCE, wake.notified()).await.expect("listening begins again");
        lake.execute("INSERT INTO lake.orders VALUES (4)");
        tokio::time::timeout(PATIENCE, wake.notified()).await.expect("the commit is told");

        let said = source.announce(false).await.unwrap().expect("there is something to remove");
        assert!(said.contains("has no trigger"), "{said}");
        assert!(source.check(&[]).await.unwrap()[0].fact.contains("--install-notify"));
    });
}

#[test]
fn others_have_nobody_to_tell_of_commits() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::create(folder.path(), Catalog::sqlite(folder.path()));
    block_on(async {
        for reader in ["native", "extension"] {
            let mut source = connect(&lake, reader);
            assert!(source.wake().is_none());
            assert_eq!(source.announce(true).await.unwrap(), None);
        }
    });
}
