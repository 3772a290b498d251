//! The time of epochs, and epochs that only time makes: where views compare with `tidegate_now()`, rows come and go
//! though no source has news.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_core::{Micros, SourceId};
use tidegate_engine::Program;

use crate::RuntimeError;
use crate::epoch_time::epoch_time;
use crate::goal::Goal;
use crate::log::staging::Staging;
use crate::pipeline::Pipeline;

/// How old the last epoch becomes before time alone makes another one.
const TICK: Duration = Duration::from_secs(60);

impl Pipeline {
    /// The time of an epoch with these commits: later than the one before, not before any commit, and not before
    /// `clock`, where time is something that views read.
    pub(crate) fn coming_time(&self, commit_times: &BTreeMap<SourceId, Micros>, clock: Option<Micros>) -> Micros {
        let before = self.last.as_ref().map_or(Micros(0), |last| last.header.time);
        epoch_time(before, commit_times.values().copied().chain(clock).max())
    }

    /// The wall time, if the present views read it.
    pub(crate) fn wall_time_of_views(&self) -> Option<Micros> {
        self.wall_time_of(self.engine.program()?)
    }

    /// The wall time, if a program reads it: in a run that ends by itself, that of its beginning.
    pub(crate) fn wall_time_of(&self, program: &Program) -> Option<Micros> {
        program.reads_time().then(|| self.run_time.unwrap_or_else(|| self.config.clock.now()))
    }

    /// Whether the last epoch is so old that time makes one.
    pub(crate) fn tick_is_due(&self, goal: &Goal) -> bool {
        let Some(last) = self.last.as_ref().filter(|_| !goal.at_once) else { return false };
        self.wall_time_of_views().is_some_and(|now| now.before(TICK) >= last.header.time)
    }

    /// Brings views that read the time to that of the run's beginning.
    pub(crate) async fn tick_once(&mut self) -> Result<(), RuntimeError> {
        let Some(now) = self.wall_time_of_views() else { return Ok(()) };
        if self.last.as_ref().is_none_or(|last| last.header.time >= now) {
            return Ok(());
        }
        let staged = Staging::new(&self.config.state_dir, self.config.staging_bytes_max).finish();
        self.make_epoch(staged, self.positions.clone(), BTreeMap::new()).await
    }
}
