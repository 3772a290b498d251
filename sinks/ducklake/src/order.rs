//! Whether rows come in the order of their key, as DuckDB sorts it: ascending, NULLs last.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, RecordBatch, make_comparator};
use arrow::compute::SortOptions;

const ASCENDING: SortOptions = SortOptions { descending: false, nulls_first: false };

/// The order of some columns in the batches seen so far.
#[derive(Debug)]
pub(crate) struct Order {
    key: Vec<usize>,
    /// The key of the last row seen: arrays of one value.
    last: Option<Vec<ArrayRef>>,
}

impl Order {
    pub(crate) fn new(key: &[usize]) -> Order {
        Order { key: key.to_vec(), last: None }
    }

    /// Whether the order goes on with all rows of a batch; if so, it counts as seen.
    pub(crate) fn goes_on(&mut self, rows: &RecordBatch) -> bool {
        let count = rows.num_rows();
        if count == 0 {
            return true;
        }
        let columns: Vec<_> = self.key.iter().map(|index| rows.column(*index)).collect();
        let follows =
            self.last.as_ref().is_none_or(|last| is_sorted(last.iter().zip(columns.iter().copied()), 0..1, 0));
        let in_order = follows && is_sorted(columns.iter().map(|column| (*column, *column)), 0..count - 1, 1);
        if in_order {
            self.goes_back(rows, count);
        }
        in_order
    }

    /// Makes the first `count` rows of a batch, at least one, the last that were seen.
    pub(crate) fn goes_back(&mut self, rows: &RecordBatch, count: usize) {
        self.last = Some(self.key.iter().map(|index| rows.column(*index).slice(count - 1, 1)).collect());
    }
}

/// Whether the rows of the left columns do not come after those of the right ones that stand `shift` further.
/// Columns that cannot be compared are in no order.
fn is_sorted<'a>(
    columns: impl Iterator<Item = (&'a ArrayRef, &'a ArrayRef)>,
    rows: std::ops::Range<usize>,
    shift: usize,
) -> bool {
    let compare = columns.map(|(left, right)| make_comparator(left, right, ASCENDING)).collect::<Result<Vec<_>, _>>();
    let Ok(compare) = compare else { return false };
    rows.into_iter().all(|row| {
        let unequal = compare.iter().map(|compare| compare(row, row + shift)).find(|found| *found != Ordering::Equal);
        unequal != Some(Ordering::Greater)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};

    use super::*;

    fn rows(pairs: &[(Option<i64>, &str)]) -> RecordBatch {
        let numbers: Int64Array = pairs.iter().map(|pair| pair.0).collect();
        let texts: StringArray = pairs.iter().map(|pair| Some(pair.1)).collect();
        RecordBatch::try_from_iter([("n", Arc::new(numbers) as ArrayRef), ("t", Arc::new(texts) as ArrayRef)]).unwrap()
    }

    #[test]
    fn the_order_is_that_of_duckdb_within_batches_and_across_them() {
        let mut order = Order::new(&[0, 1]);
        assert!(order.goes_on(&rows(&[(Some(1), "b"), (Some(1), "c"), (Some(2), "a")])));
        assert!(!order.goes_on(&rows(&[(Some(1), "z")])));
        assert!(order.goes_on(&rows(&[])));
        assert!(order.goes_on(&rows(&[(Some(2), "a"), (None, "a"), (None, "b")])));
        assert!(!order.goes_on(&rows(&[(Some(3), "a")])));
        let batch = rows(&[(Some(5), "a"), (Some(7), "a")]);
        order.goes_back(&batch, 1);
        assert!(order.goes_on(&rows(&[(Some(6), "a")])));
        assert!(!Order::new(&[1]).goes_on(&rows(&[(None, "b"), (None, "a")])));
    }
}
