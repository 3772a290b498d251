//! The initial load and rebuilds: views computed from whole tables instead of events.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::StreamExt;
use tidegate_core::{
    ErrorKind, EventStream, Frontier, Micros, OnExpired, Polled, Position, SourceId, TableName, TableSchema, ViewDelta,
    failpoint,
};
use tidegate_engine::{Program, RebuildScope};

use crate::barrier::without;
use crate::kept::Unloaded;
use crate::log::hash::ContentHash;
use crate::log::header::{LoadedTable, Origin, RecordKind};
use crate::observer::{Phase, Progress, Stretch, Work};
use crate::pipeline::Pipeline;
use crate::retry::Backoff;
use crate::{RuntimeError, StopSignal, blocking, planner};

/// How often a rebuild is planned anew because a schema has moved on, before all tables of that source
/// are copied.
const MOVES_FOLLOWED: u32 = 2;

/// What came of building views.
pub(crate) struct Loaded {
    pub deltas: Vec<ViewDelta>,
    /// The latest commit of each source.
    pub commit_times: BTreeMap<SourceId, Micros>,
    /// The time of the epoch.
    pub time: Micros,
    /// Rows that were read for it.
    pub rows: u64,
}

impl Pipeline {
    /// Builds the views in `scope` at the given positions and makes that one epoch. A source that can
    /// read its present only is read there instead. Where a position can no longer be read, the
    /// source's policy decides. With a source's error of kind `Retry` nothing has happened.
    pub(crate) async fn rebuild(
        &mut self,
        mut program: Program,
        mut scope: RebuildScope,
        kind: RecordKind,
        mut positions: Frontier,
        stop: &StopSignal,
    ) -> Result<(), RuntimeError> {
        // No sink is given views that are on their way out.
        self.sinks_at_rest().await?;
        let mut backoff: Option<Backoff> = None;
        let mut moves = 0;
        loop {
            let mut reached = positions.clone();
            let error = match self.load_views(&program, scope.clone(), &mut reached, None, Some(stop)).await {
                Ok(loaded) => return self.publish(&program, kind, reached, loaded).await,
                Err(error) => error,
            };
            match error {
                Unloaded::Failed(RuntimeError::Expired { source_id, reason, .. })
                    if self.rebuilds_when_expired(&source_id) =>
                {
                    tracing::warn!(name: "past_gone", source = %source_id, reason, "loading the present content instead");
                    self.summary.recopied.insert(source_id.name.clone());
                    (program, positions) = self.plan_at(&without(&positions, &source_id), stop).await?.into_result()?;
                    scope = self.source_anew(&program, &source_id, scope);
                }
                Unloaded::Moved { source_id, reason } => {
                    tracing::info!(name: "replanning", source = %source_id, reason, "the views are planned anew while they are built");
                    (program, positions) = self.plan_at(&positions, stop).await?.into_result()?;
                    moves += 1;
                    if moves > MOVES_FOLLOWED {
                        // Perhaps a table was changed to and fro, and the plan cannot know.
                        scope = self.source_anew(&program, &source_id, scope);
                    }
                }
                Unloaded::Failed(error @ RuntimeError::Source { .. }) if error.kind() == ErrorKind::Retry => {
                    let next = backoff.map_or_else(Backoff::first, Backoff::next);
                    if next.failing_for() > self.config.retry_for {
                        return Err(error);
                    }
                    tracing::warn!(name: "load_failed", error = %tidegate_core::chain(&error), "loading failed and is tried again");
                    tokio::select! {
                        () = tokio::time::sleep(next.due_in()) => {}
                        () = stop.stopped() => return Err(RuntimeError::StoppedWhileLoading),
                    }
                    backoff = Some(next);
                    if self.reads_present_only(&program).is_some() {
                        // What failed may be that a schema has moved on.
                        match self.plan_at(&positions, stop).await?.into_result() {
                            Ok(planned) => (program, positions) = planned,
                            Err(error) if error.kind() == ErrorKind::Retry => {}
                            Err(error) => return Err(error),
                        }
                    }
                }
                Unloaded::Failed(error) => return Err(error),
            }
        }
    }

    fn rebuilds_when_expired(&self, source: &SourceId) -> bool {
        self.feeds.iter().any(|feed| feed.id() == source && feed.on_expired() == OnExpired::Rebuild)
    }

    /// Plans the wanted views, unless it is told to stop while a source takes its time.
    pub(crate) async fn plan_at(&mut self, at: &Frontier, stop: &StopSignal) -> Result<planner::Planned, RuntimeError> {
        self.cancel_polls().await;
        let mut sources = Vec::new();
        for feed in &mut self.feeds {
            sources.push(feed.source().await);
        }
        let mut sources: Vec<_> = sources.iter_mut().map(|source| &mut **source).collect();
        tokio::select! {
            planned = planner::plan(&mut sources, &self.config, &*self.binder, at) => Ok(planned),
            () = stop.stopped() => Err(RuntimeError::StoppedWhileLoading),
        }
    }

    /// Loads what `scope` needs and finishes the rebuild in the engine. `frontier` becomes the
    /// positions of the sources that the program uses. `time` is that of an epoch that is built again. Nothing has
    /// happened when this fails.
    pub(crate) async fn load_views(
        &mut self,
        program: &Program,
        scope: RebuildScope,
        frontier: &mut Frontier,
        time: Option<Micros>,
        stop: Option<&StopSignal>,
    ) -> Result<Loaded, Unloaded> {
        self.cancel_polls().await;
        let rows_before = self.summary.source_rows;
        let engine = &mut self.engine;
        let wanted = blocking(|| engine.begin_rebuild(program.clone(), scope))
            .map_err(RuntimeError::engine("beginning to build the views"))?;
        self.enter(Phase::Loading);
        self.observer.notify(Progress::LoadStarted { rows_estimate: None });
        let stopped = async {
            match stop {
                Some(stop) => stop.stopped().await,
                None => std::future::pending().await,
            }
        };
        let loaded = tokio::select! {
            loaded = self.load_tables(program, &wanted, frontier) => loaded,
            () = stopped => Err(RuntimeError::StoppedWhileLoading.into()),
        };
        let commit_times = match loaded {
            Ok(commit_times) => commit_times,
            Err(error) => {
                let engine = &mut self.engine;
                blocking(|| engine.abort_rebuild());
                return Err(error);
            }
        };
        failpoint::hit("load.rows_fed");
        self.enter(Phase::Stepping);
        let started = Instant::now();
        let time = time.unwrap_or_else(|| self.coming_time(&commit_times, self.wall_time_of(program)));
        let engine = &mut self.engine;
        engine.set_time(time);
        let deltas = blocking(|| engine.finish_rebuild()).map_err(RuntimeError::engine("building the views"))?;
        self.worked(Work::Step, started);
        failpoint::hit("load.stepped");
        self.observer.notify(Progress::LoadFinished);
        let used = |source: &SourceId| program.tables().iter().any(|table| table.name.source == source.name);
        *frontier = frontier.iter().filter(|(id, _)| used(id)).map(|(id, at)| (id.clone(), *at)).collect();
        Ok(Loaded { deltas, commit_times, time, rows: self.summary.source_rows - rows_before })
    }

    async fn load_tables(
        &mut self,
        program: &Program,
        wanted: &[TableName],
        frontier: &mut Frontier,
    ) -> Result<BTreeMap<SourceId, Micros>, Unloaded> {
        let mut commit_times = BTreeMap::new();
        for index in 0..self.feeds.len() {
            let id = self.feeds[index].id().clone();
            let used = Self::tables_of(program, &id);
            let (fresh, kept): (Vec<_>, Vec<_>) = used.into_iter().partition(|table| wanted.contains(&table.name));
            let here = self.positions.get(&id).copied().filter(|_| self.feeds[index].is_present_only());
            if fresh.is_empty() {
                // Nothing is read, and what is kept stays where it is.
                here.into_iter().for_each(|here| frontier.set(id.clone(), here));
                continue;
            }
            let at = frontier.get(&id).copied();
            let (position, time) = self.load_source(index, &fresh, at.as_ref()).await?;
            commit_times.extend(time.map(|time| (id.clone(), time)));
            if let Some(here) = here {
                let time = self.bring(index, &kept, here, position).await?;
                let latest = time.max(commit_times.get(&id).copied());
                commit_times.extend(latest.map(|time| (id.clone(), time)));
            }
            frontier.set(id, position);
        }
        Ok(commit_times)
    }

    async fn load_source(
        &mut self,
        index: usize,
        tables: &[TableSchema],
        at: Option<&Position>,
    ) -> Result<(Position, Option<Micros>), RuntimeError> {
        let id = self.feeds[index].id().clone();
        let started = Instant::now();
        let mut source = self.feeds[index].source().await;
        let snapshot = match source.snapshot(tables, at).await {
            Ok(snapshot) => snapshot,
            Err(error) => {
                // A snapshot that cannot be read may have expired; polling from it tells. Where nothing can be told as a change
                // either, all that is left is the present.
                if let Some(at) = at.filter(|_| error.kind() != ErrorKind::Retry)
                    && !self.feeds[index].is_present_only()
                    && let Ok(Polled::Expired { reason } | Polled::SchemaChanged { reason, .. }) =
                        source.poll(tables, at, None, 1).await
                {
                    return Err(self.feeds[index].expired(reason));
                }
                return Err(RuntimeError::Source { source_id: id, error });
            }
        };
        self.summary.phases_ms.read += started.elapsed();
        if snapshot.rows_estimate.is_some() {
            self.observer.notify(Progress::LoadStarted { rows_estimate: snapshot.rows_estimate });
        }
        self.load_events(&id, snapshot.events).await?;
        self.observer.notify(Progress::Worked { work: Work::Read(&id), time: Stretch::since(started) });
        Ok((snapshot.position, snapshot.commit_time))
    }

    /// Feeds events to what is being built.
    pub(crate) async fn load_events(&mut self, source: &SourceId, mut events: EventStream) -> Result<(), RuntimeError> {
        let mut read = Duration::ZERO;
        let mut fed = Duration::ZERO;
        let mut clock = Instant::now();
        while let Some(event) = events.next().await {
            let (table, event) = event.map_err(RuntimeError::source(source))?;
            read += clock.elapsed();
            clock = Instant::now();
            let rows = event.rows() as u64;
            let engine = &mut self.engine;
            blocking(|| engine.load(&table, event)).map_err(RuntimeError::engine(format!("loading table {table}")))?;
            self.summary.source_rows += rows;
            self.observer.notify(Progress::RowsLoaded { rows });
            fed += clock.elapsed();
            clock = Instant::now();
        }
        self.summary.phases_ms.read += read + clock.elapsed();
        self.summary.phases_ms.step += fed;
        Ok(())
    }

    /// Makes a rebuild an epoch: its checkpoint is what publishes it, the log record follows.
    pub(crate) async fn publish(
        &mut self,
        program: &Program,
        kind: RecordKind,
        frontier: Frontier,
        Loaded { deltas, commit_times, time, rows: loaded_rows }: Loaded,
    ) -> Result<(), RuntimeError> {
        let tables = program.tables().iter();
        let tables: Vec<LoadedTable> =
            tables.map(|table| LoadedTable { name: table.name.clone(), incarnation: table.incarnation }).collect();
        let plans = program.views().iter().map(|view| (view.info.name.clone(), view.plan_id.to_string())).collect();
        let content = ContentHash::of_load(&tables, &plans);
        // As the engine has it, with what it computes once for several views.
        let in_force = self.engine.program().unwrap_or(program).clone();
        let definition = serde_json::to_value(in_force.definition())
            .map_err(|error| RuntimeError::Bug(format!("a program cannot be written as JSON: {error}")))?;
        let replay = self.replay_under_way();
        let plain = Origin::plain(kind, commit_times);
        let origin = Origin { tables, plans, definition: Some(definition), replay, ..plain };
        let last = self.next_epoch(origin, frontier.clone(), &content, time);
        self.positions = frontier;
        let changed = self.publish_by_checkpoint(&last, deltas, "rebuild.published").await?;
        self.state.write(&self.config.state_dir)?;
        tracing::info!(name: "built", epoch = last.header.epoch.0, frontier = %last.header.frontier, kind = kind.as_str(), "built the views");
        self.observer.notify(Progress::Program(&in_force));
        self.observer.notify(Progress::EpochStepped {
            header: &last.header,
            phases: &self.summary.phases_ms,
            source_rows: loaded_rows,
            view_rows: &changed,
        });
        self.acknowledge().await?;
        self.connect_sinks(true).await?;
        self.deliver(|_| true).await
    }
}
