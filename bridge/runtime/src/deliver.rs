//! Commits to the sinks, all that are chosen at the same time.

use futures::future::join_all;
use tidegate_core::{Epoch, failpoint};

use crate::RuntimeError;
use crate::delivery::Driver;
use crate::observer::Progress;
use crate::pipeline::Pipeline;
use crate::summary::Timed;

/// How often a sink may report a conflict before somebody else must be writing to it.
const CONFLICTS: usize = 3;

impl Pipeline {
    /// Brings the chosen sinks to the last epoch. One that answers `Retry` stays behind and is
    /// tried again later; what no sink lacks any more is forgotten.
    pub(crate) async fn deliver(&mut self, mut which: impl FnMut(&Driver) -> bool) -> Result<(), RuntimeError> {
        let Some(last) = self.last.clone() else { return Ok(()) };
        let mut chosen: Vec<bool> = self.drivers.iter().map(|driver| !driver.detached && which(driver)).collect();
        let phase = &mut self.summary.phases_ms.commit;
        let timed = Timed::new(phase);
        let mut round = 0;
        let mut committed = false;
        while chosen.contains(&true) {
            let mut work = Vec::new();
            for (index, driver) in self.drivers.iter_mut().enumerate().filter(|(index, _)| chosen[*index]) {
                if !driver.is_open() {
                    driver.connect(&self.history, Some((&self.pending, last.link())), self.resync.as_deref()).await?;
                }
                if driver.is_open() && !driver.detached && !driver.is_current(last.header.epoch) {
                    let commits = driver.prepare(&self.engine, &self.history, &self.pending, &last.header)?;
                    work.push((index, driver, commits));
                }
            }
            chosen.fill(false);
            let results = work.into_iter().map(|(index, driver, commits)| async move {
                let result = driver.commit(commits).await;
                (index, driver, result)
            });
            let mut fatal = Ok(());
            for (index, driver, result) in join_all(results).await {
                match result {
                    Ok(Ok(())) => {
                        committed = true;
                        tracing::debug!(sink = %driver.name, epoch = %last.header.epoch, "committed");
                        self.observer.notify(Progress::Committed { sink: &driver.name, epoch: last.header.epoch });
                    }
                    Ok(Err(view)) if round + 1 == CONFLICTS => {
                        fatal = fatal.and(Err(RuntimeError::SinkContended { sink: driver.name.clone(), view }));
                    }
                    Ok(Err(_)) => chosen[index] = true,
                    Err(error) => {
                        let text = crate::error::chain(&error);
                        self.observer.notify(Progress::SinkRetry { sink: &driver.name, error: &text });
                        fatal = fatal.and(driver.failed(error));
                    }
                }
            }
            fatal?;
            round += 1;
        }
        drop(timed);
        if committed {
            failpoint::hit("sinks.committed");
        }
        self.forget_delivered(last.header.epoch)
    }

    /// Drops the deltas that every sink has committed.
    fn forget_delivered(&mut self, last: Epoch) -> Result<(), RuntimeError> {
        let floor = self.drivers.iter().filter_map(Driver::floor).min().unwrap_or(last);
        self.pending.trim(floor)?;
        self.history.forget_before(floor);
        Ok(())
    }
}
