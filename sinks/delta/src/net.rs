//! The net change of a range of epochs: what a table at its beginning must lose and gain to be the view at its end.
//!
//! A version of a table is one commit, and a commit is one range. So its change data is net as well: of a key its
//! first preimage and its last postimage, of a row without a key the copies that came or went in all.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use futures::StreamExt;
use tidegate_core::{BatchStream, ChangeType, DeltaBatch, Epoch, EpochBatch, EpochHeader};

use crate::columns::Equality;
use crate::error::DeltaSinkError;
use crate::history::events::{Event, Events};
use crate::shape::{Addresser, Shape};

/// A row among the stored rows of a [`Net`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowAt {
    pub(crate) batch: usize,
    pub(crate) row: usize,
}

/// Rows under one address that the table must lose.
#[derive(Debug)]
pub(crate) struct Removal {
    /// One of them.
    pub(crate) before: RowAt,
    pub(crate) copies: u64,
    /// Under a key: the row that takes the place.
    pub(crate) after: Option<RowAt>,
    /// How many copies of which bytes, where equal rows need not be the same.
    pub(crate) wanted: HashMap<Box<[u8]>, u64>,
}

/// A row that comes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Insert {
    pub(crate) row: RowAt,
    pub(crate) copies: u64,
}

/// A row of the change data.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    pub(crate) row: RowAt,
    pub(crate) change: ChangeType,
    pub(crate) copies: u64,
}

/// The net change of a range.
#[derive(Debug, Default)]
pub(crate) struct Net {
    /// The rows in question, as they are stored.
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) removals: HashMap<Box<[u8]>, Removal>,
    pub(crate) inserts: Vec<Insert>,
    pub(crate) changes: Vec<Change>,
    /// Rows that the range changed, counting copies, as it was told.
    pub(crate) rows: u64,
}

impl Net {
    /// Rows that the table has more afterwards.
    pub(crate) fn growth(&self) -> i64 {
        let signed = |change: &Change| change.change.sign() * change.copies as i64;
        self.changes.iter().map(signed).sum()
    }

    /// Whether two rows are the same in every column.
    fn is_same(&self, one: RowAt, other: RowAt) -> bool {
        let (left, right) = (&self.batches[one.batch], &self.batches[other.batch]);
        let mut columns = left.columns().iter().zip(right.columns());
        columns.all(|(left, right)| left.slice(one.row, 1) == right.slice(other.row, 1))
    }

    /// Rows of each kind of change: inserted, updated, deleted.
    pub(crate) fn counts(&self) -> [u64; 3] {
        [ChangeType::Insert, ChangeType::UpdatePostimage, ChangeType::Delete]
            .map(|kind| self.changes.iter().filter(|change| change.change == kind).map(|change| change.copies).sum())
    }
}

/// Reads a stream of changes in `(after, last.epoch]` to its end. Where a history is kept, `events` takes up what
/// happened epoch by epoch.
pub(crate) async fn net(
    shape: &Shape,
    mut stream: BatchStream,
    after: Epoch,
    last: &EpochHeader,
    mut events: Option<&mut Events>,
) -> Result<Net, DeltaSinkError> {
    let addresser = shape.addresser(Equality::Grouped)?;
    let same = shape.addresser(Equality::Same)?;
    let mut keys = Keys::default();
    let mut rows = WholeRows::default();
    let mut net = Net::default();
    let mut reached = after;
    while let Some(item) = stream.next().await {
        let EpochBatch { header, batch } = item.map_err(DeltaSinkError::Input)?;
        check(shape, &batch, header.epoch, reached, after, last)?;
        reached = header.epoch;
        if batch.is_empty() {
            continue;
        }
        net.rows += batch.changed_rows();
        let stored = shape.store(&batch.rows)?;
        let contract = |fact: String| DeltaSinkError::contract(&shape.view.name, fact);
        let addresses = addresser.of_rows(&stored).map_err(contract)?;
        let number = net.batches.len();
        let bytes = bytes_of(shape, &same, &stored).map_err(contract)?;
        for row in 0..batch.len() {
            let (address, at, weight) = (addresses.get(row), RowAt { batch: number, row }, batch.weights.value(row));
            let bytes = bytes.as_ref().map_or(&[][..], |bytes| bytes.get(row));
            if shape.is_keyed() {
                keys.take(address, at, weight, header.epoch);
            } else {
                rows.take(address, bytes, at, weight);
            }
            if let Some(events) = &mut events {
                let moment = (header.epoch, header.time);
                events.take(address, Event { moment, row: at, weight, bytes: bytes.into() });
            }
        }
        net.batches.push(stored);
    }
    if shape.is_keyed() {
        keys.finish(&mut net);
    } else {
        rows.finish(&mut net, shape.has_equal_rows());
    }
    Ok(net)
}

/// Bytes that tell apart rows which are equal, where there are such.
fn bytes_of(shape: &Shape, same: &Addresser, rows: &RecordBatch) -> Result<Option<crate::shape::Addresses>, String> {
    if shape.has_equal_rows() { same.of_rows(rows).map(Some) } else { Ok(None) }
}

fn check(
    shape: &Shape,
    batch: &DeltaBatch,
    epoch: Epoch,
    reached: Epoch,
    after: Epoch,
    last: &EpochHeader,
) -> Result<(), DeltaSinkError> {
    let contract = |fact: String| Err(DeltaSinkError::contract(&shape.view.name, fact));
    if epoch <= after || epoch < reached || epoch > last.epoch {
        return contract(format!("epoch {epoch} is out of order in ({after}, {}]", last.epoch));
    }
    let entries = batch.len();
    if batch.weights.len() != entries || batch.change.len() != entries {
        return contract("weights and labels are not one an entry".to_owned());
    }
    let disagreement = batch.weights.values().iter().zip(&batch.change).find(|(w, c)| w.signum() != c.sign());
    match disagreement {
        Some((weight, change)) => contract(format!("an entry is labelled {} and has weight {weight}", change.as_str())),
        None => Ok(()),
    }
}

/// What happened to each key.
#[derive(Default)]
struct Keys {
    order: Vec<Box<[u8]>>,
    keys: HashMap<Box<[u8]>, Key>,
}

struct Key {
    first: Epoch,
    before: Option<RowAt>,
    last: Epoch,
    after: Option<RowAt>,
}

impl Keys {
    fn take(&mut self, address: &[u8], at: RowAt, weight: i64, epoch: Epoch) {
        if !self.keys.contains_key(address) {
            self.order.push(address.into());
            let key = Key { first: epoch, before: None, last: epoch, after: None };
            self.keys.insert(address.into(), key);
        }
        let key = self.keys.get_mut(address).expect("the key is there or was put there above");
        if epoch > key.last {
            (key.last, key.after) = (epoch, None);
        }
        if weight > 0 {
            key.after = Some(at);
        } else if epoch == key.first {
            key.before = Some(at);
        }
    }

    fn finish(mut self, net: &mut Net) {
        for address in self.order {
            let Some(key) = self.keys.remove(&address) else { continue };
            if let (Some(before), Some(after)) = (key.before, key.after)
                && key.first != key.last
                && net.is_same(before, after)
            {
                continue;
            }
            let mut change = |row, change| net.changes.push(Change { row, change, copies: 1 });
            match (key.before, key.after) {
                (Some(before), Some(after)) => {
                    change(before, ChangeType::UpdatePreimage);
                    change(after, ChangeType::UpdatePostimage);
                    let removal = Removal { before, copies: 1, after: Some(after), wanted: HashMap::new() };
                    net.removals.insert(address, removal);
                }
                (Some(before), None) => {
                    change(before, ChangeType::Delete);
                    let removal = Removal { before, copies: 1, after: None, wanted: HashMap::new() };
                    net.removals.insert(address, removal);
                }
                (None, Some(after)) => {
                    change(after, ChangeType::Insert);
                    net.inserts.push(Insert { row: after, copies: 1 });
                }
                (None, None) => {}
            }
        }
    }
}

/// How many copies of each row came or went. The outer key groups rows that are equal, the inner one tells them
/// apart.
#[derive(Default)]
struct WholeRows {
    order: Vec<Box<[u8]>>,
    groups: HashMap<Box<[u8]>, Vec<Copies>>,
}

/// Copies of a row that came (positive) or went.
struct Copies {
    bytes: Box<[u8]>,
    row: RowAt,
    count: i64,
}

impl WholeRows {
    fn take(&mut self, address: &[u8], bytes: &[u8], at: RowAt, weight: i64) {
        if !self.groups.contains_key(address) {
            self.order.push(address.into());
            self.groups.insert(address.into(), Vec::new());
        }
        let group = self.groups.get_mut(address).expect("the group is there or was put there above");
        match group.iter_mut().find(|known| *known.bytes == *bytes) {
            Some(known) => known.count += weight,
            None => group.push(Copies { bytes: bytes.into(), row: at, count: weight }),
        }
    }

    fn finish(mut self, net: &mut Net, has_equal_rows: bool) {
        for address in self.order {
            let Some(group) = self.groups.remove(&address) else { continue };
            let mut removal: Option<Removal> = None;
            for Copies { bytes, row, count: copies } in group {
                let count = copies.unsigned_abs();
                match copies.signum() {
                    1 => {
                        net.changes.push(Change { row, change: ChangeType::Insert, copies: count });
                        net.inserts.push(Insert { row, copies: count });
                    }
                    -1 => {
                        net.changes.push(Change { row, change: ChangeType::Delete, copies: count });
                        let removal = removal.get_or_insert(Removal {
                            before: row,
                            copies: 0,
                            after: None,
                            wanted: HashMap::new(),
                        });
                        removal.copies += count;
                        if has_equal_rows {
                            removal.wanted.insert(bytes, count);
                        }
                    }
                    _ => {}
                }
            }
            if let Some(removal) = removal {
                net.removals.insert(address, removal);
            }
        }
    }
}
