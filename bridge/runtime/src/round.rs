//! One round: every source that is due is polled once, and what they offer becomes one epoch.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::StreamExt;
use tidegate_core::{ConnectorError, ErrorKind, Frontier, Micros, OnExpired, Polled, Position, SourceId, TableSchema};
use tidegate_engine::RebuildScope;

use crate::log::header::RecordKind;
use crate::log::staging::Staging;
use crate::observer::Progress;
use crate::pipeline::{Change, Pipeline};
use crate::retry::Backoff;
use crate::{RuntimeError, StopSignal};

/// How far a run goes, and how patient it is.
pub(crate) struct Goal {
    /// No source is read beyond its position here.
    pub bounds: Frontier,
    /// How long a source may answer `Retry`; `None`: for ever.
    pub retry_for: Option<Duration>,
    /// Whether sources are asked again at once, without their poll interval.
    pub at_once: bool,
}

/// What came of one poll.
enum Found {
    Nothing,
    Reached(Position),
    Barrier(Barrier),
}

/// What ends a round, because it needs a rebuild.
enum Barrier {
    Schema { at: Position, reason: String },
    Expired { reason: String },
}

impl Pipeline {
    /// Polls, and makes an epoch if there are events. Says whether anything moved.
    pub(crate) async fn round(&mut self, goal: &Goal, stop: &StopSignal) -> Result<bool, RuntimeError> {
        let mut staging = Staging::new(&self.config.state_dir, self.config.staging_bytes_max);
        let mut positions = self.positions.clone();
        let mut commit_times = BTreeMap::new();
        let mut barrier = None;
        for index in 0..self.feeds.len() {
            let Some(tables) = self.tables_due(index, &positions, goal) else { continue };
            let id = self.feeds[index].id().clone();
            let mark = staging.mark();
            let polled = tokio::select! {
                polled = self.poll(index, &tables, &positions, goal, &mut staging, &mut commit_times) => polled,
                () = stop.stopped() => return Ok(false),
            };
            match polled {
                Ok(found) => {
                    self.feeds[index].trouble = None;
                    self.feeds[index].asked = true;
                    self.feeds[index].idle_since = matches!(found, Found::Nothing).then(Instant::now);
                    match found {
                        Found::Nothing => {}
                        Found::Reached(to) => positions.set(id, to),
                        Found::Barrier(found) => {
                            barrier = Some((id, found));
                            break;
                        }
                    }
                }
                Err(error) => {
                    staging.rollback(mark)?;
                    commit_times.remove(&id);
                    self.source_failed(index, error, goal)?;
                }
            }
        }
        let moved = positions != self.positions || barrier.is_some();
        if !staging.is_empty() {
            self.make_epoch(staging.finish(), positions, commit_times).await?;
        } else {
            self.positions = positions;
        }
        if let Some((source, barrier)) = barrier {
            self.pass(source, barrier, stop).await?;
        }
        Ok(moved)
    }

    /// The tables of a source that is to be polled now.
    fn tables_due(&self, index: usize, positions: &Frontier, goal: &Goal) -> Option<Vec<TableSchema>> {
        let feed = &self.feeds[index];
        let tables = Self::tables_of(self.engine.program()?, feed.id());
        if tables.is_empty() || feed.trouble.is_some_and(|trouble| !trouble.is_due()) {
            return None;
        }
        let from = positions.get(feed.id())?;
        let reached = goal.bounds.get(feed.id()).is_some_and(|bound| bound.compare(from).is_some_and(|o| o.is_le()));
        let asked = feed.asked && (reached || (goal.at_once && feed.idle_since.is_some()));
        let waits = !goal.at_once && feed.idle_since.is_some_and(|since| since.elapsed() < feed.slot.poll_interval);
        (!asked && !waits).then_some(tables)
    }

    async fn poll(
        &mut self,
        index: usize,
        tables: &[TableSchema],
        positions: &Frontier,
        goal: &Goal,
        staging: &mut Staging,
        commit_times: &mut BTreeMap<SourceId, Micros>,
    ) -> Result<Found, PollError> {
        let feed = &mut self.feeds[index];
        let id = feed.id().clone();
        let Some(from) = positions.get(&id).copied() else { return Ok(Found::Nothing) };
        // A bound behind us is a source that was set back; the poll says what that means.
        let bound = goal.bounds.get(&id).map(|bound| match bound.compare(&from) {
            Some(std::cmp::Ordering::Less) => from,
            _ => *bound,
        });
        let started = Instant::now();
        let polled = feed.slot.source.poll(tables, &from, bound.as_ref(), self.config.epoch_rows_max).await;
        let (to, found) = match polled? {
            Polled::Idle => (from, Found::Nothing),
            Polled::Advanced { to } if to == from => (from, Found::Nothing),
            Polled::Advanced { to } => (to, Found::Reached(to)),
            Polled::SchemaChanged { at, reason } => (at, Found::Barrier(Barrier::Schema { at, reason })),
            Polled::Expired { reason } => (from, Found::Barrier(Barrier::Expired { reason })),
            Polled::Changes { to, commit_time, mut events } => {
                while let Some(event) = events.next().await {
                    let (table, event) = event?;
                    let since = Instant::now();
                    staging.push(table, event)?;
                    self.summary.phases_ms.log += since.elapsed();
                    self.summary.phases_ms.read = self.summary.phases_ms.read.saturating_sub(since.elapsed());
                }
                commit_times.extend(commit_time.map(|time| (id.clone(), time)));
                (to, Found::Reached(to))
            }
        };
        self.summary.phases_ms.read += started.elapsed();
        if to.compare(&from).is_none_or(|order| order.is_lt()) {
            let bug = format!("source {id} went from {from} back to {to}");
            return Err(PollError::Ours(RuntimeError::Bug(bug)));
        }
        Ok(found)
    }

    fn source_failed(&mut self, index: usize, error: PollError, goal: &Goal) -> Result<(), RuntimeError> {
        let feed = &mut self.feeds[index];
        let source_id = feed.id().clone();
        let error = match error {
            PollError::Ours(error) => return Err(error),
            PollError::Source(error) => error,
        };
        let backoff = feed.trouble.map_or_else(Backoff::first, Backoff::next);
        let patient = goal.retry_for.is_none_or(|limit| backoff.failing_for() < limit);
        if error.kind() != ErrorKind::Retry || !patient {
            return Err(RuntimeError::Source { source_id, error });
        }
        let text = crate::error::chain(&error);
        tracing::warn!(source = %source_id, error = %text, "the source failed and is tried again");
        self.observer.notify(Progress::SourceRetry { source: &source_id, error: &text });
        feed.trouble = Some(backoff);
        Ok(())
    }

    /// Rebuilds what a change of schema or an expired snapshot asks for.
    async fn pass(&mut self, source: SourceId, barrier: Barrier, stop: &StopSignal) -> Result<(), RuntimeError> {
        let (at, reason) = match barrier {
            Barrier::Schema { at, reason } => {
                tracing::info!(%source, %reason, position = %at, "the views are planned anew");
                (self.positions.clone().with(source, at), reason)
            }
            Barrier::Expired { reason } => {
                let feed = self.feeds.iter().find(|feed| *feed.id() == source);
                if feed.is_none_or(|feed| feed.slot.source.on_expired() == OnExpired::Stop) {
                    return Err(RuntimeError::Expired { source_id: source, reason });
                }
                tracing::warn!(%source, %reason, "the views are built anew from the present content");
                let others = self.positions.iter().filter(|(id, _)| **id != source);
                (others.map(|(id, position)| (id.clone(), *position)).collect(), reason)
            }
        };
        let mut planned = self.plan_at(&at).await;
        if planned.program.is_none() && planned.unreachable.is_empty() {
            // Perhaps the schema has moved on to one that the views fit.
            let faults = planned.fault_lines();
            planned = self.plan_at(&Frontier::new()).await;
            if planned.program.is_none() && planned.unreachable.is_empty() {
                return Err(RuntimeError::NoLongerBinds { reason, faults });
            }
        }
        let (program, positions) = planned.into_result()?;
        self.change = Change::None;
        self.rebuild(program, RebuildScope::All, RecordKind::Rebuild, positions, stop).await
    }
}

/// A poll fails by the source's fault or by ours.
enum PollError {
    Source(ConnectorError),
    Ours(RuntimeError),
}

impl From<ConnectorError> for PollError {
    fn from(error: ConnectorError) -> Self {
        PollError::Source(error)
    }
}

impl From<RuntimeError> for PollError {
    fn from(error: RuntimeError) -> Self {
        PollError::Ours(error)
    }
}
