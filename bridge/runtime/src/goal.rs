//! How far a run goes: up to where the sources stood at its beginning, up to where somebody says, or without an end.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::time::Duration;

use tidegate_core::{ErrorKind, Frontier, Position, SourceId};

use crate::feed::Feed;
use crate::pipeline::{Change, Pipeline};
use crate::{RunUntil, RuntimeError};

/// How far a run goes, and how patient it is.
pub(crate) struct Goal {
    /// No source is read beyond its position here.
    pub bounds: Frontier,
    /// How long a source may answer `Retry`; `None`: for ever.
    pub retry_for: Option<Duration>,
    /// Whether sources are asked again at once, without their poll interval, and all of them are
    /// waited for.
    pub at_once: bool,
    /// The sources that have not come as far as their bound, which somebody has asked for. Until they have, the run goes on
    /// like one without an end.
    pub awaited: BTreeSet<SourceId>,
}

impl Goal {
    /// How long until a source is to be polled; `None` when the run wants nothing more of it.
    pub fn due_in(&self, feed: &mut Feed, from: &Position) -> Option<Duration> {
        let reached = self.bounds.get(feed.id()).is_some_and(|bound| bound.compare(from).is_some_and(|o| o.is_le()));
        match feed.asked && (reached || (self.at_once && feed.idle_since.is_some())) {
            true => None,
            false => Some(feed.due_in()),
        }
    }

    /// A bound behind us is a source that was set back; the poll says what that means.
    pub fn bound(&self, source: &SourceId, from: &Position) -> Option<Position> {
        self.bounds.get(source).map(|bound| match bound.compare(from) {
            Some(Ordering::Less) => *from,
            _ => *bound,
        })
    }
}

impl Pipeline {
    /// The goal of a run.
    pub(crate) async fn goal(&mut self, until: &RunUntil) -> Result<Goal, RuntimeError> {
        let endless = matches!(until, RunUntil::Stopped | RunUntil::Epoch(_));
        let retry_for = (!endless).then_some(self.config.retry_for);
        let mut bounds = Frontier::new();
        if let RunUntil::Frontier(frontier) = until {
            bounds = frontier.clone();
        }
        let mut awaited = BTreeSet::new();
        if !endless {
            for index in 0..self.feeds.len() {
                let id = self.feeds[index].id().clone();
                let used = self.engine.program().is_some_and(|program| !Self::tables_of(program, &id).is_empty());
                if used {
                    let head = self.head(index, retry_for).await?;
                    self.feeds[index].head = Some(head);
                    match bounds.get(&id) {
                        None => bounds.set(id, head),
                        // A branch reads its log and nothing that is still to come.
                        Some(bound) if is_before(&head, bound) && !self.config.is_branch => drop(awaited.insert(id)),
                        Some(_) => {}
                    }
                }
            }
        }
        Ok(Goal { bounds, retry_for, at_once: !endless && awaited.is_empty(), awaited })
    }

    /// Looks which of the awaited sources have come as far as they shall. From there on a poll that finds nothing means that
    /// nothing is left; the ones before do not.
    pub(crate) fn look_at_awaited(&mut self, goal: &mut Goal) {
        if goal.awaited.is_empty() {
            return;
        }
        for feed in &mut self.feeds {
            let Some(bound) = goal.bounds.get(feed.id()).filter(|_| goal.awaited.contains(feed.id())) else { continue };
            let is_there = |at: Option<&Position>| at.is_some_and(|at| !is_before(at, bound));
            if is_there(feed.head.as_ref()) || is_there(self.positions.get(feed.id())) {
                goal.awaited.remove(feed.id());
                feed.asked = false;
                feed.idle_since = None;
            }
        }
        if goal.awaited.is_empty() {
            goal.at_once = true;
            self.run_time = Some(self.config.clock.now());
        }
    }

    async fn head(&mut self, index: usize, retry_for: Option<Duration>) -> Result<Position, RuntimeError> {
        let mut backoff: Option<crate::retry::Backoff> = None;
        loop {
            let error = match self.feeds[index].source().await.head().await {
                Ok(head) => return Ok(head),
                Err(error) => error,
            };
            let next = backoff.map_or_else(crate::retry::Backoff::first, crate::retry::Backoff::next);
            if error.kind() != ErrorKind::Retry || retry_for.is_some_and(|limit| next.failing_for() >= limit) {
                return Err(RuntimeError::source(self.feeds[index].id())(error));
            }
            tokio::time::sleep(next.due_in()).await;
            backoff = Some(next);
        }
    }

    /// Whether a run is where it shall be.
    pub(crate) fn is_reached(&self, until: &RunUntil, goal: &Goal) -> bool {
        if matches!((&self.change, until), (Change::Later, RunUntil::Once)) {
            return false;
        }
        if let RunUntil::Frontier(bounds) = until
            && self.past_is_beyond(bounds)
        {
            return true;
        }
        match until {
            RunUntil::Stopped => false,
            RunUntil::Epoch(epoch) => self.epoch() >= *epoch,
            RunUntil::Once | RunUntil::Frontier(_) => self.feeds.iter().all(|feed| {
                let Some(position) = self.positions.get(feed.id()) else { return true };
                let Some(bound) = goal.bounds.get(feed.id()) else { return true };
                let there = position.compare(bound).is_some_and(|order| order.is_ge());
                feed.asked && (there || (feed.idle_since.is_some() && !goal.awaited.contains(feed.id())))
            }),
        }
    }

    /// Whether every source said last that nothing is left.
    pub(crate) fn is_caught_up(&self) -> bool {
        let used = |feed: &&crate::feed::Feed| self.positions.get(feed.id()).is_some();
        self.feeds
            .iter()
            .filter(used)
            .all(|feed| feed.idle_since.is_some() || feed.head.as_ref() == self.positions.get(feed.id()))
    }
}

fn is_before(at: &Position, bound: &Position) -> bool {
    at.compare(bound).is_some_and(Ordering::is_lt)
}
