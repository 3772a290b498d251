//! An aggregate of a frame that moves: it adds the rows that the frame gains and takes off those that it loses.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};

use dbsp::algebra::{AddAssignByRef, MulByRef};
use tidegate_engine_row::{Accumulator, RowError, average_double, average_narrow, average_wide};
use tidegate_engine_sql::AggregateKind;

use super::super::group::Width;
use super::{Function, Number, Partition, Value};

/// Sums of this magnitude are no HUGEINT and no decimal.
const SUM_LIMIT: u128 = 10u128.pow(38);

/// An aggregate of a frame that moves.
pub(super) struct Running<'f, 'a, 'p> {
    function: &'f Function,
    rows: &'p Partition<'a>,
    kind: AggregateKind,
    start: usize,
    end: usize,
    count: i64,
    sums: Accumulator,
    /// How often each value is in the frame, where equal ones count once.
    copies: BTreeMap<&'a [u64], usize>,
    /// Rows whose values no later row of the frame beats, the best one first.
    best: VecDeque<(usize, &'a [u64])>,
}

impl<'f, 'a, 'p> Running<'f, 'a, 'p> {
    pub(super) fn new(function: &'f Function, rows: &'p Partition<'a>, kind: AggregateKind) -> Self {
        Running {
            function,
            rows,
            kind,
            start: 0,
            end: 0,
            count: 0,
            sums: Accumulator::new(),
            copies: BTreeMap::new(),
            best: VecDeque::new(),
        }
    }

    pub(super) fn move_to(&mut self, start: usize, end: usize) -> Result<(), RowError> {
        if start < self.start || end < self.end {
            *self = Running { start, end: start, ..Running::new(self.function, self.rows, self.kind) };
        }
        while self.end < end {
            self.enter(self.end)?;
            self.end += 1;
        }
        while self.start < start {
            self.leave(self.start)?;
            self.start += 1;
        }
        Ok(())
    }

    /// The words of a row's argument, where the row counts. What is counted without argument has none.
    fn argument(&self, row: usize) -> Result<Option<&'a [u64]>, RowError> {
        let columns = self.rows.columns(row);
        if let Some(filter) = &self.function.filter
            && filter.int(&[columns])? != Some(1)
        {
            return Ok(None);
        }
        match &self.function.argument {
            Some(argument) => argument.words(&[columns]),
            None => Ok(Some(&[])),
        }
    }

    fn enter(&mut self, row: usize) -> Result<(), RowError> {
        let Some(value) = self.argument(row)? else { return Ok(()) };
        let beats = match self.kind {
            AggregateKind::Min => Ordering::Less,
            AggregateKind::Max => Ordering::Greater,
            _ if self.function.distinct => {
                let copies = self.copies.entry(self.function.compared(value)).or_default();
                *copies += 1;
                return if *copies == 1 { self.add(row, 1) } else { Ok(()) };
            }
            _ => return self.add(row, 1),
        };
        let compared = self.function.compared(value);
        while self.best.back().is_some_and(|(_, last)| compared.cmp(self.function.compared(last)) == beats) {
            self.best.pop_back();
        }
        self.best.push_back((row, value));
        Ok(())
    }

    fn leave(&mut self, row: usize) -> Result<(), RowError> {
        if matches!(self.kind, AggregateKind::Min | AggregateKind::Max) {
            if self.best.front().is_some_and(|(first, _)| *first == row) {
                self.best.pop_front();
            }
            return Ok(());
        }
        let Some(value) = self.argument(row)? else { return Ok(()) };
        if self.function.distinct {
            let compared = self.function.compared(value);
            match self.copies.get_mut(compared) {
                Some(copies) if *copies > 1 => {
                    *copies -= 1;
                    return Ok(());
                }
                _ => {
                    self.copies.remove(compared);
                }
            }
        }
        self.add(row, -1)
    }

    /// Adds a row's argument, or takes it off.
    fn add(&mut self, row: usize, times: i64) -> Result<(), RowError> {
        self.count += times;
        let Some(argument) = self.function.argument.as_ref().filter(|_| self.kind != AggregateKind::Count) else {
            return Ok(());
        };
        let columns = self.rows.columns(row);
        let mut one = Accumulator::new();
        match self.function.number {
            Number::Exact { .. } => one.add_int(0, argument.int(&[columns])?.unwrap_or(0)),
            Number::Float => one.add_float(0, argument.float(&[columns])?.unwrap_or(0.0)),
            Number::None => {}
        }
        self.sums.add_assign_by_ref(&one.mul_by_ref(&times));
        Ok(())
    }

    pub(super) fn value(&self) -> Result<Value<'a>, RowError> {
        let is_some = self.count > 0;
        Ok(match (self.kind, self.function.number) {
            (AggregateKind::Count, _) => Value::Integer(self.count),
            (AggregateKind::Min | AggregateKind::Max, _) => Value::Words(self.best.front().map(|(_, value)| *value)),
            (AggregateKind::Sum, Number::Float) => Value::Float(if is_some { Some(self.sums.float(0)?) } else { None }),
            (AggregateKind::Sum, _) => {
                let sum = self.sums.int(0)?;
                if sum.unsigned_abs() >= SUM_LIMIT {
                    return Err(RowError::SumOverflow);
                }
                Value::Wide(is_some.then_some(sum))
            }
            (AggregateKind::Avg, _) if !is_some => Value::Float(None),
            (AggregateKind::Avg, Number::Exact { scale, width }) => {
                let (sum, count) = (self.sums.int(0)?, self.count as u64);
                Value::Float(Some(match width {
                    Width::Narrow => average_narrow(sum as i64, count, scale),
                    Width::Wide => average_wide(sum, count, scale),
                }))
            }
            (AggregateKind::Avg, _) => Value::Float(Some(average_double(self.sums.float(0)?, self.count as u64))),
        })
    }
}
