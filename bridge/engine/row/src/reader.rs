//! Single values out of a row, without Arrow: what linear aggregates sum.

use arrow::datatypes::DataType;

use crate::codec::{Kind, Part};
use crate::word::{Word, read_i128};
use crate::{Row, RowCodec, RowError};

/// Reads one column of rows. Finding it costs nothing when every column before it has a fixed
/// width; else strings before it are skipped.
#[derive(Debug, Clone)]
pub struct ColumnReader {
    codec: RowCodec,
    part: usize,
    column: usize,
    number: Number,
    /// Where the part and the column start in every row.
    fixed: Option<(usize, usize)>,
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
        let (before, this) = (&self.parts()[..part], &self.parts()[part]);
        let start: Option<usize> = before.iter().map(|part| part.is_fixed.then_some(part.fixed_words)).sum();
        let within: Option<usize> = this.columns[..column].iter().map(|column| column.words).sum();
        let fixed = start.zip(within).map(|(start, within)| (start, start + this.bitmap_words + within));
        let number = match (&this.columns[column].kind, this.columns[column].field.data_type()) {
            (Kind::Word, DataType::Float32 | DataType::Float64) => Number::Float,
            (Kind::Word, DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64) => Number::Unsigned,
            (Kind::Word, DataType::Boolean) => Number::Unsigned,
            (Kind::Word, _) => Number::Signed,
            (Kind::Wide, _) => Number::Wide,
            _ => Number::Other,
        };
        ColumnReader { codec: self.clone(), part, column, number, fixed }
    }
}

impl ColumnReader {
    /// The words of the row from the column on; `None` when it is NULL.
    #[inline]
    fn words<'a>(&self, row: &'a Row) -> Result<Option<&'a [u64]>, RowError> {
        let words = row.as_words();
        let found = match self.fixed {
            Some(places) => Some(places),
            None => self.find(words),
        };
        let column = &self.part().columns[self.column];
        found
            .and_then(|(start, at)| match column.is_null(words, start)? {
                true => Some(None),
                false => words.get(at..).map(Some),
            })
            .ok_or_else(|| self.codec.malformed())
    }

    fn part(&self) -> &Part {
        &self.codec.parts()[self.part]
    }

    fn find(&self, words: &[u64]) -> Option<(usize, usize)> {
        let mut start = 0;
        for part in &self.codec.parts()[..self.part] {
            start = part.end(words, start)?;
        }
        let mut at = start + self.part().bitmap_words;
        for column in &self.part().columns[..self.column] {
            at += column.width(words, start, at)?;
        }
        Some((start, at))
    }

    /// Whether the column is NULL.
    ///
    /// # Errors
    ///
    /// [`RowError::Malformed`] when the row is not of the codec.
    pub fn is_null(&self, row: &Row) -> Result<bool, RowError> {
        Ok(self.words(row)?.is_none())
    }

    /// The value of an integer, a boolean (0 or 1), a date or time (its Arrow integer) or a decimal
    /// of up to 38 digits (its unscaled integer); `None` when NULL.
    ///
    /// # Errors
    ///
    /// [`RowError::Malformed`] when the row is not of the codec or the column is of another type.
    #[inline]
    pub fn int(&self, row: &Row) -> Result<Option<i128>, RowError> {
        let Some(words) = self.words(row)? else { return Ok(None) };
        let value = match (self.number, words) {
            (Number::Signed, [word, ..]) => i128::from(i64::from_word(*word)),
            (Number::Unsigned, [word, ..]) => i128::from(*word),
            (Number::Wide, [high, low, ..]) => read_i128(*high, *low),
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
    pub fn float(&self, row: &Row) -> Result<Option<f64>, RowError> {
        let Some(words) = self.words(row)? else { return Ok(None) };
        match (self.number, words) {
            (Number::Float, [word, ..]) => Ok(Some(f64::from_word(*word))),
            _ => Err(self.codec.malformed()),
        }
    }
}
