//! What happened after a snapshot: *Protocol P*.
//!
//! One snapshot at a time, in order, none left out: the last one consumed must still be there, and
//! so must every one up to the end, because the feed silently leaves out what an expired snapshot
//! did. A snapshot whose tokens name only maintenance of a table changed no row of it. A snapshot
//! that changes the columns or the name of a wanted table is a barrier. Whether anything expired
//! while it was read is asked once more at the end.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_core::{ConnectorError, Micros, Polled, TableSchema};
use tidegate_duck::Flow;

use crate::catalog::{ColumnRow, SnapshotRow};
use crate::connection::{Lake, Session};
use crate::error::LakeError;
use crate::position::position_of;
use crate::stream::{Message, Outlet, Reached, SharedLake, events, start};
use crate::tables::schema_change;
use crate::tokens::Touch;

/// Snapshots asked for at once.
const PAGE: u64 = 1_000;
/// A poll ends after this many snapshots with changes, so that a reader who is far behind makes
/// progress in steps.
const CHANGED_SNAPSHOTS_MAX: u64 = 1_000;
/// A poll's events are held in memory up to here; the rest of the snapshot that passes it is streamed.
const BUFFER_BYTES_MAX: usize = 64 << 20;

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

/// How a poll ended.
enum Outcome {
    Idle,
    Advanced(u64),
    Changes(Reached),
    SchemaChanged { at: u64, reason: String },
    Expired { reason: String },
}

/// Reads what happened.
pub async fn poll(lake: &SharedLake, name: &str, request: Request) -> Result<Polled, ConnectorError> {
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

fn read(lake: &mut Lake, request: &Request, outlet: &Outlet<Outcome>) -> Result<Outcome, LakeError> {
    let head = lake.attached(|session| {
        let head = session.head()?;
        if request.from > head {
            return Err(LakeError::Behind { lake: session.lake.to_owned(), head, read: request.from });
        }
        Ok(head)
    })?;
    let end = request.until.map_or(head, |until| until.min(head));
    if end <= request.from {
        return Ok(Outcome::Idle);
    }
    lake.attached_anew(|session| {
        let mut reading = Reading::new(session, request, outlet);
        let outcome = match reading.run(end) {
            // What is lost is lost; unless the caller has been told already that it will come.
            Err(error @ LakeError::Damaged { .. }) if !reading.settled => {
                Outcome::Expired { reason: error.to_string() }
            }
            answer => answer?,
        };
        // The stream cannot be taken back, so what expired under our hands voids it as an error.
        match &outcome {
            Outcome::Changes(Reached { .. }) | Outcome::Advanced(_) => {
                let to = reached_snapshot(&outcome);
                if session.count_snapshots(request.from, to)? != to - request.from + 1 {
                    return Err(LakeError::ExpiredMeanwhile { lake: session.lake.to_owned(), from: request.from, to });
                }
            }
            _ => {}
        }
        Ok(outcome)
    })
}

fn reached_snapshot(outcome: &Outcome) -> u64 {
    match outcome {
        Outcome::Advanced(to) => *to,
        Outcome::Changes(Reached { to: tidegate_core::Position::SnapshotId(id), .. }) => id.0,
        _ => unreachable!("only outcomes that reached a snapshot are asked where"),
    }
}

/// A poll under way.
struct Reading<'a> {
    session: &'a Session<'a>,
    request: &'a Request,
    outlet: &'a Outlet<Outcome>,
    /// The columns of the wanted tables at `from`; asked for when a snapshot may have changed them.
    columns: Option<BTreeMap<u64, BTreeSet<ColumnRow>>>,
    deletion_vectors_refused: bool,
    commit_time: Option<Micros>,
    changed_snapshots: u64,
    rows: u64,
    bytes: usize,
    settled: bool,
}

impl<'a> Reading<'a> {
    fn new(session: &'a Session<'a>, request: &'a Request, outlet: &'a Outlet<Outcome>) -> Self {
        Reading {
            session,
            request,
            outlet,
            columns: None,
            deletion_vectors_refused: false,
            commit_time: None,
            changed_snapshots: 0,
            rows: 0,
            bytes: 0,
            settled: false,
        }
    }

    fn run(&mut self, end: u64) -> Result<Outcome, LakeError> {
        let mut last = self.request.from;
        loop {
            let page = self.session.snapshots(last, PAGE)?;
            if page.first().is_none_or(|first| first.id != last) {
                return Ok(self.expired(last, page.first()));
            }
            for snapshot in &page[1..] {
                if snapshot.id > end {
                    // `end` itself is gone.
                    return Ok(self.expired(end, Some(snapshot)));
                }
                if snapshot.id != last + 1 {
                    return Ok(self.expired(last + 1, Some(snapshot)));
                }
                if let Some(reason) = self.schema_change(snapshot)? {
                    return Ok(if last == self.request.from {
                        Outcome::SchemaChanged { at: snapshot.id, reason }
                    } else {
                        self.outcome(last)
                    });
                }
                let flow = self.changes_of(snapshot)?;
                last = snapshot.id;
                if flow == Flow::Stop || last == end || self.is_full() {
                    return Ok(self.outcome(last));
                }
            }
            if (page.len() as u64) < PAGE && last < end {
                return Ok(self.expired(last + 1, None));
            }
        }
    }

    fn is_full(&self) -> bool {
        self.rows >= self.request.rows_max
            || self.bytes >= BUFFER_BYTES_MAX
            || self.changed_snapshots >= CHANGED_SNAPSHOTS_MAX
    }

    fn outcome(&self, to: u64) -> Outcome {
        if self.rows == 0 {
            return Outcome::Advanced(to);
        }
        Outcome::Changes(Reached { to: position_of(to), commit_time: self.commit_time })
    }

    fn expired(&self, missing: u64, next: Option<&SnapshotRow>) -> Outcome {
        let next = next.map(|next| format!("; the next one kept is {}", next.id)).unwrap_or_default();
        Outcome::Expired { reason: format!("snapshot {missing} of {} has expired{next}", self.session.lake) }
    }

    /// Whether the snapshot changes what the rows of a wanted table mean, in words.
    fn schema_change(&mut self, snapshot: &SnapshotRow) -> Result<Option<String>, LakeError> {
        if !snapshot.tokens.may_change_schemas() {
            return Ok(None);
        }
        let ids: Vec<u64> = self.request.tables.iter().map(|table| table.incarnation).collect();
        let before = match &self.columns {
            Some(columns) => columns,
            None => self.columns.insert(self.session.columns_at(&ids, self.request.from)?),
        };
        let present = self.session.tables_at(snapshot.id)?;
        let after = self.session.columns_at(&ids, snapshot.id)?;
        let reasons: Vec<String> = self
            .request
            .tables
            .iter()
            .filter_map(|table| {
                let now = present.iter().find(|row| row.id == table.incarnation);
                schema_change(table, &before[&table.incarnation], now, &after[&table.incarnation])
            })
            .collect();
        Ok((!reasons.is_empty()).then(|| reasons.join("; ")))
    }

    /// Sends what the snapshot changed.
    fn changes_of(&mut self, snapshot: &SnapshotRow) -> Result<Flow, LakeError> {
        let rows_before = self.rows;
        let tables = &self.request.tables;
        for table in tables {
            let touch = snapshot.tokens.touch(table.incarnation);
            if touch == Touch::None {
                continue;
            }
            self.refuse_deletion_vectors()?;
            let mut flow = Flow::Continue;
            let session = self.session;
            session.changes_at(table, snapshot.id, touch, &mut |rows, weight| {
                flow = self.send(table, snapshot, rows, weight);
                Ok(flow)
            })?;
            if flow == Flow::Stop {
                return Ok(Flow::Stop);
            }
        }
        if self.rows > rows_before {
            self.changed_snapshots += 1;
        }
        Ok(Flow::Continue)
    }

    fn send(
        &mut self,
        table: &TableSchema,
        snapshot: &SnapshotRow,
        rows: arrow::array::RecordBatch,
        weight: i64,
    ) -> Flow {
        self.commit_time = self.commit_time.max(Some(snapshot.time));
        self.rows += rows.num_rows() as u64;
        self.bytes += rows.get_array_memory_size();
        let flow = self.outlet.rows(&table.name, rows, weight);
        if flow == Flow::Continue && !self.settled && self.is_full() {
            self.settled = true;
            return self.outlet.settled(self.outcome(snapshot.id));
        }
        flow
    }

    /// The history of deletes is needed from here on, so it must be there.
    fn refuse_deletion_vectors(&mut self) -> Result<(), LakeError> {
        if !self.deletion_vectors_refused {
            let ids: Vec<u64> = self.request.tables.iter().map(|table| table.incarnation).collect();
            self.session.refuse_deletion_vectors(&self.request.tables, &ids)?;
            self.deletion_vectors_refused = true;
        }
        Ok(())
    }
}
