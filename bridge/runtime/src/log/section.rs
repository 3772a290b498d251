//! Source events as sections of a record's payload.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, UInt8Array};
use arrow::datatypes::{Int64Type, UInt8Type};
use arrow::error::ArrowError;
use serde::{Deserialize, Serialize};
use tidegate_core::{KeyedChanges, KeyedOp, TableEvent, TableName, ZSet};

use super::ipc;

/// One event, as the record's header lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// The table.
    pub table: TableName,
    /// What happened to it.
    pub event: EventKind,
    /// Rows in the section.
    pub rows: u64,
    /// Bytes in the payload; the sections lie there one after the other.
    pub bytes: u64,
    /// The columns that have marks for unchanged values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unchanged: Vec<usize>,
}

/// The kinds of [`TableEvent`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Rows with weights.
    Rows,
    /// Upserts and deletes by key.
    Keyed,
    /// The table was emptied.
    Truncate,
    /// The content is replaced by what follows.
    Replace,
}

/// Appends an event to `out` and says what was appended.
pub fn encode(table: &TableName, event: &TableEvent, out: &mut Vec<u8>) -> Result<Section, ArrowError> {
    let start = out.len();
    let (kind, unchanged) = match event {
        TableEvent::Rows(zset) => {
            ipc::encode(zset.rows(), vec![("weight", Arc::new(zset.weights().clone()))], out)?;
            (EventKind::Rows, Vec::new())
        }
        TableEvent::Keyed(changes) => (EventKind::Keyed, encode_keyed(changes, out)?),
        TableEvent::Truncate => (EventKind::Truncate, Vec::new()),
        TableEvent::Replace => (EventKind::Replace, Vec::new()),
    };
    let (rows, bytes) = (event.rows() as u64, (out.len() - start) as u64);
    Ok(Section { table: table.clone(), event: kind, rows, bytes, unchanged })
}

fn encode_keyed(changes: &KeyedChanges, out: &mut Vec<u8>) -> Result<Vec<usize>, ArrowError> {
    let ops: UInt8Array = changes.ops.iter().map(|op| op_code(*op)).collect();
    let mut extra: Vec<(&str, ArrayRef)> = vec![("op", Arc::new(ops))];
    let mut marked = Vec::new();
    for (column, marks) in changes.unchanged.iter().enumerate() {
        if let Some(marks) = marks {
            extra.push(("unchanged", Arc::new(marks.clone())));
            marked.push(column);
        }
    }
    ipc::encode(&changes.rows, extra, out)?;
    Ok(marked)
}

/// What stands for an operation in records and hashes; a change of these is a break of the format.
pub(super) fn op_code(op: KeyedOp) -> u8 {
    match op {
        KeyedOp::Upsert => 0,
        KeyedOp::Delete => 1,
        KeyedOp::Rekeyed => 2,
    }
}

/// The event of a section.
pub fn decode(section: &Section, bytes: &[u8]) -> Result<TableEvent, ArrowError> {
    match section.event {
        EventKind::Truncate => Ok(TableEvent::Truncate),
        EventKind::Replace => Ok(TableEvent::Replace),
        EventKind::Rows => {
            let (rows, extra) = ipc::decode(bytes, 1)?;
            let weights = extra[0].as_primitive_opt::<Int64Type>().filter(|weights| weights.null_count() == 0);
            Ok(TableEvent::Rows(ZSet::new(rows, weights.ok_or_else(foreign)?.clone())))
        }
        EventKind::Keyed => decode_keyed(section, bytes),
    }
}

fn decode_keyed(section: &Section, bytes: &[u8]) -> Result<TableEvent, ArrowError> {
    let (rows, extra) = ipc::decode(bytes, 1 + section.unchanged.len())?;
    let ops = extra[0].as_primitive_opt::<UInt8Type>().ok_or_else(foreign)?;
    let op = |code: &u8| match code {
        0 => Ok(KeyedOp::Upsert),
        1 => Ok(KeyedOp::Delete),
        2 => Ok(KeyedOp::Rekeyed),
        _ => Err(foreign()),
    };
    let ops = ops.values().iter().map(op).collect::<Result<Vec<_>, _>>()?;
    let mut unchanged = vec![None; rows.num_columns()];
    for (column, marks) in section.unchanged.iter().zip(&extra[1..]) {
        let slot = unchanged.get_mut(*column).ok_or_else(foreign)?;
        *slot = Some(marks.as_boolean_opt().ok_or_else(foreign)?.clone());
    }
    Ok(TableEvent::Keyed(KeyedChanges { ops, rows, unchanged }))
}

fn foreign() -> ArrowError {
    ArrowError::IpcError("a section that is not laid out as its header says".to_owned())
}
