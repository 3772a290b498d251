//! The initial load and rebuilds: views computed from whole tables instead of events.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::StreamExt;
use tidegate_core::{
    ConnectorError, ErrorKind, Frontier, Micros, OnExpired, Polled, Position, SourceId, TableName, TableSchema,
    ViewDelta, failpoint,
};
use tidegate_engine::{Program, RebuildScope};

use crate::log::hash::ContentHash;
use crate::log::header::{LoadedTable, Origin, RecordKind};
use crate::observer::Progress;
use crate::pipeline::Pipeline;
use crate::retry::Backoff;
use crate::{RuntimeError, StopSignal, blocking, planner};

impl Pipeline {
    /// Builds the views in `scope` at the given positions and makes that one epoch. Where a
    /// position can no longer be read, the source's policy decides.
    pub(crate) async fn rebuild(
        &mut self,
        mut program: Program,
        mut scope: RebuildScope,
        kind: RecordKind,
        mut positions: Frontier,
        stop: &StopSignal,
    ) -> Result<(), RuntimeError> {
        let mut backoff: Option<Backoff> = None;
        loop {
            let mut reached = positions.clone();
            match self.load_views(&program, scope, &mut reached, Some(stop)).await {
                Ok((deltas, commit_times)) => {
                    return self.publish(&program, kind, reached, commit_times, deltas).await;
                }
                Err(RuntimeError::Expired { source_id, reason }) if self.rebuilds_when_expired(&source_id) => {
                    tracing::warn!(source = %source_id, reason, "loading the present content instead");
                    let others = positions.iter().filter(|(id, _)| **id != source_id);
                    let others = others.map(|(id, position)| (id.clone(), *position)).collect();
                    (program, positions) = self.plan_at(&others).await.into_result()?;
                    scope = RebuildScope::All;
                }
                Err(error @ RuntimeError::Source { .. }) if error.kind() == ErrorKind::Retry => {
                    let next = backoff.map_or_else(Backoff::first, Backoff::next);
                    if next.failing_for() > self.config.retry_for {
                        return Err(error);
                    }
                    tracing::warn!(error = %crate::error::chain(&error), "loading failed and is tried again");
                    tokio::select! {
                        () = tokio::time::sleep(next.due_in()) => {}
                        () = stop.stopped() => return Err(RuntimeError::StoppedWhileLoading),
                    }
                    backoff = Some(next);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn rebuilds_when_expired(&self, source: &SourceId) -> bool {
        self.feeds.iter().any(|feed| feed.id() == source && feed.slot.source.on_expired() == OnExpired::Rebuild)
    }

    /// Plans the wanted views.
    pub(crate) async fn plan_at(&mut self, at: &Frontier) -> planner::Planned {
        let mut sources: Vec<_> = self.feeds.iter_mut().map(|feed| &mut feed.slot.source).collect();
        planner::plan(&mut sources, &self.config.views, &*self.binder, at).await
    }

    /// Loads what `scope` needs and finishes the rebuild in the engine. `frontier` becomes the
    /// positions of the sources that the program uses. Nothing has happened when this fails.
    pub(crate) async fn load_views(
        &mut self,
        program: &Program,
        scope: RebuildScope,
        frontier: &mut Frontier,
        stop: Option<&StopSignal>,
    ) -> Result<(Vec<ViewDelta>, BTreeMap<SourceId, Micros>), RuntimeError> {
        let engine = &mut self.engine;
        let wanted = blocking(|| engine.begin_rebuild(program.clone(), scope))
            .map_err(RuntimeError::engine("beginning to build the views"))?;
        self.observer.notify(Progress::LoadStarted { rows_estimate: None });
        let loaded = self.load_tables(program, &wanted, frontier, stop).await;
        let commit_times = match loaded {
            Ok(commit_times) => commit_times,
            Err(error) => {
                let engine = &mut self.engine;
                blocking(|| engine.abort_rebuild());
                return Err(error);
            }
        };
        failpoint::hit("load.rows_fed");
        let started = Instant::now();
        let engine = &mut self.engine;
        let deltas = blocking(|| engine.finish_rebuild()).map_err(RuntimeError::engine("building the views"))?;
        self.summary.phases_ms.step += started.elapsed();
        failpoint::hit("load.stepped");
        self.observer.notify(Progress::LoadFinished);
        let used = |source: &SourceId| program.tables().iter().any(|table| table.name.source == source.name);
        *frontier = frontier.iter().filter(|(id, _)| used(id)).map(|(id, at)| (id.clone(), *at)).collect();
        Ok((deltas, commit_times))
    }

    async fn load_tables(
        &mut self,
        program: &Program,
        wanted: &[TableName],
        frontier: &mut Frontier,
        stop: Option<&StopSignal>,
    ) -> Result<BTreeMap<SourceId, Micros>, RuntimeError> {
        let mut commit_times = BTreeMap::new();
        for index in 0..self.feeds.len() {
            let id = self.feeds[index].id().clone();
            let tables: Vec<TableSchema> =
                Self::tables_of(program, &id).into_iter().filter(|table| wanted.contains(&table.name)).collect();
            if tables.is_empty() {
                continue;
            }
            let at = frontier.get(&id).copied();
            let stopped = async {
                match stop {
                    Some(stop) => stop.stopped().await,
                    None => std::future::pending().await,
                }
            };
            let (position, time) = tokio::select! {
                loaded = self.load_source(index, &tables, at.as_ref()) => loaded?,
                () = stopped => return Err(RuntimeError::StoppedWhileLoading),
            };
            frontier.set(id.clone(), position);
            commit_times.extend(time.map(|time| (id, time)));
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
        let mut read = Duration::ZERO;
        let mut fed = Duration::ZERO;
        let mut clock = Instant::now();
        let snapshot = match self.feeds[index].slot.source.snapshot(tables, at).await {
            Ok(snapshot) => snapshot,
            Err(error) => return Err(self.why_unreadable(index, tables, at, error).await),
        };
        if snapshot.rows_estimate.is_some() {
            self.observer.notify(Progress::LoadStarted { rows_estimate: snapshot.rows_estimate });
        }
        let mut events = snapshot.events;
        while let Some(event) = events.next().await {
            let (table, event) = event.map_err(RuntimeError::source(&id))?;
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
        Ok((snapshot.position, snapshot.commit_time))
    }

    /// A snapshot that cannot be read may have expired; polling from it tells.
    async fn why_unreadable(
        &mut self,
        index: usize,
        tables: &[TableSchema],
        at: Option<&Position>,
        error: ConnectorError,
    ) -> RuntimeError {
        let source_id = self.feeds[index].id().clone();
        if let Some(at) = at.filter(|_| error.kind() != ErrorKind::Retry)
            && let Ok(Polled::Expired { reason }) = self.feeds[index].slot.source.poll(tables, at, None, 1).await
        {
            return RuntimeError::Expired { source_id, reason };
        }
        RuntimeError::Source { source_id, error }
    }

    /// Makes a rebuild an epoch: its checkpoint is what publishes it, the log record follows.
    async fn publish(
        &mut self,
        program: &Program,
        kind: RecordKind,
        frontier: Frontier,
        commit_times: BTreeMap<SourceId, Micros>,
        deltas: Vec<ViewDelta>,
    ) -> Result<(), RuntimeError> {
        let tables = program.tables().iter();
        let tables: Vec<LoadedTable> =
            tables.map(|table| LoadedTable { name: table.name.clone(), incarnation: table.incarnation }).collect();
        let plans = program.views().iter().map(|view| (view.info.name.clone(), view.plan_id.to_string())).collect();
        let content = ContentHash::of_load(&tables, &plans);
        let definition = serde_json::to_value(program.definition())
            .map_err(|error| RuntimeError::Bug(format!("a program cannot be written as JSON: {error}")))?;
        let origin = Origin { kind, commit_times, tables, plans, definition: Some(definition) };
        let last = self.next_epoch(origin, frontier.clone(), &content);
        self.positions = frontier;
        let changed = self.count(&last.header, &deltas)?;
        self.pending.push(last.header.clone(), last.previous, deltas);
        self.last = Some(last.clone());
        self.history.insert(last.link());
        self.save_checkpoint().await?;
        failpoint::hit("rebuild.published");
        let record = self.record(&last, Vec::new());
        self.log.append(&record, None).await?;
        self.state.write(&self.config.state_dir)?;
        tracing::info!(epoch = %last.header.epoch, frontier = %last.header.frontier, kind = kind.as_str(), "built the views");
        self.observer.notify(Progress::EpochStepped {
            header: &last.header,
            source_rows: self.summary.source_rows,
            view_rows: &changed,
        });
        self.acknowledge().await?;
        self.connect_sinks(true).await?;
        self.deliver(|_| true).await
    }
}
