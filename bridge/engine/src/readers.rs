//! The views that read a table, and how they are fed.

use tidegate_core::{TableEvent, TableName, ZSet};
use tidegate_engine_sql::Input;

use crate::EngineError;
use crate::node::Node;
use crate::parallel::side_by_side;
use crate::table::Part;

/// Rows that are encoded for one view after the other: a thread more would take longer to begin.
const ENCODED_ALONE: usize = 5_000;

/// How a table is fed to its readers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Rows that come together before they go into a circuit.
    pub part_rows: u64,
    /// Threads that encode rows for several circuits.
    pub threads: usize,
}

/// The views that read a table.
pub(crate) struct Readers<'a> {
    input: Input,
    nodes: Vec<&'a mut Node>,
    pace: Pace,
}

impl<'a> Readers<'a> {
    /// Those of `nodes` that read `table`.
    pub fn of(table: &TableName, nodes: impl Iterator<Item = &'a mut Node>, pace: Pace) -> Self {
        let input = Input::Table(table.clone());
        let nodes = nodes.filter(|node| node.reads(&input)).collect();
        Readers { input, nodes, pace }
    }

    pub fn feed(&mut self, zset: &ZSet) -> Result<(), EngineError> {
        let threads = if zset.len() < ENCODED_ALONE { 1 } else { self.pace.threads };
        let (input, part_rows) = (&self.input, self.pace.part_rows);
        side_by_side(threads, &mut self.nodes, |node: &mut &mut Node| node.feed(input, zset, part_rows)).map(drop)
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub fn feed_part(&mut self, part: &Part<'_>) -> Result<(), EngineError> {
        if self.is_empty() { Ok(()) } else { self.feed(&part.zset()?) }
    }
}

/// The rows of an event of a table whose content its source keeps.
pub(crate) fn weighted_rows(table: &TableName, event: TableEvent) -> Result<ZSet, EngineError> {
    match event {
        TableEvent::Rows(zset) => Ok(zset),
        TableEvent::Keyed(_) | TableEvent::Truncate | TableEvent::Replace => Err(EngineError::Event {
            table: table.clone(),
            fact: "only rows with weights are taken where the source keeps the content of the table",
        }),
    }
}
