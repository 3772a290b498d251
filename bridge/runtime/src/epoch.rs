//! Making an epoch of events: log it, tell the sources, apply it.

use std::collections::BTreeMap;
use std::time::Instant;

use tidegate_core::{DeltaKind, Epoch, EpochHeader, Frontier, Micros, SourceId, ViewDelta, ViewName, failpoint};

use crate::log::hash::{ContentHash, epoch_hash};
use crate::log::header::{Origin, RecordHeader, RecordKind};
use crate::log::section::Section;
use crate::log::staging::Staged;
use crate::observer::{Phase, Progress, Stretch, Work};
use crate::pipeline::{LastEpoch, Pipeline};
use crate::summary::Timed;
use crate::{RuntimeError, blocking};

impl Pipeline {
    /// The epoch that comes next.
    pub(crate) fn next_epoch(
        &self,
        origin: Origin,
        frontier: Frontier,
        content: &ContentHash,
        time: Micros,
    ) -> LastEpoch {
        self.epoch_numbered(self.epoch().next(), origin, frontier, content, time)
    }

    /// The same with a number of its own, as a resync needs it.
    pub(crate) fn epoch_numbered(
        &self,
        epoch: Epoch,
        origin: Origin,
        frontier: Frontier,
        content: &ContentHash,
        time: Micros,
    ) -> LastEpoch {
        let previous = self.last_link();
        let hash = epoch_hash(&previous.hash, origin.kind, epoch, &frontier, time, content);
        let before = self.last.as_ref().and_then(|last| last.header.latest_commit);
        let latest_commit = before.max(origin.commit_times.values().copied().max());
        LastEpoch { header: EpochHeader { epoch, hash, frontier, time, latest_commit }, previous, origin }
    }

    /// The log record of an epoch.
    pub(crate) fn record(&self, epoch: &LastEpoch, sections: Vec<Section>) -> RecordHeader {
        RecordHeader {
            origin: epoch.origin.clone(),
            header: epoch.header.clone(),
            previous: epoch.previous,
            log_id: self.log.id(),
            logged_at: self.config.clock.now(),
            sections,
        }
    }

    /// Turns the events of a round into an epoch.
    pub(crate) async fn make_epoch(
        &mut self,
        staged: Staged,
        positions: Frontier,
        commit_times: BTreeMap<SourceId, Micros>,
    ) -> Result<(), RuntimeError> {
        failpoint::hit("poll.done");
        let origin = Origin::plain(RecordKind::Events, commit_times);
        self.make_epoch_of(staged, positions, origin).await
    }

    /// Turns events into an epoch of this origin.
    pub(crate) async fn make_epoch_of(
        &mut self,
        mut staged: Staged,
        positions: Frontier,
        origin: Origin,
    ) -> Result<(), RuntimeError> {
        // A past that is gone through again has the time it had.
        let wall_time = if origin.clock.is_none() { self.wall_time_of_views() } else { None };
        let time = self.coming_time(&origin.commit_times, wall_time);
        let clock = origin.clock.unwrap_or(time);
        let last = self.next_epoch(origin, positions.clone(), &staged.content, time);
        let epoch = last.header.epoch;
        let record = self.record(&last, staged.sections.clone());
        self.enter(Phase::Logging);
        let started = Instant::now();
        let logged = self.log.append(&record, Some(&mut staged)).await;
        self.worked(Work::Log, started);
        self.saved.log_bytes += logged?;
        self.saved.epochs += 1;
        self.time_map.append(&record)?;
        self.history.insert(last.link());
        self.positions = positions;
        let previous = last.previous;
        self.last = Some(last.clone());
        self.acknowledge().await?;
        failpoint::hit("source.acked");

        let source_rows = staged.rows();
        self.enter(Phase::Stepping);
        let started = Instant::now();
        let engine = &mut self.engine;
        let deltas = blocking(|| {
            engine.set_time(clock);
            staged.drain(|table, event| engine.feed(&table, event).map_err(RuntimeError::applying(epoch)))?;
            engine.step().map_err(RuntimeError::applying(epoch))
        });
        self.worked(Work::Step, started);
        let deltas = deltas?;
        failpoint::hit("engine.stepped");
        self.summary.source_rows += source_rows;
        let view_rows = self.count(&last.header, &deltas)?;
        self.observer.notify(Progress::Changed { header: &last.header, deltas: &deltas });
        self.pending.push(last.header.clone(), previous, deltas);
        if self.pending.bytes() > self.config.pending_bytes_max {
            let _timed = Timed::new(&mut self.summary.phases_ms.checkpoint);
            let pending = &mut self.pending;
            blocking(|| pending.spill())?;
        }
        tracing::debug!(name: "stepped", epoch = epoch.0, frontier = %last.header.frontier, source_rows, "stepped");
        let phases = &self.summary.phases_ms;
        self.observer.notify(Progress::EpochStepped {
            header: &last.header,
            phases,
            source_rows,
            view_rows: &view_rows,
        });
        Ok(())
    }

    /// Counts a piece of work into its phase, and tells it.
    pub(crate) fn worked(&mut self, work: Work<'_>, began: Instant) {
        let time = Stretch::since(began);
        let phases = &mut self.summary.phases_ms;
        match work {
            Work::Read(_) => phases.read += time.took(),
            Work::Log => phases.log += time.took(),
            Work::Step => phases.step += time.took(),
            Work::Checkpoint(_) => phases.checkpoint += time.took(),
        }
        self.observer.notify(Progress::Worked { work, time });
    }

    /// Makes what the engine has become an epoch whose events are not in the log: its checkpoint publishes it, the record
    /// follows. Answers the changed rows of each view.
    pub(crate) async fn publish_by_checkpoint(
        &mut self,
        last: &LastEpoch,
        deltas: Vec<ViewDelta>,
        published: &'static str,
    ) -> Result<BTreeMap<ViewName, u64>, RuntimeError> {
        let view_rows = self.count(&last.header, &deltas)?;
        self.pending.push(last.header.clone(), last.previous, deltas);
        self.last = Some(last.clone());
        self.history.insert(last.link());
        self.save_checkpoint().await?;
        failpoint::hit(published);
        let record = self.record(last, Vec::new());
        let started = Instant::now();
        self.log.append(&record, None).await?;
        self.worked(Work::Log, started);
        self.time_map.append(&record)?;
        Ok(view_rows)
    }

    /// Counts an epoch's changes into the summary.
    pub(crate) fn count(
        &mut self,
        header: &EpochHeader,
        deltas: &[ViewDelta],
    ) -> Result<BTreeMap<ViewName, u64>, RuntimeError> {
        let mut changed: BTreeMap<ViewName, u64> = BTreeMap::new();
        for delta in deltas {
            let rows = match delta.kind {
                DeltaKind::Changes => delta.batches.iter().map(|batch| batch.changed_rows()).sum(),
                DeltaKind::Replace => {
                    let stats = self.engine.stats().into_iter().find(|stats| stats.view == delta.view);
                    stats.map_or(0, |stats| stats.rows)
                }
            };
            *changed.entry(delta.view.clone()).or_default() += rows;
        }
        for (view, rows) in &changed {
            *self.summary.view_rows.entry(view.clone()).or_default() += rows;
        }
        self.summary.epochs += 1;
        tracing::trace!(epoch = %header.epoch, views = changed.len(), "counted");
        Ok(changed)
    }

    /// Tells the sources what is durable here, where they do not know it yet.
    pub(crate) async fn acknowledge(&mut self) -> Result<(), RuntimeError> {
        for feed in &mut self.feeds {
            let Some(position) = self.positions.get(feed.id()) else { continue };
            let told = feed.tell(position).await;
            told.map_err(RuntimeError::source(feed.id()))?;
        }
        Ok(())
    }
}
