//! Connections, extensions and how errors are sorted.

use std::process::Command;

use tidegate_core::ErrorKind;
use tidegate_duck::{DUCKDB_VERSION, Duck, DuckError, Extension, Options, quote_literal};

#[test]
fn the_library_is_the_release_we_name() {
    let duck = Duck::open_in_memory().unwrap();
    let version: String =
        duck.connection().query_row("SELECT library_version FROM pragma_version()", [], |row| row.get(0)).unwrap();
    assert_eq!(version, format!("v{DUCKDB_VERSION}"));
    let zone: String = duck.connection().query_row("SELECT current_setting('TimeZone')", [], |row| row.get(0)).unwrap();
    assert_eq!(zone, "UTC");
}

#[test]
fn extensions_load_and_load_again() {
    let duck = Duck::open_in_memory().unwrap();
    for extension in [
        Extension::Icu,
        Extension::Ducklake,
        Extension::SqliteScanner,
        Extension::PostgresScanner,
        Extension::Tpch,
        Extension::Httpfs,
        Extension::Ducklake,
    ] {
        duck.load(extension).unwrap_or_else(|error| panic!("{extension:?}: {error}"));
    }
}

/// Runs in a process of its own (see below), because DuckDB's lock is one of processes.
#[test]
#[ignore = "the other half of a_held_lock_is_retried, which starts it"]
fn hold_a_lock() {
    let path = std::env::var("HELD_DATABASE").unwrap();
    let duck = Duck::open(path.as_ref(), &Options::default()).unwrap();
    duck.execute("CREATE TABLE held (x INTEGER)").unwrap();
    println!("held");
    // Until the starter closes our standard input.
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[test]
fn a_held_lock_is_retried() {
    use std::io::{BufRead, BufReader};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("held.duckdb");
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "connections::hold_a_lock", "--nocapture"])
        .env("HELD_DATABASE", &path)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with("held")));
    let error = Duck::open(&path, &Options::default()).err().unwrap();
    let DuckError::Locked { file, pid } = &error else { panic!("{error:?}") };
    assert!(file.ends_with("held.duckdb"), "{file}");
    assert_eq!(*pid, Some(holder.id()));
    assert_eq!(error.kind(), ErrorKind::Retry);
    drop(holder.stdin.take());
    assert!(lines.any(|line| line.unwrap().contains("1 passed")));
    holder.wait().unwrap();
    Duck::open(&path, &Options::default()).unwrap();
}

#[test]
fn secrets_do_not_reach_messages() {
    let mut duck = Duck::open_in_memory().unwrap();
    duck.load(Extension::PostgresScanner).unwrap();
    duck.conceal("open sesame");
    let dsn = "host=/nowhere port=1 user=ali password='open sesame'";
    let error = duck.execute(&format!("ATTACH {} AS app (TYPE postgres)", quote_literal(dsn))).unwrap_err();
    assert!(!error.to_string().contains("sesame"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Retry, "{error:?}");
}

#[test]
fn missing_files_are_told_from_wrong_sql() {
    let duck = Duck::open_in_memory().unwrap();
    let missing = duck.query("SELECT * FROM read_parquet('/nowhere/x.parquet')").unwrap_err();
    assert!(matches!(missing, DuckError::MissingFile { .. }), "{missing:?}");
    let wrong = duck.query("SELECT * FROM nothing").unwrap_err();
    assert!(matches!(wrong, DuckError::Sql { .. }), "{wrong:?}");
    assert!(wrong.to_string().contains("nothing"), "{wrong}");
}
