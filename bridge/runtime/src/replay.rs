//! From a checkpoint to the end of the log: the same epochs again, with the same boundaries.

use tidegate_core::{ErrorKind, ViewDelta};
use tidegate_engine::{Engine, Program, RebuildScope};

use crate::checkpoint::CheckpointFile;
use crate::kept::Unloaded;
use crate::log::header::{Link, RecordKind};
use crate::log::{InputLog, LogRecord};
use crate::observer::{Phase, Progress};
use crate::pipeline::{Change, LastEpoch, Pipeline};
use crate::tail::{LOST_CHECKPOINTS, Tail};
use crate::{RuntimeError, blocking};

impl Pipeline {
    /// Opens the sinks and replays the log. Deltas are kept for the sinks that lack them.
    pub(crate) async fn catch_up(
        &mut self,
        checkpoint: &CheckpointFile,
        Tail { records, knows_checkpoint }: Tail,
    ) -> Result<(), RuntimeError> {
        for record in &records {
            self.history.insert((&record.header.header).into());
        }
        let (history, saved) = (&self.history, checkpoint.header.epoch);
        self.pending.cut_unless(|record| record.header.epoch <= saved || history.holds((&record.header).into()))?;
        for record in self.pending.durable() {
            self.history.insert(record.previous);
            self.history.insert((&record.header).into());
        }
        if !knows_checkpoint {
            self.remember_load().await?;
        }
        if matches!(self.change, Change::Afresh(..)) {
            self.skip(&records);
        } else {
            self.connect_sinks(false).await?;
            // What a target lacks as a whole it gets as of the epoch that made it new.
            let here = checkpoint.header.epoch;
            let behind =
                self.drivers.iter().map(|driver| driver.needs_replace(&self.pending) && driver.is_within(here));
            let behind: Vec<bool> = behind.collect();
            if !records.is_empty() {
                let mut behind = behind.into_iter();
                self.deliver(|_| behind.next().unwrap_or(false)).await?;
            }
            self.replay_or_go_around(checkpoint, &records).await?;
            self.check_sinks()?;
        }
        self.positions = self.saved_progress.after(self.frontier());
        Ok(())
    }

    /// A crash between the publishing of a load and its log record: the record is written now.
    async fn remember_load(&mut self) -> Result<(), RuntimeError> {
        let Some(last) = self.last.clone() else { return Ok(()) };
        if !last.origin.is_load() {
            tracing::warn!(name: "log_behind", epoch = last.header.epoch.0, log = self.log.name(), "the log has lost epochs that the checkpoint holds");
            return Ok(());
        }
        let record = self.record(&last, Vec::new());
        self.log.append(&record, None).await.map(drop)
    }

    /// Replays; when an epoch cannot be applied by the present program and another is wanted
    /// anyway, the others of the log are left to the rebuild.
    async fn replay_or_go_around(
        &mut self,
        checkpoint: &CheckpointFile,
        records: &[LogRecord],
    ) -> Result<(), RuntimeError> {
        let Err((failed, error)) = self.replay(records).await else { return Ok(()) };
        let is_engine = matches!(&error, RuntimeError::Engine { error, .. } if error.kind() == ErrorKind::Stop);
        let Change::Rebuild(program, at) = std::mem::replace(&mut self.change, Change::None) else { return Err(error) };
        if !is_engine {
            return Err(error);
        }
        let epoch = records[failed].header.header.epoch;
        tracing::warn!(name: "rebuilding", epoch = epoch.0, error = %tidegate_core::chain(&error), "the views as they were cannot follow; building the new ones");
        self.resume_again(checkpoint)?;
        self.replay(&records[..failed]).await.map_err(|(_, error)| error)?;
        self.skip(&records[failed..]);
        self.change = Change::RebuildAll(program, at);
        Ok(())
    }

    /// Counts records as epochs without changes; a rebuild brings their effect.
    fn skip(&mut self, records: &[LogRecord]) {
        for record in records {
            self.pending.push(record.header.header.clone(), record.header.previous, Vec::new());
            self.stand_after(record);
        }
    }

    async fn replay(&mut self, records: &[LogRecord]) -> Result<(), (usize, RuntimeError)> {
        for (index, record) in records.iter().enumerate() {
            self.enter(Phase::Replaying);
            let deltas = self.apply(record).await.map_err(|error| (index, error))?;
            self.pending.push(record.header.header.clone(), record.header.previous, deltas);
            self.stand_after(record);
            if self.pending.bytes() > self.config.pending_bytes_max {
                self.pending.spill().map_err(|error| (index, error))?;
            }
            self.observer.notify(Progress::Replayed { epoch: record.header.header.epoch });
        }
        Ok(())
    }

    fn stand_after(&mut self, record: &LogRecord) {
        self.saved.epochs += 1;
        self.saved.log_bytes += record.header.sections.iter().map(|section| section.bytes).sum::<u64>();
        self.last = Some(LastEpoch {
            header: record.header.header.clone(),
            previous: record.header.previous,
            origin: record.header.origin.clone(),
        });
    }

    pub(crate) async fn apply(&mut self, record: &LogRecord) -> Result<Vec<ViewDelta>, RuntimeError> {
        match record.header.origin.kind {
            RecordKind::Resync => Ok(Vec::new()),
            RecordKind::Load | RecordKind::Rebuild => self.rebuild_again(record).await,
            RecordKind::Rewind => Box::pin(self.rewind_again(record)).await,
            RecordKind::Events => apply_events(&mut self.engine, &self.log, record).await,
        }
    }

    /// A rebuild whose checkpoint cannot be read any more, from the same snapshot, which there is:
    /// [`Tail::check_repeatable`].
    async fn rebuild_again(&mut self, record: &LogRecord) -> Result<Vec<ViewDelta>, RuntimeError> {
        let unreadable =
            |fact: String| RuntimeError::LogForeign { log: self.log.name(), fact, way_out: LOST_CHECKPOINTS };
        let (epoch, origin) = (record.header.header.epoch, &record.header.origin);
        let definition =
            origin.definition.clone().ok_or_else(|| unreadable(format!("has no program in epoch {epoch}")))?;
        let definition = serde_json::from_value(definition)
            .map_err(|error| unreadable(format!("has a program in epoch {epoch} that is not readable ({error})")))?;
        let program = Program::from_definition(definition)
            .map_err(|_| unreadable(format!("has a program in epoch {epoch} that cannot be planned any more")))?;
        let mut frontier = record.header.header.frontier.clone();
        let time = Some(record.header.header.time);
        let loaded = self.load_views(&program, RebuildScope::All, &mut frontier, time, None).await;
        loaded.map(|loaded| loaded.deltas).map_err(Unloaded::into_error)
    }

    /// Opens every sink with the present program's views and compares it with our history; with
    /// what is pending too, when everything is there.
    pub(crate) async fn connect_sinks(&mut self, complete: bool) -> Result<(), RuntimeError> {
        self.sinks_at_rest().await?;
        let Some(program) = self.engine.program() else { return Ok(()) };
        let last = self.last_link();
        for driver in &mut self.drivers {
            driver.set_program(program);
        }
        for index in 0..self.drivers.len() {
            let pending: Option<(_, Link)> = complete.then_some((&self.pending, last));
            let mut connected = self.drivers[index].connect(&self.history, pending, self.resync.as_deref()).await;
            if matches!(connected, Err(RuntimeError::SinkMismatch { .. })) && self.remember_epochs_of(index).await? {
                let pending: Option<(_, Link)> = complete.then_some((&self.pending, last));
                connected = self.drivers[index].check_or_detach(&self.history, pending, self.resync.as_deref());
            }
            connected.or_else(|error| self.detach_or_stop(index, error))?;
        }
        Ok(())
    }

    fn check_sinks(&mut self) -> Result<(), RuntimeError> {
        for index in 0..self.drivers.len() {
            let pending = Some((&self.pending, self.last_link()));
            let checked = self.drivers[index].check_or_detach(&self.history, pending, self.resync.as_deref());
            checked.or_else(|error| self.detach_or_stop(index, error))?;
        }
        Ok(())
    }
}

/// Lets an engine take the events of an epoch of the log.
pub(crate) async fn apply_events(
    engine: &mut Engine,
    log: &InputLog,
    record: &LogRecord,
) -> Result<Vec<ViewDelta>, RuntimeError> {
    let body = log.body(record).await?;
    let epoch = record.header.header.epoch;
    engine.set_time(record.header.clock());
    blocking(|| {
        body.drain(&record.header.sections, |table, event| {
            engine.feed(&table, event).map_err(RuntimeError::applying(epoch))
        })?;
        engine.step().map_err(RuntimeError::applying(epoch))
    })
}
