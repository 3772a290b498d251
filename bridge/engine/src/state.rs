//! Reading a view's integral: all rows, the copies of some rows, the difference of two states.

use std::cmp::Ordering;

use dbsp::dynamic::{DowncastTrait, Erase};
use dbsp::trace::{BatchReader, Cursor};
use tidegate_engine_row::Row;

use crate::circuit::StateSnapshot;

/// A row with its number of copies, or with the change of it.
pub(crate) type Weighted = (Row, i64);

/// Up to `rows_max` rows after `after` (from the start when `None`), in ascending order.
pub(crate) fn rows_after(state: &StateSnapshot, after: Option<&Row>, rows_max: usize) -> Vec<Weighted> {
    let mut cursor = state.cursor();
    if let Some(after) = after {
        cursor.seek_key(after.erase());
        // SAFETY: the view's stream has `Row` keys.
        if cursor.key_valid() && unsafe { cursor.key().downcast::<Row>() } == after {
            cursor.step_key();
        }
    }
    let mut rows = Vec::new();
    while cursor.key_valid() && rows.len() < rows_max {
        let weight = **cursor.weight();
        if weight != 0 {
            // SAFETY: as above.
            rows.push((unsafe { cursor.key().downcast::<Row>() }.clone(), weight));
        }
        cursor.step_key();
    }
    rows
}

/// How many copies the state holds of each of `rows`, which ascend.
pub(crate) fn copies<'a>(state: Option<&StateSnapshot>, rows: impl Iterator<Item = &'a Row>) -> Vec<i64> {
    let Some(state) = state else { return rows.map(|_| 0).collect() };
    let mut cursor = state.cursor();
    rows.map(|row| {
        if !cursor.key_valid() {
            return 0;
        }
        cursor.seek_key(row.erase());
        // SAFETY: the view's stream has `Row` keys.
        let found = cursor.key_valid() && unsafe { cursor.key().downcast::<Row>() } == row;
        if found { **cursor.weight() } else { 0 }
    })
    .collect()
}

/// What must be added to `old` to get `new`, in ascending order.
pub(crate) fn difference(old: &StateSnapshot, new: &StateSnapshot) -> Vec<Weighted> {
    let mut old = old.cursor();
    let mut new = new.cursor();
    let mut changes = Vec::new();
    while old.key_valid() || new.key_valid() {
        // SAFETY: both streams have `Row` keys.
        let order = match (old.key_valid(), new.key_valid()) {
            (true, true) => unsafe { old.key().downcast::<Row>().cmp(new.key().downcast::<Row>()) },
            (true, false) => Ordering::Less,
            _ => Ordering::Greater,
        };
        let key = match order {
            Ordering::Greater => unsafe { new.key().downcast::<Row>() }.clone(),
            _ => unsafe { old.key().downcast::<Row>() }.clone(),
        };
        let mut weight = 0;
        if order.is_le() {
            weight -= **old.weight();
            old.step_key();
        }
        if order.is_ge() {
            weight += **new.weight();
            new.step_key();
        }
        if weight != 0 {
            changes.push((key, weight));
        }
    }
    changes
}
