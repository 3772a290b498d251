//! Copies of tables: beside writers, in parts, over time-outs and broken connections.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::TryStreamExt;
use tidegate_core::Source;
use tidegate_testkit::PgClient;

use crate::harness::{Database, Follow, ok, on_both, public, until_ok};

/// 1. The slot is made by the replication command: a writer that never pauses loses nothing.
#[test]
fn a_copy_beside_writers_loses_nothing() {
    on_both(async |server| {
        let database = Database::new(server.clone(), "CREATE TABLE t (id bigserial PRIMARY KEY, w int)");
        for round in 0..3 {
            let stop = AtomicBool::new(false);
            let (url, stop) = (server.url(&database.name), &stop);
            let follow = std::thread::scope(|scope| {
                for writer in 0..2 {
                    let url = url.clone();
                    scope.spawn(move || {
                        let client = PgClient::connect(&url);
                        while !stop.load(Ordering::Relaxed) {
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
                stop.store(true, Ordering::Relaxed);
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
        let database = Database::new(server.clone(), setup);
        for setting in ["idle_in_transaction_session_timeout", "statement_timeout", "lock_timeout"] {
            database.sql(&format!("ALTER DATABASE {} SET {setting} = '100ms'", database.name));
        }
        let mut source = database.connect();
        let tables = ok(source.tables(&[public("t")], None).await);
        let snapshot = ok(source.snapshot(&tables, None).await);
        // A session that is idle for less time than the one that exports the snapshot is ended by then.
        let other = server.client(&database.name);
        other.execute("SET statement_timeout = 0; BEGIN");
        let pid = other.value("SELECT pg_backend_pid()");
        let alive = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}");
        until_ok(|| match server.value("postgres", &alive).as_str() {
            "0" => Ok(()),
            _ => Err(format!("the time-outs did not end session {pid}")),
        })
        .await;
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

/// A TRUNCATE that waits for the copy's locks does not hold up the copy for ever.
#[test]
fn a_truncate_waits_for_the_copy_and_not_the_copy_for_it() {
    on_both(async |server| {
        let names = ["a", "b", "c", "d"];
        let setup = names.map(|t| format!("CREATE TABLE {t} (id int PRIMARY KEY); INSERT INTO {t} VALUES (1), (2)"));
        let database = Database::new(server.clone(), &setup.join("; ")).with("copy_workers", 1);
        let mut source = database.connect();
        let tables = ok(source.tables(&names.map(public), None).await);
        // A part lies ready and another waits to be taken: the last table has not been read.
        let snapshot = ok(source.snapshot(&tables, None).await);
        let read =
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY (SELECT%' AND datname = current_database()";
        until_ok(|| match server.value(&database.name, read).as_str() {
            "0" => Err("nothing has been read".to_owned()),
            _ => Ok(()),
        })
        .await;
        let (client, name) = (server.client(&database.name), database.name.clone());
        let truncate = std::thread::spawn(move || client.execute("TRUNCATE d"));
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE query = 'TRUNCATE d' AND wait_event_type = 'Lock'";
        until_ok(|| match server.value(&name, waits).as_str() {
            "0" => Err("TRUNCATE does not wait".to_owned()),
            _ => Ok(()),
        })
        .await;
        let copied = snapshot.events.try_collect::<Vec<_>>();
        let copied = tokio::time::timeout(std::time::Duration::from_secs(60), copied).await;
        let events = ok(copied.expect("the copy ends"));
        assert_eq!(events.iter().map(|(_, event)| event.rows()).sum::<usize>(), 8);
        truncate.join().unwrap();
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
