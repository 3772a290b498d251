//! The values of a column of VALUES, as a list of those of each row.

use std::sync::Arc;

use arrow::array::{Array, ListArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Field};

use super::bound::{Bound, Kind};
use super::call::{Answer, Arguments, call};
use super::coercion::unify;
use crate::error::Refusal;

/// Binds a column of VALUES. Its values meet in one type, as those of a CASE do.
pub(super) fn bind(values: Vec<Bound>) -> Result<Bound, Refusal> {
    if values.iter().any(|value| value.kind != Kind::Plain) {
        return Err(Refusal::new("UUID and JSON values in VALUES cannot be maintained: cast them to VARCHAR"));
    }
    let (exprs, data_type) = unify(values)?;
    Ok(call("#values", kernel, exprs, DataType::new_list(data_type, true)))
}

fn kernel(args: &Arguments) -> Answer {
    let columns: Vec<_> = (0..args.len()).map(|column| args.array(column)).collect();
    let arrays: Vec<&dyn Array> = columns.iter().map(|(array, _)| array.as_ref()).collect();
    let place = |row: usize| {
        let place = move |(column, (_, constant)): (usize, &(_, bool))| (column, if *constant { 0 } else { row });
        columns.iter().enumerate().map(place)
    };
    let places: Vec<(usize, usize)> = (0..args.rows).flat_map(place).collect();
    let failed = |_| "the values of VALUES could not be put together".to_owned();
    let items = interleave(&arrays, &places).map_err(failed)?;
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(columns.len(), args.rows));
    let field = Arc::new(Field::new_list_field(items.data_type().clone(), true));
    Ok(Arc::new(ListArray::try_new(field, offsets, items, None).map_err(failed)?))
}
