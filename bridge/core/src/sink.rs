//! What a sink connector implements.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::{ConnectorError, DeltaBatch, Epoch, EpochHash, EpochHeader, RowIdentity, ViewName, ZSet};

/// A view as a sink sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewInfo {
    /// The name of the target table.
    pub name: ViewName,
    /// The columns, each with its DuckDB type in the metadata.
    pub schema: SchemaRef,
    /// How rows are addressed.
    pub identity: RowIdentity,
    /// Whether the target keeps what the view was, besides what it is.
    pub history: Option<History>,
}

impl ViewInfo {
    /// A view of which the present rows are kept.
    pub fn new(name: ViewName, schema: SchemaRef, identity: RowIdentity) -> ViewInfo {
        ViewInfo { name, schema, identity, history: None }
    }
}

/// What is kept of the past of a view with `temporal = true`, in the table `<view>_history`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct History {
    /// For how long a version is kept after its end; `None`: for ever.
    pub retention: Option<Duration>,
}

impl History {
    /// The columns that a history has besides the view's, in this order after them: when a version began and ended, and the
    /// epochs of both. Intervals are half-open, and what is still there has no end.
    pub const COLUMNS: [&str; 4] = ["valid_from", "valid_to", "_valid_from_epoch", "_valid_to_epoch"];
}

/// The last epoch that a target holds of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Its number.
    pub epoch: Epoch,
    /// Its hash; if ours is another, the target was written by another history.
    pub hash: EpochHash,
}

/// A delta batch with the epoch it belongs to.
#[derive(Debug, Clone)]
pub struct EpochBatch {
    /// The epoch of these changes; within a stream it never decreases.
    pub header: EpochHeader,
    /// The changes.
    pub batch: DeltaBatch,
}

/// A stream of batches; an error ends it and makes the commit void.
pub type BatchStream = BoxStream<'static, Result<EpochBatch, ConnectorError>>;

/// What is committed of one view.
pub struct ViewCommit {
    /// The view.
    pub view: ViewInfo,
    /// What follows.
    pub content: ViewContent,
}

/// The changes of a view in a range of epochs, or its whole content.
pub enum ViewContent {
    /// Changes to what the target holds. May be empty.
    Changes(BatchStream),
    /// All rows of the view at the end of the range, as inserts of the range's last epoch. What
    /// the target holds of this view, its columns included, is dropped.
    Replace(BatchStream),
}

/// A half-open range of epochs `(after, header.epoch]` of some views, to be committed in one
/// transaction where the target can do that.
pub struct Commit {
    /// The epoch that the target holds already ([`Epoch::ZERO`]: nothing).
    pub after: Epoch,
    /// The last epoch of the range.
    pub header: EpochHeader,
    /// Every view of the range that the sink takes, changed or not.
    pub views: Vec<ViewCommit>,
}

/// How a commit ended. A conflict is a value, not an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitOutcome {
    /// The target holds the range.
    Committed {
        /// Rows written and removed.
        rows: u64,
    },
    /// The target holds another epoch of a view than `after`; nothing was written. The caller
    /// opens the sink again.
    Conflict {
        /// The view.
        view: ViewName,
        /// What was found.
        found: Option<Committed>,
    },
}

/// What became of that which a target held of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// All of it is gone.
    Removed,
    /// The target holds nothing of the view.
    Nothing,
    /// It stays, because such a target takes nothing back; the reason, for people.
    Kept(String),
}

/// A target of view deltas.
///
/// The caller is one task; calls do not overlap. [`open`](Sink::open) comes first, then any number
/// of [`commit`](Sink::commit)s with increasing ranges. A commit is atomic at least per view, and
/// a repeated commit of a range that the target holds is never asked for: the caller compares
/// [`Committed`] first. A commit that failed or was cancelled has either happened as a whole or
/// left nothing that a reader sees; the caller opens the sink again to learn which. Errors of kind
/// `Retry` are tried again, and meanwhile the pipeline goes on and keeps the deltas.
#[async_trait]
pub trait Sink: Send {
    /// The name under `[sinks.…]`.
    fn name(&self) -> &str;

    /// How often to commit when the pipeline file does not say.
    fn default_commit_interval(&self) -> Duration;

    /// Connects and says per view what the target holds. Prepares nothing that a reader could
    /// see. Views the target has and the caller does not name are left alone.
    async fn open(&mut self, views: &[ViewInfo]) -> Result<BTreeMap<ViewName, Option<Committed>>, ConnectorError>;

    /// Commits a range.
    async fn commit(&mut self, commit: Commit) -> Result<CommitOutcome, ConnectorError>;

    /// Keeps the target in good order: small files into larger ones, what no reader needs any more out
    /// of the way. Called from time to time after a commit, and never during one; what it does changes no
    /// row that a reader sees, and what a view stands at neither. An error is reported and the next
    /// commit goes on; it may be cancelled at any moment. Sinks decide by their own policy
    /// whether there is anything to do.
    async fn maintain(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }

    /// Every row the target holds of a view, with the number of its copies as weight; in the
    /// view's columns. Empty when there is no such table. For `resync`.
    async fn read(
        &mut self,
        view: &ViewInfo,
    ) -> Result<BoxStream<'static, Result<ZSet, ConnectorError>>, ConnectorError>;

    /// Takes away all that this sink made of a view that is written no more: its rows, its history, and what the target says of
    /// it. Needs no [`open`](Sink::open) before, and must not be called for a view that somebody commits.
    ///
    /// Only what the target's own bookkeeping names as the view's is touched. Something of that name which this sink did not
    /// make is an error of kind `Reconfigure`, and nothing is changed. A call that failed or was cancelled has
    /// happened as a whole, or not at all, or another call finishes it; one after that answers [`Removal::Nothing`].
    /// Afterwards the target holds nothing of the view, which may come again.
    async fn remove(&mut self, view: &ViewName) -> Result<Removal, ConnectorError>;
}
