//! Batches of a file as batches of the lake.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, MapArray, StructArray, UInt32Array, make_array, new_null_array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, Field};
use arrow::error::ArrowError;

use super::cast::{CastFault, Caster, type_name};
use super::plan::{Convert, Leaf, Source};
use super::{DataFile, FileError};

/// What converting needs besides the values.
#[derive(Clone, Copy)]
pub(super) struct Converter<'a> {
    pub(super) file: &'a DataFile,
    pub(super) caster: &'a Caster,
}

impl CastFault {
    /// The error of a column.
    pub(super) fn of(self, file: &DataFile, column: &str, to: &Field) -> FileError {
        let (file, column) = (file.path.clone(), column.to_owned());
        match self {
            CastFault::Value => FileError::Value { file, column, to: type_name(to) },
            CastFault::Duck(source) => FileError::Convert { file, column, source: Box::new(source) },
        }
    }
}

impl Converter<'_> {
    /// The values of a source. Where the parent is NULL they are too.
    pub(super) fn source(
        self,
        source: &Source,
        found: &[ArrayRef],
        rows: usize,
        parent: Option<&NullBuffer>,
    ) -> Result<ArrayRef, FileError> {
        match source {
            Source::Constant(value) if value.is_null(0) => Ok(new_null_array(value.data_type(), rows)),
            Source::Constant(value) => {
                let is_there = |row| parent.is_none_or(|parent| parent.is_valid(row));
                let places: UInt32Array = (0..rows).map(|row| is_there(row).then_some(0)).collect();
                take(value, &places, None).map_err(|error| self.misshapen(&error))
            }
            Source::Column { at, convert } => {
                let values = found.get(*at).ok_or_else(|| self.file.contradiction("a column is missing"))?;
                self.masked(self.convert(convert, values)?, parent)
            }
        }
    }

    fn convert(self, convert: &Convert, values: &ArrayRef) -> Result<ArrayRef, FileError> {
        let shaped = |array: Result<ArrayRef, ArrowError>| array.map_err(|error| self.misshapen(&error));
        match convert {
            Convert::Leaf(leaf) => self.leaf(leaf, values),
            Convert::Struct { fields, children } => {
                let values = values.as_struct_opt().ok_or_else(|| self.other_shape())?;
                let (rows, nulls) = (values.len(), values.nulls());
                let parent = nulls.filter(|nulls| nulls.null_count() > 0);
                let child = |source| self.source(source, values.columns(), rows, parent);
                let children = children.iter().map(child).collect::<Result<Vec<_>, _>>()?;
                shaped(StructArray::try_new(fields.clone(), children, nulls.cloned()).map(|a| Arc::new(a) as ArrayRef))
            }
            Convert::List { item, values: inner } => {
                let list = values.as_list_opt::<i32>().ok_or_else(|| self.other_shape())?;
                let inner = self.convert(inner, list.values())?;
                let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
                shaped(ListArray::try_new(item.clone(), offsets, inner, nulls).map(|a| Arc::new(a) as ArrayRef))
            }
            Convert::Map { entries, key, value } => {
                let map = values.as_map_opt().ok_or_else(|| self.other_shape())?;
                let DataType::Struct(fields) = entries.data_type() else { return Err(self.other_shape()) };
                let parts = vec![self.convert(key, map.keys())?, self.convert(value, map.values())?];
                let within = StructArray::try_new(fields.clone(), parts, None);
                let within = within.map_err(|error| self.misshapen(&error))?;
                let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
                let map = MapArray::try_new(entries.clone(), offsets, within, nulls, false);
                shaped(map.map(|a| Arc::new(a) as ArrayRef))
            }
        }
    }

    fn leaf(self, leaf: &Leaf, values: &ArrayRef) -> Result<ArrayRef, FileError> {
        let Leaf { name, from, to } = leaf;
        let values = from.values(values).ok_or(CastFault::Value).and_then(|values| self.caster.cast(&values, from, to));
        values.map_err(|fault| fault.of(self.file, name, to))
    }

    /// A field that its file requires may have any value where the STRUCT is NULL.
    fn masked(self, values: ArrayRef, parent: Option<&NullBuffer>) -> Result<ArrayRef, FileError> {
        let Some(parent) = parent else { return Ok(values) };
        let nulls = NullBuffer::union(Some(parent), values.nulls());
        let data = values.to_data().into_builder().nulls(nulls).build();
        Ok(make_array(data.map_err(|error| self.misshapen(&error))?))
    }

    fn other_shape(self) -> FileError {
        self.file.contradiction("a column is not decoded as its schema says")
    }

    /// Arrow's own messages may hold values.
    fn misshapen(self, error: &ArrowError) -> FileError {
        let what = match error {
            ArrowError::InvalidArgumentError(_) => "a value is NULL where the catalog or the format has none",
            _ => "its values are not built as its schema says",
        };
        self.file.contradiction(what)
    }
}
