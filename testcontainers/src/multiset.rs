//! Exact multisets of rows: what is compared wherever two things must hold the same rows.

use std::collections::BTreeMap;
use std::fmt;

use arrow::array::{ArrayRef, RecordBatch};
use tidegate_core::{DeltaBatch, ZSet};

use crate::value::{Equality, Value};

/// A row: one value a column.
pub type Row = Vec<Value>;

/// Rows with the number of their copies. Copies may be negative in a multiset of changes; a row
/// with zero copies is not in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Multiset {
    rows: BTreeMap<Row, i64>,
}

impl Multiset {
    /// No rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// The rows of some batches, once each.
    pub fn of_batches<'a>(batches: impl IntoIterator<Item = &'a RecordBatch>) -> Self {
        let mut multiset = Self::new();
        for batch in batches {
            (0..batch.num_rows()).for_each(|row| multiset.add(row_of(batch.columns(), row), 1));
        }
        multiset
    }

    /// The rows of some Z-sets with their weights.
    pub fn of_zsets<'a>(zsets: impl IntoIterator<Item = &'a ZSet>) -> Self {
        let mut multiset = Self::new();
        zsets.into_iter().for_each(|zset| multiset.apply(zset));
        multiset
    }

    /// Adds `copies` of a row, which may be negative.
    pub fn add(&mut self, row: Row, copies: i64) {
        let entry = self.rows.entry(row);
        match entry {
            std::collections::btree_map::Entry::Vacant(vacant) => {
                if copies != 0 {
                    vacant.insert(copies);
                }
            }
            std::collections::btree_map::Entry::Occupied(mut occupied) => {
                *occupied.get_mut() += copies;
                if *occupied.get() == 0 {
                    occupied.remove();
                }
            }
        }
    }

    /// Adds a Z-set.
    pub fn apply(&mut self, zset: &ZSet) {
        for row in 0..zset.len() {
            self.add(row_of(zset.rows().columns(), row), zset.weights().value(row));
        }
    }

    /// Adds the changes of a delta.
    pub fn apply_delta(&mut self, delta: &DeltaBatch) {
        for row in 0..delta.len() {
            self.add(row_of(delta.rows.columns(), row), delta.weights.value(row));
        }
    }

    /// The rows and their copies, in a stable order.
    pub fn iter(&self) -> impl Iterator<Item = (&Row, i64)> {
        self.rows.iter().map(|(row, copies)| (row, *copies))
    }

    /// The copies of one row.
    pub fn copies(&self, row: &[Value]) -> i64 {
        self.rows.get(row).copied().unwrap_or(0)
    }

    /// Number of rows, counting copies; negative ones count as they are.
    pub fn len(&self) -> i64 {
        self.rows.values().sum()
    }

    /// Whether no row has copies.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether some row has a negative number of copies, which no table and no view can hold.
    pub fn has_negative(&self) -> bool {
        self.rows.values().any(|copies| *copies < 0)
    }

    /// What is to be added to `other` to get `self`.
    #[must_use]
    pub fn minus(&self, other: &Multiset) -> Multiset {
        let mut difference = self.clone();
        other.iter().for_each(|(row, copies)| difference.add(row.clone(), -copies));
        difference
    }

    /// Where `self` differs from `expected`; `None` when they are equal within the tolerance.
    pub fn difference(&self, expected: &Multiset, tolerance: &Tolerance) -> Option<Difference> {
        let mut rows = self.minus(expected).rows;
        tolerance.cancel(&mut rows);
        let (unexpected, missing): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(_, copies)| *copies > 0);
        (!unexpected.is_empty() || !missing.is_empty()).then_some(Difference { unexpected, missing })
    }

    /// Fails the test unless `self` equals `expected` exactly.
    ///
    /// # Panics
    /// With the rows of both sides that have no counterpart.
    #[track_caller]
    pub fn assert_equals(&self, expected: &Multiset, what: &str) {
        if let Some(difference) = self.difference(expected, &Tolerance::exact()) {
            panic!("{what}: {} rows found, {} expected\n{difference}", self.len(), expected.len());
        }
    }
}

/// The values of one row of some columns.
pub fn row_of(columns: &[ArrayRef], row: usize) -> Row {
    columns.iter().map(|column| Value::at(column, row)).collect()
}

/// The same, told apart as the rows of a Z-set are.
pub fn exact_row_of(columns: &[ArrayRef], row: usize) -> Row {
    columns.iter().map(|column| Value::read(column, row, Equality::Same)).collect()
}

/// How far floats may be apart. Everything is exact unless a test says, for a column that comes
/// from float arithmetic whose order is not defined, how many representable numbers may lie
/// between the two sides.
#[derive(Debug, Clone, Default)]
pub struct Tolerance {
    columns: BTreeMap<usize, u64>,
}

impl Tolerance {
    /// None at all.
    pub fn exact() -> Self {
        Self::default()
    }

    /// Allows `ulps` in the column with this index.
    #[must_use]
    pub fn with(mut self, column: usize, ulps: u64) -> Self {
        self.columns.insert(column, ulps);
        self
    }

    /// Takes out pairs of rows that are equal but for tolerated floats.
    fn cancel(&self, rows: &mut BTreeMap<Row, i64>) {
        if self.columns.is_empty() {
            return;
        }
        let (mut more, mut less): (Vec<_>, Vec<_>) = std::mem::take(rows).into_iter().partition(|(_, n)| *n > 0);
        for (row, copies) in &mut more {
            for (other, other_copies) in less.iter_mut().filter(|(other, _)| self.equal(row, other)) {
                let cancelled = (*copies).min(-*other_copies);
                debug_assert_eq!(row.len(), other.len());
                *copies -= cancelled;
                *other_copies += cancelled;
            }
        }
        rows.extend(more.into_iter().chain(less).filter(|(_, copies)| *copies != 0));
    }

    fn equal(&self, left: &Row, right: &Row) -> bool {
        left.len() == right.len()
            && left.iter().zip(right).enumerate().all(|(index, (l, r))| {
                let close = |ulps: &u64| l.as_float()?.ulps(r.as_float()?).map(|found| found <= *ulps);
                l == r || self.columns.get(&index).and_then(close).unwrap_or(false)
            })
    }
}

/// The rows in which two multisets differ.
#[derive(Debug, Clone)]
pub struct Difference {
    /// Rows found more often than expected, with the surplus.
    pub unexpected: Vec<(Row, i64)>,
    /// Rows found less often than expected, with the lack (negative).
    pub missing: Vec<(Row, i64)>,
}

/// The rows shown of each side.
const SHOWN_MAX: usize = 20;

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (title, rows) in [("unexpected", &self.unexpected), ("missing", &self.missing)] {
            writeln!(f, "{title}: {} distinct rows", rows.len())?;
            for (row, copies) in rows.iter().take(SHOWN_MAX) {
                write!(f, "  {copies:+} ×")?;
                row.iter().try_for_each(|value| write!(f, " | {value}"))?;
                writeln!(f)?;
            }
            if rows.len() > SHOWN_MAX {
                writeln!(f, "  … and {} more", rows.len() - SHOWN_MAX)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int64Array};

    use super::*;

    fn batch(ids: Vec<Option<i64>>, values: Vec<Option<f64>>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable([
            ("id", Arc::new(Int64Array::from(ids)) as ArrayRef, true),
            ("value", Arc::new(Float64Array::from(values)) as ArrayRef, true),
        ])
        .unwrap()
    }

    #[test]
    fn copies_count() {
        let twice = Multiset::of_batches([&batch(vec![None, None], vec![Some(-0.0), Some(0.0)])]);
        let once = Multiset::of_batches([&batch(vec![None], vec![Some(0.0)])]);
        assert_eq!((twice.len(), twice.iter().count()), (2, 1));
        let difference = twice.difference(&once, &Tolerance::exact()).unwrap();
        assert_eq!(difference.unexpected.len(), 1);
        assert!(difference.missing.is_empty());
        assert!(difference.to_string().contains("+1 × | NULL | 0.0"), "{difference}");
        assert!(once.minus(&twice).has_negative());
        assert!(twice.minus(&twice).is_empty());
    }

    #[test]
    fn tolerance_is_for_the_named_column_alone() {
        let left = Multiset::of_batches([&batch(vec![Some(1), Some(2)], vec![Some(1.0), Some(f64::NAN)])]);
        let right =
            Multiset::of_batches([&batch(vec![Some(1), Some(2)], vec![Some(1.0 + f64::EPSILON), Some(f64::NAN)])]);
        assert!(left.difference(&right, &Tolerance::exact()).is_some());
        assert!(left.difference(&right, &Tolerance::exact().with(1, 1)).is_none());
        assert!(left.difference(&right, &Tolerance::exact().with(0, 9)).is_some());
        let other = Multiset::of_batches([&batch(vec![Some(1), Some(3)], vec![Some(1.0), Some(f64::NAN)])]);
        assert!(left.difference(&other, &Tolerance::exact().with(1, 1)).is_some());
    }
}
