//! A source in memory: transactions are queued by the test, and faults too.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, stream};
use tidegate_core::{
    ConnectorError, ErrorKind, EventStream, Finding, Micros, OnExpired, Polled, Position, Snapshot, Snapshots, Source,
    SourceId, TableEvent, TableName, TableSchema,
};
use tokio::sync::{Notify, watch};

use crate::contents::TableContents;

mod history;

use history::{History, Transaction, index_of, position_of};

/// What goes wrong, once, at the next call it applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceFault {
    /// The next poll or snapshot fails.
    Fail(ErrorKind),
    /// The next poll or snapshot with events fails after so many of them.
    FailAfter(usize, ErrorKind),
    /// The next poll or snapshot takes this long.
    Slow(Duration),
    /// The next poll says that the changes are gone.
    Expire,
    /// The next look at the tables fails.
    Unreachable(ErrorKind),
}

type Act = Box<dyn FnOnce(&MemorySource) + Send>;

struct State {
    history: History,
    first_kept: u64,
    faults: VecDeque<SourceFault>,
    acknowledged: Option<Position>,
    /// The tables of each snapshot that was taken.
    snapshots: Vec<Vec<TableName>>,
    before_snapshot: Option<Act>,
    findings: Vec<Finding>,
}

/// A source whose transactions the test makes. Clones share everything, so a test keeps one and
/// gives another away. Positions are snapshot ids: the number of transactions so far.
#[derive(Clone)]
pub struct MemorySource {
    id: SourceId,
    on_expired: OnExpired,
    kind: Snapshots,
    state: Arc<Mutex<State>>,
    hanging: watch::Sender<bool>,
    holding: watch::Sender<bool>,
    polls: watch::Sender<u64>,
    wake: Arc<Notify>,
}

impl MemorySource {
    /// A source with empty tables.
    pub fn new(name: &str, tables: impl IntoIterator<Item = TableSchema>) -> Self {
        MemorySource {
            id: SourceId::new("memory", name),
            on_expired: OnExpired::Rebuild,
            kind: Snapshots::AnyPosition,
            hanging: watch::Sender::new(false),
            holding: watch::Sender::new(false),
            polls: watch::Sender::new(0),
            wake: Arc::new(Notify::new()),
            state: Arc::new(Mutex::new(State {
                history: History {
                    initial: tables.into_iter().map(|table| (table.name.clone(), table)).collect(),
                    transactions: Vec::new(),
                },
                first_kept: 0,
                faults: VecDeque::new(),
                acknowledged: None,
                snapshots: Vec::new(),
                before_snapshot: None,
                findings: Vec::new(),
            })),
        }
    }

    /// The same source with another policy.
    #[must_use]
    pub fn on_expired(mut self, policy: OnExpired) -> Self {
        self.on_expired = policy;
        self
    }

    /// The same source as one that reads whole tables only as they are now: a snapshot is taken of the
    /// head, whatever is asked for, and refused with `Retry` when a table is not as it was planned.
    #[must_use]
    pub fn present_only(mut self) -> Self {
        self.kind = Snapshots::PresentOnly;
        self
    }

    /// Notified by every transaction.
    pub fn wake(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    /// While it hangs, no call returns.
    pub fn set_hanging(&self, hanging: bool) {
        self.hanging.send_replace(hanging);
    }

    /// While it holds its answers, a poll looks at what is there and answers later.
    pub fn set_holding(&self, holding: bool) {
        self.holding.send_replace(holding);
    }

    /// Returns when it has been polled more often than this.
    pub async fn polled_after(&self, polls: u64) {
        let _ = self.polls.subscribe().wait_for(|now| *now > polls).await;
    }

    /// Does something to the source when the next snapshot is asked for, right before it is taken.
    pub fn before_snapshot(&self, act: impl FnOnce(&MemorySource) + Send + 'static) {
        self.state().before_snapshot = Some(Box::new(act));
    }

    /// What the source says of itself from now on.
    pub fn set_findings(&self, findings: Vec<Finding>) {
        self.state().findings = findings;
    }

    /// Commits a transaction one second after the one before it.
    pub fn commit(&self, events: impl IntoIterator<Item = (TableName, TableEvent)>) -> Position {
        self.push(None, events.into_iter().collect(), BTreeMap::new())
    }

    /// Commits a transaction at a time of the source's clock, which may go backwards.
    pub fn commit_at(&self, time: Micros, events: impl IntoIterator<Item = (TableName, TableEvent)>) -> Position {
        self.push(Some(time), events.into_iter().collect(), BTreeMap::new())
    }

    /// A transaction that touches no table.
    pub fn progress(&self) -> Position {
        self.commit([])
    }

    /// Gives a table (new or known) a schema and a content, in one transaction.
    pub fn alter(&self, table: TableSchema, content: impl IntoIterator<Item = TableEvent>) -> Position {
        self.alter_amid(table, content, [])
    }

    /// The same in a transaction that changes other tables too.
    pub fn alter_amid(
        &self,
        table: TableSchema,
        content: impl IntoIterator<Item = TableEvent>,
        others: impl IntoIterator<Item = (TableName, TableEvent)>,
    ) -> Position {
        let name = table.name.clone();
        let content = std::iter::once(TableEvent::Replace).chain(content);
        let events = content.map(|event| (name.clone(), event)).chain(others).collect();
        self.push(None, events, BTreeMap::from([(table.name.clone(), Some(table))]))
    }

    /// Drops a table.
    pub fn drop_table(&self, table: &TableName) -> Position {
        self.push(None, Vec::new(), BTreeMap::from([(table.clone(), None)]))
    }

    /// Forgets every position before this one: changes after them can no longer be polled.
    pub fn expire_before(&self, position: &Position) {
        self.state().first_kept = index_of(position);
    }

    /// Queues a fault.
    pub fn inject(&self, fault: SourceFault) {
        self.state().faults.push_back(fault);
    }

    /// What was acknowledged last.
    pub fn acknowledged(&self) -> Option<Position> {
        self.state().acknowledged
    }

    /// How often it was polled and how often a snapshot was taken.
    pub fn calls(&self) -> (u64, u64) {
        let state = self.state();
        (*self.polls.borrow(), state.snapshots.len() as u64)
    }

    /// The tables of each snapshot that was taken.
    pub fn snapshots_taken(&self) -> Vec<Vec<TableName>> {
        self.state().snapshots.clone()
    }

    /// The content of a table at a position (`None`: now).
    pub fn contents(&self, table: &TableName, at: Option<&Position>) -> Option<TableContents> {
        let state = self.state();
        let at = at.map_or(state.history.len(), index_of);
        state.history.contents(table, at)
    }

    fn push(
        &self,
        time: Option<Micros>,
        events: Vec<(TableName, TableEvent)>,
        schemas: BTreeMap<TableName, Option<TableSchema>>,
    ) -> Position {
        let mut state = self.state();
        let time = time.unwrap_or_else(|| Micros(state.history.last_time().0 + 1_000_000));
        state.history.transactions.push(Transaction { time, events, schemas });
        self.wake.notify_one();
        position_of(state.history.len())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds the source's lock")
    }

    /// Returns when the source does not hang.
    async fn responsive(&self) {
        // The sender lives as long as `self`.
        let _ = self.hanging.subscribe().wait_for(|hanging| !hanging).await;
    }

    /// Takes the faults that apply at the start of a call; answers how many events may pass.
    async fn faults(&self) -> Result<Option<(usize, ErrorKind)>, ConnectorError> {
        self.responsive().await;
        loop {
            let fault = {
                let mut state = self.state();
                match state.faults.front() {
                    None | Some(SourceFault::Expire | SourceFault::Unreachable(_)) => return Ok(None),
                    Some(_) => state.faults.pop_front(),
                }
            };
            match fault {
                Some(SourceFault::Fail(kind)) => return Err(self.error(kind, "was told to fail")),
                Some(SourceFault::FailAfter(events, kind)) => return Ok(Some((events, kind))),
                Some(SourceFault::Slow(time)) => tokio::time::sleep(time).await,
                Some(SourceFault::Expire | SourceFault::Unreachable(_)) | None => return Ok(None),
            }
        }
    }

    /// What there is to say now.
    fn polled(
        &self,
        tables: &[TableSchema],
        from: &Position,
        until: Option<&Position>,
        rows_max: u64,
        fail_after: Option<(usize, ErrorKind)>,
    ) -> Result<Polled, ConnectorError> {
        let mut state = self.state();
        let from = index_of(from);
        let end = until.map_or(u64::MAX, index_of).min(state.history.len());
        if state.faults.front() == Some(&SourceFault::Expire) {
            state.faults.pop_front();
            return Ok(Polled::Expired { reason: format!("snapshot {from} was told to expire") });
        }
        if from < state.first_kept {
            return Ok(Polled::Expired { reason: format!("snapshot {from} has expired") });
        }
        if from >= end {
            return Ok(Polled::Idle);
        }
        let wanted: BTreeSet<_> = tables.iter().map(|table| &table.name).collect();
        let (mut to, mut time, mut events, mut rows) = (from, None, Vec::new(), 0);
        for index in from..end {
            let transaction = &state.history.transactions[index as usize];
            if let Some(name) = transaction.schemas.keys().find(|name| wanted.contains(name)) {
                if events.is_empty() {
                    let reason = format!("table {name} was altered");
                    return Ok(Polled::SchemaChanged { at: position_of(index + 1), reason });
                }
                break;
            }
            to = index + 1;
            let mine: Vec<_> = transaction.events.iter().filter(|(name, _)| wanted.contains(name)).cloned().collect();
            if !mine.is_empty() {
                time = time.max(Some(transaction.time));
                rows += mine.iter().map(|(_, event)| event.rows() as u64).sum::<u64>();
                events.extend(mine);
                if rows >= rows_max {
                    break;
                }
            }
        }
        if events.is_empty() {
            return Ok(Polled::Advanced { to: position_of(to) });
        }
        Ok(Polled::Changes { to: position_of(to), commit_time: time, events: self.stream(events, fail_after) })
    }

    fn error(&self, kind: ErrorKind, what: &str) -> ConnectorError {
        ConnectorError::new(kind, format!("source {} {what}", self.id))
    }

    fn stream(&self, events: Vec<(TableName, TableEvent)>, fail_after: Option<(usize, ErrorKind)>) -> EventStream {
        let mut items: Vec<_> = events.into_iter().map(Ok).collect();
        if let Some((passed, kind)) = fail_after {
            items.truncate(passed);
            items.push(Err(self.error(kind, "was told to fail amid its events")));
        }
        stream::iter(items).boxed()
    }
}

#[async_trait]
impl Source for MemorySource {
    fn id(&self) -> &SourceId {
        &self.id
    }

    fn on_expired(&self) -> OnExpired {
        self.on_expired
    }

    fn snapshots(&self) -> Snapshots {
        self.kind
    }

    async fn head(&mut self) -> Result<Position, ConnectorError> {
        self.responsive().await;
        Ok(position_of(self.state().history.len()))
    }

    async fn list(&mut self, at: Option<&Position>) -> Result<Vec<TableName>, ConnectorError> {
        self.responsive().await;
        let mut state = self.state();
        if let Some(SourceFault::Unreachable(kind)) = state.faults.front().copied() {
            state.faults.pop_front();
            return Err(self.error(kind, "was told to be unreachable"));
        }
        let at = at.map_or(state.history.len(), index_of);
        Ok(state.history.tables(at).into_keys().collect())
    }

    async fn tables(
        &mut self,
        wanted: &[TableName],
        at: Option<&Position>,
    ) -> Result<Vec<TableSchema>, ConnectorError> {
        self.responsive().await;
        let state = self.state();
        let at = at.map_or(state.history.len(), index_of);
        let tables = state.history.tables(at);
        let schema = |name: &TableName| {
            let missing = || ConnectorError::new(ErrorKind::Reconfigure, format!("there is no table {name}"));
            tables.get(name).cloned().ok_or_else(missing)
        };
        wanted.iter().map(schema).collect()
    }

    async fn check(&mut self, _tables: &[TableSchema]) -> Result<Vec<Finding>, ConnectorError> {
        self.responsive().await;
        Ok(self.state().findings.clone())
    }

    async fn snapshot(&mut self, tables: &[TableSchema], at: Option<&Position>) -> Result<Snapshot, ConnectorError> {
        let fail_after = self.faults().await?;
        let act = self.state().before_snapshot.take();
        act.into_iter().for_each(|act| act(self));
        let mut state = self.state();
        state.snapshots.push(tables.iter().map(|table| table.name.clone()).collect());
        let at = at.filter(|_| self.kind == Snapshots::AnyPosition);
        let at = at.map_or(state.history.len(), index_of);
        if at < state.first_kept && self.kind == Snapshots::AnyPosition {
            return Err(self.error(ErrorKind::Stop, &format!("does not hold snapshot {at} any more")));
        }
        let mut events = Vec::new();
        for table in tables {
            let contents = state.history.contents(&table.name, at).filter(|contents| contents.schema() == table);
            let kind = if self.kind == Snapshots::PresentOnly { ErrorKind::Retry } else { ErrorKind::Bug };
            let contents = contents.ok_or_else(|| self.error(kind, &format!("holds another {}", table.name)))?;
            events.extend(contents.as_event().map(|event| (table.name.clone(), event)));
        }
        Ok(Snapshot {
            position: position_of(at),
            commit_time: state.history.time_at(at),
            rows_estimate: Some(events.iter().map(|(_, event)| event.rows() as u64).sum()),
            events: self.stream(events, fail_after),
        })
    }

    async fn poll(
        &mut self,
        tables: &[TableSchema],
        from: &Position,
        until: Option<&Position>,
        rows_max: u64,
    ) -> Result<Polled, ConnectorError> {
        let fail_after = self.faults().await?;
        let polled = self.polled(tables, from, until, rows_max, fail_after);
        self.polls.send_modify(|polls| *polls += 1);
        // The sender lives as long as `self`.
        let _ = self.holding.subscribe().wait_for(|holding| !holding).await;
        polled
    }

    async fn acknowledge(&mut self, position: &Position) -> Result<(), ConnectorError> {
        self.responsive().await;
        self.state().acknowledged = Some(*position);
        Ok(())
    }
}
