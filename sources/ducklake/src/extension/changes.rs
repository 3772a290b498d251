//! What happened after a snapshot: *Protocol P*.
//!
//! One snapshot at a time, in order, none left out: the last one consumed must still be there, and
//! so must every one up to the end, because the feed silently leaves out what an expired snapshot
//! did. A snapshot whose tokens name only maintenance of a table changed no row of it. A snapshot
//! that changes the columns or the name of a wanted table is a barrier. Whether anything expired
//! while it was read is asked once more at the end.

use tidegate_core::{Micros, TableSchema};
use tidegate_duck::Flow;

use crate::catalog::{Catalog, SnapshotRow};
use crate::doubts::{early, raced};
use crate::error::LakeError;
use crate::extension::connection::{Lake, Session};
use crate::poll::{BUFFER_BYTES_MAX, CHANGED_SNAPSHOTS_MAX, Outcome, Request, Walk};
use crate::position::position_of;
use crate::stream::{Outlet, Reached};
use crate::tables::refuse_deletion_vectors;
use crate::tokens::Touch;

/// Reads what happened.
pub fn read(lake: &mut Lake, request: &Request, outlet: &Outlet<Outcome>) -> Result<Outcome, LakeError> {
    let Some(end) = lake.attached(|session| request.end(session))? else { return Ok(Outcome::Idle) };
    lake.attached_anew(|session| {
        if let Some(reason) = early(session, &request.tables, request.from)? {
            return Ok(Outcome::Expired { reason });
        }
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
            deletion_vectors_refused: false,
            commit_time: None,
            changed_snapshots: 0,
            rows: 0,
            bytes: 0,
            settled: false,
        }
    }

    fn run(&mut self, end: u64) -> Result<Outcome, LakeError> {
        let mut walk = Walk::new(self.session, self.request, end, self.request.from);
        let mut last = self.request.from;
        loop {
            let span = walk.after(last)?;
            for snapshot in &span.snapshots {
                let flow = self.changes_of(snapshot)?;
                last = snapshot.id;
                if flow == Flow::Stop || last == end || self.is_full() {
                    return Ok(self.outcome(last));
                }
            }
            match span.barrier {
                Some(barrier @ Outcome::SchemaChanged { .. }) if last == self.request.from => return Ok(barrier),
                Some(Outcome::SchemaChanged { .. }) => return Ok(self.outcome(last)),
                Some(expired) => return Ok(expired),
                None => {}
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

    /// Sends what the snapshot changed.
    fn changes_of(&mut self, snapshot: &SnapshotRow) -> Result<Flow, LakeError> {
        let rows_before = self.rows;
        let tables = &self.request.tables;
        for table in tables {
            let touch = match snapshot.tokens.touch(table.incarnation) {
                Touch::None if snapshot.tokens.rewrites(table.incarnation) => {
                    if raced(self.session, table.incarnation, snapshot.id)? { Touch::Compare } else { Touch::None }
                }
                Touch::None if snapshot.tokens.flush(table.incarnation) => {
                    let deletes = self.session.deletes_files_at(table.incarnation, snapshot.id)?;
                    if deletes { Touch::Compare } else { Touch::None }
                }
                touch => touch,
            };
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
            refuse_deletion_vectors(self.session, &self.request.tables)?;
            self.deletion_vectors_refused = true;
        }
        Ok(())
    }
}
