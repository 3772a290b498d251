//! `state.json`, which says whose state a folder holds, and `progress.json`, which remembers how
//! far sources were read when nothing happened that makes an epoch.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidegate_core::{ErrorKind, Frontier, ViewName};
use uuid::Uuid;

use crate::log::header::Link;
use crate::{RuntimeError, durable};

const FORMAT: u32 = 1;

/// The identity of a state folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateFile {
    /// The layout of the folder.
    pub format: u32,
    /// The pipeline's name.
    pub pipeline: String,
    /// The input log that belongs to this folder.
    pub log_id: Uuid,
    /// The engine's worker threads; fixed until the pipeline file names another number.
    pub workers: usize,
}

impl StateFile {
    /// A new identity.
    pub fn new(pipeline: &str, workers: usize) -> Self {
        StateFile { format: FORMAT, pipeline: pipeline.to_owned(), log_id: Uuid::new_v4(), workers }
    }

    /// The identity of an existing folder; `None` where there is none yet. A folder of another
    /// pipeline or of a later layout is refused.
    pub fn read(dir: &Path, pipeline: &str) -> Result<Option<StateFile>, RuntimeError> {
        let path = path(dir);
        let Some(state) = durable::read_json::<StateFile>(&path, "restore the state folder from a backup")? else {
            return Ok(None);
        };
        if state.format != FORMAT {
            return Err(RuntimeError::State {
                path,
                fact: format!("has format {}, this version reads format {FORMAT}", state.format),
                way_out: "use the version of Tidegate that wrote it, or another state_dir",
                kind: ErrorKind::Reconfigure,
            });
        }
        if state.pipeline != pipeline {
            return Err(RuntimeError::OtherPipeline {
                dir: dir.to_owned(),
                found: state.pipeline,
                expected: pipeline.to_owned(),
            });
        }
        Ok(Some(state))
    }

    /// Writes the identity durably.
    pub fn write(&self, dir: &Path) -> Result<(), RuntimeError> {
        durable::write_json(&path(dir), self)
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join("state.json")
}

/// What moved since the last epoch: positions that were reached without events, and what the
/// sinks hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProgressFile {
    /// At or after the frontier of the last epoch.
    pub frontier: Frontier,
    /// What each sink holds of each view, as a checkpoint has it too.
    #[serde(default)]
    pub sinks: BTreeMap<String, BTreeMap<ViewName, Link>>,
    /// The sinks that get nothing any more, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub detached: BTreeMap<String, String>,
}

impl ProgressFile {
    /// The positions to go on from after an epoch with this frontier.
    pub fn after(&self, frontier: Frontier) -> Frontier {
        if frontier.less_equal(&self.frontier) { frontier.join(&self.frontier) } else { frontier }
    }

    /// What was remembered; nothing where there is no file, or one of another layout: the
    /// positions are then read again.
    pub fn read(dir: &Path) -> Result<Self, RuntimeError> {
        let path = dir.join("progress.json");
        Ok(durable::read_json(&path, "remove it: the sources are then read again from the last epoch")?
            .unwrap_or_default())
    }

    /// Remembers the positions durably.
    pub fn write(&self, dir: &Path) -> Result<(), RuntimeError> {
        durable::write_json(&dir.join("progress.json"), self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_pipeline_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(StateFile::read(dir.path(), "shop").unwrap(), None);
        let state = StateFile::new("shop", 2);
        state.write(dir.path()).unwrap();
        assert_eq!(StateFile::read(dir.path(), "shop").unwrap(), Some(state));
        let error = StateFile::read(dir.path(), "bank").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reconfigure);
        assert!(error.to_string().contains("\"shop\"") && error.to_string().contains("\"bank\""), "{error}");
    }

    #[test]
    fn a_later_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        StateFile { format: 9, ..StateFile::new("shop", 2) }.write(dir.path()).unwrap();
        let error = StateFile::read(dir.path(), "shop").unwrap_err();
        assert!(error.to_string().contains("format 9"), "{error}");
    }
}
