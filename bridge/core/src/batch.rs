//! Z-sets: rows with integer weights.

use arrow::array::{Array, Int64Array, RecordBatch};
use arrow::datatypes::SchemaRef;

/// A Z-set as an Arrow batch and one weight a row: +1 inserts a row, −1 deletes it, and the same
/// row may stand in it several times. Two Z-sets are equal when the weights of equal rows add up
/// to the same.
#[derive(Debug, Clone)]
pub struct ZSet {
    rows: RecordBatch,
    weights: Int64Array,
}

impl ZSet {
    /// `weights` has one entry for each of the rows and none of them is NULL.
    ///
    /// # Panics
    /// When the lengths differ or a weight is NULL: that is a bug in the caller.
    pub fn new(rows: RecordBatch, weights: Int64Array) -> Self {
        assert_eq!(rows.num_rows(), weights.len(), "a Z-set has one weight a row");
        assert_eq!(weights.null_count(), 0, "a weight is never NULL");
        ZSet { rows, weights }
    }

    /// Every row with the same weight.
    pub fn uniform(rows: RecordBatch, weight: i64) -> Self {
        let weights = Int64Array::from(vec![weight; rows.num_rows()]);
        ZSet { rows, weights }
    }

    /// The rows, one for each weight.
    pub fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// The weights, none of them NULL.
    pub fn weights(&self) -> &Int64Array {
        &self.weights
    }

    /// The columns.
    pub fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    /// Number of entries, which is not the sum of their weights.
    pub fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows and weights.
    pub fn into_parts(self) -> (RecordBatch, Int64Array) {
        (self.rows, self.weights)
    }
}
