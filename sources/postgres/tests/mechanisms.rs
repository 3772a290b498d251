//! The mechanisms without which a reader of logical replication loses rows or doubles them.

use std::time::Duration;

use futures::TryStreamExt;
use tidegate_core::{ErrorKind, Polled, Position, Source};
use tidegate_testkit::postgres::Shutdown;
use tidegate_testkit::{PgClient, Postgres, PostgresVersion};

use crate::harness::{Database, End, Follow, ok, on_both, public, run};

/// Rows that are too long to be kept in line, and do not compress.
const LONG: &str = "(SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 300))";

/// 1. The slot is made by the replication command: a writer that never pauses loses nothing.
#[test]
fn a_copy_beside_writers_loses_nothing() {
    on_both(async |server| {
        let database = Database::new(server.clone(), "CREATE TABLE t (id bigserial PRIMARY KEY, w int)");
        for round in 0..3 {
            let stop = std::sync::atomic::AtomicBool::new(false);
            let (url, stop) = (server.url(&database.name), &stop);
            let follow = std::thread::scope(|scope| {
                for writer in 0..2 {
                    let url = url.clone();
                    scope.spawn(move || {
                        let client = PgClient::connect(&url);
                        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                            client.execute(&format!(
                                "BEGIN; INSERT INTO t (w) VALUES ({writer}); UPDATE t SET w = w WHERE id = 1; COMMIT"
                            ));
                        }
                    });
                }
                let connected = database.connect();
                let follow = std::thread::spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(async {
                        let mut follow = Follow::begin(connected, &["t"]).await;
                        follow.catch_up().await;
                        (follow.tables, follow.contents, follow.at)
                    })
                });
                let follow = follow.join().unwrap();
                stop.store(true, std::sync::atomic::Ordering::Relaxed);
                follow
            });
            let (tables, contents, at) = follow;
            let mut follow = Follow { source: database.connect(), tables, contents, at };
            follow.check(&format!("round {round}")).await;
        }
    });
}

/// 2. The server's time-outs do not end the session that exports the snapshot.
#[test]
fn time_outs_of_the_server_do_not_end_a_copy() {
    on_both(async |server| {
        let setup = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 1000) i";
        let database = Database::new(server, setup);
        for setting in ["idle_in_transaction_session_timeout", "statement_timeout", "lock_timeout"] {
            database.sql(&format!("ALTER DATABASE {} SET {setting} = '100ms'", database.name));
        }
        let mut source = database.connect();
        let tables = ok(source.tables(&[public("t")], None).await);
        let snapshot = ok(source.snapshot(&tables, None).await);
        // Longer than every time-out of the server.
        tokio::time::sleep(Duration::from_millis(400)).await;
        let events: Vec<_> = ok(snapshot.events.try_collect().await);
        assert_eq!(events.iter().map(|(_, event)| event.rows()).sum::<usize>(), 1000);
    });
}

/// 3. Ranges of blocks, leaves of partitioned tables, row filters.
#[test]
fn copies_read_every_part_once() {
    on_both(async |server| {
        let setup = "CREATE TABLE big (id int PRIMARY KEY, v text); \
                     INSERT INTO big SELECT i, repeat(md5(i::text), 6) FROM generate_series(1, 200000) i; \
                     DELETE FROM big WHERE id % 7 = 0; \
                     CREATE TABLE parts (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day); \
                     CREATE TABLE parts_a PARTITION OF parts FOR VALUES FROM ('2026-01-01') TO ('2026-02-01'); \
                     CREATE TABLE parts_b PARTITION OF parts FOR VALUES FROM ('2026-02-01') TO ('2026-03-01') PARTITION BY LIST (id); \
                     CREATE TABLE parts_b1 PARTITION OF parts_b FOR VALUES IN (1, 2); \
                     CREATE TABLE parts_b2 PARTITION OF parts_b DEFAULT; \
                     INSERT INTO parts SELECT i, '2026-01-15'::date + i FROM generate_series(1, 30) i; \
                     CREATE TABLE \"so\"\"me\" (id int PRIMARY KEY, keep bool NOT NULL); ALTER TABLE \"so\"\"me\" REPLICA IDENTITY FULL; \
                     INSERT INTO \"so\"\"me\" SELECT i, i % 2 = 0 FROM generate_series(1, 10) i; \
                     CREATE PUBLICATION tidegate FOR TABLE big, parts, \"so\"\"me\" WHERE (keep) WITH (publish_via_partition_root = true)";
        let database = Database::new(server, setup);
        let mut follow = Follow::begin(database.connect(), &["big", "parts", "so\"me"]).await;
        assert_eq!(follow.rows(0).len(), 200_000 - 200_000 / 7);
        assert_eq!((follow.rows(1).len(), follow.rows(2).len()), (30, 5));
        database.sql(
            "UPDATE \"so\"\"me\" SET keep = NOT keep WHERE id < 5; DELETE FROM big WHERE id < 100; \
                      INSERT INTO \"so\"\"me\" VALUES (11, false), (12, true)",
        );
        follow.check("after changes").await;
    });
}

/// A connection that breaks while a table is copied costs the range that was being read, not the copy.
#[test]
fn a_copy_goes_on_over_a_broken_connection() {
    on_both(async |server| {
        let setup = "CREATE TABLE t (id int, v text); ALTER TABLE t REPLICA IDENTITY FULL; \
                     INSERT INTO t SELECT i % 1000, repeat(md5(i::text), 10) FROM generate_series(1, 150000) i";
        let database = Database::new(server.clone(), setup).with("copy_workers", 1);
        let mut source = database.connect();
        let tables = ok(source.tables(&[public("t")], None).await);
        let snapshot = ok(source.snapshot(&tables, None).await);
        let killer = server.client(&database.name);
        let (mut events, mut rows, mut killed) = (snapshot.events, 0, 0);
        while let Some((_, event)) = ok(events.try_next().await) {
            rows += event.rows();
            if killed < 2 {
                let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY (SELECT%' \
                           AND datname = current_database() AND pid <> pg_backend_pid()";
                killed += killer.query(sql).len();
            }
        }
        assert_eq!((rows, killed > 0), (150_000, true), "{killed} connections were broken");
    });
}

/// 4. Generated columns are not sent, and so not copied.
#[test]
fn generated_columns_are_left_out() {
    on_both(async |server| {
        let setup = "CREATE TABLE t (id int PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED, b text); \
                     INSERT INTO t VALUES (1, 10, DEFAULT, 'x')";
        let database = Database::new(server, setup);
        let mut follow = Follow::begin(database.connect(), &["t"]).await;
        database.sql("INSERT INTO t VALUES (2, 20, DEFAULT, 'y'); UPDATE t SET a = 11 WHERE id = 1");
        follow.check("with a generated column").await;
        assert_eq!(follow.rows(0), ["1|11|x", "2|20|y"]);
    });
}

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
            let end = poll_until_it_ends(&mut follow).await;
            assert!(matches!(&end, End::Schema(reason) if reason.contains("partitions")), "{sql}: {end:?}");
            follow.tables = ok(follow.source.tables(&[public("p")], None).await);
            follow.copy().await;
            follow.check(sql).await;
        }
        assert_eq!(follow.rows(0), ["77|3|m"]);
    });
}

/// Polls until something ends it; a look at the catalog is due every two seconds.
async fn poll_until_it_ends(follow: &mut Follow) -> End {
    let started = std::time::Instant::now();
    while started.elapsed() < Duration::from_secs(20) {
        match follow.try_catch_up().await {
            Ok(End::Here) => tokio::time::sleep(Duration::from_millis(50)).await,
            Ok(end) => return end,
            Err(error) if error.kind() == ErrorKind::Retry => {}
            Err(error) => panic!("{error}"),
        }
    }
    End::Here
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

/// 8. A slot that was moved on by somebody else is not read as if nothing had happened.
#[test]
fn a_slot_that_moved_on_is_noticed() {
    on_both(async |server| {
        let database = Database::new(server.clone(), "CREATE TABLE t (id int PRIMARY KEY)");
        let mut follow = Follow::begin(database.connect(), &["t"]).await;
        follow.catch_up().await;
        follow.reconnect(database.connect());
        database.sql("INSERT INTO t VALUES (1)");
        let advance = format!("SELECT pg_replication_slot_advance('{}', pg_current_wal_lsn())", database.slot());
        until_ok(|| server.try_execute(&database.name, &advance));
        let end = ok(follow.try_catch_up().await);
        assert!(matches!(&end, End::Expired(reason) if reason.contains("was moved on to")), "{end:?}");
        let drop_slot = format!("SELECT pg_drop_replication_slot('{}')", database.slot());
        server.execute(&database.name, &drop_slot);
        follow.reconnect(database.connect());
        let end = ok(follow.try_catch_up().await);
        assert!(matches!(&end, End::Expired(reason) if reason.contains("does not exist")), "{end:?}");
        follow.copy().await;
        follow.check("after another copy").await;
    });
}

/// A slot is let go a moment after its reader.
fn until_ok(mut act: impl FnMut() -> Result<(), String>) {
    let started = std::time::Instant::now();
    while let Err(error) = act() {
        assert!(started.elapsed() < Duration::from_secs(10), "{error}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// 9 and 10. What is acknowledged is what was said to be durable, and it moves on while only others write.
#[test]
fn acknowledgements_follow_what_is_durable() {
    on_both(async |server| {
        let database = Database::new(server.clone(), "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE other (n int)");
        let mut follow = Follow::begin(database.connect(), &["t"]).await;
        let copied = database.confirmed();
        database.sql("INSERT INTO t VALUES (1)");
        follow.catch_up().await;
        let Position::Lsn(read) = follow.at else { panic!() };
        assert!(read > copied && database.confirmed() < read, "nothing was said to be durable yet");
        let acknowledged = async |follow: &mut Follow, server: &Postgres| {
            let Position::Lsn(at) = follow.at else { panic!() };
            ok(follow.source.acknowledge(&follow.at).await);
            until_ok(|| match database.confirmed() >= at {
                true => Ok(()),
                false => Err(format!("{} is not confirmed: {}", at, server.log())),
            });
            assert_eq!(database.confirmed(), at, "nothing more than that");
        };
        acknowledged(&mut follow, &server).await;
        // Another database writes; nothing of ours does.
        let elsewhere = Database::new(server.clone(), "CREATE TABLE w (n int)");
        for _ in 0..3 {
            elsewhere.sql("INSERT INTO w SELECT generate_series(1, 1000)");
            let before = follow.at;
            follow.catch_up().await;
            assert!(follow.at.compare(&before).unwrap().is_gt(), "the position moves with the server's");
            acknowledged(&mut follow, &server).await;
        }
        follow.reconnect(database.connect());
        database.sql("INSERT INTO t VALUES (2)");
        follow.check("after a restart").await;
    });
}

/// 10. A consumer that is busy for longer than `wal_sender_timeout` is not given up.
#[test]
fn feedback_goes_on_while_nothing_is_taken() {
    let server = Postgres::builder().version(PostgresVersion::V18).setting("wal_sender_timeout", "1s").start();
    run(async {
        let database =
            Database::new(server.into(), "CREATE TABLE t (id int PRIMARY KEY, v text)").with("buffer", "64KiB");
        let mut follow = Follow::begin(database.connect(), &["t"]).await;
        for part in 0..50 {
            database.sql(&format!(
                "INSERT INTO t SELECT {part} * 1000 + i, repeat('x', 200) FROM generate_series(1, 1000) i"
            ));
        }
        // The first poll opens the stream; then nothing is taken for three times the time-out.
        let Polled::Changes { to, events, .. } = ok(follow.source.poll(&follow.tables, &follow.at, None, 1).await)
        else {
            panic!("there are changes");
        };
        let events: Vec<_> = ok(events.try_collect().await);
        events.iter().for_each(|(_, event)| follow.contents[0].apply(event));
        follow.at = to;
        tokio::time::sleep(Duration::from_secs(3)).await;
        follow.check("after a pause").await;
        assert!(!database.server.log().contains("replication timeout"), "{}", database.server.log());
        assert_eq!(follow.rows(0).len(), 50_000);
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

/// 11. A slot whose WAL was removed is lost, and said to be so.
#[test]
fn a_lost_slot_is_noticed() {
    for version in PostgresVersion::ALL {
        let server = Postgres::builder()
            .version(version)
            .setting("max_slot_wal_keep_size", "1MB")
            .setting("max_wal_size", "32MB")
            .setting("min_wal_size", "32MB")
            .start();
        run(async {
            let database =
                Database::new(server.into(), "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE w (v text)");
            let mut follow = Follow::begin(database.connect(), &["t"]).await;
            drop(std::mem::replace(&mut follow.source, database.connect()));
            database.sql("INSERT INTO t VALUES (1, 'x')");
            let slot = format!("SELECT wal_status FROM pg_replication_slots WHERE slot_name = '{}'", database.slot());
            let client = database.server.client(&database.name);
            for _ in 0..40 {
                client.execute("INSERT INTO w SELECT repeat(md5(i::text), 30) FROM generate_series(1, 3000) i");
                client.execute("SELECT pg_switch_wal()");
                client.execute("CHECKPOINT");
                if client.value(&slot) == "lost" {
                    break;
                }
            }
            assert_eq!(client.value(&slot), "lost");
            let end = ok(follow.try_catch_up().await);
            assert!(matches!(&end, End::Expired(reason) if reason.contains("is lost")), "{end:?}");
            follow.copy().await;
            follow.check("a copy with a slot made anew").await;
        });
    }
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
            let end = poll_until_it_ends(&mut follow).await;
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

/// 15. A server that restarts is waited for; nothing is lost and nothing comes twice.
#[test]
fn restarts_of_the_server_are_passed() {
    for version in PostgresVersion::ALL {
        let server = std::sync::Arc::new(Postgres::builder().version(version).start());
        run(async {
            let setup = "CREATE TABLE t (id int PRIMARY KEY, v int); CREATE TABLE f (v int); ALTER TABLE f REPLICA IDENTITY FULL";
            let database = Database::new(server.clone(), setup);
            let mut follow = Follow::begin(database.connect(), &["t", "f"]).await;
            for (round, shutdown) in [Shutdown::Fast, Shutdown::Immediate, Shutdown::Fast].into_iter().enumerate() {
                database.sql(&format!("INSERT INTO t VALUES ({round}, 0); INSERT INTO f VALUES (1), (1)"));
                follow.catch_up().await;
                database.sql(&format!("UPDATE t SET v = v + 1; INSERT INTO f VALUES ({round})"));
                // A server that stops in good order waits until its readers have said that they hold all.
                let stopping = std::thread::spawn({
                    let server = server.clone();
                    move || server.stop(shutdown)
                });
                while !stopping.is_finished() {
                    match follow.step().await {
                        Ok(end) => assert!(matches!(end, End::Here), "{end:?}"),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Retry, "{error}"),
                    }
                    ok(follow.source.acknowledge(&follow.at).await);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                stopping.join().unwrap();
                server.start_again();
                // The stream that broke is told of once.
                let _ = follow.try_catch_up().await;
                follow.check(&format!("{version:?}, {shutdown:?}")).await;
            }
        });
    }
}

/// 9. A heartbeat moves positions on a server where nothing else writes.
#[test]
fn a_heartbeat_moves_the_position() {
    on_both(async |server| {
        let database = Database::new(server, "CREATE TABLE t (id int PRIMARY KEY)").with("heartbeat", "100ms");
        let mut follow = Follow::begin(database.connect(), &["t"]).await;
        let started = std::time::Instant::now();
        let first = follow.at;
        let mut moved = 0;
        while moved < 3 {
            assert!(started.elapsed() < Duration::from_secs(20), "{first:?}, {:?}", follow.at);
            let before = follow.at;
            assert!(matches!(ok(follow.step().await), End::Here));
            moved += u32::from(follow.at != before);
        }
        assert_eq!(follow.rows(0).len(), 0);
    });
}

/// 11. A slot that standbys keep in step, where the server has such.
#[test]
fn failover_slots_are_made_where_there_are_any() {
    on_both(async |server| {
        let database = Database::new(server.clone(), "CREATE TABLE t (id int PRIMARY KEY)").with("failover", true);
        let mut source = database.connect();
        let tables = ok(source.tables(&[public("t")], None).await);
        let findings = ok(source.check(&tables).await);
        let refused = findings.iter().any(|finding| finding.fact.contains("`failover` is set"));
        assert_eq!(refused, server.version() == PostgresVersion::V15, "{findings:?}");
        if refused {
            return;
        }
        let mut follow = Follow::begin(source, &["t"]).await;
        let sql = format!("SELECT failover FROM pg_replication_slots WHERE slot_name = '{}'", database.slot());
        assert_eq!(server.value(&database.name, &sql), "t");
        follow.check("with a failover slot").await;
    });
}
