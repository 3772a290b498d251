//! Consumers that pause, servers that restart and networks that break: nothing is lost, nothing comes twice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use tidegate_core::{ErrorKind, Polled, Source};
use tidegate_testkit::postgres::Shutdown;
use tidegate_testkit::{FaultProxy, Postgres, PostgresVersion};

use crate::harness::{Database, End, Follow, PATIENCE, ok, on_both, run, until_ok};

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
        // The first poll opens the stream; then nothing is taken for three times the time-out, and the server goes on
        // hearing of us.
        let Polled::Changes { to, events, .. } = ok(follow.source.poll(&follow.tables, &follow.at, None, 1).await)
        else {
            panic!("there are changes");
        };
        let events: Vec<_> = ok(events.try_collect().await);
        events.iter().for_each(|(_, event)| follow.contents[0].apply(event));
        follow.at = to;
        let began = database.server.value(&database.name, "SELECT now()");
        let heard = format!(
            "SELECT count(*) FROM pg_stat_replication r JOIN pg_replication_slots s ON s.active_pid = r.pid \
             WHERE s.slot_name = '{}' AND r.reply_time > timestamptz '{began}' + interval '3 s'",
            database.slot()
        );
        until_ok(|| match database.server.value(&database.name, &heard).as_str() {
            "1" => Ok(()),
            _ => Err(format!("no word reached the server: {}", database.server.log())),
        })
        .await;
        follow.check("after a pause").await;
        assert!(!database.server.log().contains("replication timeout"), "{}", database.server.log());
        assert_eq!(follow.rows(0).len(), 50_000);
    });
}

/// 15. A server that restarts is waited for; nothing is lost and nothing comes twice.
#[test]
fn restarts_of_the_server_are_passed() {
    for version in PostgresVersion::ALL {
        let server = Arc::new(Postgres::builder().version(version).start());
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

/// A server that shuts down in good order waits for its readers; one whose catalog is due to be looked at, which
/// such a server does not allow, says first what it holds.
#[test]
fn a_server_may_shut_down_when_its_catalog_is_due() {
    let server = Arc::new(Postgres::start_version(PostgresVersion::V18));
    run(async {
        let database = Database::new(server.clone(), "CREATE TABLE t (id int PRIMARY KEY)");
        let mut follow = Follow::begin(database.connect(), &["t"]).await;
        database.sql("INSERT INTO t VALUES (0)");
        follow.catch_up().await;
        // The catalog is looked at every two seconds.
        tokio::time::sleep(Duration::from_millis(2100)).await;
        // Nothing that is read, so that it is a keep-alive that says how far the stream has come.
        database.sql("CREATE TABLE other (id int)");
        let began = Instant::now();
        let stopping = std::thread::spawn({
            let server = server.clone();
            move || server.stop(Shutdown::Fast)
        });
        while follow.source.head().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        while !stopping.is_finished() {
            match follow.step().await {
                Ok(end) => assert!(matches!(end, End::Here), "{end:?}"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Retry, "{error}"),
            }
            ok(follow.source.acknowledge(&follow.at).await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stopping.join().unwrap();
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        server.start_again();
        database.sql("INSERT INTO t VALUES (1)");
        let _ = follow.try_catch_up().await;
        follow.check("after a restart").await;
    });
}

/// A reader that cannot make durable what it has read does not keep a server from shutting down.
#[test]
fn a_server_may_shut_down_while_nothing_is_durable() {
    let server = Arc::new(Postgres::start_version(PostgresVersion::V18));
    run(async {
        let database = Database::new(server.clone(), "CREATE TABLE t (id int PRIMARY KEY)");
        let mut follow = Follow::begin(database.connect(), &["t"]).await;
        follow.catch_up().await;
        ok(follow.source.acknowledge(&follow.at).await);
        database.sql("INSERT INTO t SELECT generate_series(1, 100)");
        let before = follow.at;
        let polled = ok(follow.source.poll(&follow.tables, &before, None, 1).await);
        assert!(matches!(polled, Polled::Changes { .. }));
        drop(polled);
        let began = Instant::now();
        let stopping = std::thread::spawn({
            let server = server.clone();
            move || server.stop(Shutdown::Fast)
        });
        until_ok(|| stopping.is_finished().then_some(()).ok_or_else(|| "the server still waits".to_owned())).await;
        stopping.join().unwrap();
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        server.start_again();
        // The rows that were offered and not acknowledged come again.
        let _ = follow.try_catch_up().await;
        follow.check("after a restart").await;
        assert_eq!(follow.rows(0).len(), 100);
    });
}

/// A server that does not answer for a while, connections that are cut, and slow ones.
#[test]
fn broken_networks_are_passed() {
    on_both(async |server| {
        let setup =
            "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE f (n int); ALTER TABLE f REPLICA IDENTITY FULL";
        let database = Database::new(server.clone(), setup);
        let proxy = FaultProxy::start(server.port());
        let url = format!("{}&connect_timeout=1", server.url_via(proxy.port(), &database.name));
        let mut follow = Follow::begin(database.connect_to(&url), &["t", "f"]).await;
        let load = |round: i32| {
            let client = server.client(&database.name);
            for n in 0..200 {
                let id = round * 1000 + n;
                client.execute(&format!(
                    "BEGIN; INSERT INTO t VALUES ({id}, repeat('x', 500)); INSERT INTO f VALUES ({n} % 5); COMMIT"
                ));
            }
        };
        for round in 0..4 {
            load(round);
            match round {
                0 => proxy.cut(),
                1 => proxy.throttle(200_000),
                2 => {
                    proxy.refuse(true);
                    proxy.cut();
                }
                _ => {
                    proxy.stall(true);
                    proxy.cut();
                }
            }
            if round > 1 {
                let error = follow.try_catch_up().await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
            }
            proxy.refuse(false);
            proxy.stall(false);
            let started = Instant::now();
            while let Err(error) = follow.try_catch_up().await {
                assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
                assert!(started.elapsed() < PATIENCE, "{error}");
            }
            proxy.throttle(0);
            follow.check(&format!("round {round}")).await;
        }
        assert_eq!(follow.rows(0).len(), 800);
    });
}
