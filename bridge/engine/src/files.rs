//! The files that saved states consist of, for whoever copies them elsewhere while the engine works on.
//!
//! Files of a saved state never change; they go when nobody needs that state any more. The list of saved states in a
//! circuit's folder does change, so it is given as it has to be in the copy.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::Path;

use feldera_types::checkpoint::CheckpointDependencies;
use feldera_types::constants::{CHECKPOINT_DEPENDENCIES, CHECKPOINT_FILE_NAME};
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use crate::engine::sync_folder;
use crate::{EngineCheckpoint, EngineError};

/// The files of some checkpoints, by their paths within the engine's folder, with `/` between names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CheckpointFiles {
    /// Files that are copied as they are.
    pub unchanging: BTreeSet<String>,
    /// Files with the content that belongs to these checkpoints alone.
    pub made: BTreeMap<String, Vec<u8>>,
}

impl EngineCheckpoint {
    /// The files of several checkpoints in an engine's folder. `None` when one of the checkpoints is not, or not
    /// completely there (any more).
    pub fn files<'c>(
        dir: &Path,
        checkpoints: impl IntoIterator<Item = &'c EngineCheckpoint>,
    ) -> Result<Option<CheckpointFiles>, EngineError> {
        let mut saved: BTreeMap<&str, BTreeSet<Uuid>> = BTreeMap::new();
        for (folder, uuid) in checkpoints.into_iter().flat_map(EngineCheckpoint::states) {
            saved.entry(folder).or_default().insert(uuid);
        }
        let mut files = CheckpointFiles::default();
        for (folder, uuids) in saved {
            let catalog = format!("{folder}/{CHECKPOINT_FILE_NAME}");
            let Some(listed) = read::<Vec<Value>>(&dir.join(&catalog))? else { return Ok(None) };
            let is_saved = |uuid: &Uuid, entry: &Value| entry["uuid"].as_str() == Some(uuid.to_string().as_str());
            let kept: Vec<&Value> =
                listed.iter().filter(|entry| uuids.iter().any(|uuid| is_saved(uuid, entry))).collect();
            if kept.len() != uuids.len() {
                return Ok(None);
            }
            let content = serde_json::to_vec(&kept).map_err(|error| EngineError::Storage {
                path: dir.join(&catalog).display().to_string(),
                fact: format!("cannot be written as JSON ({error})"),
                source: None,
            })?;
            files.made.insert(catalog, content);
            for uuid in uuids {
                let within = format!("{folder}/{uuid}/{CHECKPOINT_DEPENDENCIES}");
                let Some(needed) = read::<CheckpointDependencies>(&dir.join(&within))? else { return Ok(None) };
                if needed.state_files().is_empty() {
                    return Ok(None);
                }
                files.unchanging.extend(needed.batches().iter().map(|name| format!("{folder}/{name}")));
                files.unchanging.extend(needed.state_files().iter().map(|name| format!("{folder}/{uuid}/{name}")));
                files.unchanging.insert(within);
            }
        }
        Ok(Some(files))
    }
}

/// Takes saved states that are gone off the list of a circuit's folder: DBSP opens no folder in which one that is listed
/// has no folder of its own, whichever is asked for.
pub(crate) fn forget_lost(folder: &Path) -> Result<(), EngineError> {
    let catalog = folder.join(CHECKPOINT_FILE_NAME);
    let Some(listed) = read::<Vec<Value>>(&catalog)? else { return Ok(()) };
    let is_there = |entry: &&Value| entry["uuid"].as_str().is_none_or(|uuid| folder.join(uuid).is_dir());
    let left: Vec<&Value> = listed.iter().filter(is_there).collect();
    if left.len() == listed.len() {
        return Ok(());
    }
    tracing::warn!(name: "state_lost", folder = %folder.display(), lost = listed.len() - left.len(), "saved states are gone");
    let failed = |source: io::Error| EngineError::Storage {
        path: catalog.display().to_string(),
        fact: "cannot be written".into(),
        source: Some(source),
    };
    let new = catalog.with_extension("left");
    let content = serde_json::to_vec(&left).map_err(|error| failed(error.into()))?;
    std::fs::write(&new, content).and_then(|()| File::open(&new)?.sync_all()).map_err(failed)?;
    std::fs::rename(&new, &catalog).map_err(failed)?;
    sync_folder(folder)
}

/// A document of a circuit's folder; `None` when it is gone, or just being written.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, EngineError> {
    match std::fs::read(path) {
        Ok(content) => Ok(serde_json::from_slice(&content).ok()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(EngineError::Storage {
            path: path.display().to_string(),
            fact: "cannot be read".to_owned(),
            source: Some(error),
        }),
    }
}
