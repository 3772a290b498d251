//! What happened after a snapshot, read from the files that tell it.
//!
//! The catalog is asked in one state of it and let go; then files are read. All changes of the interval are read at
//! once, table by table: the interval ends where about as many rows are reached as the caller wants, and where
//! the columns of a wanted table change. A file that upkeep removed meanwhile makes the caller ask again.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use tidegate_core::{Micros, TableSchema};
use tidegate_duck::Flow;

use super::erased::{erased, had_vectors};
use super::lake::NativeLake;
use super::plan::{Changes, Content, Planner};
use super::rows::{Each, Rows};
use super::session::Session;
use super::virtual_columns;
use crate::catalog::{Catalog, SnapshotRow};
use crate::doubts::{raced, untraced};
use crate::error::LakeError;
use crate::poll::{BUFFER_BYTES_MAX, CHANGED_SNAPSHOTS_MAX, Outcome, Request, Walk};
use crate::position::position_of;
use crate::stream::{Outlet, Reached};
use crate::tables::refuse_deletion_vectors;
use crate::tokens::Touch;

/// What is to be read.
enum Plan {
    /// Nothing: the answer is known.
    Answer(Outcome),
    /// The changes of an interval.
    Read(Interval),
}

/// An interval of snapshots that is read at once.
struct Interval {
    after: u64,
    to: u64,
    /// When each of its snapshots was committed.
    times: BTreeMap<u64, Micros>,
    tables: Vec<(TableSchema, What)>,
}

impl Interval {
    fn settle(&mut self, rows: &Rows) -> Result<(), LakeError> {
        let (after, to) = (self.after, self.to);
        self.tables.iter_mut().try_for_each(|(_, what)| match what {
            What::Changes(changes) => rows.settle(changes, after, to),
            What::Contents(contents) => contents.iter_mut().try_for_each(|content| rows.settle_content(content)),
        })
    }
}

/// How the changes of a table are found.
enum What {
    /// By what files and catalog say of each row.
    Changes(Box<Changes>),
    /// By all rows before and at the end: one transaction changed rows and wrote others anew, and the files do
    /// not say which is which.
    Contents(Box<[Content; 2]>),
}

impl What {
    /// Whether rows count more than once, by a mistake of the lake's.
    fn doubled(&self) -> bool {
        match self {
            What::Changes(changes) => changes.doubled,
            What::Contents(contents) => contents.iter().any(|content| content.doubled),
        }
    }
}

/// Reads what happened.
pub fn read(lake: &mut NativeLake, request: &Request, outlet: &Outlet<Outcome>) -> Result<Outcome, LakeError> {
    if lake.glance() == Some(request.from) {
        return Ok(Outcome::Idle);
    }
    let mut interval = match lake.following(|session| plan(session, request))? {
        Plan::Answer(outcome) => return Ok(outcome),
        Plan::Read(interval) => interval,
    };
    let settled = lake.rows().and_then(|rows| interval.settle(rows));
    match lake.unread(settled) {
        Err(error @ LakeError::Stamped { .. }) => return Ok(Outcome::Expired { reason: error.to_string() }),
        settled => settled?,
    }
    let mut sending = Sending { request, outlet, interval: &interval, rows: 0, bytes: 0, last: None, settled: false };
    let result = lake.rows().and_then(|rows| sending.run(rows));
    let outcome = sending.outcome();
    lake.unread(result)?;
    Ok(outcome)
}

fn plan(session: &Session<'_, '_>, request: &Request) -> Result<Plan, LakeError> {
    let Some(end) = request.end(session)? else { return Ok(Plan::Answer(Outcome::Idle)) };
    if request.tables.iter().any(|table| !table.virtual_columns().is_empty())
        && let Some(outcome) = moved_since(session, request, end)?
    {
        return Ok(Plan::Answer(outcome));
    }
    let span = Walk::new(session, request, end, end).after(request.from)?;
    let barrier = match span.barrier {
        // What came before an expired snapshot is of no use without it.
        Some(expired @ Outcome::Expired { .. }) => return Ok(Plan::Answer(expired)),
        barrier => barrier,
    };
    let mut races = BTreeSet::new();
    for (snapshot, table) in rewritten(&span.snapshots, &request.tables) {
        if raced(session, table, snapshot)? {
            races.insert((snapshot, table));
        }
    }
    let is_mixed = |snapshot: &SnapshotRow, table: &TableSchema| {
        is_mixed(snapshot, table) || races.contains(&(snapshot.id, table.incarnation))
    };
    let snapshots = first_alike(span.snapshots, &request.tables, &is_mixed);
    let Some(last) = snapshots.last() else {
        // Who could not read the content at `from` comes here to hear why.
        if barrier.is_some()
            && had_vectors(session)?
            && let Some(reason) = erased_of(session, &request.tables, &session.data_path()?, request.from)?
        {
            return Ok(Plan::Answer(Outcome::Expired { reason }));
        }
        let advanced = Outcome::Advanced(request.from);
        return Ok(Plan::Answer(barrier.unwrap_or(advanced)));
    };
    let (mut to, mut tables) = (last.id, Vec::new());
    let is_touched = |table: &&TableSchema| snapshots.iter().any(|row| row.tokens.name(table.incarnation));
    let touched: Vec<TableSchema> = request.tables.iter().filter(is_touched).cloned().collect();
    if touched.is_empty() {
        return Ok(Plan::Answer(Outcome::Advanced(to)));
    }
    refuse_deletion_vectors(session, &touched)?;
    let data_path = session.data_path()?;
    let vectored = if had_vectors(session)? { touched.clone() } else { Vec::new() };
    if let Some(reason) = erased_of(session, &vectored, &data_path, request.from)? {
        return Ok(Plan::Answer(Outcome::Expired { reason }));
    }
    for table in touched {
        let planner = Planner::new(session, &table, &data_path)?;
        let what = if is_mixed(last, &table) {
            What::Contents(Box::new([planner.content(request.from)?, planner.content(to)?]))
        } else {
            What::Changes(Box::new(planner.changes(request.from, &snapshots)?))
        };
        if what.doubled() {
            let reason = format!(
                "a file of {} in {} has two delete files at once, which a transaction wrote that deleted rows and flushed the table: the lake \
                 shows its rows once with each; ducklake_rewrite_data_files settles it",
                table.name,
                session.lake()
            );
            return Ok(Plan::Answer(Outcome::Expired { reason }));
        }
        if let What::Changes(changes) = &what
            && let Some(reason) = traceless(session, changes, &table, &snapshots)?
        {
            return Ok(Plan::Answer(Outcome::Expired { reason }));
        }
        tables.push((table, what));
    }
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    for (_, what) in &tables {
        if let What::Changes(changes) = what {
            changes.count(request.from, to, &mut counts);
        }
    }
    let (mut sum, end) = (0, to);
    for (changed, (snapshot, rows)) in counts.into_iter().enumerate() {
        sum += rows;
        if sum >= request.rows_max || changed as u64 + 1 >= CHANGED_SNAPSHOTS_MAX {
            to = snapshot;
            break;
        }
    }
    // Where it is not known what a table held at the end, nobody can stop there.
    let mut reason = erased_of(session, &vectored, &data_path, to)?;
    if reason.is_some() && to < end {
        to = end;
        reason = erased_of(session, &vectored, &data_path, to)?;
    }
    if let Some(reason) = reason {
        return Ok(Plan::Answer(Outcome::Expired { reason }));
    }
    let times = snapshots.iter().map(|snapshot| (snapshot.id, snapshot.time)).collect();
    Ok(Plan::Read(Interval { after: request.from, to, times, tables }))
}

/// Why it is not known what one of these tables held at a snapshot, in words.
fn erased_of(
    session: &Session<'_, '_>,
    tables: &[TableSchema],
    data_path: &str,
    snapshot: u64,
) -> Result<Option<String>, LakeError> {
    for table in tables {
        if let Some(reason) = erased(session, table, data_path, snapshot)? {
            return Ok(Some(reason));
        }
    }
    Ok(None)
}

/// How a poll ends where rows may have other virtual columns now than when they were read: nothing before the upkeep can be told
/// as a change, and the files that had them so are gone. Snapshots after the end of the poll count too.
fn moved_since(session: &Session<'_, '_>, request: &Request, end: u64) -> Result<Option<Outcome>, LakeError> {
    let snapshots = session.snapshots(request.from, i64::MAX.unsigned_abs())?;
    let later = snapshots.iter().position(|snapshot| snapshot.id > request.from).unwrap_or(snapshots.len());
    if let Some((at, reason)) = virtual_columns::moved(&snapshots[later..], &request.tables) {
        let at = at.min(end);
        return Ok(Some(match snapshots.iter().any(|snapshot| snapshot.id == at) {
            true => Outcome::SchemaChanged { at, reason },
            false => Outcome::Expired { reason: format!("snapshot {at} of {} has expired", session.lake()) },
        }));
    }
    let gap = snapshots.iter().zip(request.from..).find(|(snapshot, id)| snapshot.id != *id);
    let reason = |id| format!("snapshot {id} of {} has expired, and may have given rows other row ids", session.lake());
    Ok(gap.map(|(_, id)| Outcome::Expired { reason: reason(id) }))
}

/// Snapshots that are read in the same way: up to one that changes rows of a wanted table and writes others anew, or
/// that one alone.
fn first_alike(
    mut snapshots: Vec<SnapshotRow>,
    tables: &[TableSchema],
    is_mixed: &dyn Fn(&SnapshotRow, &TableSchema) -> bool,
) -> Vec<SnapshotRow> {
    let mixed = snapshots.iter().position(|snapshot| tables.iter().any(|table| is_mixed(snapshot, table)));
    if let Some(at) = mixed {
        snapshots.truncate(at.max(1));
    }
    snapshots
}

fn is_mixed(snapshot: &SnapshotRow, table: &TableSchema) -> bool {
    snapshot.tokens.rewrites(table.incarnation) && snapshot.tokens.touch(table.incarnation) == Touch::Compare
}

/// The snapshots that wrote files of a table anew, and the tables.
fn rewritten(snapshots: &[SnapshotRow], tables: &[TableSchema]) -> Vec<(u64, u64)> {
    let ids = tables.iter().map(|table| table.incarnation);
    let of = |id: u64| snapshots.iter().filter(move |snapshot| snapshot.tokens.rewrites(id)).map(move |s| (s.id, id));
    ids.flat_map(of).collect()
}

/// Why the deletes that one of these snapshots says it made are not among the changes, in words.
fn traceless(
    session: &Session<'_, '_>,
    changes: &Changes,
    table: &TableSchema,
    snapshots: &[SnapshotRow],
) -> Result<Option<String>, LakeError> {
    let mut says =
        snapshots.iter().filter(|snapshot| snapshot.tokens.says_inlined_deletes(table.incarnation)).peekable();
    if says.peek().is_none() {
        return Ok(None);
    }
    let seen = changes.deleted_inlined();
    let unseen: Vec<u64> = says.map(|snapshot| snapshot.id).filter(|snapshot| !seen.contains(snapshot)).collect();
    untraced(session, table, &unseen)
}

/// A poll whose rows are on their way.
struct Sending<'a> {
    request: &'a Request,
    outlet: &'a Outlet<Outcome>,
    interval: &'a Interval,
    rows: u64,
    bytes: usize,
    /// The last snapshot that rows were sent of.
    last: Option<u64>,
    settled: bool,
}

impl Sending<'_> {
    fn run(&mut self, rows: &Rows) -> Result<Flow, LakeError> {
        let interval = self.interval;
        for (table, what) in &interval.tables {
            let each: &mut Each<'_> =
                &mut |batch: RecordBatch, weight: i64, snapshot: u64| Ok(self.send(table, batch, weight, snapshot));
            let flow = match what {
                What::Changes(changes) => rows.changes(changes, interval.after, interval.to, each)?,
                What::Contents(contents) => {
                    let [before, after] = contents.as_ref();
                    match rows.content(after, interval.to, 1, each)? {
                        Flow::Continue => rows.content(before, interval.to, -1, each)?,
                        Flow::Stop => Flow::Stop,
                    }
                }
            };
            if flow == Flow::Stop {
                return Ok(Flow::Stop);
            }
        }
        Ok(Flow::Continue)
    }

    fn send(&mut self, table: &TableSchema, batch: RecordBatch, weight: i64, snapshot: u64) -> Flow {
        if batch.num_rows() == 0 {
            return Flow::Continue;
        }
        self.last = self.last.max(Some(snapshot));
        self.rows += batch.num_rows() as u64;
        self.bytes += batch.get_array_memory_size();
        let flow = self.outlet.rows(&table.name, batch, weight);
        let is_full = self.rows >= self.request.rows_max || self.bytes >= BUFFER_BYTES_MAX;
        if flow == Flow::Continue && !self.settled && is_full {
            self.settled = true;
            return self.outlet.settled(self.outcome());
        }
        flow
    }

    /// Where the poll ends. Rows that are still to come can only be of earlier commits, or of one that was
    /// counted when the poll was settled.
    fn outcome(&self) -> Outcome {
        let Interval { to, times, .. } = self.interval;
        if self.rows == 0 {
            return Outcome::Advanced(*to);
        }
        let last = if self.settled { times.range(..=to).next_back().map(|(id, _)| *id) } else { self.last };
        let commit_time = last.and_then(|last| times.get(&last).copied());
        Outcome::Changes(Reached { to: position_of(*to), commit_time })
    }
}
