//! A sink in memory: holds what it was given, checks every law of the seam, and fails on demand.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use tidegate_core::{
    BatchStream, Commit, CommitOutcome, Committed, ConnectorError, DeltaBatch, Epoch, EpochHeader, ErrorKind, Removal,
    RowIdentity, Sink, ViewCommit, ViewContent, ViewInfo, ViewName, ZSet,
};

use crate::contents::RowStore;
use crate::multiset::{Multiset, exact_row_of};

/// What goes wrong, once, at the next commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkFault {
    /// The commit fails and has not happened.
    Before(ErrorKind),
    /// The commit has happened, but the caller gets an error.
    After(ErrorKind),
}

/// What the sink holds of one view.
#[derive(Debug, Clone)]
struct Held {
    info: ViewInfo,
    committed: Committed,
    rows: RowStore,
}

/// One commit as it came.
#[derive(Debug, Clone)]
pub struct CommitRecord {
    /// The start of the range.
    pub after: Epoch,
    /// Its end.
    pub header: EpochHeader,
    /// The views, and whether their content was replaced.
    pub views: Vec<(ViewName, bool)>,
    /// Per view, the changes of each epoch that had some.
    pub changes: BTreeMap<ViewName, BTreeMap<Epoch, Multiset>>,
}

#[derive(Default)]
struct State {
    views: BTreeMap<ViewName, Held>,
    log: Vec<CommitRecord>,
    faults: VecDeque<SinkFault>,
    unavailable: bool,
    opened: u64,
}

/// A sink whose content the test sees. Clones share everything, so a test keeps one and gives
/// another away.
#[derive(Clone)]
pub struct MemorySink {
    name: String,
    commit_interval: Duration,
    state: Arc<Mutex<State>>,
}

impl MemorySink {
    /// A sink that holds nothing and commits at once.
    pub fn new(name: &str) -> Self {
        MemorySink { name: name.to_owned(), commit_interval: Duration::ZERO, state: Arc::default() }
    }

    /// The same sink with another default interval.
    #[must_use]
    pub fn commit_interval(mut self, interval: Duration) -> Self {
        self.commit_interval = interval;
        self
    }

    /// Queues a fault.
    pub fn inject(&self, fault: SinkFault) {
        self.state().faults.push_back(fault);
    }

    /// Makes every call fail with `Retry`, until it is available again.
    pub fn set_available(&self, available: bool) {
        self.state().unavailable = !available;
    }

    /// The rows held of a view; `None` when the sink holds no such view.
    pub fn contents(&self, view: &ViewName) -> Option<Multiset> {
        self.state().views.get(view).map(|held| held.rows.multiset())
    }

    /// The last epoch held of a view.
    pub fn committed(&self, view: &ViewName) -> Option<Committed> {
        self.state().views.get(view).map(|held| held.committed)
    }

    /// The columns of a view as they were committed.
    pub fn info(&self, view: &ViewName) -> Option<ViewInfo> {
        self.state().views.get(view).map(|held| held.info.clone())
    }

    /// Every commit since the sink was made.
    pub fn log(&self) -> Vec<CommitRecord> {
        self.state().log.clone()
    }

    /// How often it was opened.
    pub fn opened(&self) -> u64 {
        self.state().opened
    }

    /// Gives a view another committed epoch or hash, as if another history had written it.
    pub fn overwrite_committed(&self, view: &ViewName, committed: Committed) {
        self.state().views.get_mut(view).expect("the sink holds the view").committed = committed;
    }

    /// Adds copies of rows behind the pipeline's back (or takes them away), as a person would.
    pub fn tamper(&self, view: &ViewName, changes: &ZSet) {
        let mut state = self.state();
        let held = state.views.get_mut(view).expect("the sink holds the view");
        held.rows.apply(changes.rows(), |row| changes.weights().value(row));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds the sink's lock")
    }

    fn error(&self, kind: ErrorKind, what: impl std::fmt::Display) -> ConnectorError {
        ConnectorError::new(kind, format!("sink {}: {what}", self.name))
    }

    fn check_available(&self) -> Result<(), ConnectorError> {
        if self.state().unavailable { Err(self.error(ErrorKind::Retry, "it is not available")) } else { Ok(()) }
    }

    /// Reads one view's part of a commit into `held`.
    async fn stage(
        &self,
        held: &mut Held,
        content: ViewContent,
        after: Epoch,
        header: &EpochHeader,
    ) -> Result<(u64, BTreeMap<Epoch, Multiset>), ConnectorError> {
        let broken = |what: String| self.error(ErrorKind::Bug, format!("view {}: {what}", held.info.name));
        let (mut stream, replace): (BatchStream, bool) = match content {
            ViewContent::Changes(stream) => (stream, false),
            ViewContent::Replace(stream) => (stream, true),
        };
        let (mut written, mut last, mut changes) = (0, after, BTreeMap::<Epoch, Multiset>::new());
        // What an epoch may still say about a row: each distinct row stands in its delta once.
        let mut seen = BTreeSet::new();
        while let Some(item) = stream.next().await {
            let item = item?;
            let epoch = item.header.epoch;
            if epoch < last || epoch <= after || epoch > header.epoch || (replace && epoch != header.epoch) {
                return Err(broken(format!("epoch {epoch} is out of order in ({after}, {}]", header.epoch)));
            }
            if epoch == header.epoch && item.header != *header {
                return Err(broken(format!("epoch {epoch} has two headers")));
            }
            if epoch > last {
                seen.clear();
                last = epoch;
            }
            check_batch(&item.batch, &held.rows, &mut seen, &held.info, replace).map_err(&broken)?;
            held.rows.apply(&item.batch.rows, |row| item.batch.weights.value(row));
            written += item.batch.changed_rows();
            changes.entry(epoch).or_default().apply_delta(&item.batch);
        }
        if let Some((_, _, copies)) = held.rows.iter().find(|(_, _, copies)| *copies < 0) {
            return Err(broken(format!("a row would stand in it {copies} times")));
        }
        check_key(&held.rows, &held.info).map_err(&broken)?;
        Ok((written, changes))
    }
}

/// The laws of a delta batch that can be seen from what the target holds.
fn check_batch(
    batch: &DeltaBatch,
    held: &RowStore,
    seen: &mut BTreeSet<crate::multiset::Row>,
    info: &ViewInfo,
    replace: bool,
) -> Result<(), String> {
    if batch.rows.schema().fields() != info.schema.fields() {
        return Err(format!("columns {:?} instead of {:?}", batch.rows.schema().fields(), info.schema.fields()));
    }
    let entries = batch.len();
    if [batch.weights.len(), batch.change.len(), batch.copies_before.len()] != [entries; 3] {
        return Err("weights, labels and copies are not one an entry".to_owned());
    }
    for index in 0..entries {
        let (weight, before) = (batch.weights.value(index), batch.copies_before.value(index));
        let row = exact_row_of(batch.rows.columns(), index);
        if weight == 0 || weight.signum() != batch.change[index].sign() {
            return Err(format!("an entry is labelled {} and has weight {weight}", batch.change[index].as_str()));
        }
        if matches!(info.identity, RowIdentity::Key(_)) && weight.abs() != 1 {
            return Err(format!("an entry under a key has weight {weight}"));
        }
        if !seen.insert(row.clone()) {
            return Err("a row stands twice in one epoch".to_owned());
        }
        if !replace && before != held.copies(&row) {
            return Err(format!("an entry says {before} copies before, the target holds {}", held.copies(&row)));
        }
        if before + weight < 0 {
            return Err(format!("an entry takes {weight} of {before} copies"));
        }
    }
    Ok(())
}

fn check_key(rows: &RowStore, info: &ViewInfo) -> Result<(), String> {
    let RowIdentity::Key(key) = &info.identity else { return Ok(()) };
    let mut keys = BTreeSet::new();
    for (row, _, copies) in rows.iter() {
        if copies != 1 || !keys.insert(key.iter().map(|column| &row[*column]).collect::<Vec<_>>()) {
            return Err("its key is not unique".to_owned());
        }
    }
    Ok(())
}

#[async_trait]
impl Sink for MemorySink {
    fn name(&self) -> &str {
        &self.name
    }

    fn default_commit_interval(&self) -> Duration {
        self.commit_interval
    }

    async fn open(&mut self, views: &[ViewInfo]) -> Result<BTreeMap<ViewName, Option<Committed>>, ConnectorError> {
        self.check_available()?;
        let mut state = self.state();
        state.opened += 1;
        let committed = |view: &ViewInfo| state.views.get(&view.name).map(|held| held.committed);
        Ok(views.iter().map(|view| (view.name.clone(), committed(view))).collect())
    }

    async fn commit(&mut self, commit: Commit) -> Result<CommitOutcome, ConnectorError> {
        self.check_available()?;
        let fault = self.state().faults.pop_front();
        if let Some(SinkFault::Before(kind)) = fault {
            return Err(self.error(kind, "was told to fail before its commit"));
        }
        let mut staged = self.state().views.clone();
        let mut record = CommitRecord {
            after: commit.after,
            header: commit.header.clone(),
            views: Vec::new(),
            changes: BTreeMap::new(),
        };
        let committed = Committed { epoch: commit.header.epoch, hash: commit.header.hash };
        let mut rows = 0;
        for ViewCommit { view, content } in commit.views {
            let replaced = matches!(content, ViewContent::Replace(_));
            let found = staged.get(&view.name).map(|held| held.committed);
            if !replaced && found.map_or(Epoch::ZERO, |found| found.epoch) != commit.after {
                return Ok(CommitOutcome::Conflict { view: view.name, found });
            }
            let kept = staged.remove(&view.name).filter(|_| !replaced).map(|held| held.rows);
            let mut held = Held { info: view.clone(), committed, rows: kept.unwrap_or_default() };
            let (written, changes) = self.stage(&mut held, content, commit.after, &commit.header).await?;
            rows += written;
            record.views.push((view.name.clone(), replaced));
            record.changes.insert(view.name.clone(), changes);
            staged.insert(view.name, held);
        }
        {
            let mut state = self.state();
            state.views = staged;
            state.log.push(record);
        }
        if let Some(SinkFault::After(kind)) = fault {
            return Err(self.error(kind, "was told to fail after its commit"));
        }
        Ok(CommitOutcome::Committed { rows })
    }

    async fn read(
        &mut self,
        view: &ViewInfo,
    ) -> Result<BoxStream<'static, Result<ZSet, ConnectorError>>, ConnectorError> {
        self.check_available()?;
        let zset = self.state().views.get(&view.name).map(|held| held.rows.zset(&held.info.schema));
        Ok(stream::iter(zset.map(Ok)).boxed())
    }

    async fn remove(&mut self, view: &ViewName) -> Result<Removal, ConnectorError> {
        self.check_available()?;
        let held = self.state().views.remove(view);
        Ok(held.map_or(Removal::Nothing, |_| Removal::Removed))
    }
}
