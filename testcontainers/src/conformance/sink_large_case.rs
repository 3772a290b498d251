//! The case of the suite for sinks about size: a large view, and a small change of it.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use tidegate_core::{
    ChangeType, DeltaBatch, EpochBatch, RowIdentity, ViewCommit, ViewContent, ViewInfo, ViewName, ZSet, schema,
};

use super::model::header;
use super::sink::{Case, Opened, Target, full};

/// Every case with its name.
pub(super) const ALL: &[(&str, Case)] = &[("a large view and a small change of it", |t| large(t).boxed_local())];

const BATCH_ROWS: usize = 65_536;
/// Keys that the second epoch changes.
const CHANGES: usize = 1_000;

async fn large(target: Target<'_>) {
    let rows = target.large_rows();
    let columns = [("id", "BIGINT", true), ("amount", "BIGINT", true), ("text", "VARCHAR", true)];
    let schema = schema::columns(columns).expect("the types are supported");
    let view = ViewInfo::new(ViewName::new("large"), schema, RowIdentity::Key(vec![0]));

    let mut sink = target.open_infos(std::slice::from_ref(&view), &[None]).await;
    let started = Instant::now();
    sink.commit(0, &header(1), vec![replacement(&view, rows)]).await;
    let replaced = started.elapsed();
    let mut expected = Sum::default();
    (0..rows).for_each(|id| expected.add_row(Some(id as i64), amount(id, 1), text(id).as_deref(), 1));
    assert_eq!(sum(&mut sink, &view).await, expected, "rows of large after its replacement");

    let delta = delta(&view.schema, rows);
    expected.add(&delta.rows, &delta.weights);
    let started = Instant::now();
    let changes = stream::iter([Ok(EpochBatch { header: header(2), batch: delta })]).boxed();
    let changes = ViewCommit { view: view.clone(), content: ViewContent::Changes(changes) };
    sink.commit(1, &header(2), vec![changes]).await;
    println!(
        "sink conformance: {rows} rows took {replaced:.1?}, a change of {CHANGES} of them {:.1?}",
        started.elapsed()
    );
    assert_eq!(sum(&mut sink, &view).await, expected, "rows of large after a change");
    drop(sink);
    target.open_infos(&[view], &[Some(&header(2))]).await;
}

/// Every row of the first epoch.
fn replacement(view: &ViewInfo, rows: usize) -> ViewCommit {
    let schema = view.schema.clone();
    let batches = (0..rows).step_by(BATCH_ROWS).map(move |from| {
        let ids = from..rows.min(from + BATCH_ROWS);
        let batch = batch_of(&schema, ids.map(|id| Entry { id, epoch: 1, change: ChangeType::Insert }));
        Ok(EpochBatch { header: header(1), batch })
    });
    ViewCommit { view: view.clone(), content: ViewContent::Replace(stream::iter(batches).boxed()) }
}

/// Changed keys all over the view: of five one goes, one comes, and three get another amount.
fn delta(schema: &SchemaRef, rows: usize) -> DeltaBatch {
    let step = rows / CHANGES;
    let entries = (0..CHANGES).flat_map(|change| {
        let id = change * step + change % step;
        let old = |change| Entry { id, epoch: 1, change };
        match change % 5 {
            0 => vec![old(ChangeType::Delete)],
            1 => vec![Entry { id: rows + change, epoch: 2, change: ChangeType::Insert }],
            _ => {
                let new = Entry { id, epoch: 2, change: ChangeType::UpdatePostimage };
                vec![old(ChangeType::UpdatePreimage), new]
            }
        }
    });
    batch_of(schema, entries)
}

/// A row as an epoch wrote it, and what becomes of it.
struct Entry {
    id: usize,
    epoch: u64,
    change: ChangeType,
}

/// Another one in each epoch.
fn amount(id: usize, epoch: u64) -> Option<i64> {
    ((id as u64 + epoch) % 7 != 3).then(|| mixed(id as u64 ^ (epoch << 40)) as i64)
}

fn text(id: usize) -> Option<String> {
    (id % 11 != 5).then(|| format!("row {}", id % 1_000))
}

fn batch_of(schema: &SchemaRef, entries: impl IntoIterator<Item = Entry>) -> DeltaBatch {
    let entries: Vec<Entry> = entries.into_iter().collect();
    let ids: Int64Array = entries.iter().map(|entry| Some(entry.id as i64)).collect();
    let amounts: Int64Array = entries.iter().map(|entry| amount(entry.id, entry.epoch)).collect();
    let texts: StringArray = entries.iter().map(|entry| text(entry.id)).collect();
    let rows = RecordBatch::try_new(schema.clone(), vec![Arc::new(ids), Arc::new(amounts), Arc::new(texts)]);
    DeltaBatch {
        rows: rows.expect("the view's columns"),
        weights: entries.iter().map(|entry| entry.change.sign()).collect::<Vec<_>>().into(),
        copies_before: entries.iter().map(|entry| i64::from(entry.change.sign() < 0)).collect::<Vec<_>>().into(),
        change: entries.into_iter().map(|entry| entry.change).collect(),
    }
}

/// A multiset of rows in little room: their number, and the sum of the hashes of all copies. Rows
/// that are not the same have other sums, but for one chance in 2⁶⁴.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Sum {
    copies: i64,
    hashes: u64,
}

impl Sum {
    fn add_row(&mut self, id: Option<i64>, amount: Option<i64>, text: Option<&str>, weight: i64) {
        let number = |value: Option<i64>| value.map_or(1, |value| mixed(value as u64) | 2);
        let text = text.map_or(1, |text| text.bytes().fold(2, |hash, byte| mixed(hash ^ u64::from(byte))));
        let hash = [number(id), number(amount), text].into_iter().fold(0, |hash, value| mixed(hash) ^ value);
        self.copies += weight;
        self.hashes = self.hashes.wrapping_add(mixed(hash).wrapping_mul(weight as u64));
    }

    fn add(&mut self, rows: &RecordBatch, weights: &Int64Array) {
        let numbers = |column: usize| rows.column(column).as_any().downcast_ref::<Int64Array>().expect("BIGINT");
        let texts = rows.column(2).as_any().downcast_ref::<StringArray>().expect("VARCHAR");
        let (ids, amounts) = (numbers(0), numbers(1));
        for row in 0..rows.num_rows() {
            let number = |column: &Int64Array| column.is_valid(row).then(|| column.value(row));
            let text = texts.is_valid(row).then(|| texts.value(row));
            self.add_row(number(ids), number(amounts), text, weights.value(row));
        }
    }
}

/// What the target holds.
async fn sum(sink: &mut Opened, view: &ViewInfo) -> Sum {
    let mut sum = Sum::default();
    let read = async {
        let mut zsets = sink.zsets(view).await?;
        while let Some(zset) = zsets.try_next().await? {
            let zset: ZSet = zset;
            sum.add(zset.rows(), zset.weights());
        }
        Ok(())
    };
    read.await.unwrap_or_else(|error| panic!("read of {}: {}", view.name, full(&error)));
    sum
}

/// The finalizer of MurmurHash3: every bit of the number changes half of the bits of the result.
fn mixed(mut number: u64) -> u64 {
    number ^= number >> 33;
    number = number.wrapping_mul(0xff51_afd7_ed55_8ccd);
    number ^= number >> 33;
    number = number.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ (number >> 33)
}
