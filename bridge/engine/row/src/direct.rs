//! From row to row without Arrow: single columns read out of a row's words, rows put together
//! column by column, and columns moved from one row into another as they are.
//!
//! A row is given as the words of its codec's parts, one slice for each, so that parts which lie
//! in several places (a key, the values of two sides of a join) are never put together first.

use std::slice;

use arrow::datatypes::DataType;
use smallvec::SmallVec;

use crate::codec::{Column, Kind, Part, null_mask};
use crate::word::{Word, read_i128, write_i128};
use crate::{KeyMode, Row, RowCodec, RowError};

/// Reads one column of rows. Finding it costs nothing when every column before it has a fixed
/// width; else strings before it are skipped.
#[derive(Debug, Clone)]
pub struct ColumnReader {
    codec: RowCodec,
    part: usize,
    column: usize,
    number: Number,
    /// Where the column starts in every part, if that is known.
    start: Option<usize>,
}

/// How the words of a column are a number.
#[derive(Debug, Clone, Copy)]
enum Number {
    Signed,
    Unsigned,
    Wide,
    Float,
    /// Not a number; the column can be tested for NULL only.
    Other,
}

impl RowCodec {
    /// A reader of the column with that index over all parts.
    ///
    /// # Panics
    ///
    /// When there is no such column.
    pub fn reader(&self, index: usize) -> ColumnReader {
        let mut column = index;
        let mut part = 0;
        while column >= self.parts()[part].columns.len() {
            column -= self.parts()[part].columns.len();
            part += 1;
        }
        let this = &self.parts()[part];
        let within: Option<usize> = this.columns[..column].iter().map(|column| column.words).sum();
        let number = match (&this.columns[column].kind, this.columns[column].field.data_type()) {
            (Kind::Word, DataType::Float32 | DataType::Float64) => Number::Float,
            (Kind::Word, DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64) => Number::Unsigned,
            (Kind::Word, DataType::Boolean) => Number::Unsigned,
            (Kind::Word, _) => Number::Signed,
            (Kind::Wide, _) => Number::Wide,
            _ => Number::Other,
        };
        ColumnReader { codec: self.clone(), part, column, number, start: within.map(|words| this.bitmap_words + words) }
    }

    /// The words of every part of a row, in order.
    ///
    /// # Errors
    ///
    /// [`RowError::Malformed`] when the row is not of this codec.
    pub fn split<'a>(&self, row: &'a Row) -> Result<SmallVec<[&'a [u64]; 4]>, RowError> {
        let mut rest = row.as_words();
        let mut parts = SmallVec::with_capacity(self.parts().len());
        for part in self.parts() {
            let end = part.end(rest, 0).filter(|end| *end <= rest.len()).ok_or_else(|| self.malformed())?;
            let (words, others) = rest.split_at(end);
            parts.push(words);
            rest = others;
        }
        if rest.is_empty() { Ok(parts) } else { Err(self.malformed()) }
    }

    /// Begins a row of this codec, which has one part.
    ///
    /// # Panics
    ///
    /// When the codec is a concatenation.
    pub fn writer(&self) -> RowWriter<'_> {
        let [part] = self.parts() else { panic!("rows of several parts are written part by part") };
        let mut words = SmallVec::new();
        words.resize(part.bitmap_words, 0);
        RowWriter { words, columns: part.columns.iter() }
    }
}

impl ColumnReader {
    /// The words of the column; `None` when it is NULL.
    ///
    /// # Errors
    ///
    /// [`RowError::Malformed`] when the row is not of the codec.
    #[inline]
    pub fn words<'a>(&self, parts: &[&'a [u64]]) -> Result<Option<&'a [u64]>, RowError> {
        self.find(parts).ok_or_else(|| self.codec.malformed())
    }

    #[inline]
    fn find<'a>(&self, parts: &[&'a [u64]]) -> Option<Option<&'a [u64]>> {
        let (words, part) = (*parts.get(self.part)?, self.part());
        let column = &part.columns[self.column];
        if column.is_null(words, 0)? {
            return Some(None);
        }
        let start = match self.start {
            Some(start) => start,
            None => {
                let mut at = part.bitmap_words;
                for column in &part.columns[..self.column] {
                    at += column.width(words, 0, at)?;
                }
                at
            }
        };
        let width = column.width(words, 0, start)?;
        words.get(start..start + width).map(Some)
    }

    fn part(&self) -> &Part {
        &self.codec.parts()[self.part]
    }

    /// Whether the column is NULL.
    ///
    /// # Errors
    ///
    /// [`RowError::Malformed`] when the row is not of the codec.
    pub fn is_null(&self, parts: &[&[u64]]) -> Result<bool, RowError> {
        Ok(self.words(parts)?.is_none())
    }

    /// The value of an integer, a boolean (0 or 1), a date or time (its Arrow integer) or a decimal
    /// of up to 38 digits (its unscaled integer); `None` when NULL.
    ///
    /// # Errors
    ///
    /// [`RowError::Malformed`] when the row is not of the codec or the column is of another type.
    #[inline]
    pub fn int(&self, parts: &[&[u64]]) -> Result<Option<i128>, RowError> {
        let Some(words) = self.words(parts)? else { return Ok(None) };
        let value = match (self.number, words) {
            (Number::Signed, [word]) => i128::from(i64::from_word(*word)),
            (Number::Unsigned, [word]) => i128::from(*word),
            (Number::Wide, [high, low]) => read_i128(*high, *low),
            _ => return Err(self.codec.malformed()),
        };
        Ok(Some(value))
    }

    /// The value of a float; `None` when NULL.
    ///
    /// # Errors
    ///
    /// [`RowError::Malformed`] when the row is not of the codec or the column is of another type.
    #[inline]
    pub fn float(&self, parts: &[&[u64]]) -> Result<Option<f64>, RowError> {
        let Some(words) = self.words(parts)? else { return Ok(None) };
        match (self.number, words) {
            (Number::Float, [word]) => Ok(Some(f64::from_word(*word))),
            _ => Err(self.codec.malformed()),
        }
    }
}

/// Puts a row together, column by column in the codec's order.
#[derive(Debug)]
pub struct RowWriter<'a> {
    words: SmallVec<[u64; 16]>,
    columns: slice::Iter<'a, Column>,
}

impl RowWriter<'_> {
    /// Writes the words of the next column, or NULL; `false`, and nothing written, when NULL is not
    /// allowed in it.
    ///
    /// # Panics
    ///
    /// When there is no next column.
    #[inline]
    pub fn put(&mut self, words: Option<&[u64]>) -> bool {
        let column = self.columns.next().expect("the codec has another column");
        match (words, column.null_bit) {
            (Some(words), _) => self.words.extend_from_slice(words),
            (None, Some(bit)) => {
                self.words[bit / 64] |= null_mask(bit);
                let width = self.words.len() + column.words.unwrap_or(0);
                self.words.resize(width, 0);
            }
            (None, None) => return false,
        }
        true
    }

    /// Writes a BIGINT.
    ///
    /// # Panics
    ///
    /// As [`RowWriter::put`].
    pub fn put_int(&mut self, value: i64) -> bool {
        self.put(Some(&[value.to_word(KeyMode::Exact)]))
    }

    /// Writes a decimal of more than 18 digits, as its unscaled integer.
    ///
    /// # Panics
    ///
    /// As [`RowWriter::put`].
    pub fn put_wide(&mut self, value: Option<i128>) -> bool {
        let mut words = [0; 2];
        write_i128(value.unwrap_or(0), &mut words);
        self.put(value.is_some().then_some(&words))
    }

    /// Writes a DOUBLE.
    ///
    /// # Panics
    ///
    /// As [`RowWriter::put`].
    pub fn put_float(&mut self, value: Option<f64>) -> bool {
        let word = value.map(|value| [value.to_word(KeyMode::Exact)]);
        self.put(word.as_ref().map(|word| &word[..]))
    }

    /// The row.
    ///
    /// # Panics
    ///
    /// When a column is missing.
    #[inline]
    pub fn finish(self) -> Row {
        assert!(self.columns.len() == 0, "every column is written");
        Row::from_words(&self.words)
    }
}

/// Moves columns of rows into rows of another codec, word by word.
#[derive(Debug, Clone)]
pub struct Gather {
    columns: Vec<ColumnReader>,
    target: RowCodec,
    /// The same as places, where every place is known.
    moves: Option<Moves>,
}

/// Moves between fixed places.
#[derive(Debug, Clone)]
struct Moves {
    columns: Vec<Move>,
    /// Words of the target.
    words: usize,
}

#[derive(Debug, Clone)]
struct Move {
    part: usize,
    from: usize,
    to: usize,
    words: usize,
    /// The word and the bit that say NULL, in the part and in the target.
    null: Option<(usize, u64)>,
    target_null: Option<(usize, u64)>,
}

impl Moves {
    fn new(columns: &[ColumnReader], target: &Part) -> Option<Moves> {
        let place = |bit: usize| (bit / 64, null_mask(bit));
        let mut to = target.bitmap_words;
        let mut moves = Vec::with_capacity(columns.len());
        for (reader, column) in columns.iter().zip(&target.columns) {
            let from = &reader.part().columns[reader.column];
            let words = column.words?;
            moves.push(Move {
                part: reader.part,
                from: reader.start?,
                to,
                words,
                null: from.null_bit.map(place),
                target_null: column.null_bit.map(place),
            });
            to += words;
        }
        Some(Moves { columns: moves, words: to })
    }

    /// Writes the words of the target; `Some(false)` when a column is NULL that must not be, `None`
    /// when the row is not of the source codec.
    #[inline]
    fn apply(&self, parts: &[&[u64]], words: &mut SmallVec<[u64; 16]>) -> Option<bool> {
        words.resize(self.words, 0);
        for column in &self.columns {
            let part = *parts.get(column.part)?;
            if let Some((word, mask)) = column.null
                && part.get(word)? & mask != 0
            {
                let Some((word, mask)) = column.target_null else { return Some(false) };
                words[word] |= mask;
                continue;
            }
            let from = part.get(column.from..column.from + column.words)?;
            words[column.to..].iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        }
        Some(true)
    }
}

impl Gather {
    /// Makes rows of `target`, which has one part, from these columns of `source`. `None` when the
    /// words of a column would have to change on the way.
    pub fn new(source: &RowCodec, columns: &[usize], target: &RowCodec) -> Option<Gather> {
        let [part] = target.parts() else { return None };
        if part.columns.len() != columns.len() {
            return None;
        }
        let columns: Vec<_> = columns.iter().map(|column| source.reader(*column)).collect();
        let same = |(from, to): (&ColumnReader, &Column)| {
            let (mode, from) = (from.part().mode, &from.part().columns[from.column]);
            let data_type = from.field.data_type();
            data_type.equals_datatype(to.field.data_type()) && (mode == part.mode || !has_canonical_form(data_type))
        };
        if !columns.iter().zip(&part.columns).all(same) {
            return None;
        }
        let moves = Moves::new(&columns, part);
        Some(Gather { columns, target: target.clone(), moves })
    }

    /// The row of the target codec; `None` when a column is NULL that must not be.
    ///
    /// # Errors
    ///
    /// [`RowError::Malformed`] when the row is not of the source codec.
    #[inline]
    pub fn row(&self, parts: &[&[u64]]) -> Result<Option<Row>, RowError> {
        self.with_words(parts, Row::from_words)
    }

    /// The same, answering what `take` makes of the row's words.
    ///
    /// # Errors
    ///
    /// As [`Gather::row`].
    #[inline]
    pub fn with_words<R>(&self, parts: &[&[u64]], take: impl FnOnce(&[u64]) -> R) -> Result<Option<R>, RowError> {
        if let Some(moves) = &self.moves {
            let mut words = SmallVec::new();
            return match moves.apply(parts, &mut words) {
                Some(true) => Ok(Some(take(&words))),
                Some(false) => Ok(None),
                None => Err(self.columns[0].codec.malformed()),
            };
        }
        let mut writer = self.target.writer();
        for column in &self.columns {
            if !writer.put(column.words(parts)?) {
                return Ok(None);
            }
        }
        Ok(Some(take(&writer.words)))
    }
}

/// Whether equal values of this type can have different words in [`KeyMode::Exact`].
pub fn has_canonical_form(data_type: &DataType) -> bool {
    data_type.is_floating() || data_type.is_nested() || matches!(data_type, DataType::Interval(_))
}
