//! The state of a table with a key: its rows by key.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use dbsp::dynamic::{DowncastTrait, Erase};
use dbsp::trace::{BatchReader, Cursor};
use dbsp::typed_batch::SpineSnapshot;
use dbsp::utils::Tup2;
use dbsp::{IndexedZSetHandle, OrdIndexedZSet};
use tidegate_core::{KeyedChanges, KeyedOp, TableName, TableSchema, ZSet};
use tidegate_engine_row::{KeyMode, Row, RowCodec};

use super::arrangement::{self, Arrangement, Place};
use super::patch::upserted;
use super::{CHUNK_ROWS, Format, Part, Take, in_parts, part_rows};
use crate::EngineError;
use crate::circuit::{batch, encode};

type Content = SpineSnapshot<OrdIndexedZSet<Row, Row>>;

/// What an epoch does to one key.
struct Change {
    before: Option<Row>,
    now: Option<Row>,
}

/// A table with a key.
pub(super) struct KeyedTable {
    pub state: Arrangement<Content, IndexedZSetHandle<Row, Row>>,
    table: TableName,
    format: Format,
    key_columns: Vec<usize>,
    key_codec: RowCodec,
    changes: HashMap<Row, Change>,
}

impl KeyedTable {
    pub fn open(schema: &TableSchema, key_columns: Vec<usize>, place: &Place<'_>) -> Result<Self, EngineError> {
        let fields: Vec<_> = key_columns.iter().map(|column| Arc::clone(&schema.columns.fields()[*column])).collect();
        Ok(KeyedTable {
            state: arrangement::open(&schema.name, place, |circuit| circuit.add_input_indexed_zset())?,
            table: schema.name.clone(),
            format: Format::of(schema)?,
            key_columns,
            key_codec: RowCodec::new(&fields, KeyMode::Canonical)?,
            changes: HashMap::new(),
        })
    }

    /// Whole rows, each with weight 1: the content of the table as a snapshot has it.
    pub fn upsert(&mut self, zset: ZSet) -> Result<(), EngineError> {
        if zset.weights().values().iter().any(|weight| *weight != 1) {
            let fact = "a keyed table takes whole rows with weight 1 only";
            return Err(EngineError::Event { table: self.table.clone(), fact });
        }
        let (rows, _) = zset.into_parts();
        let unchanged = vec![None; rows.num_columns()];
        self.change(&KeyedChanges { ops: vec![KeyedOp::Upsert; rows.num_rows()], rows, unchanged })
    }

    pub fn change(&mut self, events: &KeyedChanges) -> Result<(), EngineError> {
        let keys: Vec<ArrayRef> = self.key_columns.iter().map(|column| events.rows.column(*column).clone()).collect();
        let keys: Vec<Row> = encode(&self.key_codec, &keys, events.ops.len())?;
        self.touch(&keys);
        let held = |key: &Row| self.changes.get(key).and_then(|change| change.now.as_ref());
        let rows = upserted(&self.format.codec, events, &keys, held)?;
        let rows = rows.map_err(|fact| EngineError::Event { table: self.table.clone(), fact })?;
        let mut rows = rows.into_iter();
        for (key, op) in keys.iter().zip(&events.ops) {
            let change = self.changes.get_mut(key).expect("every key of the event was looked up");
            change.now = match op {
                KeyedOp::Upsert | KeyedOp::Rekeyed => rows.next(),
                KeyedOp::Delete => None,
            };
        }
        Ok(())
    }

    /// Looks up the rows of keys that the epoch has not touched yet.
    fn touch(&mut self, keys: &[Row]) {
        let mut unknown: Vec<&Row> = keys.iter().filter(|key| !self.changes.contains_key(key)).collect();
        unknown.sort_unstable();
        unknown.dedup();
        let mut cursor = self.state.content.cursor();
        for key in unknown {
            if cursor.key_valid() {
                cursor.seek_key(key.erase());
            }
            // SAFETY: the state has `Row` keys and values.
            let found = cursor.key_valid() && unsafe { cursor.key().downcast::<Row>() } == key;
            let before = found.then(|| unsafe { cursor.val().downcast::<Row>() }.clone());
            self.changes.insert(key.clone(), Change { now: before.clone(), before });
        }
    }

    /// Removes every row. More than `rows_max` are not collected but removed at once.
    pub fn empty(&mut self, rows_max: u64, take: Take<'_>) -> Result<(), EngineError> {
        let held = self.state.content.len() as u64;
        if held + self.pending() <= rows_max {
            self.changes.values_mut().for_each(|change| change.now = None);
            for (key, row) in entries(&self.state.content) {
                self.changes.entry(key).or_insert(Change { before: Some(row), now: None });
            }
            return Ok(());
        }
        self.changes.values_mut().for_each(|change| change.now = None);
        self.step(take)?;
        let content = self.state.content.clone();
        let mut entries = entries(&content).peekable();
        while entries.peek().is_some() {
            let (keys, rows): (Vec<Row>, Vec<Row>) = entries.by_ref().take(part_rows(rows_max)).unzip();
            take(Part { format: &self.format, rows: &rows, weights: &vec![-1; rows.len()] })?;
            self.state.input.append(&mut keys.into_iter().zip(rows).map(|(key, row)| entry(key, row, -1)).collect());
            self.state.transaction()?;
        }
        Ok(())
    }

    pub fn pending(&self) -> u64 {
        self.changes.len() as u64
    }

    pub fn discard(&mut self) {
        self.changes = HashMap::new();
    }

    pub fn step(&mut self, take: Take<'_>) -> Result<(), EngineError> {
        let changes = std::mem::take(&mut self.changes);
        let mut changes: Vec<(Row, Change)> =
            changes.into_iter().filter(|(_, change)| change.before != change.now).collect();
        if changes.is_empty() {
            return Ok(());
        }
        changes.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let input = changes.iter().flat_map(|(key, Change { before, now })| {
            let images = before.iter().map(|row| (row, -1)).chain(now.iter().map(|row| (row, 1)));
            images.map(|(row, weight)| entry(key.clone(), row.clone(), weight))
        });
        self.state.input.append(&mut input.collect());
        let images = changes.into_iter().flat_map(|(_, Change { before, now })| {
            before.map(|row| (row, -1)).into_iter().chain(now.map(|row| (row, 1)))
        });
        in_parts(&self.format, images, take)?;
        self.state.transaction()
    }

    pub fn chunks(&self) -> impl Iterator<Item = Result<ZSet, EngineError>> + '_ {
        let mut rows = entries(&self.state.content).map(|(_, row)| row);
        std::iter::from_fn(move || {
            let rows: Vec<Row> = rows.by_ref().take(CHUNK_ROWS).collect();
            (!rows.is_empty()).then(|| {
                let arrays = self.format.codec.decode(rows.iter())?;
                Ok(ZSet::uniform(batch(&self.format.columns, arrays, rows.len())?, 1))
            })
        })
    }

    /// What must be added to get the content of `new`.
    pub fn difference(&self, new: &KeyedTable, take: Take<'_>) -> Result<(), EngineError> {
        let (mut old, mut new) = (entries(&self.state.content).peekable(), entries(&new.state.content).peekable());
        let images = std::iter::from_fn(move || {
            let order = match (old.peek(), new.peek()) {
                (Some((old, _)), Some((new, _))) => old.cmp(new),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return None,
            };
            let before = old.next_if(|_| order.is_le()).map(|(_, row)| row);
            let now = new.next_if(|_| order.is_ge()).map(|(_, row)| row);
            Some(if before == now { (None, None) } else { (before, now) })
        });
        let images =
            images.flat_map(|(before, now)| before.map(|row| (row, -1)).into_iter().chain(now.map(|row| (row, 1))));
        in_parts(&self.format, images, take)
    }
}

fn entry(key: Row, row: Row, weight: i64) -> Tup2<Row, Tup2<Row, i64>> {
    Tup2(key, Tup2(row, weight))
}

/// Keys and rows, in the order of the keys.
fn entries(content: &Content) -> impl Iterator<Item = (Row, Row)> + '_ {
    let mut cursor = content.cursor();
    std::iter::from_fn(move || {
        if !cursor.key_valid() {
            return None;
        }
        // SAFETY: the state has `Row` keys and values.
        let (key, row) = unsafe { (cursor.key().downcast::<Row>(), cursor.val().downcast::<Row>()) };
        let entry = (key.clone(), row.clone());
        cursor.step_key();
        Some(entry)
    })
}
