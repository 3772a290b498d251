//! When to try again what answered `Retry`.

use std::time::{Duration, Instant};

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);

/// The wait after a failure; it doubles with each one that follows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    wait: Duration,
    failed_at: Instant,
    since: Instant,
}

impl Backoff {
    /// After a first failure.
    pub fn first() -> Self {
        let now = Instant::now();
        Backoff { wait: SHORTEST, failed_at: now, since: now }
    }

    /// After one more.
    #[must_use]
    pub fn next(self) -> Self {
        Backoff { wait: (self.wait * 2).min(LONGEST), failed_at: Instant::now(), since: self.since }
    }

    /// Whether it is time.
    pub fn is_due(&self) -> bool {
        self.due_in().is_zero()
    }

    /// How long until it is time.
    pub fn due_in(&self) -> Duration {
        self.wait.saturating_sub(self.failed_at.elapsed())
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
        assert!(backoff.due_in() <= SHORTEST);
        for _ in 0..20 {
            backoff = backoff.next();
        }
        assert_eq!(backoff.wait, LONGEST);
        assert!(!backoff.is_due());
    }
}
