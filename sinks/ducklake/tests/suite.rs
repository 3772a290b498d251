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
