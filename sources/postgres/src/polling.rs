//! Polling: whole transactions from the queue, or the certainty that there are none.

use std::time::{Duration, Instant};

use tidegate_core::{ErrorKind, Lsn, Polled, Position, TableSchema};

use crate::catalog::{Column, Table};
use crate::changes::Changes;
use crate::error::PostgresError;
use crate::follower::Taken;
use crate::opening::Opened;
use crate::pgoutput::{Relation, RelationColumn};
use crate::source::PostgresSource;

/// How long a poll waits in silence for what the server is known to have, before it looks whether the server is there.
/// A large transaction takes the server its time before it sends anything of it.
const SILENCE: Duration = Duration::from_secs(10);
/// How often the catalog is looked at for changes that the stream does not tell: partitions that come
/// and go, tables that are made anew, the publication.
const LOOK_EVERY: Duration = Duration::from_secs(2);

impl PostgresSource {
    pub(crate) async fn poll_stream(
        &mut self,
        schemas: &[TableSchema],
        from: Lsn,
        until: Option<Lsn>,
        rows_max: u64,
    ) -> Result<Polled, PostgresError> {
        if until.is_some_and(|until| until <= from) {
            return Ok(Polled::Idle);
        }
        let goes_on = self.stream.as_ref().is_some_and(|stream| {
            stream.offered == from && stream.tables.iter().map(|table| &table.schema).eq(schemas)
        });
        if !goes_on {
            match self.open(schemas, from).await? {
                Opened::Yes(stream) => self.stream = Some(*stream),
                Opened::Lost(reason) => return Ok(Polled::Expired { reason }),
                Opened::Changed(reason) => return Ok(Polled::SchemaChanged { at: Position::Lsn(from), reason }),
            }
        }
        let mut target = until;
        loop {
            let policy = self.policy();
            let Some(stream) = &mut self.stream else { return Ok(Polled::Idle) };
            let tables = &stream.tables;
            let reached = match stream.follower.take(until, rows_max, |relation| differs(relation, tables)) {
                Taken::Transactions(transactions) => {
                    let Some(last) = transactions.last() else { return Ok(Polled::Idle) };
                    let (to, time) = (last.end, transactions.iter().map(|transaction| transaction.time).max());
                    stream.offered = to;
                    if stream.follower.has_news() {
                        self.wake.notify_one();
                    }
                    let to = Position::Lsn(to);
                    if transactions.iter().all(|transaction| transaction.rows == 0) {
                        return Ok(Polled::Advanced { to });
                    }
                    let changes = Changes::new(&self.settings.name, tables, &policy, transactions);
                    let events = Box::pin(futures::stream::iter(changes));
                    return Ok(Polled::Changes { to, commit_time: time, events });
                }
                Taken::Described(relation) => {
                    let reason = format!("table {}.{} has other columns now", relation.schema, relation.name);
                    return Ok(Polled::SchemaChanged { at: Position::Lsn(from), reason });
                }
                Taken::Nothing(reached) => reached,
            };
            if let Some(error) = stream.follower.ended() {
                self.stream = None;
                return Err(self.why_ended(error).await);
            }
            let target = match target {
                Some(target) => target,
                None => match self.now().await {
                    Ok(now) => *target.insert(now),
                    // A server that is stopping answers no queries, and waits until its streams have been read
                    // and confirmed to the end.
                    Err(error) if error.kind() == ErrorKind::Retry && reached > from => reached,
                    Err(error) => return Err(error),
                },
            };
            if reached >= target || until.is_some_and(|until| reached >= until) {
                return self.nothing(schemas, from, until.map_or(reached, |until| reached.min(until))).await;
            }
            let Some(stream) = &self.stream else { return Ok(Polled::Idle) };
            if tokio::time::timeout(SILENCE, stream.follower.news()).await.is_err() && !self.is_streaming().await {
                self.stream = None;
                return Err(PostgresError::Behind { database: self.id.name.clone(), target, reached });
            }
        }
    }

    /// Whether the server answers, and has somebody at work on the slot.
    async fn is_streaming(&mut self) -> bool {
        matches!(self.slot().await, Ok(Some(slot)) if slot.active_pid.is_some())
    }

    /// Nothing has happened to the tables between `from` and `reached`.
    pub(crate) async fn nothing(
        &mut self,
        schemas: &[TableSchema],
        from: Lsn,
        reached: Lsn,
    ) -> Result<Polled, PostgresError> {
        let is_due = self.stream.as_ref().is_some_and(|stream| stream.looked.elapsed() >= LOOK_EVERY);
        if is_due {
            match self.look(schemas, from).await {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {
                    if let Some(stream) = &mut self.stream {
                        stream.looked = Instant::now();
                    }
                }
                // As above: what was read is to be confirmed first.
                Err(error) if error.kind() == ErrorKind::Retry && reached > from => {}
                Err(error) => return Err(error),
            }
        }
        if reached <= from {
            return Ok(Polled::Idle);
        }
        if let Some(stream) = &mut self.stream {
            stream.offered = reached;
        }
        Ok(Polled::Advanced { to: Position::Lsn(reached) })
    }

    /// A stream may end because the slot or the publication is gone; then that is what to say.
    pub(crate) async fn why_ended(&mut self, error: PostgresError) -> PostgresError {
        match error.kind() {
            ErrorKind::Retry | ErrorKind::Reconfigure => error,
            // The next poll opens the stream anew, and finds out what is gone.
            _ => match &error {
                PostgresError::Server { database, doing, message, .. } => PostgresError::Server {
                    database: database.clone(),
                    doing,
                    message: message.clone(),
                    kind: ErrorKind::Retry,
                },
                _ => error,
            },
        }
    }
}

/// Whether a description in the stream is not that of the table as it is known.
fn differs(relation: &Relation, tables: &[Table]) -> bool {
    let is_named = |table: &&Table| {
        let name = &table.schema.name;
        name.schema == relation.schema && name.table == relation.name
    };
    match tables.iter().find(|table| table.oid == relation.oid) {
        None => tables.iter().any(|table| is_named(&table)),
        Some(table) => {
            let same = |(known, sent): (&Column, &RelationColumn)| {
                known.name == sent.name && known.type_oid == sent.type_oid && known.modifier == sent.modifier
            };
            !is_named(&table)
                || table.columns.len() != relation.columns.len()
                || !table.columns.iter().zip(&relation.columns).all(same)
        }
    }
}
