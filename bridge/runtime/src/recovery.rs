//! Opening a pipeline: from nothing, or from the newest checkpoint and the log after it.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tidegate_core::{ErrorKind, Frontier, chain};
use tidegate_engine::{Engine, EngineCheckpoint, EngineOptions, Program};

use crate::check::{look_at_state, unknown_view};
use crate::checkpoint::{CheckpointFile, Checkpoints, Listed};
use crate::delivery::{Aside, Driver};
use crate::feed::Feed;
use crate::history::History;
use crate::lock::Lock;
use crate::log::InputLog;
use crate::observer::Observer;
use crate::open_engine::OpenEngine;
use crate::pending::Pending;
use crate::pipeline::{Change, LastEpoch, Pipeline, Saved, SavedCheckpoint};
use crate::requests::Requests;
use crate::state::{ProgressFile, StateFile};
use crate::summary::RunSummary;
use crate::tail::Tail;
use crate::time_map::TimeMap;
use crate::{Connectors, PipelineConfig, RuntimeError, SourceSlot, blocking, durable, planner};

/// Threads of a view's circuit where the configuration does not say. More of them wait for each other several times in
/// each epoch, which costs more than small epochs have to compute (ADR 13).
const DEFAULT_WORKERS: usize = 1;

/// Opens a pipeline. `resync` names a sink that may hold anything; then other sinks that do not
/// fit are left alone instead of stopping everything. `lock` is that of the state folder, where it is held already.
pub(crate) async fn open(
    config: PipelineConfig,
    connectors: Connectors,
    observer: Arc<dyn Observer>,
    resync: Option<&str>,
    lock: Option<Lock>,
) -> Result<Pipeline, RuntimeError> {
    let mut faults = Vec::new();
    for slot in &connectors.sinks {
        faults.extend(unknown_view(slot, &config).map(|fault| format!("sink {}: {fault}", slot.sink.name())));
    }
    if !faults.is_empty() {
        return Err(RuntimeError::Plan(faults));
    }
    let drivers: Vec<Driver> =
        connectors.sinks.into_iter().map(|slot| Driver::new(slot, &config.histories, &config.clock)).collect();
    if let Some(name) = resync
        && !drivers.iter().any(|driver| driver.name == name)
    {
        let known = drivers.iter().map(|driver| driver.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(RuntimeError::UnknownSink { name: name.to_owned(), known });
    }
    let parts = Parts {
        sources: connectors.sources,
        drivers,
        binder: connectors.binder,
        observer,
        resync: resync.map(str::to_owned),
        lock,
        config,
    };
    let (dir, name) = (&parts.config.state_dir, &parts.config.name);
    crate::backup::refuse_incomplete(dir)?;
    crate::backup::remove_leftovers(dir);
    let found = StateFile::read(dir, name)?;
    if parts.config.is_branch != found.as_ref().is_some_and(|state| state.branch.is_some()) {
        let fact = match parts.config.is_branch {
            true => "is no state of a branch, but the pipeline file says branch_of",
            false => "is the state of a branch, but the pipeline file does not say branch_of",
        };
        return Err(RuntimeError::State {
            path: dir.clone(),
            fact: fact.to_owned(),
            way_out: "a branch is made by 'tidegate rewind PIPELINE --branch NAME --out DIR', and keeps the file and the folder that \
                      come of it together",
            kind: ErrorKind::Reconfigure,
        });
    }
    if found.is_some() {
        return parts.recover().await;
    }
    if let Some(depot) = parts.config.log.depot()
        && let Some(epoch) = depot.restore(dir, name).await?
    {
        tracing::warn!(name: "state_restored", epoch = epoch.0, dir = %dir.display(), "made the state folder again from the checkpoint beside the log");
        return parts.recover().await;
    }
    parts.begin().await
}

struct Parts {
    config: PipelineConfig,
    sources: Vec<SourceSlot>,
    drivers: Vec<Driver>,
    binder: Arc<dyn tidegate_core::Binder>,
    observer: Arc<dyn Observer>,
    resync: Option<String>,
    lock: Option<Lock>,
}

impl Parts {
    fn lock(&mut self) -> Result<Lock, RuntimeError> {
        match self.lock.take() {
            Some(lock) => Ok(lock),
            None => Lock::acquire(&self.config.state_dir),
        }
    }

    /// A new pipeline. Everything that can be wrong is found before the first write.
    async fn begin(mut self) -> Result<Pipeline, RuntimeError> {
        // Before the sinks: they hold more than a new state, and that is not what has to be mended.
        look_at_state(&self.config).await?;
        let (program, positions) = self.plan(&Frontier::new()).await?;
        self.open_sinks_of_new(&program).await?;
        let dir = self.config.state_dir.clone();
        durable::create_dir(&dir)?;
        let lock = self.lock()?;
        if StateFile::read(&dir, &self.config.name)?.is_some() {
            return Err(RuntimeError::Locked { dir, pid: "(one that has just ended)".to_owned() });
        }
        let workers = self.config.workers.unwrap_or(DEFAULT_WORKERS);
        let state = StateFile::new(&self.config.name, workers);
        let log = InputLog::open(&self.config.log, &dir, state.log_id)?.with_retention(self.config.log_retention);
        if !log.is_empty().await? {
            return Err(RuntimeError::log_without_state(&log.name(), &dir));
        }
        state.write(&dir)?;
        let engine = new_engine(&dir, &self.config, &state)?;
        let change = Change::Load(Box::new(program), positions);
        self.assemble(lock, state, engine, log, change)
    }

    /// A state folder whose initial load was never published.
    async fn begin_again(mut self, lock: Lock, state: StateFile, log: InputLog) -> Result<Pipeline, RuntimeError> {
        if !log.is_empty().await? {
            return Err(RuntimeError::LogForeign {
                log: log.name(),
                fact: "holds records, but no checkpoint is left that they continue".to_owned(),
                way_out: "restore the folder checkpoints from a backup, or move the state folder and the log away, run \
                          again, and bring each sink in line with 'tidegate resync PIPELINE SINK'",
            });
        }
        let (program, positions) = self.plan(&Frontier::new()).await?;
        self.open_sinks_of_new(&program).await?;
        let engine = new_engine(&self.config.state_dir, &self.config, &state)?;
        let mut pipeline = self.assemble(lock, state, engine, log, Change::Load(Box::new(program), positions))?;
        pipeline.pending.cut_unless(|_| false)?;
        pipeline.time_map.clear()?;
        Ok(pipeline)
    }

    async fn recover(mut self) -> Result<Pipeline, RuntimeError> {
        let dir = self.config.state_dir.clone();
        let lock = self.lock()?;
        let Some(mut state) = StateFile::read(&dir, &self.config.name)? else {
            return Err(RuntimeError::Bug(format!("{} vanished while it was locked", dir.display())));
        };
        state.workers = self.config.workers.unwrap_or(state.workers);
        if let Some(branch) = &state.branch {
            self.sources = self.sources.into_iter().map(|slot| branch.detached(slot)).collect();
        }
        let log = InputLog::open(&self.config.log, &dir, state.log_id)?.with_retention(self.config.log_retention);
        let found = Checkpoints::open(&dir.join("checkpoints"))?.list()?;
        if found.is_empty() {
            return self.begin_again(lock, state, log).await;
        }
        let mut candidates = readable(found)?;
        let progress = ProgressFile::read(&dir)?;
        let mut tail = Tail::read(&candidates[0], &log).await?;
        tail.check_repeatable(&self.sources, &log)?;
        let here = progress.after(tail.frontier(&candidates[0]));
        let mut change = self.plan_change(&candidates[0], &here).await?;
        let engine = loop {
            let kept: Vec<_> = candidates.iter().filter_map(|kept| engine_checkpoint(kept).ok()).collect();
            match resume(&dir, &self.config, &state, &candidates[0], &kept) {
                Ok(engine) => break engine,
                Err(error) if is_incompatible(&error) => {
                    tracing::warn!(name: "rebuilding", error = %chain(&error), "the views are built anew");
                    let at = if matches!(change, Change::Later) { Frontier::new() } else { here.clone() };
                    let (program, positions) = self.plan(&at).await?;
                    change = Change::Afresh(Box::new(program), positions);
                    break new_engine(&dir, &self.config, &state)?;
                }
                Err(error) if candidates.len() > 1 => {
                    tracing::warn!(name: "checkpoint_unusable", error = %chain(&error), "the newest checkpoint cannot be used, trying the one before it");
                    candidates.remove(0);
                    tail = Tail::read(&candidates[0], &log).await?;
                    tail.check_repeatable(&self.sources, &log)?;
                }
                Err(error) => return Err(error),
            }
        };
        let checkpoint = candidates[0].clone();
        let mut pipeline = self.assemble(lock, state, engine, log, change)?;
        pipeline.stand_at(&checkpoint, candidates, progress)?;
        let other_workers = match pipeline.engine.program() {
            Some(program) => !pipeline.would_rebuild(program)?.is_empty(),
            None => false,
        };
        if matches!(pipeline.change, Change::None) && other_workers {
            pipeline.change = Change::Workers;
        }
        pipeline.recover_time_map(&checkpoint, &tail).await?;
        pipeline.catch_up(&checkpoint, tail).await?;
        pipeline.find_missed_moments()?;
        Ok(pipeline)
    }

    async fn plan(&mut self, at: &Frontier) -> Result<(Program, Frontier), RuntimeError> {
        let mut sources: Vec<_> = self.sources.iter_mut().map(|slot| &mut slot.source).collect();
        planner::plan(&mut sources, &self.config, &*self.binder, at).await.into_result()
    }

    /// Compares the wanted views with those of the checkpoint; plans them if they differ.
    async fn plan_change(&mut self, checkpoint: &CheckpointFile, here: &Frontier) -> Result<Change, RuntimeError> {
        if checkpoint.views == views_json(&self.config)? {
            return Ok(Change::None);
        }
        match self.plan(here).await {
            Ok((program, positions)) => Ok(Change::Rebuild(Box::new(program), positions)),
            Err(error) if error.kind() == ErrorKind::Retry => Err(error),
            // A table that is newer than the frontier, or one that changes between it and now.
            Err(_) => self.plan(&Frontier::new()).await.map(|_| Change::Later),
        }
    }

    /// The sinks of a pipeline without epochs must hold nothing, or somebody lost a state folder.
    async fn open_sinks_of_new(&mut self, program: &Program) -> Result<(), RuntimeError> {
        let resync = self.resync.clone();
        for driver in &mut self.drivers {
            driver.set_program(program);
            driver.connect(&History::default(), None, resync.as_deref()).await?;
        }
        Ok(())
    }

    fn assemble(
        self,
        lock: Lock,
        state: StateFile,
        engine: OpenEngine,
        log: InputLog,
        change: Change,
    ) -> Result<Pipeline, RuntimeError> {
        let dir = &self.config.state_dir;
        let past_log = state.branch.as_ref().map(|branch| branch.past(dir)).transpose()?;
        let mut pipeline = Pipeline {
            past_log,
            time_map: TimeMap::open(dir, state.log_id)?,
            checkpoints: Checkpoints::open(&dir.join("checkpoints"))?,
            depot: self.config.log.depot(),
            pending: Pending::open(&dir.join("delta_log"))?,
            feeds: self.sources.into_iter().map(Feed::new).collect(),
            drivers: self.drivers,
            binder: self.binder,
            observer: self.observer,
            state,
            engine,
            log,
            history: History::default(),
            last: None,
            positions: Frontier::new(),
            ends: Frontier::new(),
            saved_progress: ProgressFile::default(),
            change,
            saved: Saved { at: Some(Instant::now()), ..Saved::default() },
            summary: RunSummary::default(),
            past: None,
            logged_tables: None,
            status_at: None,
            held_since: None,
            run_time: None,
            beside: None,
            requests: Requests::default(),
            resync: self.resync,
            config: self.config,
            _lock: lock,
        };
        pipeline.expect_to_be_restored();
        Ok(pipeline)
    }
}

/// The views as they are compared with those of a checkpoint.
pub(crate) fn views_json(config: &PipelineConfig) -> Result<serde_json::Value, RuntimeError> {
    serde_json::to_value(&config.views)
        .map_err(|error| RuntimeError::Bug(format!("the views cannot be written as JSON: {error}")))
}

pub(crate) fn options(config: &PipelineConfig, state: &StateFile) -> EngineOptions {
    EngineOptions::new(state.workers, config.memory_limit)
}

fn new_engine(dir: &Path, config: &PipelineConfig, state: &StateFile) -> Result<OpenEngine, RuntimeError> {
    blocking(|| Engine::create(&dir.join("engine"), options(config, state)))
        .map(OpenEngine::new)
        .map_err(RuntimeError::engine("making the engine's state"))
}

fn resume(
    dir: &Path,
    config: &PipelineConfig,
    state: &StateFile,
    checkpoint: &CheckpointFile,
    kept: &[EngineCheckpoint],
) -> Result<OpenEngine, RuntimeError> {
    let engine = engine_checkpoint(checkpoint)?;
    blocking(|| Engine::resume(&dir.join("engine"), options(config, state), &engine, kept))
        .map(OpenEngine::new)
        .map_err(RuntimeError::engine(format!("resuming from the checkpoint of epoch {}", checkpoint.header.epoch)))
}

impl Pipeline {
    /// The engine as it was at a checkpoint, once more.
    pub(crate) fn resume_again(&mut self, checkpoint: &CheckpointFile) -> Result<(), RuntimeError> {
        self.engine.close();
        let kept: Vec<_> = self.saved.kept.iter().map(|saved| saved.engine.clone()).collect();
        self.engine = resume(&self.config.state_dir, &self.config, &self.state, checkpoint, &kept)?;
        Ok(())
    }

    /// Takes the place that a checkpoint describes; `kept` are the readable ones, newest first.
    fn stand_at(
        &mut self,
        checkpoint: &CheckpointFile,
        kept: Vec<CheckpointFile>,
        progress: ProgressFile,
    ) -> Result<(), RuntimeError> {
        self.saved_progress = progress;
        let known = [&checkpoint.sinks, &self.saved_progress.sinks];
        for sink in known.iter().flat_map(|sinks| sinks.values()) {
            sink.values().for_each(|link| self.history.insert(*link));
        }
        for driver in &mut self.drivers {
            if let Some(reason) = self.saved_progress.detached.get(&driver.name) {
                tracing::error!(name: "sink_detached", sink = %driver.name, %reason,
                    "the sink is detached and gets nothing until it is brought in line with 'tidegate resync'"
                );
                driver.aside = Some(Aside::Detached(reason.clone()));
            }
            for (view, link) in known.iter().filter_map(|sinks| sinks.get(&driver.name)).flatten() {
                let seen = driver.seen.entry(view.clone()).or_insert(*link);
                if seen.epoch < link.epoch {
                    *seen = *link;
                }
            }
        }
        self.history.insert(checkpoint.previous);
        self.history.insert((&checkpoint.header).into());
        self.last = Some(LastEpoch {
            header: checkpoint.header.clone(),
            previous: checkpoint.previous,
            origin: checkpoint.origin.clone(),
        });
        self.saved.epoch = Some(checkpoint.header.epoch);
        for file in &kept {
            match engine_checkpoint(file) {
                Ok(engine) => self.saved.kept.push(SavedCheckpoint { rung: file.rung(), engine }),
                Err(error) => {
                    tracing::warn!(name: "checkpoint_unusable", error = %chain(&error), "a checkpoint cannot be used")
                }
            }
        }
        Ok(())
    }
}

pub(crate) fn engine_checkpoint(checkpoint: &CheckpointFile) -> Result<EngineCheckpoint, RuntimeError> {
    serde_json::from_value(checkpoint.engine.clone()).map_err(|error| RuntimeError::State {
        path: format!("checkpoints/{}.json", checkpoint.header.epoch.digits()).into(),
        fact: format!("holds an engine state that this version does not read ({error})"),
        way_out: "use the version of Tidegate that wrote it",
        kind: ErrorKind::Stop,
    })
}

fn is_incompatible(error: &RuntimeError) -> bool {
    match error {
        RuntimeError::Engine { error, .. } => error.is_incompatible(),
        _ => false,
    }
}

/// The checkpoints that can be read, newest first.
fn readable(found: Vec<Listed>) -> Result<Vec<CheckpointFile>, RuntimeError> {
    let (mut good, mut bad) = (Vec::new(), None);
    for (epoch, file) in found {
        match file {
            Ok(file) => good.push(file),
            Err(error) => {
                tracing::warn!(name: "checkpoint_unreadable", epoch = epoch.0, error = %chain(&error), "a checkpoint cannot be read");
                bad.get_or_insert(error);
            }
        }
    }
    match (good.is_empty(), bad) {
        (true, Some(error)) => Err(error),
        _ => Ok(good),
    }
}
