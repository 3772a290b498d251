//! When a lake's snapshots were committed, and which of them was the present one at a moment: the base of AS OF.
//!
//! A writer's clock gives a snapshot its time, so times may be equal, and may go backwards from one snapshot to the next.

use tidegate_core::{Micros, SnapshotId};

use crate::catalog::Catalog;
use crate::error::LakeError;

/// Where a lake stood at a moment T.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stood {
    /// At the last snapshot s such that no snapshot ≤ s was committed later than T. A later T gives the same snapshot or a later
    /// one, whatever the clocks did.
    At(SnapshotId),
    /// Nowhere: the lake's first snapshot was committed later.
    NotYet,
    /// At a snapshot that has expired, or that cannot be told from one that has. This is the first after it that is kept.
    Gone {
        /// The snapshot.
        kept_from: SnapshotId,
    },
}

/// The snapshots that are kept, in order, and when they were committed.
///
/// Of those that expired nothing is known. Snapshots that expire by age were committed before all that are kept, so that they change no
/// answer. Two things are not seen: a clock that was ahead at a snapshot that expired by its number, and one that was behind at the
/// snapshot that was the newest when others expired, which is kept whatever its age.
pub struct TimeMap(Vec<(u64, Micros)>);

impl TimeMap {
    /// Asks for all of them: a clock that was ahead long ago counts, too.
    pub fn read(catalog: &dyn Catalog) -> Result<Self, LakeError> {
        catalog.commit_times(">= 0").map(TimeMap)
    }

    /// Where the lake stood at a moment.
    pub fn at(&self, time: Micros) -> Stood {
        let later = self.0.iter().position(|(_, committed)| *committed > time);
        match later {
            None => self.0.last().map_or(Stood::NotYet, |(newest, _)| Stood::At(SnapshotId(*newest))),
            Some(at) => {
                let (later, _) = self.0[at];
                match at.checked_sub(1).map(|before| self.0[before].0) {
                    Some(before) if before + 1 == later => Stood::At(SnapshotId(before)),
                    None if later == 0 => Stood::NotYet,
                    _ => Stood::Gone { kept_from: SnapshotId(later) },
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(snapshots: &[(u64, i64)], times: &[i64]) -> Vec<Stood> {
        let map = TimeMap(snapshots.iter().map(|(id, time)| (*id, Micros(*time))).collect());
        times.iter().map(|time| map.at(Micros(*time))).collect()
    }

    fn stood(snapshot: u64) -> Stood {
        Stood::At(SnapshotId(snapshot))
    }

    #[test]
    fn moments_between_and_at_commits() {
        let snapshots = [(0, 10), (1, 20), (2, 30)];
        let expected = [Stood::NotYet, stood(0), stood(0), stood(1), stood(2), stood(2)];
        assert_eq!(at(&snapshots, &[9, 10, 19, 20, 30, i64::MAX]), expected);
    }

    #[test]
    fn equal_times_are_one_moment() {
        assert_eq!(at(&[(0, 10), (1, 20), (2, 20), (3, 30)], &[19, 20, 29]), [stood(0), stood(2), stood(2)]);
    }

    /// Snapshot 1 was committed by a clock that was ahead: what came after it does not count before its time.
    #[test]
    fn a_clock_that_goes_backwards() {
        let snapshots = [(0, 10), (1, 50), (2, 20), (3, 40), (4, 60)];
        assert_eq!(at(&snapshots, &[10, 30, 49, 50, 59, 60]), [0, 0, 0, 3, 3, 4].map(stood));
    }

    #[test]
    fn answers_never_go_back() {
        let snapshots = [(0, 30), (1, 10), (2, 10), (3, 90), (4, 20), (5, 90), (6, 91)];
        let number = |stood| match stood {
            Stood::At(SnapshotId(id)) => id + 1,
            Stood::NotYet => 0,
            Stood::Gone { .. } => unreachable!("all are kept"),
        };
        let times: Vec<i64> = (0..100).collect();
        let answers: Vec<u64> = at(&snapshots, &times).into_iter().map(number).collect();
        assert!(answers.is_sorted(), "{answers:?}");
        for (time, answer) in times.iter().zip(&answers) {
            let law = snapshots.iter().take_while(|(_, committed)| committed <= time).count() as u64;
            assert_eq!(*answer, law, "at {time}");
        }
    }

    #[test]
    fn what_expired_is_gone() {
        let gone = |kept_from| Stood::Gone { kept_from: SnapshotId(kept_from) };
        // 0 to 4, and 7, have expired.
        let snapshots = [(5, 50), (6, 60), (8, 80), (9, 90)];
        let expected = [gone(5), stood(5), gone(8), gone(8), stood(8), stood(9)];
        assert_eq!(at(&snapshots, &[49, 59, 60, 79, 89, 90]), expected);
        assert_eq!(at(&[], &[1]), [Stood::NotYet]);
    }
}
