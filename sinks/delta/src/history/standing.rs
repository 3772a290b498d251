//! Where a history stands: besides the epoch and hash that every table has, what is needed to go on after a stop
//! between its commit and that of the view's table.

use tidegate_core::{Committed, Epoch, EpochHash, Micros};

use crate::log::words;
use crate::table::committed;

/// What holds nothing yet.
pub(crate) const NOTHING: Committed = Committed { epoch: Epoch::ZERO, hash: EpochHash([0; 32]) };

/// What the last commit of a history says besides its epoch. The history goes first, so after a stop the view's table
/// still stands at `before`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The time of the last epoch.
    pub(crate) time: Micros,
    /// What the view's table stood at before that commit.
    pub(crate) before: Committed,
    /// The time of that epoch.
    pub(crate) before_time: Micros,
    /// The epoch up to which the history held before that commit. It is never taken back further.
    pub(crate) held: Epoch,
    pub(crate) step: Step,
}

/// What the last commit of a history did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// It went on from what the view was before.
    WentOn,
    /// All open versions begin with it.
    Began,
    /// It made the table, and holds all there ever was.
    Made,
}

impl Standing {
    /// What the application ids have behind the table's.
    pub(crate) const IDS: [&'static str; 9] = [
        "#time",
        "#before",
        "#before-hash-0",
        "#before-hash-1",
        "#before-hash-2",
        "#before-hash-3",
        "#before-time",
        "#step",
        "#held",
    ];

    /// The versions of these ids.
    pub(crate) fn versions(&self) -> [i64; 9] {
        let [a, b, c, d] = words(&self.before.hash);
        let [epoch, held] = [self.before.epoch, self.held].map(|epoch| i64::try_from(epoch.0).unwrap_or(i64::MAX));
        let step = match self.step {
            Step::WentOn => 0,
            Step::Began => 1,
            Step::Made => 2,
        };
        [self.time.0, epoch, a, b, c, d, self.before_time.0, step, held]
    }

    /// What the versions of a history's ids say.
    pub(crate) fn of(found: &[Option<i64>]) -> Option<Standing> {
        let found: Option<Vec<i64>> = found.get(6..)?.iter().copied().collect();
        let [time, epoch, a, b, c, d, before_time, step, held] = <[i64; 9]>::try_from(found?).ok()?;
        let step = match step {
            0 => Step::WentOn,
            1 => Step::Began,
            _ => Step::Made,
        };
        let before = committed(epoch, [a, b, c, d]);
        let held = Epoch(held.unsigned_abs());
        Some(Standing { time: Micros(time), before, before_time: Micros(before_time), held, step })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_returns_from_the_log() {
        let before = Committed { epoch: Epoch(7), hash: EpochHash([0xF3; 32]) };
        let standing = Standing { time: Micros(-5), before, before_time: Micros(9), held: Epoch(6), step: Step::Began };
        let mut found = vec![Some(1); 6];
        found.extend(standing.versions().map(Some));
        assert_eq!(Standing::of(&found), Some(standing));
        assert_eq!(Standing::of(&found[..6]), None);
    }
}
