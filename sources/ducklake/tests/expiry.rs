//! Snapshots that are gone: safe only while the last one consumed is still there and none is missing
//! in between.

use tidegate_testkit::Lake;

use crate::follower::{Answer, Follower, on_every_catalog, on_sqlite};

fn orders(lake: &Lake, reader: &str) -> Follower {
    lake.execute("CREATE TABLE lake.orders (id INTEGER)");
    lake.execute("INSERT INTO lake.orders SELECT i FROM range(30) r(i)");
    Follower::load(lake, reader, &["orders"])
}

fn expire(lake: &Lake, versions: &[u64]) {
    let versions = versions.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    lake.execute(&format!("CALL ducklake_expire_snapshots('lake', versions => [{versions}])"));
}

#[test]
fn the_last_consumed_snapshot_has_expired() {
    on_every_catalog(|lake, reader| {
        let mut follower = orders(lake, reader);
        let consumed = lake.snapshot();
        lake.execute("DELETE FROM lake.orders WHERE id = 1");
        lake.execute("DELETE FROM lake.orders WHERE id = 2");
        expire(lake, &[consumed]);
        let Answer::Expired(reason) = follower.poll() else { panic!("snapshot {consumed} has expired") };
        assert!(reason.contains(&format!("snapshot {consumed} of lake has expired")), "{reason}");
        follower.reload();
        follower.expect(Answer::Idle);
    });
}

#[test]
fn a_snapshot_in_between_has_expired() {
    on_every_catalog(|lake, reader| {
        let mut follower = orders(lake, reader);
        lake.execute("DELETE FROM lake.orders WHERE id = 1");
        let between = lake.snapshot();
        lake.execute("DELETE FROM lake.orders WHERE id = 2");
        expire(lake, &[between]);
        let Answer::Expired(reason) = follower.poll() else { panic!("snapshot {between} has expired") };
        assert!(reason.contains(&format!("snapshot {between} of lake has expired")), "{reason}");
    });
}

#[test]
fn snapshots_before_the_last_consumed_may_go() {
    on_every_catalog(|lake, reader| {
        let first = lake.snapshot();
        let mut follower = orders(lake, reader);
        let consumed = lake.snapshot();
        lake.execute("DELETE FROM lake.orders WHERE id = 1");
        expire(lake, &(first..consumed).collect::<Vec<_>>());
        lake.execute("CALL ducklake_cleanup_old_files('lake', cleanup_all => true)");
        follower.expect(Answer::Changes);
    });
}

#[test]
fn everything_but_the_newest_has_expired() {
    on_sqlite(|lake, reader| {
        let mut follower = orders(lake, reader);
        lake.execute("INSERT INTO lake.orders VALUES (1)");
        lake.execute("CALL ducklake_expire_snapshots('lake', older_than => now())");
        assert!(matches!(follower.poll(), Answer::Expired(_)));
        follower.reload();
        follower.expect(Answer::Idle);
        lake.execute("CALL ducklake_expire_snapshots('lake', older_than => now())");
        lake.execute("INSERT INTO lake.orders VALUES (2)");
        follower.expect(Answer::Changes);
    });
}

#[test]
fn a_flush_after_a_rewrite_damages_the_snapshots_in_between() {
    on_every_catalog(|lake, reader| {
        lake.execute("CREATE TABLE lake.orders (id INTEGER)");
        lake.execute(
            "BEGIN; INSERT INTO lake.orders SELECT i % 5 FROM range(15) r(i); DELETE FROM lake.orders WHERE id = 1; COMMIT",
        );
        let mut late = Follower::load(lake, reader, &["orders"]);
        lake.execute("DELETE FROM lake.orders WHERE id = 2");
        let damaged = lake.snapshot();
        let mut early = Follower::load(lake, reader, &["orders"]);
        lake.execute("CALL ducklake_rewrite_data_files('lake', 'orders', delete_threshold => 0.0)");
        lake.execute("CALL ducklake_flush_inlined_data('lake')");
        // A reader who has been there already goes on; the deletes that the feed repeats are no changes.
        early.expect(Answer::Advanced);
        lake.execute("INSERT INTO lake.orders VALUES (7)");
        early.expect(Answer::Changes);
        assert_eq!(early.contents[0].multiset().len(), 10);
        // Time travel cannot tell any more what happened there; the files still do.
        match late.poll() {
            Answer::Expired(reason) if reader == "extension" => {
                assert!(reason.contains(&format!("lake.main.orders held at snapshot {damaged}")), "{reason}");
                late.reload();
            }
            answer => assert_eq!((answer, reader), (Answer::Changes, "native")),
        }
        assert_eq!(late.contents[0].multiset().len(), 10);
    });
}
