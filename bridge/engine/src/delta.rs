//! From changed rows to a view delta: labels, pairs of update images, copies before.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Int64Array, UInt64Array};
use arrow::compute::take_record_batch;
use tidegate_core::{ChangeType, DeltaBatch, DeltaKind, RowIdentity, ViewDelta, ViewInfo};
use tidegate_engine_row::{KeyMode, Row, RowCodec};

use crate::EngineError;
use crate::circuit::{StateSnapshot, batch, encode};
use crate::state::{self, Weighted};

/// Entries of one delta batch.
const BATCH_ENTRIES: usize = 65_536;

/// Turns the consolidated changes of one epoch, in ascending order, into a delta. `before` is the
/// view's state before the epoch.
pub(crate) fn view_delta(
    info: &ViewInfo,
    codec: &RowCodec,
    changes: &[Weighted],
    before: Option<&StateSnapshot>,
) -> Result<ViewDelta, EngineError> {
    let copies = state::copies(before, changes.iter().map(|(row, _)| row));
    if changes.iter().zip(&copies).any(|((_, weight), copies)| copies + weight < 0) {
        return Err(inconsistent(info, "a row would be removed more often than it is there"));
    }
    let arrays = codec.decode(changes.iter().map(|(row, _)| row))?;
    let rows = batch(&info.schema, arrays, changes.len())?;
    let (order, labels) = match &info.identity {
        RowIdentity::Key(columns) => {
            let codec = RowCodec::new(
                &columns.iter().map(|column| Arc::clone(&info.schema.fields()[*column])).collect::<Vec<_>>(),
                KeyMode::Canonical,
            )?;
            let keys: Vec<_> = columns.iter().map(|column| rows.column(*column).clone()).collect();
            pair_by_key(info, &encode(&codec, &keys, changes.len())?, changes)?
        }
        RowIdentity::Rowid | RowIdentity::WholeRow => {
            ((0..changes.len()).collect(), changes.iter().map(|(_, weight)| plain_label(*weight)).collect())
        }
    };
    let mut batches = Vec::new();
    let mut start = 0;
    while start < order.len() {
        let mut end = order.len().min(start + BATCH_ENTRIES);
        if end < order.len() && labels[end] == ChangeType::UpdatePostimage {
            end -= 1;
        }
        let part = &order[start..end];
        let indices: UInt64Array = part.iter().map(|index| *index as u64).collect();
        batches.push(DeltaBatch {
            rows: take_record_batch(&rows, &indices)?,
            weights: part.iter().map(|index| changes[*index].1).collect::<Int64Array>(),
            change: labels[start..end].to_vec(),
            copies_before: part.iter().map(|index| copies[*index]).collect::<Int64Array>(),
        });
        start = end;
    }
    Ok(ViewDelta { view: info.name.clone(), kind: DeltaKind::Changes, batches })
}

fn plain_label(weight: i64) -> ChangeType {
    if weight > 0 { ChangeType::Insert } else { ChangeType::Delete }
}

fn inconsistent(info: &ViewInfo, fact: &'static str) -> EngineError {
    EngineError::Inconsistent { view: info.name.clone(), fact }
}

/// Orders the changes so that pre- and postimages of one key are adjacent, and labels them.
fn pair_by_key(
    info: &ViewInfo,
    keys: &[Row],
    changes: &[Weighted],
) -> Result<(Vec<usize>, Vec<ChangeType>), EngineError> {
    #[derive(Default)]
    struct Images {
        old: Option<usize>,
        new: Option<usize>,
    }
    let mut by_key: HashMap<&Row, Images> = HashMap::with_capacity(keys.len());
    for (index, (key, (_, weight))) in keys.iter().zip(changes).enumerate() {
        let images = by_key.entry(key).or_default();
        let image = if *weight > 0 { &mut images.new } else { &mut images.old };
        if weight.abs() != 1 || image.replace(index).is_some() {
            return Err(inconsistent(info, "two rows would have the same key"));
        }
    }
    let mut order = Vec::with_capacity(changes.len());
    let mut labels = Vec::with_capacity(changes.len());
    for (index, key) in keys.iter().enumerate() {
        let images = &by_key[key];
        match (images.old, images.new) {
            (Some(old), Some(new)) => {
                if index == old.min(new) {
                    order.extend([old, new]);
                    labels.extend([ChangeType::UpdatePreimage, ChangeType::UpdatePostimage]);
                }
            }
            _ => {
                order.push(index);
                labels.push(plain_label(changes[index].1));
            }
        }
    }
    Ok((order, labels))
}
