//! Grouped aggregates: which parts an aggregate node is made of, how arguments become the value
//! rows of those parts, and how the results become columns.
//!
//! A group's aggregates are computed in parts. Part 0 is linear: COUNT and SUM as sums that DBSP
//! keeps per group, always with the number of rows, so that a group is there exactly as long as it
//! has rows. Every MIN or MAX is a part of its own over the ordered trace of its argument, and so
//! is every DISTINCT argument. With several parts each part's result is tagged, and a small fold
//! brings the parts of a group together.

use std::ops::Range;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanBufferBuilder, Decimal128Array, Float64Array, Int64Array, RecordBatch,
};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, SchemaRef, UInt64Type};
use tidegate_core::ViewName;
use tidegate_engine_row::{Accumulator, Row, RowCodec, RowError, average_double, average_narrow, average_wide};

use super::pipe::batch;
use super::plan::Edge;
use crate::EngineError;

/// The parts of an aggregate node.
pub(crate) struct GroupPlan {
    pub parts: Vec<Part>,
    /// An aggregate without GROUP BY has one row even when its input has none: a row that never
    /// goes away enters here, at the first step of the circuit.
    pub seeded: bool,
}

impl GroupPlan {
    /// Whether the parts' results travel tagged.
    pub fn is_tagged(&self) -> bool {
        self.seeded || self.parts.len() > 1
    }
}

/// The tag of the row that keeps a global aggregate alive; greater than any part's.
pub(crate) const SEED_TAG: u64 = u64::MAX;

pub(crate) enum Part {
    /// Sums over all rows.
    Linear { input: Edge, slots: Slots },
    /// Sums over the distinct values.
    Distinct { input: Edge, slots: Slots },
    /// The least or greatest value.
    Extreme { input: Edge, which: Extreme },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extreme {
    Min,
    Max,
}

/// One number that is summed up a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    /// 1 a row.
    Rows,
    /// 1 a row whose argument is not NULL.
    Count { argument: usize },
    /// An exact number of at most 64 bits, NULL counting as 0.
    Narrow { argument: usize },
    /// An exact number of at most 128 bits, NULL counting as 0.
    Wide { argument: usize },
    /// A floating point number, NULL counting as 0.
    Float { argument: usize },
}

impl Slot {
    /// Words of the slot in a value row.
    fn value_words(self) -> usize {
        match self {
            Slot::Rows => 0,
            Slot::Count { .. } | Slot::Narrow { .. } | Slot::Float { .. } => 1,
            Slot::Wide { .. } => 2,
        }
    }

    /// Words of the slot in a result row.
    fn result_words(self) -> usize {
        match self {
            Slot::Rows | Slot::Count { .. } | Slot::Float { .. } => 1,
            Slot::Narrow { .. } | Slot::Wide { .. } => 2,
        }
    }
}

/// The slots of a part.
#[derive(Debug, Clone)]
pub(crate) struct Slots(pub Vec<Slot>);

impl Slots {
    /// What one value row adds to its group.
    pub fn weigh(&self, value: &Row) -> Accumulator {
        let words = value.as_words();
        let mut sums = Accumulator::new();
        let mut word = 0;
        for (index, slot) in self.0.iter().enumerate() {
            match slot {
                Slot::Rows => sums.add_int(index, 1),
                Slot::Count { .. } | Slot::Narrow { .. } => sums.add_int(index, i128::from(words[word] as i64)),
                Slot::Wide { .. } => sums.add_int(index, wide(words[word], words[word + 1])),
                Slot::Float { .. } => sums.add_float(index, f64::from_bits(words[word])),
            }
            word += slot.value_words();
        }
        sums
    }

    /// The sums of a group as a result row.
    pub fn result(&self, sums: &Accumulator) -> Result<Row, RowError> {
        let mut words = Vec::with_capacity(self.0.iter().map(|slot| slot.result_words()).sum());
        for (index, slot) in self.0.iter().enumerate() {
            match slot {
                Slot::Float { .. } => words.push(sums.float(index)?.to_bits()),
                Slot::Rows | Slot::Count { .. } => words.push(sums.count(index)? as u64),
                Slot::Narrow { .. } | Slot::Wide { .. } => {
                    let sum = sums.int(index)?;
                    words.extend([(sum >> 64) as u64, sum as u64]);
                }
            }
        }
        Ok(Row::from_words(&words))
    }

    /// A result row of zeros, for a group whose sums cannot be told; the step fails.
    pub fn zero(&self) -> Row {
        Row::from_words(&vec![0; self.0.iter().map(|slot| slot.result_words()).sum()])
    }

    fn offset(&self, slot: usize) -> usize {
        self.0[..slot].iter().map(|slot| slot.result_words()).sum()
    }
}

fn wide(high: u64, low: u64) -> i128 {
    i128::from(high as i64) << 64 | i128::from(low)
}

/// Encodes the argument columns of a part as slot words.
pub(crate) struct SlotEncoder {
    pub slots: Slots,
}

enum SlotColumn {
    Validity(Option<NullBuffer>),
    Narrow(Int64Array),
    Decimal(Decimal128Array),
    Float(Float64Array),
}

impl SlotEncoder {
    /// One value row for each of `rows`; `arguments` are the columns that the slots count from 0.
    pub fn encode(&self, arguments: &[ArrayRef], rows: usize) -> Result<Vec<Row>, EngineError> {
        let columns: Vec<(Slot, SlotColumn)> = self
            .slots
            .0
            .iter()
            .filter(|slot| slot.value_words() > 0)
            .map(|slot| Ok((*slot, slot_column(*slot, arguments)?)))
            .collect::<Result<_, EngineError>>()?;
        let width = self.slots.0.iter().map(|slot| slot.value_words()).sum();
        let mut words = Vec::with_capacity(width);
        let mut encoded = Vec::with_capacity(rows);
        for row in 0..rows {
            words.clear();
            for (slot, column) in &columns {
                match column {
                    SlotColumn::Validity(nulls) => {
                        words.push(u64::from(nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row))));
                    }
                    SlotColumn::Narrow(values) => {
                        words.push(if values.is_valid(row) { values.value(row) as u64 } else { 0 })
                    }
                    SlotColumn::Decimal(values) => {
                        let value = if values.is_valid(row) { values.value(row) } else { 0 };
                        if slot.value_words() == 2 {
                            words.push((value >> 64) as u64);
                        }
                        words.push(value as u64);
                    }
                    SlotColumn::Float(values) => {
                        words.push(if values.is_valid(row) { values.value(row).to_bits() } else { 0 });
                    }
                }
            }
            encoded.push(Row::from_words(&words));
        }
        Ok(encoded)
    }
}

fn slot_column(slot: Slot, arguments: &[ArrayRef]) -> Result<SlotColumn, EngineError> {
    Ok(match slot {
        Slot::Rows => unreachable!("a row count has no argument"),
        Slot::Count { argument } => SlotColumn::Validity(arguments[argument].logical_nulls()),
        Slot::Narrow { argument } | Slot::Wide { argument } => match arguments[argument].data_type() {
            DataType::Decimal128(_, _) => {
                SlotColumn::Decimal(arguments[argument].as_primitive::<Decimal128Type>().clone())
            }
            DataType::UInt64 => {
                let values = arguments[argument].as_primitive::<UInt64Type>();
                let wide: Decimal128Array = values.iter().map(|value| value.map(i128::from)).collect();
                SlotColumn::Decimal(wide)
            }
            _ => SlotColumn::Narrow(cast(&arguments[argument], &DataType::Int64)?.as_primitive::<Int64Type>().clone()),
        },
        Slot::Float { argument } => {
            SlotColumn::Float(cast(&arguments[argument], &DataType::Float64)?.as_primitive::<Float64Type>().clone())
        }
    })
}

/// Where an output column of the aggregate comes from.
#[derive(Debug, Clone)]
pub(crate) enum Output {
    /// A number of rows.
    Count { part: usize, slot: usize },
    /// A sum of exact numbers; NULL when nothing was counted.
    Sum { part: usize, slot: usize, count: usize },
    /// A sum of floats; NULL when nothing was counted.
    FloatSum { part: usize, slot: usize, count: usize },
    /// An average of exact numbers with this scale.
    Average { part: usize, slot: usize, count: usize, scale: u8, width: Width },
    /// An average of floats.
    FloatAverage { part: usize, slot: usize, count: usize },
    /// The least or greatest value.
    Extreme { part: usize },
}

/// DuckDB averages numbers of up to 64 bits and wider ones in different ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    Narrow,
    Wide,
}

/// Decodes groups: the keys, then the aggregates.
pub(crate) struct GroupDecoder {
    pub view: ViewName,
    pub keys: RowCodec,
    /// The slots of each part; empty for an extreme.
    pub slots: Vec<Slots>,
    /// The codec of each extreme's value.
    pub extremes: Vec<Option<RowCodec>>,
    pub tagged: bool,
    pub outputs: Vec<Output>,
    pub schema: SchemaRef,
}

impl GroupDecoder {
    pub fn decode(&self, keys: &[Row], values: &[Row]) -> Result<RecordBatch, EngineError> {
        let mut columns = self.keys.decode(keys.iter())?;
        let sections: Vec<Vec<Option<Range<usize>>>> = values.iter().map(|value| self.sections(value)).collect();
        for output in &self.outputs {
            let field = self.schema.field(columns.len());
            let column = self.column(output, values, &sections)?;
            columns.push(if column.data_type() == field.data_type() {
                column
            } else {
                cast(&column, field.data_type())?
            });
        }
        batch(&self.schema, columns, keys.len())
    }

    /// Where each part's words stand in a value; `None` where the group has no such part (all
    /// arguments NULL, or no rows at all).
    fn sections(&self, value: &Row) -> Vec<Option<Range<usize>>> {
        let words = value.as_words();
        if !self.tagged {
            return vec![Some(0..words.len())];
        }
        let mut sections = vec![None; self.slots.len()];
        let mut at = 0;
        while at < words.len() {
            let (tag, len) = (words[at], words[at + 1] as usize);
            if tag != SEED_TAG {
                sections[tag as usize] = Some(at + 2..at + 2 + len);
            }
            at += 2 + len;
        }
        sections
    }

    fn column(
        &self,
        output: &Output,
        values: &[Row],
        sections: &[Vec<Option<Range<usize>>>],
    ) -> Result<ArrayRef, EngineError> {
        let word = |row: usize, part: usize, slot: usize, at: usize| -> Option<u64> {
            let section = sections[row][part].as_ref()?;
            Some(values[row].as_words()[section.start + self.slots[part].offset(slot) + at])
        };
        let count = |row: usize, part: usize, slot: usize| word(row, part, slot, 0).map_or(0, |n| n as i64);
        let sum = |row: usize, part: usize, slot: usize| -> i128 {
            match (word(row, part, slot, 0), word(row, part, slot, 1)) {
                (Some(high), Some(low)) => wide(high, low),
                _ => 0,
            }
        };
        let rows = 0..values.len();
        Ok(match *output {
            Output::Count { part, slot } => {
                std::sync::Arc::new(Int64Array::from_iter_values(rows.map(|row| count(row, part, slot))))
            }
            Output::Sum { part, slot, count: counted } => {
                let sums: Decimal128Array =
                    rows.map(|row| (count(row, part, counted) > 0).then(|| sum(row, part, slot))).collect();
                if sums.iter().flatten().any(|sum| sum.unsigned_abs() >= 10u128.pow(38)) {
                    return Err(EngineError::SumOverflow { view: self.view.clone() });
                }
                let scale = match self.schema.field(self.output_column(output)).data_type() {
                    DataType::Decimal128(_, scale) => *scale,
                    _ => 0,
                };
                std::sync::Arc::new(sums.with_precision_and_scale(38, scale)?)
            }
            Output::FloatSum { part, slot, count: counted } => std::sync::Arc::new(
                rows.map(|row| {
                    (count(row, part, counted) > 0).then(|| word(row, part, slot, 0).map(f64::from_bits)).flatten()
                })
                .collect::<Float64Array>(),
            ),
            Output::Average { part, slot, count: counted, scale, width } => std::sync::Arc::new(
                rows.map(|row| {
                    let n = count(row, part, counted);
                    (n > 0).then(|| match width {
                        Width::Narrow => average_narrow(sum(row, part, slot) as i64, n as u64, scale),
                        Width::Wide => average_wide(sum(row, part, slot), n as u64, scale),
                    })
                })
                .collect::<Float64Array>(),
            ),
            Output::FloatAverage { part, slot, count: counted } => std::sync::Arc::new(
                rows.map(|row| {
                    let n = count(row, part, counted);
                    word(row, part, slot, 0).filter(|_| n > 0).map(|sum| average_double(f64::from_bits(sum), n as u64))
                })
                .collect::<Float64Array>(),
            ),
            Output::Extreme { part } => self.extreme(part, values, sections)?,
        })
    }

    fn output_column(&self, output: &Output) -> usize {
        let index = self.outputs.iter().position(|o| std::ptr::eq(o, output)).expect("the output is one of ours");
        self.schema.fields().len() - self.outputs.len() + index
    }

    fn extreme(
        &self,
        part: usize,
        values: &[Row],
        sections: &[Vec<Option<Range<usize>>>],
    ) -> Result<ArrayRef, EngineError> {
        let codec = self.extremes[part].as_ref().expect("an extreme has a codec");
        let mut present = BooleanBufferBuilder::new(values.len());
        let mut rows = Vec::with_capacity(values.len());
        for (value, sections) in values.iter().zip(sections) {
            present.append(sections[part].is_some());
            if let Some(section) = &sections[part] {
                rows.push(Row::from_words(&value.as_words()[section.clone()]));
            }
        }
        let found = codec.decode(rows.iter())?.swap_remove(0);
        if rows.len() == values.len() {
            return Ok(found);
        }
        let present = present.finish();
        let mut next = 0u64;
        let indices: arrow::array::UInt64Array = (0..values.len())
            .map(|row| {
                present.value(row).then(|| {
                    next += 1;
                    next - 1
                })
            })
            .collect();
        Ok(arrow::compute::take(&found, &indices, None)?)
    }
}
