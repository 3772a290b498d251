//! One sink: what it takes, what it holds, and how it fares.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidegate_core::{
    Commit, CommitOutcome, Committed, ConnectorError, Epoch, EpochHeader, ErrorKind, Sink, ViewCommit, ViewContent,
    ViewInfo, ViewName,
};
use tidegate_engine::{Engine, Program};

use super::{Alignment, align, changes_stream, rows_stream};
use crate::history::History;
use crate::log::header::Link;
use crate::pending::Pending;
use crate::retry::Backoff;
use crate::{RuntimeError, SinkSlot};

/// A sink and what is known of it.
pub(crate) struct Driver {
    pub name: String,
    pub sink: Box<dyn Sink>,
    filter: Option<Vec<ViewName>>,
    interval: Duration,
    pub views: Vec<ViewInfo>,
    /// What it holds; `None` until it is opened, and again after an error.
    held: Option<BTreeMap<ViewName, Option<Committed>>>,
    /// What it held when it was last seen, all of it ours.
    pub seen: BTreeMap<ViewName, Link>,
    /// Why it is behind.
    pub trouble: Option<Trouble>,
    /// Left alone: another sink is being resynced, and this one does not fit our history.
    pub detached: bool,
    last_commit: Instant,
}

/// A sink that answered `Retry`.
pub(crate) struct Trouble {
    pub error: ConnectorError,
    pub backoff: Backoff,
}

impl Driver {
    pub fn new(slot: SinkSlot) -> Driver {
        Driver {
            name: slot.sink.name().to_owned(),
            interval: slot.commit_interval.unwrap_or_else(|| slot.sink.default_commit_interval()),
            sink: slot.sink,
            filter: slot.views,
            views: Vec::new(),
            held: None,
            seen: BTreeMap::new(),
            trouble: None,
            detached: false,
            last_commit: Instant::now(),
        }
    }

    /// The views it takes from here on; it has to be opened again.
    pub fn set_program(&mut self, program: &Program) {
        let taken = |view: &ViewName| self.filter.as_ref().is_none_or(|filter| filter.contains(view));
        self.views = program.views().iter().map(|view| view.info.clone()).filter(|info| taken(&info.name)).collect();
        self.held = None;
    }

    pub fn is_open(&self) -> bool {
        self.held.is_some()
    }

    /// Asks the target what it holds.
    pub async fn open(&mut self) -> Result<(), ConnectorError> {
        self.held = Some(self.sink.open(&self.views).await?);
        Ok(())
    }

    /// What it holds of a view, as far as it is open.
    pub fn held(&self, view: &ViewName) -> Option<Committed> {
        self.held.as_ref()?.get(view).copied().flatten()
    }

    /// Whether every view it holds stands in our history.
    pub fn check(&self, history: &History, pending: Option<(&Pending, Link)>) -> Result<(), RuntimeError> {
        if self.held.is_none() {
            return Ok(());
        }
        let mut views = self.views.iter().map(|info| &info.name);
        views.try_for_each(|view| align(&self.name, view, self.held(view), history, pending).map(drop))
    }

    /// Opens it and compares it with our history. While a sink is resynced (`resync`), it is left
    /// alone, and so are others that do not fit.
    pub async fn connect(
        &mut self,
        history: &History,
        pending: Option<(&Pending, Link)>,
        resync: Option<&str>,
    ) -> Result<(), RuntimeError> {
        match self.open().await {
            Ok(()) => self.check_or_detach(history, pending, resync),
            Err(error) => self.failed(error),
        }
    }

    /// Compares it with our history.
    pub fn check_or_detach(
        &mut self,
        history: &History,
        pending: Option<(&Pending, Link)>,
        resync: Option<&str>,
    ) -> Result<(), RuntimeError> {
        if resync.is_some_and(|name| name == self.name) {
            self.detached = true;
        }
        match self.check(history, pending) {
            Ok(()) => {
                // Only what is ours counts as seen: our history is made of it after a restart.
                for (view, committed) in self.held.iter().flatten() {
                    if let Some(Committed { epoch, hash }) = *committed {
                        self.seen.insert(view.clone(), Link { epoch, hash });
                    }
                }
                Ok(())
            }
            Err(error) if resync.is_some() => {
                if !self.detached {
                    tracing::warn!(sink = %self.name, error = %crate::error::chain(&error), "the sink is left alone");
                }
                self.detached = true;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Whether everything it holds is at or before an epoch.
    pub fn is_within(&self, epoch: Epoch) -> bool {
        self.views.iter().all(|info| self.held(&info.name).is_none_or(|committed| committed.epoch <= epoch))
    }

    /// Whether it takes any view whose content it lacks as a whole.
    pub fn needs_replace(&self, pending: &Pending) -> bool {
        self.held.is_some()
            && self.views.iter().any(|info| match self.held(&info.name) {
                None => true,
                Some(committed) => pending.replaces(&info.name, committed.epoch),
            })
    }

    /// The epoch after which its deltas must be kept; `None` when it needs none.
    pub fn floor(&self) -> Option<Epoch> {
        if self.detached || self.views.is_empty() {
            return None;
        }
        // A view it holds nothing of is replaced as a whole.
        let of_view = |info: &ViewInfo| match &self.held {
            Some(held) => held.get(&info.name).copied().flatten().map(|committed| committed.epoch),
            None => self.seen.get(&info.name).map(|link| link.epoch),
        };
        let least = self.views.iter().filter_map(of_view).min();
        if self.held.is_none() && least.is_none() { Some(Epoch::ZERO) } else { least }
    }

    /// The least epoch of its views, for people.
    pub fn epoch(&self) -> Option<Epoch> {
        self.views.iter().map(|info| self.seen.get(&info.name).map(|link| link.epoch)).min().flatten()
    }

    pub fn is_current(&self, last: Epoch) -> bool {
        let holds_last = |info: &ViewInfo| self.held(&info.name).is_some_and(|committed| committed.epoch == last);
        self.detached || (self.views.is_empty()) || (self.held.is_some() && self.views.iter().all(holds_last))
    }

    /// Whether it is time to commit.
    pub fn is_due(&self) -> bool {
        match &self.trouble {
            Some(trouble) => trouble.backoff.is_due(),
            None => self.last_commit.elapsed() >= self.interval,
        }
    }

    /// How long until it is time.
    pub fn due_in(&self) -> Duration {
        match &self.trouble {
            Some(trouble) => trouble.backoff.due_in(),
            None => self.interval.saturating_sub(self.last_commit.elapsed()),
        }
    }

    /// The commits that bring it to `header`, the engine's epoch: one for each epoch that some of
    /// its views stand at.
    pub fn prepare(
        &self,
        engine: &Engine,
        history: &History,
        pending: &Pending,
        header: &EpochHeader,
    ) -> Result<Vec<Commit>, RuntimeError> {
        let mut commits: BTreeMap<Epoch, Commit> = BTreeMap::new();
        for info in &self.views {
            let held = self.held(&info.name);
            let after = held.map_or(Epoch::ZERO, |committed| committed.epoch);
            let content = match align(&self.name, &info.name, held, history, Some((pending, header.into())))? {
                Alignment::After(epoch) if epoch == header.epoch => continue,
                Alignment::After(epoch) => ViewContent::Changes(changes_stream(pending.changes(&info.name, epoch))),
                Alignment::Replace => {
                    let rows = engine.rows(&info.name);
                    let rows = rows.map_err(RuntimeError::engine(format!("reading view {}", info.name)))?;
                    ViewContent::Replace(rows_stream(rows, header.clone()))
                }
            };
            let commit =
                commits.entry(after).or_insert_with(|| Commit { after, header: header.clone(), views: Vec::new() });
            commit.views.push(ViewCommit { view: info.clone(), content });
        }
        Ok(commits.into_values().collect())
    }

    /// Commits; the error of a conflict is the view.
    pub async fn commit(&mut self, commits: Vec<Commit>) -> Result<Result<(), ViewName>, ConnectorError> {
        for commit in commits {
            let header = commit.header.clone();
            let views: Vec<ViewName> = commit.views.iter().map(|view| view.view.name.clone()).collect();
            match self.sink.commit(commit).await {
                Ok(CommitOutcome::Committed { .. }) => {
                    let committed = Committed { epoch: header.epoch, hash: header.hash };
                    for view in views {
                        self.seen.insert(view.clone(), (&header).into());
                        self.held.get_or_insert_default().insert(view, Some(committed));
                    }
                }
                Ok(CommitOutcome::Conflict { view, .. }) => {
                    self.held = None;
                    return Ok(Err(view));
                }
                Err(error) => {
                    self.held = None;
                    return Err(error);
                }
            }
        }
        self.trouble = None;
        self.last_commit = Instant::now();
        Ok(Ok(()))
    }

    /// Takes note of an error; those that trying again does not help are given back.
    pub fn failed(&mut self, error: ConnectorError) -> Result<(), RuntimeError> {
        self.held = None;
        if error.kind() != ErrorKind::Retry {
            return Err(RuntimeError::Sink { sink: self.name.clone(), error });
        }
        let backoff = match self.trouble.take() {
            Some(trouble) => trouble.backoff.next(),
            None => Backoff::first(),
        };
        tracing::warn!(sink = %self.name, error = %crate::error::chain(&error), "the sink failed and is tried again");
        self.trouble = Some(Trouble { error, backoff });
        Ok(())
    }
}
