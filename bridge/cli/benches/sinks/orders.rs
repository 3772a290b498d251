//! The view that the sinks are given, and what happens to its rows.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::SchemaRef;
use futures::{StreamExt, stream};
use tidegate_core::{
    ChangeType, Commit, DeltaBatch, Epoch, EpochBatch, RowIdentity, ViewCommit, ViewContent, ViewInfo, ViewName,
};
use tidegate_testkit::conformance::model::header;

/// Rows of a batch, about what the engine hands out.
const BATCH_ROWS: usize = 32_768;

/// The view: orders under their number.
pub fn view() -> ViewInfo {
    let columns = [
        ("id", "BIGINT"),
        ("region", "VARCHAR"),
        ("amount", "DECIMAL(18,2)"),
        ("qty", "INTEGER"),
        ("note", "VARCHAR"),
        ("at", "TIMESTAMP"),
    ];
    let schema = tidegate_core::schema::columns(columns.map(|(name, duckdb_type)| (name, duckdb_type, true)));
    let schema = schema.expect("DuckDB has these types");
    ViewInfo::new(ViewName::from("orders"), schema, RowIdentity::Key(vec![0]))
}

/// Rows of the view: orders by number, each as it is after so many changes.
fn rows(schema: &SchemaRef, orders: &[(u64, u32)]) -> RecordBatch {
    let mixed = |id: u64, version: u32| (id + u64::from(version)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
    let ids = Int64Array::from_iter_values(orders.iter().map(|(id, _)| *id as i64));
    let regions = StringArray::from_iter_values(orders.iter().map(|(id, _)| format!("region {}", id % 50)));
    let amounts = Decimal128Array::from_iter_values(orders.iter().map(|(id, v)| (mixed(*id, *v) % 10_000_000) as i128));
    let amounts = amounts.with_precision_and_scale(18, 2).expect("the precision holds");
    let qty = Int32Array::from_iter_values(orders.iter().map(|(id, v)| (id % 100) as i32 + *v as i32));
    let notes = orders.iter().map(|(id, v)| format!("note {}", mixed(*id, *v) % 1_000_000));
    let notes = StringArray::from_iter_values(notes);
    let at = orders.iter().map(|(id, v)| 1_700_000_000_000_000 + (id + u64::from(*v)) as i64 * 1_000_000);
    let at = TimestampMicrosecondArray::from_iter_values(at);
    let columns: Vec<ArrayRef> =
        vec![Arc::new(ids), Arc::new(regions), Arc::new(amounts), Arc::new(qty), Arc::new(notes), Arc::new(at)];
    RecordBatch::try_new(schema.clone(), columns).expect("the columns are those of the view")
}

/// A whole content as the engine hands it out.
pub fn content(view: &ViewInfo, ids: impl Iterator<Item = u64>) -> Vec<RecordBatch> {
    let orders: Vec<(u64, u32)> = ids.map(|id| (id, 0)).collect();
    orders.chunks(BATCH_ROWS).map(|orders| rows(&view.schema, orders)).collect()
}

/// The commit that makes a content the view's.
pub fn load(view: &ViewInfo, batches: &[RecordBatch]) -> Commit {
    let batches: Vec<_> = batches
        .iter()
        .map(|rows| {
            let count = rows.num_rows();
            let batch = DeltaBatch {
                rows: rows.clone(),
                weights: Int64Array::from(vec![1; count]),
                change: vec![ChangeType::Insert; count],
                copies_before: Int64Array::from(vec![0; count]),
            };
            Ok(EpochBatch { header: header(1), batch })
        })
        .collect();
    let content = ViewContent::Replace(stream::iter(batches).boxed());
    Commit { after: Epoch::ZERO, header: header(1), views: vec![ViewCommit { view: view.clone(), content }] }
}

/// A table of orders and what happened to each.
pub struct Table {
    view: ViewInfo,
    versions: Vec<u32>,
    epoch: u64,
}

impl Table {
    /// A table that was loaded with so many orders.
    pub fn new(view: ViewInfo, orders: u64) -> Self {
        Table { view, versions: vec![0; orders as usize], epoch: 1 }
    }

    /// An epoch of so many changed orders: half of them, all over the table, get other values; the
    /// rest are new in one round and go in the next. A single one gets another value.
    pub fn change(&mut self, changes: u64, round: u64) -> Commit {
        let held = self.versions.len() as u64;
        let updated = changes.div_ceil(2).min(held);
        let mut entries = Vec::new();
        for n in 0..updated {
            let id = (n * 2_654_435_761 + round * 104_729) % held;
            let version = &mut self.versions[id as usize];
            entries.push((id, *version, ChangeType::UpdatePreimage));
            *version += 1;
            entries.push((id, *version, ChangeType::UpdatePostimage));
        }
        let change = if round.is_multiple_of(2) { ChangeType::Insert } else { ChangeType::Delete };
        entries.extend((0..changes - updated).map(|n| (held + changes * 10 + n, 0, change)));
        let (after, header) = (Epoch(self.epoch), header(self.epoch + 1));
        self.epoch += 1;
        let batches: Vec<_> = entries
            .chunks(BATCH_ROWS)
            .map(|entries| {
                let orders: Vec<_> = entries.iter().map(|(id, version, _)| (*id, *version)).collect();
                let batch = DeltaBatch {
                    rows: rows(&self.view.schema, &orders),
                    weights: entries.iter().map(|entry| entry.2.sign()).collect::<Vec<_>>().into(),
                    change: entries.iter().map(|entry| entry.2).collect(),
                    copies_before: entries.iter().map(|e| i64::from(e.2.sign() < 0)).collect::<Vec<_>>().into(),
                };
                Ok(EpochBatch { header: header.clone(), batch })
            })
            .collect();
        let content = ViewContent::Changes(stream::iter(batches).boxed());
        Commit { after, header, views: vec![ViewCommit { view: self.view.clone(), content }] }
    }
}
