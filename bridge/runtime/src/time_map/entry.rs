//! One epoch in the time map.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidegate_core::{Epoch, EpochHash, Frontier, Micros, SourceId};
use uuid::Uuid;

use crate::RuntimeError;
use crate::log::header::{Link, RecordHeader, RecordKind};

/// What is remembered of an epoch: every clock and every position that it can be asked by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimeMapEntry {
    /// The epoch.
    pub epoch: Epoch,
    /// Its hash.
    pub hash: EpochHash,
    /// The epoch before it.
    pub previous: Link,
    /// The last epoch at or before this one whose frontier is not at or after the one before it, in every source: a rewind, or
    /// a source that went. From there to here frontiers grow.
    pub turn: Epoch,
    /// What made it.
    pub kind: RecordKind,
    /// Up to where each source had been read.
    pub frontier: Frontier,
    /// The latest commit of each source in it, by the source's clock.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub commit_times: BTreeMap<SourceId, Micros>,
    /// The latest source commit of this epoch and all before it; `None` where no source has said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_commit: Option<Micros>,
    /// Epoch time.
    pub time: Micros,
    /// Wall time of the append to the log.
    pub logged_at: Micros,
    /// The log that the epoch is of.
    pub log_id: Uuid,
}

impl TimeMapEntry {
    /// The entry of a log record, which follows `before` in the map.
    pub(crate) fn of(record: &RecordHeader, before: Option<&TimeMapEntry>) -> TimeMapEntry {
        let header = &record.header;
        // Logs of earlier versions have the commits of each epoch alone.
        let own = record.origin.commit_times.values().copied().max();
        let grows = before.filter(|before| before.frontier.less_equal(&header.frontier));
        TimeMapEntry {
            epoch: header.epoch,
            hash: header.hash,
            previous: record.previous,
            turn: grows.map_or(header.epoch, |before| before.turn),
            kind: record.origin.kind,
            frontier: header.frontier.clone(),
            commit_times: record.origin.commit_times.clone(),
            latest_commit: header.latest_commit.max(own).max(before.and_then(|before| before.latest_commit)),
            time: header.time,
            logged_at: record.logged_at,
            log_id: record.log_id,
        }
    }

    /// As it lies in the map.
    pub(crate) fn encoded(&self) -> Result<Vec<u8>, RuntimeError> {
        serde_json::to_vec(self)
            .map_err(|error| RuntimeError::Bug(format!("an entry of the time map cannot be written: {error}")))
    }

    pub(crate) fn link(&self) -> Link {
        Link { epoch: self.epoch, hash: self.hash }
    }

    /// Whether it stands at or before `frontier` in every source that both know.
    pub(crate) fn stands_within(&self, frontier: &Frontier) -> bool {
        frontier.iter().all(|(source, bound)| {
            self.frontier.get(source).is_none_or(|at| at.compare(bound).is_some_and(|order| order.is_le()))
        })
    }
}
