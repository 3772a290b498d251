//! Which snapshot wrote a file: ids of files are given out in the order of commits
//! (DuckLake specification 1.0, `ducklake_snapshot.next_file_id`).

use std::ops::Range;

use crate::catalog::Catalog;
use crate::error::LakeError;
use crate::row::Row;
use crate::tokens::Tokens;

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
    /// The snapshots from one on that are still there; which files the first of them wrote is left out.
    pub fn from(catalog: &dyn Catalog, snapshot: u64) -> Result<Self, LakeError> {
        let sql = format!(
            "SELECT s.snapshot_id, s.next_file_id, c.changes_made FROM {} s LEFT JOIN {} c \
             ON c.snapshot_id = s.snapshot_id AND c.snapshot_id >= {snapshot} \
             WHERE s.snapshot_id >= {snapshot} ORDER BY s.snapshot_id",
            catalog.catalog("snapshot"),
            catalog.catalog("snapshot_changes"),
        );
        let row = |row: &Row| Ok((row.u64(0)?, row.u64(1)?, Tokens::parse(row.optional_text(2)?)));
        let rows = catalog.ask(&sql)?.iter().map(row).collect::<Result<Vec<_>, LakeError>>()?;
        // What the first one wrote is not known: the one before may be gone.
        let mut first = rows.first().map_or(0, |(_, next_file, _)| *next_file);
        let commit = |(snapshot, next_file, tokens)| {
            let files = first..next_file;
            first = next_file;
            Commit { snapshot, tokens, files }
        };
        Ok(Commits { commits: rows.into_iter().map(commit).collect() })
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
