//! Positions of a lake: snapshot ids.

use tidegate_core::{Position, SnapshotId};

use crate::error::LakeError;

/// The snapshot that a position names.
pub fn snapshot_of(position: &Position, lake: &str) -> Result<u64, LakeError> {
    match position {
        Position::SnapshotId(SnapshotId(id)) => Ok(*id),
        Position::Lsn(_) => Err(LakeError::NotASnapshot { lake: lake.to_owned(), position: *position }),
    }
}

/// The position of a snapshot.
pub fn position_of(snapshot: u64) -> Position {
    Position::SnapshotId(SnapshotId(snapshot))
}
