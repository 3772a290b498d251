//! The transactions against real servers.

use std::collections::BTreeMap;

use super::*;
use crate::seed::seed;
use crate::{Postgres, PostgresVersion};

const TRANSACTIONS: usize = 300;
const ROWS_IN_A_TABLE_MAX: u64 = 2000;

fn transactions(seed: u64) -> Vec<Vec<String>> {
    let mut generator = PgDml::new(seed, PgTable::ALL.to_vec());
    (0..TRANSACTIONS).map(|_| generator.transaction()).collect()
}

#[test]
fn equal_seeds_give_equal_transactions() {
    assert_eq!(transactions(1), transactions(1));
    assert_ne!(transactions(1), transactions(2));
}

#[test]
fn every_kind_of_statement_comes() {
    let transactions = transactions(seed("every_kind_of_statement_comes"));
    let all: Vec<&String> = transactions.iter().flatten().collect();
    for kind in [
        "INSERT INTO orders",
        "ON CONFLICT DO NOTHING",
        "DO UPDATE",
        "DO $do$",
        "UPDATE orders SET id = -id",
        "UPDATE orders SET note",
        "DELETE FROM orders",
        "UPDATE customers SET region",
        "DELETE FROM customers",
        "UPDATE events",
        "DELETE FROM events",
        "TRUNCATE",
        "SAVEPOINT",
        "RELEASE",
        "ROLLBACK TO",
    ] {
        assert!(all.iter().any(|statement| statement.contains(kind)), "{kind}");
    }
    assert!(all.iter().any(|statement| *statement == "ROLLBACK"));
    assert!(transactions.iter().any(|statements| *statements == ["BEGIN", "COMMIT"]));
    let inserts_after_truncate = |statements: &Vec<String>| {
        statements.windows(2).any(|pair| pair[0].starts_with("TRUNCATE") && pair[1].starts_with("INSERT"))
    };
    assert!(transactions.iter().any(inserts_after_truncate));
}

fn run_on(version: PostgresVersion) {
    let server = Postgres::start_version(version);
    let mut generator = PgDml::new(seed(&format!("pgdml_{version:?}")), PgTable::ALL.to_vec());
    let session = server.client("postgres");
    session.execute(&generator.setup_sql());
    let mut most = BTreeMap::new();
    let mut note = |what: &'static str, sql: &str| {
        let found: u64 = session.value(sql).parse().unwrap();
        let most = most.entry(what).or_insert(0);
        *most = found.max(*most);
    };
    for _ in 0..TRANSACTIONS {
        for statement in generator.transaction() {
            session.execute(&statement);
        }
        for table in PgTable::ALL {
            note(table.name(), &format!("SELECT count(*) FROM {}", table.name()));
        }
        note("long notes", "SELECT count(*) FROM orders WHERE pg_column_size(note) > 8192");
        note("long events", "SELECT count(*) FROM events WHERE pg_column_size(big) > 8192");
        note("equal events", "SELECT count(*) - (SELECT count(*) FROM (SELECT DISTINCT * FROM events) d) FROM events");
        let out_of_line = "SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE oid = 'orders'::regclass";
        note("bytes of notes outside of their rows", out_of_line);
        note("left-over keys", "SELECT count(*) FROM orders, customers WHERE id < 0 OR code < 0");
    }
    println!("{version:?}: {most:?}");
    assert_eq!(most["left-over keys"], 0);
    assert_ne!(most["bytes of notes outside of their rows"], 0);
    for (what, least) in
        [("orders", 30), ("customers", 30), ("events", 30), ("long notes", 5), ("long events", 3), ("equal events", 5)]
    {
        assert!(most[what] >= least && most[what] < ROWS_IN_A_TABLE_MAX, "{what}: {most:?}");
    }
    for (table, identity) in [("orders", "d"), ("customers", "i"), ("events", "f")] {
        let sql = format!("SELECT relreplident FROM pg_class WHERE oid = '{table}'::regclass");
        assert_eq!(session.value(&sql), identity);
    }
}

#[test]
fn transactions_run_on_version_15() {
    run_on(PostgresVersion::V15);
}

#[test]
fn transactions_run_on_version_18() {
    run_on(PostgresVersion::V18);
}

#[test]
fn tables_can_be_chosen() {
    let server = Postgres::start();
    let mut generator = PgDml::new(seed("tables_can_be_chosen"), vec![PgTable::Events]);
    let session = server.client("postgres");
    session.execute(&generator.setup_sql());
    for statement in (0..50).flat_map(|_| generator.transaction()) {
        session.execute(&statement);
    }
}
