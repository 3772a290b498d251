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

/// Every row, in ascending order.
pub(crate) fn rows(state: Option<&StateSnapshot>) -> impl Iterator<Item = Weighted> + '_ {
    let mut cursor = state.map(|state| state.cursor());
    std::iter::from_fn(move || {
        let cursor = cursor.as_mut()?;
        while cursor.key_valid() {
            // SAFETY: the view's stream has `Row` keys.
            let row = (unsafe { cursor.key().downcast::<Row>() }.clone(), **cursor.weight());
            cursor.step_key();
            if row.1 != 0 {
                return Some(row);
            }
        }
        None
    })
}

/// The number of all rows, counting copies.
pub(crate) fn count(state: &StateSnapshot) -> i64 {
    let mut cursor = state.cursor();
    let mut count = 0;
    while cursor.key_valid() {
        count += **cursor.weight();
        cursor.step_key();
    }
    count
}

/// What must be added to `old` to get `new`, in ascending order.
pub(crate) fn difference<'a>(
    old: Option<&'a StateSnapshot>,
    new: Option<&'a StateSnapshot>,
) -> impl Iterator<Item = Weighted> + 'a {
    let (mut old, mut new) = (rows(old).peekable(), rows(new).peekable());
    std::iter::from_fn(move || {
        loop {
            let order = match (old.peek(), new.peek()) {
                (Some((old, _)), Some((new, _))) => old.cmp(new),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return None,
            };
            let removed = old.next_if(|_| order.is_le());
            let added = new.next_if(|_| order.is_ge());
            let copies = |row: &Option<Weighted>| row.as_ref().map_or(0, |(_, copies)| *copies);
            let weight = copies(&added) - copies(&removed);
            if let Some((row, _)) = added.or(removed).filter(|_| weight != 0) {
                return Some((row, weight));
            }
        }
    })
}
