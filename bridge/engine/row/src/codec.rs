//! Which words a row of given columns has: the layout that encoding, decoding and reading share.
//!
//! A codec is a list of parts. A part is a bitmap (one word for every 64 nullable columns, none
//! without them) and its columns in order:
//!
//! - columns of fixed width always take their words, all zero when NULL;
//! - strings and nested values take as many words as they need, and none when NULL.
//!
//! A bit of the bitmap is set where the column is NULL, the first column's bit being the highest:
//! a row of one column sorts NULLs last, which is DuckDB's default.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, IntervalUnit};

use crate::nested::Nested;
use crate::{RowError, bytes, interval};

/// How values that SQL calls equal and that differ in their bits are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyMode {
    /// Values come back as they were: for what views show. NaNs are one value even so.
    Exact,
    /// Equal values have equal words (−0.0 is 0.0, 30 days are a month): for keys of joins,
    /// groups and DISTINCT.
    Canonical,
}

/// How the values of a column become words.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// The type of a bare NULL.
    Null,
    /// One word.
    Word,
    /// 128-bit integers of decimals with more than 18 digits.
    Wide,
    /// 256-bit integers.
    Wider,
    Interval,
    /// Byte strings of one length.
    Fixed(usize),
    /// Strings of any length.
    Bytes,
    /// Lists, structs and maps.
    Nested(Arc<Nested>),
}

#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) field: FieldRef,
    pub(crate) kind: Kind,
    /// The column's place in its part's bitmap.
    pub(crate) null_bit: Option<usize>,
    /// Words, unless they depend on the value.
    pub(crate) words: Option<usize>,
}

impl Column {
    pub(crate) fn name(&self) -> String {
        self.field.name().clone()
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) mode: KeyMode,
    pub(crate) columns: Vec<Column>,
    pub(crate) bitmap_words: usize,
    /// Words of the bitmap and of all columns of fixed width.
    pub(crate) fixed_words: usize,
    pub(crate) is_fixed: bool,
}

/// Turns Arrow columns into [`Row`](crate::Row)s and back. Cheap to clone.
///
/// Two rows of one codec compare column by column as SQL does, as long as the same columns are
/// NULL in both; a row of one NOT NULL column therefore sorts exactly as `ORDER BY` sorts it:
/// numbers by value, NaN greatest, strings by bytes.
#[derive(Debug, Clone)]
pub struct RowCodec {
    parts: Arc<[Part]>,
}

/// Version of the words. State written under another version cannot be read; identifiers of
/// persistent state contain it.
pub const ROW_FORMAT: u32 = 1;

impl RowCodec {
    /// Version of the row format, for identifiers of persistent state.
    pub const FORMAT: u32 = ROW_FORMAT;

    /// A codec for the given columns. Fields say NOT NULL through [`Field::is_nullable`](arrow::datatypes::Field::is_nullable).
    ///
    /// # Errors
    ///
    /// [`RowError::UnsupportedType`] for dictionaries, unions, run-end encoded arrays and other
    /// types that no view has.
    pub fn new(fields: &[FieldRef], mode: KeyMode) -> Result<Self, RowError> {
        let mut nullable = 0;
        let mut columns = Vec::with_capacity(fields.len());
        for field in fields {
            let kind = kind(field, mode)?;
            let words = match kind {
                Kind::Null => Some(0),
                Kind::Word => Some(1),
                Kind::Wide => Some(2),
                Kind::Wider => Some(4),
                Kind::Interval if mode == KeyMode::Exact => Some(interval::EXACT_WORDS),
                Kind::Interval => Some(interval::CANONICAL_WORDS),
                Kind::Fixed(size) => Some(size.div_ceil(8)),
                Kind::Bytes | Kind::Nested(_) => None,
            };
            let null_bit = field.is_nullable().then(|| {
                nullable += 1;
                nullable - 1
            });
            columns.push(Column { field: Arc::clone(field), kind, null_bit, words });
        }
        let bitmap_words = nullable.div_ceil(64);
        let fixed_words = bitmap_words + columns.iter().filter_map(|column| column.words).sum::<usize>();
        let is_fixed = columns.iter().all(|column| column.words.is_some());
        Ok(RowCodec { parts: Arc::new([Part { mode, columns, bitmap_words, fixed_words, is_fixed }]) })
    }

    /// The codec of rows made by [`Row::concat`](crate::Row::concat) of rows of `codecs`, in that order: its columns
    /// are those of all parts, each part keeps its bitmap.
    pub fn concat(codecs: &[RowCodec]) -> Self {
        RowCodec { parts: codecs.iter().flat_map(|codec| codec.parts.iter().cloned()).collect() }
    }

    /// Whether both make the same words of the same values, whatever the columns are called.
    pub fn makes_as(&self, other: &RowCodec) -> bool {
        let column = |one: &Column, two: &Column| {
            let (one, two) = (&one.field, &two.field);
            (one.data_type(), one.is_nullable(), one.metadata()) == (two.data_type(), two.is_nullable(), two.metadata())
        };
        let part = |one: &Part, two: &Part| {
            one.mode == two.mode
                && one.columns.len() == two.columns.len()
                && one.columns.iter().zip(&two.columns).all(|(one, two)| column(one, two))
        };
        self.parts.len() == other.parts.len() && self.parts.iter().zip(&*other.parts).all(|(one, two)| part(one, two))
    }

    /// The columns, as given.
    pub fn fields(&self) -> impl Iterator<Item = &FieldRef> {
        self.columns().map(|(_, column)| &column.field)
    }

    /// Words of every row, when that does not depend on the values.
    pub fn fixed_words(&self) -> Option<usize> {
        self.parts.iter().map(|part| part.is_fixed.then_some(part.fixed_words)).sum()
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    pub(crate) fn columns(&self) -> impl Iterator<Item = (&Part, &Column)> {
        self.parts.iter().flat_map(|part| part.columns.iter().map(move |column| (part, column)))
    }

    pub(crate) fn malformed(&self) -> RowError {
        let names: Vec<&str> = self.fields().map(|field| field.name().as_str()).collect();
        RowError::Malformed { columns: names.join(", ") }
    }
}

impl Part {
    /// Where the part that starts at `start` ends.
    pub(crate) fn end(&self, words: &[u64], start: usize) -> Option<usize> {
        if self.is_fixed {
            return Some(start + self.fixed_words);
        }
        let mut at = start + self.bitmap_words;
        for column in &self.columns {
            at += column.width(words, start, at)?;
        }
        Some(at)
    }
}

impl Column {
    /// Words of the column at `at` in a part that starts at `start`.
    pub(crate) fn width(&self, words: &[u64], start: usize, at: usize) -> Option<usize> {
        match self.words {
            Some(fixed) => Some(fixed),
            None if self.is_null(words, start)? => Some(0),
            None => bytes::skip(words.get(at..)?),
        }
    }

    /// Whether the column is NULL in the part that starts at `start`.
    #[inline]
    pub(crate) fn is_null(&self, words: &[u64], start: usize) -> Option<bool> {
        match self.null_bit {
            None => Some(false),
            Some(bit) => Some(words.get(start + bit / 64)? & null_mask(bit) != 0),
        }
    }
}

/// The bit of a nullable column within its bitmap word.
#[inline]
pub(crate) fn null_mask(bit: usize) -> u64 {
    1 << (63 - bit % 64)
}

fn kind(field: &FieldRef, mode: KeyMode) -> Result<Kind, RowError> {
    use DataType::{
        Binary, BinaryView, Boolean, Date32, Date64, Decimal32, Decimal64, Decimal128, Decimal256, Duration,
        FixedSizeBinary, FixedSizeList, Float32, Float64, Int8, Int16, Int32, Int64, Interval, LargeBinary, LargeList,
        LargeUtf8, List, Map, Null, Struct, Time32, Time64, Timestamp, UInt8, UInt16, UInt32, UInt64, Utf8, Utf8View,
    };
    Ok(match field.data_type() {
        Null => Kind::Null,
        Boolean | Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64 | Float32 | Float64 => Kind::Word,
        Date32 | Date64 | Time32(_) | Time64(_) | Timestamp(..) | Duration(_) => Kind::Word,
        Decimal32(..) | Decimal64(..) => Kind::Word,
        Decimal128(precision, _) if *precision <= 18 => Kind::Word,
        Decimal128(..) => Kind::Wide,
        Decimal256(..) => Kind::Wider,
        Interval(IntervalUnit::MonthDayNano) => Kind::Interval,
        FixedSizeBinary(size) => Kind::Fixed(usize::try_from(*size).unwrap_or(0)),
        Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary | BinaryView => Kind::Bytes,
        List(_) | LargeList(_) | FixedSizeList(..) | Struct(_) | Map(..) => {
            Kind::Nested(Arc::new(Nested::new(field, mode)?))
        }
        data_type => {
            return Err(RowError::UnsupportedType { column: field.name().clone(), data_type: data_type.clone() });
        }
    })
}
