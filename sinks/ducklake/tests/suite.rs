//! The suite for sinks.

use crate::lakes::{Kind, sink};

#[test]
fn the_sink_conforms_with_a_catalog_in_duckdb() {
    tidegate_testkit::conformance::sink(|folder| Box::new(sink(Kind::DuckDb, folder)));
}

#[test]
fn the_sink_conforms_with_a_catalog_in_sqlite() {
    tidegate_testkit::conformance::sink(|folder| Box::new(sink(Kind::Sqlite, folder)));
}

#[test]
fn the_sink_conforms_with_a_catalog_in_postgres() {
    tidegate_testkit::conformance::sink(|folder| Box::new(sink(Kind::Postgres, folder)));
}

#[test]
fn values_at_the_edges_return() {
    for kind in [Kind::DuckDb, Kind::Sqlite, Kind::Postgres] {
        println!("{kind:?}");
        tidegate_testkit::conformance::values_at_the_edges(|folder| Box::new(sink(kind, folder)), &[]);
    }
}
