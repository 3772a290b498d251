//! An open pipeline: everything between the sources and the sinks, standing at an epoch.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use tidegate_core::{Epoch, EpochHeader, Frontier, Micros, SourceId, TableSchema, ViewName, ZSet};
use tidegate_engine::{EngineCheckpoint, Program};

use crate::beside::Beside;
use crate::checkpoint::Checkpoints;
use crate::delivery::Driver;
use crate::depot::Depot;
use crate::feed::Feed;
use crate::history::History;
use crate::ladder::{EPOCH_WORK, Rung};
use crate::lock::Lock;
use crate::log::header::{Link, Origin};
use crate::log::{InputLog, LogRecord};
use crate::observer::{Observer, Phase, Progress};
use crate::open_engine::OpenEngine;
use crate::pending::Pending;
use crate::requests::Requests;
use crate::state::{ProgressFile, StateFile};
use crate::summary::RunSummary;
use crate::time_map::TimeMap;
use crate::{Connectors, PipelineConfig, RuntimeError};

/// An open pipeline. Dropping it at any moment is safe: the next [`open`](Pipeline::open) goes on
/// from the logs, as after a crash.
pub struct Pipeline {
    pub(crate) config: PipelineConfig,
    pub(crate) feeds: Vec<Feed>,
    pub(crate) drivers: Vec<Driver>,
    pub(crate) binder: Arc<dyn tidegate_core::Binder>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) state: StateFile,
    pub(crate) engine: OpenEngine,
    pub(crate) log: InputLog,
    pub(crate) time_map: TimeMap,
    pub(crate) checkpoints: Checkpoints,
    /// The same on an object store, if the log is on one.
    pub(crate) depot: Option<Depot>,
    pub(crate) pending: Pending,
    pub(crate) history: History,
    /// The last epoch; `None` before the initial load.
    pub(crate) last: Option<LastEpoch>,
    /// Where each source stands: the frontier, and what was read since without an event.
    pub(crate) positions: Frontier,
    /// Where the sources ended when that was first seen in this run; known only while a sink waits for it.
    pub(crate) ends: Frontier,
    pub(crate) saved_progress: ProgressFile,
    /// What has to be planned or built before the next poll.
    pub(crate) change: Change,
    pub(crate) saved: Saved,
    pub(crate) summary: RunSummary,
    /// Where a branch has the records of its past.
    pub(crate) past_log: Option<InputLog>,
    /// What is left of a past that is gone through again; `None` until that has been looked for.
    pub(crate) past: Option<VecDeque<LogRecord>>,
    /// The tables whose changes the log has in a range of epochs, as they were last looked for.
    pub(crate) logged_tables: Option<(Epoch, Epoch, Vec<TableSchema>)>,
    /// When the status was last written down.
    pub(crate) status_at: Option<Instant>,
    /// Since when the sources wait for a sink.
    pub(crate) held_since: Option<Instant>,
    /// The wall time at which a run that ends by itself began.
    pub(crate) run_time: Option<Micros>,
    /// What was built while it was open before.
    pub(crate) beside: Option<Beside>,
    /// What others ask.
    pub(crate) requests: Requests,
    /// The sink that is being resynced, which may hold anything.
    pub(crate) resync: Option<String>,
    /// Held until everything else is gone.
    pub(crate) _lock: Lock,
}

/// The last epoch and what made it.
#[derive(Debug, Clone)]
pub(crate) struct LastEpoch {
    pub header: EpochHeader,
    pub previous: Link,
    pub origin: Origin,
}

impl LastEpoch {
    pub fn link(&self) -> Link {
        (&self.header).into()
    }
}

/// A difference between the views that are wanted and those that the engine has.
pub(crate) enum Change {
    /// None.
    None,
    /// Nothing is loaded yet: this program, at these positions.
    Load(Box<Program>, Frontier),
    /// This program takes the place of the present one, at the present positions; sources that are
    /// new are read from where they were planned at.
    Rebuild(Box<Program>, Frontier),
    /// The same, but no circuit can go on: an epoch of the log fails with the present program.
    RebuildAll(Box<Program>, Frontier),
    /// Circuits have another number of workers than is wanted.
    Workers,
    /// The wanted views do not fit the tables as they are at the frontier, but as they are now:
    /// the present ones go on until the sources' ends, then it is planned again.
    Later,
    /// The engine's state cannot be used by this version: this program, loaded afresh.
    Afresh(Box<Program>, Frontier),
}

/// What is saved.
#[derive(Default)]
pub(crate) struct Saved {
    /// The epoch of the newest checkpoint.
    pub epoch: Option<Epoch>,
    /// The checkpoints that are kept, newest first.
    pub kept: Vec<SavedCheckpoint>,
    /// Bytes logged since.
    pub log_bytes: u64,
    /// Epochs since.
    pub epochs: u64,
    /// When.
    pub at: Option<Instant>,
}

/// A checkpoint that is kept.
pub(crate) struct SavedCheckpoint {
    /// Where it stands.
    pub rung: Rung,
    /// The engine's part.
    pub engine: EngineCheckpoint,
}

impl Saved {
    /// The work from the beginning to the last epoch.
    pub fn work(&self) -> u64 {
        self.kept.first().map_or(0, |newest| newest.rung.work) + self.log_bytes + self.epochs * EPOCH_WORK
    }

    /// The checkpoint that recovery falls back to, or the only one.
    pub fn second_newest(&self) -> Option<&SavedCheckpoint> {
        self.kept.get(1).or(self.kept.first())
    }
}

impl Pipeline {
    /// Opens a pipeline: takes the lock, recovers from the newest checkpoint and the log, and
    /// compares the sinks with our history. Of a pipeline that cannot be planned nothing is
    /// written; a new one writes nothing before its sinks have been seen to be new too.
    pub async fn open(
        config: PipelineConfig,
        connectors: Connectors,
        observer: Arc<dyn Observer>,
    ) -> Result<Pipeline, RuntimeError> {
        let pipeline = crate::recovery::open(config, connectors, observer, None, None).await?;
        crate::beside::remove(&pipeline.config.state_dir);
        Ok(pipeline)
    }

    /// Opens it again after a run, as another configuration with the same state folder says, with what was built beside it
    /// meanwhile. Nobody else gets hold of the folder in between.
    pub async fn reopen(
        self,
        config: PipelineConfig,
        connectors: Connectors,
        observer: Arc<dyn Observer>,
        beside: Option<Beside>,
    ) -> Result<Pipeline, RuntimeError> {
        let is_same = config.state_dir == self.config.state_dir;
        let lock = self.into_lock();
        let mut pipeline = crate::recovery::open(config, connectors, observer, None, is_same.then_some(lock)).await?;
        match beside {
            Some(beside) if is_same && matches!(pipeline.change, Change::Rebuild(..)) => pipeline.beside = Some(beside),
            _ => crate::beside::remove(&pipeline.config.state_dir),
        }
        Ok(pipeline)
    }

    /// Lets go of everything but the lock.
    fn into_lock(self) -> Lock {
        let Pipeline { _lock: lock, .. } = self;
        lock
    }

    /// The program in force; none before the initial load.
    pub fn program(&self) -> Option<&Program> {
        self.engine.program()
    }

    /// The last epoch; 0 before the initial load.
    pub fn epoch(&self) -> Epoch {
        self.last.as_ref().map_or(Epoch::ZERO, |last| last.header.epoch)
    }

    /// The header of the last epoch.
    pub fn header(&self) -> Option<&EpochHeader> {
        self.last.as_ref().map(|last| &last.header)
    }

    /// Every row of a view, with the number of its copies as weight.
    pub fn rows(
        &self,
        view: &ViewName,
    ) -> Result<Box<dyn Iterator<Item = Result<ZSet, RuntimeError>> + Send>, RuntimeError> {
        let failed = |view: &ViewName| RuntimeError::engine(format!("reading view {view}"));
        let rows = self.engine.rows(view).map_err(failed(view))?;
        let view = view.clone();
        Ok(Box::new(rows.map(move |chunk| chunk.map_err(failed(&view)))))
    }

    /// Says what it does from here on.
    pub(crate) fn enter(&self, phase: Phase) {
        self.observer.notify(Progress::Phase(phase));
    }

    /// The last epoch as a link of the chain.
    pub(crate) fn last_link(&self) -> Link {
        self.last.as_ref().map(LastEpoch::link).unwrap_or_default()
    }

    pub(crate) fn frontier(&self) -> Frontier {
        self.last.as_ref().map(|last| last.header.frontier.clone()).unwrap_or_default()
    }

    /// The tables that the program reads of a source.
    pub(crate) fn tables_of(program: &Program, source: &SourceId) -> Vec<tidegate_core::TableSchema> {
        program.tables().iter().filter(|table| table.name.source == source.name).cloned().collect()
    }
}
