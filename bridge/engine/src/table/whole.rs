//! The state of a table without a key: its rows with their numbers of copies.

use std::collections::HashMap;

use dbsp::trace::BatchReader;
use dbsp::typed_batch::SpineSnapshot;
use dbsp::utils::Tup2;
use dbsp::{OrdZSet, ZSetHandle};
use tidegate_core::{TableName, TableSchema, ZSet};
use tidegate_engine_row::Row;

use super::arrangement::{self, Arrangement, Place};
use super::{CHUNK_ROWS, Format, Part, Take, in_parts, part_rows};
use crate::EngineError;
use crate::circuit::encode;
use crate::state::{self, Weighted};

/// A table without a key.
pub(super) struct WholeTable {
    pub state: Arrangement<SpineSnapshot<OrdZSet<Row>>, ZSetHandle<Row>>,
    table: TableName,
    format: Format,
    changes: HashMap<Row, i64>,
}

impl WholeTable {
    pub fn open(schema: &TableSchema, place: &Place<'_>) -> Result<Self, EngineError> {
        Ok(WholeTable {
            state: arrangement::open(&schema.name, place, |circuit| circuit.add_input_zset())?,
            table: schema.name.clone(),
            format: Format::of(schema)?,
            changes: HashMap::new(),
        })
    }

    pub fn add(&mut self, zset: &ZSet) -> Result<(), EngineError> {
        let rows: Vec<Row> = encode(&self.format.codec, zset.rows().columns(), zset.len())?;
        for (row, weight) in rows.into_iter().zip(zset.weights().values()) {
            *self.changes.entry(row).or_default() += weight;
        }
        Ok(())
    }

    /// Removes every row. More than `rows_max` are not collected but removed at once.
    pub fn empty(&mut self, rows_max: u64, take: Take<'_>) -> Result<(), EngineError> {
        let held = self.state.content.len() as u64;
        if held + self.pending() <= rows_max {
            self.net()?;
            self.changes = state::rows(Some(&self.state.content)).map(|(row, copies)| (row, -copies)).collect();
            return Ok(());
        }
        self.step(take)?;
        let content = self.state.content.clone();
        let mut rows = state::rows(Some(&content)).map(|(row, copies)| (row, -copies)).peekable();
        while rows.peek().is_some() {
            let part: Vec<Weighted> = rows.by_ref().take(part_rows(rows_max)).collect();
            self.apply(part, take)?;
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
        let changes = self.net()?;
        if changes.is_empty() { Ok(()) } else { self.apply(changes, take) }
    }

    /// The net changes so far, in ascending order; they are collected no longer.
    fn net(&mut self) -> Result<Vec<Weighted>, EngineError> {
        let changes = std::mem::take(&mut self.changes);
        let mut changes: Vec<Weighted> = changes.into_iter().filter(|(_, weight)| *weight != 0).collect();
        changes.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let removed = || changes.iter().filter(|(_, weight)| *weight < 0);
        let held = state::copies(Some(&self.state.content), removed().map(|(row, _)| row));
        if removed().zip(held).any(|((_, weight), held)| held + weight < 0) {
            let fact = "a row was deleted that the table does not hold";
            return Err(EngineError::InconsistentTable { table: self.table.clone(), fact });
        }
        Ok(changes)
    }

    fn apply(&mut self, changes: Vec<Weighted>, take: Take<'_>) -> Result<(), EngineError> {
        self.state.input.append(&mut changes.iter().map(|(row, weight)| Tup2(row.clone(), *weight)).collect());
        in_parts(&self.format, changes.into_iter(), take)?;
        self.state.transaction()
    }

    pub fn chunks(&self) -> impl Iterator<Item = Result<ZSet, EngineError>> + '_ {
        let mut rows = state::rows(Some(&self.state.content));
        std::iter::from_fn(move || {
            let (rows, weights): (Vec<Row>, Vec<i64>) = rows.by_ref().take(CHUNK_ROWS).unzip();
            let part = Part { format: &self.format, rows: &rows, weights: &weights };
            (!rows.is_empty()).then(|| part.zset())
        })
    }

    /// What must be added to get the content of `new`.
    pub fn difference(&self, new: &WholeTable, take: Take<'_>) -> Result<(), EngineError> {
        in_parts(&self.format, state::difference(Some(&self.state.content), Some(&new.state.content)), take)
    }
}
