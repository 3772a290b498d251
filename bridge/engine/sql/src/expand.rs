//! Lists spread out into rows: each row as often as it has items, with its weight.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt64Array};
use arrow::compute::take;
use arrow::error::ArrowError;

use crate::semantics::Itemless;

/// What becomes a column.
#[derive(Debug, Clone)]
pub(crate) enum Spread {
    /// The items of an evaluated list.
    Items(ArrayRef),
    /// Their numbers, from 1.
    Numbers,
}

/// The rows of `rows` and the columns of `lists` item by item, with the weights of the rows. Only the columns in
/// `kept` pass.
pub(crate) fn expand(
    rows: &RecordBatch,
    weights: &Int64Array,
    lists: &[Spread],
    itemless: Itemless,
    kept: &[usize],
) -> Result<(Vec<ArrayRef>, Int64Array), ArrowError> {
    let lists: Vec<Lists> = lists.iter().map(Lists::new).collect::<Result<_, _>>()?;
    let least = match itemless {
        Itemless::Dropped => 0,
        Itemless::Padded => 1,
    };
    let lengths: Vec<usize> =
        (0..rows.num_rows()).map(|row| lists.iter().map(|list| list.items(row).len()).max().unwrap_or(0)).collect();
    let copies = |row: usize, length: usize| std::iter::repeat_n(row as u64, length.max(least));
    let copied: UInt64Array = lengths.iter().enumerate().flat_map(|(row, length)| copies(row, *length)).collect();
    let mut columns = Vec::with_capacity(kept.len() + lists.len());
    for column in kept {
        columns.push(take(rows.column(*column), &copied, None)?);
    }
    for list in &lists {
        columns.push(list.spread(&lengths, least)?);
    }
    Ok((columns, take(weights, &copied, None)?.as_primitive().clone()))
}

/// A column of lists of any kind.
enum Lists {
    List { lists: ArrayRef, offsets: Vec<usize>, items: ArrayRef },
    Numbers,
}

impl Lists {
    fn new(spread: &Spread) -> Result<Lists, ArrowError> {
        let Spread::Items(lists) = spread else { return Ok(Lists::Numbers) };
        let (offsets, items) = if let Some(list) = lists.as_list_opt::<i32>() {
            (list.offsets().iter().map(|offset| usize::try_from(*offset)).collect(), Arc::clone(list.values()))
        } else if let Some(list) = lists.as_list_opt::<i64>() {
            (list.offsets().iter().map(|offset| usize::try_from(*offset)).collect(), Arc::clone(list.values()))
        } else if let Some(list) = lists.as_fixed_size_list_opt() {
            let length = usize::try_from(list.value_length()).unwrap_or(0);
            ((0..=list.len()).map(|row| Ok(row * length)).collect(), Arc::clone(list.values()))
        } else {
            return Err(ArrowError::InvalidArgumentError("UNNEST takes a list".to_owned()));
        };
        let offsets: Result<Vec<usize>, std::num::TryFromIntError> = offsets;
        let offsets =
            offsets.map_err(|_| ArrowError::InvalidArgumentError("a list begins before the first item".to_owned()))?;
        Ok(Lists::List { lists: Arc::clone(lists), offsets, items })
    }

    /// Where the items of a row are; a list that is NULL has none, whatever stands behind it.
    fn items(&self, row: usize) -> std::ops::Range<usize> {
        match self {
            Lists::List { lists, offsets, .. } if lists.is_valid(row) => offsets[row]..offsets[row + 1],
            Lists::List { .. } | Lists::Numbers => 0..0,
        }
    }

    /// The items of all rows one after the other, each row's filled up with NULL to the length of its longest list.
    fn spread(&self, lengths: &[usize], least: usize) -> Result<ArrayRef, ArrowError> {
        let rows = lengths.iter();
        match self {
            Lists::List { items, .. } => {
                let places: UInt64Array = rows
                    .enumerate()
                    .flat_map(|(row, length)| {
                        let places = self.items(row);
                        let missing = (*length).max(least) - places.len();
                        places.map(|place| Some(place as u64)).chain(std::iter::repeat_n(None, missing))
                    })
                    .collect();
                take(items, &places, None)
            }
            Lists::Numbers => {
                let numbers = |length: usize| (1..=length as i64).map(Some);
                let padding = |length: usize| std::iter::repeat_n(None, length.max(least) - length);
                let numbers: Int64Array = rows.flat_map(|l| numbers(*l).chain(padding(*l))).collect();
                Ok(Arc::new(numbers))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, ListArray};
    use arrow::buffer::{NullBuffer, OffsetBuffer};
    use arrow::datatypes::{DataType, Field, Int32Type, Schema};

    use super::*;

    fn lists() -> ArrayRef {
        // [1, 2], [], NULL (with an item behind it), [NULL]
        let items = Int32Array::from(vec![Some(1), Some(2), Some(9), None]);
        let field = Arc::new(Field::new_list_field(DataType::Int32, true));
        let nulls = NullBuffer::from(vec![true, true, false, true]);
        Arc::new(ListArray::new(field, OffsetBuffer::from_lengths([2, 0, 1, 1]), Arc::new(items), Some(nulls)))
    }

    #[test]
    fn rows_repeat_and_shorter_lists_are_filled_up() {
        let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int32, true)]));
        let rows = RecordBatch::try_new(schema, vec![Arc::new(Int32Array::from(vec![1, 2, 3, 4]))]).unwrap();
        let weights = Int64Array::from(vec![1, 2, -3, -4]);
        for (itemless, ids, items, numbers, carried) in [
            (
                Itemless::Dropped,
                vec![1, 1, 4],
                vec![Some(1), Some(2), None],
                vec![Some(1), Some(2), Some(1)],
                vec![1, 1, -4],
            ),
            (
                Itemless::Padded,
                vec![1, 1, 2, 3, 4],
                vec![Some(1), Some(2), None, None, None],
                vec![Some(1), Some(2), None, None, Some(1)],
                vec![1, 1, 2, -3, -4],
            ),
        ] {
            let spread = [Spread::Items(lists()), Spread::Numbers];
            let (columns, weights) = expand(&rows, &weights, &spread, itemless, &[0]).unwrap();
            assert_eq!(columns[0].as_primitive::<Int32Type>(), &Int32Array::from(ids));
            assert_eq!(columns[1].as_primitive::<Int32Type>(), &Int32Array::from(items));
            assert_eq!(columns[2].as_ref(), &Int64Array::from(numbers) as &dyn Array);
            assert_eq!(weights, Int64Array::from(carried));
        }
    }
}
