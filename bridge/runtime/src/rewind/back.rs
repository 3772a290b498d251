//! The way back, and its publication as a new epoch.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tidegate_core::{Epoch, Frontier, SourceId, TableEvent, ViewDelta, failpoint};
use tidegate_engine::Engine;

use super::lineage::Lineage;
use super::{RewindOptions, RewindSummary, RewindWay};
use crate::checkpoint::CheckpointFile;
use crate::ladder::EPOCH_WORK;
use crate::log::LogRecord;
use crate::log::hash::ContentHash;
use crate::log::header::{Origin, RecordHeader, RecordKind, Replay};
use crate::log::section::EventKind;
use crate::open_engine::OpenEngine;
use crate::pipeline::{Change, LastEpoch, Pipeline};
use crate::recovery::options as engine_options;
use crate::tail::LOST_CHECKPOINTS;
use crate::time_map::Moment;
use crate::{RuntimeError, blocking};

impl Pipeline {
    /// Makes the views what they were, publishes that, and brings it to the sinks.
    pub(super) async fn go_back(
        &mut self,
        target: &Moment,
        options: &RewindOptions,
    ) -> Result<RewindSummary, RuntimeError> {
        if matches!(self.change, Change::Load(..) | Change::Afresh(..)) {
            let fact = "has no past that this version can go back to: run it first";
            return Err(RuntimeError::NoPast { pipeline: self.config.name.clone(), fact });
        }
        let Some(here) = self.last.clone() else { return Err(RuntimeError::Bug("nothing was loaded".to_owned())) };
        let records = self.log.records(Epoch::ZERO).await?;
        let headers: Vec<&RecordHeader> = records.iter().map(|record| &record.header).collect();
        let found = self.find_target(target, &headers).await?;
        let replay = self.past_after(&found, &here, &headers, options)?;
        let to = found.header.clone();
        let suffix: Vec<LogRecord> = records.iter().filter(|r| r.header.header.epoch > to.epoch).cloned().collect();
        let base = self.saved.kept.iter().map(|saved| saved.rung.epoch).filter(|epoch| *epoch <= to.epoch).max();
        let base = base.ok_or_else(|| RuntimeError::Bug("a target without a checkpoint".to_owned()))?;
        let way_there = || records.iter().filter(|r| (base.next()..=to.epoch).contains(&r.header.header.epoch));
        // What is taken back is one step; a replay is a step an epoch, besides the fork and the comparison of whole views.
        let replay_cost = bytes(way_there()) + (way_there().count() as u64 + 1) * EPOCH_WORK;
        let can_undo = self.can_undo(&suffix);
        let way = options.way.unwrap_or(match can_undo && bytes(&suffix) <= replay_cost {
            true => RewindWay::Undo,
            false => RewindWay::Replay,
        });
        if way == RewindWay::Undo && !can_undo {
            let fact = "cannot take back in place what came since: it holds changes by key, or views were built anew";
            return Err(RuntimeError::NoPast { pipeline: self.config.name.clone(), fact });
        }
        let views_differ = suffix.iter().any(|record| record.header.origin.is_load());
        let (deltas, distance) = match way {
            RewindWay::Undo => (self.undo(&suffix).await?, suffix.len()),
            RewindWay::Replay => self.state_at(to.epoch, &records).await?,
        };
        failpoint::hit("rewind.engine_back");
        if views_differ || !matches!(self.change, Change::None) {
            // What is wanted is compared with what there was then by the next run.
            self.change = Change::Later;
        }
        let frontier = match &replay {
            None => to.frontier.join(&self.reached(here.origin.replay.as_ref())),
            Some(_) => to.frontier,
        };
        let origin = Origin {
            rewound_to: Some(to.epoch),
            replay: replay.as_ref().map(|(replay, _)| replay.clone()),
            ..Origin::plain(RecordKind::Rewind, BTreeMap::new())
        };
        // Until the rewind is published this costs no more than to read again what made no epoch.
        self.positions = frontier.clone();
        self.saved_progress.frontier = frontier.clone();
        self.saved_progress.write(&self.config.state_dir)?;
        failpoint::hit("rewind.progress_back");
        let time = self.coming_time(&origin.commit_times, None);
        let last = self.next_epoch(origin, frontier.clone(), &ContentHash::of_rewind(&to.hash), time);
        let view_rows = self.publish_state(last.clone(), deltas).await?;
        self.sinks_at_rest().await?;
        self.save_progress().await?;
        self.write_status().await?;
        self.sinks_are_current()?;
        Ok(RewindSummary {
            to: to.epoch,
            epoch: last.header.epoch,
            frontier,
            view_rows,
            replays: replay.map_or(0, |(_, epochs)| epochs),
            way,
            distance,
            elapsed_ms: Duration::ZERO,
        })
    }

    /// What is to be gone through again after a rewind to `found`, and how many epochs that are.
    pub(super) fn past_after(
        &self,
        found: &RecordHeader,
        here: &LastEpoch,
        headers: &[&RecordHeader],
        options: &RewindOptions,
    ) -> Result<Option<(Replay, usize)>, RuntimeError> {
        let is_lake = |id: &SourceId| self.feeds.iter().any(|feed| feed.id() == id && !feed.is_present_only());
        let mut left_out: Vec<SourceId> = match options.discard_after {
            true => found.header.frontier.iter().map(|(id, _)| id.clone()).filter(is_lake).collect(),
            false => Vec::new(),
        };
        // A rewind amid a past that is gone through again goes through that one.
        let pending = here.origin.replay.as_ref();
        let until = pending.map_or(here.header.epoch, |replay| replay.until);
        if let Some(replay) = pending {
            left_out.extend(replay.left_out.iter().filter(|id| !options.discard_after || !is_lake(id)).cloned());
        }
        let between = Lineage::new(headers.iter().copied()).between(&found.header, until);
        let Some((done, way)) = between else {
            return Err(RuntimeError::NoPast {
                pipeline: self.config.name.clone(),
                fact: "was rewound past that epoch before, and what was read again since then has other boundaries: go back \
                       to an earlier epoch, or to one that was not taken back",
            });
        };
        let is_left = |record: &&&RecordHeader| {
            let of_others = record.sections.iter().any(|s| !left_out.iter().any(|id| id.name == s.table.source));
            (of_others || record.origin.is_load())
                && record.origin.kind != RecordKind::Rewind
                && way.binary_search(&record.header.epoch).is_ok()
        };
        let epochs = headers.iter().filter(is_left).count();
        let replay = Replay { done, until, reached: self.reached(pending), left_out };
        Ok((epochs > 0).then_some((replay, epochs)))
    }

    /// Where the sources stand that can only be read on from there; amid a past, where they stood before.
    fn reached(&self, pending: Option<&Replay>) -> Frontier {
        let present_only = |id: &SourceId| self.feeds.iter().any(|feed| feed.id() == id && feed.is_present_only());
        match pending {
            Some(replay) => replay.reached.clone(),
            None => {
                self.positions.iter().filter(|(id, _)| present_only(id)).map(|(id, at)| (id.clone(), *at)).collect()
            }
        }
    }

    /// Whether all that came since is rows with weights, and views that do not read the time.
    fn can_undo(&self, suffix: &[LogRecord]) -> bool {
        let Some(program) = self.engine.program() else { return false };
        let mut keyed: HashMap<_, bool> = HashMap::new();
        let mut can = |table: &tidegate_core::TableName| {
            *keyed.entry(table.clone()).or_insert_with(|| {
                self.engine.can_take_back(table) && program.tables().iter().any(|used| used.name == *table)
            })
        };
        !program.reads_time()
            && suffix.iter().all(|record| {
                matches!(record.header.origin.kind, RecordKind::Events | RecordKind::Resync)
                    && record
                        .header
                        .sections
                        .iter()
                        .all(|section| section.event == EventKind::Rows && can(&section.table))
            })
    }

    /// Takes back what came since, in place.
    async fn undo(&mut self, suffix: &[LogRecord]) -> Result<Vec<ViewDelta>, RuntimeError> {
        let failed = || RuntimeError::engine("taking back what came since");
        for record in suffix {
            let body = self.log.body(record).await?;
            let engine = &mut self.engine;
            blocking(|| {
                body.drain(&record.header.sections, |table, event| match event {
                    TableEvent::Rows(rows) => engine.take_back(&table, &rows).map_err(failed()),
                    _ => Err(RuntimeError::Bug(format!("table {table} has an event that cannot be taken back"))),
                })
            })?;
        }
        let engine = &mut self.engine;
        blocking(|| engine.step()).map_err(failed())
    }

    /// Puts the engine as it was at an epoch in the place of the present one, from the newest checkpoint that can be used
    /// and what of `records` came after it. Answers what goes downstream, and over how many records that went. When it
    /// fails, the present one stays.
    pub(crate) async fn state_at(
        &mut self,
        epoch: Epoch,
        records: &[LogRecord],
    ) -> Result<(Vec<ViewDelta>, usize), RuntimeError> {
        let (base, engine) = self.fork_before(epoch)?;
        let present = std::mem::replace(&mut self.engine, engine);
        let way = records.iter().filter(|record| (base.next()..=epoch).contains(&record.header.header.epoch));
        let mut distance = 0;
        for record in way {
            if let Err(error) = self.apply(record).await {
                std::mem::replace(&mut self.engine, present).close();
                return Err(error);
            }
            distance += 1;
        }
        Ok((self.take_the_place_of(present)?, distance))
    }

    /// Answers what goes downstream when the engine has taken the place of another one, which ends then. When that cannot
    /// be told, the other one is back.
    pub(super) fn take_the_place_of(&mut self, mut present: OpenEngine) -> Result<Vec<ViewDelta>, RuntimeError> {
        match blocking(|| present.difference(&self.engine)) {
            Ok(deltas) => {
                present.close();
                Ok(deltas)
            }
            Err(error) => {
                std::mem::replace(&mut self.engine, present).close();
                Err(RuntimeError::engine("comparing the views")(error))
            }
        }
    }

    /// An engine at the newest checkpoint at or before an epoch.
    fn fork_before(&self, epoch: Epoch) -> Result<(Epoch, OpenEngine), RuntimeError> {
        let (dir, options) = (self.config.state_dir.join("engine"), engine_options(&self.config, &self.state));
        let mut failure = None;
        for saved in self.saved.kept.iter().filter(|saved| saved.rung.epoch <= epoch) {
            match blocking(|| Engine::fork(&dir, &dir, options.clone(), &saved.engine)) {
                Ok(engine) => return Ok((saved.rung.epoch, OpenEngine::new(engine))),
                Err(error) => {
                    let at = saved.rung.epoch;
                    tracing::warn!(name: "checkpoint_unusable", epoch = at.0, error = %tidegate_core::chain(&error), "a checkpoint cannot be used, trying the one before it");
                    failure.get_or_insert((at, error));
                }
            }
        }
        Err(match failure {
            Some((at, error)) => RuntimeError::engine(format!("going back from the checkpoint of epoch {at}"))(error),
            None => RuntimeError::LogForeign {
                log: self.log.name(),
                fact: format!("goes back to epoch {epoch}, before which there is no checkpoint that can be read"),
                way_out: LOST_CHECKPOINTS,
            },
        })
    }

    /// A rewind of the log, done again because its checkpoint cannot be read any more.
    pub(crate) async fn rewind_again(&mut self, record: &LogRecord) -> Result<Vec<ViewDelta>, RuntimeError> {
        let epoch = record.header.header.epoch;
        let to = record.header.origin.rewound_to.ok_or_else(|| RuntimeError::LogForeign {
            log: self.log.name(),
            fact: format!("has a rewind in epoch {epoch} that does not say where to"),
            way_out: LOST_CHECKPOINTS,
        })?;
        let records = self.log.records(Epoch::ZERO).await?;
        Ok(self.state_at(to, &records).await?.0)
    }

    /// Makes what the engine has become an epoch, and brings it to the sinks.
    pub(crate) async fn publish_state(
        &mut self,
        last: LastEpoch,
        deltas: Vec<ViewDelta>,
    ) -> Result<BTreeMap<tidegate_core::ViewName, u64>, RuntimeError> {
        let view_rows = self.publish_by_checkpoint(&last, deltas, "rewind.published").await?;
        tracing::debug!(epoch = last.header.epoch.0, frontier = %last.header.frontier, "went back");
        self.connect_sinks(true).await?;
        self.deliver(|_| true).await?;
        Ok(view_rows)
    }
}

/// Bytes of the events of records.
fn bytes<'r>(records: impl IntoIterator<Item = &'r LogRecord>) -> u64 {
    records.into_iter().flat_map(|record| &record.header.sections).map(|section| section.bytes).sum()
}

/// The checkpoint of an epoch of ours.
pub(super) fn checkpoint_of(
    pipeline: &Pipeline,
    header: &tidegate_core::EpochHeader,
) -> Result<Option<CheckpointFile>, RuntimeError> {
    let of_ours = |file: &CheckpointFile| file.header.epoch == header.epoch && file.header.hash == header.hash;
    Ok(pipeline.checkpoints.read(header.epoch).ok().filter(of_ours))
}
