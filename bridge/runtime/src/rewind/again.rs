//! The past after a rewind, gone through again: the events of the log's epochs, as new epochs with the same boundaries.

use std::collections::{BTreeMap, VecDeque};

use tidegate_core::{Epoch, Frontier, SourceId, TableName, TableSchema};
use tidegate_engine::{Engine, ProgramDefinition};

use super::back::checkpoint_of;
use super::lineage::Lineage;
use crate::log::header::{Origin, RecordHeader, RecordKind, Replay};
use crate::log::staging::Staging;
use crate::log::{InputLog, LogRecord};
use crate::open_engine::OpenEngine;
use crate::pipeline::Pipeline;
use crate::recovery::{engine_checkpoint, options as engine_options, views_json};
use crate::{RuntimeError, blocking};

const LEAVE_OUT: &str =
    "rewind with --discard-after to read lakes again from there instead, or rewind to that epoch or a later one";

impl Pipeline {
    /// The past that is being gone through again, if one is.
    pub(crate) fn replay_under_way(&self) -> Option<Replay> {
        self.last.as_ref().and_then(|last| last.origin.replay.clone())
    }

    /// Whether the next epoch of the past is beyond a frontier.
    pub(crate) fn past_is_beyond(&self, bounds: &Frontier) -> bool {
        let Some(next) = self.past.as_ref().and_then(VecDeque::front) else { return false };
        let left_out = self.replay_under_way().map(|replay| replay.left_out).unwrap_or_default();
        next.header.header.frontier.iter().filter(|(id, _)| !left_out.contains(id)).any(|(id, at)| {
            bounds.get(id).is_some_and(|bound| at.compare(bound).is_some_and(std::cmp::Ordering::is_gt))
        })
    }

    /// Looks for what is left of the past, once.
    pub(crate) async fn find_past(&mut self) -> Result<(), RuntimeError> {
        if self.past.is_some() {
            return Ok(());
        }
        let Some(replay) = self.replay_under_way() else {
            self.past = Some(VecDeque::new());
            return Ok(());
        };
        let records = self.past_log().records(replay.done).await?;
        let headers = || records.iter().map(|record| &record.header);
        let gone = |epoch: Epoch| RuntimeError::Past {
            epoch,
            fact: "the log does not have it any more".to_owned(),
            way_out: LEAVE_OUT,
        };
        let done = headers().find(|header| header.header.epoch == replay.done).map(|header| header.header.clone());
        let done = done.ok_or_else(|| gone(replay.done))?;
        let (_, way) = Lineage::new(headers()).between(&done, replay.until).ok_or_else(|| gone(done.epoch))?;
        let left = records.into_iter().filter(|record| way.binary_search(&record.header.header.epoch).is_ok());
        self.past = Some(left.collect());
        Ok(())
    }

    /// Makes the next epoch of the past. Says whether there was one.
    pub(crate) async fn replay_next(&mut self) -> Result<bool, RuntimeError> {
        self.find_past().await?;
        let Some(replay) = self.replay_under_way() else { return Ok(false) };
        while let Some(record) = self.past.as_mut().and_then(VecDeque::pop_front) {
            let left = self.past.as_ref().is_some_and(|past| !past.is_empty());
            let next = left.then(|| Replay { done: record.header.header.epoch, ..replay.clone() });
            let made = match record.header.origin.kind {
                RecordKind::Resync | RecordKind::Rewind => false,
                RecordKind::Load | RecordKind::Rebuild => self.follow_load(&record, next).await?,
                RecordKind::Events => self.make_again(&record, &replay, next).await?,
            };
            if made {
                return Ok(true);
            }
        }
        self.positions = self.positions.join(&replay.reached);
        Ok(false)
    }

    /// The events of an epoch once more, but those of sources that are left out or stand beyond it, and those of tables that
    /// no view reads any more. Says whether any were left.
    async fn make_again(
        &mut self,
        record: &LogRecord,
        replay: &Replay,
        next: Option<Replay>,
    ) -> Result<bool, RuntimeError> {
        let (header, left_out) = (&record.header.header, &replay.left_out);
        let moved: Frontier =
            header.frontier.iter().filter(|(id, at)| self.is_ahead(id, at, left_out)).map(owned).collect();
        self.check_tables(record, &moved).await?;
        let program = self.engine.program().cloned();
        let read = |table: &TableName| program.iter().any(|p| p.tables().iter().any(|used| used.name == *table));
        let is_taken = |table: &TableName| read(table) && moved.iter().any(|(id, _)| id.name == table.source);
        let mut staging = Staging::new(&self.config.state_dir, self.config.staging_bytes_max);
        if record.header.sections.iter().any(|section| is_taken(&section.table)) {
            let body = self.past_log().body(record).await?;
            blocking(|| {
                body.drain(
                    &record.header.sections,
                    |table, event| {
                        if is_taken(&table) { staging.push(table, event) } else { Ok(()) }
                    },
                )
            })?;
        }
        let mut positions = self.positions.clone();
        moved.iter().for_each(|(id, at)| positions.set(id.clone(), *at));
        if next.is_none() && self.state.branch.is_none() {
            positions = positions.join(&replay.reached);
        }
        // Where views read the time, an epoch may be of time alone.
        let of_time = record.header.sections.is_empty() && program.is_some_and(|program| program.reads_time());
        if staging.is_empty() && !of_time {
            self.positions = positions;
            return Ok(false);
        }
        let times = record.header.origin.commit_times.iter().filter(|(id, _)| moved.get(id).is_some());
        let commit_times: BTreeMap<_, _> = times.map(|(id, time)| (id.clone(), *time)).collect();
        let plain = Origin::plain(RecordKind::Events, commit_times);
        let origin = Origin { replay: next, clock: Some(record.header.clock()), ..plain };
        self.make_epoch_of(staging.finish(), positions, origin).await?;
        Ok(true)
    }

    /// Whether a position of the past is ahead of where a source stands that takes part in it.
    fn is_ahead(&self, id: &SourceId, at: &tidegate_core::Position, left_out: &[SourceId]) -> bool {
        let here = self.positions.get(id);
        !left_out.contains(id) && here.is_some_and(|here| at.compare(here).is_some_and(std::cmp::Ordering::is_gt))
    }

    /// The log has the changes of tables that some view read then. Whether those are all that are read now.
    async fn check_tables(&mut self, record: &LogRecord, moved: &Frontier) -> Result<(), RuntimeError> {
        let Some(program) = self.engine.program() else { return Ok(()) };
        let read = program.tables().iter().filter(|table| moved.iter().any(|(id, _)| id.name == table.name.source));
        let read: Vec<TableSchema> = read.cloned().collect();
        if read.is_empty() {
            return Ok(());
        }
        let logged = self.tables_logged(&record.header).await?;
        match read.iter().find(|table| !logged.contains(table)) {
            None => Ok(()),
            Some(table) => Err(RuntimeError::Past {
                epoch: record.header.header.epoch,
                fact: format!("the log does not have what happened to table {} as the views read it now", table.name),
                way_out: LEAVE_OUT,
            }),
        }
    }

    /// The log that has the past: a branch has that of the original.
    fn past_log(&self) -> &InputLog {
        self.past_log.as_ref().unwrap_or(&self.log)
    }

    /// The tables whose changes the log has at an epoch: those of the program that was in force.
    async fn tables_logged(&mut self, record: &RecordHeader) -> Result<Vec<TableSchema>, RuntimeError> {
        let epoch = record.header.epoch;
        if let Some((from, until, tables)) = &self.logged_tables
            && (*from..*until).contains(&epoch)
        {
            return Ok(tables.clone());
        }
        let records = self.past_log().records(Epoch::ZERO).await?;
        let programs = records.iter().filter(|record| record.header.origin.definition.is_some());
        let (before, after): (Vec<_>, Vec<_>) = programs.partition(|record| record.header.header.epoch < epoch);
        let until = after.first().map_or(Epoch(u64::MAX), |record| record.header.header.epoch);
        let newest = before.last().map(|record| (record.header.header.epoch, record.header.origin.definition.clone()));
        let kept = self.saved.kept.iter().find(|saved| saved.rung.epoch < epoch);
        let (from, definition) = match (newest, kept) {
            // A checkpoint may be newer than the last program that the log still has.
            (Some((at, definition)), kept) if kept.is_none_or(|saved| saved.rung.epoch <= at) => {
                (at, definition_of(definition))
            }
            (_, Some(saved)) => (saved.rung.epoch, Some(saved.engine.definition().clone())),
            (Some((at, definition)), None) => (at, definition_of(definition)),
            (None, None) => (epoch, None),
        };
        let tables = definition.map(|definition| definition.tables).unwrap_or_default();
        self.logged_tables = Some((from.next(), until, tables.clone()));
        Ok(tables)
    }

    /// A load of the past. Where the tables are as before, only views were other ones, and nothing happens. Where the views
    /// are those of then, its checkpoint has what came of it. Says whether that became an epoch.
    async fn follow_load(&mut self, record: &LogRecord, next: Option<Replay>) -> Result<bool, RuntimeError> {
        let epoch = record.header.header.epoch;
        let tables = definition_of(record.header.origin.definition.clone()).map(|definition| definition.tables);
        let read = self.engine.program().map(|program| program.tables().to_vec()).unwrap_or_default();
        if tables.is_some_and(|tables| read.iter().all(|table| tables.contains(table))) {
            return Ok(false);
        }
        let changed = |fact: &str| RuntimeError::Past { epoch, fact: fact.to_owned(), way_out: LEAVE_OUT };
        let file = checkpoint_of(self, &record.header.header)?
            .ok_or_else(|| changed("the tables were read anew, and the checkpoint that holds them is gone"))?;
        if file.views != views_json(&self.config)? {
            return Err(changed("the columns of the tables changed there, and the views are other ones than then"));
        }
        let (dir, options) = (self.config.state_dir.join("engine"), engine_options(&self.config, &self.state));
        let saved = engine_checkpoint(&file)?;
        let failed = RuntimeError::engine(format!("going on from the checkpoint of epoch {epoch}"));
        let engine = blocking(|| Engine::fork(&dir, &dir, options, &saved)).map_err(failed)?;
        let present = std::mem::replace(&mut self.engine, OpenEngine::new(engine));
        let deltas = self.take_the_place_of(present)?;
        let origin = Origin { replay: next, ..record.header.origin.clone() };
        let content = crate::log::hash::ContentHash::of_load(&origin.tables, &origin.plans);
        let time = self.coming_time(&origin.commit_times, None);
        self.positions = record.header.header.frontier.clone();
        let last = self.next_epoch(origin, self.positions.clone(), &content, time);
        self.publish_state(last, deltas).await?;
        Ok(true)
    }
}

fn owned((id, at): (&SourceId, &tidegate_core::Position)) -> (SourceId, tidegate_core::Position) {
    (id.clone(), *at)
}

fn definition_of(json: Option<serde_json::Value>) -> Option<ProgramDefinition> {
    serde_json::from_value(json?).ok()
}
