//! Changes of tables: events before them first, then the barrier, then the table as it is.

use tidegate_core::{Position, SnapshotId};
use tidegate_testkit::Lake;

use crate::follower::{Answer, Follower, on_every_catalog, on_sqlite};

fn orders(lake: &Lake, reader: &str) -> Follower {
    lake.execute("CREATE TABLE lake.orders (id INTEGER, note VARCHAR)");
    lake.execute("INSERT INTO lake.orders VALUES (1, 'a'), (2, 'b')");
    Follower::load(lake, reader, &["orders"])
}

/// Rows, then `ddl`: the rows are offered, then the barrier with a reason that contains `says`.
fn barrier(lake: &Lake, follower: &mut Follower, ddl: &str, says: &str) {
    lake.execute("INSERT INTO lake.orders (id) VALUES (3)");
    lake.execute(ddl);
    follower.expect(Answer::Changes);
    let before = follower.at;
    let Answer::SchemaChanged(reason) = follower.poll() else { panic!("{ddl} is a barrier") };
    assert!(reason.contains(says) && reason.contains("lake.main.orders"), "{ddl}: {reason}");
    assert_ne!(before, follower.at);
}

#[test]
fn changes_of_columns() {
    on_every_catalog(|lake, reader| {
        let mut follower = orders(lake, reader);
        for (ddl, says) in [
            ("ALTER TABLE lake.orders ADD COLUMN extra INTEGER DEFAULT 7", "column extra was added"),
            ("ALTER TABLE lake.orders RENAME COLUMN extra TO more", "column extra was renamed to more"),
            ("ALTER TABLE lake.orders ALTER COLUMN more TYPE BIGINT", "the type or nullability of a column changed"),
            ("ALTER TABLE lake.orders ALTER COLUMN id SET NOT NULL", "the type or nullability of a column changed"),
            ("ALTER TABLE lake.orders ALTER COLUMN id DROP NOT NULL", "the type or nullability of a column changed"),
            ("ALTER TABLE lake.orders DROP COLUMN more", "column more was dropped"),
            ("ALTER TABLE lake.orders ADD COLUMN st STRUCT(a INTEGER)", "column st was added"),
            ("ALTER TABLE lake.orders ADD COLUMN st.b INTEGER", "the type or nullability of a column changed"),
            ("ALTER TABLE lake.orders DROP COLUMN st", "column st was dropped"),
        ] {
            barrier(lake, &mut follower, ddl, says);
            follower.reload();
            lake.execute("DELETE FROM lake.orders WHERE id = 3");
            follower.expect(Answer::Changes);
        }
    });
}

#[test]
fn a_column_dropped_and_added_again_is_another() {
    on_sqlite(|lake, reader| {
        let mut follower = orders(lake, reader);
        let ddl =
            "BEGIN; ALTER TABLE lake.orders DROP COLUMN note; ALTER TABLE lake.orders ADD COLUMN note VARCHAR; COMMIT";
        barrier(lake, &mut follower, ddl, "column note was");
    });
}

#[test]
fn row_changes_in_the_transaction_of_the_barrier_are_part_of_the_new_content() {
    on_every_catalog(|lake, reader| {
        let mut follower = orders(lake, reader);
        lake.execute(
            "BEGIN; DELETE FROM lake.orders WHERE id = 1; ALTER TABLE lake.orders ADD COLUMN n INTEGER; \
             INSERT INTO lake.orders VALUES (4, 'd', 4); COMMIT",
        );
        assert!(matches!(follower.poll(), Answer::SchemaChanged(_)));
        assert_eq!(follower.at, Position::SnapshotId(SnapshotId(lake.snapshot())));
        follower.reload();
        assert_eq!(follower.contents[0].multiset().len(), 2);
        lake.execute("UPDATE lake.orders SET n = 5");
        follower.expect(Answer::Changes);
    });
}

#[test]
fn drop_and_recreate_is_another_table() {
    on_every_catalog(|lake, reader| {
        let mut follower = orders(lake, reader);
        let incarnation = follower.tables[0].incarnation;
        let ddl = "DROP TABLE lake.orders; CREATE TABLE lake.orders (id INTEGER, note VARCHAR); \
                   INSERT INTO lake.orders VALUES (9, 'new')";
        barrier(lake, &mut follower, ddl, "was dropped");
        follower.reload();
        assert_ne!(follower.tables[0].incarnation, incarnation);
        assert_eq!(follower.contents[0].multiset().len(), 1);
        let incarnation = follower.tables[0].incarnation;
        let ddl = "BEGIN; DROP TABLE lake.orders; CREATE TABLE lake.orders (id INTEGER, note VARCHAR); COMMIT";
        barrier(lake, &mut follower, ddl, "was dropped");
        follower.reload();
        assert_ne!(follower.tables[0].incarnation, incarnation);
        assert_eq!(follower.contents[0].multiset().len(), 0);
    });
}

#[test]
fn a_rename_is_a_barrier_and_keeps_the_incarnation() {
    on_every_catalog(|lake, reader| {
        let mut follower = orders(lake, reader);
        barrier(
            lake,
            &mut follower,
            "ALTER TABLE lake.orders RENAME TO purchases",
            "was renamed to lake.main.purchases",
        );
        let renamed = Follower::load(lake, reader, &["purchases"]);
        assert_eq!(renamed.tables[0].incarnation, follower.tables[0].incarnation);
        assert_eq!(renamed.contents[0].multiset().len(), 3);
    });
}

#[test]
fn another_table_under_the_old_name_is_not_mistaken() {
    on_sqlite(|lake, reader| {
        let mut follower = orders(lake, reader);
        let ddl = "BEGIN; ALTER TABLE lake.orders RENAME TO old_orders; \
                   CREATE TABLE lake.orders (id INTEGER, note VARCHAR); INSERT INTO lake.orders VALUES (1, 'a'); COMMIT";
        barrier(lake, &mut follower, ddl, "was renamed to lake.main.old_orders");
    });
}

#[test]
fn what_changes_no_column_is_no_barrier() {
    on_every_catalog(|lake, reader| {
        let mut follower = orders(lake, reader);
        for ddl in [
            "COMMENT ON TABLE lake.orders IS 'all of them'",
            "COMMENT ON COLUMN lake.orders.note IS 'free text'",
            "ALTER TABLE lake.orders SET PARTITIONED BY (note)",
            "ALTER TABLE lake.orders RESET PARTITIONED BY",
            "ALTER TABLE lake.orders ALTER COLUMN note SET DEFAULT 'none'",
        ] {
            lake.execute(ddl);
            follower.expect(Answer::Advanced);
            lake.execute("INSERT INTO lake.orders (id) VALUES (5)");
            follower.expect(Answer::Changes);
        }
        lake.execute("BEGIN; COMMENT ON TABLE lake.orders IS 'x'; DELETE FROM lake.orders WHERE id = 5; COMMIT");
        follower.expect(Answer::Changes);
    });
}

#[test]
fn a_dropped_schema_takes_its_tables() {
    on_sqlite(|lake, reader| {
        lake.execute("CREATE SCHEMA lake.raw; CREATE TABLE lake.raw.orders (id INTEGER)");
        let mut source = crate::follower::connect(lake, reader);
        let wanted = [tidegate_core::TableName::new("lake", "raw", "orders")];
        use tidegate_core::{Polled, Source};
        crate::follower::block_on(async {
            let tables = source.tables(&wanted, None).await.unwrap();
            let at = source.head().await.unwrap();
            lake.execute("DROP SCHEMA lake.raw CASCADE");
            let polled = source.poll(&tables, &at, None, 1).await.unwrap();
            assert!(
                matches!(polled, Polled::SchemaChanged { reason, .. } if reason.contains("lake.raw.orders was dropped"))
            );
        });
    });
}
