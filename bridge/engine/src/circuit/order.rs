//! Rows in an order of their own: words that sort as ORDER BY says, then the row, then how many words came
//! before it. Ordered rows compare by the order first and by all columns where it says nothing, so that
//! ties are broken in one way whatever the workers and the steps.

use arrow::array::ArrayRef;
use smallvec::SmallVec;
use tidegate_engine_row::{ColumnReader, Row, RowCodec, RowError};

use super::pipe::encode;
use crate::EngineError;

/// A key of an order among the columns of a row.
#[derive(Debug, Clone)]
pub(crate) struct OrderKey {
    pub column: usize,
    pub direction: Direction,
    pub nulls: Nulls,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Ascending,
    Descending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nulls {
    First,
    Last,
}

/// Encodes columns as ordered rows.
pub(crate) struct OrderedEncoder {
    codec: RowCodec,
    keys: Vec<(ColumnReader, Direction, Nulls)>,
}

impl OrderedEncoder {
    /// `codec` has the columns of the rows, keys among them; it has one part.
    pub fn new(codec: RowCodec, keys: &[OrderKey]) -> Self {
        let keys = keys.iter().map(|key| (codec.reader(key.column), key.direction, key.nulls)).collect();
        OrderedEncoder { codec, keys }
    }

    pub fn encode(&self, columns: &[ArrayRef], rows: usize) -> Result<Vec<Row>, EngineError> {
        let plain: Vec<Row> = encode(&self.codec, columns, rows)?;
        Ok(plain.iter().map(|row| self.ordered(row)).collect::<Result<_, RowError>>()?)
    }

    fn ordered(&self, row: &Row) -> Result<Row, RowError> {
        let mut words = SmallVec::<[u64; 32]>::new();
        for (reader, direction, nulls) in &self.keys {
            let value = reader.words(&[row.as_words()])?;
            // One word says whether there is a value: NULLs come before or after all values.
            words.push(u64::from(value.is_none() == (*nulls == Nulls::Last)));
            let flip = if *direction == Direction::Descending { u64::MAX } else { 0 };
            words.extend(value.unwrap_or_default().iter().map(|word| word ^ flip));
        }
        let width = words.len();
        words.extend_from_slice(row.as_words());
        words.push(width as u64);
        Ok(Row::from_words(&words))
    }
}

/// The words of an ordered row's keys and those of its columns.
///
/// # Panics
/// When the row is none that [`OrderedEncoder`] has made.
pub(crate) fn keys_and_columns(ordered: &[u64]) -> (&[u64], &[u64]) {
    let (width, words) = ordered.split_last().expect("an ordered row ends with the width of its keys");
    words.split_at(*width as usize)
}

/// Words of a list: a gibibyte. Files of the state cannot hold blocks of four, and there may be a list before
/// and a list after a change in one block.
const LIST_WORDS_MAX: usize = 1 << 27;

/// Rows with their copies as one row, for results that are several rows.
#[derive(Default)]
pub(crate) struct RowList(Vec<u64>);

impl RowList {
    /// Appends a row that is given in parts.
    pub fn push(&mut self, parts: &[&[u64]], copies: i64) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        self.0.extend([copies as u64, length as u64]);
        parts.iter().for_each(|part| self.0.extend_from_slice(part));
    }

    /// The list as a row.
    ///
    /// # Errors
    ///
    /// [`RowError::ListTooLarge`] when the state could not be saved with such a list.
    pub fn finish(self) -> Result<Row, RowError> {
        self.finish_within(LIST_WORDS_MAX)
    }

    fn finish_within(self, words_max: usize) -> Result<Row, RowError> {
        if self.0.len() > words_max {
            return Err(RowError::ListTooLarge);
        }
        Ok(Row::from_words(&self.0))
    }

    /// The rows of a list and their copies.
    pub fn rows(list: &Row) -> impl Iterator<Item = (Row, i64)> {
        let mut rest = list.as_words();
        std::iter::from_fn(move || {
            let [copies, length, words @ ..] = rest else { return None };
            let (row, others) = words.split_at(*length as usize);
            rest = others;
            Some((Row::from_words(row), *copies as i64))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> RowList {
        let mut list = RowList::default();
        list.push(&[&[1, 2], &[3]], 1);
        list.push(&[&[4]], -2);
        list
    }

    #[test]
    fn a_list_gives_its_rows_back() {
        let list = list().finish().expect("it is short");
        let rows: Vec<(Row, i64)> = RowList::rows(&list).collect();
        assert_eq!(rows, [(Row::from_words(&[1, 2, 3]), 1), (Row::from_words(&[4]), -2)]);
    }

    #[test]
    fn a_list_that_is_too_large_is_an_error() {
        assert!(list().finish_within(8).is_ok());
        assert!(matches!(list().finish_within(7), Err(RowError::ListTooLarge)));
    }
}
