//! Rounds: sources that are due are asked at the same time, and what they offered becomes one
//! epoch. A poll that takes long lives on over rounds, and only its own source waits for it.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures::StreamExt;
use tidegate_core::{ConnectorError, ErrorKind, Micros, Polled, Position, SourceId};
use tidegate_engine::Program;

use crate::barrier::Barrier;
use crate::delivery::Driver;
use crate::feed::{Answer, Feed, Trouble};
use crate::goal::Goal;
use crate::log::staging::Staging;
use crate::observer::{Phase, Progress, Stretch, Work};
use crate::pipeline::Pipeline;
use crate::retry::Backoff;
use crate::{RuntimeError, StopSignal};

/// How long the loop sleeps at most, so that it looks at checkpoints and status now and then.
pub(crate) const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// What came of one poll.
enum Found {
    Nothing,
    Reached(Position),
    Barrier(Barrier),
}

impl Pipeline {
    /// Polls what is due, waits until there is something to do, and makes an epoch if there are
    /// events.
    pub(crate) async fn round(&mut self, goal: &Goal, stop: &StopSignal) -> Result<(), RuntimeError> {
        let next_due = self.ask_due(goal);
        self.enter(Phase::Waiting);
        self.rest(next_due, goal, stop).await;
        match stop.is_stopped() {
            true => Ok(()),
            false => self.take(goal, stop).await,
        }
    }

    /// Begins the polls that are due. Says how long until another one is.
    fn ask_due(&mut self, goal: &Goal) -> Duration {
        let (program, rows_max) = (self.engine.program(), self.config.epoch_rows_max);
        let mut next_due = LONGEST_SLEEP;
        for feed in self.feeds.iter_mut().filter(|feed| !feed.is_asking()) {
            let Some(from) = self.positions.get(feed.id()).copied() else { continue };
            let Some(due_in) = goal.due_in(feed, &from) else { continue };
            let tables = program.map(|program| Self::tables_of(program, feed.id())).unwrap_or_default();
            if due_in.is_zero() && !tables.is_empty() {
                feed.ask(tables, from, goal.bound(feed.id(), &from), rows_max);
            } else if !tables.is_empty() {
                next_due = next_due.min(due_in);
            }
        }
        next_due
    }

    /// Waits for the first answer, the first source that calls, the next thing that is due, or the
    /// end of the run. A run that reads only what is there waits for every answer instead.
    async fn rest(&mut self, next_due: Duration, goal: &Goal, stop: &StopSignal) {
        let asking = self.feeds.iter().any(Feed::is_asking);
        let last = self.epoch();
        let idle = |driver: &&Driver| !driver.is_busy() && !driver.is_current(last);
        let sinks = self.drivers.iter().filter(idle).map(Driver::due_in);
        let pause = match (goal.at_once, asking) {
            (true, true) => None,
            (true, false) => Some(next_due),
            (false, _) => Some(sinks.chain([next_due]).min().unwrap_or(next_due)),
        };
        let (feeds, drivers, requests) = (&mut self.feeds, &mut self.drivers, &mut self.requests);
        let news = poll_fn(|cx| {
            let (mut arrived, mut awaited, mut called) = (false, false, false);
            for feed in feeds.iter_mut() {
                match feed.is_asking() {
                    true if feed.poll_answer(cx).is_ready() => arrived = true,
                    true => awaited = true,
                    false => called |= !goal.at_once && feed.poll_wake(cx).is_ready(),
                }
            }
            let done =
                drivers.iter_mut().filter(|driver| driver.is_busy()).any(|driver| driver.poll_done(cx).is_ready());
            let asked = requests.poll_arrived(cx).is_ready();
            match asked || if goal.at_once { arrived && !awaited } else { arrived || called || done } {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        });
        let pause = async {
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stop.stopped() => {}
            () = news => {}
            () = pause => {}
        }
    }

    /// Makes an epoch of the answers that are there.
    async fn take(&mut self, goal: &Goal, stop: &StopSignal) -> Result<(), RuntimeError> {
        let mut staging = Staging::new(&self.config.state_dir, self.config.staging_bytes_max);
        let mut positions = self.positions.clone();
        let mut commit_times = BTreeMap::new();
        let mut barrier = None;
        for index in 0..self.feeds.len() {
            let Some(answer) = self.feeds[index].take_answer() else { continue };
            let id = self.feeds[index].id().clone();
            if positions.get(&id) != Some(&answer.from) {
                // It is not about where we stand.
                continue;
            }
            let mark = staging.mark();
            let read = tokio::select! {
                read = self.read(&id, answer, &mut staging, &mut commit_times) => read,
                () = stop.stopped() => return Ok(()),
            };
            match read {
                Ok(found) => {
                    let feed = &mut self.feeds[index];
                    if !matches!(found, Found::Barrier(_)) {
                        feed.trouble = None;
                    }
                    feed.asked = true;
                    feed.idle_since = matches!(found, Found::Nothing).then(Instant::now);
                    match found {
                        Found::Nothing => {}
                        Found::Reached(to) => {
                            feed.note_commit(to, commit_times.get(&id).copied());
                            positions.set(id, to);
                        }
                        Found::Barrier(found) => {
                            barrier = Some((index, found));
                            break;
                        }
                    }
                }
                Err(PollError::Ours(error)) => return Err(error),
                Err(PollError::Source(error)) => {
                    staging.rollback(mark)?;
                    commit_times.remove(&id);
                    self.source_failed(index, RuntimeError::source(&id)(error), goal)?;
                }
            }
        }
        if staging.is_empty() && !self.tick_is_due(goal) {
            self.positions = positions;
            self.observer.notify(Progress::Idle { phases: &self.summary.phases_ms });
        } else {
            self.make_epoch(staging.finish(), positions, commit_times).await?;
        }
        match barrier {
            Some((index, barrier)) => self.pass(index, barrier, goal, stop).await,
            None => Ok(()),
        }
    }

    /// Takes what a poll offers to the staging.
    async fn read(
        &mut self,
        id: &SourceId,
        answer: Answer,
        staging: &mut Staging,
        commit_times: &mut BTreeMap<SourceId, Micros>,
    ) -> Result<Found, PollError> {
        let Answer { from, polled, time: asked, .. } = answer;
        if !matches!(polled, Ok(Polled::Idle)) {
            self.enter(Phase::Reading);
        }
        self.summary.phases_ms.read += asked.took();
        let started = Instant::now();
        let mut logging = Duration::ZERO;
        let mut changed = false;
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
                    changed = true;
                    logging += since.elapsed();
                }
                commit_times.extend(commit_time.map(|time| (id.clone(), time)));
                (to, Found::Reached(to))
            }
        };
        self.summary.phases_ms.log += logging;
        self.summary.phases_ms.read += started.elapsed().saturating_sub(logging);
        if to.compare(&from).is_none_or(|order| order.is_lt()) {
            let bug = format!("source {id} went from {from} back to {to}");
            return Err(PollError::Ours(RuntimeError::Bug(bug)));
        }
        if let Found::Reached(to) = &found {
            let duration_ms = (asked.took() + started.elapsed()).as_secs_f64() * 1000.0;
            tracing::debug!(name: "read", source = %id, position = %to, changed, duration_ms, "read");
        }
        if !matches!(found, Found::Nothing) {
            self.observer.notify(Progress::Worked { work: Work::Read(id), time: Stretch::since(asked.began) });
        }
        Ok(found)
    }

    /// Leaves a source alone for a while, if trying again may help: it failed, or what it asks for needs
    /// another one that failed.
    pub(crate) fn source_failed(&mut self, index: usize, error: RuntimeError, goal: &Goal) -> Result<(), RuntimeError> {
        let feed = &mut self.feeds[index];
        let backoff = feed.trouble.as_ref().map_or_else(Backoff::first, |trouble| trouble.backoff.next());
        let patient = goal.retry_for.is_none_or(|limit| backoff.failing_for() < limit);
        if error.kind() != ErrorKind::Retry || !patient {
            return Err(error);
        }
        let text = match &error {
            RuntimeError::Source { source_id, error } => {
                let text = tidegate_core::chain(error);
                tracing::warn!(name: "source_failed", source = %source_id, error = %text, "the source failed and is tried again");
                self.observer.notify(Progress::SourceRetry { source: source_id, error: &text });
                text
            }
            other => tidegate_core::chain(other),
        };
        feed.trouble = Some(Trouble { backoff, error: text });
        Ok(())
    }

    /// Ends every call to a source that is under way.
    pub(crate) async fn cancel_polls(&mut self) {
        for feed in &mut self.feeds {
            feed.cancel().await;
        }
    }

    /// The sources of a program that can only read whole tables as they are now.
    pub(crate) fn reads_present_only(&self, program: &Program) -> Option<&SourceId> {
        let used = |feed: &&Feed| !Self::tables_of(program, feed.id()).is_empty();
        self.feeds.iter().filter(|feed| feed.is_present_only()).find(used).map(Feed::id)
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
