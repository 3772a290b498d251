//! Window functions over one partition: its rows in order, the frame of each row, and the results.
//!
//! Frames move forward as rows do. An aggregate adds the rows that a frame gains and takes off those that
//! it loses, in exact sums; a least or greatest value is the first of those that no later row beats.

mod nulls;
mod running;

use std::cmp::Ordering;
use std::rc::Rc;

use arrow::datatypes::DataType;
use dbsp::ZWeight;
use tidegate_engine_row::{ColumnReader, Row, RowCodec, RowError, RowWriter, one_zero};
use tidegate_engine_sql::{AggregateKind, Frame, FrameBound, FrameUnits, WindowCall, WindowKind};

use super::group::Width;
use super::order::keys_and_columns;
use super::window::Places;
use nulls::Valid;
use running::Running;

/// The rows of a partition in order, copies one by one.
pub(crate) struct Partition<'a> {
    rows: Vec<&'a [u64]>,
    /// The group of peers of each row.
    group: Vec<usize>,
    /// Where each group begins, and the end of the last one.
    starts: Vec<usize>,
}

impl<'a> Partition<'a> {
    /// From ordered rows with their copies, ascending.
    pub fn new(ordered: &'a [(Row, ZWeight)]) -> Self {
        let mut partition =
            Partition { rows: Vec::with_capacity(ordered.len()), group: Vec::new(), starts: Vec::new() };
        let mut last = None;
        for (row, copies) in ordered {
            let (keys, columns) = keys_and_columns(row.as_words());
            if last != Some(keys) {
                partition.starts.push(partition.rows.len());
                last = Some(keys);
            }
            for _ in 0..*copies {
                partition.rows.push(columns);
                partition.group.push(partition.starts.len() - 1);
            }
        }
        partition.starts.push(partition.rows.len());
        partition
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The words of a row's columns.
    pub fn columns(&self, row: usize) -> &'a [u64] {
        self.rows[row]
    }

    fn peers(&self, row: usize) -> (usize, usize) {
        (self.starts[self.group[row]], self.starts[self.group[row] + 1])
    }

    fn groups(&self) -> usize {
        self.starts.len() - 1
    }
}

/// A function's result for one row.
#[derive(Debug, Clone)]
pub(crate) enum Value<'a> {
    Words(Option<&'a [u64]>),
    /// The words of an answer that several rows may share.
    Answer(Option<Rc<Row>>),
    Integer(i64),
    Float(Option<f64>),
    Wide(Option<i128>),
}

impl Value<'_> {
    pub fn write(&self, writer: &mut RowWriter) {
        match self {
            Value::Words(words) => writer.put(*words),
            Value::Answer(answer) => writer.put(answer.as_ref().map(|answer| answer.as_words())),
            Value::Integer(value) => writer.put_int(*value),
            Value::Float(value) => writer.put_float(*value),
            Value::Wide(value) => writer.put_wide(*value),
        };
    }
}

/// How the values of an argument are added up.
#[derive(Debug, Clone, Copy)]
enum Number {
    Exact {
        scale: u8,
        width: Width,
    },
    Float,
    /// Not a number: it is counted or compared only.
    None,
}

/// One function over the rows of a partition.
pub(crate) struct Function {
    kind: WindowKind,
    frame: Frame,
    argument: Option<ColumnReader>,
    default: Option<ColumnReader>,
    filter: Option<ColumnReader>,
    range_key: Option<ColumnReader>,
    range_start: Option<ColumnReader>,
    range_end: Option<ColumnReader>,
    /// Whether greater keys come first, for frames by values.
    descends: bool,
    distinct: bool,
    /// Whether rows in which the argument is NULL are passed over.
    ignores_nulls: bool,
    /// Which of the window's recomputed aggregates it is.
    recomputed: Option<usize>,
    number: Number,
}

impl Function {
    /// Reads its columns from rows of this codec; what is not supported is named.
    pub fn new(call: &WindowCall, places: &Places, rows: &RowCodec) -> Result<Self, String> {
        let reader = |place: Option<usize>| place.map(|place| rows.reader(place));
        let argument_type = places.argument.and_then(|place| rows.fields().nth(place)).map(|field| field.data_type());
        let number = match argument_type {
            Some(data_type) if data_type.is_floating() => Number::Float,
            Some(DataType::Decimal128(precision, scale)) => {
                let width = if *precision <= 4 { Width::Narrow } else { Width::Wide };
                Number::Exact { scale: scale.unsigned_abs(), width }
            }
            Some(DataType::Int8 | DataType::Int16 | DataType::UInt8) => {
                Number::Exact { scale: 0, width: Width::Narrow }
            }
            Some(data_type) if data_type.is_integer() => Number::Exact { scale: 0, width: Width::Wide },
            _ => Number::None,
        };
        let sums = matches!(call.kind, WindowKind::Aggregate(AggregateKind::Sum | AggregateKind::Avg));
        if let (true, Number::None) = (sums, number) {
            return Err(format!("{} over a window", call.kind.name()));
        }
        Ok(Function {
            kind: call.kind.clone(),
            frame: call.frame,
            argument: reader(places.argument),
            default: reader(places.default),
            filter: reader(places.filter),
            range_key: reader(places.range_key),
            range_start: reader(places.range_start),
            range_end: reader(places.range_end),
            descends: call.order_by.first().is_some_and(|key| !key.asc),
            distinct: call.distinct,
            ignores_nulls: call.ignores_nulls,
            recomputed: places.recomputed,
            number,
        })
    }

    /// Which of the window's recomputed aggregates it is, if it is one.
    pub fn recomputed(&self) -> Option<usize> {
        self.recomputed
    }

    /// The frame of each row: its first row and the row after its last one.
    pub fn frames(&self, rows: &Partition) -> Result<Vec<(usize, usize)>, RowError> {
        let frames = Frames::new(self, rows)?;
        (0..rows.len()).map(|row| frames.of(row)).collect()
    }

    /// The result for each row of a function that is not recomputed.
    pub fn results<'a>(&self, rows: &Partition<'a>) -> Result<Vec<Value<'a>>, RowError> {
        let all = 0..rows.len();
        let count = rows.len();
        let each = |value: &dyn Fn(usize) -> Value<'a>| Ok(all.clone().map(value).collect());
        match &self.kind {
            WindowKind::RowNumber => each(&|row| Value::Integer(row as i64 + 1)),
            WindowKind::Rank => each(&|row| Value::Integer(rows.peers(row).0 as i64 + 1)),
            WindowKind::DenseRank => each(&|row| Value::Integer(rows.group[row] as i64 + 1)),
            WindowKind::PercentRank => each(&|row| {
                let rank = rows.peers(row).0 as f64;
                Value::Float(Some(if count > 1 { rank / (count - 1) as f64 } else { 0.0 }))
            }),
            WindowKind::CumeDist => each(&|row| Value::Float(Some(rows.peers(row).1 as f64 / count as f64))),
            WindowKind::Ntile(buckets) => each(&|row| Value::Integer(bucket(row, count, *buckets))),
            WindowKind::Lag(offset) => {
                let valid = self.valid(rows)?;
                all.map(|row| self.lag(rows, row, *offset, valid.as_ref())).collect()
            }
            WindowKind::FirstValue | WindowKind::LastValue | WindowKind::NthValue(_) => self.values(rows),
            WindowKind::Aggregate(kind) => self.aggregates(rows, *kind),
            WindowKind::Recomputed(..) => unreachable!("recomputed aggregates are answered together"),
        }
    }

    /// The words by which an argument is compared: zeros of both signs are one value.
    fn compared<'a>(&self, argument: &'a [u64]) -> &'a [u64] {
        match self.number {
            Number::Float => one_zero(argument),
            Number::Exact { .. } | Number::None => argument,
        }
    }

    /// The rows that count where NULLs are passed over.
    fn valid(&self, rows: &Partition) -> Result<Option<Valid>, RowError> {
        let argument = self.argument.as_ref().filter(|_| self.ignores_nulls);
        argument.map(|argument| Valid::new(argument, rows)).transpose()
    }

    fn lag<'a>(
        &self,
        rows: &Partition<'a>,
        row: usize,
        offset: i64,
        valid: Option<&Valid>,
    ) -> Result<Value<'a>, RowError> {
        let place = match valid {
            Some(valid) => valid.before(row, offset),
            None => (row as i64).checked_sub(offset).and_then(|place| usize::try_from(place).ok()),
        };
        let (reader, place) = match place.filter(|place| *place < rows.len()) {
            Some(place) => (&self.argument, place),
            None => (&self.default, row),
        };
        Ok(Value::Words(match reader {
            Some(reader) => reader.words(&[rows.columns(place)])?,
            None => None,
        }))
    }

    fn values<'a>(&self, rows: &Partition<'a>) -> Result<Vec<Value<'a>>, RowError> {
        let frames = Frames::new(self, rows)?;
        let valid = self.valid(rows)?;
        let mut values = Vec::with_capacity(rows.len());
        for row in 0..rows.len() {
            let (start, end) = frames.of(row)?;
            let nth = match &self.kind {
                WindowKind::NthValue(nth) => usize::try_from(nth - 1).unwrap_or(usize::MAX),
                _ => 0,
            };
            let place = match (&self.kind, &valid) {
                (WindowKind::LastValue, None) => end.checked_sub(1),
                (WindowKind::LastValue, Some(valid)) => valid.last(end),
                (_, None) => start.checked_add(nth),
                (_, Some(valid)) => valid.nth(start, nth),
            };
            let place = place.filter(|place| start <= *place && *place < end);
            values.push(Value::Words(match (place, &self.argument) {
                (Some(place), Some(argument)) => argument.words(&[rows.columns(place)])?,
                _ => None,
            }));
        }
        Ok(values)
    }

    fn aggregates<'a>(&self, rows: &Partition<'a>, kind: AggregateKind) -> Result<Vec<Value<'a>>, RowError> {
        let frames = Frames::new(self, rows)?;
        let mut running = Running::new(self, rows, kind);
        let mut values: Vec<Value<'a>> = Vec::with_capacity(rows.len());
        let mut last = None;
        for row in 0..rows.len() {
            let frame = frames.of(row)?;
            if let (true, Some(value)) = (last == Some(frame), values.last()) {
                values.push(value.clone());
                continue;
            }
            running.move_to(frame.0, frame.1)?;
            values.push(running.value()?);
            last = Some(frame);
        }
        Ok(values)
    }
}

/// The first buckets have a row more where rows cannot be spread evenly.
fn bucket(row: usize, rows: usize, buckets: u64) -> i64 {
    let buckets = usize::try_from(buckets).unwrap_or(usize::MAX).min(rows);
    let (size, larger) = (rows / buckets, rows % buckets);
    let in_larger = larger * (size + 1);
    let bucket = if row < in_larger { row / (size + 1) } else { larger + (row - in_larger) / size };
    bucket as i64 + 1
}

/// The frames of a function over a partition.
struct Frames<'f, 'a, 'p> {
    function: &'f Function,
    rows: &'p Partition<'a>,
    /// The rows whose range key is not NULL.
    valid: (usize, usize),
}

impl<'f, 'a, 'p> Frames<'f, 'a, 'p> {
    fn new(function: &'f Function, rows: &'p Partition<'a>) -> Result<Self, RowError> {
        let mut valid = (0, rows.len());
        if let Some(key) = &function.range_key {
            while valid.0 < valid.1 && key.is_null(&[rows.columns(valid.0)])? {
                valid.0 += 1;
            }
            while valid.0 < valid.1 && key.is_null(&[rows.columns(valid.1 - 1)])? {
                valid.1 -= 1;
            }
        }
        Ok(Frames { function, rows, valid })
    }

    /// The first row of a row's frame and the row after its last one; an empty frame ends where it starts.
    fn of(&self, row: usize) -> Result<(usize, usize), RowError> {
        let (start, end) = (self.start(row)?, self.end(row)?);
        Ok((start, end.max(start)))
    }

    fn start(&self, row: usize) -> Result<usize, RowError> {
        let (rows, frame) = (self.rows, self.function.frame);
        let offset = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        Ok(match (frame.units, frame.start) {
            (_, FrameBound::Unbounded) => 0,
            (FrameUnits::Rows, FrameBound::Preceding(count)) => row.saturating_sub(offset(count)),
            (FrameUnits::Rows, FrameBound::Following(count)) => row.saturating_add(offset(count)).min(rows.len()),
            (FrameUnits::Rows, _) => row,
            (FrameUnits::Groups, FrameBound::Preceding(count)) => {
                rows.starts[rows.group[row].saturating_sub(offset(count))]
            }
            (FrameUnits::Groups, FrameBound::Following(count)) => {
                rows.starts[rows.group[row].saturating_add(offset(count)).min(rows.groups())]
            }
            (FrameUnits::Range, FrameBound::Value) => {
                self.by_value(row, self.function.range_start.as_ref(), Ordering::is_lt)?.unwrap_or(rows.peers(row).0)
            }
            _ => rows.peers(row).0,
        })
    }

    fn end(&self, row: usize) -> Result<usize, RowError> {
        let (rows, frame) = (self.rows, self.function.frame);
        let offset = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        Ok(match (frame.units, frame.end) {
            (_, FrameBound::Unbounded) => rows.len(),
            (FrameUnits::Rows, FrameBound::Preceding(count)) => (row + 1).saturating_sub(offset(count)),
            (FrameUnits::Rows, FrameBound::Following(count)) => (row + 1).saturating_add(offset(count)).min(rows.len()),
            (FrameUnits::Rows, _) => row + 1,
            (FrameUnits::Groups, FrameBound::Preceding(count)) => {
                rows.group[row].checked_sub(offset(count)).map_or(0, |group| rows.starts[group + 1])
            }
            (FrameUnits::Groups, FrameBound::Following(count)) => {
                rows.starts[(rows.group[row] + 1).saturating_add(offset(count)).min(rows.groups())]
            }
            (FrameUnits::Range, FrameBound::Value) => {
                self.by_value(row, self.function.range_end.as_ref(), Ordering::is_le)?.unwrap_or(rows.peers(row).1)
            }
            _ => rows.peers(row).1,
        })
    }

    /// The first row that is not before the bound of this row, in the order of the partition; `None` where
    /// the row has no value.
    fn by_value(
        &self,
        row: usize,
        bound: Option<&ColumnReader>,
        before: fn(Ordering) -> bool,
    ) -> Result<Option<usize>, RowError> {
        let (Some(bound), Some(key)) = (bound, &self.function.range_key) else { return Ok(None) };
        let Some(bound) = bound.words(&[self.rows.columns(row)])? else { return Ok(None) };
        let (mut low, mut high) = self.valid;
        while low < high {
            let middle = low + (high - low) / 2;
            let key = key.words(&[self.rows.columns(middle)])?.unwrap_or_default();
            let order = if self.function.descends { bound.cmp(key) } else { key.cmp(bound) };
            if before(order) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(Some(low))
    }
}
