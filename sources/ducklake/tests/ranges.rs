//! A model checker: random histories of a lake, and every range of them that may be asked, read at once or late.
//! A reader that holds what the tables held at `a` polls up to `b`, and must hold what they held at `b`. What they
//! held was written down right after each commit; the lake itself may answer otherwise later.
//!
//! A reader may say that a schema changed only where it did, and that something expired only where a snapshot is
//! gone or damaged, or where writers who overlapped left no account ([`crate::reading`]). Seeds are printed; `TIDEGATE_SEED` and `TIDEGATE_SEQUENCES` run them
//! again, or more of them, and `TIDEGATE_READER` with one reader alone.

use std::path::Path;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_source_ducklake::DucklakeSource;
use tidegate_testkit::dml::{Mix, Outcome};
use tidegate_testkit::seed::histories;
use tidegate_testkit::{Catalog, Chronicle, Lake};

use crate::follower::{READERS, SERVER, connect, connect_with};
use crate::reading::{Reading, Remains, Tally};

/// Steps of a history.
const STEPS: u32 = 20;
/// Ranges that are read when a history is over, besides those that were read while it went on.
const LATE_RANGES: u32 = 32;
/// Ranges that each catalog must come to, with the number of sequences that CI runs.
const RANGES_MIN: u64 = 170;

/// Every kind of thing that can happen, with and without damage that a flush after a rewrite does.
pub(crate) fn mix(rng: &mut StdRng) -> Mix {
    // Every range across a gap ends there, so most histories have none.
    let (expire, forget) = if rng.random_ratio(1, 3) { (1, 4) } else { (0, 0) };
    Mix {
        maintenance: 18,
        expire,
        schema: 0,
        rollback: 2,
        damage: rng.random(),
        entangled: 14,
        alter: 10,
        tables: 4,
        files: 8,
        layout: 5,
        upkeep: 8,
        forget,
        concurrent: 8,
        vectors: 0,
        inlining: &[0, 10, 1000],
    }
}

/// The same with deletion vectors, now and then switched off. Most deletes have fewer rows than are inlined, so inlining is
/// mostly off; and what ends a range early is rare.
fn mix_with_vectors(rng: &mut StdRng) -> Mix {
    Mix { vectors: 6, alter: 2, tables: 1, layout: 3, files: 4, inlining: &[0, 0, 1, 10, 1000], ..mix(rng) }
}

/// The same without files of others, which are not encrypted: DuckLake takes them, and does not read them.
fn mix_without_files(rng: &mut StdRng) -> Mix {
    Mix { files: 0, ..mix(rng) }
}

/// Who reads the ranges of a history.
struct Watcher {
    source: DucklakeSource,
    /// Where it stands, and what it holds.
    reading: Reading,
    tally: Tally,
}

/// One history of one lake, and its ranges.
pub(crate) struct History {
    lake: Lake,
    chronicle: Chronicle,
    watchers: Vec<Watcher>,
    rng: StdRng,
}

impl History {
    /// What each of these sources came to, in their order; which of them reads is printed by its number.
    pub(crate) fn run(
        seed: u64,
        lake: Lake,
        folder: &Path,
        mix: fn(&mut StdRng) -> Mix,
        sources: &dyn Fn(&Lake) -> Vec<DucklakeSource>,
    ) -> Vec<Tally> {
        let mut rng = StdRng::seed_from_u64(seed);
        let (lake, mut dml) = lake.with_generated(folder, seed, mix(&mut rng));
        let mut chronicle = Chronicle::new(lake.name());
        let record = |chronicle: &mut Chronicle| {
            let recorded = lake.attached(|duck| {
                chronicle.record(duck);
                Ok(())
            });
            recorded.unwrap();
        };
        record(&mut chronicle);
        let watcher = |source| {
            let reading = Reading::at(&chronicle, chronicle.newest(), |_| true);
            Watcher { source, reading, tally: Tally::default() }
        };
        let watchers = sources(&lake).into_iter().map(watcher).collect();
        let mut history = History { lake, chronicle, watchers, rng };
        for _ in 0..STEPS {
            let step = dml.step();
            println!("{}", step.sql());
            let History { lake, chronicle, .. } = &mut history;
            if lake.take_watched(&step, &mut |duck| chronicle.record(duck)) == Outcome::Refused {
                dml.undo();
            }
            if history.rng.random_ratio(1, 3) {
                history.at_once();
            }
            if history.rng.random_ratio(1, 12) {
                history.late(2);
            }
        }
        history.at_once();
        history.late(LATE_RANGES);
        history.watchers.into_iter().map(|watcher| watcher.tally).collect()
    }

    /// The ranges from where the readers stand to the newest snapshot.
    fn at_once(&mut self) {
        let newest = self.chronicle.newest();
        let remains = Remains::of(&self.lake);
        for number in 0..self.watchers.len() {
            let rows_max = self.rows_max();
            let Watcher { source, reading, tally } = &mut self.watchers[number];
            if reading.at == newest {
                continue;
            }
            println!("reader {number}");
            if !reading.follow(source, &self.chronicle, &remains, newest, rows_max, tally) {
                *reading = Reading::at(&self.chronicle, newest, |_| true);
            }
        }
    }

    /// Any ranges of the past, of any tables.
    fn late(&mut self, ranges: u32) {
        let remains = Remains::of(&self.lake);
        let snapshots: Vec<_> = self.chronicle.snapshots().collect();
        if snapshots.len() < 2 {
            return;
        }
        for _ in 0..ranges {
            let from = self.rng.random_range(0..snapshots.len() - 1);
            // Most ranges are short: a wide one costs as much as many of them, and finds no more.
            let longest = if self.rng.random_ratio(1, 4) { snapshots.len() } else { 4 };
            let to = self.rng.random_range(from + 1..snapshots.len().min(from + 1 + longest));
            // Some of them, so that other tables' changes and barriers are left out too.
            let tables = self.chronicle.at(snapshots[from]).unwrap().len();
            let wanted: u32 = self.rng.random_range(1..1 << tables);
            let rows_max = self.rows_max();
            for (number, Watcher { source, tally, .. }) in self.watchers.iter_mut().enumerate() {
                println!("reader {number}");
                let mut reading = Reading::at(&self.chronicle, snapshots[from], |place| wanted & (1 << place) != 0);
                reading.follow(source, &self.chronicle, &remains, snapshots[to], rows_max, tally);
            }
        }
    }

    fn rows_max(&mut self) -> u64 {
        if self.rng.random_ratio(1, 4) { 3 } else { u64::MAX }
    }
}

fn run_many(catalog_name: &str, number: u64, catalog: impl Fn(&Path) -> Catalog) {
    let only = std::env::var("TIDEGATE_READER").ok();
    let readers = READERS.into_iter().filter(|reader| only.as_deref().is_none_or(|only| only == *reader));
    let readers: Vec<_> = readers.collect();
    let test = format!("ranges in {catalog_name}");
    let mut tallies = vec![Tally::default(); readers.len()];
    let sequences = histories(&test, number, |seed, folder| {
        let lake = Lake::create(folder, catalog(folder));
        let sources = |lake: &Lake| readers.iter().map(|reader| connect(lake, reader)).collect();
        let told = History::run(seed, lake, folder, mix, &sources);
        tallies.iter_mut().zip(&told).for_each(|(tally, more)| tally.add(more));
    });
    for (reader, tally) in readers.iter().zip(&tallies) {
        println!("{test}, reader {reader}: {sequences} histories, {tally}");
        if sequences >= number {
            assert!(tally.ranges >= RANGES_MIN, "{test}, reader {reader}: {tally}");
            assert!(tally.unaccounted * 5 <= tally.ranges, "{test}, reader {reader}: {tally}");
        }
    }
}

#[test]
fn ranges_in_duckdb_files() {
    run_many("DuckDB files", 5, Catalog::duckdb);
}

#[test]
fn ranges_in_sqlite() {
    run_many("SQLite", 5, Catalog::sqlite);
}

#[test]
fn ranges_in_postgres() {
    run_many("PostgreSQL", 5, |_: &Path| Catalog::postgres(&SERVER));
}

/// Histories with deletion vectors. What they have erased is said, and what is not is read as it was.
fn run_with_vectors(catalog_name: &str, number: u64, catalog: impl Fn(&Path) -> Catalog) {
    let test = format!("deletion vectors in {catalog_name}");
    let mut tally = Tally::default();
    let sequences = histories(&test, number, |seed, folder| {
        let lake = Lake::create(folder, catalog(folder));
        let diff = |lake: &Lake| {
            vec![connect_with(lake, serde_json::json!({ "catalog": lake.uri(), "deletion_vectors": "diff" }))]
        };
        tally.add(&History::run(seed, lake, folder, mix_with_vectors, &diff)[0]);
    });
    println!("{test}: {sequences} histories, {tally}");
    if sequences >= number {
        assert!(tally.erased > 0 && tally.changes > 50, "{test}: {tally}");
    }
}

#[test]
fn deletion_vectors_in_duckdb_files() {
    run_with_vectors("DuckDB files", 4, Catalog::duckdb);
}

#[test]
fn deletion_vectors_in_sqlite() {
    run_with_vectors("SQLite", 4, Catalog::sqlite);
}

#[test]
fn deletion_vectors_in_postgres() {
    run_with_vectors("PostgreSQL", 4, |_: &Path| Catalog::postgres(&SERVER));
}

/// Lakes whose files are encrypted.
#[test]
fn ranges_of_encrypted_lakes() {
    let test = "ranges of encrypted lakes";
    let mut tally = Tally::default();
    let sequences = histories(test, 2, |seed, folder| {
        let lake = Lake::create_encrypted(folder, Catalog::sqlite(folder));
        tally.add(&History::run(seed, lake, folder, mix_without_files, &|lake| vec![connect(lake, "native")])[0]);
    });
    println!("{test}: {sequences} histories, {tally}");
    if sequences >= 2 {
        assert!(tally.ranges >= 60, "{test}: {tally}");
    }
}
