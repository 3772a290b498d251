//! What an engine checkpoint is: a small document that names the program and each circuit's saved
//! state. The state itself lies in the circuits' folders.

use serde::{Deserialize, Serialize};
use tidegate_core::{Micros, TableName, ViewName};
use tidegate_engine_sql::{PlanId, ProgramDefinition};
use uuid::Uuid;

/// Version of everything that a saved circuit depends on besides its plan: row format, accumulator
/// layout, operator names. A change of any of them is a new number, and old state is rebuilt.
pub(crate) const STATE_FORMAT: u32 = 2;

/// A saved engine, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineCheckpoint {
    pub(crate) format: u32,
    pub(crate) definition: ProgramDefinition,
    pub(crate) nodes: Vec<NodeCheckpoint>,
    pub(crate) tables: Vec<TableCheckpoint>,
    /// The time that the circuits hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) time: Option<Micros>,
}

impl EngineCheckpoint {
    /// What the program was planned from.
    pub fn definition(&self) -> &ProgramDefinition {
        &self.definition
    }

    /// Every saved circuit: its folder and which of the folder's checkpoints it is.
    pub(crate) fn states(&self) -> impl Iterator<Item = (&str, Uuid)> {
        let views = self.nodes.iter().map(|node| (node.folder.as_str(), node.checkpoint));
        views.chain(self.tables.iter().map(|table| (table.folder.as_str(), table.checkpoint)))
    }

    /// The folders it needs.
    pub(crate) fn folders(&self) -> impl Iterator<Item = &str> {
        self.states().map(|(folder, _)| folder)
    }
}

/// A saved circuit. Its state is sharded over its workers, so their number belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeCheckpoint {
    pub view: ViewName,
    pub plan_id: PlanId,
    pub folder: String,
    pub checkpoint: Uuid,
    pub workers: usize,
    pub rows: u64,
    pub steps: u64,
    #[serde(default)]
    pub full_steps: u64,
}

/// The saved state of a keyed table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TableCheckpoint {
    pub table: TableName,
    pub folder: String,
    pub checkpoint: Uuid,
    pub workers: usize,
}
