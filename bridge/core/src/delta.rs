//! View deltas: what an epoch changed in a view.

use arrow::array::{Int64Array, RecordBatch};

use crate::ViewName;

/// How a changed row is labelled, as in Delta's change data feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ChangeType {
    /// A row that was not there.
    Insert = 0,
    /// A row that is gone.
    Delete = 1,
    /// The old state of a row whose other columns changed under the same key.
    UpdatePreimage = 2,
    /// The new state of that row.
    UpdatePostimage = 3,
}

impl ChangeType {
    /// The value of `_change_type`.
    pub fn as_str(self) -> &'static str {
        match self {
            ChangeType::Insert => "insert",
            ChangeType::Delete => "delete",
            ChangeType::UpdatePreimage => "update_preimage",
            ChangeType::UpdatePostimage => "update_postimage",
        }
    }

    /// The code of [`DeltaBatch::change`] back to the label.
    pub fn from_code(code: u8) -> Option<Self> {
        [ChangeType::Insert, ChangeType::Delete, ChangeType::UpdatePreimage, ChangeType::UpdatePostimage]
            .into_iter()
            .find(|change| *change as u8 == code)
    }

    /// +1 for rows that came, −1 for rows that went.
    pub fn sign(self) -> i64 {
        match self {
            ChangeType::Insert | ChangeType::UpdatePostimage => 1,
            ChangeType::Delete | ChangeType::UpdatePreimage => -1,
        }
    }
}

/// A part of a view's delta in one epoch. Consolidated over the whole epoch: each distinct row
/// stands in it once at most, with a weight that is not zero.
///
/// For views with a key, an update is two adjacent entries of one batch, preimage before
/// postimage.
#[derive(Debug, Clone)]
pub struct DeltaBatch {
    /// The view's columns; one entry a distinct changed row.
    pub rows: RecordBatch,
    /// Copies added (positive) or removed (negative), never zero. Always ±1 under a key.
    pub weights: Int64Array,
    /// One label an entry; its sign is the sign of the weight.
    pub change: Vec<ChangeType>,
    /// How many copies of the row the view held before the epoch. A target without a way to
    /// remove *some* of several equal rows deletes them all and inserts
    /// `copies_before + weight`.
    pub copies_before: Int64Array,
}

impl DeltaBatch {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of changed rows, counting copies.
    pub fn changed_rows(&self) -> u64 {
        self.weights.values().iter().map(|w| w.unsigned_abs()).sum()
    }
}

/// What one epoch changed in one view. A view without changes has none.
#[derive(Debug, Clone)]
pub struct ViewDelta {
    /// The view.
    pub view: ViewName,
    /// Whether the batches are changes or the whole content.
    pub kind: DeltaKind,
    /// The changes.
    pub batches: Vec<DeltaBatch>,
}

/// What the batches of a [`ViewDelta`] are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeltaKind {
    /// Changes to what the view held.
    Changes,
    /// The view is new, or its columns changed: what targets hold of it is dropped, and its whole
    /// content takes the place. Such a delta carries no batches; the content is read from the
    /// view state at the moment of the commit.
    Replace,
}
