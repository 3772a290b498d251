//! The answer of a call over the rows it sees.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, ListArray, MapArray, StringArray, StructArray, UInt32Array,
    UInt64Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Float64Type, Int64Type, UInt64Type};
use tidegate_engine_row::Row;
use tidegate_engine_sql::{ArgExtreme, Bits, Recomputed};

use super::numbers::{product, regression, spread};
use super::quantile::quantile;
use super::{Call, Fault, Group};

/// One value, or none for NULL.
pub(super) type Answer = Result<Option<ArrayRef>, Fault>;

pub(super) fn answer(call: &Call, group: &Group, rows: &[usize]) -> Answer {
    let first = call.arguments[0];
    let column = &group.columns[first];
    let valid = || rows.iter().copied().filter(|row| column.is_valid(*row));
    let one = |row: Option<usize>| Ok(row.map(|row| column.slice(row, 1)));
    let double = |value: Option<f64>| Ok(value.map(|value| Arc::new(Float64Array::from(vec![value])) as ArrayRef));
    match &call.function {
        Recomputed::First => one(rows.first().copied()),
        Recomputed::Last => one(rows.last().copied()),
        Recomputed::AnyValue => one(valid().next()),
        Recomputed::Only if rows.len() > 1 => Err(Fault::SeveralRows),
        Recomputed::Only => one(rows.first().copied()),
        Recomputed::ArgExtreme(extreme) => one(arg_extreme(*extreme, call, group, rows)),
        Recomputed::Mode => {
            let counts = counts(group.keys(first), valid());
            let best =
                counts.values().min_by_key(|(row, position, count)| (std::cmp::Reverse(*count), *position, *row));
            one(best.map(|(row, ..)| *row))
        }
        Recomputed::StringAgg(separator) => {
            let texts = column.as_string::<i32>();
            let texts: Vec<&str> = valid().map(|row| texts.value(row)).collect();
            let separator = separator.as_ref().filter(|_| !texts.is_empty());
            Ok(separator.map(|separator| Arc::new(StringArray::from(vec![texts.join(separator)])) as ArrayRef))
        }
        Recomputed::List => list(&call.return_type, column, rows),
        Recomputed::Histogram => {
            let counts = counts(group.keys(first), valid());
            let counts: Vec<(usize, u64)> = counts.into_values().map(|(row, _, count)| (row, count)).collect();
            histogram(&call.return_type, column, &counts)
        }
        Recomputed::Quantile(wanted) => {
            let mut rows: Vec<usize> = valid().collect();
            let keys = group.keys(first);
            rows.sort_by(|a, b| keys[*a].cmp(&keys[*b]));
            quantile(wanted, &call.return_type, column, &rows)
        }
        Recomputed::Entropy => {
            let counts = counts(group.keys(first), valid());
            let total = counts.values().map(|(.., count)| count).sum::<u64>() as f64;
            // A sum of nothing is −0.0.
            double(Some(
                counts.values().map(|(.., n)| *n as f64).fold(0.0, |sum, n| sum + n / total * (total / n).log2()),
            ))
        }
        Recomputed::Bits(bits) => self::bits(*bits, column, valid(), &call.return_type),
        Recomputed::Product => {
            let values = column.as_primitive::<Float64Type>();
            double(product(valid().map(|row| values.value(row))))
        }
        Recomputed::Spread(which) => {
            let values = column.as_primitive::<Float64Type>();
            double(spread(*which, valid().map(|row| values.value(row)))?)
        }
        Recomputed::Regression(which) => {
            let other = &group.columns[call.arguments[1]];
            let (y, x) = (column.as_primitive::<Float64Type>(), other.as_primitive::<Float64Type>());
            let pairs = valid().filter(|row| x.is_valid(*row)).map(|row| (y.value(row), x.value(row)));
            match &call.return_type {
                DataType::UInt32 => {
                    let count = u32::try_from(pairs.count()).map_err(|_| Fault::Range)?;
                    Ok(Some(Arc::new(UInt32Array::from(vec![count]))))
                }
                _ => double(regression(*which, pairs)?),
            }
        }
    }
}

fn arg_extreme(extreme: ArgExtreme, call: &Call, group: &Group, rows: &[usize]) -> Option<usize> {
    let (value, by) = (call.arguments[0], call.arguments[1]);
    let seen = |row: usize| group.columns[by].is_valid(row) && (extreme.nulls || group.columns[value].is_valid(row));
    let keys = group.keys(by);
    let mut best: Option<usize> = None;
    for row in rows.iter().copied().filter(|row| seen(*row)) {
        let better = |best: usize| if extreme.greatest { keys[row] > keys[best] } else { keys[row] < keys[best] };
        if best.is_none_or(better) {
            best = Some(row);
        }
    }
    best
}

/// Of every value: its first row, the place of that among all, and its copies.
fn counts(keys: &[Row], rows: impl Iterator<Item = usize>) -> BTreeMap<&Row, (usize, usize, u64)> {
    let mut counts = BTreeMap::new();
    for (position, row) in rows.enumerate() {
        counts.entry(&keys[row]).or_insert((row, position, 0)).2 += 1;
    }
    counts
}

fn indices(rows: impl Iterator<Item = usize>) -> UInt64Array {
    UInt64Array::from_iter_values(rows.map(|row| row as u64))
}

fn list(return_type: &DataType, column: &ArrayRef, rows: &[usize]) -> Answer {
    let DataType::List(item) = return_type else { unreachable!("a list is answered as a list") };
    if rows.is_empty() {
        return Ok(None);
    }
    let items = take(column, &indices(rows.iter().copied()), None)?;
    let lengths = OffsetBuffer::from_lengths([rows.len()]);
    Ok(Some(Arc::new(ListArray::try_new(Arc::clone(item), lengths, items, None)?)))
}

fn histogram(return_type: &DataType, column: &ArrayRef, counts: &[(usize, u64)]) -> Answer {
    let DataType::Map(entries, _) = return_type else { unreachable!("a histogram is a map") };
    let DataType::Struct(fields) = entries.data_type() else { unreachable!("a map has entries") };
    if counts.is_empty() {
        return Ok(None);
    }
    let keys = take(column, &indices(counts.iter().map(|(row, _)| *row)), None)?;
    let values: ArrayRef = Arc::new(UInt64Array::from_iter_values(counts.iter().map(|(_, count)| *count)));
    let pairs = StructArray::try_new(fields.clone(), vec![keys, values], None)?;
    let lengths = OffsetBuffer::from_lengths([counts.len()]);
    Ok(Some(Arc::new(MapArray::try_new(Arc::clone(entries), lengths, pairs, None, false)?)))
}

fn bits(bits: Bits, column: &ArrayRef, rows: impl Iterator<Item = usize>, return_type: &DataType) -> Answer {
    let join = |a: u64, b: u64| match bits {
        Bits::And => a & b,
        Bits::Or => a | b,
        Bits::Xor => a ^ b,
    };
    let answer: Option<ArrayRef> = if return_type.is_unsigned_integer() {
        let values = cast(column, &DataType::UInt64)?;
        let values = values.as_primitive::<UInt64Type>();
        let joined = rows.map(|row| values.value(row)).reduce(join);
        joined.map(|value| Arc::new(UInt64Array::from(vec![value])) as ArrayRef)
    } else {
        let values = cast(column, &DataType::Int64)?;
        let values = values.as_primitive::<Int64Type>();
        let joined = rows.map(|row| values.value(row) as u64).reduce(join);
        joined.map(|value| Arc::new(Int64Array::from(vec![value as i64])) as ArrayRef)
    };
    Ok(answer.map(|answer| cast(&answer, return_type)).transpose()?)
}
