//! SQL views as incremental circuits: feed it an epoch's events, step, take the views' deltas.
//!
//! Every view is a circuit of its own ([`Engine`] keeps them), with its own state folder and its
//! own checkpoints; a view over a view is fed with the other's delta. The engine is deterministic
//! and has no clock, no randomness and no I/O but its state directory.

mod checkpoint;
mod circuit;
mod clock;
mod dataflow;
mod delta;
mod engine;
mod error;
mod files;
mod fork;
mod node;
mod options;
mod parallel;
mod readers;
mod rebuild;
mod state;
mod table;

pub use checkpoint::EngineCheckpoint;
pub use engine::{Engine, ViewStats};
pub use error::{CircuitError, EngineError};
pub use files::CheckpointFiles;
pub use options::{EngineOptions, Shortcuts};
pub use rebuild::RebuildScope;
pub use tidegate_engine_sql::{
    Cost, Input, PlanError, PlanId, PlannedView, Program, ProgramDefinition, ViewDef, table_references,
    with_virtual_columns,
};
