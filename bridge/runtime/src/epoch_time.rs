//! Epoch time and the wall clock.
//!
//! Epoch time comes from the sources' commit times, so that an epoch that is polled again has the same time; the wall
//! clock only stamps log records, for retention and for people. Where views compare with `tidegate_now()`, which is
//! the epoch's time, the wall clock counts like a source's commit; a replayed epoch has the time of its record.

use std::sync::Arc;

use tidegate_core::Micros;

/// `max(previous + 1 µs, latest commit)`: monotone whatever the clocks do.
pub fn epoch_time(previous: Micros, latest_commit: Option<Micros>) -> Micros {
    let earliest = Micros(previous.0.saturating_add(1));
    latest_commit.map_or(earliest, |commit| commit.max(earliest))
}

/// Where the wall time comes from.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Micros + Send + Sync>);

impl Clock {
    /// A clock of one's own, for tests.
    pub fn new(now: impl Fn() -> Micros + Send + Sync + 'static) -> Self {
        Clock(Arc::new(now))
    }

    /// The wall time.
    pub fn now(&self) -> Micros {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Clock::new(|| Micros(chrono::Utc::now().timestamp_micros()))
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotone_whatever_the_sources_say() {
        assert_eq!(epoch_time(Micros(0), Some(Micros(50))), Micros(50));
        assert_eq!(epoch_time(Micros(50), Some(Micros(50))), Micros(51));
        assert_eq!(epoch_time(Micros(51), Some(Micros(7))), Micros(52));
        assert_eq!(epoch_time(Micros(52), None), Micros(53));
        assert_eq!(epoch_time(Micros(-5), Some(Micros(-9))), Micros(-4));
    }
}
