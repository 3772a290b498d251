//! What changes come to: the rows that are left of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::row::OwnedRow;

use crate::columns::{self, ColumnError};
use crate::order::RowOrder;
use crate::sort::Keys;

/// What changes in order come to, row by row.
pub(crate) struct Consolidation {
    order: Arc<RowOrder>,
    /// The changes of the row at hand: its forms, and how many of each are left.
    row: Option<OwnedRow>,
    forms: BTreeMap<Vec<u8>, i64>,
    done: Vec<Counted>,
    copies: usize,
}

/// A row and how often it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counted {
    /// As [`RowOrder::same`] writes it.
    pub(crate) row: Vec<u8>,
    pub(crate) copies: i64,
    /// Whether it is in order after the one before, and not its equal.
    pub(crate) follows: bool,
}

impl Consolidation {
    pub(crate) fn new(order: Arc<RowOrder>) -> Consolidation {
        Consolidation { order, row: None, forms: BTreeMap::new(), done: Vec::new(), copies: 0 }
    }

    /// Adds changes that come after those before.
    pub(crate) fn add(&mut self, changes: &RecordBatch) -> Result<(), ColumnError> {
        let keys = Keys::new(&self.order, changes)?;
        let same = self.order.same(&changes.columns()[..changes.num_columns() - columns::ADDED])?;
        for index in 0..changes.num_rows() {
            let row = keys.rows.row(index);
            if self.row.as_ref().is_none_or(|at| at.row() != row) {
                self.end_row()?;
                self.row = Some(row.owned());
            }
            let form = same.row(index).data();
            match self.forms.get_mut(form) {
                Some(copies) => {
                    *copies += keys.weight(index);
                    if *copies == 0 {
                        self.forms.remove(form);
                    }
                }
                None => drop(self.forms.insert(form.to_vec(), keys.weight(index))),
            }
        }
        Ok(())
    }

    /// There are no more changes of the row at hand.
    pub(crate) fn end_row(&mut self) -> Result<(), ColumnError> {
        if self.forms.values().any(|copies| *copies < 0) {
            self.settle()?;
        }
        let mut follows = true;
        for (row, copies) in std::mem::take(&mut self.forms) {
            self.copies += copies.unsigned_abs() as usize;
            self.done.push(Counted { row, copies, follows });
            follows = false;
        }
        self.row = None;
        Ok(())
    }

    /// What is missing of one form of a row goes off an equal one: SQL calls some rows equal that are not
    /// the same, and a change may name either.
    fn settle(&mut self) -> Result<(), ColumnError> {
        let mut forms: Vec<(Vec<u8>, i64)> = std::mem::take(&mut self.forms).into_iter().collect();
        let bytes: Vec<&[u8]> = forms.iter().map(|(form, _)| form.as_slice()).collect();
        let equal = self.order.equal(&self.order.stored(&bytes)?)?;
        for lacking in 0..forms.len() {
            for other in 0..forms.len() {
                let taken = forms[other].1.min(-forms[lacking].1);
                if taken > 0 && equal.row(lacking) == equal.row(other) {
                    forms[other].1 -= taken;
                    forms[lacking].1 += taken;
                }
            }
        }
        self.forms.extend(forms.into_iter().filter(|(_, copies)| *copies != 0));
        Ok(())
    }

    /// How many rows are complete, counting copies.
    pub(crate) fn rows(&self) -> usize {
        self.copies
    }

    /// The rows that are complete. One that was removed more often than it was there has a negative number.
    pub(crate) fn take(&mut self) -> Vec<Counted> {
        self.copies = 0;
        std::mem::take(&mut self.done)
    }
}
