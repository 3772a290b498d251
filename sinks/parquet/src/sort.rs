//! Rows of changes in order: by the view's order first, those of one row by their epoch, and what goes
//! before what comes. A batch of changes has the view's columns and the three that the sink adds.

use std::cmp::Ordering;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt64Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Int64Type, SchemaRef};
use arrow::row::{OwnedRow, Rows};
use tidegate_core::ChangeType;

use crate::columns::{CHANGE_TYPE, COMMIT_VERSION, ColumnError};
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

    fn cmp(&self, a: usize, b: usize) -> Ordering {
        let versions = (self.versions.value(a), self.versions.value(b));
        let rest = || (versions.0, self.weights[a]).cmp(&(versions.1, self.weights[b]));
        self.rows.row(a).cmp(&self.rows.row(b)).then_with(rest)
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

/// Batches as one in order, with the keys of the first and the last row; `None` without rows.
pub(crate) fn sorted(
    order: &RowOrder,
    schema: &SchemaRef,
    batches: &[RecordBatch],
) -> Result<Option<(RecordBatch, Key, Key)>, ColumnError> {
    let too_many = |_| ColumnError("a batch of it is too large");
    let all = match batches {
        [one] => one.clone(),
        batches => concat_batches(schema, batches).map_err(too_many)?,
    };
    if all.num_rows() == 0 {
        return Ok(None);
    }
    let keys = Keys::new(order, &all)?;
    let mut indices: Vec<usize> = (0..all.num_rows()).collect();
    indices.sort_by(|a, b| keys.cmp(*a, *b));
    let (first, last) = (keys.get(indices[0]), keys.get(indices[indices.len() - 1]));
    let sorted = if indices.is_sorted() {
        all
    } else {
        let indices: UInt64Array = indices.into_iter().map(|index| index as u64).collect::<Vec<_>>().into();
        take_record_batch(&all, &indices).map_err(too_many)?
    };
    Ok(Some((sorted, first, last)))
}
