//! From changed rows to a view delta: labels, pairs of update images, copies before.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::Int64Array;
use arrow::datatypes::SchemaRef;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use tidegate_core::{ChangeType, DeltaBatch, DeltaKind, RowIdentity, ViewDelta, ViewInfo, ZSet};
use tidegate_engine_row::{KeyMode, Row, RowCodec};

use crate::EngineError;
use crate::circuit::{StateSnapshot, batch, encode};
use crate::state::{self, Weighted};

/// Entries of one delta batch.
const BATCH_ENTRIES: usize = 65_536;

/// Characters of a value that an error tells.
const VALUE_CHARS: usize = 60;

/// Turns the consolidated changes of one epoch, in ascending order, into a delta, if there are any.
/// `changes` may be asked for them twice. `before` is the view's state before the epoch.
pub(crate) fn view_delta<I: Iterator<Item = Weighted>>(
    shape: &Shape<'_>,
    changes: impl Fn() -> I,
    before: Option<&StateSnapshot>,
) -> Result<Option<ViewDelta>, EngineError> {
    let maker = DeltaMaker { shape, before };
    let info = shape.info;
    let batches = match &info.identity {
        RowIdentity::Key(columns) => {
            let fields: Vec<_> = columns.iter().map(|column| Arc::clone(&info.schema.fields()[*column])).collect();
            let key = Key { columns, codec: RowCodec::new(&fields, KeyMode::Canonical)? };
            match maker.by_ascending_key(&key, changes())? {
                Some(batches) => batches,
                None => maker.by_key(&key, &changes().collect::<Vec<_>>())?,
            }
        }
        RowIdentity::Rowid | RowIdentity::WholeRow => maker.by_row(changes())?,
    };
    let delta = ViewDelta { view: info.name.clone(), kind: DeltaKind::Changes, batches };
    Ok((!delta.batches.is_empty()).then_some(delta))
}

/// Changes as rows with weights.
pub(crate) fn zsets(
    schema: &SchemaRef,
    codec: &RowCodec,
    mut changes: impl Iterator<Item = Weighted>,
) -> Result<Vec<ZSet>, EngineError> {
    let mut zsets = Vec::new();
    loop {
        let part: Vec<Weighted> = changes.by_ref().take(BATCH_ENTRIES).collect();
        if part.is_empty() {
            return Ok(zsets);
        }
        zsets.push(zset(schema, codec, &part)?);
    }
}

/// Encoded rows with weights.
pub(crate) fn zset(schema: &SchemaRef, codec: &RowCodec, rows: &[Weighted]) -> Result<ZSet, EngineError> {
    let arrays = codec.decode(rows.iter().map(|(row, _)| row))?;
    let weights = rows.iter().map(|(_, weight)| *weight).collect::<Int64Array>();
    Ok(ZSet::new(batch(schema, arrays, rows.len())?, weights))
}

/// The key of a view.
struct Key<'a> {
    columns: &'a [usize],
    codec: RowCodec,
}

/// How the rows of a view are read.
pub(crate) struct Shape<'a> {
    pub info: &'a ViewInfo,
    pub codec: &'a RowCodec,
    /// Whether the key is declared and not proven, so that rows may have the same.
    pub is_checked: bool,
}

impl Shape<'_> {
    /// Some columns of a row with their names, for people; long values are cut.
    pub fn values(&self, row: &Row, columns: &[usize]) -> Result<String, EngineError> {
        let arrays = self.codec.decode(std::iter::once(row))?;
        let options = FormatOptions::default().with_null("NULL");
        let values = columns.iter().map(|column| {
            let value = ArrayFormatter::try_new(&arrays[*column], &options)?.value(0).to_string();
            let cut: String = value.chars().take(VALUE_CHARS).collect();
            let more = if cut.len() < value.len() { "…" } else { "" };
            Ok::<_, EngineError>(format!("{} = {cut}{more}", self.info.schema.field(*column).name()))
        });
        Ok(values.collect::<Result<Vec<_>, _>>()?.join(", "))
    }
}

struct DeltaMaker<'a> {
    shape: &'a Shape<'a>,
    before: Option<&'a StateSnapshot>,
}

impl DeltaMaker<'_> {
    fn by_row(&self, changes: impl Iterator<Item = Weighted>) -> Result<Vec<DeltaBatch>, EngineError> {
        let mut changes = changes.peekable();
        let mut batches = Vec::new();
        while changes.peek().is_some() {
            let part: Vec<Weighted> = changes.by_ref().take(BATCH_ENTRIES).collect();
            let copies = self.copies_before(&part)?;
            let labels = part.iter().map(|(_, weight)| plain_label(*weight)).collect();
            batches.push(self.batch(&part.iter().zip(copies).collect::<Vec<_>>(), labels)?);
        }
        Ok(batches)
    }

    /// Where rows begin with their key, both images of a key are neighbours, and not all changes need
    /// to be in memory at once. `None` when it turns out that they are not.
    fn by_ascending_key(
        &self,
        key: &Key<'_>,
        mut changes: impl Iterator<Item = Weighted>,
    ) -> Result<Option<Vec<DeltaBatch>>, EngineError> {
        let mut batches = Vec::new();
        let mut rest: Vec<Weighted> = Vec::new();
        let mut last: Option<Row> = None;
        loop {
            let mut part = rest;
            part.extend(changes.by_ref().take(BATCH_ENTRIES + 1 - part.len()));
            if part.is_empty() {
                return Ok(Some(batches));
            }
            let keys = self.keys(key, &part)?;
            if !keys.is_sorted() || last.is_some_and(|last| last >= keys[0]) {
                return Ok(None);
            }
            let mut end = part.len().min(BATCH_ENTRIES);
            if end < part.len() && keys[end - 1] == keys[end] {
                end -= 1;
            }
            rest = part.split_off(end);
            batches.extend(self.pairs(key, &keys[..end], &part)?);
            last = keys.into_iter().nth(end - 1);
        }
    }

    fn by_key(&self, key: &Key<'_>, changes: &[Weighted]) -> Result<Vec<DeltaBatch>, EngineError> {
        let mut keys = Vec::with_capacity(changes.len());
        for part in changes.chunks(BATCH_ENTRIES) {
            keys.extend(self.keys(key, part)?);
        }
        self.pairs(key, &keys, changes)
    }

    /// Batches of changes among which both images of every key are.
    fn pairs(&self, key: &Key<'_>, keys: &[Row], changes: &[Weighted]) -> Result<Vec<DeltaBatch>, EngineError> {
        if u32::try_from(changes.len()).is_err() {
            return Err(inconsistent(self.shape.info, "more than 2^32 rows change in one epoch"));
        }
        let copies = self.copies_before(changes)?;
        let (order, labels) = match pair_by_key(keys, changes) {
            Ok(paired) => paired,
            Err(change) if self.shape.is_checked => {
                let values = self.shape.values(&changes[change as usize].0, key.columns)?;
                return Err(EngineError::KeyNotUnique { view: self.shape.info.name.clone(), key: values });
            }
            Err(_) => return Err(inconsistent(self.shape.info, "two rows would have the same key")),
        };
        let mut batches = Vec::new();
        let mut start = 0;
        while start < order.len() {
            let mut end = order.len().min(start + BATCH_ENTRIES);
            if end < order.len() && labels[end] == ChangeType::UpdatePostimage {
                end -= 1;
            }
            let part = order[start..end].iter().map(|index| *index as usize);
            let entries: Vec<(&Weighted, i64)> = part.map(|index| (&changes[index], copies[index])).collect();
            batches.push(self.batch(&entries, labels[start..end].to_vec())?);
            start = end;
        }
        Ok(batches)
    }

    /// How many copies of each row the view held; none goes that was not there.
    fn copies_before(&self, changes: &[Weighted]) -> Result<Vec<i64>, EngineError> {
        let copies = state::copies(self.before, changes.iter().map(|(row, _)| row));
        if changes.iter().zip(&copies).any(|((_, weight), copies)| copies + weight < 0) {
            return Err(inconsistent(self.shape.info, "a row would be removed more often than it is there"));
        }
        Ok(copies)
    }

    /// One batch of changes with their copies before.
    fn batch(&self, entries: &[(&Weighted, i64)], change: Vec<ChangeType>) -> Result<DeltaBatch, EngineError> {
        let arrays = self.shape.codec.decode(entries.iter().map(|((row, _), _)| row))?;
        Ok(DeltaBatch {
            rows: batch(&self.shape.info.schema, arrays, entries.len())?,
            weights: entries.iter().map(|((_, weight), _)| *weight).collect::<Int64Array>(),
            change,
            copies_before: entries.iter().map(|(_, copies)| *copies).collect::<Int64Array>(),
        })
    }

    /// The key of each changed row.
    fn keys(&self, key: &Key<'_>, changes: &[Weighted]) -> Result<Vec<Row>, EngineError> {
        let arrays = self.shape.codec.decode(changes.iter().map(|(row, _)| row))?;
        let arrays: Vec<_> = key.columns.iter().map(|column| arrays[*column].clone()).collect();
        encode(&key.codec, &arrays, changes.len())
    }
}

fn plain_label(weight: i64) -> ChangeType {
    if weight > 0 { ChangeType::Insert } else { ChangeType::Delete }
}

fn inconsistent(info: &ViewInfo, fact: &'static str) -> EngineError {
    EngineError::Inconsistent { view: info.name.clone(), fact }
}

/// Orders the changes so that pre- and postimages of one key are adjacent, and labels them. The error is a change whose
/// key another row would have, too.
fn pair_by_key(keys: &[Row], changes: &[Weighted]) -> Result<(Vec<u32>, Vec<ChangeType>), u32> {
    let count = keys.len() as u32;
    let mut by_key: Vec<u32> = (0..count).collect();
    // Mostly the rows begin with their key, and this finds them in order.
    by_key.sort_by(|a, b| keys[*a as usize].cmp(&keys[*b as usize]));
    // For each change the other image of its key, or itself.
    let mut others: Vec<u32> = (0..count).collect();
    for images in by_key.chunk_by(|a, b| keys[*a as usize] == keys[*b as usize]) {
        let weight = |image: u32| changes[image as usize].1;
        match *images {
            [one] if weight(one).abs() == 1 => {}
            [a, b] if weight(a).abs() == 1 && weight(a) + weight(b) == 0 => {
                (others[a as usize], others[b as usize]) = (b, a);
            }
            _ => return Err(images[0]),
        }
    }
    drop(by_key);
    let mut order = Vec::with_capacity(changes.len());
    let mut labels = Vec::with_capacity(changes.len());
    for (index, other) in (0u32..).zip(&others) {
        let weight = changes[index as usize].1;
        match index.cmp(other) {
            Ordering::Equal => {
                order.push(index);
                labels.push(plain_label(weight));
            }
            Ordering::Less => {
                order.extend(if weight < 0 { [index, *other] } else { [*other, index] });
                labels.extend([ChangeType::UpdatePreimage, ChangeType::UpdatePostimage]);
            }
            Ordering::Greater => {}
        }
    }
    Ok((order, labels))
}
