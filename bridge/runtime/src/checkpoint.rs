//! `checkpoints/<epoch, 20 digits>.json`: what was saved at an epoch boundary. Publishing one is
//! a rename, so there is a whole checkpoint or none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidegate_core::{Epoch, EpochHeader, ViewName, failpoint};
use uuid::Uuid;

use crate::ladder::Rung;
use crate::log::header::{Link, Origin};
use crate::state::{FORMAT, other_format};
use crate::{RuntimeError, durable};

/// A saved state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CheckpointFile {
    /// The layout of this file.
    pub format: u32,
    /// The input log it belongs to.
    pub log_id: Uuid,
    /// The epoch it stands at.
    pub header: EpochHeader,
    /// The epoch before that.
    pub previous: Link,
    /// What made the epoch; a load or rebuild is published by this file.
    pub origin: Origin,
    /// The views as they were asked for.
    pub views: serde_json::Value,
    /// What each sink held of each view, as far as it was known.
    pub sinks: BTreeMap<String, BTreeMap<ViewName, Link>>,
    /// Rows of each view.
    pub view_rows: BTreeMap<ViewName, u64>,
    /// What was to be replayed to get here from the beginning, as [`Rung`] measures it.
    #[serde(default)]
    pub work: u64,
    /// The engine's own part; only the engine reads it.
    pub engine: serde_json::Value,
}

impl CheckpointFile {
    /// The layout that this version writes.
    pub const FORMAT: u32 = FORMAT;

    /// What decides whether it stays.
    pub fn rung(&self) -> Rung {
        Rung { epoch: self.header.epoch, work: self.work, is_load: self.origin.is_load() }
    }
}

/// A checkpoint in the folder, as far as it can be read.
pub type Listed = (Epoch, Result<CheckpointFile, RuntimeError>);

/// The folder of checkpoints.
#[derive(Debug)]
pub struct Checkpoints {
    dir: PathBuf,
}

impl Checkpoints {
    /// Opens the folder, which is made if it is absent.
    pub fn open(dir: &Path) -> Result<Checkpoints, RuntimeError> {
        durable::create_dir(dir)?;
        Ok(Checkpoints { dir: dir.to_owned() })
    }

    /// Every checkpoint, newest first; the ones that cannot be read come as their error.
    pub fn list(&self) -> Result<Vec<Listed>, RuntimeError> {
        let mut epochs = self.epochs()?;
        epochs.reverse();
        Ok(epochs.into_iter().map(|epoch| (epoch, self.read(epoch))).collect())
    }

    /// The newest checkpoint, if there is one; the others are not read.
    pub fn newest(&self) -> Result<Option<CheckpointFile>, RuntimeError> {
        self.epochs()?.last().map(|epoch| self.read(*epoch)).transpose()
    }

    fn epochs(&self) -> Result<Vec<Epoch>, RuntimeError> {
        let mut epochs = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(RuntimeError::io("list", &self.dir))? {
            let name = entry.map_err(RuntimeError::io("list", &self.dir))?.file_name();
            let digits = name.to_str().and_then(|name| name.strip_suffix(".json"));
            epochs.extend(digits.and_then(|digits| digits.parse().ok()).map(Epoch));
        }
        epochs.sort();
        Ok(epochs)
    }

    /// The checkpoint of an epoch.
    pub fn read(&self, epoch: Epoch) -> Result<CheckpointFile, RuntimeError> {
        let path = self.path(epoch);
        let wrong = |fact: String, way_out| RuntimeError::State {
            path: path.clone(),
            fact,
            way_out,
            kind: tidegate_core::ErrorKind::Stop,
        };
        let way_out = "restore the state folder from a backup";
        let sealed: Option<serde_json::Value> = durable::read_json(&path, way_out)?;
        let Some(sealed) = sealed else { return Err(wrong("is gone".to_owned(), way_out)) };
        let checked = unchanged(sealed).ok_or_else(|| wrong("does not match its hash".to_owned(), way_out))?;
        if let Some((fact, way_out)) = other_format(&checked) {
            return Err(wrong(fact, way_out));
        }
        serde_json::from_value(checked)
            .map_err(|error| wrong(format!("is not what this version of Tidegate wrote ({error})"), way_out))
    }

    fn path(&self, epoch: Epoch) -> PathBuf {
        self.dir.join(format!("{}.json", epoch.digits()))
    }

    /// Makes a checkpoint valid: durable when it returns.
    pub fn publish(&self, checkpoint: &CheckpointFile) -> Result<(), RuntimeError> {
        durable::write_json(&self.path(checkpoint.header.epoch), &seal(checkpoint)?)?;
        failpoint::hit("checkpoint.published");
        Ok(())
    }

    /// Removes all but these.
    pub fn retain(&self, kept: &BTreeSet<Epoch>) -> Result<(), RuntimeError> {
        for epoch in self.epochs()?.iter().filter(|epoch| !kept.contains(epoch)) {
            durable::remove(&self.path(*epoch))?;
        }
        Ok(())
    }
}

/// The last member of the file: a hash of the others.
const CHECK: &str = "blake3";

/// A document with a hash of itself.
pub fn seal<T: Serialize>(document: &T) -> Result<serde_json::Value, RuntimeError> {
    let mut sealed = serde_json::to_value(document)
        .map_err(|error| RuntimeError::Bug(format!("a checkpoint cannot be written as JSON: {error}")))?;
    let check = check_of(&sealed);
    sealed.as_object_mut().map(|object| object.insert(CHECK.to_owned(), check));
    Ok(sealed)
}

/// The document without its hash, if that is right.
pub fn unchanged(mut sealed: serde_json::Value) -> Option<serde_json::Value> {
    let check = sealed.as_object_mut().and_then(|object| object.remove(CHECK));
    (check == Some(check_of(&sealed))).then_some(sealed)
}

fn check_of(checkpoint: &serde_json::Value) -> serde_json::Value {
    blake3::hash(checkpoint.to_string().as_bytes()).to_hex().as_str().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::header::RecordKind;
    use tidegate_core::{EpochHash, Frontier, Micros};

    fn checkpoint(epoch: u64) -> CheckpointFile {
        CheckpointFile {
            format: FORMAT,
            log_id: Uuid::nil(),
            header: EpochHeader {
                epoch: Epoch(epoch),
                hash: EpochHash([1; 32]),
                frontier: Frontier::new(),
                time: Micros(1),
                latest_commit: None,
            },
            previous: Link::default(),
            origin: Origin::plain(RecordKind::Events, BTreeMap::new()),
            views: serde_json::Value::Null,
            sinks: BTreeMap::new(),
            view_rows: BTreeMap::from([("v".into(), 3)]),
            work: epoch,
            engine: serde_json::json!({"uuid": "x"}),
        }
    }

    #[test]
    fn those_that_are_kept_stay_and_damage_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::open(dir.path()).unwrap();
        for epoch in [1, 9, 10] {
            checkpoints.publish(&checkpoint(epoch)).unwrap();
        }
        checkpoints.retain(&BTreeSet::from([Epoch(9), Epoch(10)])).unwrap();
        let path = checkpoints.path(Epoch(10));
        let damaged = fs::read_to_string(&path).unwrap().replace("\"x\"", "\"y\"");
        fs::write(&path, damaged).unwrap();
        let listed = checkpoints.list().unwrap();
        assert_eq!(listed.iter().map(|(epoch, _)| epoch.0).collect::<Vec<_>>(), [10, 9]);
        assert!(listed[0].1.as_ref().unwrap_err().to_string().contains("does not match its hash"));
        assert_eq!(listed[1].1.as_ref().unwrap().view_rows[&ViewName::from("v")], 3);
    }
}
