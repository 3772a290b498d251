//! When a sink is to commit.

use std::time::{Duration, Instant};

use tidegate_core::Micros;

use crate::Clock;
use crate::schedule::{Commits, Schedule};

/// When a sink is to commit, and when it did.
pub(crate) enum Pace {
    Every {
        interval: Duration,
        last: Instant,
    },
    At {
        schedule: Box<Schedule>,
        clock: Clock,
        /// The first moment after the last one that has been kept.
        next: Option<Micros>,
    },
}

impl Pace {
    /// The pace of a sink that begins now.
    pub fn new(commits: Commits, clock: &Clock) -> Pace {
        match commits {
            Commits::Every(interval) => Pace::Every { interval, last: Instant::now() },
            Commits::At(schedule) => {
                let next = schedule.next_after(clock.now());
                Pace::At { schedule, clock: clock.clone(), next }
            }
        }
    }

    /// What the target holds is of this moment: moments since then have been missed.
    pub fn stands_at(&mut self, moment: Micros) {
        if let Pace::At { schedule, next, .. } = self {
            *next = schedule.next_after(moment);
        }
    }

    /// The target holds all there is.
    pub fn kept(&mut self) {
        match self {
            Pace::Every { last, .. } => *last = Instant::now(),
            Pace::At { schedule, clock, next } => *next = schedule.next_after(clock.now()),
        }
    }

    /// How long until it is to commit.
    pub fn due_in(&self) -> Duration {
        match self {
            Pace::Every { interval, last } => interval.saturating_sub(last.elapsed()),
            // A moment that never comes again.
            Pace::At { next: None, .. } => Duration::MAX,
            Pace::At { clock, next: Some(next), .. } => next.since(clock.now()).unwrap_or_default(),
        }
    }

    /// Whether a moment of its schedule is what it waits for, so that the end of a process is no reason to commit.
    pub fn waits_for_a_moment(&self) -> bool {
        matches!(self, Pace::At { .. }) && !self.due_in().is_zero()
    }

    /// The next moment of its schedule.
    pub fn next_moment(&self) -> Option<Micros> {
        match self {
            Pace::Every { .. } => None,
            Pace::At { next, .. } => *next,
        }
    }
}
