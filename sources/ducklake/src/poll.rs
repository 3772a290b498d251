//! A poll: what is asked, how it ends, and how what was read reaches the caller.

use tidegate_core::{ConnectorError, Polled, TableSchema};

use crate::catalog::{Catalog, Columns, SnapshotRow};
use crate::doubts::forgotten;
use crate::error::LakeError;
use crate::position::position_of;
use crate::stream::{Message, Outlet, Reached, Shared, events, start};
use crate::tables::schema_change;

/// Snapshots asked for at once.
pub const PAGE: u64 = 1_000;
/// A poll ends after this many snapshots with changes, so that a reader who is far behind makes
/// progress in steps.
pub const CHANGED_SNAPSHOTS_MAX: u64 = 1_000;
/// A poll's events are held in memory up to here; the rest of the snapshot that passes it is streamed.
pub const BUFFER_BYTES_MAX: usize = 64 << 20;

/// What is asked.
pub struct Request {
    /// The wanted tables, as they are at `from`.
    pub tables: Vec<TableSchema>,
    /// The last snapshot consumed.
    pub from: u64,
    /// Where to stop at the latest.
    pub until: Option<u64>,
    /// About how many rows to read.
    pub rows_max: u64,
}

impl Request {
    /// The last snapshot to read; `None` where there is nothing after `from`.
    pub fn end(&self, catalog: &dyn Catalog) -> Result<Option<u64>, LakeError> {
        let head = catalog.head()?;
        if self.from > head {
            return Err(LakeError::Behind { lake: catalog.lake().to_owned(), head, read: self.from });
        }
        let end = self.until.map_or(head, |until| until.min(head));
        Ok(Some(end).filter(|end| *end > self.from))
    }
}

/// How a poll ended.
pub enum Outcome {
    /// Nothing.
    Idle,
    /// Up to a snapshot, no row of the wanted tables changed.
    Advanced(u64),
    /// Rows changed.
    Changes(Reached),
    /// A snapshot changes what the rows of a wanted table mean.
    SchemaChanged {
        /// The snapshot.
        at: u64,
        /// What it changes, in words.
        reason: String,
    },
    /// What happened cannot be told any more.
    Expired {
        /// Why, in words.
        reason: String,
    },
}

/// Reads what happened.
pub async fn poll<L: Send + 'static>(
    lake: &Shared<L>,
    name: &str,
    request: Request,
    read: fn(&mut L, &Request, &Outlet<Outcome>) -> Result<Outcome, LakeError>,
) -> Result<Polled, ConnectorError> {
    let mut receiver = start(lake, move |lake, outlet| read(lake, &request, outlet));
    let mut buffered = Vec::new();
    loop {
        return Ok(match receiver.recv().await {
            Some(Message::Event(table, event)) => {
                buffered.push((table, event));
                continue;
            }
            Some(Message::Settled(Outcome::Changes(reached))) => changes(reached, buffered, receiver, name),
            Some(Message::End(Ok(outcome))) => match outcome {
                Outcome::Idle => Polled::Idle,
                Outcome::Advanced(to) => Polled::Advanced { to: position_of(to) },
                Outcome::Changes(reached) => {
                    let Reached { to, commit_time } = reached;
                    Polled::Changes {
                        to,
                        commit_time,
                        events: Box::pin(futures::stream::iter(buffered.into_iter().map(Ok))),
                    }
                }
                Outcome::SchemaChanged { at, reason } => Polled::SchemaChanged { at: position_of(at), reason },
                Outcome::Expired { reason } => Polled::Expired { reason },
            },
            Some(Message::End(Err(error))) => return Err(error.into()),
            Some(Message::Settled(_)) | None => return Err(LakeError::Abandoned { lake: name.to_owned() }.into()),
        });
    }
}

fn changes(
    reached: Reached,
    buffered: Vec<(tidegate_core::TableName, tidegate_core::TableEvent)>,
    rest: tokio::sync::mpsc::Receiver<Message<Outcome>>,
    name: &str,
) -> Polled {
    Polled::Changes { to: reached.to, commit_time: reached.commit_time, events: events(buffered, rest, name) }
}

/// Where a poll may go: from snapshot to snapshot, none left out, because the feed of a snapshot that has
/// expired is gone.
pub struct Walk<'a> {
    catalog: &'a dyn Catalog,
    request: &'a Request,
    end: u64,
    /// The snapshot after which deletes are looked for that left no trace.
    traced: u64,
    /// The columns of the wanted tables at `from`; asked for when a snapshot may have changed them.
    columns: Option<Columns>,
}

/// Snapshots that follow one another, and what keeps the poll from going further.
pub struct Span {
    /// The snapshots, in order.
    pub snapshots: Vec<SnapshotRow>,
    /// How a poll ends that has reached the last of them; `None` where more may follow, or at the end.
    pub barrier: Option<Outcome>,
}

impl<'a> Walk<'a> {
    /// To snapshot `end` at the furthest. Deletes without a trace are looked for after the snapshot `traced`.
    pub fn new(catalog: &'a dyn Catalog, request: &'a Request, end: u64, traced: u64) -> Self {
        Walk { catalog, request, end, traced, columns: None }
    }

    /// The snapshots after `last`.
    pub fn after(&mut self, last: u64) -> Result<Span, LakeError> {
        let page = self.catalog.snapshots(last, PAGE)?;
        if last == self.request.from
            && let Some(reason) = forgotten(self.catalog, self.request, self.end, self.traced)?
        {
            return Ok(Span { snapshots: Vec::new(), barrier: Some(Outcome::Expired { reason }) });
        }
        let mut span = Span { snapshots: Vec::new(), barrier: None };
        let is_whole = (page.len() as u64) < PAGE;
        let mut page = page.into_iter();
        let mut reached = match page.next() {
            Some(first) if first.id == last => last,
            first => {
                span.barrier = Some(self.expired(last, first.as_ref()));
                return Ok(span);
            }
        };
        for snapshot in page {
            if reached == self.end {
                return Ok(span);
            }
            if snapshot.id != reached + 1 {
                span.barrier = Some(self.expired(reached + 1, Some(&snapshot)));
                return Ok(span);
            }
            if let Some(reason) = self.schema_change(&snapshot)? {
                span.barrier = Some(Outcome::SchemaChanged { at: snapshot.id, reason });
                return Ok(span);
            }
            reached = snapshot.id;
            span.snapshots.push(snapshot);
        }
        if is_whole && reached < self.end {
            span.barrier = Some(self.expired(reached + 1, None));
        }
        Ok(span)
    }

    fn expired(&self, missing: u64, next: Option<&SnapshotRow>) -> Outcome {
        let next = next.map(|next| format!("; the next one kept is {}", next.id)).unwrap_or_default();
        Outcome::Expired { reason: format!("snapshot {missing} of {} has expired{next}", self.catalog.lake()) }
    }

    /// Whether the snapshot changes what the rows of a wanted table mean, in words.
    fn schema_change(&mut self, snapshot: &SnapshotRow) -> Result<Option<String>, LakeError> {
        if !snapshot.tokens.may_change_schemas() {
            return Ok(None);
        }
        let ids: Vec<u64> = self.request.tables.iter().map(|table| table.incarnation).collect();
        let before = match &self.columns {
            Some(columns) => columns,
            None => self.columns.insert(self.catalog.columns_at(&ids, self.request.from)?),
        };
        let present = self.catalog.tables_at(snapshot.id)?;
        let after = self.catalog.columns_at(&ids, snapshot.id)?;
        let change = |table: &TableSchema| {
            let now = present.iter().find(|row| row.id == table.incarnation);
            schema_change(table, &before[&table.incarnation], now, &after[&table.incarnation])
        };
        let reasons: Vec<String> = self.request.tables.iter().filter_map(change).collect();
        Ok((!reasons.is_empty()).then(|| reasons.join("; ")))
    }
}
