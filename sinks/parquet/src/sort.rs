//! Rows of changes in order: by the view's order first, those of one row by their epoch, and what goes
//! before what comes. A batch of changes has the view's columns and the three that the sink adds.

use std::cmp::Ordering;
use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, Scalar};
use arrow::compute::interleave;
use arrow::compute::kernels::cmp::not_distinct;
use arrow::datatypes::Int64Type;
use arrow::row::{OwnedRow, Rows};
use tidegate_core::ChangeType;

use crate::columns::{ADDED, CHANGE_TYPE, COMMIT_VERSION, ColumnError};
use crate::order::RowOrder;

/// What the changes of a batch are ordered by.
pub(crate) struct Keys {
    pub(crate) rows: Rows,
    versions: Int64Array,
    weights: Vec<i64>,
}

/// The key of one change, on its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) row: OwnedRow,
    version: i64,
    weight: i64,
}

impl Keys {
    pub(crate) fn new(order: &RowOrder, changes: &RecordBatch) -> Result<Keys, ColumnError> {
        let column = |name| changes.column_by_name(name).ok_or(ColumnError("a column of the sink's is missing"));
        let versions = column(COMMIT_VERSION)?.as_primitive_opt::<Int64Type>();
        let versions = versions.ok_or(ColumnError("its commit versions are no numbers"))?.clone();
        let weights = weights(column(CHANGE_TYPE)?)?;
        Ok(Keys { rows: order.keys(changes.columns())?, versions, weights })
    }

    pub(crate) fn get(&self, row: usize) -> Key {
        Key { row: self.rows.row(row).owned(), version: self.versions.value(row), weight: self.weights[row] }
    }

    /// +1 for a row that came, −1 for one that went.
    pub(crate) fn weight(&self, row: usize) -> i64 {
        self.weights[row]
    }

    fn cmp(&self, row: usize, other: &Keys, other_row: usize) -> Ordering {
        let rest = |keys: &Keys, row: usize| (keys.versions.value(row), keys.weights[row]);
        let rows = self.rows.row(row).cmp(&other.rows.row(other_row));
        rows.then_with(|| rest(self, row).cmp(&rest(other, other_row)))
    }
}

/// +1 and −1 for the labels of changes.
pub(crate) fn weights(labels: &ArrayRef) -> Result<Vec<i64>, ColumnError> {
    let labels = labels.as_string_opt::<i32>().ok_or(ColumnError("its change types are no text"))?;
    let all = [ChangeType::Insert, ChangeType::Delete, ChangeType::UpdatePreimage, ChangeType::UpdatePostimage];
    let weight = |label: Option<&str>| all.iter().find(|c| Some(c.as_str()) == label).map(|change| change.sign());
    let weights: Option<Vec<i64>> = labels.iter().map(weight).collect();
    weights.ok_or(ColumnError("it has an unknown change type"))
}

/// Batches in order.
pub(crate) struct Sorted {
    pub(crate) batches: Vec<RecordBatch>,
    /// Those of the first and of the last row.
    pub(crate) first: Key,
    pub(crate) last: Key,
}

/// Rows that are gathered at a time.
const GATHERED_ROWS: usize = 32_768;
/// Bytes of a key that are compared at once.
const PREFIX: usize = size_of::<u128>();

/// Brings the rows of batches in order; `None` without rows. Rows that are in order stay where they are.
pub(crate) fn sorted(order: &RowOrder, batches: Vec<RecordBatch>) -> Result<Option<Sorted>, ColumnError> {
    let batches: Vec<_> = batches.into_iter().filter(|batch| batch.num_rows() > 0).collect();
    let keys = batches.iter().map(|batch| Keys::new(order, batch)).collect::<Result<Vec<_>, _>>()?;
    let (Some(first), Some(last)) = (keys.first(), keys.last()) else { return Ok(None) };
    if is_sorted(&keys) {
        let (first, last) = (first.get(0), last.get(last.weights.len() - 1));
        return Ok(Some(Sorted { batches, first, last }));
    }
    let places = in_order(&keys)?;
    let key = |place: &(u32, u32)| keys[place.0 as usize].get(place.1 as usize);
    let (first, last) = (key(&places[0]), key(&places[places.len() - 1]));
    let schema = batches[0].schema();
    let added = schema.fields().len() - ADDED..schema.fields().len();
    let ones: HashMap<usize, ArrayRef> =
        added.filter_map(|index| Some((index, of_one_value(&batches, index)?))).collect();
    let mut gathered = Vec::with_capacity(places.len().div_ceil(GATHERED_ROWS));
    for places in places.chunks(GATHERED_ROWS) {
        let places: Vec<_> = places.iter().map(|(batch, row)| (*batch as usize, *row as usize)).collect();
        let column = |index: usize| {
            if let Some(one) = ones.get(&index).filter(|one| one.len() >= places.len()) {
                return Ok(one.slice(0, places.len()));
            }
            let arrays: Vec<&dyn Array> = batches.iter().map(|batch| batch.column(index).as_ref()).collect();
            interleave(&arrays, &places)
        };
        let columns = (0..schema.fields().len()).map(column).collect::<Result<Vec<_>, _>>();
        let rows = columns.and_then(|columns| RecordBatch::try_new(schema.clone(), columns));
        gathered.push(rows.map_err(|_| ColumnError("a batch of it is too large"))?);
    }
    Ok(Some(Sorted { batches: gathered, first, last }))
}

/// The longest array of a column that has one value in all rows, as the sink's own have in a load; `None` of others.
fn of_one_value(batches: &[RecordBatch], index: usize) -> Option<ArrayRef> {
    let longest = batches.iter().max_by_key(|batch| batch.num_rows())?.column(index);
    let one = Scalar::new(longest.slice(0, 1));
    let same = |batch: &RecordBatch| not_distinct(batch.column(index), &one).is_ok_and(|same| !same.has_false());
    batches.iter().all(same).then(|| longest.clone())
}

fn is_sorted(keys: &[Keys]) -> bool {
    let inside = |keys: &Keys| (1..keys.weights.len()).all(|row| keys.cmp(row - 1, keys, row).is_le());
    let follows = |pair: &[Keys]| pair[0].cmp(pair[0].weights.len() - 1, &pair[1], 0).is_le();
    keys.windows(2).all(follows) && keys.iter().all(inside)
}

/// Where the rows stand that come one after the other: batch and row.
fn in_order(keys: &[Keys]) -> Result<Vec<(u32, u32)>, ColumnError> {
    let mut entries = Vec::with_capacity(keys.iter().map(|keys| keys.weights.len()).sum());
    for (batch, keys) in keys.iter().enumerate() {
        let batch = u32::try_from(batch).map_err(|_| ColumnError("a run of it has too many batches"))?;
        for (row, key) in keys.rows.iter().enumerate() {
            let row = u32::try_from(row).map_err(|_| ColumnError("a batch of it is too large"))?;
            entries.push((prefix(key.as_ref()), batch, row));
        }
    }
    // Nearly all rows are told apart by the beginning of their key; equal ones stay as they came.
    entries.sort_unstable_by(|(a, batch_a, row_a), (b, batch_b, row_b)| {
        let keys = |batch: &u32| &keys[*batch as usize];
        let rest = || keys(batch_a).cmp(*row_a as usize, keys(batch_b), *row_b as usize);
        a.cmp(b).then_with(rest).then_with(|| (batch_a, row_a).cmp(&(batch_b, row_b)))
    });
    Ok(entries.into_iter().map(|(_, batch, row)| (batch, row)).collect())
}

/// The beginning of a key as a number, which compares as the key's bytes do.
fn prefix(key: &[u8]) -> u128 {
    let mut bytes = [0; PREFIX];
    let known = key.len().min(PREFIX);
    bytes[..known].copy_from_slice(&key[..known]);
    u128::from_be_bytes(bytes)
}
