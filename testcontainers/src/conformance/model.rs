//! A view as the engine would hold it: makes the deltas that sinks are fed with in tests.

use std::collections::BTreeMap;

use arrow::array::{Int64Array, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use futures::{StreamExt, stream};
use tidegate_core::{
    BatchStream, ChangeType, ConnectorError, DeltaBatch, Epoch, EpochBatch, EpochHash, EpochHeader, Frontier, History,
    Micros, Position, RowIdentity, SnapshotId, SourceId, ViewCommit, ViewContent, ViewInfo, ViewName,
};

use crate::contents::RowStore;
use crate::multiset::{Multiset, Row};
use crate::rows;

/// The header of an epoch of the history called `history`.
pub fn header_of(history: u8, epoch: u64) -> EpochHeader {
    let mut hash = [history; 32];
    hash[..8].copy_from_slice(&epoch.to_be_bytes());
    EpochHeader {
        epoch: Epoch(epoch),
        hash: EpochHash(hash),
        frontier: Frontier::new().with(SourceId::new("ducklake", "lake"), Position::SnapshotId(SnapshotId(epoch * 10))),
        time: Micros(1_700_000_000_000_000 + epoch as i64),
        latest_commit: Some(Micros(1_700_000_000_000_000 + epoch as i64)),
    }
}

/// The header of an epoch.
pub fn header(epoch: u64) -> EpochHeader {
    header_of(1, epoch)
}

/// A view and its rows.
#[derive(Debug, Clone)]
pub struct ViewModel {
    info: ViewInfo,
    rows: RowStore,
}

impl ViewModel {
    /// An empty view with columns of the given names and DuckDB types.
    ///
    /// # Panics
    /// When a type is not supported.
    pub fn new(name: &str, columns: &[(&str, &str)], identity: RowIdentity) -> Self {
        let schema = tidegate_core::schema::columns(columns.iter().map(|(name, ty)| (*name, *ty, true)));
        let schema = schema.unwrap_or_else(|error| panic!("view {name}: {error}"));
        ViewModel { info: ViewInfo::new(ViewName::new(name), schema, identity), rows: RowStore::default() }
    }

    /// The same view with its past.
    #[must_use]
    pub fn with_history(mut self, history: Option<History>) -> Self {
        self.set_history(history);
        self
    }

    /// Says whether its past is kept.
    pub fn set_history(&mut self, history: Option<History>) {
        self.info.history = history;
    }

    /// The view.
    pub fn info(&self) -> &ViewInfo {
        &self.info
    }

    /// Its columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.info.schema
    }

    /// Its rows.
    pub fn multiset(&self) -> Multiset {
        self.rows.multiset()
    }

    /// Makes the rows the ones of a VALUES list (`""`: none) and answers the delta.
    pub fn change_to(&mut self, values: &str) -> DeltaBatch {
        let target = if values.is_empty() {
            RecordBatch::new_empty(self.info.schema.clone())
        } else {
            rows::batch(&self.info.schema, values)
        };
        self.change_to_batch(&target)
    }

    /// Makes the rows the given ones and answers the delta.
    pub fn change_to_batch(&mut self, target: &RecordBatch) -> DeltaBatch {
        let mut after = RowStore::default();
        after.apply(target, |_| 1);
        let mut entries = Vec::new();
        for (row, batch, copies) in self.rows.iter().filter(|(row, _, copies)| after.copies(row) < *copies) {
            entries.push((row, batch, after.copies(row) - copies, ChangeType::Delete, copies));
        }
        for (row, batch, copies) in after.iter().filter(|(row, _, copies)| self.rows.copies(row) < *copies) {
            let before = self.rows.copies(row);
            entries.push((row, batch, copies - before, ChangeType::Insert, before));
        }
        if let RowIdentity::Key(key) = &self.info.identity {
            entries = paired(entries, key);
        }
        let schema = &self.info.schema;
        let delta = DeltaBatch {
            rows: concat_batches(schema, entries.iter().map(|entry| entry.1)).expect("rows of one view"),
            weights: entries.iter().map(|entry| entry.2).collect::<Vec<_>>().into(),
            change: entries.iter().map(|entry| entry.3).collect(),
            copies_before: entries.iter().map(|entry| entry.4).collect::<Vec<_>>().into(),
        };
        self.rows = after;
        delta
    }

    /// All rows as inserts, as a replacement carries them.
    pub fn whole(&self) -> DeltaBatch {
        let zset = self.rows.zset(&self.info.schema);
        let (rows, weights) = zset.into_parts();
        DeltaBatch {
            change: vec![ChangeType::Insert; rows.num_rows()],
            copies_before: Int64Array::from(vec![0; rows.num_rows()]),
            rows,
            weights,
        }
    }

    /// A commit of changes, each with its epoch.
    pub fn changes(&self, batches: impl IntoIterator<Item = (EpochHeader, DeltaBatch)>) -> ViewCommit {
        ViewCommit { view: self.info.clone(), content: ViewContent::Changes(batch_stream(batches, None)) }
    }

    /// A commit of changes that fails at its end.
    pub fn failing(
        &self,
        batches: impl IntoIterator<Item = (EpochHeader, DeltaBatch)>,
        error: ConnectorError,
    ) -> ViewCommit {
        ViewCommit { view: self.info.clone(), content: ViewContent::Changes(batch_stream(batches, Some(error))) }
    }

    /// A commit of the whole content.
    pub fn replacement(&self, header: EpochHeader) -> ViewCommit {
        let batches = Some(self.whole()).filter(|batch| !batch.is_empty()).map(|batch| (header, batch));
        ViewCommit { view: self.info.clone(), content: ViewContent::Replace(batch_stream(batches, None)) }
    }
}

type Entry<'a> = (&'a Row, &'a RecordBatch, i64, ChangeType, i64);

/// Puts the two entries of an updated key side by side, preimage first.
fn paired<'a>(entries: Vec<Entry<'a>>, key: &[usize]) -> Vec<Entry<'a>> {
    let mut by_key: BTreeMap<Vec<_>, Vec<Entry<'a>>> = BTreeMap::new();
    for entry in entries {
        by_key.entry(key.iter().map(|column| entry.0[*column].clone()).collect()).or_default().push(entry);
    }
    let mut paired = Vec::new();
    for mut entries in by_key.into_values() {
        if let [before, after] = entries.as_mut_slice() {
            assert_eq!((before.3, after.3), (ChangeType::Delete, ChangeType::Insert), "the key is unique");
            before.3 = ChangeType::UpdatePreimage;
            after.3 = ChangeType::UpdatePostimage;
        }
        paired.append(&mut entries);
    }
    paired
}

fn batch_stream(
    batches: impl IntoIterator<Item = (EpochHeader, DeltaBatch)>,
    error: Option<ConnectorError>,
) -> BatchStream {
    let items: Vec<_> =
        batches.into_iter().map(|(header, batch)| Ok(EpochBatch { header, batch })).chain(error.map(Err)).collect();
    stream::iter(items).boxed()
}
