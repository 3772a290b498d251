//! What cannot be read is refused with one message that names the object and the way out.

use std::path::Path;

use tidegate_core::{ConnectorError, ErrorKind, Position, SnapshotId, Source, TableName};
use tidegate_source_ducklake::{Config, DucklakeSource};
use tidegate_testkit::{Catalog, Lake, Postgres};

use crate::follower::{Answer, Follower, READERS, block_on, connect, on_every_catalog, on_sqlite};

fn source(catalog: &str, base: &Path) -> Result<DucklakeSource, ConnectorError> {
    let config: Config = serde_json::from_value(serde_json::json!({ "catalog": catalog })).unwrap();
    DucklakeSource::new("lake", &config, base)
}

fn refused(source: &mut DucklakeSource) -> ConnectorError {
    block_on(source.head()).unwrap_err()
}

#[test]
fn a_lake_that_is_not_there_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    for catalog in ["ducklake:none.db", "ducklake:sqlite:none.db"] {
        let error = refused(&mut source(catalog, dir.path()).unwrap());
        let file = dir.path().join("none.db");
        assert!(error.to_string().contains(&*file.to_string_lossy()), "{error}");
        assert_eq!(error.kind(), ErrorKind::Reconfigure);
        assert!(!file.exists());
    }
}

#[test]
fn a_server_that_is_not_there_is_retried_and_its_password_kept() {
    let catalog =
        "ducklake:postgres:host=127.0.0.1 port=1 dbname=lake user=ali password='open sesame' connect_timeout=2";
    let error = refused(&mut source(catalog, Path::new("/")).unwrap());
    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
    assert!(!error.to_string().contains("sesame") && error.to_string().contains("127.0.0.1"), "{error}");
}

#[test]
fn a_lost_connection_is_made_anew() {
    let server = Postgres::start();
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::create(dir.path(), Catalog::postgres(&server));
    lake.execute("CREATE TABLE lake.t (a INTEGER)");
    let mut follower = Follower::load(&lake, READERS[0], &["t"]);
    lake.execute("INSERT INTO lake.t VALUES (1)");
    server.execute("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'test_0'");
    match follower.try_poll(10) {
        Ok(answer) => assert_eq!(answer, Answer::Changes),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
            assert_eq!(follower.try_poll(10).unwrap(), Answer::Changes);
        }
    }
    follower.agree();
}

#[test]
fn a_database_without_a_lake_stays_as_it_is() {
    let server = Postgres::start();
    let connection = server.create_database();
    let error = refused(&mut source(&format!("ducklake:postgres:{connection}"), Path::new("/")).unwrap());
    println!("{error}");
    assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
    let duck = tidegate_duck::Duck::open_in_memory().unwrap();
    duck.load(tidegate_duck::Extension::PostgresScanner).unwrap();
    duck.execute(&format!("ATTACH '{connection}' AS pg (TYPE postgres)")).unwrap();
    let (_, rows) = duck
        .query("SELECT table_name FROM duckdb_tables() WHERE database_name = 'pg' AND schema_name = 'public'")
        .unwrap();
    assert!(rows.is_empty(), "tables were made");
}

#[test]
fn another_version_of_the_catalog_is_named() {
    on_sqlite(|lake, reader| {
        let Catalog::Sqlite(file) = lake.catalog() else { unreachable!("it is a SQLite lake") };
        let duck = tidegate_duck::Duck::open_in_memory().unwrap();
        duck.load(tidegate_duck::Extension::SqliteScanner).unwrap();
        for version in ["0.3", "1.1"] {
            let set = format!(
                "ATTACH '{}' AS c (TYPE sqlite); UPDATE c.ducklake_metadata SET value = '{version}' WHERE key = 'version'; DETACH c",
                file.display()
            );
            duck.execute(&set).unwrap();
            let error = refused(&mut connect(lake, reader));
            assert_eq!(error.kind(), ErrorKind::Reconfigure);
            assert!(error.to_string().contains(version) && error.to_string().contains("1.0"), "{error}");
        }
    });
}

/// Runs in a process of its own (see below), because DuckDB's lock is one of processes.
#[test]
#[ignore = "the other half of a_held_catalog_is_retried, which starts it"]
fn hold_a_catalog() {
    use tidegate_duck::{Duck, Extension};
    let duck = Duck::open_in_memory().unwrap();
    duck.load(Extension::Ducklake).unwrap();
    duck.execute(&format!("ATTACH '{}' AS lake", std::env::var("HELD_CATALOG").unwrap())).unwrap();
    println!("held");
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[test]
fn a_held_catalog_is_retried() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::create(dir.path(), Catalog::duckdb(dir.path()));
    let mut source = connect(&lake, READERS[0]);
    block_on(source.head()).unwrap();
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "refusals::hold_a_catalog", "--nocapture"])
        .env("HELD_CATALOG", lake.uri())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with("held")));
    let error = refused(&mut source);
    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
    let says = error.to_string();
    assert!(says.contains("lake.ducklake") && says.contains(&format!("PID {}", holder.id())), "{says}");
    drop(holder.stdin.take());
    assert!(lines.any(|line| line.unwrap().contains("1 passed")));
    holder.wait().unwrap();
    block_on(source.head()).unwrap();
}

#[test]
fn a_duckdb_catalog_is_let_go_between_calls() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::create(dir.path(), Catalog::duckdb(dir.path()));
    lake.execute("CREATE TABLE lake.t (a INTEGER); INSERT INTO lake.t VALUES (1)");
    let mut follower = Follower::load(&lake, READERS[0], &["t"]);
    let Catalog::DuckDb(file) = lake.catalog() else { unreachable!("it is a DuckDB lake") };
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    use std::os::unix::fs::MetadataExt;
    let inode = format!(":{} ", std::fs::metadata(file).unwrap().ino());
    assert!(!locks.lines().any(|line| line.contains(&inode)), "{locks}");
    follower.expect(Answer::Idle);
}

#[test]
fn tables_that_are_not_there_are_named_with_near_matches() {
    on_sqlite(|lake, reader| {
        lake.execute("CREATE TABLE lake.Orders (a INTEGER)");
        let mut source = connect(lake, reader);
        let wanted = [TableName::new("lake", "main", "order")];
        let error = block_on(source.tables(&wanted, None)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reconfigure);
        assert!(
            error.to_string().contains("lake.main.order ") && error.to_string().contains("lake.main.Orders"),
            "{error}"
        );
    });
}

#[test]
fn types_that_do_not_travel_name_table_column_and_type() {
    on_sqlite(|lake, reader| {
        lake.execute("CREATE TABLE lake.clock (id INTEGER, hour TIMETZ)");
        let mut source = connect(lake, reader);
        let error = block_on(source.tables(&[TableName::new("lake", "main", "clock")], None)).unwrap_err();
        let says = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Reconfigure);
        assert!(
            ["column hour", "lake.main.clock", "TIME WITH TIME ZONE"].iter().all(|part| says.contains(part)),
            "{says}"
        );
    });
}

#[test]
fn a_rowid_column_is_refused_where_ducklake_loses_its_rows() {
    on_sqlite(|lake, reader| {
        lake.execute("CREATE TABLE lake.t (RowId INTEGER, v VARCHAR)");
        lake.execute("INSERT INTO lake.t VALUES (100, 'x'), (3, 'y'), (3, 'y'), (NULL, 'z')");
        lake.execute("DELETE FROM lake.t WHERE v = 'x'; UPDATE lake.t SET v = 'w' WHERE RowId = 3");
        let before = lake.rows("t", None);
        lake.execute("CALL ducklake_flush_inlined_data('lake')");
        assert_ne!(lake.rows("t", None), before, "a flush changes no row, but this one does");
        let error = block_on(connect(lake, reader).tables(&[TableName::new("lake", "main", "t")], None)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reconfigure);
        assert!(error.to_string().contains("lake.main.t has a column RowId"), "{error}");
    });
}

#[test]
fn deletion_vectors_are_refused() {
    on_sqlite(|lake, reader| {
        lake.execute("CREATE TABLE lake.t AS SELECT i FROM range(100) r(i)");
        let mut follower = Follower::load(lake, reader, &["t"]);
        lake.execute(
            "CALL lake.set_option('data_inlining_row_limit', 0); CALL lake.set_option('write_deletion_vectors', true)",
        );
        lake.execute("DELETE FROM lake.t WHERE i < 10");
        let error = follower.try_poll(10).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Stop);
        assert!(error.to_string().contains("lake.main.t") && error.to_string().contains("puffin"), "{error}");
        assert!(block_on(connect(lake, reader).tables(&[follower.tables[0].name.clone()], None)).is_err());
    });
}

#[test]
fn missing_files_are_named() {
    on_every_catalog(|lake, reader| {
        lake.execute("CREATE TABLE lake.t (i INTEGER)");
        let mut follower = Follower::load(lake, reader, &["t"]);
        lake.execute("INSERT INTO lake.t SELECT i FROM range(100) r(i)");
        let mut removed = String::new();
        for file in files(lake.data_path()) {
            removed = file.file_name().unwrap().to_string_lossy().into_owned();
            std::fs::remove_file(file).unwrap();
        }
        let error = follower.try_poll(10).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Stop, "{error}");
        assert!(!removed.is_empty() && error.to_string().contains(&removed), "{error}");
    });
}

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_lake_behind_the_position_is_refused() {
    on_sqlite(|lake, reader| {
        let mut follower = Follower::load(lake, reader, &[]);
        follower.at = Position::SnapshotId(SnapshotId(1_000));
        let error = follower.try_poll(1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Stop);
        assert!(error.to_string().contains("behind snapshot 1000"), "{error}");
    });
}

#[test]
fn snapshots_that_are_not_there_are_refused() {
    on_sqlite(|lake, reader| {
        let at = Position::SnapshotId(SnapshotId(77));
        let error = block_on(connect(lake, reader).list(Some(&at))).unwrap_err();
        assert!(error.to_string().contains("snapshot 77"), "{error}");
        assert!(block_on(connect(lake, reader).snapshot(&[], Some(&at))).is_err());
        let error = block_on(connect(lake, reader).list(Some(&Position::Lsn(tidegate_core::Lsn(1))))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Bug);
    });
}

#[test]
fn relative_paths_are_relative_to_the_pipeline_file() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::create(dir.path(), Catalog::sqlite(dir.path()));
    lake.execute("CREATE TABLE lake.t AS SELECT i FROM range(100) r(i)");
    // As if the lake had been made with DATA_PATH 'lake_files', from that folder.
    let duck = tidegate_duck::Duck::open_in_memory().unwrap();
    duck.load(tidegate_duck::Extension::SqliteScanner).unwrap();
    let file = dir.path().join("lake.sqlite");
    duck.execute(&format!(
        "ATTACH '{}' AS c (TYPE sqlite); UPDATE c.ducklake_metadata SET value = 'lake_files/' WHERE key = 'data_path'; DETACH c",
        file.display()
    ))
    .unwrap();
    for data_path in [None, Some("lake_files")] {
        let mut config = serde_json::json!({ "catalog": "ducklake:sqlite:lake.sqlite" });
        if let Some(path) = data_path {
            config["data_path"] = path.into();
        }
        let config: Config = serde_json::from_value(config).unwrap();
        let mut source = DucklakeSource::new("lake", &config, dir.path()).unwrap();
        let rows = block_on(async {
            use futures::TryStreamExt;
            let tables = source.tables(&[TableName::new("lake", "main", "t")], None).await.unwrap();
            let snapshot = source.snapshot(&tables, None).await.unwrap();
            assert_eq!(snapshot.rows_estimate, Some(100));
            snapshot.events.try_fold(0, |rows, (_, event)| async move { Ok(rows + event.rows()) }).await.unwrap()
        });
        assert_eq!(rows, 100);
    }
}
