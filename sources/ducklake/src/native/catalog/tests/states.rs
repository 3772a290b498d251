//! A reading sees one state, and lets go of files at its end.

use std::path::Path;
use std::time::Duration;

use tidegate_core::duckdb_type::field;
use tidegate_duck::Gate;
use tidegate_testkit::{Catalog, Lake, Postgres};

use super::{as_stored, client, on_every_catalog, runtime, table_id};
use crate::error::LakeError;
use crate::native::catalog::Reading;

fn head(reading: &mut Reading<'_>) -> u64 {
    let sql = format!("SELECT max(snapshot_id) FROM {}", reading.name("snapshot"));
    reading.rows(&sql).unwrap()[0].u64(0).unwrap()
}

#[test]
fn one_state_while_a_lake_in_postgres_is_written() {
    let (server, runtime) = (Postgres::start(), runtime());
    let _within = runtime.enter();
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::create(dir.path(), Catalog::postgres(&server));
    lake.execute("CREATE TABLE lake.t (a INTEGER); INSERT INTO lake.t VALUES (1)");
    let mut client = client(&lake.uri());
    let before = client
        .reading(|reading| {
            let before = head(reading);
            lake.execute("INSERT INTO lake.t VALUES (2); DELETE FROM lake.t WHERE a = 1");
            assert_eq!(head(reading), before);
            let sql = format!("SELECT count(*) FROM {} WHERE end_snapshot IS NULL", reading.name("inlined_data_1_1"));
            assert_eq!(reading.rows(&sql)?[0].u64(0)?, 1);
            Ok(before)
        })
        .unwrap();
    assert_eq!(client.reading(|reading| Ok(head(reading))).unwrap(), before + 2);
}

#[test]
fn a_flush_in_postgres_during_a_reading() {
    let (server, runtime) = (Postgres::start(), runtime());
    let _within = runtime.enter();
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::create(dir.path(), Catalog::postgres(&server));
    lake.execute(
        "CREATE TABLE lake.t (a INTEGER); INSERT INTO lake.t VALUES (1); \
         ALTER TABLE lake.t ADD COLUMN b INTEGER; INSERT INTO lake.t VALUES (2, 2), (3, 3)",
    );
    let columns = [as_stored(&field("a", "INTEGER", true).unwrap())];
    let mut client = client(&lake.uri());
    // Rows that a flush deletes stay for as long as the reading, a table that it drops is gone at once.
    let flushed = client.reading(|reading| {
        let id = table_id(reading, "t");
        let tables = reading.inlined_tables(id)?;
        assert_eq!(tables.len(), 2);
        lake.execute("CALL ducklake_flush_inlined_data('lake')");
        assert_eq!(reading.inlined(&tables[1], &columns, "end_snapshot IS NULL")?.batch.num_rows(), 2);
        reading.inlined(&tables[0], &columns, "end_snapshot IS NULL")
    });
    let error = flushed.unwrap_err();
    assert!(matches!(error, LakeError::Moved { .. }), "{error:?}");
    client
        .reading(|reading| {
            let id = table_id(reading, "t");
            let tables = reading.inlined_tables(id)?;
            assert_eq!(tables.len(), 1);
            assert_eq!(reading.inlined(&tables[0], &columns, "end_snapshot IS NULL")?.batch.num_rows(), 0);
            Ok(())
        })
        .unwrap();
}

/// Written by a SQLite that shares its locks with ours, as another program does: see the module `sqlite`.
fn write(file: &Path, snapshot: u64) {
    let writer = rusqlite::Connection::open(file).unwrap();
    let sql = format!(
        "INSERT INTO ducklake_snapshot (snapshot_id, snapshot_time) VALUES ({snapshot}, '1970-01-01 00:00:00.5+01')"
    );
    writer.execute_batch(&sql).unwrap();
}

#[test]
fn one_state_while_a_lake_in_sqlite_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::create(dir.path(), Catalog::sqlite(dir.path()));
    let file = dir.path().join("lake.sqlite");
    let mut client = client(&lake.uri());
    client
        .reading(|reading| {
            assert_eq!(head(reading), 0);
            write(&file, 1);
            assert_eq!(head(reading), 0);
            Ok(())
        })
        .unwrap();
    assert_eq!(client.reading(|reading| Ok(head(reading))).unwrap(), 1);
    let time = client.reading(|reading| {
        let sql = format!(
            "SELECT {} FROM {} WHERE snapshot_id = 1",
            reading.micros("snapshot_time"),
            reading.name("snapshot")
        );
        reading.rows(&sql)?[0].micros(0)
    });
    assert_eq!(time.unwrap(), -3_599_500_000);
}

#[test]
fn files_are_free_when_a_reading_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    for catalog in [Catalog::duckdb(dir.path()), Catalog::sqlite(dir.path())] {
        let (Catalog::DuckDb(file) | Catalog::Sqlite(file)) = catalog.clone() else { unreachable!() };
        let lake = Lake::create(dir.path(), catalog);
        let mut client = client(&lake.uri());
        let free = || Gate::of(&file).pass_within(Duration::ZERO).is_some();
        for round in 0..3 {
            let seen = client.reading(|reading| {
                assert!(!free());
                Ok(head(reading))
            });
            assert_eq!(seen.unwrap(), round);
            assert!(free());
            // The lake writes with the extension's own SQLite, and the next reading sees it.
            lake.execute(&format!("CREATE TABLE lake.t{round} (a INTEGER)"));
        }
        let failed = client.reading(|reading| reading.rows("SELECT nothing FROM nowhere"));
        assert!(failed.is_err() && free());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            client.reading(|_| -> Result<(), _> { panic!("on purpose") })
        }));
        assert!(panicked.is_err() && free());
        assert_eq!(client.reading(|reading| Ok(head(reading))).unwrap(), 3);
    }
}

#[test]
fn moments_paths_and_flags_are_the_same_everywhere() {
    on_every_catalog(|lake, _| {
        lake.execute("CREATE TABLE lake.t (a INTEGER NOT NULL); INSERT INTO lake.t SELECT * FROM range(30)");
        let expected = lake.query("SELECT epoch_us(snapshot_time) FROM ducklake_snapshots('lake')").rows;
        let mut client = client(&lake.uri());
        client
            .reading(|reading| {
                let (micros, snapshots) = (reading.micros("snapshot_time"), reading.name("snapshot"));
                let rows =
                    reading.rows(&format!("SELECT {micros}, snapshot_id FROM {snapshots} ORDER BY snapshot_id"))?;
                for row in &rows {
                    let micros = tidegate_testkit::Value::Integer(row.micros(0)?.into());
                    assert_eq!(expected.copies(&[micros]), 1);
                }
                assert_eq!(rows.len(), 3);
                let files = reading.name("data_file");
                let sql = format!(
                    "SELECT path_is_relative, record_count, path, mapping_id FROM {files} WHERE end_snapshot IS NULL"
                );
                let file = &reading.rows(&sql)?[0];
                assert!(file.bool(0)? && file.text(2)?.ends_with(".parquet"));
                assert_eq!((file.u64(1)?, file.optional_u64(3)?), (30, None));
                let columns = reading.name("column");
                let sql = format!("SELECT nulls_allowed, initial_default FROM {columns} WHERE column_name = $1");
                let column = &reading.rows_where(&sql, "a")?[0];
                assert_eq!((column.bool(0)?, column.optional_text(1)?), (false, None));
                assert!(reading.rows_where(&sql, "it's \" $1 ?")?.is_empty());
                let sql = format!("SELECT sum(record_count), count(*), max(end_snapshot) FROM {files}");
                let sums = &reading.rows(&sql)?[0];
                assert_eq!((sums.u64(0)?, sums.u64(1)?, sums.optional_u64(2)?), (30, 1, None));
                let path = reading.data_path()?;
                assert_eq!(path.trim_end_matches('/'), lake.data_path().to_string_lossy());
                Ok(())
            })
            .unwrap();
    });
}
