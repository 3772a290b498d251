//! Source events: what a source says happened to one table. Complete in themselves: nothing in
//! them depends on state kept elsewhere, so the input log can hold and replay them.

use arrow::array::{BooleanArray, RecordBatch};

use crate::ZSet;

/// One event of one table. The events of a table are applied in order.
#[derive(Debug, Clone)]
pub enum TableEvent {
    /// Whole rows with weights: lakes, and tables without a key. Within one `Rows` event the order
    /// of rows means nothing; a retraction may stand before its insertion.
    Rows(ZSet),
    /// Upserts and deletes by key, in order.
    Keyed(KeyedChanges),
    /// The table was emptied (`TRUNCATE`).
    Truncate,
    /// The table's content is replaced. What it holds from here on follows as `Rows` or `Keyed`
    /// events of the same poll; downstream sees only the difference.
    Replace,
}

/// What happens to one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyedOp {
    /// The row with this key is now this one, whether or not there was one before.
    Upsert,
    /// An upsert of the row that the `Delete` right before it removed: it got this key. Columns marked
    /// as unchanged are as they were in that row.
    Rekeyed,
    /// There is no row with this key any more. Only the key columns of the row are meaningful.
    Delete,
}

/// Upserts and deletes by key. A change of a key is a delete of the old and a [`Rekeyed`](KeyedOp::Rekeyed) of the new.
#[derive(Debug, Clone)]
pub struct KeyedChanges {
    /// One operation a row.
    pub ops: Vec<KeyedOp>,
    /// The rows, with all columns of the table.
    pub rows: RecordBatch,
    /// Per column, where the source did not send the value because it did not change (PostgreSQL's
    /// unchanged TOAST): `true` means "as before". `None` where that happens in no row.
    pub unchanged: Vec<Option<BooleanArray>>,
}

impl TableEvent {
    /// Number of rows the event carries.
    pub fn rows(&self) -> usize {
        match self {
            TableEvent::Rows(zset) => zset.len(),
            TableEvent::Keyed(changes) => changes.rows.num_rows(),
            TableEvent::Truncate | TableEvent::Replace => 0,
        }
    }

    /// Bytes of the Arrow buffers, for budgets.
    pub fn bytes(&self) -> usize {
        match self {
            TableEvent::Rows(zset) => zset.rows().get_array_memory_size(),
            TableEvent::Keyed(changes) => changes.rows.get_array_memory_size(),
            TableEvent::Truncate | TableEvent::Replace => 0,
        }
    }
}
