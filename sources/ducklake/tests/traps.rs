//! Each known trap of the change feed, by name. The lake's own state at a snapshot is the judge.
//!
//! What DuckLake does, and which tests hold the reader to the right answer all the same:
//!
//! 1. Row ids change under merges and are not unique: `cases::row_ids_change_and_repeat`, `merged_files_are_no_change`.
//! 2. Rows updated and deleted by one transaction come back, deletes carry the wrong snapshot:
//!    `a_row_updated_and_deleted_in_one_transaction_is_gone`, `a_file_deleted_from_and_dropped_in_one_transaction`.
//! 3. Rewrites show up as changes: `rewritten_files_are_no_change`.
//! 4. A user's column shadows the feed's own: `user_columns_that_shadow_the_feeds_own`.
//! 5. The feed has the columns of its end: `cases::the_feed_has_the_columns_of_the_end_of_its_range`,
//!    `barriers::changes_of_columns`, `barriers::a_column_dropped_and_added_again_is_another`.
//! 6. A table made anew under one name shows no deletes, a rename looks like a creation:
//!    `barriers::drop_and_recreate_is_another_table`, `barriers::a_rename_is_a_barrier_and_keeps_the_incarnation`.
//! 7. Expiry leaves silent gaps: `expiry::the_last_consumed_snapshot_has_expired`,
//!    `expiry::a_snapshot_in_between_has_expired`, `expiry::snapshots_before_the_last_consumed_may_go`.
//! 8. Merged, flushed and delete files are back-dated: `cases::merged_flushed_and_delete_files_are_back_dated`,
//!    `changes_are_read_after_their_files_were_merged_and_cleaned_up`, `inlined_changes_are_read_after_they_were_flushed`.
//! 9. Deletion vectors keep no history: `refusals::deletion_vectors_are_refused`.
//! 10. Inlined STRUCTs lose quotes and backslashes: `cases::structs_that_lose_characters_are_what_the_lake_says`.
//! 11. Uncommitted rows leak into the feed: `cases::uncommitted_rows_of_another_connection_are_not_read`.
//!
//! Four more. The extension reader gets 12 to 14 wrong without a word:
//!
//! 12. A flush in the transaction of inlined deletes: the lake forgets the deleted rows, even at earlier snapshots:
//!     `cases::a_flush_in_the_transaction_of_an_inlined_delete_forgets_the_deleted_rows`.
//! 13. Deletes after a flush in one transaction: no token names them:
//!     `cases::deletes_after_a_flush_in_one_transaction_have_no_token`.
//! 14. Inlining switched on after columns were added: DuckDB shows NULL in them once the columns change again:
//!     `cases::rows_inlined_with_columns_that_the_lake_did_not_write_down`.
//! 15. Flushes bring deleted rows of some partitions back, with a catalog in PostgreSQL:
//!     `cases::a_flush_of_a_partition_that_brings_deleted_rows_back`.
//!
//! What is not thought of here, `ranges` and `random` look for.

use tidegate_testkit::{Catalog, Lake};

use crate::follower::{Answer, Follower, on_every_catalog, on_sqlite};

/// Files instead of inlined rows.
fn without_inlining(lake: &Lake) {
    lake.execute("CALL lake.set_option('data_inlining_row_limit', 0)");
}

fn orders(lake: &Lake, reader: &str) -> Follower {
    lake.execute("CREATE TABLE lake.orders (id INTEGER, note VARCHAR)");
    lake.execute("INSERT INTO lake.orders SELECT i, 'n' || i % 5 FROM range(40) r(i)");
    Follower::load(lake, reader, &["orders"])
}

#[test]
fn inserts_updates_and_deletes_are_offered() {
    on_every_catalog(|lake, reader| {
        let mut follower = orders(lake, reader);
        follower.expect(Answer::Idle);
        lake.execute("INSERT INTO lake.orders VALUES (100, 'new'), (100, 'new'), (NULL, NULL)");
        follower.expect(Answer::Changes);
        lake.execute("UPDATE lake.orders SET note = NULL WHERE id < 5");
        lake.execute("DELETE FROM lake.orders WHERE id BETWEEN 3 AND 20 OR id IS NULL");
        follower.expect(Answer::Changes);
        lake.execute("DELETE FROM lake.orders");
        follower.expect(Answer::Changes);
        assert_eq!(follower.contents[0].multiset().len(), 0);
    });
}

#[test]
fn truncate_deletes_every_row() {
    on_sqlite(|lake, reader| {
        let mut follower = orders(lake, reader);
        lake.execute("INSERT INTO lake.orders VALUES (100, 'inlined')");
        lake.execute("TRUNCATE lake.orders");
        follower.expect(Answer::Changes);
        assert_eq!(follower.contents[0].multiset().len(), 0);
    });
}

#[test]
fn merged_files_are_no_change() {
    on_every_catalog(|lake, reader| {
        without_inlining(lake);
        let mut follower = orders(lake, reader);
        lake.execute("UPDATE lake.orders SET note = 'moved' WHERE id % 2 = 0");
        lake.execute("INSERT INTO lake.orders VALUES (200, 'a'); INSERT INTO lake.orders VALUES (201, 'b')");
        follower.expect(Answer::Changes);
        lake.execute("CALL ducklake_merge_adjacent_files('lake')");
        follower.expect(Answer::Advanced);
        // Row ids have changed by now, and deletes from the merged file carry the rows' old snapshots.
        lake.execute("DELETE FROM lake.orders WHERE id IN (2, 201)");
        lake.execute("CALL ducklake_merge_adjacent_files('lake')");
        follower.expect(Answer::Changes);
    });
}

#[test]
fn changes_are_read_after_their_files_were_merged_and_cleaned_up() {
    on_every_catalog(|lake, reader| {
        without_inlining(lake);
        let mut follower = orders(lake, reader);
        for id in 300..304 {
            lake.execute(&format!("INSERT INTO lake.orders VALUES ({id}, 'late')"));
        }
        lake.execute("DELETE FROM lake.orders WHERE id = 301");
        lake.execute("CALL ducklake_merge_adjacent_files('lake')");
        lake.execute("CALL ducklake_cleanup_old_files('lake', cleanup_all => true)");
        lake.execute("UPDATE lake.orders SET note = 'later' WHERE id = 302");
        lake.execute("CALL ducklake_rewrite_data_files('lake', 'orders', delete_threshold => 0.0)");
        lake.execute("CALL ducklake_cleanup_old_files('lake', cleanup_all => true)");
        follower.expect(Answer::Changes);
    });
}

#[test]
fn rewritten_files_are_no_change() {
    on_every_catalog(|lake, reader| {
        for inlined in [0, 10] {
            lake.execute(&format!("CALL lake.set_option('data_inlining_row_limit', {inlined})"));
            lake.execute("DROP TABLE IF EXISTS lake.orders");
            let mut follower = orders(lake, reader);
            lake.execute("DELETE FROM lake.orders WHERE id < 20");
            lake.execute("UPDATE lake.orders SET note = 'x' WHERE id = 30");
            follower.expect(Answer::Changes);
            lake.execute("CALL ducklake_rewrite_data_files('lake', 'orders', delete_threshold => 0.0)");
            assert_ne!(follower.poll(), Answer::Changes, "with {inlined} rows inlined");
            follower.agree();
        }
    });
}

#[test]
fn flushed_rows_are_no_change() {
    on_every_catalog(|lake, reader| {
        let mut follower = orders(lake, reader);
        lake.execute("INSERT INTO lake.orders VALUES (100, 'inlined'), (101, 'inlined')");
        lake.execute("DELETE FROM lake.orders WHERE id IN (1, 101)");
        follower.expect(Answer::Changes);
        lake.execute("CALL ducklake_flush_inlined_data('lake')");
        follower.expect(Answer::Advanced);
        lake.execute("DELETE FROM lake.orders WHERE id IN (2, 100)");
        follower.expect(Answer::Changes);
    });
}

#[test]
fn inlined_changes_are_read_after_they_were_flushed() {
    on_every_catalog(|lake, reader| {
        let mut follower = orders(lake, reader);
        lake.execute("INSERT INTO lake.orders VALUES (100, 'inlined'), (101, 'inlined')");
        lake.execute("DELETE FROM lake.orders WHERE id IN (1, 101)");
        lake.execute("UPDATE lake.orders SET note = 'again' WHERE id IN (2, 100)");
        lake.execute("CALL ducklake_flush_inlined_data('lake')");
        follower.expect(Answer::Changes);
    });
}

#[test]
fn inlined_changes_are_read_after_a_flush_dropped_their_table() {
    on_every_catalog(|lake, reader| {
        let mut follower = orders(lake, reader);
        lake.execute("CREATE TABLE lake.wide (a INTEGER); INSERT INTO lake.wide VALUES (1)");
        follower.expect(Answer::Advanced);
        lake.execute("INSERT INTO lake.orders VALUES (100, 'inlined'); DELETE FROM lake.orders WHERE id = 4");
        // The rows inlined before a change of columns have a table of their own, which goes with the flush.
        lake.execute("ALTER TABLE lake.orders ADD COLUMN extra INTEGER; INSERT INTO lake.orders VALUES (101, 'x', 1)");
        lake.execute("CALL ducklake_flush_inlined_data('lake')");
        follower.expect(Answer::Changes);
        assert!(matches!(follower.poll(), Answer::SchemaChanged(_)));
        follower.reload();
        follower.expect(Answer::Idle);
    });
}

#[test]
fn a_flush_in_the_same_transaction_as_changes() {
    on_every_catalog(|lake, reader| {
        let mut follower = orders(lake, reader);
        lake.execute("INSERT INTO lake.orders VALUES (100, 'inlined'), (101, 'inlined')");
        lake.execute(
            "BEGIN; CALL ducklake_flush_inlined_data('lake'); INSERT INTO lake.orders VALUES (5, 'x'), (6, 'x'); COMMIT",
        );
        follower.expect(Answer::Changes);
        // The lake forgets rows that were deleted and flushed at once.
        lake.execute("BEGIN; DELETE FROM lake.orders WHERE id = 5; CALL ducklake_flush_inlined_data('lake'); COMMIT");
        assert!(matches!(follower.poll(), Answer::Expired(_)));
        follower.reload();
        follower.expect(Answer::Idle);
    });
}

#[test]
fn a_row_updated_and_deleted_in_one_transaction_is_gone() {
    on_every_catalog(|lake, reader| {
        for inlined in [0, 10] {
            lake.execute(&format!("CALL lake.set_option('data_inlining_row_limit', {inlined})"));
            lake.execute("DROP TABLE IF EXISTS lake.orders");
            let mut follower = orders(lake, reader);
            lake.execute(
                "BEGIN; UPDATE lake.orders SET note = 'doomed' WHERE id = 7; DELETE FROM lake.orders WHERE id = 7; COMMIT",
            );
            follower.expect(Answer::Changes);
            lake.execute(
                "BEGIN; INSERT INTO lake.orders VALUES (100, 'a'), (101, 'b'); \
                 UPDATE lake.orders SET note = 'c' WHERE id >= 100; DELETE FROM lake.orders WHERE id = 101; COMMIT",
            );
            lake.execute(
                "BEGIN; INSERT INTO lake.orders VALUES (102, 'a'); UPDATE lake.orders SET note = 'c' WHERE id >= 100; COMMIT",
            );
            follower.expect(Answer::Changes);
        }
    });
}

#[test]
fn a_file_deleted_from_and_dropped_in_one_transaction() {
    on_every_catalog(|lake, reader| {
        for inlined in [0, 10] {
            lake.execute(&format!("CALL lake.set_option('data_inlining_row_limit', {inlined})"));
            lake.execute("DROP TABLE IF EXISTS lake.orders");
            let mut follower = orders(lake, reader);
            lake.execute("BEGIN; DELETE FROM lake.orders WHERE id < 15; DELETE FROM lake.orders; COMMIT");
            follower.expect(Answer::Changes);
            lake.execute("INSERT INTO lake.orders SELECT i, 'again' FROM range(40) r(i)");
            lake.execute(
                "BEGIN; UPDATE lake.orders SET note = 'x' WHERE id < 15; DELETE FROM lake.orders WHERE id > 3; COMMIT",
            );
            lake.execute("BEGIN; UPDATE lake.orders SET note = 'y' WHERE id < 2; DELETE FROM lake.orders; COMMIT");
            follower.expect(Answer::Changes);
        }
    });
}

#[test]
fn a_transaction_that_undoes_itself_changes_nothing() {
    on_sqlite(|lake, reader| {
        let mut follower = orders(lake, reader);
        let before = follower.contents[0].multiset();
        lake.execute(
            "BEGIN; INSERT INTO lake.orders VALUES (9, 'x'); DELETE FROM lake.orders WHERE note = 'x'; COMMIT",
        );
        while follower.poll() != Answer::Idle {}
        follower.contents[0].multiset().assert_equals(&before, "nothing changed");
    });
}

#[test]
fn user_columns_that_shadow_the_feeds_own() {
    on_every_catalog(|lake, reader| {
        for inlined in [10, 0] {
            lake.execute(&format!("CALL lake.set_option('data_inlining_row_limit', {inlined})"));
            // Names that DuckLake reserves while it inlines rows exist where it does not.
            let names: &[&str] = match inlined {
                0 => &["rowid", "snapshot_id", "row_id", "begin_snapshot", "end_snapshot", "change_type", "filename"],
                _ => &["rowid", "ROWID", "snapshot_id", "Snapshot_Id", "change_type", "filename", "file_row_number"],
            };
            let in_sqlite = matches!(lake.catalog(), Catalog::Sqlite(_));
            for name in names.iter().filter(|name| !(in_sqlite && name.eq_ignore_ascii_case("rowid"))) {
                lake.execute(&format!(
                    "CREATE OR REPLACE TABLE lake.shadow (\"{name}\" INTEGER, v VARCHAR); \
                     INSERT INTO lake.shadow VALUES (100, 'x'), (3, 'y'), (3, 'y'), (NULL, 'z')"
                ));
                let mut follower = Follower::load(lake, reader, &["shadow"]);
                lake.execute("DELETE FROM lake.shadow WHERE v = 'x'");
                follower.expect(Answer::Changes);
                lake.execute(&format!("UPDATE lake.shadow SET v = 'w' WHERE \"{name}\" = 3"));
                lake.execute("INSERT INTO lake.shadow VALUES (1, 'new')");
                lake.execute(&format!("UPDATE lake.shadow SET \"{name}\" = 5 WHERE v = 'new'"));
                follower.expect(Answer::Changes);
                lake.execute("CALL ducklake_flush_inlined_data('lake')");
                lake.execute("CALL ducklake_merge_adjacent_files('lake')");
                lake.execute("DELETE FROM lake.shadow WHERE v = 'w'");
                follower.expect(Answer::Changes);
            }
        }
    });
}

#[test]
fn comparing_snapshots_tells_equal_values_apart() {
    on_sqlite(|lake, reader| {
        // Inlined in SQLite, a double of −0.0 makes DuckLake's own commit fail.
        without_inlining(lake);
        lake.execute("CREATE TABLE lake.fine (snapshot_id DOUBLE, i INTERVAL, f FLOAT[])");
        lake.execute("INSERT INTO lake.fine VALUES (0.0, INTERVAL '1 month', [0.0]), (0.0, INTERVAL '1 month', [0.0])");
        let mut follower = Follower::load(lake, reader, &["fine"]);
        lake.execute("UPDATE lake.fine SET snapshot_id = '-0.0'::DOUBLE");
        follower.expect(Answer::Changes);
        lake.execute("UPDATE lake.fine SET i = INTERVAL '30 days'");
        follower.expect(Answer::Changes);
        lake.execute("UPDATE lake.fine SET f = ['-0.0'::FLOAT]");
        follower.expect(Answer::Changes);
    });
}

#[test]
fn duplicates_and_nulls_keep_their_number() {
    on_every_catalog(|lake, reader| {
        lake.execute("CREATE TABLE lake.bag (a INTEGER, b VARCHAR)");
        lake.execute("INSERT INTO lake.bag SELECT NULL, NULL FROM range(25)");
        let mut follower = Follower::load(lake, reader, &["bag"]);
        lake.execute("INSERT INTO lake.bag VALUES (NULL, NULL), (NULL, NULL), (1, NULL), (1, NULL)");
        follower.expect(Answer::Changes);
        lake.execute("DELETE FROM lake.bag WHERE rowid IN (SELECT rowid FROM lake.bag WHERE a IS NULL LIMIT 10)");
        follower.expect(Answer::Changes);
        assert_eq!(follower.contents[0].multiset().len(), 19);
    });
}

#[test]
fn names_with_quotes_and_commas() {
    on_every_catalog(|lake, reader| {
        let table = r#"we"ird, 'name' : 7"#;
        lake.execute(r#"CREATE TABLE lake."we""ird, 'name' : 7" ("a ""b"", c" INTEGER, "select" VARCHAR)"#);
        lake.execute(r#"INSERT INTO lake."we""ird, 'name' : 7" VALUES (1, 'x')"#);
        let mut follower = Follower::load(lake, reader, &[table]);
        lake.execute(r#"INSERT INTO lake."we""ird, 'name' : 7" VALUES (2, 'y')"#);
        lake.execute(r#"CREATE TABLE lake."x, inlined_insert:1" (a INTEGER)"#);
        lake.execute(r#"UPDATE lake."we""ird, 'name' : 7" SET "select" = 'z'"#);
        follower.expect(Answer::Changes);
        follower.expect(Answer::Idle);
    });
}

#[test]
fn every_type_arrives_inlined_and_from_files() {
    let columns = "b BOOLEAN, t TINYINT, s SMALLINT, i INTEGER, l BIGINT, h HUGEINT, ut UTINYINT, us USMALLINT, \
                   ui UINTEGER, ul UBIGINT, f FLOAT, d DOUBLE, x DECIMAL(9,2), y DECIMAL(38,10), v VARCHAR, bl BLOB, u UUID, \
                   j JSON, da DATE, ti TIME, ts TIMESTAMP, tz TIMESTAMPTZ, tss TIMESTAMP_S, tsm TIMESTAMP_MS, tn TIMESTAMP_NS, iv INTERVAL, \
                   li INTEGER[], st STRUCT(a INTEGER, b VARCHAR[]), m MAP(VARCHAR, DECIMAL(4,1))";
    let row = "true, -128, 32767, -2147483648, 9007199254740993, 170141183460469231731687303715884105, 255, 65535, \
               4294967295, 18446744073709551615, '-0.0', 'nan', 1234567.89, 1234567890.0123456789, 'it''s ü', '\\x00\\xFF', \
               'a1a2a3a4-b1b2-c1c2-d1d2-d3d4d5d60000', '{\"a\": 1}', '2024-02-29', '23:59:59.999999', \
               '1969-12-31 23:59:59.999999', '2024-02-29 12:00:00+05', '2024-02-29 12:00:01', '2024-02-29 12:00:01.001', \
               '2024-02-29 12:00:01.000000001', INTERVAL '1 month 2 days 3 milliseconds', [1, NULL], \
               {'a': NULL, 'b': ['x', NULL]}, MAP {'k': 1.5}";
    let nulls = vec!["NULL"; 29].join(", ");
    on_every_catalog(|lake, reader| {
        for inlined in [0, 10] {
            lake.execute(&format!("CALL lake.set_option('data_inlining_row_limit', {inlined})"));
            lake.execute(&format!("CREATE OR REPLACE TABLE lake.types ({columns})"));
            let mut follower = Follower::load(lake, reader, &["types"]);
            lake.execute(&format!("INSERT INTO lake.types VALUES ({row}), ({nulls})"));
            follower.expect(Answer::Changes);
            let held = follower.contents[0].multiset();
            let direct = lake.rows("types", None);
            assert_eq!((held.len(), direct.len()), (2, 2));
            lake.execute("UPDATE lake.types SET i = 5");
            lake.execute("DELETE FROM lake.types WHERE v IS NULL");
            follower.expect(Answer::Changes);
        }
    });
}

#[test]
fn other_tables_and_views_are_nothing() {
    on_sqlite(|lake, reader| {
        let mut follower = orders(lake, reader);
        lake.execute("CREATE TABLE lake.other (a INTEGER); INSERT INTO lake.other VALUES (1)");
        lake.execute("ALTER TABLE lake.other ADD COLUMN b INTEGER; ALTER TABLE lake.other RENAME TO another");
        lake.execute("CREATE VIEW lake.v AS SELECT 1 AS one; CREATE MACRO lake.m(a) AS a + 1; CREATE SCHEMA lake.s");
        lake.execute("DROP TABLE lake.another; DROP VIEW lake.v");
        follower.expect(Answer::Advanced);
        follower.expect(Answer::Idle);
    });
}

#[test]
fn a_wide_gap_is_read_in_steps_that_end_at_snapshots() {
    on_sqlite(|lake, reader| {
        let mut follower = orders(lake, reader);
        let start = follower.at;
        let statements: Vec<_> =
            (0..12).map(|i| format!("INSERT INTO lake.orders SELECT {i}, 'w' FROM range(7)")).collect();
        lake.execute(&statements.join("; "));
        let mut answers = Vec::new();
        while follower.at != tidegate_core::Position::SnapshotId(tidegate_core::SnapshotId(lake.snapshot())) {
            answers.push(follower.try_poll(20).unwrap());
            follower.agree();
        }
        assert_ne!(start, follower.at);
        // Three snapshots of seven rows are the first to reach twenty.
        assert_eq!(answers, vec![Answer::Changes; 4]);
    });
}

#[test]
fn a_large_snapshot_is_streamed_whole() {
    on_sqlite(|lake, reader| {
        let mut follower = orders(lake, reader);
        lake.execute(
            "BEGIN; INSERT INTO lake.orders SELECT i, 'large' FROM range(300000) r(i); \
                      DELETE FROM lake.orders WHERE note = 'n1'; COMMIT; DELETE FROM lake.orders WHERE id % 3 = 0",
        );
        assert_eq!(follower.try_poll(1000).unwrap(), Answer::Changes);
        follower.agree();
        assert_eq!(follower.try_poll(1000).unwrap(), Answer::Changes);
        follower.agree();
        assert_eq!(follower.try_poll(1000).unwrap(), Answer::Idle);
    });
}
