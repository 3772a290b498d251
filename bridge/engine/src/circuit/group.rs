//! Grouped aggregates: which parts an aggregate node is made of, how arguments become the value
//! rows of those parts, and how the results become the group's row.
//!
//! A group's aggregates are computed in parts. Part 0 is linear: COUNT and SUM as sums that DBSP
//! keeps per group, always with the number of rows, so that a group is there exactly as long as it
//! has rows. Every MIN or MAX is a part of its own over the ordered trace of its argument, and so
//! is every DISTINCT argument. With several parts each part's result is tagged, and a small fold
//! brings the parts of a group together.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Float64Type, Int64Type, UInt64Type};
use smallvec::SmallVec;
use tidegate_engine_row::{
    Accumulator, ColumnReader, Row, RowCodec, RowError, average_double, average_narrow, average_wide,
};

use super::key::KeyShape;
use super::plan::Edge;
use super::recompute::{self, Recompute};
use crate::EngineError;

/// The parts of an aggregate node.
pub(crate) struct GroupPlan {
    pub parts: Vec<Part>,
    /// An aggregate without GROUP BY has one row even when its input has none: a row that never
    /// goes away enters here, at the first step of the circuit.
    pub seeded: bool,
    pub key: KeyShape,
    pub outputs: Arc<GroupOutputs>,
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
    /// What is computed from all rows.
    Recompute { input: Edge, part: Arc<Recompute> },
}

impl Part {
    pub fn input(&self) -> &Edge {
        match self {
            Part::Linear { input, .. }
            | Part::Distinct { input, .. }
            | Part::Extreme { input, .. }
            | Part::Recompute { input, .. } => input,
        }
    }
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
    /// Words of the slot in a value row; what is counted takes a flag there.
    fn value_words(self) -> usize {
        match self {
            Slot::Rows | Slot::Count { .. } => 0,
            Slot::Narrow { .. } | Slot::Float { .. } => 1,
            Slot::Wide { .. } => 2,
        }
    }

    /// Words of the slot in a result.
    fn result_words(self) -> usize {
        match self {
            Slot::Rows | Slot::Count { .. } | Slot::Float { .. } => 1,
            Slot::Narrow { .. } | Slot::Wide { .. } => 2,
        }
    }
}

/// The words of a part's result.
pub(crate) type Words = SmallVec<[u64; 16]>;

/// The slots of a part, the first of which counts its rows. A value row has a flag for each slot that
/// counts, 64 a word, and then the words of the numbers.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    /// Where each slot stands in an accumulator. Those that count come last and hold the number of
    /// NULLs, which is zero for most groups and then takes no room.
    places: Vec<usize>,
    /// Where each slot's words begin in a result.
    offsets: Vec<usize>,
}

impl Slots {
    pub fn new(slots: Vec<Slot>) -> Self {
        debug_assert!(slots.is_empty() || slots[0] == Slot::Rows, "the first slot counts the rows");
        let counts = |slot: &Slot| matches!(slot, Slot::Count { .. });
        let mut order: Vec<usize> = (0..slots.len()).collect();
        order.sort_by_key(|slot| counts(&slots[*slot]));
        let mut places = vec![0; slots.len()];
        order.iter().enumerate().for_each(|(place, slot)| places[*slot] = place);
        let ends = slots.iter().scan(0, |end, slot| Some(std::mem::replace(end, *end + slot.result_words())));
        let offsets = ends.collect();
        Slots { slots, places, offsets }
    }

    /// Whether rows are counted and nothing else.
    pub fn are_rows(&self) -> bool {
        self.slots == [Slot::Rows]
    }

    /// What one value row adds to its group.
    pub fn weigh(&self, value: &Row) -> Accumulator {
        let words = value.as_words();
        let mut sums = Accumulator::new();
        let (mut flag, mut word) = (0, self.flag_words());
        for (slot, place) in self.slots.iter().zip(&self.places) {
            match slot {
                Slot::Rows => sums.add_int(*place, 1),
                Slot::Count { .. } => {
                    if words[flag / 64] >> (flag % 64) & 1 == 0 {
                        sums.add_int(*place, 1);
                    }
                    flag += 1;
                }
                Slot::Narrow { .. } => sums.add_int(*place, i128::from(words[word] as i64)),
                Slot::Wide { .. } => sums.add_int(*place, wide(words[word], words[word + 1])),
                Slot::Float { .. } => sums.add_float(*place, f64::from_bits(words[word])),
            }
            word += slot.value_words();
        }
        sums
    }

    fn flag_words(&self) -> usize {
        self.slots.iter().filter(|slot| matches!(slot, Slot::Count { .. })).count().div_ceil(64)
    }

    /// The sums of a group.
    pub fn result(&self, sums: &Accumulator) -> Result<Words, RowError> {
        let mut words = Words::new();
        for (slot, place) in self.slots.iter().zip(&self.places) {
            match slot {
                Slot::Float { .. } => words.push(sums.float(*place)?.to_bits()),
                Slot::Rows => words.push(sums.count(*place)? as u64),
                Slot::Count { .. } => words.push((sums.count(0)? - sums.count(*place)?) as u64),
                Slot::Narrow { .. } | Slot::Wide { .. } => {
                    let sum = sums.int(*place)?;
                    words.extend([(sum >> 64) as u64, sum as u64]);
                }
            }
        }
        Ok(words)
    }

    /// A result of zeros, for a group whose sums cannot be told; the step fails.
    pub fn zero(&self) -> Words {
        SmallVec::from_elem(0, self.slots.iter().map(|slot| slot.result_words()).sum())
    }

    /// Reads value rows from rows of another kind, given a reader for each argument.
    pub fn reader(&self, argument: impl Fn(usize) -> ColumnReader) -> SlotReader {
        let column = |slot: &Slot| match slot {
            Slot::Rows => None,
            Slot::Count { argument: index }
            | Slot::Narrow { argument: index }
            | Slot::Wide { argument: index }
            | Slot::Float { argument: index } => Some((*slot, argument(*index))),
        };
        SlotReader { flag_words: self.flag_words(), slots: self.slots.iter().filter_map(column).collect() }
    }
}

/// Makes value rows from the words of other rows.
#[derive(Debug, Clone)]
pub(crate) struct SlotReader {
    flag_words: usize,
    slots: Vec<(Slot, ColumnReader)>,
}

impl SlotReader {
    /// The value row for a row, given by the words of its parts.
    #[inline]
    pub fn row(&self, parts: &[&[u64]]) -> Result<Row, RowError> {
        let mut words = Words::from_elem(0, self.flag_words);
        let mut flag = 0;
        for (slot, column) in &self.slots {
            match slot {
                Slot::Rows => unreachable!("a row count has no argument"),
                Slot::Count { .. } => {
                    words[flag / 64] |= u64::from(!column.is_null(parts)?) << (flag % 64);
                    flag += 1;
                }
                Slot::Narrow { .. } => words.push(column.int(parts)?.unwrap_or(0) as u64),
                Slot::Wide { .. } => {
                    let value = column.int(parts)?.unwrap_or(0);
                    words.extend([(value >> 64) as u64, value as u64]);
                }
                Slot::Float { .. } => words.push(column.float(parts)?.unwrap_or(0.0).to_bits()),
            }
        }
        Ok(Row::from_words(&words))
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
    Narrow(Int64Array),
    Decimal(Decimal128Array),
    Float(Float64Array),
}

impl SlotEncoder {
    /// One value row for each of `rows`; `arguments` are the columns that the slots count from 0.
    pub fn encode(&self, arguments: &[ArrayRef], rows: usize) -> Result<Vec<Row>, EngineError> {
        let (mut flags, mut numbers) = (Vec::new(), Vec::new());
        for slot in &self.slots.slots {
            match slot {
                Slot::Rows => {}
                Slot::Count { argument } => flags.push(arguments[*argument].logical_nulls()),
                Slot::Narrow { argument } | Slot::Wide { argument } | Slot::Float { argument } => {
                    numbers.push((*slot, slot_column(*slot, &arguments[*argument])?));
                }
            }
        }
        let all_valid = flags.iter().all(Option::is_none);
        let flag_words = self.slots.flag_words();
        let mut words = Words::new();
        let mut encoded = Vec::with_capacity(rows);
        for row in 0..rows {
            words.clear();
            words.resize(flag_words, 0);
            for (flag, nulls) in flags.iter().enumerate() {
                let valid = all_valid || nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
                words[flag / 64] |= u64::from(valid) << (flag % 64);
            }
            for (slot, column) in &numbers {
                match column {
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

fn slot_column(slot: Slot, argument: &ArrayRef) -> Result<SlotColumn, EngineError> {
    Ok(match (slot, argument.data_type()) {
        (Slot::Float { .. }, _) => {
            SlotColumn::Float(cast(argument, &DataType::Float64)?.as_primitive::<Float64Type>().clone())
        }
        (_, DataType::Decimal128(_, _)) => SlotColumn::Decimal(argument.as_primitive::<Decimal128Type>().clone()),
        (_, DataType::UInt64) => {
            let values = argument.as_primitive::<UInt64Type>();
            SlotColumn::Decimal(values.iter().map(|value| value.map(i128::from)).collect())
        }
        _ => SlotColumn::Narrow(cast(argument, &DataType::Int64)?.as_primitive::<Int64Type>().clone()),
    })
}

/// Where an output column of the aggregate comes from.
#[derive(Debug, Clone)]
pub(crate) enum Output {
    /// A number of rows.
    Count { part: usize, slot: usize },
    /// A sum of exact numbers; NULL when nothing was counted.
    Sum { part: usize, slot: usize, count: usize, scale: u8 },
    /// A sum of floats; NULL when nothing was counted.
    FloatSum { part: usize, slot: usize, count: usize },
    /// An average of exact numbers with this scale.
    Average { part: usize, slot: usize, count: usize, scale: u8, width: Width },
    /// An average of floats.
    FloatAverage { part: usize, slot: usize, count: usize },
    /// The least or greatest value.
    Extreme { part: usize, data_type: DataType },
    /// The answer of a call of the recomputed part.
    Recomputed { part: usize, call: usize, data_type: DataType },
}

impl Output {
    /// The column, under its planned name.
    pub fn field(&self, planned: &Field) -> FieldRef {
        let (data_type, nullable) = match self {
            Output::Count { .. } => (DataType::Int64, false),
            Output::Sum { scale, .. } => (DataType::Decimal128(38, *scale as i8), true),
            Output::FloatSum { .. } | Output::Average { .. } | Output::FloatAverage { .. } => (DataType::Float64, true),
            Output::Extreme { data_type, .. } | Output::Recomputed { data_type, .. } => (data_type.clone(), true),
        };
        Arc::new(Field::new(planned.name(), data_type, nullable))
    }
}

/// DuckDB averages numbers of up to 64 bits and wider ones in different ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    Narrow,
    Wide,
}

/// From the results of a group's parts to the row of its aggregates.
pub(crate) struct GroupOutputs {
    /// The slots of each part; empty for an extreme.
    pub slots: Vec<Slots>,
    /// What the recomputed part answers for no rows.
    pub of_none: Row,
    pub outputs: Vec<Output>,
    /// Of the aggregates, without the keys.
    pub codec: RowCodec,
}

/// The result of each part; `None` where a group has no such part (all arguments NULL, or no rows
/// at all).
type Sections<'a> = SmallVec<[Option<&'a [u64]>; 8]>;

/// Sums of this magnitude are no HUGEINT and no decimal.
const SUM_LIMIT: u128 = 10u128.pow(38);

impl GroupOutputs {
    /// The row of a group whose only part has this result.
    pub fn of_one(&self, result: &[u64]) -> Result<Row, RowError> {
        self.row(&[Some(result)])
    }

    /// The row of a group from tagged results, end to end.
    pub fn of_tagged(&self, results: &Row) -> Result<Row, RowError> {
        let mut sections = Sections::from_elem(None, self.slots.len());
        let mut rest = results.as_words();
        while let [tag, length, words @ ..] = rest {
            let (section, others) = words.split_at(*length as usize);
            if *tag != SEED_TAG {
                sections[*tag as usize] = Some(section);
            }
            rest = others;
        }
        self.row(&sections)
    }

    fn row(&self, sections: &[Option<&[u64]>]) -> Result<Row, RowError> {
        let words = |part: usize, slot: usize| sections[part].map(|words| &words[self.slots[part].offsets[slot]..]);
        let count = |part: usize, slot: usize| words(part, slot).map_or(0, |words| words[0] as i64);
        let sum = |part: usize, slot: usize| words(part, slot).map_or(0, |words| wide(words[0], words[1]));
        let float = |part: usize, slot: usize| words(part, slot).map_or(0.0, |words| f64::from_bits(words[0]));
        let mut writer = self.codec.writer();
        for output in &self.outputs {
            match *output {
                Output::Count { part, slot } => writer.put_int(count(part, slot)),
                Output::Sum { part, slot, count: counted, .. } => {
                    let sum = (count(part, counted) > 0).then(|| sum(part, slot));
                    if sum.is_some_and(|sum| sum.unsigned_abs() >= SUM_LIMIT) {
                        return Err(RowError::SumOverflow);
                    }
                    writer.put_wide(sum)
                }
                Output::FloatSum { part, slot, count: counted } => {
                    writer.put_float((count(part, counted) > 0).then(|| float(part, slot)))
                }
                Output::Average { part, slot, count: counted, scale, width } => {
                    let n = count(part, counted);
                    writer.put_float((n > 0).then(|| match width {
                        Width::Narrow => average_narrow(sum(part, slot) as i64, n as u64, scale),
                        Width::Wide => average_wide(sum(part, slot), n as u64, scale),
                    }))
                }
                Output::FloatAverage { part, slot, count: counted } => {
                    let n = count(part, counted);
                    writer.put_float((n > 0).then(|| average_double(float(part, slot), n as u64)))
                }
                Output::Extreme { part, .. } => writer.put(sections[part]),
                Output::Recomputed { part, call, .. } => {
                    let answers = sections[part].unwrap_or(self.of_none.as_words());
                    writer.put(recompute::answer(answers, call))
                }
            };
        }
        Ok(writer.finish())
    }

    /// A row of nothing, for a group whose aggregates cannot be told; the step fails.
    pub fn nothing(&self) -> Row {
        let mut writer = self.codec.writer();
        for output in &self.outputs {
            match output {
                Output::Count { .. } => writer.put_int(0),
                _ => writer.put(None),
            };
        }
        writer.finish()
    }
}
