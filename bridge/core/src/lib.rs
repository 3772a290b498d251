//! The vocabulary of Tidegate: what sources offer, what the engine turns it into and what sinks
//! commit. No I/O, no async runtime; every other crate depends on this one.
//!
//! The words are those of the field: a [`Frontier`] maps each source to the [`Position`] up to
//! which it has been read; an [`Epoch`] is one committed step between two frontiers; rows travel
//! as Z-sets ([`ZSet`]), Arrow batches with one integer weight a row.

pub mod batch;
pub mod delta;
pub mod duckdb_type;
pub mod epoch;
pub mod error;
pub mod event;
pub mod failpoint;
pub mod frontier;
pub mod identity;
pub mod name;
pub mod near;
pub mod position;
pub mod schema;
pub mod sink;
pub mod source;
pub mod statistics;
pub mod units;

pub use batch::ZSet;
pub use delta::{ChangeType, DeltaBatch, DeltaKind, ViewDelta};
pub use duckdb_type::UnsupportedType;
pub use epoch::{Epoch, EpochHash, EpochHeader, Micros};
pub use error::{ConnectorError, ErrorKind, chain};
pub use event::{KeyedChanges, KeyedOp, TableEvent};
pub use frontier::Frontier;
pub use identity::RowIdentity;
pub use name::{SourceId, TableName, ViewName};
pub use position::{Lsn, Position, SnapshotId};
pub use schema::{BindError, Binder, DeclaredColumn, Integral, TableSchema, VirtualColumn};
pub use sink::{
    BatchStream, Commit, CommitOutcome, Committed, EpochBatch, History, Removal, Sink, ViewCommit, ViewContent,
    ViewInfo,
};
pub use source::{EventStream, Finding, Horizon, OnExpired, Polled, Severity, Snapshot, Snapshots, Source};
pub use statistics::{ColumnStatistics, Statistics, TableStatistics};
