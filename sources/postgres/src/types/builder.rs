//! The builder of one column, as callers see it.

use std::fmt;

use arrow::array::ArrayRef;

use super::column::{Column, Unrepresentables, column_of};
use super::error::ValueError;
use super::pg_type::PgType;
use super::policy::Policy;

/// Makes Arrow arrays from the text of a column's values. The arrays have exactly the Arrow type
/// of [`PgType::duckdb_type`]. After an error nothing is appended, and the builder goes on.
pub struct ColumnBuilder {
    column: Box<dyn Column>,
    unrepresentables: Unrepresentables,
    duckdb_type: String,
}

impl ColumnBuilder {
    /// An empty builder. Of the policy only `on_unrepresentable` matters here; the rest is in the
    /// resolved type.
    pub fn new(pg_type: &PgType, policy: &Policy) -> Self {
        ColumnBuilder {
            column: column_of(pg_type),
            unrepresentables: Unrepresentables { policy: policy.on_unrepresentable, nulled: 0 },
            duckdb_type: pg_type.duckdb_type(),
        }
    }

    /// Appends a value that is not NULL: its text, with the escapes of COPY already gone.
    #[inline]
    pub fn append_text(&mut self, text: &[u8]) -> Result<(), ValueError> {
        let nulled = self.unrepresentables.nulled;
        self.unrepresentables.append(&mut *self.column, text).map_err(|fault| {
            self.unrepresentables.nulled = nulled;
            fault.of(&self.duckdb_type)
        })
    }

    /// Appends NULL.
    pub fn append_null(&mut self) {
        self.column.push_null();
    }

    /// How many values, NULLs included, were appended since the last [`finish`](Self::finish).
    pub fn len(&self) -> usize {
        self.column.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// About how many bytes the values take.
    pub fn bytes(&self) -> usize {
        self.column.bytes()
    }

    /// How many values, at whatever depth, became NULL because nothing represents them, since this
    /// was last asked.
    pub fn nulled(&mut self) -> u64 {
        std::mem::take(&mut self.unrepresentables.nulled)
    }

    /// The values appended, as one array; the builder is empty again.
    pub fn finish(&mut self) -> ArrayRef {
        self.column.finish()
    }
}

impl fmt::Debug for ColumnBuilder {
    /// Values never show.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut builder = f.debug_struct("ColumnBuilder");
        builder.field("duckdb_type", &self.duckdb_type).field("len", &self.len()).finish_non_exhaustive()
    }
}
