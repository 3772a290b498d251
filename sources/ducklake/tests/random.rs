//! Random histories: what a follower holds after any polls is what the lake holds there. Every reader follows each lake. Seeds are
//! printed; `TIDEGATE_SEED` and `TIDEGATE_SEQUENCES` run them again, or more of them.

use std::collections::BTreeMap;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::{Position, SnapshotId};
use tidegate_testkit::dml::Mix;
use tidegate_testkit::seed::{seed, sequences};
use tidegate_testkit::{Catalog, Lake, Multiset};

use crate::follower::{Answer, Follower, READERS, SERVER};

/// Steps of a sequence; opening a lake costs about as much as ten of them.
const STEPS: u32 = 40;

/// What the tables held at each snapshot, as the lake said when that was its newest: upkeep that comes
/// later may damage the lake's own memory of it.
type Truth = BTreeMap<u64, Vec<Multiset>>;

fn run(seed: u64, catalog: impl Fn(&Path) -> Catalog) {
    let mut rng = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let mix = Mix { maintenance: 25, expire: 4, schema: 5, rollback: 4, damage: true, ..Mix::changes_only() };
    let (lake, mut dml) = Lake::generated(dir.path(), catalog(dir.path()), seed, mix);
    let tables = dml.tables();
    let mut truth = Truth::new();
    let record = |truth: &mut Truth| {
        let rows = || tables.iter().map(|table| lake.rows(table, None)).collect();
        truth.entry(lake.snapshot()).or_insert_with(rows);
    };
    lake.held(|| record(&mut truth));
    let mut followers = READERS.map(|reader| (reader, Follower::load(&lake, reader, &tables)));
    for _ in 0..STEPS {
        let step = dml.step();
        println!("{}", step.sql());
        lake.held(|| {
            lake.take(&step);
            record(&mut truth);
        });
        for (reader, follower) in &mut followers {
            if rng.random_ratio(1, 2) {
                catch_up(reader, follower, &truth, if rng.random() { u64::MAX } else { 3 });
            }
        }
    }
    for (reader, follower) in &mut followers {
        catch_up(reader, follower, &truth, u64::MAX);
    }
}

fn catch_up(reader: &str, follower: &mut Follower, truth: &Truth, rows_max: u64) {
    loop {
        match follower.try_poll(rows_max).unwrap_or_else(|error| panic!("{reader}: {error}")) {
            Answer::Idle => return,
            Answer::Advanced | Answer::Changes => {}
            Answer::SchemaChanged(_) | Answer::Expired(_) => follower.reload(),
        }
        let Position::SnapshotId(SnapshotId(id)) = follower.at else { panic!("a lake has snapshots") };
        for (found, expected) in follower.contents.iter().zip(&truth[&id]) {
            found.multiset().assert_equals(expected, &format!("{reader}: {} at snapshot {id}", found.schema().name));
        }
    }
}

fn run_many(test: &str, number: u64, catalog: impl Fn(&Path) -> Catalog + Copy) {
    let first = seed(test);
    for sequence in 0..sequences(number) {
        let seed = first.wrapping_add(sequence);
        println!("{test}: TIDEGATE_SEED={seed} TIDEGATE_SEQUENCES=1");
        run(seed, catalog);
    }
}

#[test]
fn random_histories_in_duckdb_files() {
    run_many("random histories in DuckDB files", 8, Catalog::duckdb);
}

#[test]
fn random_histories_in_sqlite() {
    run_many("random histories in SQLite", 8, Catalog::sqlite);
}

#[test]
fn random_histories_in_postgres() {
    run_many("random histories in PostgreSQL", 5, |_: &Path| Catalog::postgres(&SERVER));
}
