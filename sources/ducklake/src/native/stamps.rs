//! Deletes that are not of the snapshot that their delete file has for them.
//!
//! A transaction that deletes rows of a file which had a delete file before writes a new one: the positions of the old one
//! with their snapshots, and its own with the snapshot after the one it *began* at (`DuckLakeDelete::FlushDeleteWithSnapshots`).
//! Where another transaction committed in between, that is too early: a reader that has passed the snapshot misses the deletes, and the lake's own
//! time travel has the rows deleted before they were.
//!
//! What is known: ids of files tell which snapshot wrote a delete file. Unless it was a flush, which writes deletes of earlier
//! snapshots, the latest snapshot in the file stands for the one that wrote it. The deletes of a
//! delete file that was replaced since are in the newer one with their early snapshot; the old file is listed for
//! deletion by its id. Where it is gone, there may be no answer ([`LakeError::Stamped`]).
//!
//! Deletes that overlap with an insert into the table, with upkeep of it, or with a delete from the same file end in a conflict: most
//! histories need no more than a look at the catalog.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_core::TableSchema;

use super::files::{Place, TableFiles};
use super::plan::FilePlan;
use crate::catalog::Catalog;
use crate::commits::{Commit, Commits};
use crate::error::LakeError;

/// A transaction that began so many snapshots before its commit is not shown to be impossible.
const LONG: u64 = 200;

/// Snapshots whose deletes may be in delete files under an earlier one.
#[derive(Debug, Clone, Default)]
pub struct Stamps {
    table: u64,
    name: String,
    /// The snapshots after the one that is consumed, and some before it.
    commits: Commits,
    suspects: Vec<Suspect>,
    /// Snapshots that flushed the table and deleted rows of its files, each with the latest snapshot in one of its delete files: an
    /// early one, or that of a flushed delete.
    unclear: Vec<(u64, u64)>,
}

/// A snapshot that wrote files which are not part of the catalog any more.
#[derive(Debug, Clone)]
struct Suspect {
    snapshot: u64,
    /// Delete files that were replaced; `None`: nobody knows what the file was.
    files: Vec<Option<Place>>,
}

/// What a replaced delete file says: the name of its data file, and positions with snapshots.
pub struct Replaced {
    /// The path of the data file as it was written.
    pub data_file: String,
    /// Positions, each with its snapshot where the file has one.
    pub positions: Vec<(u64, Option<u64>)>,
}

/// How the delete files are read.
pub trait ReadDeletes {
    /// The snapshots that a plan's delete files have, by data file: those that were written late, with their writers.
    fn stamps(&self, plan: &FilePlan) -> Result<Vec<(u64, BTreeSet<u64>)>, LakeError>;
    /// A delete file that was replaced; `None`: it is gone.
    fn replaced(&self, place: &Place) -> Result<Option<Replaced>, LakeError>;
}

impl Stamps {
    /// Finds the delete files of some plans that were written after a snapshot, and notes their snapshots there.
    pub fn of(
        catalog: &dyn Catalog,
        table: &TableSchema,
        files: &TableFiles<'_>,
        (base, first): (u64, u64),
        plans: &mut [FilePlan],
    ) -> Result<Stamps, LakeError> {
        let mut late: Vec<_> = plans.iter_mut().flat_map(|plan| &mut plan.deletes.files).collect();
        late.retain(|file| file.id >= first && file.partial_max.is_some());
        if late.is_empty() {
            return Ok(Stamps::default());
        }
        let id = table.incarnation;
        let commits = Commits::after(catalog, base.saturating_sub(LONG))?;
        let mut last = base;
        // Whoever wrote its own snapshot began right before it.
        let mut timely = BTreeSet::new();
        let mut unclear = Vec::new();
        for file in late {
            let (Some(commit), Some(max)) = (commits.writer(file.id), file.partial_max) else { continue };
            last = last.max(commit.snapshot);
            file.writer = Some(commit.snapshot);
            if max >= commit.snapshot {
                timely.insert(commit.snapshot);
            } else if !commit.tokens.flush(id) {
                file.is_early = true;
            } else if commit.tokens.delete_from_files(id) {
                unclear.push((commit.snapshot, max));
            }
        }
        unclear.retain(|(snapshot, _)| !timely.contains(snapshot));
        let deletes = |commit: &&Commit| commit.tokens.delete_from_files(id) && !commit.files.is_empty();
        let deleting: Vec<&Commit> = commits.within(base + 1..last).iter().filter(deletes).collect();
        let mut suspects = Vec::new();
        if !deleting.is_empty() {
            let (known, replaced) = (files.known_from(first)?, files.replaced_from(first)?);
            for commit in deleting {
                let gone = commit.files.clone().filter(|id| !known.contains(id));
                let gone: Vec<_> = gone.map(|id| replaced.get(&id).cloned()).collect();
                // Data files that were merged are listed, too.
                let is_data = |place: &Option<Place>| place.as_ref().is_some_and(|place| !is_delete_file(&place.path));
                let files: Vec<_> = gone.into_iter().filter(|place| !is_data(place)).collect();
                if !files.is_empty() {
                    suspects.push(Suspect { snapshot: commit.snapshot, files });
                }
            }
        }
        Ok(Stamps { table: id, name: table.name.to_string(), commits, suspects, unclear })
    }

    /// Corrects the deletes of some plans, for who wants to know what happened after one snapshot and up to another.
    pub fn settle(
        &self,
        lake: &str,
        (after, to): (u64, u64),
        plans: &mut [FilePlan],
        read: &dyn ReadDeletes,
    ) -> Result<(), LakeError> {
        let differs = |(snapshot, early): &&(u64, u64)| differs(*early, *snapshot, after, to);
        if let Some((snapshot, _)) = self.unclear.iter().find(differs) {
            return Err(self.unknown(lake, *snapshot));
        }
        if self.suspects.is_empty() {
            return Ok(());
        }
        let mut late = Vec::new();
        for (at, plan) in plans.iter().enumerate() {
            late.extend(read.stamps(plan)?.into_iter().map(|(writer, stamps)| (at, writer, stamps)));
        }
        let timely: BTreeSet<u64> = late.iter().flat_map(|(_, _, stamps)| self.timely(stamps)).collect();
        let mut seen: BTreeMap<u64, Vec<Replaced>> = BTreeMap::new();
        for suspect in self.suspects.iter().filter(|suspect| !timely.contains(&suspect.snapshot)) {
            for (at, writer, stamps) in &late {
                if *writer <= suspect.snapshot || !self.may_hide(suspect.snapshot, stamps, after, to) {
                    continue;
                }
                let replaced = match seen.get(&suspect.snapshot) {
                    Some(replaced) => replaced,
                    None => seen.entry(suspect.snapshot).or_insert(self.replaced(lake, suspect, read)?),
                };
                let plan = &mut plans[*at];
                for file in replaced.iter().filter(|file| is_of(file, &plan.file.place.path)) {
                    let max = file.positions.iter().filter_map(|(_, snapshot)| *snapshot).max();
                    let early = max.filter(|max| *max < suspect.snapshot);
                    let own = file.positions.iter().filter(|(_, snapshot)| early.is_some() && *snapshot == early);
                    plan.deletes.corrected.extend(own.map(|(position, _)| (*position, suspect.snapshot)));
                }
            }
        }
        Ok(())
    }

    /// The snapshots that wrote their own number into a delete file which was there before: they began right before it. The
    /// first snapshot of a file is the one that committed it, and flushed deletes have theirs, too.
    fn timely(&self, stamps: &BTreeSet<u64>) -> impl Iterator<Item = u64> {
        let flushed = |stamp: u64| {
            let commit = self.commits.within(stamp..stamp + 1).first();
            commit.is_none_or(|commit| commit.tokens.delete_inlined(self.table))
        };
        stamps.iter().skip(1).copied().filter(move |stamp| !flushed(*stamp))
    }

    /// Whether deletes of a snapshot may be among these under an earlier one that makes a difference.
    fn may_hide(&self, snapshot: u64, stamps: &BTreeSet<u64>, after: u64, to: u64) -> bool {
        let mut earlier = stamps.range(..snapshot).rev();
        // Its own are the latest before it; there was a delete file already, with earlier ones.
        let (Some(early), Some(_)) = (earlier.next().copied(), earlier.next()) else { return false };
        let meanwhile = self.commits.within(early..snapshot);
        differs(early, snapshot, after, to)
            && !meanwhile.iter().any(|commit| commit.tokens.keep_out_deletes(self.table))
    }

    fn replaced(&self, lake: &str, suspect: &Suspect, read: &dyn ReadDeletes) -> Result<Vec<Replaced>, LakeError> {
        let unknown = || self.unknown(lake, suspect.snapshot);
        let file = |place: &Option<Place>| match place {
            Some(place) => read.replaced(place)?.ok_or_else(unknown),
            None => Err(unknown()),
        };
        suspect.files.iter().map(file).collect()
    }

    fn unknown(&self, lake: &str, snapshot: u64) -> LakeError {
        LakeError::Stamped { lake: lake.to_owned(), table: self.name.clone(), snapshot }
    }
}

/// Whether it matters, to who wants the changes after one snapshot and up to another, which of two snapshots it was.
fn differs(early: u64, snapshot: u64, after: u64, to: u64) -> bool {
    (early <= after && after < snapshot) || (early <= to && to < snapshot)
}

/// DuckLake's own name for such files.
fn is_delete_file(path: &str) -> bool {
    path.ends_with("-delete.parquet")
}

/// Whether a delete file is of the data file at a path. Both names have a UUID unless somebody added the file from
/// elsewhere; paths may have been written relative to another folder.
fn is_of(file: &Replaced, path: &str) -> bool {
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    file.data_file == path || (name(path).starts_with("ducklake-") && name(path) == name(&file.data_file))
}
