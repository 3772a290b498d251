//! Rows to Arrow columns, column by column.
//!
//! Words that do not fit the codec are noted and reported once at the end, so that the loops over
//! values stay free of errors.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BinaryViewArray, BooleanArray, FixedSizeBinaryArray, GenericByteArray,
    NullArray, OffsetSizeTrait, PrimitiveArray, StringArray, StringViewArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowNativeType, BinaryType, ByteArrayType, DataType, Decimal128Type, Decimal256Type, IntervalMonthDayNanoType,
    LargeBinaryType, LargeUtf8Type, Utf8Type, i256,
};

use crate::codec::{Column, Kind, Part, null_mask};
use crate::word::{Word, read_i128, with_word_type};
use crate::{KeyMode, RowCodec, RowError, WordRow, bytes, interval};

impl RowCodec {
    /// The columns of the given rows, of exactly the codec's types.
    ///
    /// # Errors
    ///
    /// [`RowError::Malformed`] when a row is not of this codec; Arrow's refusals, such as more
    /// than 2 GiB of text in one batch.
    pub fn decode<'a, const N: usize>(
        &self,
        rows: impl IntoIterator<Item = &'a WordRow<N>>,
    ) -> Result<Vec<ArrayRef>, RowError> {
        self.decode_words(rows.into_iter().map(WordRow::as_words))
    }

    /// The columns of rows given by their words, for rows that are not in memory of their own.
    ///
    /// # Errors
    ///
    /// As [`RowCodec::decode`].
    pub fn decode_words<'a>(&self, rows: impl IntoIterator<Item = &'a [u64]>) -> Result<Vec<ArrayRef>, RowError> {
        let rows: Vec<&[u64]> = rows.into_iter().collect();
        let cursors = vec![0; rows.len()];
        let mut reader = Reader { rows, cursors, offset: 0, malformed: false };
        let mut columns = Vec::new();
        for part in self.parts() {
            let nulls = reader.read_bitmaps(part);
            for (column, nulls) in part.columns.iter().zip(nulls) {
                columns.push(reader.read_column(column, nulls, part.mode)?);
                if reader.malformed {
                    return Err(self.malformed());
                }
            }
        }
        if reader.rows.iter().zip(&reader.cursors).any(|(row, cursor)| row.len() != cursor + reader.offset) {
            return Err(self.malformed());
        }
        Ok(columns)
    }
}

struct Reader<'a> {
    rows: Vec<&'a [u64]>,
    /// Where the next column starts, one for each row, less `offset`.
    cursors: Vec<usize>,
    /// Words of fixed width read since the cursors were moved.
    offset: usize,
    malformed: bool,
}

impl Reader<'_> {
    /// The validity of every column of the part that starts here.
    fn read_bitmaps(&mut self, part: &Part) -> Vec<Option<NullBuffer>> {
        let mut nulls = Vec::with_capacity(part.columns.len());
        for column in &part.columns {
            nulls.push(column.null_bit.and_then(|bit| {
                let at = self.offset + bit / 64;
                let valid = BooleanBuffer::collect_bool(self.rows.len(), |row| {
                    self.rows[row].get(self.cursors[row] + at).is_some_and(|word| word & null_mask(bit) == 0)
                });
                Some(NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0)
            }));
        }
        self.offset += part.bitmap_words;
        nulls
    }

    fn read_column(&mut self, column: &Column, nulls: Option<NullBuffer>, mode: KeyMode) -> Result<ArrayRef, RowError> {
        let data_type = column.field.data_type();
        let arrow_error = |source| RowError::Arrow { column: column.name(), data_type: data_type.clone(), source };
        Ok(match &column.kind {
            Kind::Null => Arc::new(NullArray::new(self.rows.len())),
            Kind::Word => self.read_word_column(data_type, nulls),
            Kind::Wide => {
                let values = self.read_fixed(nulls.as_ref(), |[high, low]: [u64; 2]| read_i128(high, low));
                Arc::new(PrimitiveArray::<Decimal128Type>::new(values.into(), nulls).with_data_type(data_type.clone()))
            }
            Kind::Wider => {
                let values = self.read_fixed(nulls.as_ref(), |[a, b, c, d]: [u64; 4]| {
                    i256::from_parts((u128::from(c) << 64) | u128::from(d), read_i128(a, b))
                });
                Arc::new(PrimitiveArray::<Decimal256Type>::new(values.into(), nulls).with_data_type(data_type.clone()))
            }
            Kind::Interval => {
                let values = match mode {
                    KeyMode::Exact => self
                        .read_fixed(nulls.as_ref(), |words: [u64; interval::EXACT_WORDS]| interval::read_exact(&words)),
                    KeyMode::Canonical => self.read_fixed(nulls.as_ref(), |words: [u64; interval::CANONICAL_WORDS]| {
                        interval::read_canonical(&words)
                    }),
                };
                Arc::new(PrimitiveArray::<IntervalMonthDayNanoType>::new(values.into(), nulls))
            }
            Kind::Fixed(size) => {
                let values = self.read_fixed_binary(*size);
                let size = i32::try_from(*size).unwrap_or(i32::MAX);
                Arc::new(FixedSizeBinaryArray::try_new(size, values.into(), nulls).map_err(arrow_error)?)
            }
            Kind::Bytes => self.read_byte_column(data_type, nulls).map_err(arrow_error)?,
            Kind::Nested(nested) => {
                let (offsets, values) = self.read_strings::<i64>(nulls.as_ref());
                nested.decode(&offsets, &values, nulls.as_ref())?
            }
        })
    }

    /// The values of a column of `N` words; the default value where it is NULL.
    #[inline]
    fn read_fixed<const N: usize, T: Default>(
        &mut self,
        nulls: Option<&NullBuffer>,
        value: impl Fn([u64; N]) -> T,
    ) -> Vec<T> {
        let mut values = Vec::with_capacity(self.rows.len());
        for (index, (row, cursor)) in self.rows.iter().zip(&self.cursors).enumerate() {
            let words = row.get(cursor + self.offset..).and_then(|rest| rest.first_chunk::<N>());
            self.malformed |= words.is_none();
            values.push(match words {
                Some(words) if nulls.is_none_or(|nulls| nulls.is_valid(index)) => value(*words),
                _ => T::default(),
            });
        }
        self.offset += N;
        values
    }

    fn read_word_column(&mut self, data_type: &DataType, nulls: Option<NullBuffer>) -> ArrayRef {
        match data_type {
            DataType::Boolean => {
                let values = self.read_fixed(nulls.as_ref(), |[word]: [u64; 1]| word != 0);
                Arc::new(BooleanArray::new(BooleanBuffer::from(values), nulls))
            }
            DataType::Decimal128(..) => {
                let values = self.read_fixed(nulls.as_ref(), |[word]: [u64; 1]| i128::from(i64::from_word(word)));
                Arc::new(PrimitiveArray::<Decimal128Type>::new(values.into(), nulls).with_data_type(data_type.clone()))
            }
            _ => with_word_type!(data_type, T => self.read_primitive::<T>(data_type, nulls)),
        }
    }

    fn read_primitive<T: ArrowPrimitiveType<Native: Word>>(
        &mut self,
        data_type: &DataType,
        nulls: Option<NullBuffer>,
    ) -> ArrayRef {
        let values = self.read_fixed(nulls.as_ref(), |[word]: [u64; 1]| T::Native::from_word(word));
        Arc::new(PrimitiveArray::<T>::new(ScalarBuffer::from(values), nulls).with_data_type(data_type.clone()))
    }

    fn read_fixed_binary(&mut self, size: usize) -> Vec<u8> {
        let words = size.div_ceil(8);
        let mut values = Vec::with_capacity(self.rows.len() * words * 8);
        for (row, cursor) in self.rows.iter().zip(&self.cursors) {
            let end = values.len() + size;
            let at = cursor + self.offset;
            let bytes = row.get(at..at + words).unwrap_or_default().iter().flat_map(|word| word.to_be_bytes());
            values.extend(bytes);
            self.malformed |= values.len() < end;
            values.resize(end, 0);
        }
        self.offset += words;
        values
    }

    fn read_byte_column(
        &mut self,
        data_type: &DataType,
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef, arrow::error::ArrowError> {
        Ok(match data_type {
            DataType::Utf8 => Arc::new(self.read_byte_array::<Utf8Type>(nulls)?),
            DataType::LargeUtf8 => Arc::new(self.read_byte_array::<LargeUtf8Type>(nulls)?),
            DataType::Utf8View => {
                let strings: StringArray = self.read_byte_array(nulls)?;
                Arc::new(StringViewArray::from(&strings))
            }
            DataType::Binary => Arc::new(self.read_byte_array::<BinaryType>(nulls)?),
            DataType::LargeBinary => Arc::new(self.read_byte_array::<LargeBinaryType>(nulls)?),
            DataType::BinaryView => {
                let strings: BinaryArray = self.read_byte_array(nulls)?;
                Arc::new(BinaryViewArray::from(&strings))
            }
            other => unreachable!("{other} is not a byte string"),
        })
    }

    fn read_byte_array<T: ByteArrayType>(
        &mut self,
        nulls: Option<NullBuffer>,
    ) -> Result<GenericByteArray<T>, arrow::error::ArrowError> {
        let (offsets, values) = self.read_strings::<T::Offset>(nulls.as_ref());
        if T::Offset::from_usize(values.len()).is_none() {
            return Err(arrow::error::ArrowError::OffsetOverflowError(values.len()));
        }
        GenericByteArray::try_new(OffsetBuffer::new(offsets.into()), Buffer::from_vec(values), nulls)
    }

    /// The offsets and bytes of a column of strings; NULLs are empty. Offsets beyond their type
    /// are left at zero: the caller compares the length.
    fn read_strings<O: OffsetSizeTrait>(&mut self, nulls: Option<&NullBuffer>) -> (Vec<O>, Vec<u8>) {
        let mut offsets = Vec::with_capacity(self.rows.len() + 1);
        let mut values = Vec::with_capacity(self.rows.len() * 8);
        offsets.push(O::zero());
        for (index, (row, cursor)) in self.rows.iter().zip(&mut self.cursors).enumerate() {
            *cursor += self.offset;
            if nulls.is_none_or(|nulls| nulls.is_valid(index)) {
                match row.get(*cursor..).and_then(|rest| bytes::read(rest, &mut values)) {
                    Some(words) => *cursor += words,
                    None => self.malformed = true,
                }
            }
            offsets.push(O::from_usize(values.len()).unwrap_or(O::zero()));
        }
        self.offset = 0;
        (offsets, values)
    }
}
