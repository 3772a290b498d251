//! Which snapshot wrote a file: ids of files are given out in the order of commits
//! (DuckLake specification 1.0, `ducklake_snapshot.next_file_id`).

use std::ops::Range;

use crate::catalog::{Catalog, SnapshotRow};
use crate::error::LakeError;
use crate::tokens::Tokens;

/// Snapshots that may be committed while a transaction is open.
const LONG: u64 = 200;

/// A snapshot and the files that it wrote.
#[derive(Debug, Clone)]
pub struct Commit {
    /// Its id.
    pub snapshot: u64,
    /// What it did.
    pub tokens: Tokens,
    /// The ids of the files it wrote, of all tables.
    pub files: Range<u64>,
}

/// Snapshots that follow one another, up to the newest.
#[derive(Debug, Clone, Default)]
pub struct Commits {
    commits: Vec<Commit>,
}

impl Commits {
    /// The snapshots after one, and those before it that a transaction may have begun at which committed after it. What the
    /// first of them wrote is left out: the one before may be gone.
    pub fn around(catalog: &dyn Catalog, snapshot: u64) -> Result<Self, LakeError> {
        let rows = catalog.snapshots(Self::oldest(snapshot), i64::MAX.unsigned_abs())?;
        let mut first = rows.first().map_or(0, |row| row.next_file);
        let commit = |row: SnapshotRow| {
            let files = first..row.next_file;
            first = row.next_file;
            Commit { snapshot: row.id, tokens: row.tokens, files }
        };
        Ok(Commits { commits: rows.into_iter().map(commit).collect() })
    }

    /// The oldest snapshot that a transaction may have begun at which committed after the one given.
    pub fn oldest(snapshot: u64) -> u64 {
        snapshot.saturating_sub(LONG)
    }

    /// The snapshot with this id, if it is one of these.
    pub fn get(&self, snapshot: u64) -> Option<&Commit> {
        self.within(snapshot..snapshot + 1).first()
    }

    /// The snapshot that wrote the file with this id, if it is one of these.
    pub fn writer(&self, file: u64) -> Option<&Commit> {
        let at = self.commits.partition_point(|commit| commit.files.end <= file);
        self.commits.get(at).filter(|commit| commit.files.contains(&file))
    }

    /// The id of the first file that one of them may have written.
    pub fn first_file(&self) -> u64 {
        self.commits.first().map_or(0, |commit| commit.files.start)
    }

    /// Those from one snapshot on and before another.
    pub fn within(&self, snapshots: Range<u64>) -> &[Commit] {
        let at = |snapshot: u64| self.commits.partition_point(|commit| commit.snapshot < snapshot);
        &self.commits[at(snapshots.start)..at(snapshots.end).max(at(snapshots.start))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_of_the_snapshot_that_gave_it_its_id() {
        let commit = |snapshot, files| Commit { snapshot, tokens: Tokens::default(), files };
        let commits = Commits { commits: vec![commit(5, 7..7), commit(6, 7..9), commit(7, 9..9), commit(8, 9..12)] };
        let writers = [6, 7, 8, 9, 11, 12].map(|file| commits.writer(file).map(|commit| commit.snapshot));
        assert_eq!(writers, [None, Some(6), Some(6), Some(8), Some(8), None]);
        let ids = |range| commits.within(range).iter().map(|commit| commit.snapshot).collect::<Vec<_>>();
        assert_eq!(ids(6..8), [6, 7]);
        assert!(ids(9..20).is_empty() && ids(8..8).is_empty());
    }
}
