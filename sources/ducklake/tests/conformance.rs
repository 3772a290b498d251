//! The suite that every source passes.

use tidegate_testkit::conformance::{LakeFixture, source};
use tidegate_testkit::{Catalog, Postgres};

use crate::follower::connect;

#[test]
fn lakes_in_duckdb_files_conform() {
    source(|dir, seed| LakeFixture::new(dir, Catalog::duckdb(dir), seed, |lake| Box::new(connect(lake))));
}

#[test]
fn lakes_in_sqlite_conform() {
    source(|dir, seed| LakeFixture::new(dir, Catalog::sqlite(dir), seed, |lake| Box::new(connect(lake))));
}

#[test]
fn lakes_in_postgres_conform() {
    let server = Postgres::start();
    source(|dir, seed| LakeFixture::new(dir, Catalog::postgres(&server), seed, |lake| Box::new(connect(lake))));
}
