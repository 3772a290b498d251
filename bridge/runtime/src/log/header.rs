//! The header of an input log record.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidegate_core::{Epoch, EpochHash, EpochHeader, Frontier, Micros, SourceId, TableName, ViewName};
use uuid::Uuid;

use super::section::Section;

/// What makes an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordKind {
    /// Source events, which are the payload.
    Events,
    /// The initial load. Its rows are not copied into the log: the checkpoint holds them.
    Load,
    /// Circuits built anew from a snapshot. Its rows are not copied either.
    Rebuild,
    /// No events: a sink was compared with the views and corrected.
    Resync,
    /// The views as they were at an earlier epoch. What that takes back is in the checkpoint.
    Rewind,
}

impl RecordKind {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            RecordKind::Events => "events",
            RecordKind::Load => "load",
            RecordKind::Rebuild => "rebuild",
            RecordKind::Resync => "resync",
            RecordKind::Rewind => "rewind",
        }
    }
}

/// The epoch before one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Link {
    /// Its number; one less, but for the epoch of a resync.
    pub epoch: Epoch,
    /// Its hash.
    pub hash: EpochHash,
}

impl From<&EpochHeader> for Link {
    fn from(header: &EpochHeader) -> Self {
        Link { epoch: header.epoch, hash: header.hash }
    }
}

/// A table as it was loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadedTable {
    /// Its name.
    pub name: TableName,
    /// What the source calls it whatever its name.
    pub incarnation: u64,
}

/// A past that is gone through again after a rewind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// The epoch of the past that the present one stands for: what comes next is after it.
    pub done: Epoch,
    /// The last epoch of that past.
    pub until: Epoch,
    /// Where sources that can only be read on from there stood at the rewind: after that past, nothing happened up to here.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub reached: Frontier,
    /// Sources whose events are left out of it, because they are read again from where they were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<SourceId>,
}

fn is_empty(frontier: &Frontier) -> bool {
    frontier.iter().next().is_none()
}

/// What made an epoch, besides the rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// What makes the epoch.
    pub kind: RecordKind,
    /// The latest commit of each source in the epoch, by the source's clock: the time map.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub commit_times: BTreeMap<SourceId, Micros>,
    /// The tables of a load or rebuild.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<LoadedTable>,
    /// The plans of a load or rebuild.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub plans: BTreeMap<ViewName, String>,
    /// The program of a load or rebuild, so that it can be done again. Not part of the hash: the
    /// plans are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<serde_json::Value>,
    /// The epoch that a rewind went back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewound_to: Option<Epoch>,
    /// The past that is being gone through again, as long as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<Replay>,
    /// What `tidegate_now()` is in this epoch, where that is not its time: an epoch of the past has the time it had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<Micros>,
}

impl Origin {
    /// An epoch of events, or of none.
    pub fn plain(kind: RecordKind, commit_times: BTreeMap<SourceId, Micros>) -> Self {
        Origin {
            kind,
            commit_times,
            tables: Vec::new(),
            plans: BTreeMap::new(),
            definition: None,
            rewound_to: None,
            replay: None,
            clock: None,
        }
    }

    /// Whether the rows are not in the log.
    pub fn is_load(&self) -> bool {
        matches!(self.kind, RecordKind::Load | RecordKind::Rebuild | RecordKind::Rewind)
    }
}

/// The header of a record: one epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordHeader {
    /// What made the epoch.
    #[serde(flatten)]
    pub origin: Origin,
    /// Number, hash, frontier and epoch time.
    #[serde(flatten)]
    pub header: EpochHeader,
    /// The epoch before it.
    pub previous: Link,
    /// The log this record belongs to. Not part of the hash.
    pub log_id: Uuid,
    /// Wall time of the append. Not part of the hash.
    pub logged_at: Micros,
    /// The events, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sections: Vec<Section>,
}

impl RecordHeader {
    /// What `tidegate_now()` was in this epoch.
    pub fn clock(&self) -> Micros {
        self.origin.clock.unwrap_or(self.header.time)
    }
}
