//! What follows a restore: sources and sinks have gone on since the backup was taken.
//!
//! A sink that does not continue our history, be it that it ran ahead or that it was set back itself, is put aside until the
//! sources have been read to their ends. Then it is compared with the views and gets the difference, so that it never
//! goes back in time. Which sources and sinks were brought in line is written down when it is true; a crash in
//! between has it looked at again.

use tidegate_core::{Committed, ErrorKind, Frontier, failpoint};

use crate::delivery::{Aside, Driver};
use crate::history::Standing;
use crate::log::header::Link;
use crate::pipeline::Pipeline;
use crate::retry::Backoff;
use crate::{RuntimeError, StopSignal};

impl Pipeline {
    /// Tells sources and sinks whether they still have to be brought in line.
    pub(crate) fn expect_to_be_restored(&mut self) {
        let restored = self.state.restored.as_ref();
        for driver in &mut self.drivers {
            driver.restored = restored.is_some_and(|restored| !restored.sinks.contains(&driver.name));
        }
        for feed in &mut self.feeds {
            feed.restored = restored.is_some_and(|restored| !restored.sources.contains(&feed.id().name));
        }
    }

    /// Writes down which sources and sinks are in line, and that all are.
    pub(crate) fn note_in_line(&mut self) -> Result<(), RuntimeError> {
        let Some(restored) = &mut self.state.restored else { return Ok(()) };
        let before = restored.clone();
        for feed in &mut self.feeds {
            let is_used = self.positions.get(feed.id()).is_some();
            if !is_used || (feed.asked && feed.trouble.is_none()) {
                feed.restored = false;
                restored.sources.insert(feed.id().name.clone());
            }
        }
        for driver in &mut self.drivers {
            let is_decided = matches!(driver.aside, Some(Aside::Detached(_)));
            if is_decided || (driver.is_open() && driver.aside.is_none()) {
                driver.restored = false;
                restored.sinks.insert(driver.name.clone());
            }
        }
        let left = self.feeds.iter().any(|feed| feed.restored) || self.drivers.iter().any(|driver| driver.restored);
        if !left {
            failpoint::hit("restored.in_line");
            tracing::info!(name: "restored", backup = %before.backup, "sources and sinks are in line with the restored state");
            self.state.restored = None;
        } else if *restored == before {
            return Ok(());
        }
        self.state.write(&self.config.state_dir)
    }

    /// Whether a sink is put aside to be compared, and it is time.
    pub(crate) fn comparison_is_due(&mut self) -> bool {
        let is_due = |driver: &Driver| {
            let rests = driver.trouble.as_ref().is_some_and(|trouble| !trouble.backoff.is_due());
            driver.aside == Some(Aside::Compare) && !driver.is_busy() && !rests
        };
        self.drivers.iter().any(is_due) && self.has_reached_ends()
    }

    /// Whether every source has been read to where it ended when that was first seen in this run.
    fn has_reached_ends(&mut self) -> bool {
        let mut reached = true;
        for feed in &self.feeds {
            let Some(position) = self.positions.get(feed.id()) else { continue };
            if self.ends.get(feed.id()).is_none() {
                let end = feed.head.or_else(|| feed.idle_since.map(|_| *position));
                end.into_iter().for_each(|end| self.ends.set(feed.id().clone(), end));
            }
            let end = self.ends.get(feed.id());
            reached &= end.is_some_and(|end| position.compare(end).is_some_and(|order| order.is_ge()));
        }
        reached
    }

    /// Compares every sink that was put aside for it, and writes the difference. One that fails in a way that may pass
    /// is tried again later.
    pub(crate) async fn compare_sinks(&mut self) -> Result<(), RuntimeError> {
        self.sinks_at_rest().await?;
        for index in 0..self.drivers.len() {
            if self.drivers[index].aside != Some(Aside::Compare) {
                continue;
            }
            if !self.is_still_to_compare(index).await? {
                continue;
            }
            let mut driver = self.drivers.remove(index);
            let done = self.resync_driver(&mut driver).await;
            if done.is_ok() {
                driver.aside = None;
                driver.trouble = None;
            }
            self.drivers.insert(index, driver);
            match done {
                Ok(view_rows) => {
                    failpoint::hit("restored.compared");
                    let (sink, rows) = (&self.drivers[index].name, view_rows.values().sum::<u64>());
                    tracing::warn!(name: "sink_compared", %sink, rows, "the sink was compared with the views and has got the difference");
                    self.summary.resynced.insert(sink.clone(), view_rows);
                }
                Err(RuntimeError::Sink { error, .. }) if error.kind() == ErrorKind::Retry => {
                    self.drivers[index].failed(error)?;
                }
                Err(error @ RuntimeError::SinkContended { .. }) => {
                    tracing::warn!(name: "comparison_failed", error = %tidegate_core::chain(&error), "it is compared again");
                }
                Err(error) => self.detach_or_stop(index, error)?,
            }
        }
        self.note_in_line()
    }

    /// What the sink holds is looked at once more: only what is ours, or what a restored state expects, is compared.
    async fn is_still_to_compare(&mut self, index: usize) -> Result<bool, RuntimeError> {
        if let Err(error) = self.drivers[index].open().await {
            self.drivers[index].failed(error).or_else(|error| self.detach_or_stop(index, error))?;
            return Ok(false);
        }
        self.remember_epochs_of(index).await?;
        let pending = Some((&self.pending, self.last_link()));
        match self.drivers[index].check(&self.history, pending) {
            Ok(Some(_)) => Ok(true),
            Ok(None) => {
                // It continues our history after all.
                self.drivers[index].aside = None;
                self.drivers[index].trouble = None;
                Ok(false)
            }
            Err(error) => self.detach_or_stop(index, error).map(|()| false),
        }
    }

    /// The same at the end of a run that ends by itself: as long as it is worth trying.
    pub(crate) async fn compare_before_the_end(&mut self, stop: &StopSignal) -> Result<(), RuntimeError> {
        let mut backoff: Option<Backoff> = None;
        while self.drivers.iter().any(|driver| driver.aside == Some(Aside::Compare)) && !stop.is_stopped() {
            self.compare_sinks().await?;
            let next = backoff.map_or_else(Backoff::first, Backoff::next);
            if next.failing_for() >= self.config.retry_for {
                break;
            }
            if self.drivers.iter().any(|driver| driver.aside == Some(Aside::Compare)) {
                tokio::select! {
                    () = tokio::time::sleep(next.due_in()) => {}
                    () = stop.stopped() => {}
                }
            }
            backoff = Some(next);
        }
        Ok(())
    }

    /// Looks in the log for the hashes of epochs that a sink holds and we have forgotten. Says whether any was found.
    pub(crate) async fn remember_epochs_of(&mut self, index: usize) -> Result<bool, RuntimeError> {
        let driver = &self.drivers[index];
        let held = driver.views.iter().filter_map(|info| driver.held(&info.name));
        let unknown = |committed: &Committed| self.history.standing(committed) == Standing::Unknown;
        let epochs: Vec<_> = held.filter(unknown).map(|committed| committed.epoch).collect();
        let Some(oldest) = epochs.iter().min() else { return Ok(false) };
        let mut found = false;
        for record in self.log.records(*oldest).await? {
            for link in [record.header.previous, Link::from(&record.header.header)] {
                if epochs.contains(&link.epoch) {
                    self.history.insert(link);
                    found = true;
                }
            }
        }
        Ok(found)
    }

    /// Forgets where the sources ended in an earlier run.
    pub(crate) fn forget_ends(&mut self) {
        self.ends = Frontier::new();
    }
}
