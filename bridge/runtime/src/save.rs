//! Checkpoints and what may go after one.

use std::collections::BTreeMap;
use std::time::Instant;

use tidegate_core::{ViewName, failpoint};

use crate::checkpoint::{CheckpointFile, KEPT};
use crate::delivery::Aside;
use crate::log::header::Link;
use crate::pipeline::Pipeline;
use crate::state::ProgressFile;
use crate::{RuntimeError, SinkDetached, blocking};

impl Pipeline {
    /// Saves the state at the last epoch. Deltas that some sink lacks are made durable first: after
    /// this nobody can compute them again.
    pub(crate) async fn save_checkpoint(&mut self) -> Result<(), RuntimeError> {
        let started = Instant::now();
        let saved = self.save_now().await;
        self.summary.phases_ms.checkpoint += started.elapsed();
        saved
    }

    async fn save_now(&mut self) -> Result<(), RuntimeError> {
        let Some(last) = self.last.clone() else { return Ok(()) };
        let (engine, pending) = (&mut self.engine, &mut self.pending);
        let checkpoint = blocking(|| engine.checkpoint()).map_err(RuntimeError::engine("saving a checkpoint"))?;
        failpoint::hit("checkpoint.engine_saved");
        blocking(|| pending.spill())?;
        let file = CheckpointFile {
            format: CheckpointFile::FORMAT,
            log_id: self.log.id(),
            header: last.header.clone(),
            previous: last.previous,
            origin: last.origin,
            views: self.recorded_views()?,
            sinks: self.sinks_seen(),
            view_rows: self.engine.stats().into_iter().map(|stats| (stats.view, stats.rows)).collect(),
            engine: serde_json::to_value(&checkpoint)
                .map_err(|error| RuntimeError::Bug(format!("a checkpoint cannot be written as JSON: {error}")))?,
        };
        let (checkpoints, engine) = (&self.checkpoints, &mut self.engine);
        blocking(|| checkpoints.publish(&file))?;
        let epoch = last.header.epoch;
        self.saved.engine.retain(|(saved, _)| *saved != epoch);
        self.saved.engine.insert(0, (epoch, checkpoint));
        self.saved.engine.truncate(KEPT);
        self.saved.epoch = Some(epoch);
        self.saved_progress.sinks = file.sinks;
        self.saved.log_bytes = 0;
        self.saved.at = Some(Instant::now());
        let kept: Vec<_> = self.saved.engine.iter().map(|(_, checkpoint)| checkpoint.clone()).collect();
        blocking(|| {
            checkpoints.retain_newest()?;
            engine.retain(&kept).map_err(RuntimeError::engine("removing old checkpoints"))
        })?;
        self.store_checkpoint().await?;
        tracing::debug!(%epoch, "saved a checkpoint");
        Ok(())
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
        is_new && (is_old || self.saved.log_bytes >= self.config.checkpoint_log_bytes)
    }

    /// Drops log records that neither recovery nor retention keeps.
    pub(crate) async fn trim_log(&mut self) -> Result<(), RuntimeError> {
        let Some((oldest, _)) = self.saved.engine.last() else { return Ok(()) };
        let mut oldest = *oldest;
        if let Some(depot) = &mut self.depot {
            // A state folder that is made again from there needs the records after it.
            let Some(stored) = depot.epochs().await?.first().copied() else { return Ok(()) };
            oldest = oldest.min(stored);
        }
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
