//! The hash chain: one hash an epoch, over the one before it and all that determines this one.
//!
//! Nothing random and no wall time goes in, and rows count as what they are, a Z-set: not their
//! order, not how they were cut into batches, not a row that comes and goes in one event. A source
//! that reads with several threads offers them differently each time, and an epoch that is polled
//! again after a crash must get the same hash.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, FixedSizeListArray, ListArray, RecordBatch, StructArray, make_array};
use arrow::datatypes::{DataType, Field, Fields};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use std::sync::Arc;
use tidegate_core::{Epoch, EpochHash, Frontier, KeyedChanges, Micros, TableEvent, TableName, ViewName};

use super::header::{LoadedTable, RecordKind};
use super::section::op_code;

/// What the events of an epoch, or a load, come down to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// An epoch without events: a resync.
    pub fn empty() -> Self {
        ContentHasher::default().finish()
    }

    /// A rewind: its rows are determined by the epoch that it goes back to.
    pub fn of_rewind(to: &EpochHash) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("tidegate rewind v1");
        hasher.update(&to.0);
        ContentHash(*hasher.finalize().as_bytes())
    }

    /// A load or rebuild: its rows are determined by the frontier, the tables and the plans.
    pub fn of_load(tables: &[LoadedTable], plans: &BTreeMap<ViewName, String>) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("tidegate load v1");
        let mut tables: Vec<_> = tables.iter().collect();
        tables.sort_by(|a, b| a.name.cmp(&b.name));
        for table in tables {
            update(&mut hasher, table.name.to_string().as_bytes());
            update(&mut hasher, &table.incarnation.to_le_bytes());
        }
        for (view, plan) in plans {
            update(&mut hasher, view.as_str().as_bytes());
            update(&mut hasher, plan.as_bytes());
        }
        ContentHash(*hasher.finalize().as_bytes())
    }
}

/// The hash of an epoch.
pub fn epoch_hash(
    previous: &EpochHash,
    kind: RecordKind,
    epoch: Epoch,
    frontier: &Frontier,
    time: Micros,
    content: &ContentHash,
) -> EpochHash {
    let mut hasher = blake3::Hasher::new_derive_key("tidegate epoch v1");
    hasher.update(&previous.0);
    update(&mut hasher, kind.as_str().as_bytes());
    update(&mut hasher, &epoch.0.to_le_bytes());
    update(&mut hasher, frontier.to_string().as_bytes());
    update(&mut hasher, &time.0.to_le_bytes());
    hasher.update(&content.0);
    EpochHash(*hasher.finalize().as_bytes())
}

/// Lengths go in too, so that no two sequences of fields run together.
fn update(hasher: &mut blake3::Hasher, field: &[u8]) {
    hasher.update(&(field.len() as u64).to_le_bytes());
    hasher.update(field);
}

/// Hashes events table by table as they come. The order of the tables does not matter, the order
/// of one table's events does, and neighbouring `Rows` events are one Z-set.
#[derive(Clone, Default)]
pub struct ContentHasher {
    tables: BTreeMap<TableName, TableHasher>,
}

impl ContentHasher {
    /// Takes the next event of a table.
    pub fn update(&mut self, table: &TableName, event: &TableEvent) -> Result<(), ArrowError> {
        if !self.tables.contains_key(table) {
            self.tables.insert(table.clone(), TableHasher::default());
        }
        let hasher = self.tables.get_mut(table).unwrap_or_else(|| unreachable!("it was just inserted"));
        match event {
            TableEvent::Rows(zset) => {
                let weights = zset.weights().values();
                each_row(zset.rows(), |row, bytes| hasher.rows.add(&row_hash(bytes), weights[row]))
            }
            TableEvent::Keyed(changes) => {
                hasher.close_rows();
                hasher.keyed(changes)
            }
            TableEvent::Truncate => {
                hasher.close_rows();
                update(&mut hasher.events, b"truncate");
                Ok(())
            }
            TableEvent::Replace => {
                hasher.close_rows();
                update(&mut hasher.events, b"replace");
                Ok(())
            }
        }
    }

    /// The hash of everything so far.
    pub fn finish(self) -> ContentHash {
        let mut all = blake3::Hasher::new_derive_key("tidegate content v1");
        for (table, mut hasher) in self.tables {
            hasher.close_rows();
            update(&mut all, table.to_string().as_bytes());
            all.update(hasher.events.finalize().as_bytes());
        }
        ContentHash(*all.finalize().as_bytes())
    }
}

#[derive(Clone, Default)]
struct TableHasher {
    events: blake3::Hasher,
    rows: RowSum,
}

impl TableHasher {
    fn close_rows(&mut self) {
        let rows = std::mem::take(&mut self.rows);
        if rows.0 != [0; 4] {
            update(&mut self.events, b"rows");
            for word in rows.0 {
                self.events.update(&word.to_le_bytes());
            }
        }
    }

    /// Masked values are as the source's decoder left them; the marks say that they do not count,
    /// so both go in.
    fn keyed(&mut self, changes: &KeyedChanges) -> Result<(), ArrowError> {
        update(&mut self.events, b"keyed");
        let events = &mut self.events;
        each_row(&changes.rows, |row, bytes| {
            events.update(&[op_code(changes.ops[row])]);
            update(events, bytes);
            for (column, marks) in changes.unchanged.iter().enumerate() {
                if marks.as_ref().is_some_and(|marks| marks.is_valid(row) && marks.value(row)) {
                    events.update(&(column as u64).to_le_bytes());
                }
            }
        })
    }
}

/// The sum of `weight × hash(row)` modulo 2²⁵⁶: the same for equal Z-sets, however they are
/// ordered and cut, and for other ones with as good as no chance.
#[derive(Clone, Default)]
struct RowSum([u64; 4]);

impl RowSum {
    fn add(&mut self, hash: &[u64; 4], weight: i64) {
        let mut carry = 0u128;
        let factor = u128::from(weight.unsigned_abs());
        let mut product = [0u64; 4];
        for (word, part) in product.iter_mut().zip(hash) {
            carry += u128::from(*part) * factor;
            *word = carry as u64;
            carry >>= 64;
        }
        if weight < 0 {
            product = negated(product);
        }
        let mut carry = 0u128;
        for (word, part) in self.0.iter_mut().zip(product) {
            carry += u128::from(*word) + u128::from(part);
            *word = carry as u64;
            carry >>= 64;
        }
    }
}

/// Two's complement.
fn negated(words: [u64; 4]) -> [u64; 4] {
    let mut carry = true;
    words.map(|word| {
        let (negated, overflow) = (!word).overflowing_add(u64::from(carry));
        carry = overflow;
        negated
    })
}

fn row_hash(bytes: &[u8]) -> [u64; 4] {
    let hash = blake3::hash(bytes);
    let bytes = hash.as_bytes();
    std::array::from_fn(|word| u64::from_le_bytes(std::array::from_fn(|i| bytes[word * 8 + i])))
}

/// Calls `visit` with every row in Arrow's row format.
pub(crate) fn each_row(batch: &RecordBatch, mut visit: impl FnMut(usize, &[u8])) -> Result<(), ArrowError> {
    let columns: Vec<ArrayRef> = batch.columns().iter().map(without_maps).collect();
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let rows = RowConverter::new(fields)?.convert_columns(&columns)?;
    rows.iter().enumerate().for_each(|(index, row)| visit(index, row.as_ref()));
    Ok(())
}

/// The row format refuses maps: they become lists of their entries, at every depth.
fn without_maps(array: &ArrayRef) -> ArrayRef {
    if !array.data_type().is_nested() {
        return array.clone();
    }
    match array.data_type() {
        DataType::Map(_, _) => {
            let map = arrow::array::AsArray::as_map(array);
            let entries = without_maps(&(Arc::new(map.entries().clone()) as ArrayRef));
            let field = Arc::new(Field::new_list_field(entries.data_type().clone(), false));
            Arc::new(ListArray::new(field, map.offsets().clone(), entries, map.nulls().cloned()))
        }
        DataType::List(field) => {
            let list = arrow::array::AsArray::as_list::<i32>(array);
            let values = without_maps(list.values());
            let field = Arc::new(Field::clone(field).with_data_type(values.data_type().clone()));
            Arc::new(ListArray::new(field, list.offsets().clone(), values, list.nulls().cloned()))
        }
        DataType::FixedSizeList(field, size) => {
            let list = arrow::array::AsArray::as_fixed_size_list(array);
            let values = without_maps(list.values());
            let field = Arc::new(Field::clone(field).with_data_type(values.data_type().clone()));
            Arc::new(FixedSizeListArray::new(field, *size, values, list.nulls().cloned()))
        }
        DataType::Struct(fields) => {
            let columns: Vec<ArrayRef> =
                arrow::array::AsArray::as_struct(array).columns().iter().map(without_maps).collect();
            let fields: Fields = fields
                .iter()
                .zip(&columns)
                .map(|(field, column)| Arc::new(Field::clone(field).with_data_type(column.data_type().clone())))
                .collect();
            let nulls = array.nulls().cloned();
            match columns.is_empty() {
                true => make_array(array.to_data()),
                false => Arc::new(StructArray::new(fields, columns, nulls)),
            }
        }
        _ => array.clone(),
    }
}
