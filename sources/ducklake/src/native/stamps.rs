//! Deletes that are not of the snapshot that their delete file has for them.
//!
//! A transaction that deletes rows of a file which had a delete file before writes a new one: the positions of the old one
//! with their snapshots, and its own with the snapshot after the one it *began* at (`DuckLakeDelete::FlushDeleteWithSnapshots`).
//! Where another transaction committed in between, that is too early: a reader that has passed the snapshot misses the
//! deletes, and the lake's own time travel has the rows deleted before they were.
//!
//! Ids of files tell which snapshot wrote a delete file. Where the latest snapshot in it, *M*, is before that one, *C*, either it is
//! such a file, and what it has for *M* is of *C*; or it was written by a flush of deletes that were kept in the catalog, and is
//! right. (Both call themselves `deleted_from_table`.) What is known to tell them apart:
//!
//! - *M* says that it deleted nothing of the table: then it was not *M*.
//! - DuckLake lets no delete from files overlap with an insert into the table, with upkeep of it, or with a delete file for the same
//!   file: a snapshot from *M* on and before *C* that did such a thing shows that it was a flush.
//! - A flush leaves no delete in the catalog.
//! - A delete file that was replaced since is listed for deletion by its id, and can be read until it is cleaned up.
//!
//! Deletes of a delete file that was replaced are in the newer one with their early snapshot; the replaced one tells.
//! Where nothing tells and it makes a difference, nobody knows what happened ([`LakeError::Stamped`]).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use tidegate_core::TableSchema;

use super::files::{Place, TableFiles};
use super::plan::FilePlan;
use super::rows::Rows;
use crate::catalog::Catalog;
use crate::commits::{Commit, Commits};
use crate::error::LakeError;

/// What the catalog tells about the snapshots of deletes.
#[derive(Debug, Clone, Default)]
pub struct Stamps {
    table: u64,
    name: String,
    /// The snapshots after the one that is consumed, and some before it.
    commits: Commits,
    /// The oldest snapshot that is looked for among them.
    oldest: u64,
    /// Delete files that these wrote and that were replaced; `None`: nobody knows what the file was.
    gone: BTreeMap<u64, Vec<Option<Place>>>,
    /// Snapshots whose delete files show that they were no flush.
    regular: BTreeSet<u64>,
    /// The first snapshot whose deletes are still kept in the catalog.
    first_kept: Option<u64>,
    /// Whether there is anything to be settled.
    is_open: bool,
}

/// What a delete file says that was replaced.
pub struct Replaced {
    /// The path of the data file as it was written.
    pub data_file: String,
    /// Positions, each with its snapshot where the file has one.
    pub positions: Vec<(u64, Option<u64>)>,
}

impl Stamps {
    /// Finds the delete files of some plans that were written after a snapshot, and notes their writers there.
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
        let commits = Commits::around(catalog, base)?;
        let (mut last, mut is_open) = (base, false);
        for file in late {
            let (Some(commit), Some(max)) = (commits.writer(file.id), file.partial_max) else { continue };
            last = last.max(commit.snapshot);
            file.writer = Some(commit.snapshot);
            is_open |= max < commit.snapshot;
        }
        let suspects = commits.within(base + 1..last).iter().filter(|commit| commit.tokens.delete_from_files(id));
        if !is_open && suspects.count() == 0 {
            return Ok(Stamps::default());
        }
        let oldest = Commits::oldest(base);
        let mut stamps = Stamps { table: id, name: table.name.to_string(), oldest, is_open: true, ..Stamps::default() };
        let from = commits.first_file();
        let (known, replaced) = (files.known_from(from)?, files.replaced_from(from)?);
        let deleting = commits.within(0..u64::MAX).iter().filter(|commit| commit.tokens.delete_from_files(id));
        for commit in deleting {
            let gone = commit.files.clone().filter(|id| !known.contains(id)).map(|id| replaced.get(&id).cloned());
            // Data files that were merged are listed, too.
            let gone = gone.filter(|place| place.as_ref().is_none_or(|place| is_delete_file(&place.path)));
            // Nobody knows which data file a deletion vector was of.
            let gone: Vec<_> = gone.map(|place| place.filter(|place| !is_vector(&place.path))).collect();
            if !gone.is_empty() {
                stamps.gone.insert(commit.snapshot, gone);
            }
        }
        for (file, max) in files.delete_files_from(from)? {
            let writer = commits.writer(file).map(|commit| commit.snapshot);
            stamps.regular.extend(writer.filter(|writer| max.is_none_or(|max| max >= *writer)));
        }
        stamps.first_kept = files.first_inlined_delete()?;
        Ok(Stamps { commits, ..stamps })
    }

    /// Corrects the deletes of some plans, for who wants to know what happened after one snapshot and up to another.
    pub fn settle(&self, (after, to): (u64, u64), plans: &mut [FilePlan], rows: &Rows) -> Result<(), LakeError> {
        if !self.is_open {
            return Ok(());
        }
        let settling = Settling { stamps: self, rows, after, to, seen: RefCell::default() };
        let mut late = Vec::new();
        for (at, plan) in plans.iter_mut().enumerate() {
            for (place, mut stamps) in rows.stamps(plan)? {
                let file = &mut plan.deletes.files[place];
                let (Some(writer), Some(max)) = (file.writer, file.partial_max) else { continue };
                file.is_early = max < writer && settling.is_early(max, writer, &plan.file.place.path)?;
                if file.is_early {
                    stamps.remove(&max);
                }
                late.push((at, writer, stamps));
            }
        }
        let timely: BTreeSet<u64> = late.iter().flat_map(|(_, _, stamps)| self.timely(stamps)).collect();
        for suspect in self.gone.keys().filter(|snapshot| **snapshot > after && !timely.contains(snapshot)) {
            for (at, writer, stamps) in &late {
                if writer <= suspect || !settling.may_hide(*suspect, stamps) {
                    continue;
                }
                let plan = &mut plans[*at];
                let path = plan.file.place.path.clone();
                for file in settling.replaced(*suspect)?.iter().filter(|file| is_of(file, &path)) {
                    let max = file.positions.iter().filter_map(|(_, snapshot)| *snapshot).max();
                    let Some(max) = max.filter(|max| max < suspect) else { continue };
                    if settling.is_early(max, *suspect, &path)? {
                        let own = file.positions.iter().filter(|(_, snapshot)| *snapshot == Some(max));
                        plan.deletes.corrected.extend(own.map(|(position, _)| (*position, *suspect)));
                    }
                }
            }
        }
        Ok(())
    }

    /// The snapshots that wrote their own number into a delete file which was there before: they began right before it. The
    /// first snapshot of a file is the one that committed it, and flushed deletes have theirs, too.
    fn timely(&self, stamps: &BTreeSet<u64>) -> impl Iterator<Item = u64> {
        let is_flushed =
            |stamp: u64| self.commits.get(stamp).is_none_or(|commit| commit.tokens.delete_inlined(self.table));
        stamps.iter().skip(1).copied().filter(move |stamp| !is_flushed(*stamp))
    }

    /// Whether no transaction that began right before one snapshot and committed as another can have deleted from files.
    fn keeps_apart(&self, early: u64, snapshot: u64) -> bool {
        self.commits.within(early..snapshot).iter().any(|commit| commit.tokens.keep_out_deletes(self.table))
    }
}

/// Settling for one reader.
struct Settling<'a> {
    stamps: &'a Stamps,
    rows: &'a Rows,
    after: u64,
    to: u64,
    /// Replaced files that were read, by the snapshot that wrote them.
    seen: RefCell<BTreeMap<u64, Rc<Vec<Replaced>>>>,
}

impl Settling<'_> {
    /// Whether it matters which of two snapshots it was.
    fn differs(&self, early: u64, snapshot: u64) -> bool {
        let parts = |end: u64| early <= end && end < snapshot;
        parts(self.after) || parts(self.to)
    }

    /// Whether what a delete file has for its latest snapshot, `max`, is of its writer.
    fn is_early(&self, max: u64, writer: u64, path: &str) -> Result<bool, LakeError> {
        let (stamps, table) = (self.stamps, self.stamps.table);
        // What is older than any transaction was moved by a flush.
        if max < stamps.oldest {
            return Ok(false);
        }
        let commit = stamps.commits.get(max);
        if commit.is_some_and(|commit| !commit.tokens.delete(table)) {
            return Ok(true);
        }
        if !self.differs(max, writer) || stamps.keeps_apart(max, writer) {
            return Ok(false);
        }
        // One that has expired may have done either.
        if commit.is_none_or(|commit| commit.tokens.delete_inlined(table)) {
            if stamps.first_kept.is_some_and(|kept| kept < writer) {
                return Ok(true);
            }
            let may_flush = |commit: &Commit| {
                let is_another = commit.snapshot != writer && !stamps.regular.contains(&commit.snapshot);
                is_another && commit.tokens.may_flush(table)
            };
            let others = stamps.commits.within(max + 1..u64::MAX).iter().any(may_flush);
            return if commit.is_some() && !others { Ok(false) } else { Err(self.unknown(writer)) };
        }
        let replaced = self.replaced(max)?;
        Ok(!replaced.iter().any(|file| is_of(file, path)))
    }

    /// Whether deletes of a snapshot may be among these under an earlier one that makes a difference.
    fn may_hide(&self, snapshot: u64, stamps: &BTreeSet<u64>) -> bool {
        let mut earlier = stamps.range(..snapshot).rev();
        // Its own are the latest before it; there was a delete file already, with earlier ones.
        let (Some(early), Some(_)) = (earlier.next().copied(), earlier.next()) else { return false };
        self.differs(early, snapshot) && !self.stamps.keeps_apart(early, snapshot)
    }

    /// The delete files that a snapshot wrote and that were replaced.
    fn replaced(&self, snapshot: u64) -> Result<Rc<Vec<Replaced>>, LakeError> {
        if let Some(seen) = self.seen.borrow().get(&snapshot) {
            return Ok(seen.clone());
        }
        let file = |place: &Option<Place>| match place {
            Some(place) => self.rows.replaced(place)?.ok_or_else(|| self.unknown(snapshot)),
            None => Err(self.unknown(snapshot)),
        };
        let files = self.stamps.gone.get(&snapshot).map(Vec::as_slice).unwrap_or_default();
        let files = Rc::new(files.iter().map(file).collect::<Result<Vec<_>, _>>()?);
        self.seen.borrow_mut().insert(snapshot, files.clone());
        Ok(files)
    }

    fn unknown(&self, snapshot: u64) -> LakeError {
        LakeError::Stamped { lake: self.rows.lake().to_owned(), table: self.stamps.name.clone(), snapshot }
    }
}

/// DuckLake's own name for such files.
pub fn is_delete_file(path: &str) -> bool {
    path.ends_with("-delete.parquet") || is_vector(path)
}

/// Whether a file is a deletion vector, by DuckLake's own name for such files.
pub fn is_vector(path: &str) -> bool {
    path.ends_with(".puffin")
}

/// Whether a delete file is of the data file at a path. Both names have a UUID unless somebody added the file from
/// elsewhere; paths may have been written relative to another folder.
fn is_of(file: &Replaced, path: &str) -> bool {
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    file.data_file == path || (name(path).starts_with("ducklake-") && name(path) == name(&file.data_file))
}
