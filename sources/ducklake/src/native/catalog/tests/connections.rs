//! What cannot be reached, what breaks and heals, and what is no lake of ours.

use std::path::Path;

use tidegate_core::ErrorKind;
use tidegate_duck::{Duck, Options};
use tidegate_testkit::{Catalog, Lake, Postgres};

use super::{attachment, client, database, on_every_catalog, runtime};
use crate::error::LakeError;
use crate::native::catalog::Client;

fn heads(client: &mut Client) -> Result<u64, LakeError> {
    client.reading(|reading| {
        let sql = format!("SELECT max(snapshot_id) FROM {}", reading.name("snapshot"));
        reading.rows(&sql)?[0].u64(0)
    })
}

/// Cuts the connections of all clients of ours.
fn terminate(server: &Postgres, database: &str) {
    server.execute(
        database,
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
         WHERE application_name = 'tidegate' AND datname = current_database()",
    );
}

#[test]
fn a_broken_connection_heals() {
    let (server, runtime) = (Postgres::start(), runtime());
    let _within = runtime.enter();
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::create(dir.path(), Catalog::postgres(&server));
    let mut client = client(&lake.uri());
    for _ in 0..3 {
        assert_eq!(heads(&mut client).unwrap(), 0);
        terminate(&server, database(&lake));
        // Between two readings nobody notices, and within one it is an error that passes.
        assert_eq!(heads(&mut client).unwrap(), 0);
        let cut = client.reading(|reading| {
            terminate(&server, database(&lake));
            reading.metadata("version")
        });
        let error = cut.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
    }
    let failed = client.reading(|reading| reading.rows("SELECT nothing FROM nowhere"));
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Reconfigure);
    assert_eq!(heads(&mut client).unwrap(), 0);
    let written =
        client.reading(|reading| reading.rows(&format!("DELETE FROM {} RETURNING 1", reading.name("snapshot"))));
    assert!(written.unwrap_err().to_string().contains("read-only"));
    server.restart(tidegate_testkit::Shutdown::Fast);
    assert_eq!(heads(&mut client).unwrap(), 0);
    // Only one connection was open, and it stays.
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tidegate'";
    assert_eq!(server.value(database(&lake), sql), "1");
}

/// What a poll of the snapshots after one asks, of a table that may be gone: four questions. Answers how many of them
/// were foreseen, too.
fn poll(client: &mut Client, from: u64, table: &str) -> Result<(usize, Vec<u64>), LakeError> {
    client.following(|reading| {
        let name = reading.name("snapshot");
        let newest = reading.rows(&format!("SELECT max(snapshot_id) FROM {name}"))?[0].u64(0)?;
        let next = reading.rows(&format!("SELECT snapshot_id FROM {name} WHERE snapshot_id > {from}"))?;
        let beside = reading.qualified(table);
        let rows = reading.rows(&format!("SELECT count(*) FROM {beside} WHERE 0 < {from}"))?[0].u64(0)?;
        assert!(reading.metadata("version")?.is_some());
        let mut found = vec![newest, rows];
        for row in &next {
            found.push(row.u64(0)?);
        }
        Ok((reading.foreseen(), found))
    })
}

#[test]
fn what_is_asked_ahead_is_of_the_same_state_and_does_no_harm() {
    let (server, runtime) = (Postgres::start(), runtime());
    let _within = runtime.enter();
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::create(dir.path(), Catalog::postgres(&server));
    let mut client = client(&lake.uri());
    server.execute(database(&lake), "CREATE TABLE one (a INTEGER); CREATE TABLE two (a INTEGER)");
    for from in 0..6 {
        lake.execute(&format!("CREATE TABLE lake.t{from} (a INTEGER)"));
        let foreseen = if from < 2 { 0 } else { 4 };
        assert_eq!(poll(&mut client, from, "one").unwrap(), (foreseen, vec![from + 1, 0, from + 1]));
        // A look at the end in between is not taken for such a poll.
        assert_eq!(heads(&mut client).unwrap(), from + 1);
    }
    lake.execute("CREATE TABLE lake.a (a INTEGER); CREATE TABLE lake.b (a INTEGER)");
    assert_eq!(poll(&mut client, 6, "one").unwrap(), (4, vec![8, 0, 7, 8]), "two snapshots at once");
    server.execute(database(&lake), "DROP TABLE one");
    assert_eq!(poll(&mut client, 7, "two").unwrap(), (0, vec![8, 0, 8]), "a table that is gone is asked for ahead");
    for foreseen in [0, 4, 4] {
        assert_eq!(poll(&mut client, 7, "two").unwrap(), (foreseen, vec![8, 0, 8]));
    }
    terminate(&server, database(&lake));
    assert_eq!(poll(&mut client, 7, "two").unwrap(), (0, vec![8, 0, 8]), "a cut connection");
    server.execute(database(&lake), "DROP TABLE two");
    let gone = poll(&mut client, 7, "two").unwrap_err();
    assert!(matches!(gone, LakeError::CatalogTable { .. }), "{gone:?}");
    assert_eq!(heads(&mut client).unwrap(), 8);
}

#[test]
fn a_server_that_is_not_there_or_wants_another_password() {
    let server = Postgres::builder().hba("host all locked 127.0.0.1/32 scram-sha-256").start();
    let runtime = runtime();
    let _within = runtime.enter();
    server.execute("postgres", "CREATE ROLE locked LOGIN PASSWORD 'o''pen'");
    let uri = |port: u16, rest: &str| format!("ducklake:postgres:dbname=postgres host=127.0.0.1 port={port} {rest}");
    for (uri, kind, says) in [
        (uri(server.port(), "user=locked password='hu''sh'"), ErrorKind::Reconfigure, "key=value"),
        (uri(server.port(), r"user=locked password='hu\'sh'"), ErrorKind::Reconfigure, "password"),
        (uri(server.port(), "user=locked password=hush"), ErrorKind::Reconfigure, "28P01"),
        // The right one, and then no lake.
        (
            uri(server.port(), r"user=locked password='o\'pen'"),
            ErrorKind::Reconfigure,
            "there is no lake in schema public",
        ),
        (uri(1, "user=locked password=hush"), ErrorKind::Retry, "127.0.0.1:1/postgres"),
        (
            uri(server.port(), "user=postgres password=hush target_session_attrs=any"),
            ErrorKind::Reconfigure,
            "target_session_attrs",
        ),
    ] {
        let opened = Client::open("lake", &attachment(&uri));
        let error = opened.and_then(|mut client| heads(&mut client)).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let text = format!("{error} {error:?}");
        assert!(text.contains(says), "{text}");
        for secret in ["hush", "hu'sh", "o'pen"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[test]
fn other_versions_and_other_schemas() {
    on_every_catalog(|lake, server| {
        let sql = "UPDATE ducklake_metadata SET value = '0.9' WHERE key = 'version'";
        match lake.catalog() {
            Catalog::DuckDb(file) => Duck::open(file, &Options::default()).unwrap().execute(sql).unwrap(),
            Catalog::Sqlite(file) => rusqlite::Connection::open(file).unwrap().execute_batch(sql).unwrap(),
            Catalog::Postgres(_) => server.execute(database(lake), sql),
        }
        let error = heads(&mut client(&lake.uri())).unwrap_err();
        assert!(matches!(&error, LakeError::Version { found, .. } if found == "0.9"), "{error:?}");
        let mut elsewhere = attachment(&lake.uri());
        elsewhere.schema = Some("else where".to_owned());
        let error = heads(&mut Client::open("lake", &elsewhere).unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error:?}");
        assert!(format!("{error:?}").contains("else where"), "{error:?}");
    });
}

#[test]
fn a_lake_in_a_schema_of_its_own() {
    let (server, runtime) = (Postgres::start(), runtime());
    let _within = runtime.enter();
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::postgres(&server);
    let duck = Duck::open_in_memory().unwrap();
    let options = [format!("DATA_PATH '{}'", dir.path().display()), "METADATA_SCHEMA 'my lake'".to_owned()];
    tidegate_testkit::lake::attach(&duck, &catalog, "lake", &options).unwrap();
    duck.execute(
        "CREATE TABLE lake.t (a INTEGER); INSERT INTO lake.t SELECT * FROM range(30); DELETE FROM lake.t WHERE a = 3",
    )
    .unwrap();
    let mut place = attachment(&catalog.uri());
    place.schema = Some("my lake".to_owned());
    let mut client = Client::open("lake", &place).unwrap();
    assert_eq!(heads(&mut client).unwrap(), 3);
    assert!(client.reading(|reading| reading.has_table("inlined_delete_1")).unwrap());
    assert!(!client.reading(|reading| reading.has_table("inlined_delete_2")).unwrap());
}

#[test]
fn files_that_are_no_lake() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty.db");
    std::fs::write(&empty, "").unwrap();
    let text = dir.path().join("text.db");
    std::fs::write(&text, "not a database at all, but a text that is longer than a header".repeat(99)).unwrap();
    for kind in ["sqlite", "duckdb"] {
        let error = heads(&mut client(&format!("ducklake:{kind}:/nowhere/x.db"))).unwrap_err();
        assert!(matches!(&error, LakeError::NoCatalog { file, .. } if file == "/nowhere/x.db"), "{error:?}");
        for file in [&empty, &text] {
            let error = heads(&mut client(&format!("ducklake:{kind}:{}", file.display()))).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Reconfigure, "{kind} {}: {error:?}", file.display());
        }
    }
}

#[test]
fn what_attach_would_take_and_we_do_not_is_refused() {
    let open = |json: serde_json::Value| {
        let config: crate::config::Config = serde_json::from_value(json).unwrap();
        let attachment = config.resolve("lake", Path::new("/pipelines")).unwrap();
        Client::open("lake", &attachment).map(drop).map_err(|error| error.to_string())
    };
    let json = |attach: serde_json::Value| serde_json::json!({ "catalog": "ducklake:sqlite:x.db", "attach": attach });
    assert_eq!(open(json(serde_json::json!({ "META_BUSY_TIMEOUT": 10, "METADATA_SCHEMA": "main" }))), Ok(()));
    for (attach, says) in [
        (serde_json::json!({ "META_SECRET": "hush" }), "`meta_secret`"),
        (serde_json::json!({ "META_BUSY_TIMEOUT": "hush" }), "milliseconds"),
    ] {
        let error = open(json(attach)).unwrap_err();
        assert!(error.contains(says) && !error.contains("hush"), "{error}");
    }
}
