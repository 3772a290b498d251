//! Nested arrays around converted leaves.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, ListArray, MapArray, StructArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use arrow::datatypes::DataType;

/// A value that the stored form cannot hold, or a stored one that is none of the view's.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ColumnError(pub &'static str);

/// What is stored has columns that the view does not have.
pub const OTHER_COLUMNS: ColumnError = ColumnError("its columns are not those of the view");

/// Rebuilds nested arrays around converted leaves; `leaf` converts those whose type differs.
pub fn convert(
    array: &ArrayRef,
    target: &DataType,
    leaf: &dyn Fn(&ArrayRef, &DataType) -> Result<ArrayRef, ColumnError>,
) -> Result<ArrayRef, ColumnError> {
    let shape = |_| ColumnError("nested values are not built as their type says");
    Ok(match (array.data_type(), target) {
        (found, target) if found == target => array.clone(),
        (DataType::List(_), DataType::List(item)) => {
            let list = array.as_list::<i32>();
            let values = convert(list.values(), item.data_type(), leaf)?;
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            Arc::new(ListArray::try_new(item.clone(), offsets, values, nulls).map_err(shape)?)
        }
        (DataType::FixedSizeList(_, size), DataType::List(item)) => {
            let list = array.as_fixed_size_list();
            let size = *size as usize;
            // What lies under a NULL is left out.
            let kept = (0..list.len()).filter(|row| list.is_valid(*row));
            let kept: UInt32Array = kept.flat_map(|row| (row * size..(row + 1) * size).map(|at| at as u32)).collect();
            let values = take(list.values(), &kept, None).map_err(|_| OTHER_COLUMNS)?;
            let values = convert(&values, item.data_type(), leaf)?;
            let lengths = (0..list.len()).map(|row| if list.is_valid(row) { size } else { 0 });
            let offsets = OffsetBuffer::from_lengths(lengths);
            Arc::new(ListArray::try_new(item.clone(), offsets, values, list.nulls().cloned()).map_err(shape)?)
        }
        (DataType::List(_), DataType::FixedSizeList(item, size)) => {
            let list = array.as_list::<i32>();
            let mut places: Vec<Option<u32>> = Vec::with_capacity(list.len() * *size as usize);
            for (row, bounds) in list.offsets().windows(2).enumerate() {
                if list.is_null(row) {
                    places.extend(std::iter::repeat_n(None, *size as usize));
                } else if bounds[1] - bounds[0] == *size {
                    places.extend((bounds[0]..bounds[1]).map(|at| Some(at as u32)));
                } else {
                    return Err(ColumnError("a stored list does not have the length that its type says"));
                }
            }
            let values = take(list.values(), &UInt32Array::from(places), None).map_err(|_| OTHER_COLUMNS)?;
            let values = convert(&values, item.data_type(), leaf)?;
            Arc::new(FixedSizeListArray::try_new(item.clone(), *size, values, list.nulls().cloned()).map_err(shape)?)
        }
        (DataType::Map(..), DataType::Map(entries, sorted)) => {
            let map = array.as_map();
            let values: ArrayRef = Arc::new(map.entries().clone());
            let values = convert(&values, entries.data_type(), leaf)?.as_struct().clone();
            let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
            Arc::new(MapArray::try_new(entries.clone(), offsets, values, nulls, *sorted).map_err(shape)?)
        }
        (DataType::Struct(found), DataType::Struct(fields)) if found.len() == fields.len() => {
            let structs = array.as_struct();
            let columns = structs.columns().iter().zip(fields).map(|(column, f)| convert(column, f.data_type(), leaf));
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            Arc::new(StructArray::try_new(fields.clone(), columns, structs.nulls().cloned()).map_err(shape)?)
        }
        (_, target) => {
            let converted = leaf(array, target)?;
            if converted.data_type() != target {
                return Err(OTHER_COLUMNS);
            }
            converted
        }
    })
}
