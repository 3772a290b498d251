//! Commits to the sinks. Each sink works in a task of its own: one that takes long holds up neither epochs nor
//! other sinks.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Instant;

use tidegate_core::{Epoch, ErrorKind, failpoint};

use crate::delivery::{Aside, Driver, Report, Setback};
use crate::observer::{Phase, Progress, Stretch};
use crate::pipeline::Pipeline;
use crate::{OnSinkFailure, RuntimeError};

/// How often a sink may report a conflict before somebody else must be writing to it.
const CONFLICTS: usize = 3;

impl Pipeline {
    /// Brings the chosen sinks to the last epoch, and waits for them. One that answers `Retry` stays
    /// behind and is tried again later; what no sink lacks any more is forgotten.
    pub(crate) async fn deliver(&mut self, which: impl FnMut(&Driver) -> bool) -> Result<(), RuntimeError> {
        let mut chosen: Vec<bool> = self.drivers.iter().map(which).collect();
        let before = self.summary.phases_ms.commit;
        let started = Instant::now();
        let mut fatal = Ok(());
        while fatal.is_ok() && chosen.contains(&true) {
            for (index, chosen) in chosen.iter_mut().enumerate().filter(|(_, chosen)| **chosen) {
                let begun = self.begin_delivery(index);
                *chosen = matches!(begun, Ok(Delivery::UnderWay));
                fatal = fatal.and(begun.map(drop));
            }
            if fatal.is_err() {
                break;
            }
            self.enter(Phase::Committing);
            self.any_done(&chosen).await;
            fatal = self.take_reports();
            for (driver, chosen) in self.drivers.iter().zip(&mut chosen) {
                // One in trouble is tried again another time.
                *chosen &= driver.trouble.is_none() || driver.is_busy();
            }
        }
        if fatal.is_err() {
            // What is under way may still come to its end.
            fatal = fatal.and(self.sinks_at_rest().await);
        }
        // Here it is not the sinks' own time that counts, but how long they were waited for.
        self.summary.phases_ms.commit = before + started.elapsed();
        fatal.and_then(|()| self.forget_delivered())
    }

    /// Begins what the chosen sinks lack; waits for nothing.
    pub(crate) fn begin_deliveries(&mut self, mut which: impl FnMut(&Driver) -> bool) -> Result<(), RuntimeError> {
        for index in 0..self.drivers.len() {
            if which(&self.drivers[index]) {
                self.begin_delivery(index)?;
            }
        }
        Ok(())
    }

    /// Begins the next thing that a sink needs to come to the last epoch.
    fn begin_delivery(&mut self, index: usize) -> Result<Delivery, RuntimeError> {
        let Some(last) = &self.last else { return Ok(Delivery::Done) };
        let driver = &mut self.drivers[index];
        if driver.is_busy() {
            return Ok(Delivery::UnderWay);
        }
        if driver.aside.is_some() || driver.is_current(last.header.epoch) {
            driver.has_all();
            return Ok(Delivery::Done);
        }
        if !driver.is_open() {
            driver.begin_open();
            return Ok(Delivery::UnderWay);
        }
        match driver.prepare(&self.engine, &self.history, &self.pending, &last.header) {
            Ok(commits) => {
                driver.begin_commit(commits);
                Ok(Delivery::UnderWay)
            }
            Err(error) => self.detach_or_stop(index, error).map(|()| Delivery::Done),
        }
    }

    /// Waits until one of the chosen sinks that are at work is done; not at all when none is.
    async fn any_done(&mut self, chosen: &[bool]) {
        if self.drivers.iter().zip(chosen).any(|(driver, chosen)| *chosen && driver.is_busy()) {
            let drivers = &mut self.drivers;
            poll_fn(|cx| {
                let mut done = false;
                for (driver, _) in drivers.iter_mut().zip(chosen).filter(|(_, chosen)| **chosen) {
                    done |= driver.is_busy() && driver.poll_done(cx).is_ready();
                }
                if done { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        }
    }

    /// Waits until no sink is at work, and takes note of what came of it.
    pub(crate) async fn sinks_at_rest(&mut self) -> Result<(), RuntimeError> {
        for driver in &mut self.drivers {
            driver.hurry();
            driver.rest().await;
        }
        self.take_reports()
    }

    /// Takes note of what the sinks have done.
    pub(crate) fn take_reports(&mut self) -> Result<(), RuntimeError> {
        let mut committed = false;
        let mut fatal = Ok(());
        for index in 0..self.drivers.len() {
            let Some((report, time)) = self.drivers[index].take_report() else { continue };
            let taken = match report {
                Report::Opened(Ok(held)) => {
                    self.drivers[index].opened(held);
                    let last = self.last_link();
                    let pending = Some((&self.pending, last));
                    let driver = &mut self.drivers[index];
                    match driver.check_or_detach(&self.history, pending, self.resync.as_deref()) {
                        Err(RuntimeError::SinkMismatch { .. }) if driver.holds_forgotten(&self.history) => {
                            // Perhaps it was set back to an epoch that the log still knows.
                            driver.aside = Some(Aside::Compare);
                            Ok(())
                        }
                        checked => checked,
                    }
                }
                Report::Opened(Err(error)) => self.sink_failed(index, error),
                Report::Committed { views, end } => {
                    self.summary.phases_ms.commit += time.took();
                    committed |= !views.is_empty();
                    let reached = views.iter().map(|(_, header)| header.epoch).max();
                    match self.drivers[index].committed(views, end) {
                        Ok(()) => {
                            self.tell_committed(index, reached, time);
                            Ok(())
                        }
                        Err(Setback::Failed(error)) => self.sink_failed(index, error),
                        Err(Setback::Conflict(view)) => {
                            let driver = &mut self.drivers[index];
                            driver.conflicts += 1;
                            match driver.conflicts {
                                CONFLICTS.. => Err(RuntimeError::SinkContended { sink: driver.name.clone(), view }),
                                _ => Ok(()),
                            }
                        }
                    }
                }
                Report::Maintained(Ok(())) => Ok(()),
                Report::Maintained(Err(error)) => {
                    let (sink, error) = (&self.drivers[index].name, tidegate_core::chain(&error));
                    tracing::warn!(name: "sink_not_maintained", %sink, %error, "the sink could not keep its target in order; it is tried again later");
                    Ok(())
                }
            };
            fatal = fatal.and(taken.or_else(|error| self.detach_or_stop(index, error)));
        }
        if committed {
            failpoint::hit("sinks.committed");
        }
        fatal
    }

    fn tell_committed(&self, index: usize, epoch: Option<Epoch>, time: Stretch) {
        let (sink, Some(epoch)) = (&self.drivers[index].name, epoch) else { return };
        tracing::debug!(name: "committed", %sink, epoch = epoch.0, duration_ms = time.took().as_secs_f64() * 1000.0, "committed");
        self.observer.notify(Progress::Committed { sink, epoch, time });
    }

    fn sink_failed(&mut self, index: usize, error: tidegate_core::ConnectorError) -> Result<(), RuntimeError> {
        let text = tidegate_core::chain(&error);
        self.observer.notify(Progress::SinkRetry { sink: &self.drivers[index].name, error: &text });
        self.drivers[index].failed(error)
    }

    /// What trying again does not help stops the pipeline, unless the others are to go on.
    pub(crate) fn detach_or_stop(&mut self, index: usize, error: RuntimeError) -> Result<(), RuntimeError> {
        let is_of_sink = matches!(
            error,
            RuntimeError::Sink { .. } | RuntimeError::SinkMismatch { .. } | RuntimeError::SinkContended { .. }
        );
        match self.config.on_sink_failure {
            OnSinkFailure::Detach if is_of_sink && error.kind() != ErrorKind::Bug => {
                self.detach(index, tidegate_core::chain(&error));
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// Goes on without a sink.
    pub(crate) fn detach(&mut self, index: usize, reason: String) {
        let driver = &mut self.drivers[index];
        tracing::error!(name: "sink_detached", sink = %driver.name, %reason,
            "the sink is detached: it gets nothing any more until it is brought in line with 'tidegate resync'"
        );
        driver.trouble = None;
        driver.aside = Some(Aside::Detached(reason));
    }

    /// Moments of a sink's schedule that came after the epoch that it holds, while no process ran, are made up for by one
    /// commit. Where the time map has lost that epoch, the next moment is the first one.
    pub(crate) fn find_missed_moments(&mut self) -> Result<(), RuntimeError> {
        for driver in &mut self.drivers {
            let Some(held) = driver.epoch() else { continue };
            if let Some(entry) = self.time_map.entry(held)? {
                driver.pace.stands_at(entry.logged_at);
            }
        }
        Ok(())
    }

    /// Drops the deltas that every sink has committed.
    pub(crate) fn forget_delivered(&mut self) -> Result<(), RuntimeError> {
        let last = self.epoch();
        let floor = self.drivers.iter().filter_map(Driver::floor).min().unwrap_or(last);
        self.pending.trim(floor)?;
        self.history.forget_before(floor);
        Ok(())
    }
}

/// Whether a sink has something to do.
#[derive(PartialEq, Eq)]
enum Delivery {
    UnderWay,
    Done,
}
