//! The replication slot: who reads it, what is acknowledged, and what becomes of one that was moved, lost or
//! holds too much.

use tidegate_core::{ErrorKind, OnExpired, Position, Source};
use tidegate_testkit::{Postgres, PostgresVersion};

use crate::harness::{Database, End, Follow, PATIENCE, ok, on_both, public, run, until_ok};

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
        // The server lets a slot go a moment after its reader.
        until_ok(|| server.try_execute(&database.name, &advance)).await;
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

#[test]
fn a_slot_that_somebody_reads_is_left_to_them() {
    on_both(async |server| {
        let database = Database::new(server, "CREATE TABLE t (id int PRIMARY KEY)");
        let mut first = Follow::begin(database.connect(), &["t"]).await;
        database.sql("INSERT INTO t VALUES (1)");
        first.catch_up().await;
        let mut second = database.connect();
        let error = second.poll(&first.tables, &first.at, None, 1).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
        assert!(error.to_string().contains("is in use by process"), "{error}");
        database.sql("INSERT INTO t VALUES (2)");
        first.check("the first goes on").await;
    });
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
            })
            .await;
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
            assert!(started.elapsed() < PATIENCE, "{first:?}, {:?}", follow.at);
            let before = follow.at;
            assert!(matches!(ok(follow.step().await), End::Here));
            moved += u32::from(follow.at != before);
        }
        assert_eq!(follow.rows(0).len(), 0);
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
            follow.reconnect(database.connect());
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

/// WAL that piles up is let go where that is wanted, and the tables are copied again.
#[test]
fn a_slot_that_holds_too_much_is_released() {
    on_both(async |server| {
        let database = Database::new(server.clone(), "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE w (v text)")
            .with("slot_lag_warn", "1MB")
            .with("slot_lag_critical", "4MB")
            .with("on_slot_lag", "release");
        let mut follow = Follow::begin(database.connect(), &["t"]).await;
        assert!(matches!(ok(follow.step().await), End::Here));
        // Nothing is acknowledged, so the server keeps all of it.
        database.sql("INSERT INTO w SELECT repeat(md5(i::text), 30) FROM generate_series(1, 20000) i");
        // Nobody polls, as when a sink stands still.
        let slots = format!("SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{}'", database.slot());
        until_ok(|| match server.value(&database.name, &slots).as_str() {
            "0" => Ok(()),
            _ => Err("the slot is still there".to_owned()),
        })
        .await;
        let end = follow.poll_until_it_ends("released").await;
        assert!(matches!(&end, End::Expired(reason) if reason.contains("was dropped")), "{end:?}");
        assert_eq!(follow.source.on_expired(), OnExpired::Rebuild);
        follow.copy().await;
        database.sql("INSERT INTO t VALUES (1)");
        follow.check("copied again").await;
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
