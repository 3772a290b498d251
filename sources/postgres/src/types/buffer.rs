//! Growing columns of one Arrow type each, which unlike Arrow's own builders can be cut back: a
//! value that turns out faulty halfway leaves nothing behind.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, BooleanBufferBuilder, NullBufferBuilder, PrimitiveArray,
    StringArray,
};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::datatypes::DataType;

use super::error::Fault;

/// Which rows are not NULL. Costs nothing until the first NULL.
pub(super) struct Validity(pub(super) NullBufferBuilder);

impl Default for Validity {
    fn default() -> Self {
        Validity(NullBufferBuilder::new(0))
    }
}

impl Validity {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.as_slice().map_or(0, <[u8]>::len)
    }
}

/// Fixed-width values.
pub(super) struct Primitive<T: ArrowPrimitiveType> {
    values: Vec<T::Native>,
    validity: Validity,
    data_type: DataType,
}

impl<T: ArrowPrimitiveType> Primitive<T> {
    pub(super) fn new() -> Self {
        Self::with_data_type(T::DATA_TYPE)
    }

    /// `data_type` has the native type of `T`: a DECIMAL of another precision, a timestamp with a
    /// time zone.
    pub(super) fn with_data_type(data_type: DataType) -> Self {
        Primitive { values: Vec::new(), validity: Validity::default(), data_type }
    }

    #[inline]
    pub(super) fn push(&mut self, value: T::Native) {
        self.values.push(value);
        self.validity.0.append_non_null();
    }

    pub(super) fn push_null(&mut self) {
        self.values.push(T::Native::default());
        self.validity.0.append_null();
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.values.truncate(len);
        self.validity.0.truncate(len);
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.values.as_slice()) + self.validity.bytes()
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        let values = std::mem::take(&mut self.values);
        let array = PrimitiveArray::<T>::new(values.into(), self.validity.0.finish());
        Arc::new(array.with_data_type(self.data_type.clone()))
    }
}

/// Truth values, a bit each.
pub(super) struct Bits {
    values: BooleanBufferBuilder,
    validity: Validity,
}

impl Bits {
    pub(super) fn new() -> Self {
        Bits { values: BooleanBufferBuilder::new(0), validity: Validity::default() }
    }

    pub(super) fn push(&mut self, value: bool) {
        self.values.append(value);
        self.validity.0.append_non_null();
    }

    pub(super) fn push_null(&mut self) {
        self.values.append(false);
        self.validity.0.append_null();
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.values.truncate(len);
        self.validity.0.truncate(len);
    }

    pub(super) fn bytes(&self) -> usize {
        self.values.len().div_ceil(8) + self.validity.bytes()
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        Arc::new(BooleanArray::new(self.values.finish(), self.validity.0.finish()))
    }
}

/// Where each value of a variable width ends: ascending, within an `i32`, as Arrow's offsets are.
pub(super) struct Ends(Vec<i32>);

impl Default for Ends {
    fn default() -> Self {
        Ends(vec![0])
    }
}

impl Ends {
    pub(super) fn len(&self) -> usize {
        self.0.len() - 1
    }

    /// The end of the first `len` values.
    pub(super) fn end_of(&self, len: usize) -> usize {
        self.0[len] as usize
    }

    /// The end of the last value.
    pub(super) fn last(&self) -> usize {
        self.end_of(self.len())
    }

    /// `end` is not before the last one. Fails where Arrow's offsets do not reach.
    pub(super) fn push(&mut self, end: usize) -> Result<(), Fault> {
        self.0.push(i32::try_from(end).map_err(|_| Fault::Full)?);
        Ok(())
    }

    /// A value of no width.
    pub(super) fn push_empty(&mut self) {
        self.0.push(self.0[self.len()]);
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.0.truncate(len + 1);
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.0[1..])
    }

    pub(super) fn finish(&mut self) -> OffsetBuffer<i32> {
        OffsetBuffer::new(std::mem::take(self).0.into())
    }
}

/// Bytes, or text.
pub(super) struct Bytes {
    ends: Ends,
    values: Vec<u8>,
    validity: Validity,
}

impl Bytes {
    pub(super) fn new() -> Self {
        Bytes { ends: Ends::default(), values: Vec::new(), validity: Validity::default() }
    }

    #[inline]
    pub(super) fn push(&mut self, value: &[u8]) -> Result<(), Fault> {
        self.ends.push(self.values.len() + value.len())?;
        self.values.extend_from_slice(value);
        self.validity.0.append_non_null();
        Ok(())
    }

    /// Takes what `write` adds to the end of the bytes as one value.
    pub(super) fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), Fault>) -> Result<(), Fault> {
        let written = write(&mut self.values).and_then(|()| self.ends.push(self.values.len()));
        match written {
            Ok(()) => self.validity.0.append_non_null(),
            Err(_) => self.values.truncate(self.ends.last()),
        }
        written
    }

    pub(super) fn push_null(&mut self) {
        self.ends.push_empty();
        self.validity.0.append_null();
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.ends.truncate(len);
        self.values.truncate(self.ends.last());
        self.validity.0.truncate(len);
    }

    pub(super) fn bytes(&self) -> usize {
        self.ends.bytes() + self.values.len() + self.validity.bytes()
    }

    pub(super) fn finish_binary(&mut self) -> ArrayRef {
        let values = Buffer::from_vec(std::mem::take(&mut self.values));
        Arc::new(BinaryArray::new(self.ends.finish(), values, self.validity.0.finish()))
    }

    /// Every value that was pushed is UTF-8.
    pub(super) fn finish_text(&mut self) -> ArrayRef {
        let values = Buffer::from_vec(std::mem::take(&mut self.values));
        Arc::new(StringArray::new(self.ends.finish(), values, self.validity.0.finish()))
    }
}
