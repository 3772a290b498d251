//! The suite that every source passes.

use tidegate_testkit::conformance::{LakeFixture, source};
use tidegate_testkit::{Catalog, Postgres};

use crate::follower::{READERS, connect};

#[test]
fn lakes_in_duckdb_files_conform() {
    source(|dir, seed| {
        LakeFixture::new(dir, Catalog::duckdb(dir), seed, move |lake| Box::new(connect(lake, "native")))
    });
}

#[test]
fn lakes_in_sqlite_conform() {
    source(|dir, seed| {
        LakeFixture::new(dir, Catalog::sqlite(dir), seed, move |lake| Box::new(connect(lake, "native")))
    });
}

#[test]
fn lakes_in_postgres_conform() {
    let server = Postgres::start();
    for reader in READERS {
        source(|dir, seed| {
            LakeFixture::new(dir, Catalog::postgres(&server), seed, move |lake| Box::new(connect(lake, reader)))
        });
    }
}
