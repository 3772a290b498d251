//! One sink: what it takes, what it holds, and how it fares.

use std::collections::BTreeMap;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tidegate_core::{
    Commit, Committed, ConnectorError, Epoch, EpochHeader, ErrorKind, History as Past, Sink, ViewCommit, ViewContent,
    ViewInfo, ViewName,
};
use tidegate_engine::{Engine, Program};
use tokio::sync::oneshot;

use super::job::{Done, Job, Report, Setback};
use super::pace::Pace;
use super::{Alignment, align, changes_stream, rows_stream};
use crate::call::Call;
use crate::history::{History, Standing};
use crate::log::header::Link;
use crate::observer::Stretch;
use crate::pending::Pending;
use crate::retry::Backoff;
use crate::{Clock, Commits, RuntimeError, SinkSlot};

/// How often a sink is asked to keep its target in order while there is something new in it.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(10);

/// A sink and what is known of it.
pub(crate) struct Driver {
    pub name: String,
    /// Who has the connector.
    hand: Hand,
    filter: Option<Vec<ViewName>>,
    histories: BTreeMap<ViewName, Past>,
    pub pace: Pace,
    pub views: Vec<ViewInfo>,
    /// What it holds; `None` until it is opened, and again after an error.
    held: Option<BTreeMap<ViewName, Option<Committed>>>,
    /// What it held when it was last seen, all of it ours.
    pub seen: BTreeMap<ViewName, Link>,
    /// Why it is behind.
    pub trouble: Option<Trouble>,
    /// Why it gets nothing.
    pub aside: Option<Aside>,
    /// Whether it was not yet brought in line since the state was restored from a backup: it may hold anything.
    pub restored: bool,
    /// Conflicts since it last committed.
    pub conflicts: usize,
    /// When its target was last put in order, if it has changed since.
    maintained: Option<Instant>,
}

/// A sink that answered `Retry`.
pub(crate) struct Trouble {
    pub error: ConnectorError,
    pub backoff: Backoff,
}

/// Why a sink gets nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Aside {
    /// It is being resynced, or another one is and this one does not fit our history.
    Resync,
    /// It is compared with the views when the sources have been read to their ends, and gets the difference.
    Compare,
    /// It failed, and the others went on without it.
    Detached(String),
}

/// Who has the connector.
enum Hand {
    Here(Box<dyn Sink>),
    /// A job, which ends with this. Maintenance also ends when the sender does.
    Away(Call<Done>, Option<oneshot::Sender<()>>),
    Back(Done),
    /// A job panicked, and the panic goes on.
    Lost,
}

impl Driver {
    pub fn new(slot: SinkSlot, histories: &BTreeMap<ViewName, Past>, clock: &Clock) -> Driver {
        let commits = slot.commits.unwrap_or_else(|| Commits::Every(slot.sink.default_commit_interval()));
        Driver {
            name: slot.sink.name().to_owned(),
            pace: Pace::new(commits, clock),
            hand: Hand::Here(slot.sink),
            filter: slot.views,
            histories: histories.clone(),
            views: Vec::new(),
            held: None,
            seen: BTreeMap::new(),
            trouble: None,
            aside: None,
            restored: false,
            conflicts: 0,
            maintained: None,
        }
    }

    /// Whether a job is under way, or its report was not taken yet.
    pub fn is_busy(&self) -> bool {
        !matches!(self.hand, Hand::Here(_))
    }

    /// The connector, while no job has it.
    pub fn sink(&mut self) -> Option<&mut dyn Sink> {
        match &mut self.hand {
            Hand::Here(sink) => Some(&mut **sink),
            _ => None,
        }
    }

    fn begin(&mut self, job: Job, cancel: Option<oneshot::Sender<()>>) {
        match std::mem::replace(&mut self.hand, Hand::Lost) {
            Hand::Here(sink) => self.hand = Hand::Away(Call::new(job.run(sink)), cancel),
            busy => self.hand = busy,
        }
    }

    /// Begins to ask the target what it holds.
    pub fn begin_open(&mut self) {
        self.begin(Job::Open(self.views.clone()), None);
    }

    /// Begins to commit.
    pub fn begin_commit(&mut self, commits: Vec<Commit>) {
        self.begin(Job::Commit(commits), None);
    }

    /// Begins to put the target in order.
    pub fn begin_maintenance(&mut self) {
        self.maintained = None;
        let (cancel, cancelled) = oneshot::channel();
        self.begin(Job::Maintain(cancelled), Some(cancel));
    }

    /// Whether the target has changed since it was last put in order, some time ago.
    pub fn needs_maintenance(&self, after: Duration) -> bool {
        self.held.is_some() && self.aside.is_none() && self.maintained.is_some_and(|at| at.elapsed() >= after)
    }

    /// The same, as often as it is done while a pipeline runs.
    pub fn maintenance_is_due(&self) -> bool {
        self.needs_maintenance(MAINTENANCE_INTERVAL)
    }

    /// Ends maintenance that is under way.
    pub fn hurry(&mut self) {
        if let Hand::Away(_, cancel) = &mut self.hand {
            cancel.take();
        }
    }

    /// Ready when the job under way has ended.
    pub fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.hand {
            Hand::Back(_) => Poll::Ready(()),
            Hand::Away(call, _) => {
                let done = ready!(call.poll(cx));
                self.hand = Hand::Back(done);
                Poll::Ready(())
            }
            Hand::Here(_) | Hand::Lost => Poll::Pending,
        }
    }

    /// Waits until no job is under way.
    pub async fn rest(&mut self) {
        if matches!(self.hand, Hand::Away(..)) {
            std::future::poll_fn(|cx| self.poll_done(cx)).await;
        }
    }

    /// The report of a job that has ended; the connector is here again.
    pub fn take_report(&mut self) -> Option<(Report, Stretch)> {
        match std::mem::replace(&mut self.hand, Hand::Lost) {
            Hand::Back(done) => {
                self.hand = Hand::Here(done.sink);
                Some((done.report, done.time))
            }
            other => {
                self.hand = other;
                None
            }
        }
    }

    /// The views it takes from here on; it has to be opened again.
    pub fn set_program(&mut self, program: &Program) {
        let taken = |view: &ViewName| self.filter.as_ref().is_none_or(|filter| filter.contains(view));
        let infos = program.views().iter().map(|view| &view.info).filter(|info| taken(&info.name));
        let histories = &self.histories;
        self.views =
            infos.map(|info| ViewInfo { history: histories.get(&info.name).copied(), ..info.clone() }).collect();
        self.held = None;
    }

    pub fn is_open(&self) -> bool {
        self.held.is_some()
    }

    /// Asks the target what it holds, and waits for it.
    pub async fn open(&mut self) -> Result<(), ConnectorError> {
        self.begin_open();
        self.rest().await;
        match self.take_report() {
            Some((Report::Opened(opened), _)) => {
                self.opened(opened?);
                Ok(())
            }
            _ => Err(busy()),
        }
    }

    /// Takes note of what the target holds. What an earlier process left undone in it is done by the next
    /// housekeeping.
    pub fn opened(&mut self, held: BTreeMap<ViewName, Option<Committed>>) {
        self.held = Some(held);
        self.maintained.get_or_insert_with(Instant::now);
        if self.pace.waits_for_a_moment() {
            // It answers again, and is not to be hurried.
            self.trouble = None;
        }
    }

    /// What it holds of a view, as far as it is open.
    pub fn held(&self, view: &ViewName) -> Option<Committed> {
        self.held.as_ref()?.get(view).copied().flatten()
    }

    /// Whether every view it holds stands in our history. Otherwise an error, or why it has to be compared.
    pub fn check(
        &self,
        history: &History,
        pending: Option<(&Pending, Link)>,
    ) -> Result<Option<RuntimeError>, RuntimeError> {
        let mut differs = None;
        for info in self.views.iter().filter(|_| self.held.is_some()) {
            match align(&self.name, &info.name, self.held(&info.name), history, pending) {
                Ok(Alignment::Compare(why)) => differs = Some(why),
                Ok(Alignment::After(_) | Alignment::Replace) => {}
                Err(why @ RuntimeError::SinkMismatch { .. }) if self.restored => differs = Some(why),
                Err(error) => return Err(error),
            }
        }
        Ok(differs)
    }

    /// Whether what it holds may be of ours, from before what is still known.
    pub fn holds_forgotten(&self, history: &History) -> bool {
        let standing = |info: &ViewInfo| self.held(&info.name).map(|committed| history.standing(&committed));
        let standings: Vec<_> = self.views.iter().filter_map(standing).collect();
        standings.contains(&Standing::Unknown)
            && standings.iter().all(|standing| matches!(standing, Standing::Ours | Standing::Unknown))
    }

    /// Opens it and compares it with our history. While a sink is resynced (`resync`), it is left
    /// alone, and so are others that do not fit.
    pub async fn connect(
        &mut self,
        history: &History,
        pending: Option<(&Pending, Link)>,
        resync: Option<&str>,
    ) -> Result<(), RuntimeError> {
        if matches!(self.aside, Some(Aside::Detached(_))) {
            return Ok(());
        }
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
            self.aside = Some(Aside::Resync);
        }
        match self.check(history, pending) {
            Ok(Some(why)) if resync.is_none() => {
                if self.aside.is_none() {
                    tracing::warn!(name: "sink_compared", sink = %self.name, found = %why,
                        "the sink is compared with the views when the sources have been read, and gets the difference"
                    );
                    self.aside = Some(Aside::Compare);
                }
                Ok(())
            }
            Ok(None) => {
                // Only what is ours counts as seen: our history is made of it after a restart.
                for (view, committed) in self.held.iter().flatten() {
                    if let Some(Committed { epoch, hash }) = *committed {
                        self.seen.insert(view.clone(), Link { epoch, hash });
                    }
                }
                Ok(())
            }
            Ok(Some(error)) | Err(error) if resync.is_some() => {
                if self.aside.is_none() {
                    tracing::warn!(name: "sink_left_alone", sink = %self.name, error = %tidegate_core::chain(&error), "the sink is left alone");
                    self.aside = Some(Aside::Resync);
                }
                Ok(())
            }
            Ok(Some(error)) | Err(error) => Err(error),
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
        if self.aside.is_some() || self.views.is_empty() {
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
        self.aside.is_some() || self.views.is_empty() || (self.held.is_some() && self.views.iter().all(holds_last))
    }

    /// Whether it is time to commit.
    pub fn is_due(&self) -> bool {
        match &self.trouble {
            Some(trouble) => trouble.backoff.is_due(),
            None => self.pace.due_in().is_zero(),
        }
    }

    /// How long until it is time.
    pub fn due_in(&self) -> Duration {
        match &self.trouble {
            Some(trouble) => trouble.backoff.due_in(),
            None => self.pace.due_in(),
        }
    }

    /// It was time to commit, and there was nothing to.
    pub fn has_all(&mut self) {
        if self.trouble.is_none() && self.pace.due_in().is_zero() {
            self.pace.kept();
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
                Alignment::Compare(gone) => return Err(gone),
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

    /// Commits, and waits for it; the error of a conflict is the view.
    pub async fn commit(&mut self, commits: Vec<Commit>) -> Result<Result<(), ViewName>, ConnectorError> {
        self.begin_commit(commits);
        self.rest().await;
        match self.take_report() {
            Some((Report::Committed { views, end }, _)) => match self.committed(views, end) {
                Ok(()) => Ok(Ok(())),
                Err(Setback::Conflict(view)) => Ok(Err(view)),
                Err(Setback::Failed(error)) => Err(error),
            },
            _ => Err(busy()),
        }
    }

    /// Takes note of what was committed; after a setback it has to be opened again.
    pub fn committed(&mut self, views: Vec<(ViewName, EpochHeader)>, end: Result<(), Setback>) -> Result<(), Setback> {
        for (view, header) in views {
            let committed = Committed { epoch: header.epoch, hash: header.hash };
            self.seen.insert(view.clone(), (&header).into());
            self.held.get_or_insert_default().insert(view, Some(committed));
            self.maintained.get_or_insert_with(Instant::now);
        }
        match end {
            Ok(()) => {
                self.trouble = None;
                self.conflicts = 0;
                self.pace.kept();
            }
            Err(_) => self.held = None,
        }
        end
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
        tracing::warn!(name: "sink_failed", sink = %self.name, error = %tidegate_core::chain(&error), "the sink failed and is tried again");
        self.trouble = Some(Trouble { error, backoff });
        Ok(())
    }
}

/// Whoever asks has made sure that no job has the connector.
fn busy() -> ConnectorError {
    ConnectorError::new(ErrorKind::Bug, "a sink was asked for something while it was at work")
}
