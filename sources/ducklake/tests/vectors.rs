//! Deletion vectors by name: what is read of them, what they have erased, and how both are told.

use tidegate_core::{ErrorKind, Position, SnapshotId, Source};
use tidegate_source_ducklake::DucklakeSource;
use tidegate_testkit::{Catalog, Lake};

use crate::follower::{Answer, Follower, block_on, connect_with, on_every_catalog};

const ON: &str = "CALL lake.set_option('write_deletion_vectors', true)";
const OFF: &str = "CALL lake.set_option('write_deletion_vectors', false)";

fn source(lake: &Lake) -> DucklakeSource {
    connect_with(lake, serde_json::json!({ "catalog": lake.uri(), "deletion_vectors": "diff" }))
}

fn follow(lake: &Lake) -> Follower {
    Follower::load_from(source(lake), lake, &["t"])
}

/// A table of forty rows in one file.
fn begin(lake: &Lake, inlined: u32) {
    lake.execute(&format!("CALL lake.set_option('data_inlining_row_limit', {inlined}); {ON}"));
    lake.execute("CREATE OR REPLACE TABLE lake.t AS SELECT i::INTEGER AS i FROM range(40) r(i)");
}

/// Polls once and finds what the table holds now.
#[track_caller]
fn expect_changes(follower: &mut Follower, lake: &Lake) {
    assert_eq!(follower.poll(), Answer::Changes, "after {}", follower.at);
    follower.contents[0].multiset().assert_equals(&lake.rows("t", None), "what the lake holds now");
}

/// Polls once, is told that it was erased, and begins anew with what the table holds now.
#[track_caller]
fn expect_erased(follower: &mut Follower, lake: &Lake) {
    let answer = follower.poll();
    let is_said = |reason: &str| reason.contains("lake.main.t") && reason.contains("keep no history of deletes");
    assert!(matches!(&answer, Answer::Expired(reason) if is_said(reason)), "{answer:?} after {}", follower.at);
    follower.reload();
    follower.contents[0].multiset().assert_equals(&lake.rows("t", None), "what the lake holds now");
}

fn on_lakes(test: impl Fn(&Lake)) {
    on_every_catalog(|lake, reader| {
        if reader == "native" {
            test(lake);
        }
    });
}

#[test]
fn a_first_vector_is_read_as_it_was() {
    on_lakes(|lake| {
        for inlined in [0, 3] {
            begin(lake, inlined);
            let mut follower = follow(lake);
            lake.execute("DELETE FROM lake.t WHERE i < 5");
            expect_changes(&mut follower, lake);
            lake.execute("INSERT INTO lake.t SELECT i FROM range(100, 110) r(i)");
            expect_changes(&mut follower, lake);
            // The first vector of another file, after deletes of the table.
            lake.execute("UPDATE lake.t SET i = i + 100 WHERE i >= 100");
            assert!(matches!(follower.poll(), Answer::Changes | Answer::Expired(_)));
            follower.reload();
            follower.contents[0].multiset().assert_equals(&lake.rows("t", None), "what the lake holds now");
        }
    });
}

#[test]
fn a_second_vector_erases_the_first() {
    on_lakes(|lake| {
        begin(lake, 0);
        let mut late = follow(lake);
        let mut follower = follow(lake);
        lake.execute("DELETE FROM lake.t WHERE i < 5");
        let between = lake.snapshot();
        let held = lake.rows("t", None);
        expect_changes(&mut follower, lake);
        lake.execute("DELETE FROM lake.t WHERE i < 7");
        assert_ne!(
            lake.rows("t", Some(between)),
            held,
            "DuckLake keeps the history of vectors: let the snapshot be read"
        );
        expect_erased(&mut follower, lake);
        // Who has seen neither sees both, but cannot stop in between.
        let at = Position::SnapshotId(SnapshotId(between));
        let (tables, from) = (late.tables.clone(), late.at);
        let polled = block_on(async { late.source.poll(&tables, &from, Some(&at), u64::MAX).await.unwrap() });
        assert!(matches!(polled, tidegate_core::Polled::Expired { .. }), "the snapshot in between is not known");
        assert_eq!(late.try_poll(1).unwrap(), Answer::Changes);
        late.contents[0].multiset().assert_equals(&lake.rows("t", None), "both at once");
        let Err(error) = block_on(follower.source.snapshot(&tables, Some(&at))) else { panic!("it is not known") };
        assert_eq!(error.kind(), ErrorKind::Stop);
        assert!(error.to_string().contains("keep no history of deletes"), "{error}");
    });
}

#[test]
fn what_is_erased_before_a_change_of_columns_is_told() {
    on_lakes(|lake| {
        begin(lake, 0);
        lake.execute("DELETE FROM lake.t WHERE i < 5");
        let mut before = follow(lake);
        lake.execute("ALTER TABLE lake.t ADD COLUMN a INTEGER");
        let mut between = follow(lake);
        lake.execute("ALTER TABLE lake.t ADD COLUMN b INTEGER");
        lake.execute("DELETE FROM lake.t WHERE i < 7");
        // Who went on to the first change could not read the table there, and would hear of the second one only.
        expect_erased(&mut between, lake);
        expect_erased(&mut before, lake);
    });
}

#[test]
fn vectors_and_parquet_delete_files_take_turns() {
    on_lakes(|lake| {
        begin(lake, 0);
        let mut follower = follow(lake);
        lake.execute("DELETE FROM lake.t WHERE i < 5");
        expect_changes(&mut follower, lake);
        lake.execute("DELETE FROM lake.t WHERE i < 7");
        expect_erased(&mut follower, lake);
        let mut newer = follow(lake);
        lake.execute(OFF);
        // The Parquet file has the snapshot of the last vector for all that the vectors deleted.
        lake.execute("DELETE FROM lake.t WHERE i < 9");
        expect_changes(&mut follower, lake);
        expect_changes(&mut newer, lake);
        lake.execute("DELETE FROM lake.t WHERE i < 11");
        expect_changes(&mut follower, lake);
        lake.execute(ON);
        lake.execute("DELETE FROM lake.t WHERE i < 13");
        expect_erased(&mut follower, lake);
        lake.execute("CALL ducklake_rewrite_data_files('lake', 't', delete_threshold => 0)");
        assert_eq!(follower.poll(), Answer::Advanced);
        lake.execute("DELETE FROM lake.t WHERE i < 15");
        expect_changes(&mut follower, lake);
        lake.execute("DELETE FROM lake.t");
        assert!(matches!(follower.poll(), Answer::Changes | Answer::Expired(_)));
        follower.reload();
        assert_eq!(follower.contents[0].multiset().len(), 0);
    });
}

#[test]
fn deletes_in_the_catalog_keep_their_snapshots() {
    on_lakes(|lake| {
        begin(lake, 3);
        let mut follower = follow(lake);
        lake.execute("DELETE FROM lake.t WHERE i = 1");
        expect_changes(&mut follower, lake);
        // More rows than are inlined: a vector, of these alone.
        lake.execute("DELETE FROM lake.t WHERE i BETWEEN 2 AND 8");
        expect_changes(&mut follower, lake);
        lake.execute("DELETE FROM lake.t WHERE i = 9");
        expect_changes(&mut follower, lake);
        let mut newer = follow(lake);
        lake.execute("CALL ducklake_flush_inlined_data('lake')");
        assert_eq!(newer.poll(), Answer::Advanced);
        lake.execute("DELETE FROM lake.t WHERE i = 10");
        expect_changes(&mut newer, lake);
        expect_changes(&mut follower, lake);
    });
}

/// What a Parquet delete file took over from vectors is as wrong as they were, though no vector is left.
#[test]
fn what_vectors_left_behind_is_not_trusted() {
    on_every_catalog(|lake, reader| {
        if reader != "native" {
            return;
        }
        for cleaned in [false, true] {
            lake.execute(&format!("CALL lake.set_option('data_inlining_row_limit', 0); {OFF}"));
            lake.execute("CREATE OR REPLACE TABLE lake.t AS SELECT i::INTEGER AS i FROM range(40) r(i)");
            let mut follower = Follower::load(lake, reader, &["t"]);
            lake.execute("DELETE FROM lake.t WHERE i < 5");
            expect_changes(&mut follower, lake);
            lake.execute(&format!("{ON}; DELETE FROM lake.t WHERE i < 7; {OFF}; DELETE FROM lake.t WHERE i < 9"));
            if cleaned {
                lake.execute("CALL ducklake_cleanup_old_files('lake', cleanup_all => true)");
            }
            expect_erased(&mut follower, lake);
            lake.execute("DELETE FROM lake.t WHERE i < 11");
            expect_changes(&mut follower, lake);
        }
    });
}

/// DuckLake does not encrypt them, though the catalog has a key for them.
#[test]
fn vectors_of_encrypted_lakes_are_read_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::create_encrypted(dir.path(), Catalog::sqlite(dir.path()));
    begin(&lake, 0);
    let mut follower = follow(&lake);
    lake.execute("DELETE FROM lake.t WHERE i < 5");
    expect_changes(&mut follower, &lake);
    lake.execute("DELETE FROM lake.t WHERE i < 7");
    expect_erased(&mut follower, &lake);
}

#[test]
fn a_damaged_vector_is_named() {
    on_lakes(|lake| {
        begin(lake, 0);
        let mut follower = follow(lake);
        lake.execute("DELETE FROM lake.t WHERE i < 5");
        let folder = lake.data_path().join("main").join("t");
        let is_vector = |path: &std::path::PathBuf| path.extension().is_some_and(|extension| extension == "puffin");
        let file = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).find(is_vector).unwrap();
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&file, &bytes).unwrap();
        let error = follower.try_poll(10).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Stop);
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        assert!(error.to_string().contains(&name) && error.to_string().contains("checksum"), "{error}");
    });
}
