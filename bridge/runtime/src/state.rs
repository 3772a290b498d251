//! `state.json`, which says whose state a folder holds, and `progress.json`, which remembers how
//! far sources were read when nothing happened that makes an epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidegate_core::{Epoch, ErrorKind, Frontier, ViewName};
use uuid::Uuid;

use crate::log::header::Link;
use crate::rewind::BranchOf;
use crate::{RuntimeError, durable};

/// The one number of everything in a state folder and of what is copied elsewhere of it: checkpoints, logs, backups. Before
/// 1.0 every change of it is a new number, and nothing older is read.
pub(crate) const FORMAT: u32 = 2;

/// What is wrong with a document whose member `format` is not [`FORMAT`], and the way out.
pub(crate) fn other_format(document: &serde_json::Value) -> Option<(String, &'static str)> {
    let found = document["format"].as_u64();
    let fact = match found {
        Some(found) if found == u64::from(FORMAT) => return None,
        Some(found) => format!("has format {found}, this version of Tidegate reads format {FORMAT}"),
        None => format!("has no format, this version of Tidegate reads format {FORMAT}"),
    };
    let way_out = match found {
        Some(found) if found > u64::from(FORMAT) => "use the version that wrote it, or a later one",
        _ => {
            "use the version that wrote it; or move the state folder and the log away, run again, and bring each sink in \
             line with 'tidegate resync PIPELINE SINK'"
        }
    };
    Some((fact, way_out))
}

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
    /// Set while the folder is one that was restored from a backup, and not everything outside was brought in line
    /// with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<Restored>,
    /// What this is a branch of, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<BranchOf>,
}

/// Which backup a folder was made from, and what was brought in line since: sources and sinks have gone on after
/// the backup was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// The backup's name.
    pub backup: String,
    /// Its last epoch.
    pub epoch: Epoch,
    /// The sources that were read again since.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub sources: BTreeSet<String>,
    /// The sinks that continue this folder's history.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub sinks: BTreeSet<String>,
}

impl StateFile {
    /// A new identity.
    pub fn new(pipeline: &str, workers: usize) -> Self {
        StateFile {
            format: FORMAT,
            pipeline: pipeline.to_owned(),
            log_id: Uuid::new_v4(),
            workers,
            restored: None,
            branch: None,
        }
    }

    /// The identity of an existing folder; `None` where there is none yet. A folder of another
    /// pipeline or of a later layout is refused.
    pub fn read(dir: &Path, pipeline: &str) -> Result<Option<StateFile>, RuntimeError> {
        let path = path(dir);
        let wrong = |(fact, way_out), kind| RuntimeError::State { path: path.clone(), fact, way_out, kind };
        let Some(document) = durable::read_json(&path, BACKUP)? else { return Ok(None) };
        if let Some(other) = other_format(&document) {
            return Err(wrong(other, ErrorKind::Reconfigure));
        }
        let state: StateFile = serde_json::from_value(document).map_err(|error| {
            wrong((format!("is not what this version of Tidegate wrote ({error})"), BACKUP), ErrorKind::Stop)
        })?;
        if state.pipeline != pipeline {
            return Err(RuntimeError::OtherPipeline {
                dir: dir.to_owned(),
                found: state.pipeline,
                expected: pipeline.to_owned(),
            });
        }
        Ok(Some(state))
    }

    /// The log that belongs to a folder, whoever's it is.
    pub fn log_id(dir: &Path) -> Result<Option<Uuid>, RuntimeError> {
        let state = durable::read_json::<StateFile>(&path(dir), "restore the state folder from a backup")?;
        Ok(state.map(|state| state.log_id))
    }

    /// Writes the identity durably.
    pub fn write(&self, dir: &Path) -> Result<(), RuntimeError> {
        durable::write_json(&path(dir), self)
    }
}

const BACKUP: &str = "restore the state folder from a backup ('tidegate restore')";

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
    fn another_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        StateFile { format: 9, ..StateFile::new("shop", 2) }.write(dir.path()).unwrap();
        let error = StateFile::read(dir.path(), "shop").unwrap_err();
        assert!(error.to_string().contains("has format 9") && error.to_string().contains("or a later one"), "{error}");
        StateFile { format: 1, ..StateFile::new("shop", 2) }.write(dir.path()).unwrap();
        let error = StateFile::read(dir.path(), "shop").unwrap_err();
        assert!(error.to_string().contains("has format 1") && error.to_string().contains("resync"), "{error}");
    }
}
