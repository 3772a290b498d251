//! Known cases of the change feed that need more than one table or connection, or a look into the catalog. The list
//! of all of them is at the head of `traps`.

use tidegate_core::{ConnectorError, ErrorKind};
use tidegate_testkit::{Catalog, Lake};

use crate::follower::{Answer, Follower, on_every_catalog};

fn orders(lake: &Lake, reader: &str, inlined: u32) -> Follower {
    lake.execute(&format!("CALL lake.set_option('data_inlining_row_limit', {inlined})"));
    lake.execute("CREATE OR REPLACE TABLE lake.orders (id INTEGER, note VARCHAR)");
    lake.execute("INSERT INTO lake.orders SELECT i, 'n' || i % 5 FROM range(40) r(i)");
    Follower::load(lake, reader, &["orders"])
}

fn answer(lake: &Lake, sql: &str) -> String {
    let rows = lake.query(sql).rows;
    format!("{:?}", rows.iter().next().map(|(row, _)| row.clone()))
}

#[test]
fn row_ids_change_and_repeat() {
    on_every_catalog(|lake, reader| {
        for inlined in [0, 10] {
            let mut follower = orders(lake, reader, inlined);
            // Rows inserted and updated by one transaction get ids from 10^18 on, and the next such transaction
            // gives the same ones again.
            for id in [100, 200] {
                lake.execute(&format!(
                    "BEGIN; INSERT INTO lake.orders VALUES ({id}, 'a'), ({id} + 1, 'b'); \
                     UPDATE lake.orders SET note = 'c' WHERE id >= {id}; COMMIT"
                ));
            }
            follower.expect(Answer::Changes);
            lake.execute("CALL ducklake_flush_inlined_data('lake')");
            lake.execute("CALL ducklake_merge_adjacent_files('lake')");
            lake.execute("DELETE FROM lake.orders WHERE id IN (100, 201)");
            lake.execute("UPDATE lake.orders SET note = 'd' WHERE id IN (101, 200)");
            follower.expect(Answer::Changes);
            assert_eq!(follower.contents[0].multiset().len(), 42);
        }
    });
}

#[test]
fn the_feed_has_the_columns_of_the_end_of_its_range() {
    on_every_catalog(|lake, reader| {
        for inlined in [0, 10] {
            let mut follower = orders(lake, reader, inlined);
            // The range ends with other columns under the same names than those in which these rows were changed.
            lake.execute("UPDATE lake.orders SET note = 'before' WHERE id < 3; DELETE FROM lake.orders WHERE id = 9");
            let expected = lake.rows("orders", None);
            lake.execute(
                "BEGIN; ALTER TABLE lake.orders DROP COLUMN note; ALTER TABLE lake.orders ADD COLUMN note VARCHAR DEFAULT 'new'; COMMIT",
            );
            lake.execute("ALTER TABLE lake.orders ADD COLUMN more INTEGER DEFAULT 7");
            lake.execute("DELETE FROM lake.orders WHERE id = 10");
            assert_eq!(follower.poll(), Answer::Changes);
            follower.contents[0].multiset().assert_equals(&expected, "the old columns before the barrier");
            assert!(matches!(follower.poll(), Answer::SchemaChanged(_)));
            follower.reload();
            follower.expect(Answer::Idle);
            assert_eq!(follower.contents[0].multiset().len(), 38);
        }
    });
}

#[test]
fn merged_flushed_and_delete_files_are_back_dated() {
    on_every_catalog(|lake, reader| {
        for inlined in [0, 10] {
            let mut follower = orders(lake, reader, inlined);
            for id in 300..304 {
                lake.execute(&format!("INSERT INTO lake.orders VALUES ({id}, 'late')"));
            }
            follower.expect(Answer::Changes);
            // The files that hold what follows begin at snapshots that the follower has seen.
            lake.execute("INSERT INTO lake.orders VALUES (304, 'later'), (305, 'later')");
            lake.execute("DELETE FROM lake.orders WHERE id IN (3, 301)");
            lake.execute("UPDATE lake.orders SET note = 'moved' WHERE id IN (4, 302, 304)");
            lake.execute("CALL ducklake_flush_inlined_data('lake')");
            lake.execute("CALL ducklake_merge_adjacent_files('lake')");
            lake.execute("DELETE FROM lake.orders WHERE id IN (5, 305)");
            lake.execute("CALL ducklake_flush_inlined_data('lake')");
            lake.execute("CALL ducklake_cleanup_old_files('lake', cleanup_all => true)");
            follower.expect(Answer::Changes);
        }
    });
}

#[test]
fn structs_that_lose_characters_are_what_the_lake_says() {
    on_every_catalog(|lake, reader| {
        lake.execute("CREATE TABLE lake.boxes (id INTEGER, box STRUCT(label VARCHAR, n INTEGER))");
        let mut follower = Follower::load(lake, reader, &["boxes"]);
        let row = |id, label: &str| format!("INSERT INTO lake.boxes VALUES ({id}, {{'label': {label}, 'n': 1}})");
        lake.execute(&row(1, "'it''s'"));
        lake.execute(&row(2, "'a\"b'"));
        lake.execute(&row(3, r"'back\slash'"));
        lake.execute(&row(4, "' {a: 1}, '"));
        follower.expect(Answer::Changes);
        lake.execute("DELETE FROM lake.boxes WHERE id = 1; UPDATE lake.boxes SET id = 5 WHERE id = 3");
        follower.expect(Answer::Changes);
        let said = answer(lake, "SELECT string_agg(box.label, '|' ORDER BY id) FROM lake.boxes");
        println!("{}: {said}", lake.uri());
        lake.execute("CALL ducklake_flush_inlined_data('lake')");
        assert_ne!(follower.poll(), Answer::Changes);
        follower.agree();
    });
}

/// A transaction that deletes rows, more than are inlined, and flushes earlier deletes of the same file: both have a delete file of their
/// own, and the lake shows the rows of the data file once with each. What was meant is not known, what is shown is read.
#[test]
fn a_flush_in_the_transaction_of_deletes_from_a_file_shows_its_rows_twice() {
    on_every_catalog(|lake, reader| {
        let mut follower = orders(lake, reader, 10);
        lake.execute("DELETE FROM lake.orders WHERE id < 3");
        follower.expect(Answer::Changes);
        let flush = "CALL ducklake_flush_inlined_data('lake')";
        lake.execute(&format!("BEGIN; DELETE FROM lake.orders WHERE id BETWEEN 10 AND 29; {flush}; COMMIT"));
        // Rows 0 to 2 and 10 to 29 once, the others twice.
        assert_eq!(lake.rows("orders", None).len(), 57, "DuckLake writes one delete file by now: follow it");
        let is_doubled = |answer: &Answer| matches!(answer, Answer::Expired(reason) if reader != "native" || reason.contains("two delete files at once"));
        let answer = follower.poll();
        assert!(is_doubled(&answer), "{answer:?}");
        let mut follower = Follower::load(lake, "native", &["orders"]);
        follower.contents[0].multiset().assert_equals(&lake.rows("orders", None), "what the lake shows");
        // What does not touch the file is told as ever, what does is not.
        lake.execute("INSERT INTO lake.orders VALUES (100, 'new')");
        assert_eq!(follower.poll(), Answer::Changes);
        follower.contents[0].multiset().assert_equals(&lake.rows("orders", None), "and more");
        lake.execute("DELETE FROM lake.orders WHERE id = 35");
        assert!(matches!(follower.poll(), Answer::Expired(_)));
        let mut follower = Follower::load(lake, "native", &["orders"]);
        lake.execute(&format!("{flush}; CALL ducklake_rewrite_data_files('lake', 'orders', delete_threshold => 0)"));
        assert!(matches!(follower.poll(), Answer::Expired(_)));
        let mut follower = Follower::load(lake, "native", &["orders"]);
        follower.contents[0].multiset().assert_equals(&lake.rows("orders", None), "settled");
        lake.execute("UPDATE lake.orders SET note = 'x' WHERE id > 30");
        follower.expect(Answer::Changes);
        follower.contents[0].multiset().assert_equals(&lake.rows("orders", None), "and gone on with");
    });
}

/// Where inlining is switched on after columns were added, the lake does not write down with which columns the rows are kept. A DuckDB that
/// attaches the lake after the next change of columns looks for those with which the table was made, and shows NULL in the others. The
/// rows are there, and the native reader reads them.
#[test]
fn rows_inlined_with_columns_that_the_lake_did_not_write_down() {
    on_every_catalog(|lake, reader| {
        if reader != "native" {
            return;
        }
        lake.execute("CALL lake.set_option('data_inlining_row_limit', 0); CREATE TABLE lake.events (kind VARCHAR)");
        lake.execute("ALTER TABLE lake.events ADD COLUMN n INTEGER");
        lake.execute("CALL lake.set_option('data_inlining_row_limit', 10)");
        let mut follower = Follower::load(lake, reader, &["events"]);
        lake.execute("INSERT INTO lake.events VALUES ('a', 1)");
        follower.expect(Answer::Changes);
        let shown = answer(lake, "SELECT n FROM lake.events");
        lake.execute("ALTER TABLE lake.events ADD COLUMN more INTEGER DEFAULT 7");
        assert_ne!(shown, answer(lake, "SELECT n FROM lake.events"), "DuckLake knows these columns by now: follow it");
        assert!(matches!(follower.poll(), Answer::SchemaChanged(_)));
        let later = Follower::load(lake, reader, &["events"]);
        let expected = lake.query("SELECT 'a' AS kind, 1::INTEGER AS n, 7::INTEGER AS more").rows;
        later.contents[0].multiset().assert_equals(&expected, "as inserted");
        // Columns that are written down are told apart from those that are not.
        lake.execute("INSERT INTO lake.events VALUES ('b', 2, 3)");
        let later = Follower::load(lake, reader, &["events"]);
        let expected = lake.query("SELECT * FROM (VALUES ('a', 1, 7), ('b', 2, 3)) t(kind, n, more)").rows;
        later.contents[0].multiset().assert_equals(&expected, "beside rows with the columns of the present");
    });
}

/// With a catalog in PostgreSQL, a flush of a partition whose value has a quote or a letter beyond ASCII loses the deletes of its rows,
/// which DuckDB then shows again. They stay deleted for who has read that they were.
#[test]
fn a_flush_of_a_partition_that_brings_deleted_rows_back() {
    on_every_catalog(|lake, reader| {
        for (table, value) in [("plain", "a b"), ("quoted", "it''s"), ("foreign", "ß")] {
            lake.execute(&format!("CREATE TABLE lake.{table} (id INTEGER, note VARCHAR)"));
            lake.execute(&format!("ALTER TABLE lake.{table} SET PARTITIONED BY (note)"));
            lake.execute(&format!("INSERT INTO lake.{table} SELECT i, '{value}' FROM range(4) r(i)"));
            let mut follower = Follower::load(lake, reader, &[table]);
            lake.execute(&format!(
                "DELETE FROM lake.{table} WHERE id = 1; UPDATE lake.{table} SET id = 9 WHERE id = 2"
            ));
            follower.expect(Answer::Changes);
            let held = lake.rows(table, None);
            lake.execute("CALL ducklake_flush_inlined_data('lake')");
            assert_eq!(follower.poll(), Answer::Advanced);
            follower.contents[0].multiset().assert_equals(&held, value);
            let is_lost = matches!(lake.catalog(), Catalog::Postgres(_)) && table != "plain";
            let shown = lake.rows(table, None).len();
            assert_eq!(shown, if is_lost { 5 } else { 3 }, "{value}: DuckLake flushes otherwise by now: follow it");
        }
    });
}

#[test]
fn uncommitted_rows_of_another_connection_are_not_read() {
    on_every_catalog(|lake, reader| {
        // A catalog in a DuckDB file admits nobody else while a transaction is open.
        if matches!(lake.catalog(), Catalog::DuckDb(_)) {
            return;
        }
        for (inlined, end) in [(0, "COMMIT"), (0, "ROLLBACK"), (10, "COMMIT"), (10, "ROLLBACK")] {
            let mut follower = orders(lake, reader, inlined);
            let polled = lake.attached(|duck| {
                duck.execute(
                    "BEGIN; INSERT INTO lake.orders VALUES (500, 'open'); DELETE FROM lake.orders WHERE id = 1; \
                     UPDATE lake.orders SET note = 'open' WHERE id = 2",
                )?;
                let polled: Result<Answer, ConnectorError> = follower.try_poll(u64::MAX);
                duck.execute(end)?;
                Ok(polled)
            });
            match polled.unwrap() {
                Ok(answer) => assert_eq!(answer, Answer::Idle),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Retry, "{error}"),
            }
            follower.expect(if end == "COMMIT" { Answer::Changes } else { Answer::Idle });
        }
    });
}

/// Both the feed and the two snapshots around it say that nothing happened. That rows were deleted is only in the
/// tokens: `inlined_delete:T` and `inline_flush:T` in one snapshot. Nobody can tell which rows they were.
#[test]
fn a_flush_in_the_transaction_of_an_inlined_delete_forgets_the_deleted_rows() {
    on_every_catalog(|lake, reader| {
        lake.execute("CREATE TABLE lake.orders (id INTEGER)");
        lake.execute("INSERT INTO lake.orders VALUES (1), (2), (3)");
        let held = lake.snapshot();
        let mut follower = Follower::load(lake, reader, &["orders"]);
        assert_eq!(follower.contents[0].multiset().len(), 3);
        lake.execute("BEGIN; DELETE FROM lake.orders WHERE id > 1; CALL ducklake_flush_inlined_data('lake'); COMMIT");
        assert_eq!(lake.rows("orders", None).len(), 1);
        assert_eq!(lake.rows("orders", Some(held)).len(), 1, "DuckLake keeps its history: let the extension be tested");
        let Answer::Expired(reason) = follower.poll() else { panic!("what was deleted is forgotten") };
        assert!(reason.contains("lake.main.orders") && reason.contains("in one transaction"), "{reason}");
        follower.reload();
        assert_eq!(follower.contents[0].multiset().len(), 1);
        follower.expect(Answer::Idle);
    });
}

/// The only token of the snapshot is `inline_flush:T`, as if it were upkeep alone. Catalog and feed know of the deletes.
#[test]
fn deletes_after_a_flush_in_one_transaction_have_no_token() {
    on_every_catalog(|lake, reader| {
        lake.execute("CREATE TABLE lake.orders (id INTEGER)");
        lake.execute("INSERT INTO lake.orders VALUES (1), (2), (3)");
        let held = lake.snapshot();
        let mut follower = Follower::load(lake, reader, &["orders"]);
        lake.execute("BEGIN; CALL ducklake_flush_inlined_data('lake'); DELETE FROM lake.orders WHERE id > 1; COMMIT");
        let lengths = (lake.rows("orders", Some(held)).len(), lake.rows("orders", None).len());
        assert_eq!(lengths, (3, 1), "before and after, as the lake says");
        let tokens = answer(
            lake,
            "SELECT changes_made FROM __ducklake_metadata_lake.ducklake_snapshot_changes \
                                   ORDER BY snapshot_id DESC LIMIT 1",
        );
        assert!(!tokens.contains("delete"), "DuckLake names the deletes: let the extension be tested: {tokens}");
        follower.expect(Answer::Changes);
        assert_eq!(follower.contents[0].multiset().len(), 1);
    });
}

/// A file that another lake wrote, or another table, says of each row in which snapshot it came there.
#[test]
fn files_from_elsewhere_have_snapshots_of_elsewhere() {
    on_every_catalog(|lake, reader| {
        lake.execute("CREATE TABLE lake.a (i INTEGER); INSERT INTO lake.a VALUES (1); INSERT INTO lake.a VALUES (2)");
        lake.execute("CALL ducklake_flush_inlined_data('lake')");
        let folder = lake.data_path().join("main").join("a");
        let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
        lake.execute("CREATE TABLE lake.b (i INTEGER)");
        let mut follower = Follower::load(lake, reader, &["b"]);
        lake.execute(&format!(
            "CALL ducklake_add_data_files('lake', 'b', '{}', ignore_extra_columns => true)",
            file.display()
        ));
        follower.expect(Answer::Changes);
        assert_eq!(follower.contents[0].multiset().len(), 2);
    });
}
