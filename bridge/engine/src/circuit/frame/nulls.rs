//! IGNORE NULLS: the rows of a partition in which the argument has a value.

use tidegate_engine_row::{ColumnReader, RowError};

use super::Partition;

/// Rows with a value, ascending.
pub(super) struct Valid(Vec<usize>);

impl Valid {
    pub(super) fn new(argument: &ColumnReader, rows: &Partition) -> Result<Self, RowError> {
        let mut valid = Vec::new();
        for row in 0..rows.len() {
            if !argument.is_null(&[rows.columns(row)])? {
                valid.push(row);
            }
        }
        Ok(Valid(valid))
    }

    /// The row with a value that is so many such rows before another row; after it, when negative. No rows before it
    /// is the row itself, with a value or not.
    pub(super) fn before(&self, row: usize, offset: i64) -> Option<usize> {
        let far = usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX);
        match offset {
            0 => Some(row),
            1.. => {
                let earlier = self.0.partition_point(|valid| *valid < row);
                earlier.checked_sub(far).and_then(|place| self.0.get(place)).copied()
            }
            _ => {
                let later = self.0.partition_point(|valid| *valid <= row);
                later.checked_add(far - 1).and_then(|place| self.0.get(place)).copied()
            }
        }
    }

    /// The last one before the end of a frame.
    pub(super) fn last(&self, end: usize) -> Option<usize> {
        let place = self.0.partition_point(|valid| *valid < end).checked_sub(1)?;
        self.0.get(place).copied()
    }

    /// The one behind so many others from the start of a frame.
    pub(super) fn nth(&self, start: usize, others: usize) -> Option<usize> {
        let first = self.0.partition_point(|valid| *valid < start);
        first.checked_add(others).and_then(|place| self.0.get(place)).copied()
    }
}
