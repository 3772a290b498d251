//! Which checkpoints stay: recent ones densely, old ones sparsely.
//!
//! A rewind begins at the newest checkpoint at or before its target and replays the log from there. What has to be
//! replayed is measured as [`work`](Rung::work): the bytes logged since the pipeline began, to which each epoch adds
//! [`EPOCH_WORK`] besides. Between two checkpoints that stay there is at most [`DENSE_WORK`], or a quarter of the distance from
//! there to the newest, if that is more (but for what was logged between two checkpoints in the first place). So the number
//! that stay grows with the logarithm of what the log holds.

use std::collections::BTreeSet;

use tidegate_core::Epoch;

/// What an epoch costs to replay, however small it is, in bytes of log.
pub const EPOCH_WORK: u64 = 4 << 20;

/// Work between checkpoints that is little enough to be replayed.
const DENSE_WORK: u64 = 64 * EPOCH_WORK;

/// A distance to the newest checkpoint, over the work that may lie between two of that age.
const SPARSE: u64 = 4;

/// Checkpoints that stay whatever they are: one may be damaged.
const NEWEST: usize = 2;

/// A checkpoint, as it is looked at here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rung {
    /// Where it stands.
    pub epoch: Epoch,
    /// The work to get there from the beginning.
    pub work: u64,
    /// Whether replaying the log does not lead to it: a load, a rebuild or a rewind, whose rows are not in the log.
    pub is_load: bool,
}

/// The epochs of the checkpoints that stay. `rungs` ascend. `log_after` is the epoch after which the log has everything;
/// from earlier checkpoints no epoch can be reached, so that they go.
pub fn kept(rungs: &[Rung], log_after: Epoch) -> BTreeSet<Epoch> {
    let newest = rungs.len().saturating_sub(NEWEST);
    let mut kept: BTreeSet<Epoch> = rungs[newest..].iter().map(|rung| rung.epoch).collect();
    let (Some(last), Some(oldest)) = (rungs.last(), rungs.iter().position(|rung| rung.epoch >= log_after)) else {
        return kept;
    };
    let mut above = last.work;
    for index in (oldest..newest).rev() {
        let rung = &rungs[index];
        // Without this one, the next older one would have to do.
        let gap = match index.checked_sub(1).filter(|below| *below >= oldest) {
            Some(below) => above.saturating_sub(rungs[below].work),
            None => u64::MAX,
        };
        let age = last.work.saturating_sub(rung.work);
        if rung.is_load || gap > DENSE_WORK.max(age / SPARSE) {
            kept.insert(rung.epoch);
            above = rung.work;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    fn every(work: impl Iterator<Item = u64>) -> Vec<Rung> {
        let rung = |(at, work)| Rung { epoch: Epoch(at as u64 + 1), work, is_load: at == 0 };
        work.enumerate().map(rung).collect()
    }

    /// Runs a pipeline that takes a checkpoint after each of these amounts of work, thinning as it goes.
    fn climbed(steps: &[u64], log_after: impl Fn(usize) -> u64) -> Vec<Rung> {
        let mut rungs: Vec<Rung> = Vec::new();
        let mut work = 0;
        for (index, step) in steps.iter().enumerate() {
            work += step;
            rungs.push(Rung { epoch: Epoch(index as u64 + 1), work, is_load: index == 0 });
            let kept = kept(&rungs, Epoch(log_after(index)));
            rungs.retain(|rung| kept.contains(&rung.epoch));
        }
        rungs
    }

    #[test]
    fn whatever_was_thinned_a_replay_is_bounded_and_they_are_few() {
        for seed in 0..20 {
            let mut rng = StdRng::seed_from_u64(seed);
            let count = rng.random_range(2..3000);
            let largest = [EPOCH_WORK, DENSE_WORK, 3 * DENSE_WORK][rng.random_range(0..3)];
            let steps: Vec<u64> = (0..count).map(|_| rng.random_range(EPOCH_WORK..=largest)).collect();
            let rungs = climbed(&steps, |_| 0);
            let last = rungs.last().unwrap().work;
            for pair in rungs.windows(2) {
                let bound = DENSE_WORK.max((last - pair[0].work) / SPARSE) + largest;
                assert!(pair[1].work - pair[0].work <= bound, "seed {seed}: {pair:?} of {last}");
            }
            let doublings = (last / DENSE_WORK + 2).ilog2() as usize + 2;
            assert!(rungs.len() <= 8 * doublings + NEWEST, "seed {seed}: {} of {count}, work {last}", rungs.len());
            assert!(rungs[0].is_load, "the first is pinned");
        }
    }

    #[test]
    fn what_the_log_does_not_reach_goes_but_for_the_newest_two() {
        let rungs = every((0..10).map(|at| at * DENSE_WORK));
        let epochs = |kept: BTreeSet<Epoch>| kept.into_iter().map(|epoch| epoch.0).collect::<Vec<_>>();
        assert_eq!(epochs(kept(&rungs, Epoch(7))), [7, 8, 9, 10]);
        assert_eq!(epochs(kept(&rungs, Epoch(50))), [9, 10]);
        assert_eq!(epochs(kept(&rungs[..1], Epoch(50))), [1]);
        assert!(kept(&[], Epoch(0)).is_empty());
    }

    #[test]
    fn a_load_stays_between_neighbours() {
        let mut rungs = every((0..100).map(|at| at * EPOCH_WORK));
        rungs[50].is_load = true;
        assert!(kept(&rungs, Epoch(0)).contains(&Epoch(51)));
    }
}
