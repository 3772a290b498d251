//! What a backup consists of: a document of its own, `backups/<time>.json`, which names contents by their hashes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidegate_core::{EpochHeader, ErrorKind, Micros, ViewName};

use crate::RuntimeError;
use crate::checkpoint::{seal, unchanged};
use crate::contents::Contents;
use crate::log::header::Link;
use crate::state::{StateFile, other_format};

/// The folder of the documents.
const FOLDER: &str = "backups";

/// A backup.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The layout of this document, and of everything that it names.
    pub format: u32,
    /// The name: when it was taken.
    pub name: String,
    /// The same for programs.
    pub taken_at: Micros,
    /// The name of the pipeline file.
    pub pipeline_file: String,
    /// The pipeline file and the SQL files that it names: relative to the pipeline file's folder, or absolute.
    pub definitions: Vec<Entry>,
    /// Whose state it is.
    pub state: StateFile,
    /// The last epoch.
    pub end: EpochHeader,
    /// What each sink held of each view, as far as it was known.
    pub sinks: BTreeMap<String, BTreeMap<ViewName, Link>>,
    /// The files of the state folder, but `state.json` and the log.
    pub files: Vec<Entry>,
    /// The files of the input log, by their names, in order.
    pub log: Vec<Entry>,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// With `/` between names.
    pub path: String,
    /// How much of it counts.
    pub bytes: u64,
    /// When it was last written, in nanoseconds: the next backup need not read what has not changed since.
    pub modified: i64,
    /// Of its content, hexadecimal.
    pub blake3: String,
}

impl Manifest {
    /// Every file.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.definitions.iter().chain(&self.files).chain(&self.log)
    }

    /// Makes the backup one: durable when it returns.
    pub async fn put(&self, to: &Contents) -> Result<(), RuntimeError> {
        let document = serde_json::to_vec_pretty(&seal(self)?)
            .map_err(|error| RuntimeError::Bug(format!("a list of files cannot be written as JSON: {error}")))?;
        to.put_bytes(&path(&self.name), document).await
    }

    /// Reads a backup's document.
    pub async fn get(from: &Contents, name: &str) -> Result<Manifest, RuntimeError> {
        let path = path(name);
        let wrong = |fact: String, way_out| damaged(from, &path, fact, way_out);
        let Some(document) = from.get_bytes(&path).await? else {
            return Err(wrong("is missing".to_owned(), OTHER));
        };
        let document = serde_json::from_slice(&document).ok().and_then(unchanged);
        let document = document.ok_or_else(|| wrong("does not match its hash".to_owned(), OTHER))?;
        if let Some((fact, _)) = other_format(&document) {
            return Err(wrong(fact, "restore it with the version of Tidegate that took it"));
        }
        serde_json::from_value(document)
            .map_err(|error| wrong(format!("is not what this version of Tidegate wrote ({error})"), OTHER))
    }

    /// The names of all backups, oldest first.
    pub async fn names(from: &Contents) -> Result<Vec<String>, RuntimeError> {
        let names = from.list(FOLDER).await?;
        let mut names: Vec<_> = names.iter().filter_map(|name| name.strip_suffix(".json").map(str::to_owned)).collect();
        names.sort();
        Ok(names)
    }

    /// Removes a backup's document; its contents stay.
    pub async fn remove(from: &Contents, name: &str) -> Result<(), RuntimeError> {
        from.remove(&path(name)).await
    }
}

/// What to do about a damaged backup.
pub(crate) const OTHER: &str = "restore another backup with --at, or from another copy of this one";

/// A file of a backup that is not what it was.
pub(crate) fn damaged(contents: &Contents, name: &str, fact: String, way_out: &'static str) -> RuntimeError {
    RuntimeError::State { path: contents.name(name).into(), fact, way_out, kind: ErrorKind::Stop }
}

fn path(name: &str) -> String {
    format!("{FOLDER}/{name}.json")
}
