//! Columns that a source left out because they did not change, taken from the row before.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::compute::{interleave, take_record_batch};
use tidegate_core::{KeyedChanges, KeyedOp};
use tidegate_engine_row::{Row, RowCodec};

use crate::EngineError;
use crate::circuit::encode;

/// One of the arrays that a column is put together from, and a place in it.
type Place = (usize, usize);

/// What the event itself sends, upserts only.
const SENT: usize = 0;
/// Rows that were there before the event.
const HELD: usize = 1;

/// The upserted rows of an event, in order and whole. `keys` are those of all its rows; `held` is the row
/// under a key before the event. The inner error says what is wrong with the event.
pub(super) fn upserted<'a>(
    codec: &RowCodec,
    events: &KeyedChanges,
    keys: &[Row],
    held: impl Fn(&Row) -> Option<&'a Row>,
) -> Result<Result<Vec<Row>, &'static str>, EngineError> {
    // Rows of deletes hold their key only and are not encoded.
    let upserts: UInt32Array =
        (0u32..).zip(&events.ops).filter(|(_, op)| **op != KeyedOp::Delete).map(|(row, _)| row).collect();
    let sent = take_record_batch(&events.rows, &upserts)?;
    if events.unchanged.iter().all(Option::is_none) {
        return Ok(Ok(encode(codec, sent.columns(), sent.num_rows())?));
    }
    let Some(Bases { bases, rows }) = bases(events, keys, held) else {
        return Ok(Err("unchanged columns were left out of a row that is not known"));
    };
    let before = codec.decode(rows)?;
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(before.len());
    for (index, (sent, before)) in sent.columns().iter().zip(&before).enumerate() {
        if events.unchanged[index].is_none() {
            columns.push(sent.clone());
            continue;
        }
        let mut places: Vec<Place> = Vec::with_capacity(bases.len());
        for (upsert, row) in upserts.values().iter().enumerate() {
            let base = bases[upsert].filter(|_| is_unchanged(events, index, *row as usize));
            places.push(match base {
                // The value of an earlier row may itself be an older one.
                Some((SENT, earlier)) => places[earlier],
                Some(held) => held,
                None => (SENT, upsert),
            });
        }
        columns.push(interleave(&[sent, before], &places)?);
    }
    Ok(Ok(encode(codec, &columns, sent.num_rows())?))
}

fn is_unchanged(events: &KeyedChanges, column: usize, row: usize) -> bool {
    events.unchanged[column].as_ref().is_some_and(|marks| marks.is_valid(row) && marks.value(row))
}

struct Bases<'a> {
    /// For each upsert with marks, the row that it builds on.
    bases: Vec<Option<Place>>,
    /// The rows from before the event among them.
    rows: Vec<&'a Row>,
}

/// A row as it is known while an event is gone through.
#[derive(Clone, Copy)]
enum Known<'a> {
    Sent(usize),
    Held(&'a Row),
    Gone,
}

/// Finds what the upserts with marks build on; `None` when one of them builds on nothing.
fn bases<'a>(events: &KeyedChanges, keys: &[Row], held: impl Fn(&Row) -> Option<&'a Row>) -> Option<Bases<'a>> {
    let marked = |row| (0..events.unchanged.len()).any(|column| is_unchanged(events, column, row));
    let mut latest: HashMap<&Row, Known<'a>> = HashMap::new();
    let mut removed = Known::Gone;
    let (mut bases, mut rows) = (Vec::new(), Vec::new());
    for (index, (key, op)) in keys.iter().zip(&events.ops).enumerate() {
        let before = || latest.get(key).copied().or_else(|| held(key).map(Known::Held)).unwrap_or(Known::Gone);
        if *op == KeyedOp::Delete {
            removed = before();
            latest.insert(key, Known::Gone);
            continue;
        }
        let base = match op {
            KeyedOp::Rekeyed => removed,
            KeyedOp::Upsert | KeyedOp::Delete => before(),
        };
        let base = match base {
            _ if !marked(index) => None,
            Known::Sent(earlier) => Some((SENT, earlier)),
            Known::Held(row) => {
                rows.push(row);
                Some((HELD, rows.len() - 1))
            }
            Known::Gone => return None,
        };
        latest.insert(key, Known::Sent(bases.len()));
        bases.push(base);
        removed = Known::Gone;
    }
    Some(Bases { bases, rows })
}
