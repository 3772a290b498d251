//! When to try again what answered `Retry`.

use std::time::{Duration, Instant};

const SHORTEST: Duration = Duration::from_millis(100);
/// Whoever waits for a person (a database closed again, a server back) should not wait much longer.
const LONGEST: Duration = Duration::from_secs(5);

/// The wait after a failure; it doubles with each one that follows. Up to half of it is added by
/// chance, so that many who failed at the same moment do not come back at the same moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    wait: Duration,
    jitter: f64,
    failed_at: Instant,
    since: Instant,
}

impl Backoff {
    /// After a first failure.
    pub fn first() -> Self {
        let now = Instant::now();
        Backoff { wait: SHORTEST, jitter: rand::random(), failed_at: now, since: now }
    }

    /// After one more.
    #[must_use]
    pub fn next(self) -> Self {
        let wait = (self.wait * 2).min(LONGEST);
        Backoff { wait, jitter: rand::random(), failed_at: Instant::now(), since: self.since }
    }

    /// Whether it is time.
    pub fn is_due(&self) -> bool {
        self.due_in().is_zero()
    }

    /// How long until it is time.
    pub fn due_in(&self) -> Duration {
        self.wait.mul_f64(1.0 + self.jitter / 2.0).saturating_sub(self.failed_at.elapsed())
    }

    /// How long it has failed.
    pub fn failing_for(&self) -> Duration {
        self.since.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit() {
        let mut backoff = Backoff::first();
        assert!(backoff.due_in() <= SHORTEST * 3 / 2);
        for _ in 0..20 {
            backoff = backoff.next();
        }
        assert_eq!(backoff.wait, LONGEST);
        assert!((LONGEST - SHORTEST..=LONGEST * 3 / 2).contains(&backoff.due_in()));
        assert!(!backoff.is_due());
    }
}
