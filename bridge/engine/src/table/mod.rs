//! Table state: the integral of a table whose source tells only what changes. It alone knows the old
//! rows, so it alone turns upserts and deletes by key into a Z-set, fills columns that the source left
//! out because they did not change, empties the table on TRUNCATE, and serves new views over old data.
//!
//! The changes of an epoch are collected over the state before it; at the end of the epoch the state
//! answers their net effect. An epoch with many changes is applied in several parts, which add up.

mod arrangement;
mod keyed;
mod patch;
mod whole;

use std::path::Path;

use arrow::array::Int64Array;
use arrow::datatypes::SchemaRef;
use tidegate_core::{Integral, RowIdentity, TableEvent, TableSchema, ZSet};
use tidegate_engine_row::{KeyMode, Row, RowCodec};
use uuid::Uuid;

use crate::EngineError;
use crate::circuit::batch;
use crate::engine::make_folder;
use crate::options::EngineOptions;
use arrangement::Place;
use keyed::KeyedTable;
use whole::WholeTable;

/// Rows of a part of the changes, and of a chunk of the content.
const CHUNK_ROWS: usize = 65_536;

/// Takes what changed in a table, part by part.
pub(crate) type Take<'a> = &'a mut dyn FnMut(Part<'_>) -> Result<(), EngineError>;

/// Takes changes that nobody is waiting for.
pub(crate) fn unread(_: Part<'_>) -> Result<(), EngineError> {
    Ok(())
}

/// A part of what changed in a table, still encoded.
pub(crate) struct Part<'a> {
    format: &'a Format,
    rows: &'a [Row],
    weights: &'a [i64],
}

impl Part<'_> {
    /// The rows with their weights.
    pub fn zset(&self) -> Result<ZSet, EngineError> {
        let arrays = self.format.codec.decode(self.rows)?;
        let rows = batch(&self.format.columns, arrays, self.rows.len())?;
        Ok(ZSet::new(rows, Int64Array::from(self.weights.to_vec())))
    }
}

/// How a table's rows are encoded.
struct Format {
    columns: SchemaRef,
    codec: RowCodec,
}

impl Format {
    fn of(schema: &TableSchema) -> Result<Format, EngineError> {
        let fields: Vec<_> = schema.columns.fields().iter().cloned().collect();
        Ok(Format { columns: schema.columns.clone(), codec: RowCodec::new(&fields, KeyMode::Exact)? })
    }
}

/// The state of one table.
pub(crate) struct TableState {
    pub schema: TableSchema,
    pub folder: String,
    pub workers: usize,
    content: Content,
}

enum Content {
    Keyed(KeyedTable),
    Whole(WholeTable),
}

impl TableState {
    /// Whether the engine keeps a state of such a table.
    pub fn is_kept(schema: &TableSchema) -> bool {
        matches!(schema.identity, RowIdentity::Key(_)) || schema.integral == Integral::Engine
    }

    /// Whether its rows are told apart by a key.
    pub fn is_keyed(&self) -> bool {
        matches!(self.content, Content::Keyed(_))
    }

    /// Opens the state of a table, from a checkpoint if one is given, else empty.
    pub fn open(
        schema: TableSchema,
        root: &Path,
        folder: String,
        options: &EngineOptions,
        checkpoint: Option<Uuid>,
    ) -> Result<TableState, EngineError> {
        let path = root.join(&folder);
        make_folder(&path)?;
        let place = Place { path: &path, options, checkpoint };
        let content = match &schema.identity {
            RowIdentity::Key(columns) => Content::Keyed(KeyedTable::open(&schema, columns.clone(), &place)?),
            RowIdentity::Rowid | RowIdentity::WholeRow => Content::Whole(WholeTable::open(&schema, &place)?),
        };
        Ok(TableState { schema, folder, workers: options.workers, content })
    }

    /// Collects an event of the coming epoch. When `rows_max` have come together they are applied at
    /// once, and `take` gets what they changed.
    pub fn feed(&mut self, event: TableEvent, rows_max: u64, take: Take<'_>) -> Result<(), EngineError> {
        match (&mut self.content, event) {
            (Content::Keyed(table), TableEvent::Rows(zset)) => table.upsert(zset)?,
            (Content::Keyed(table), TableEvent::Keyed(changes)) => table.change(&changes)?,
            (Content::Whole(table), TableEvent::Rows(zset)) => table.add(&zset)?,
            (Content::Whole(_), TableEvent::Keyed(_)) => {
                let fact = "a table without a key takes rows with weights, not changes by key";
                return Err(EngineError::Event { table: self.schema.name.clone(), fact });
            }
            (Content::Keyed(table), TableEvent::Truncate | TableEvent::Replace) => table.empty(rows_max, take)?,
            (Content::Whole(table), TableEvent::Truncate | TableEvent::Replace) => table.empty(rows_max, take)?,
        }
        if self.pending() >= rows_max { self.step(take) } else { Ok(()) }
    }

    /// Rows that the coming epoch touches so far.
    fn pending(&self) -> u64 {
        match &self.content {
            Content::Keyed(table) => table.pending(),
            Content::Whole(table) => table.pending(),
        }
    }

    /// Applies what was collected; `take` gets what it changed in the table.
    pub fn step(&mut self, take: Take<'_>) -> Result<(), EngineError> {
        match &mut self.content {
            Content::Keyed(table) => table.step(take),
            Content::Whole(table) => table.step(take),
        }
    }

    /// Forgets what was collected since the last step.
    pub fn discard(&mut self) {
        match &mut self.content {
            Content::Keyed(table) => table.discard(),
            Content::Whole(table) => table.discard(),
        }
    }

    /// Every row of the table, in chunks, weighted by its number of copies.
    pub fn chunks(&self) -> Box<dyn Iterator<Item = Result<ZSet, EngineError>> + '_> {
        match &self.content {
            Content::Keyed(table) => Box::new(table.chunks()),
            Content::Whole(table) => Box::new(table.chunks()),
        }
    }

    /// Tells `take` what must be added to this content to get that of `new`, a state with an equal schema.
    pub fn difference(&self, new: &TableState, take: Take<'_>) -> Result<(), EngineError> {
        match (&self.content, &new.content) {
            (Content::Keyed(old), Content::Keyed(new)) => old.difference(new, take),
            (Content::Whole(old), Content::Whole(new)) => old.difference(new, take),
            _ => Err(EngineError::Misuse("only states with equal schemas can be compared")),
        }
    }

    /// Saves the state; does nothing when nothing happened since the last time.
    pub fn checkpoint(&mut self) -> Result<Uuid, EngineError> {
        match &mut self.content {
            Content::Keyed(table) => table.state.checkpoint(),
            Content::Whole(table) => table.state.checkpoint(),
        }
    }

    /// Removes old checkpoints but those in `keep`.
    pub fn retain(&mut self, keep: &[Uuid]) -> Result<(), EngineError> {
        match &mut self.content {
            Content::Keyed(table) => table.state.retain(keep),
            Content::Whole(table) => table.state.retain(keep),
        }
    }

    /// Stops the circuit's threads.
    pub fn stop(self) {
        match self.content {
            Content::Keyed(table) => table.state.stop(),
            Content::Whole(table) => table.state.stop(),
        }
    }
}

/// Hands changes out in parts.
fn in_parts(
    format: &Format,
    changes: impl Iterator<Item = (Row, i64)>,
    mut each: impl FnMut(Part<'_>) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    let mut changes = changes.peekable();
    while changes.peek().is_some() {
        let (rows, weights): (Vec<Row>, Vec<i64>) = changes.by_ref().take(CHUNK_ROWS).unzip();
        each(Part { format, rows: &rows, weights: &weights })?;
    }
    Ok(())
}

/// How many rows of a table that is emptied go at once.
fn part_rows(rows_max: u64) -> usize {
    usize::try_from(rows_max).unwrap_or(CHUNK_ROWS).clamp(1, CHUNK_ROWS)
}
