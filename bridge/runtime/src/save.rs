//! Checkpoints and what may go after one.

use std::collections::BTreeMap;
use std::time::Instant;

use tidegate_core::{EpochHeader, ViewName, failpoint};
use tidegate_engine::EngineCheckpoint;
use uuid::Uuid;

use crate::checkpoint::CheckpointFile;
use crate::delivery::Aside;
use crate::ladder::{self, Rung};
use crate::log::header::{Link, Origin};
use crate::observer::{Phase, Work};
use crate::pipeline::{Pipeline, SavedCheckpoint};
use crate::state::ProgressFile;
use crate::{RuntimeError, SinkDetached, blocking};

impl Pipeline {
    /// Saves the state at the last epoch. Deltas that some sink lacks are made durable first: after
    /// this nobody can compute them again.
    pub(crate) async fn save_checkpoint(&mut self) -> Result<(), RuntimeError> {
        self.enter(Phase::Checkpointing);
        let started = Instant::now();
        let saved = self.save_now().await;
        self.worked(Work::Checkpoint(self.epoch()), started);
        saved
    }

    async fn save_now(&mut self) -> Result<(), RuntimeError> {
        let Some(last) = self.last.clone() else { return Ok(()) };
        let (engine, pending) = (&mut self.engine, &mut self.pending);
        let checkpoint = blocking(|| engine.checkpoint()).map_err(RuntimeError::engine("saving a checkpoint"))?;
        failpoint::hit("checkpoint.engine_saved");
        blocking(|| pending.spill())?;
        let file = self.checkpoint_file(&last.header, last.previous, last.origin, checkpoint.clone(), self.log.id())?;
        let checkpoints = &self.checkpoints;
        blocking(|| checkpoints.publish(&file))?;
        let epoch = last.header.epoch;
        let saved = &mut self.saved;
        saved.kept.retain(|saved| saved.rung.epoch != epoch);
        saved.kept.insert(0, SavedCheckpoint { rung: file.rung(), engine: checkpoint });
        (saved.epoch, saved.at) = (Some(epoch), Some(Instant::now()));
        (saved.log_bytes, saved.epochs) = (0, 0);
        self.saved_progress.sinks = file.sinks;
        self.retain_checkpoints().await?;
        self.save_time_map().await?;
        self.store_checkpoint().await?;
        tracing::debug!(name: "checkpoint_saved", epoch = epoch.0, "saved a checkpoint");
        Ok(())
    }

    /// The document of a checkpoint.
    pub(crate) fn checkpoint_file(
        &self,
        header: &EpochHeader,
        previous: Link,
        origin: Origin,
        engine: EngineCheckpoint,
        log_id: Uuid,
    ) -> Result<CheckpointFile, RuntimeError> {
        Ok(CheckpointFile {
            format: CheckpointFile::FORMAT,
            log_id,
            header: header.clone(),
            previous,
            origin,
            views: self.recorded_views()?,
            sinks: self.sinks_seen(),
            view_rows: self.engine.stats().into_iter().map(|stats| (stats.view, stats.rows)).collect(),
            work: self.saved.work(),
            engine: serde_json::to_value(&engine)
                .map_err(|error| RuntimeError::Bug(format!("a checkpoint cannot be written as JSON: {error}")))?,
        })
    }

    /// Removes the checkpoints that nobody needs any more.
    async fn retain_checkpoints(&mut self) -> Result<(), RuntimeError> {
        let rungs: Vec<Rung> = self.saved.kept.iter().rev().map(|saved| saved.rung).collect();
        let log_after = self.log.begins_after().await?.unwrap_or(self.epoch());
        let kept = ladder::kept(&rungs, log_after);
        self.saved.kept.retain(|saved| kept.contains(&saved.rung.epoch));
        let states: Vec<_> = self.saved.kept.iter().map(|saved| saved.engine.clone()).collect();
        let (checkpoints, engine) = (&self.checkpoints, &mut self.engine);
        blocking(|| {
            checkpoints.retain(&kept)?;
            failpoint::hit("checkpoint.forgotten");
            engine.retain(&states).map_err(RuntimeError::engine("removing old checkpoints"))
        })
    }

    /// Puts the newest checkpoint beside the log, unless it is there.
    pub(crate) async fn store_checkpoint(&mut self) -> Result<(), RuntimeError> {
        let (Some(depot), Some(epoch)) = (&mut self.depot, self.saved.epoch) else { return Ok(()) };
        match depot.epochs().await?.last() {
            Some(newest) if *newest >= epoch => Ok(()),
            _ => depot.publish(&self.config.state_dir, &self.state, epoch).await,
        }
    }

    /// Whether a checkpoint is due while the pipeline runs.
    pub(crate) fn checkpoint_is_due(&self) -> bool {
        let is_new = self.saved.epoch < self.last.as_ref().map(|last| last.header.epoch);
        let is_old = self.saved.at.is_none_or(|at| at.elapsed() >= self.config.checkpoint_interval);
        let is_much = self.saved.log_bytes >= self.config.checkpoint_log_bytes
            || self.saved.epochs >= self.config.checkpoint_epochs;
        is_new && (is_old || is_much)
    }

    /// Drops log records that neither recovery nor retention keeps.
    pub(crate) async fn trim_log(&mut self) -> Result<(), RuntimeError> {
        let Some(saved) = self.saved.second_newest() else { return Ok(()) };
        let mut oldest = saved.rung.epoch;
        if let Some(replay) = self.replay_under_way() {
            oldest = oldest.min(replay.done);
        }
        if let Some(depot) = &mut self.depot {
            // A state folder that is made again from there needs the records after it.
            let Some(stored) = depot.epochs().await?.first().copied() else { return Ok(()) };
            oldest = oldest.min(stored);
        }
        self.save_time_map().await?;
        self.trim_time_map().await?;
        let older_than = self.config.clock.now().before(self.config.log_retention);
        if self.log.trim(oldest, older_than).await? {
            failpoint::hit("log.trimmed");
        }
        Ok(())
    }

    /// Remembers positions that were reached without an event, and tells the sources; remembers
    /// what the sinks hold, too.
    pub(crate) async fn save_progress(&mut self) -> Result<(), RuntimeError> {
        let known = self.saved_progress.frontier.join(&self.frontier());
        let moved = !self.positions.less_equal(&known);
        let detached = self.detached().map(|sink| (sink.sink, sink.reason)).collect();
        let progress = ProgressFile { frontier: self.positions.clone(), sinks: self.sinks_seen(), detached };
        let saved = &self.saved_progress;
        if moved || progress.sinks != saved.sinks || progress.detached != saved.detached {
            progress.write(&self.config.state_dir)?;
            self.saved_progress = progress;
        }
        self.acknowledge().await
    }

    /// The sinks that get nothing any more.
    pub(crate) fn detached(&self) -> impl Iterator<Item = SinkDetached> {
        self.drivers.iter().filter_map(|driver| match &driver.aside {
            Some(Aside::Detached(reason)) => Some(SinkDetached { sink: driver.name.clone(), reason: reason.clone() }),
            _ => None,
        })
    }

    fn sinks_seen(&self) -> BTreeMap<String, BTreeMap<ViewName, Link>> {
        self.drivers.iter().map(|driver| (driver.name.clone(), driver.seen.clone())).collect()
    }
}
