//! Views that are built while the others go on.
//!
//! A copy of the newest checkpoint, in folders of its own, becomes an engine with the wanted program; it computes what is new
//! from that checkpoint's content, and then follows the pipeline by the records of the input log. When the pipeline is opened
//! again with these views, that engine takes the place of its own. Nobody has to be able to do without: where anything stands in
//! the way, the views are built as ever, while all stand still; and a crash leaves a folder that nobody reads.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use futures::StreamExt;
use tidegate_core::{EventStream, Frontier, SourceId, TableSchema, chain, failpoint};
use tidegate_engine::{Engine, EngineCheckpoint, EngineOptions, Program, RebuildScope};
use uuid::Uuid;

use crate::load::Loaded;
use crate::log::header::{Link, RecordKind};
use crate::log::{InputLog, LogLocation};
use crate::observer::Progress;
use crate::open_engine::OpenEngine;
use crate::pipeline::{Change, Pipeline};
use crate::recovery::options as engine_options;
use crate::replay::apply_events;
use crate::{Observer, PipelineConfig, RuntimeError, StopSignal, blocking, planner};

/// The folder in the state folder.
const FOLDER: &str = "beside";

/// Rounds of following end when one has fewer records than this, or no fewer than the round before.
const FEW_RECORDS: usize = 4;

/// What a pipeline that goes on hands out for views that are to be built beside it.
pub struct Groundwork {
    dir: PathBuf,
    options: EngineOptions,
    /// As it is named in `dir`.
    checkpoint: EngineCheckpoint,
    at: Link,
    program: Program,
    tables: Vec<Content>,
    log: LogLocation,
    log_id: Uuid,
    state_dir: PathBuf,
}

/// Rows of tables that the engine does not keep, as of the checkpoint.
struct Content {
    source: SourceId,
    rows_estimate: Option<u64>,
    events: EventStream,
}

/// Why views are not built beside the others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotBeside(pub String);

fn because(reason: impl Into<String>) -> NotBeside {
    NotBeside(reason.into())
}

/// An engine with the wanted views, which stands at an epoch of the pipeline.
pub struct Beside {
    engine: OpenEngine,
    dir: PathBuf,
    workers: usize,
    at: Link,
}

impl Pipeline {
    /// Copies what is there, plans the views, and begins to read the tables that nobody has kept. Between two rounds.
    pub(crate) async fn lay_groundwork(
        &mut self,
        config: &PipelineConfig,
    ) -> Result<Result<Groundwork, NotBeside>, RuntimeError> {
        if self.last.is_none() || !matches!(self.change, Change::None) {
            return Ok(Err(because("the views as they were are not loaded yet")));
        }
        if self.replay_under_way().is_some() || self.config.is_branch {
            return Ok(Err(because("a past is gone through again")));
        }
        let program = match self.plan_beside(config).await {
            Ok(program) => program,
            Err(reason) => return Ok(Err(reason)),
        };
        if self.saved.epoch != Some(self.epoch()) {
            self.save_checkpoint().await?;
            self.trim_log().await?;
        }
        Ok(self.copy_beside(program).await)
    }

    async fn plan_beside(&mut self, config: &PipelineConfig) -> Result<Program, NotBeside> {
        let here = self.positions.clone();
        self.cancel_polls().await;
        let mut sources = Vec::new();
        for feed in &mut self.feeds {
            sources.push(feed.source().await);
        }
        let mut sources: Vec<_> = sources.iter_mut().map(|source| &mut **source).collect();
        let planned = planner::plan(&mut sources, config, &*self.binder, &here).await;
        let (program, _) = planned.into_result().map_err(|error| because(chain(&error)))?;
        if program.reads_time() {
            return Err(because("a view reads the time of the epoch"));
        }
        let present = self.engine.program().ok_or_else(|| because("nothing is loaded yet"))?;
        if let Some(table) = program.tables().iter().find(|table| !present.tables().contains(table)) {
            return Err(because(format!("table {} was not read until now, or was read as another one", table.name)));
        }
        match self.would_rebuild(&program) {
            Ok(fresh) if fresh.is_empty() => Err(because("nothing is built")),
            Ok(_) => Ok(program),
            Err(error) => Err(because(chain(&error))),
        }
    }

    async fn copy_beside(&mut self, program: Program) -> Result<Groundwork, NotBeside> {
        let failed = |error: &dyn std::error::Error| because(chain(error));
        let wanted = self.engine.would_read(&program).map_err(|error| failed(&error))?;
        let mut tables = Vec::new();
        for index in 0..self.feeds.len() {
            let source = self.feeds[index].id().clone();
            let of_source: Vec<TableSchema> =
                Self::tables_of(&program, &source).into_iter().filter(|table| wanted.contains(&table.name)).collect();
            let Some(at) = self.positions.get(&source).copied().filter(|_| !of_source.is_empty()) else { continue };
            if self.feeds[index].is_present_only() {
                return Err(because(format!("source {source} cannot read tables as they were")));
            }
            let snapshot = self.feeds[index].source().await.snapshot(&of_source, Some(&at)).await;
            let snapshot = snapshot.map_err(|error| failed(&error))?;
            if snapshot.position != at {
                return Err(because(format!("source {source} has its tables as of another position")));
            }
            tables.push(Content { source, rows_estimate: snapshot.rows_estimate, events: snapshot.events });
        }
        let saved = self.saved.kept.first().ok_or_else(|| because("there is no checkpoint"))?;
        let (state_dir, dir) = (self.config.state_dir.clone(), self.config.state_dir.join(FOLDER));
        let copied = blocking(|| {
            remove(&state_dir);
            Engine::copy(&state_dir.join("engine"), &dir, &saved.engine)
        });
        failpoint::hit("beside.copied");
        Ok(Groundwork {
            checkpoint: copied.map_err(|error| failed(&error))?,
            dir,
            // The engine that goes on has its own memory.
            options: EngineOptions {
                memory_limit: self.config.memory_limit.map(|limit| limit / 2),
                ..engine_options(&self.config, &self.state)
            },
            at: self.last_link(),
            program,
            tables,
            log: self.config.log.clone(),
            log_id: self.log.id(),
            state_dir,
        })
    }

    /// Puts the engine that was built beside this pipeline in the place of its own, if it stands where that stands and has
    /// these views, and makes that an epoch. Otherwise nothing has happened.
    pub(crate) async fn adopt(&mut self, mut beside: Beside, program: &Program) -> Result<bool, RuntimeError> {
        // No sink is given views that are on their way out.
        self.sinks_at_rest().await?;
        let followed = beside.follow(&self.log).await;
        let adopted = followed.and_then(|_| self.taken_from(&mut beside, program));
        let Beside { mut engine, .. } = beside;
        engine.close();
        remove(&self.config.state_dir);
        let (engine, deltas) = match adopted {
            Ok(adopted) => adopted,
            Err(NotBeside(reason)) => {
                tracing::warn!(name: "beside_given_up", reason, "what was built beside the other views is not used: all stand still while it is built");
                return Ok(false);
            }
        };
        std::mem::replace(&mut self.engine, engine).close();
        tracing::info!(name: "beside_taken", epoch = self.epoch().0, "takes the views that were built beside the others");
        let used = |source: &SourceId| program.tables().iter().any(|table| table.name.source == source.name);
        // Both engines stand where the sources have been read, which need not be where the views were planned.
        let frontier: Frontier =
            self.positions.iter().filter(|(id, _)| used(id)).map(|(id, at)| (id.clone(), *at)).collect();
        let loaded = Loaded {
            deltas,
            commit_times: Default::default(),
            time: self.coming_time(&Default::default(), None),
            rows: 0,
        };
        self.publish(program, RecordKind::Rebuild, frontier, loaded).await?;
        Ok(true)
    }

    fn taken_from(
        &self,
        beside: &mut Beside,
        program: &Program,
    ) -> Result<(OpenEngine, Vec<tidegate_core::ViewDelta>), NotBeside> {
        let failed = |error: &dyn std::error::Error| because(chain(error));
        if beside.at != self.last_link() {
            return Err(because(format!("it stands at epoch {}, and not at {}", beside.at.epoch, self.epoch())));
        }
        let options = engine_options(&self.config, &self.state);
        let other_views = beside.engine.program().is_none_or(|has| {
            let names =
                |program: &Program| program.views().iter().map(|view| view.info.name.clone()).collect::<Vec<_>>();
            has.definition().views != program.definition().views || names(has) != names(program)
        });
        let rebuilt = beside.engine.would_rebuild(program).map_err(|error| failed(&error))?;
        if options.workers != beside.workers || other_views || !rebuilt.is_empty() {
            return Err(because("the views are planned in another way by now"));
        }
        let saved = blocking(|| beside.engine.checkpoint()).map_err(|error| failed(&error))?;
        beside.engine.close();
        let to = self.config.state_dir.join("engine");
        let engine = blocking(|| Engine::fork(&beside.dir, &to, options, &saved)).map_err(|error| failed(&error))?;
        let engine = OpenEngine::new(engine);
        failpoint::hit("beside.forked");
        let deltas = blocking(|| self.engine.exchange(&engine)).map_err(|error| failed(&error))?;
        Ok((engine, deltas))
    }
}

impl Groundwork {
    /// Builds the views, and follows the pipeline until little is left. Gives up when it is told to stop.
    pub async fn build(self, observer: &dyn Observer, stop: &StopSignal) -> Result<Beside, NotBeside> {
        let failed = |error: &dyn std::error::Error| because(chain(error));
        let Groundwork { dir, options, checkpoint, at, program, tables, log, log_id, state_dir } = self;
        let workers = options.workers;
        let engine = blocking(|| Engine::resume(&dir, options, &checkpoint, &[])).map_err(|error| failed(&error))?;
        let mut beside = Beside { engine: OpenEngine::new(engine), dir, workers, at };
        let engine = &mut beside.engine;
        blocking(|| engine.begin_rebuild(program, RebuildScope::Changed)).map_err(|error| failed(&error))?;
        let rows_estimate = tables.iter().map(|content| content.rows_estimate).sum();
        observer.notify(Progress::LoadStarted { rows_estimate });
        for Content { source, mut events, .. } in tables {
            while let Some(event) = events.next().await {
                is_wanted(stop)?;
                let (table, event) = event.map_err(|error| because(format!("source {source}: {}", chain(&error))))?;
                let rows = event.rows() as u64;
                let engine = &mut beside.engine;
                blocking(|| engine.load(&table, event)).map_err(|error| failed(&error))?;
                observer.notify(Progress::RowsLoaded { rows });
            }
        }
        is_wanted(stop)?;
        let engine = &mut beside.engine;
        blocking(|| engine.finish_rebuild()).map_err(|error| failed(&error))?;
        failpoint::hit("beside.built");
        let mut before = usize::MAX;
        loop {
            is_wanted(stop)?;
            let log = match &log {
                LogLocation::StateDir => InputLog::look(&state_dir.join("log"), log_id),
                LogLocation::Local(dir) => InputLog::look(dir, log_id),
                LogLocation::ObjectStore { .. } => InputLog::open(&log, &state_dir, log_id),
            };
            let followed = beside.follow(&log.map_err(|error| failed(&error))?).await?;
            if followed < FEW_RECORDS || followed >= before {
                break;
            }
            before = followed;
        }
        // What is saved now has not to be saved while all stand still.
        let engine = &mut beside.engine;
        blocking(|| engine.checkpoint()).map_err(|error| failed(&error))?;
        failpoint::hit("beside.followed");
        observer.notify(Progress::LoadFinished);
        Ok(beside)
    }
}

impl Beside {
    /// Applies the epochs of the log that came after where it stands, and answers how many.
    async fn follow(&mut self, log: &InputLog) -> Result<usize, NotBeside> {
        let failed = |error: &dyn std::error::Error| because(chain(error));
        let records = log.records(self.at.epoch).await.map_err(|error| failed(&error))?;
        let (mut followed, here) = (0, self.at.epoch);
        for record in records.iter().filter(|record| record.header.header.epoch > here) {
            if record.header.previous != self.at {
                return Err(because("the log has lost epochs that came meanwhile"));
            }
            match record.header.origin.kind {
                RecordKind::Resync => {}
                RecordKind::Events => {
                    apply_events(&mut self.engine, log, record).await.map_err(|error| failed(&error))?;
                }
                kind @ (RecordKind::Load | RecordKind::Rebuild | RecordKind::Rewind) => {
                    return Err(because(format!("there was a {} meanwhile", kind.as_str())));
                }
            }
            self.at = (&record.header.header).into();
            followed += 1;
        }
        Ok(followed)
    }
}

fn is_wanted(stop: &StopSignal) -> Result<(), NotBeside> {
    if stop.is_stopped() { Err(because("the pipeline is stopped")) } else { Ok(()) }
}

/// Removes what was left of views that were being built. What cannot be removed now is tried again the next time.
pub(crate) fn remove(state_dir: &Path) {
    let dir = state_dir.join(FOLDER);
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!(name: "beside_left", folder = %dir.display(), %error, "what is left of views that were being built cannot be removed");
        }
        _ => {}
    }
}
