//! What operators keep: rows by a key, each key once. All state of the engine is made of these.

use super::coefficients::Coefficients;
use super::relation::Width;

/// Rows that are kept by a key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trace {
    pub rows: f64,
    /// How many different keys there are; none where rows are kept as they are.
    pub keys: f64,
    pub key: Width,
    /// What a row has besides its key.
    pub value: Width,
}

impl Trace {
    /// Rows without a key.
    pub fn flat(rows: f64, value: Width) -> Trace {
        Trace { rows, keys: 0.0, key: Width::default(), value }
    }

    /// One row for each key.
    pub fn one_each(keys: f64, key: Width, value: Width) -> Trace {
        Trace { rows: keys, keys, key, value }
    }

    /// Bytes on the disk.
    pub fn state_bytes(&self, by: &Coefficients) -> f64 {
        let of = |width: Width| width.numbers * by.number_bytes + width.text * by.text_byte_bytes;
        let own = if self.rows > 0.0 { by.trace_bytes } else { 0.0 };
        own + self.rows * (by.trace_row_bytes + of(self.value)) + self.keys * of(self.key)
    }

    /// Bytes in memory while it is made.
    pub fn memory_bytes(&self, by: &Coefficients) -> f64 {
        let beyond = (self.value.words() - 4.0).max(0.0) + (self.key.words() - 4.0).max(0.0);
        self.rows * (by.memory_row_bytes + beyond * by.memory_word_bytes)
    }
}
