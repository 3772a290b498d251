//! Whether a dictionary is worth its hashing.

use std::collections::HashSet;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;

/// Values of a column that are looked at to learn whether they repeat.
const SAMPLE: usize = 4_096;
/// Of sixteen values so many may be different where a dictionary is still worth its hashing.
const DIFFERENT_OF_16: usize = 15;

/// Whether the values of a column repeat, as far as some of them tell. They are taken from all over the rows, because
/// equal values lie together where the rows are sorted. Of few rows it is taken for granted: to ask costs as much as a
/// dictionary of them.
pub fn repeats(rows: &[RecordBatch], column: usize) -> bool {
    let total: usize = rows.iter().map(RecordBatch::num_rows).sum();
    if total <= SAMPLE {
        return true;
    }
    let step = total.div_ceil(SAMPLE);
    let mut seen: HashSet<Box<[u8]>> = HashSet::with_capacity(SAMPLE);
    let (mut taken, mut next) = (0, 0);
    for batch in rows {
        let array = batch.column(column);
        let (nulls, data) = (array.logical_nulls(), array.to_data());
        let width = array.data_type().primitive_width();
        while next < array.len() {
            let row = next;
            next += step;
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                continue;
            }
            let value = match (array.data_type(), width) {
                (DataType::Utf8, _) => array.as_string::<i32>().value(row).as_bytes(),
                (DataType::Binary, _) => array.as_binary::<i32>().value(row),
                (_, Some(width)) => &data.buffers()[0].as_slice()[(data.offset() + row) * width..][..width],
                _ => return true,
            };
            taken += 1;
            if !seen.contains(value) {
                seen.insert(value.into());
            }
        }
        next -= array.len();
    }
    seen.len() * 16 <= taken * DIFFERENT_OF_16
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    fn check(array: ArrayRef, expected: bool) {
        let rows = RecordBatch::try_from_iter([("c", array)]).unwrap();
        let parts: Vec<_> = (0..rows.num_rows()).step_by(1000).map(|from| rows.slice(from, 1000)).collect();
        assert_eq!((repeats(&[rows], 0), repeats(&parts, 0)), (expected, expected));
    }

    #[test]
    fn only_values_that_repeat_get_a_dictionary() {
        check(Arc::new(Int64Array::from_iter_values(0..50_000)), false);
        check(Arc::new(Int64Array::from_iter_values((0..50_000).map(|n| n / 100))), true);
        check(Arc::new(StringArray::from_iter_values((0..50_000).map(|n| format!("{n}")))), false);
        check(Arc::new(StringArray::from_iter_values((0..50_000).map(|n| format!("{}", n % 50)))), true);
        check(Arc::new(Int64Array::from_iter((0..50_000).map(|n| (n % 50 == 0).then_some(n)))), false);
        check(Arc::new(Int64Array::new_null(50_000)), true);
        check(Arc::new(Int64Array::from_iter_values(0..4_000)), true);
    }
}
