//! The suite that every source passes.

use tidegate_testkit::Catalog;
use tidegate_testkit::conformance::{LakeFixture, source};

use crate::follower::{READERS, SERVER, connect};

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
    for reader in READERS {
        source(|dir, seed| {
            LakeFixture::new(dir, Catalog::postgres(&SERVER), seed, move |lake| Box::new(connect(lake, reader)))
        });
    }
}
