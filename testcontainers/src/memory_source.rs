//! A source in memory: transactions are queued by the test, and faults too.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, stream};
use tidegate_core::{
    ConnectorError, ErrorKind, EventStream, Micros, OnExpired, Polled, Position, Snapshot, SnapshotId, Source,
    SourceId, TableEvent, TableName, TableSchema,
};

use crate::contents::TableContents;

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
}

struct Transaction {
    time: Micros,
    events: Vec<(TableName, TableEvent)>,
    /// Tables with their schema from here on; `None`: dropped.
    schemas: BTreeMap<TableName, Option<TableSchema>>,
}

struct State {
    initial: BTreeMap<TableName, TableSchema>,
    transactions: Vec<Transaction>,
    first_kept: u64,
    faults: VecDeque<SourceFault>,
    acknowledged: Option<Position>,
    polls: u64,
    snapshots: u64,
}

/// A source whose transactions the test makes. Clones share everything, so a test keeps one and
/// gives another away. Positions are snapshot ids: the number of transactions so far.
#[derive(Clone)]
pub struct MemorySource {
    id: SourceId,
    on_expired: OnExpired,
    state: Arc<Mutex<State>>,
}

impl MemorySource {
    /// A source with empty tables.
    pub fn new(name: &str, tables: impl IntoIterator<Item = TableSchema>) -> Self {
        MemorySource {
            id: SourceId::new("memory", name),
            on_expired: OnExpired::Rebuild,
            state: Arc::new(Mutex::new(State {
                initial: tables.into_iter().map(|table| (table.name.clone(), table)).collect(),
                transactions: Vec::new(),
                first_kept: 0,
                faults: VecDeque::new(),
                acknowledged: None,
                polls: 0,
                snapshots: 0,
            })),
        }
    }

    /// The same source with another policy.
    #[must_use]
    pub fn on_expired(mut self, policy: OnExpired) -> Self {
        self.on_expired = policy;
        self
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
        let name = table.name.clone();
        let content = std::iter::once(TableEvent::Replace).chain(content);
        let events = content.map(|event| (name.clone(), event)).collect();
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
        (state.polls, state.snapshots)
    }

    /// The content of a table at a position (`None`: now).
    pub fn contents(&self, table: &TableName, at: Option<&Position>) -> Option<TableContents> {
        let state = self.state();
        let at = at.map_or(state.transactions.len() as u64, index_of);
        state.contents(table, at)
    }

    fn push(
        &self,
        time: Option<Micros>,
        events: Vec<(TableName, TableEvent)>,
        schemas: BTreeMap<TableName, Option<TableSchema>>,
    ) -> Position {
        let mut state = self.state();
        let time = time.unwrap_or_else(|| Micros(state.last_time().0 + 1_000_000));
        state.transactions.push(Transaction { time, events, schemas });
        position_of(state.transactions.len() as u64)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds the source's lock")
    }

    /// Takes the faults that apply at the start of a call; answers how many events may pass.
    async fn faults(&self) -> Result<Option<(usize, ErrorKind)>, ConnectorError> {
        loop {
            let fault = {
                let mut state = self.state();
                match state.faults.front() {
                    None | Some(SourceFault::Expire) => return Ok(None),
                    Some(_) => state.faults.pop_front(),
                }
            };
            match fault {
                Some(SourceFault::Fail(kind)) => return Err(self.error(kind, "was told to fail")),
                Some(SourceFault::FailAfter(events, kind)) => return Ok(Some((events, kind))),
                Some(SourceFault::Slow(time)) => tokio::time::sleep(time).await,
                Some(SourceFault::Expire) | None => return Ok(None),
            }
        }
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

impl State {
    fn last_time(&self) -> Micros {
        self.transactions.last().map_or(Micros(0), |transaction| transaction.time)
    }

    fn time_at(&self, at: u64) -> Option<Micros> {
        at.checked_sub(1).map(|index| self.transactions[index as usize].time)
    }

    fn tables(&self, at: u64) -> BTreeMap<TableName, TableSchema> {
        let mut tables = self.initial.clone();
        for (name, schema) in self.transactions[..at as usize].iter().flat_map(|t| &t.schemas) {
            match schema {
                Some(schema) => tables.insert(name.clone(), schema.clone()),
                None => tables.remove(name),
            };
        }
        tables
    }

    fn contents(&self, table: &TableName, at: u64) -> Option<TableContents> {
        let mut contents = self.initial.get(table).cloned().map(TableContents::new);
        for transaction in &self.transactions[..at as usize] {
            match transaction.schemas.get(table) {
                Some(Some(schema)) => contents = Some(TableContents::new(schema.clone())),
                Some(None) => contents = None,
                None => {}
            }
            for (_, event) in transaction.events.iter().filter(|(name, _)| name == table) {
                contents.as_mut().expect("events are committed for tables that exist").apply(event);
            }
        }
        contents
    }
}

fn position_of(index: u64) -> Position {
    Position::SnapshotId(SnapshotId(index))
}

fn index_of(position: &Position) -> u64 {
    match position {
        Position::SnapshotId(SnapshotId(index)) => *index,
        Position::Lsn(lsn) => panic!("the source in memory never offered the position LSN {lsn}"),
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

    async fn head(&mut self) -> Result<Position, ConnectorError> {
        Ok(position_of(self.state().transactions.len() as u64))
    }

    async fn list(&mut self, at: Option<&Position>) -> Result<Vec<TableName>, ConnectorError> {
        let state = self.state();
        let at = at.map_or(state.transactions.len() as u64, index_of);
        Ok(state.tables(at).into_keys().collect())
    }

    async fn tables(
        &mut self,
        wanted: &[TableName],
        at: Option<&Position>,
    ) -> Result<Vec<TableSchema>, ConnectorError> {
        let state = self.state();
        let at = at.map_or(state.transactions.len() as u64, index_of);
        let tables = state.tables(at);
        let schema = |name: &TableName| {
            let missing = || ConnectorError::new(ErrorKind::Reconfigure, format!("there is no table {name}"));
            tables.get(name).cloned().ok_or_else(missing)
        };
        wanted.iter().map(schema).collect()
    }

    async fn snapshot(&mut self, tables: &[TableSchema], at: Option<&Position>) -> Result<Snapshot, ConnectorError> {
        let fail_after = self.faults().await?;
        let mut state = self.state();
        state.snapshots += 1;
        let at = at.map_or(state.transactions.len() as u64, index_of);
        if at < state.first_kept {
            return Err(self.error(ErrorKind::Stop, &format!("does not hold snapshot {at} any more")));
        }
        let mut events = Vec::new();
        for table in tables {
            let contents = state.contents(&table.name, at).filter(|contents| contents.schema() == table);
            let contents =
                contents.ok_or_else(|| self.error(ErrorKind::Bug, &format!("holds another {}", table.name)))?;
            events.extend(contents.as_event().map(|event| (table.name.clone(), event)));
        }
        Ok(Snapshot {
            position: position_of(at),
            commit_time: state.time_at(at),
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
        let mut state = self.state();
        state.polls += 1;
        let from = index_of(from);
        let end = until.map_or(u64::MAX, index_of).min(state.transactions.len() as u64);
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
            let transaction = &state.transactions[index as usize];
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

    async fn acknowledge(&mut self, position: &Position) -> Result<(), ConnectorError> {
        self.state().acknowledged = Some(*position);
        Ok(())
    }
}
