//! Random histories: moments resolve as the definition says, whatever happens to the files, or not at all.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tidegate_core::{Epoch, EpochHash, EpochHeader, Lsn, Micros, Position, SnapshotId, SourceId};
use uuid::Uuid;

use super::*;
use crate::LogLocation;
use crate::log::header::{Origin, RecordKind};

fn sources() -> [SourceId; 2] {
    [SourceId::new("ducklake", "lake"), SourceId::new("postgres", "app")]
}

fn position(source: &SourceId, at: u64) -> Position {
    match source.kind.as_str() {
        "ducklake" => Position::SnapshotId(SnapshotId(at)),
        _ => Position::Lsn(Lsn(at)),
    }
}

/// Epochs of two sources whose clocks differ, step back and sometimes say nothing; numbers that are left out, and
/// frontiers that go back.
pub(super) fn history(rng: &mut StdRng, log_id: Uuid, epochs: usize) -> Vec<RecordHeader> {
    let sources = sources();
    let mut clocks = [1_000i64, 1_000 + rng.random_range(-500..500)];
    let mut records: Vec<RecordHeader> = Vec::new();
    let mut latest: Option<Micros> = None;
    while records.len() < epochs {
        let before = records.last();
        let mut epoch = before.map_or(Epoch(1), |before| before.header.epoch.next());
        let mut frontier = before.map(|before| before.header.frontier.clone()).unwrap_or_default();
        let mut commit_times = BTreeMap::new();
        let kind = match rng.random_range(0..20) {
            0 => {
                epoch = Epoch(epoch.0 + rng.random_range(0..4));
                RecordKind::Resync
            }
            1 if !records.is_empty() => {
                // The positions of some earlier epoch, as a rewind has them.
                frontier = records.choose(rng).unwrap().header.frontier.clone();
                RecordKind::Rebuild
            }
            _ => {
                for (source, clock) in sources.iter().zip(&mut clocks) {
                    if rng.random_bool(0.6) {
                        *clock +=
                            if rng.random_bool(0.1) { -rng.random_range(0..300) } else { rng.random_range(0..100) };
                        let at = match frontier.get(source) {
                            Some(Position::SnapshotId(SnapshotId(at)) | Position::Lsn(Lsn(at))) => *at,
                            None => 0,
                        };
                        frontier.set(source.clone(), position(source, at + rng.random_range(1..4)));
                        if rng.random_bool(0.9) {
                            commit_times.insert(source.clone(), Micros(*clock));
                        }
                    }
                }
                RecordKind::Events
            }
        };
        latest = latest.max(commit_times.values().copied().max());
        let previous = before.map(|before| Link::from(&before.header)).unwrap_or_default();
        let hash = EpochHash(*blake3::hash(&rng.random::<u64>().to_le_bytes()).as_bytes());
        let time = Micros(epoch.0 as i64);
        let header = EpochHeader { epoch, hash, frontier, time, latest_commit: latest };
        let logged_at = Micros(10 * epoch.0 as i64);
        let origin = Origin::plain(kind, commit_times);
        records.push(RecordHeader { origin, header, previous, log_id, logged_at, sections: Vec::new() });
    }
    records
}

pub(super) fn moments(rng: &mut StdRng, records: &[RecordHeader]) -> Vec<Moment> {
    let last = records.last().unwrap().header.epoch.0;
    let mut moments = vec![Moment::Timestamp(Micros(i64::MIN)), Moment::Timestamp(Micros(i64::MAX))];
    for _ in 0..30 {
        moments.push(Moment::Timestamp(Micros(rng.random_range(0..1_000 + 60 * records.len() as i64))));
        moments.push(Moment::Epoch(Epoch(rng.random_range(1..=last))));
        let mut frontier = records.choose(rng).unwrap().header.frontier.clone();
        if rng.random_bool(0.5) {
            let mixed = records.choose(rng).unwrap().header.frontier.clone();
            frontier = frontier.iter().map(|(id, at)| (id.clone(), *mixed.get(id).unwrap_or(at))).collect();
        }
        if rng.random_bool(0.3) {
            frontier = frontier.iter().take(1).map(|(id, at)| (id.clone(), *at)).collect();
        }
        moments.push(Moment::Frontier(frontier));
    }
    moments
}

/// What `docs/src/time.md` says, word by word.
fn defined(records: &[RecordHeader], moment: &Moment) -> Option<Epoch> {
    let fits = |at: usize| match moment {
        Moment::Timestamp(time) => {
            !records[..=at].iter().any(|record| record.origin.commit_times.values().any(|commit| commit > time))
        }
        Moment::Epoch(epoch) => records[at].header.epoch <= *epoch,
        Moment::Frontier(frontier) => frontier.iter().all(|(source, bound)| {
            records[at].header.frontier.get(source).is_none_or(|at| at.compare(bound).unwrap().is_le())
        }),
    };
    (0..records.len()).rev().find(|at| fits(*at)).map(|at| records[at].header.epoch)
}

/// Every moment that has an answer has the one of the definition; says how many have none though they should.
#[track_caller]
pub(super) fn unanswered(map: &TimeMap, records: &[RecordHeader], moments: &[Moment], what: &str) -> usize {
    let mut without = 0;
    for moment in moments {
        let expected = defined(records, moment);
        match map.resolve(moment) {
            Ok(entry) => assert_eq!(Some(entry.epoch), expected, "{what}: {moment}"),
            Err(Unresolved::OtherSource { .. }) => {}
            Err(_) => without += usize::from(expected.is_some()),
        }
    }
    without
}

pub(super) fn files(state: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(state.join(FOLDER)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

pub(super) fn seed(what: &str) -> u64 {
    let seed = std::env::var("TIDEGATE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    eprintln!("{what}: TIDEGATE_SEED={seed}");
    seed
}

#[test]
fn moments_resolve_as_they_are_defined() {
    let rng = &mut StdRng::seed_from_u64(seed("moments"));
    for round in 0..15 {
        let dir = tempfile::tempdir().unwrap();
        let state = StateFile::new("shop", 1);
        state.write(dir.path()).unwrap();
        let epochs = rng.random_range(1..120);
        let records = history(rng, state.log_id, epochs);
        let segment_bytes = rng.random_range(1..8_000);
        let mut map = TimeMap::open_with(dir.path(), state.log_id, segment_bytes).unwrap();
        records.iter().for_each(|record| map.append(record).unwrap());
        let moments = moments(rng, &records);
        let what = format!("round {round}");
        assert_eq!(unanswered(&map, &records, &moments, &what), 0, "{what}");
        // While the writer goes on, and without its lock.
        let seen = TimeMap::look(dir.path()).unwrap();
        assert_eq!(unanswered(&seen, &records, &moments, &what), 0, "{what}, looked at");
        map.sync().unwrap();
        drop(map);
        let mut map = TimeMap::open_with(dir.path(), state.log_id, segment_bytes).unwrap();
        assert_eq!(unanswered(&map, &records, &moments, &what), 0, "{what}, opened again");

        // What is trimmed has no answer, the rest keeps its own.
        let older_than = Micros(rng.random_range(0..10 * records.last().unwrap().header.epoch.0 as i64 + 20));
        map.trim(older_than).unwrap();
        unanswered(&map, &records, &moments, &format!("{what}, trimmed"));
        let first = map.first().unwrap().unwrap();
        assert!(first.logged_at <= older_than || first.epoch == records[0].header.epoch, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_files_lose_comes_from_the_log_and_nothing_is_ever_wrong() {
    let rng = &mut StdRng::seed_from_u64(seed("files"));
    for round in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        let state = StateFile::new("shop", 1);
        state.write(dir.path()).unwrap();
        let epochs = rng.random_range(2..40);
        let records = history(rng, state.log_id, epochs);
        let moments = moments(rng, &records);
        let segment_bytes = rng.random_range(1..6_000);
        let mut map = TimeMap::open_with(dir.path(), state.log_id, segment_bytes).unwrap();
        records.iter().for_each(|record| map.append(record).unwrap());
        drop(map);
        // The log has all epochs, or those that retention left.
        let log_from = if rng.random_bool(0.7) { 0 } else { rng.random_range(0..records.len()) };
        let mut log = InputLog::open(&LogLocation::StateDir, dir.path(), state.log_id).unwrap();
        for record in &records[log_from..] {
            log.append(record, None).await.unwrap();
        }
        let files = files(dir.path());
        let file = files.choose(rng).unwrap();
        let mut own = records.clone();
        let harm = rng.random_range(0..6);
        match harm {
            0 => fs::remove_file(file).unwrap(),
            1 => {
                let mut bytes = fs::read(file).unwrap();
                let at = rng.random_range(0..bytes.len());
                bytes[at] ^= 1 << rng.random_range(0..8);
                fs::write(file, bytes).unwrap();
            }
            2 => {
                let last = files.last().unwrap();
                let bytes = fs::read(last).unwrap();
                fs::write(last, &bytes[..rng.random_range(0..bytes.len())]).unwrap();
            }
            3 => fs::remove_dir_all(dir.path().join(FOLDER)).unwrap(),
            4 => {
                // The log lost its end, and the pipeline made other epochs instead.
                let keep = rng.random_range(log_from..records.len());
                let other = history(rng, state.log_id, 3);
                own.truncate(keep + 1);
                fs::remove_dir_all(dir.path().join("log")).unwrap();
                log = InputLog::open(&LogLocation::StateDir, dir.path(), state.log_id).unwrap();
                for mut record in other {
                    let before = own.last().unwrap().header.clone();
                    record.previous = Link::from(&before);
                    record.header.epoch = before.epoch.next();
                    record.header.frontier = before.frontier;
                    record.header.latest_commit = before.latest_commit.max(record.header.latest_commit);
                    own.push(record);
                }
                for record in &own[log_from..] {
                    log.append(record, None).await.unwrap();
                }
            }
            _ => {
                // Another pipeline's.
                fs::remove_dir_all(dir.path().join(FOLDER)).unwrap();
                let id = Uuid::new_v4();
                let mut map = TimeMap::open_with(dir.path(), id, segment_bytes).unwrap();
                let other = history(rng, id, 10);
                other.iter().for_each(|record| map.append(record).unwrap());
                drop(map);
                assert!(TimeMap::look(dir.path()).is_err());
            }
        }
        let what = format!("round {round}, harm {harm}, log from {log_from}");
        let moments: Vec<Moment> = moments
            .into_iter()
            .filter(|moment| !matches!(moment, Moment::Epoch(epoch) if *epoch > own.last().unwrap().header.epoch))
            .collect();
        let checkpoint = rng.random_range(log_from..own.len());
        let mut map = TimeMap::open_with(dir.path(), state.log_id, segment_bytes).unwrap();
        map.complete(&log, &own[checkpoint..]).await.unwrap();
        assert_eq!(map.last().unwrap().link(), Link::from(&own.last().unwrap().header), "{what}");
        let without = unanswered(&map, &own, &moments, &what);
        if log_from == 0 && harm >= 2 {
            assert_eq!(without, 0, "{what}");
        }
        // Whatever was lost, the folder can be removed.
        drop(map);
        fs::remove_dir_all(dir.path().join(FOLDER)).unwrap();
        let mut map = TimeMap::open_with(dir.path(), state.log_id, segment_bytes).unwrap();
        map.complete(&log, &own[checkpoint..]).await.unwrap();
        let without = unanswered(&map, &own, &moments, &what);
        assert!(log_from > 0 || without == 0, "{what}, made anew");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_cut_at_any_byte_is_completed() {
    let rng = &mut StdRng::seed_from_u64(7);
    let dir = tempfile::tempdir().unwrap();
    let state = StateFile::new("shop", 1);
    state.write(dir.path()).unwrap();
    let records = history(rng, state.log_id, 3);
    let mut log = InputLog::open(&LogLocation::StateDir, dir.path(), state.log_id).unwrap();
    let mut map = TimeMap::open(dir.path(), state.log_id).unwrap();
    for record in &records {
        log.append(record, None).await.unwrap();
        map.append(record).unwrap();
    }
    drop(map);
    let moments = moments(rng, &records);
    let path = files(dir.path()).remove(0);
    let whole = fs::read(&path).unwrap();
    for len in 0..whole.len() {
        fs::write(&path, &whole[..len]).unwrap();
        let mut map = TimeMap::open(dir.path(), state.log_id).unwrap();
        map.complete(&log, &records[2..]).await.unwrap();
        assert_eq!(unanswered(&map, &records, &moments, &format!("cut at {len}")), 0);
        assert_eq!(fs::read(&path).unwrap(), whole, "cut at {len}");
    }
}
