//! What the stream tells, and what it does not: long values, partitions, columns, TRUNCATE, and the order of
//! transactions.

use tidegate_core::{Polled, Source};

use crate::harness::{Database, End, Follow, ok, on_both, public};

/// Rows that are too long to be kept in line, and do not compress.
const LONG: &str = "(SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 300))";

/// 5. Values that were left out because they did not change are there all the same.
#[test]
fn unchanged_long_values_stay() {
    on_both(async |server| {
        let setup = format!(
            "CREATE TABLE d (id int PRIMARY KEY, n int, long text); \
             CREATE TABLE i (a int, b int NOT NULL, n int, long text); CREATE UNIQUE INDEX i_b ON i (b); \
             ALTER TABLE i REPLICA IDENTITY USING INDEX i_b; \
             CREATE TABLE f (n int, long text); ALTER TABLE f REPLICA IDENTITY FULL; \
             CREATE TABLE k (key text PRIMARY KEY, n int); \
             INSERT INTO d SELECT i, 0, {LONG} FROM generate_series(1, 5) i; \
             INSERT INTO i SELECT NULL, i, 0, {LONG} FROM generate_series(1, 5) i; \
             INSERT INTO f SELECT i, {LONG} FROM generate_series(1, 5) i; \
             ALTER TABLE k ALTER COLUMN key SET STORAGE EXTERNAL; INSERT INTO k SELECT repeat('k', 2500), 1"
        );
        let database = Database::new(server, &setup);
        let mut follow = Follow::begin(database.connect(), &["d", "i", "f", "k"]).await;
        let rounds = [
            "UPDATE d SET n = n + 1; UPDATE i SET n = n + 1; UPDATE f SET n = n + 1; UPDATE k SET n = n + 1",
            // The key moves, and the long value stays behind it: also through keys that others just left.
            "UPDATE d SET id = id + 100 WHERE id = 1",
            "BEGIN; UPDATE d SET id = 102 WHERE id = 2; UPDATE d SET id = 2 WHERE id = 3; UPDATE d SET n = 9 WHERE id = 2; \
             UPDATE d SET id = 3 WHERE id = 102; COMMIT",
            "BEGIN; DELETE FROM d WHERE id = 4; UPDATE d SET id = 4 WHERE id = 5; COMMIT",
            "UPDATE i SET b = b + 10, n = 1 WHERE b < 3",
            "UPDATE d SET long = 'short' WHERE id = 4; UPDATE f SET long = NULL WHERE n = 2",
        ];
        for sql in rounds {
            database.sql(sql);
            follow.check(sql).await;
        }
    });
}

/// 6. Rows that move between partitions, and partitions that come, go and are emptied without a word.
#[test]
fn partitions_are_watched() {
    on_both(async |server| {
        let setup = "CREATE TABLE p (id int, part int, v text, PRIMARY KEY (id, part)) PARTITION BY LIST (part); \
                     CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1); CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2); \
                     CREATE TABLE more (id int NOT NULL, part int NOT NULL, v text, PRIMARY KEY (id, part)); \
                     INSERT INTO p SELECT i, 1 + i % 2, 'v' FROM generate_series(1, 10) i; INSERT INTO more VALUES (77, 3, 'm')";
        let database = Database::new(server, setup);
        let mut follow = Follow::begin(database.connect(), &["p"]).await;
        database.sql("UPDATE p SET part = 3 - part WHERE id < 5; TRUNCATE p; INSERT INTO p SELECT i, 1 + i % 2, 'w' FROM generate_series(1, 6) i");
        // TRUNCATE gave every partition a new file, which is looked at now and then.
        for sql in [
            "SELECT 1",
            "TRUNCATE p2",
            "ALTER TABLE p DETACH PARTITION p2",
            "ALTER TABLE p ATTACH PARTITION more FOR VALUES IN (3)",
            "DROP TABLE p1",
        ] {
            database.sql(sql);
            let end = follow.poll_until_it_ends(sql).await;
            assert!(matches!(&end, End::Schema(reason) if reason.contains("partitions")), "{sql}: {end:?}");
            follow.tables = ok(follow.source.tables(&[public("p")], None).await);
            follow.copy().await;
            follow.check(sql).await;
        }
        assert_eq!(follow.rows(0), ["77|3|m"]);
    });
}

/// 7. Transactions come in the order of their commits, whole.
#[test]
fn transactions_come_by_their_commits() {
    on_both(async |server| {
        let database =
            Database::new(server.clone(), "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0)");
        let mut follow = Follow::begin(database.connect(), &["t"]).await;
        let (early, late) = (server.client(&database.name), server.client(&database.name));
        early.execute("BEGIN; INSERT INTO t VALUES (2, 1)");
        late.execute("BEGIN; INSERT INTO t VALUES (3, 1); UPDATE t SET v = v + 1 WHERE id = 1; COMMIT");
        // (A snapshot would wait for the one that is open.)
        follow.catch_up().await;
        assert_eq!(follow.rows(0), ["1|1", "3|1"]);
        early.execute("UPDATE t SET v = v + 1 WHERE id = 1; COMMIT");
        follow.check("it was committed").await;
        assert_eq!(follow.rows(0), ["1|2", "2|1", "3|1"]);
        // Between the two commits there is a position, from which the other half is read.
        let mut source = database.connect();
        drop(std::mem::replace(&mut follow.source, database.connect()));
        let head = ok(source.head().await);
        assert!(matches!(ok(source.poll(&follow.tables, &head, Some(&head), 1).await), Polled::Idle));
    });
}

/// A transaction that is larger than the buffer waits on disk.
#[test]
fn large_transactions_wait_on_disk() {
    on_both(async |server| {
        let setup =
            "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE f (v int); ALTER TABLE f REPLICA IDENTITY FULL";
        let database = Database::new(server, setup).with("buffer", "16KiB");
        let mut follow = Follow::begin(database.connect(), &["t", "f"]).await;
        database.sql(
            "BEGIN; INSERT INTO t SELECT i, md5(i::text) FROM generate_series(1, 100000) i; INSERT INTO f SELECT i / 3 FROM generate_series(1, 1000) i; \
             UPDATE t SET v = v || '!' WHERE id % 3 = 0; TRUNCATE f; INSERT INTO f VALUES (7), (7); DELETE FROM t WHERE id > 90000; COMMIT",
        );
        follow.check("a large transaction").await;
        assert_eq!((follow.rows(0).len(), follow.rows(1).len()), (90_000, 2));
    });
}

/// 12. Columns that come, go and change.
#[test]
fn changed_columns_are_noticed_where_they_change() {
    on_both(async |server| {
        let setup = "CREATE TABLE t (id int PRIMARY KEY, a int, b text); CREATE TABLE u (id int PRIMARY KEY); INSERT INTO t VALUES (1, 1, 'x')";
        let database = Database::new(server, setup);
        let mut follow = Follow::begin(database.connect(), &["t", "u"]).await;
        for (number, ddl) in [
            "ALTER TABLE t ADD COLUMN c int DEFAULT 7",
            "ALTER TABLE t DROP COLUMN b",
            "ALTER TABLE t RENAME COLUMN a TO z",
            "ALTER TABLE t ALTER COLUMN z TYPE numeric(10,2) USING z * 2",
            "DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, z int); ALTER PUBLICATION tidegate ADD TABLE t",
            "ALTER TABLE t RENAME TO old; CREATE TABLE t (id int CONSTRAINT again PRIMARY KEY, z int); ALTER PUBLICATION tidegate ADD TABLE t",
            "ALTER TABLE t REPLICA IDENTITY FULL; ALTER TABLE t DROP CONSTRAINT again",
        ]
        .iter()
        .enumerate()
        {
            let id = number * 10 + 100;
            database.sql(&format!("INSERT INTO t (id) VALUES ({id}); INSERT INTO u VALUES ({id})"));
            database.sql(ddl);
            database.sql(&format!("INSERT INTO t (id) VALUES ({}); INSERT INTO u VALUES ({})", id + 1, id + 1));
            let end = follow.poll_until_it_ends(ddl).await;
            assert!(matches!(&end, End::Schema(reason) if reason.contains("table")), "{ddl}: {end:?}");
            follow.tables = ok(follow.source.tables(&[public("t"), public("u")], None).await);
            follow.copy().await;
            follow.check(ddl).await;
        }
    });
}

/// 13. Whatever the database's settings are, values are read as they are.
#[test]
fn settings_of_the_database_do_not_change_values() {
    on_both(async |server| {
        let setup = "CREATE TABLE t (id int PRIMARY KEY, d date, s timestamp, z timestamptz, i interval, b bytea, f float8, g float4)";
        let database = Database::new(server, setup);
        let name = &database.name;
        for setting in [
            "DateStyle = 'German, DMY'",
            "TimeZone = 'Asia/Kathmandu'",
            "IntervalStyle = 'sql_standard'",
            "bytea_output = 'escape'",
            "extra_float_digits = -15",
        ] {
            database.sql(&format!("ALTER DATABASE {name} SET {setting}"));
        }
        let row = |id: i32| {
            format!(
                "INSERT INTO t VALUES ({id}, '2026-03-04', '2026-03-04 05:06:07.89', '2026-03-04 05:06:07+00', \
                     '1 year 2 mons -3 days 04:05:06.7', '\\x00ff5c', 0.1::float8 + 0.2::float8, 1e-7)"
            )
        };
        database.sql(&row(1));
        let mut follow = Follow::begin(database.connect(), &["t"]).await;
        database.sql(&row(2));
        follow.check("both ways").await;
        let rows = follow.rows(0);
        assert_eq!(rows[0].split_once('|').unwrap().1, rows[1].split_once('|').unwrap().1);
        assert!(
            rows[0].contains("2026-03-04|2026-03-04T05:06:07.890|2026-03-04T05:06:07Z")
                && rows[0].contains("0.30000000000000004|1e-7"),
            "{rows:?}"
        );
    });
}

/// 14. TRUNCATE, of one table, of several, with CASCADE, and in the middle of a transaction.
#[test]
fn truncate_empties_tables() {
    on_both(async |server| {
        let setup = "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY REFERENCES a); CREATE TABLE f (n int); \
                     ALTER TABLE f REPLICA IDENTITY FULL; CREATE TABLE away (n int); INSERT INTO a VALUES (1), (2); \
                     INSERT INTO b VALUES (1); INSERT INTO f VALUES (1), (1)";
        let database = Database::new(server, setup);
        let mut follow = Follow::begin(database.connect(), &["a", "b", "f"]).await;
        for sql in [
            "TRUNCATE f; INSERT INTO f VALUES (5)",
            "BEGIN; INSERT INTO f VALUES (6); TRUNCATE f, away RESTART IDENTITY; INSERT INTO f VALUES (7), (7); COMMIT",
            "BEGIN; TRUNCATE f; ROLLBACK",
            "TRUNCATE a CASCADE",
            "BEGIN; INSERT INTO a VALUES (3); SAVEPOINT s; TRUNCATE a CASCADE; ROLLBACK TO s; COMMIT",
        ] {
            database.sql(sql);
            follow.check(sql).await;
        }
        assert_eq!((follow.rows(0), follow.rows(2)), (vec!["3".to_owned()], vec!["7".to_owned(), "7".to_owned()]));
    });
}
