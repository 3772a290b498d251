//! A task that reads the replication stream and puts whole transactions in a queue.
//!
//! It reads on while the queue holds less than its budget, and leaves the rest to TCP's flow control;
//! the replication client goes on telling the server what is durable meanwhile, so that the server does not give us
//! up. Transactions larger than the budget wait in a file.

use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pgwire_replication::{PgWireError, ReplicationClient, ReplicationEvent};
use tidegate_core::{Lsn, Micros};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::error::{PostgresError, replication};
use crate::pgoutput::{self, Message, Relation};
use crate::transaction::{Builder, Transaction};

/// Microseconds from 1970 to 2000, where PostgreSQL's clock begins.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// A server that shuts down in good order asks its readers without a pause what they hold, and waits until they hold
/// everything, however long that takes (`WalSndDone` in PostgreSQL's `walsender.c`). A reader that cannot say so by
/// then leaves, and comes back to a server that has restarted.
const STOPPING_MAX: Duration = Duration::from_secs(10);
/// What is no pause. Otherwise the server asks every half `wal_sender_timeout`.
const PAUSE: Duration = Duration::from_millis(200);

/// What the task works with.
pub(crate) struct Setup {
    /// The source's name.
    pub source: String,
    /// The tables whose changes are kept, by OID and by name.
    pub wanted: Wanted,
    /// Where transactions go that do not fit in memory.
    pub folder: PathBuf,
    /// Bytes of the queue, and of one transaction in memory.
    pub budget: usize,
    /// Where the stream begins.
    pub start: Lsn,
    /// What is durable with the caller.
    pub durable: Arc<Durable>,
    /// Told when there is news.
    pub wake: Arc<Notify>,
}

/// The tables whose changes are kept.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub oids: HashSet<u32>,
    pub names: HashSet<(String, String)>,
}

impl Wanted {
    fn describes(&self, relation: &Relation) -> bool {
        let name = || (relation.schema.clone(), relation.name.clone());
        self.oids.contains(&relation.oid) || self.names.contains(&name())
    }
}

/// The position up to which everything is durable with the caller; told to the server.
#[derive(Debug, Default)]
pub(crate) struct Durable {
    lsn: AtomicU64,
    raised: Notify,
}

impl Durable {
    /// Raises it.
    pub fn raise(&self, lsn: Lsn) {
        if self.lsn.fetch_max(lsn.0, Ordering::AcqRel) < lsn.0 {
            self.raised.notify_one();
        }
    }

    /// As far as it was raised.
    pub fn get(&self) -> Lsn {
        Lsn(self.lsn.load(Ordering::Acquire))
    }
}

/// The task and its queue.
pub(crate) struct Follower {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    state: Mutex<State>,
    /// Told when the queue has room again.
    room: Notify,
    /// Told when the state has changed; for a poll that waits.
    news: Notify,
}

struct State {
    queue: VecDeque<Transaction>,
    bytes: usize,
    /// Everything committed before this has been received, and is in the queue or was taken.
    reached: Lsn,
    ended: Option<PostgresError>,
}

/// What a look at the queue finds.
pub(crate) enum Taken {
    /// The next transactions.
    Transactions(Vec<Transaction>),
    /// The next transaction describes a table differently; it stays in the queue.
    Described(Relation),
    /// Nothing is there; everything before this has been received.
    Nothing(Lsn),
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Follower {
    /// Reads from a client whose stream has started.
    pub fn start(client: ReplicationClient, setup: Setup) -> Follower {
        let state = State { queue: VecDeque::new(), bytes: 0, reached: setup.start, ended: None };
        let shared = Arc::new(Shared { state: Mutex::new(state), room: Notify::new(), news: Notify::new() });
        let reader = Reader { client, setup, shared: shared.clone(), open: None, asked: None };
        Follower { shared, task: tokio::spawn(reader.run()) }
    }

    /// Takes transactions from the queue that end at or before `until`, until they have `rows_max` rows;
    /// stops before one that describes a table otherwise than `differs` expects.
    pub fn take(&self, until: Option<Lsn>, rows_max: u64, differs: impl Fn(&Relation) -> bool) -> Taken {
        let mut state = self.shared.lock();
        let (mut taken, mut rows) = (Vec::new(), 0);
        while let Some(next) = state.queue.front() {
            let beyond = until.is_some_and(|until| next.end > until);
            let other = next.relations.iter().find(|relation| differs(relation));
            if beyond || other.is_some() || rows >= rows_max {
                if taken.is_empty()
                    && !beyond
                    && let Some(relation) = other
                {
                    return Taken::Described(relation.clone());
                }
                break;
            }
            let Some(next) = state.queue.pop_front() else { break };
            rows += next.rows;
            state.bytes -= next.bytes;
            taken.push(next);
        }
        if !taken.is_empty() {
            self.shared.room.notify_one();
            return Taken::Transactions(taken);
        }
        // A transaction beyond `until` bounds what may be called received.
        let bound = state.queue.front().map_or(state.reached, |next| next.commit);
        Taken::Nothing(bound)
    }

    /// The error that ended the stream, if it has ended.
    pub fn ended(&self) -> Option<PostgresError> {
        let mut state = self.shared.lock();
        if !self.task.is_finished() && state.ended.is_none() {
            return None;
        }
        let name = "the task that reads the stream";
        Some(state.ended.take().unwrap_or(PostgresError::Abandoned { database: String::new(), what: name }))
    }

    /// Whether the stream has ended.
    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Whether something waits in the queue.
    pub fn has_news(&self) -> bool {
        let state = self.shared.lock();
        !state.queue.is_empty() || state.ended.is_some()
    }

    /// Waits until the queue, or what has been received, changes.
    pub async fn news(&self) {
        self.shared.news.notified().await;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under the lock panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Reader {
    client: ReplicationClient,
    setup: Setup,
    shared: Arc<Shared>,
    open: Option<Builder>,
    /// Since when the server has been asking without a pause, and when it did last.
    asked: Option<(Instant, Instant)>,
}

impl Reader {
    async fn run(mut self) {
        let error = match self.read().await {
            Ok(()) => PostgresError::Server {
                database: self.setup.source.clone(),
                doing: "reading the stream",
                message: "the server ended it".to_owned(),
                kind: tidegate_core::ErrorKind::Retry,
            },
            Err(error) => error,
        };
        self.shared.lock().ended = Some(error);
        self.tell(true);
    }

    fn tell(&self, wake: bool) {
        self.shared.news.notify_one();
        if wake {
            self.setup.wake.notify_one();
        }
    }

    async fn read(&mut self) -> Result<(), PostgresError> {
        loop {
            let has_room = self.open.is_some() || self.shared.lock().bytes <= self.setup.budget;
            tokio::select! {
                event = self.client.recv(), if has_room => {
                    let event = event.map_err(|error| self.failed(&error))?;
                    match event {
                        Some(event) => self.take(event)?,
                        None => return Ok(()),
                    }
                }
                () = self.setup.durable.raised.notified() => {
                    let durable = self.setup.durable.get();
                    self.client.update_applied_lsn(pgwire_replication::Lsn::from_u64(durable.0));
                }
                () = self.shared.room.notified() => {}
            }
        }
    }

    fn take(&mut self, event: ReplicationEvent) -> Result<(), PostgresError> {
        match event {
            ReplicationEvent::Begin { final_lsn, .. } => {
                self.open = Some(Builder::new(Lsn(final_lsn.as_u64()), &self.setup.folder, self.setup.budget));
            }
            ReplicationEvent::XLogData { data, .. } => self.keep(&data)?,
            ReplicationEvent::Commit { end_lsn, commit_time_micros, .. } => {
                let Some(open) = self.open.take() else { return Err(self.malformed("a commit has no beginning")) };
                let (end, time) = (Lsn(end_lsn.as_u64()), Micros(commit_time_micros.saturating_add(POSTGRES_EPOCH)));
                let transaction = open.finish(end, time).map_err(|error| self.not_kept(error))?;
                self.committed(transaction);
            }
            ReplicationEvent::KeepAlive { wal_end, reply_requested, .. } if self.open.is_none() => {
                if reply_requested {
                    self.asked()?;
                }
                let mut state = self.shared.lock();
                if state.reached < Lsn(wal_end.as_u64()) {
                    state.reached = Lsn(wal_end.as_u64());
                    drop(state);
                    self.tell(false);
                }
            }
            ReplicationEvent::KeepAlive { .. }
            | ReplicationEvent::Message { .. }
            | ReplicationEvent::StoppedAt { .. } => {}
        }
        Ok(())
    }

    /// The server wants to know what is durable, which the client has told it already.
    fn asked(&mut self) -> Result<(), PostgresError> {
        let now = Instant::now();
        let since = self.asked.filter(|(_, last)| now.duration_since(*last) < PAUSE).map_or(now, |(since, _)| since);
        self.asked = Some((since, now));
        if now.duration_since(since) < STOPPING_MAX {
            return Ok(());
        }
        Err(PostgresError::Server {
            database: self.setup.source.clone(),
            doing: "reading the stream",
            message: "the server shuts down; it keeps what is not yet durable here".to_owned(),
            kind: tidegate_core::ErrorKind::Retry,
        })
    }

    fn committed(&self, transaction: Transaction) {
        let mut state = self.shared.lock();
        state.reached = state.reached.max(transaction.end);
        // What was committed before the start is part of what the caller has.
        let is_news = transaction.commit >= self.setup.start;
        let says_something = transaction.rows > 0 || !transaction.relations.is_empty();
        if is_news && says_something {
            state.bytes += transaction.bytes;
            state.queue.push_back(transaction);
        }
        drop(state);
        self.tell(is_news && says_something);
    }

    /// Keeps a message of the open transaction if it concerns a wanted table.
    fn keep(&mut self, data: &[u8]) -> Result<(), PostgresError> {
        let wanted = &self.setup.wanted;
        let kept = match data {
            [b'I' | b'U' | b'D', a, b, c, d, ..] => wanted.oids.contains(&u32::from_be_bytes([*a, *b, *c, *d])),
            [b'R', ..] => {
                let Ok(Message::Relation(relation)) = pgoutput::decode(data) else {
                    return Err(self.malformed("a relation message is malformed"));
                };
                if !wanted.describes(&relation) {
                    return Ok(());
                }
                let Some(open) = &mut self.open else {
                    return Err(self.malformed("a message stands outside of a transaction"));
                };
                open.describe(relation);
                return Ok(());
            }
            [b'T', ..] => match pgoutput::decode(data) {
                Ok(Message::Truncate { relations }) => {
                    pgoutput::truncated(relations).any(|oid| wanted.oids.contains(&oid))
                }
                _ => return Err(self.malformed("a truncate message is malformed")),
            },
            [b'I' | b'U' | b'D', ..] => return Err(self.malformed("a message is cut short")),
            _ => false,
        };
        match (&mut self.open, kept) {
            (_, false) => Ok(()),
            (Some(open), true) => open.push(data).map_err(|error| self.not_kept(error)),
            (None, true) => Err(self.malformed("a change stands outside of a transaction")),
        }
    }

    fn failed(&self, error: &PgWireError) -> PostgresError {
        replication(&self.setup.source, "reading the stream", error)
    }

    fn malformed(&self, fact: &'static str) -> PostgresError {
        PostgresError::Stream {
            database: self.setup.source.clone(),
            table: "of the replication stream".to_owned(),
            fact,
        }
    }

    fn not_kept(&self, error: std::io::Error) -> PostgresError {
        let path = self.setup.folder.display().to_string();
        PostgresError::File { database: self.setup.source.clone(), path, doing: "written", error }
    }
}
