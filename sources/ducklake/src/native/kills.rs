//! When the rows of a data file were deleted.

use std::collections::BTreeMap;

/// The snapshot in which each deleted row of a data file was deleted: the least that any of its delete files
/// and inlined deletes tells, because a later delete file repeats what earlier ones deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kills {
    /// By position in the file.
    first: BTreeMap<u64, u64>,
    /// The snapshot that removed the whole file, with all rows that were left.
    end: Option<u64>,
}

impl Kills {
    /// Of a file that `end` removed.
    pub fn ending(end: Option<u64>) -> Self {
        Kills { first: BTreeMap::new(), end }
    }

    /// A row was deleted in a snapshot.
    pub fn add(&mut self, position: u64, snapshot: u64) {
        let first = self.first.entry(position).or_insert(snapshot);
        *first = snapshot.min(*first);
    }

    /// Deletes from a snapshot on count for nothing.
    pub fn forget_from(&mut self, snapshot: u64) {
        self.first.retain(|_, killed| *killed < snapshot);
    }

    /// When a row was deleted.
    pub fn of(&self, position: u64) -> Option<u64> {
        let first = self.first.get(&position).copied();
        match (first, self.end) {
            (Some(first), Some(end)) => Some(first.min(end)),
            (first, end) => first.or(end),
        }
    }

    /// Whether a row is there at a snapshot, as far as deletes go.
    pub fn spares(&self, position: u64, snapshot: u64) -> bool {
        self.of(position).is_none_or(|killed| killed > snapshot)
    }

    /// Whether all rows that were left went after one snapshot and up to another.
    pub fn ends_within(&self, after: u64, to: u64) -> bool {
        self.end.is_some_and(|end| after < end && end <= to)
    }

    /// The last snapshot after one and up to another in which rows were deleted; the later one where none were.
    pub fn last(&self, after: u64, to: u64) -> u64 {
        let all = self.first.values().copied().chain(self.end);
        all.filter(|killed| after < *killed && *killed <= to).max().unwrap_or(to)
    }

    /// The rows deleted one by one after one snapshot and up to another, in order.
    pub fn positions(&self, after: u64, to: u64) -> Vec<u64> {
        let within = |killed: u64| after < killed && killed <= to;
        self.first.iter().filter(|(_, killed)| within(**killed)).map(|(position, _)| *position).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_snapshot_counts() {
        let mut kills = Kills::ending(Some(9));
        for (position, snapshot) in [(3, 7), (3, 5), (4, 8), (5, 12)] {
            kills.add(position, snapshot);
        }
        assert_eq!([0, 3, 4, 5].map(|position| kills.of(position)), [Some(9), Some(5), Some(8), Some(9)]);
        assert!(kills.spares(3, 4) && !kills.spares(3, 5) && kills.spares(0, 8) && !kills.spares(0, 9));
        assert_eq!(kills.positions(4, 8), [3, 4]);
        let mut rewritten = kills.clone();
        rewritten.forget_from(8);
        assert_eq!(rewritten.positions(0, 20), [3]);
        assert!(kills.ends_within(8, 9) && !kills.ends_within(9, 10));
        assert_eq!(Kills::default().of(1), None);
    }
}
