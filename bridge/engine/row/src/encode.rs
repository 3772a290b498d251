//! Arrow columns to rows, a thousand rows at a time, column by column.
//!
//! All rows of a chunk are laid out in one buffer that stays in the cache; each column writes its
//! words at its place in every row. The type of a column is looked at once a chunk.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, GenericByteArray, GenericByteViewArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ByteArrayType, ByteViewType, DataType, Decimal128Type, Decimal256Type, IntervalMonthDayNanoType,
};
use arrow::row::Rows;

use crate::codec::{Column, Kind, Part, null_mask};
use crate::word::{Word, with_word_type, write_i128};
use crate::{KeyMode, Row, RowCodec, RowError, bytes, interval};

const CHUNK_ROWS: usize = 1024;

/// Where the bytes of strings and of nested values lie.
trait ByteSource {
    fn bytes(&self, index: usize) -> &[u8];
}

impl<T: ByteArrayType> ByteSource for GenericByteArray<T> {
    #[inline]
    fn bytes(&self, index: usize) -> &[u8] {
        self.value(index).as_ref()
    }
}

impl<T: ByteViewType + ?Sized> ByteSource for GenericByteViewArray<T> {
    #[inline]
    fn bytes(&self, index: usize) -> &[u8] {
        self.value(index).as_ref()
    }
}

impl ByteSource for Rows {
    #[inline]
    fn bytes(&self, index: usize) -> &[u8] {
        self.row(index).data()
    }
}

/// Compiles the code once for every kind of column of variable width.
macro_rules! with_byte_source {
    ($input:expr, $source:ident => $code:expr) => {{
        macro_rules! with {
            ($array:expr) => {{
                let $source = $array;
                $code
            }};
        }
        let array = $input.array;
        match (&$input.nested, array.data_type()) {
            (Some(rows), _) => with!(rows),
            (None, DataType::Utf8) => with!(array.as_string::<i32>()),
            (None, DataType::LargeUtf8) => with!(array.as_string::<i64>()),
            (None, DataType::Utf8View) => with!(array.as_string_view()),
            (None, DataType::Binary) => with!(array.as_binary::<i32>()),
            (None, DataType::LargeBinary) => with!(array.as_binary::<i64>()),
            (None, DataType::BinaryView) => with!(array.as_binary_view()),
            (None, other) => unreachable!("columns of variable width are strings, binaries or nested, not {other}"),
        }
    }};
}

impl RowCodec {
    /// The rows of a batch. The columns are in the codec's order and of its types, which may
    /// differ in metadata and in the nullability of nested fields only.
    ///
    /// Without columns there are no rows; use [`Row::empty`].
    ///
    /// # Errors
    ///
    /// Columns that do not fit the codec, NULL where NOT NULL was declared, and decimals outside
    /// their precision.
    pub fn encode(&self, columns: &[ArrayRef]) -> Result<Vec<Row>, RowError> {
        let mut rows = Vec::with_capacity(columns.first().map_or(0, |column| column.len()));
        self.encode_each(columns, |words| rows.push(Row::from_words(words)))?;
        Ok(rows)
    }

    /// Calls `each` with the words of every row, in order.
    ///
    /// # Errors
    ///
    /// As [`RowCodec::encode`]. `each` may have been called for some rows by then.
    pub fn encode_each(&self, columns: &[ArrayRef], mut each: impl FnMut(&[u64])) -> Result<(), RowError> {
        let rows = columns.first().map_or(0, |column| column.len());
        let inputs = self.inputs(columns, rows)?;
        let fixed: usize = self.parts().iter().map(|part| part.fixed_words).sum();
        let mut words = Vec::new();
        let mut ends: Vec<usize> = Vec::new();
        let mut cursors: Vec<usize> = Vec::new();
        for start in (0..rows).step_by(CHUNK_ROWS) {
            let range = start..rows.min(start + CHUNK_ROWS);
            ends.clear();
            ends.resize(range.len(), fixed);
            inputs.iter().for_each(|input| input.add_widths(range.clone(), &mut ends));
            let mut total = 0;
            cursors.clear();
            for end in &mut ends {
                cursors.push(total);
                total += *end;
                *end = total;
            }
            words.clear();
            words.resize(total, 0);
            let mut chunk = Chunk { range, words: &mut words, cursors: &mut cursors, offset: 0 };
            let mut inputs = inputs.iter();
            for part in self.parts() {
                chunk.write_part(part, &mut inputs)?;
            }
            let mut begin = 0;
            for end in &ends {
                each(&words[begin..*end]);
                begin = *end;
            }
        }
        Ok(())
    }

    /// The columns, checked against the codec; nested ones as Arrow's row format.
    fn inputs<'a>(&'a self, arrays: &'a [ArrayRef], rows: usize) -> Result<Vec<Input<'a>>, RowError> {
        let expected = self.fields().count();
        if arrays.len() != expected {
            return Err(RowError::ColumnCount { expected, found: arrays.len() });
        }
        let mut inputs = Vec::with_capacity(expected);
        for ((_, column), array) in self.columns().zip(arrays) {
            if array.len() != rows {
                return Err(RowError::RowCount { column: column.name(), expected: rows, found: array.len() });
            }
            if !column.field.data_type().equals_datatype(array.data_type()) {
                return Err(RowError::ColumnType {
                    column: column.name(),
                    expected: column.field.data_type().clone(),
                    found: array.data_type().clone(),
                });
            }
            let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
            if nulls.is_some() && column.null_bit.is_none() {
                return Err(RowError::UnexpectedNull { column: column.name() });
            }
            let nested = match &column.kind {
                Kind::Nested(nested) => Some(nested.encode(array)?),
                _ => None,
            };
            inputs.push(Input { column, array, nulls, nested });
        }
        Ok(inputs)
    }
}

/// A column of the batch that is being encoded.
struct Input<'a> {
    column: &'a Column,
    array: &'a ArrayRef,
    nulls: Option<NullBuffer>,
    nested: Option<Rows>,
}

impl Input<'_> {
    /// Adds the words that each row of `range` needs for a column of variable width.
    fn add_widths(&self, range: Range<usize>, widths: &mut [usize]) {
        if self.column.words.is_none() {
            with_byte_source!(self, source => for (index, width) in range.zip(widths) {
                if !self.is_null(index) {
                    *width += bytes::word_count(source.bytes(index).len());
                }
            });
        }
    }

    #[inline]
    fn is_null(&self, index: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(index))
    }
}

/// The rows of one chunk while they are filled.
struct Chunk<'a> {
    /// The rows of the batch that the chunk holds.
    range: Range<usize>,
    words: &'a mut [u64],
    /// Where the next column goes, one for each row, less `offset`.
    cursors: &'a mut [usize],
    /// Words of fixed width written since the cursors were moved.
    offset: usize,
}

impl Chunk<'_> {
    fn write_part<'i>(
        &mut self,
        part: &Part,
        inputs: &mut impl Iterator<Item = &'i Input<'i>>,
    ) -> Result<(), RowError> {
        let bitmap = self.offset;
        self.offset += part.bitmap_words;
        let starts = part.bitmap_words.gt(&0).then(|| self.cursors.to_vec());
        for input in inputs.take(part.columns.len()) {
            if let (Some(nulls), Some(bit), Some(starts)) = (&input.nulls, input.column.null_bit, &starts) {
                for (start, index) in starts.iter().zip(self.range.clone()) {
                    if nulls.is_null(index) {
                        self.words[start + bitmap + bit / 64] |= null_mask(bit);
                    }
                }
            }
            self.write_column(input, part.mode)?;
        }
        Ok(())
    }

    fn write_column(&mut self, input: &Input<'_>, mode: KeyMode) -> Result<(), RowError> {
        let array = input.array;
        match &input.column.kind {
            Kind::Null => {}
            Kind::Word => self.write_words(input, mode)?,
            Kind::Wide => {
                let values = array.as_primitive::<Decimal128Type>().values();
                self.write_fixed(input, 2, |index, out| write_i128(values[index], out));
            }
            Kind::Wider => {
                let values = array.as_primitive::<Decimal256Type>().values();
                self.write_fixed(input, 4, |index, out| {
                    let (low, high) = values[index].to_parts();
                    write_i128(high, &mut out[..2]);
                    out[2] = (low >> 64) as u64;
                    out[3] = low as u64;
                });
            }
            Kind::Interval => {
                let values = array.as_primitive::<IntervalMonthDayNanoType>().values();
                match mode {
                    KeyMode::Exact => self.write_fixed(input, interval::EXACT_WORDS, |index, out| {
                        interval::write_exact(values[index], out);
                    }),
                    KeyMode::Canonical => self.write_fixed(input, interval::CANONICAL_WORDS, |index, out| {
                        interval::write_canonical(values[index], out);
                    }),
                }
            }
            Kind::Fixed(size) => {
                let values = array.as_fixed_size_binary();
                self.write_fixed(input, size.div_ceil(8), |index, out| {
                    for (word, chunk) in out.iter_mut().zip(values.value(index).chunks(8)) {
                        let mut eight = [0; 8];
                        eight[..chunk.len()].copy_from_slice(chunk);
                        *word = u64::from_be_bytes(eight);
                    }
                });
            }
            Kind::Bytes | Kind::Nested(_) => with_byte_source!(input, source => self.write_bytes(input, source)),
        }
        Ok(())
    }

    fn write_words(&mut self, input: &Input<'_>, mode: KeyMode) -> Result<(), RowError> {
        let array = input.array;
        match array.data_type() {
            DataType::Boolean => {
                let values = array.as_boolean();
                self.write_fixed(input, 1, |index, out| out[0] = u64::from(values.value(index)));
            }
            DataType::Decimal128(..) => {
                let values = array.as_primitive::<Decimal128Type>().values();
                let mut fits = true;
                self.write_fixed(input, 1, |index, out| match i64::try_from(values[index]) {
                    Ok(value) => out[0] = value.to_word(mode),
                    Err(_) => fits = false,
                });
                if !fits {
                    let data_type = array.data_type().clone();
                    return Err(RowError::OutOfRange { column: input.column.name(), data_type });
                }
            }
            data_type => with_word_type!(data_type, T => self.write_primitive::<T>(input, mode)),
        }
        Ok(())
    }

    fn write_primitive<T: ArrowPrimitiveType<Native: Word>>(&mut self, input: &Input<'_>, mode: KeyMode) {
        let values = &input.array.as_primitive::<T>().values()[self.range.clone()];
        if input.nulls.is_some() {
            let first = self.range.start;
            return self.write_fixed(input, 1, |index, out| out[0] = values[index - first].to_word(mode));
        }
        for (cursor, value) in self.cursors.iter().zip(values) {
            self.words[cursor + self.offset] = value.to_word(mode);
        }
        self.offset += 1;
    }

    #[inline]
    fn write_fixed(&mut self, input: &Input<'_>, words: usize, mut write: impl FnMut(usize, &mut [u64])) {
        for (cursor, index) in self.cursors.iter().zip(self.range.clone()) {
            if !input.is_null(index) {
                let at = cursor + self.offset;
                write(index, &mut self.words[at..at + words]);
            }
        }
        self.offset += words;
    }

    fn write_bytes(&mut self, input: &Input<'_>, source: &impl ByteSource) {
        for (cursor, index) in self.cursors.iter_mut().zip(self.range.clone()) {
            *cursor += self.offset;
            if !input.is_null(index) {
                *cursor += bytes::write(source.bytes(index), &mut self.words[*cursor..]);
            }
        }
        self.offset = 0;
    }
}
