//! Checkpoints beside an object-store log, from which a lost state folder is made again.
//!
//! `checkpoints/<epoch, 20 digits>.json` names the files of the state folder that the checkpoint
//! consists of, and for each the object that holds its content: `checkpoints/files/<BLAKE3 of the
//! content>`. Files that an earlier checkpoint had are there already and are not put again, so
//! that what is put follows what changed. The document is put last: there is a whole checkpoint or
//! none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;
use serde::{Deserialize, Serialize};
use tidegate_core::{Epoch, ErrorKind, chain};

use crate::checkpoint::{seal, unchanged};
use crate::contents::Contents;
use crate::lock::Lock;
use crate::state::{FORMAT, StateFile, other_format};
use crate::{RuntimeError, blocking, durable};

/// Documents that are kept. Each names all checkpoints of the state folder at its time.
const KEPT: usize = 2;

/// The checkpoints under the prefix of a log.
#[derive(Debug)]
pub struct Depot {
    contents: Contents,
    /// The epochs of the checkpoints, ascending; `None` until they have been listed.
    epochs: Option<Vec<Epoch>>,
    /// Objects that hold contents; `None` until they have been listed.
    held: Option<BTreeSet<String>>,
    /// Files of the state folder whose content is known.
    known: BTreeMap<String, (u64, SystemTime, String)>,
}

/// What a checkpoint consists of.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    format: u32,
    epoch: Epoch,
    state: StateFile,
    files: Vec<Entry>,
}

/// A file of the state folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    /// Within the state folder, with `/` between names.
    path: String,
    bytes: u64,
    /// Hexadecimal.
    blake3: String,
}

impl Depot {
    /// The depot of a log under `prefix`; `url` is what messages call that.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: &ObjectPath, url: &str) -> Depot {
        Depot {
            contents: Contents::Store {
                store,
                prefix: prefix.clone().join("checkpoints"),
                url: format!("{}/checkpoints", url.trim_end_matches('/')),
            },
            epochs: None,
            held: None,
            known: BTreeMap::new(),
        }
    }

    /// Puts the checkpoint of `epoch`, which has just been published in the state folder, and removes
    /// what only older ones need.
    pub async fn publish(&mut self, dir: &Path, state: &StateFile, epoch: Epoch) -> Result<(), RuntimeError> {
        if self.held.is_none() {
            self.held = Some(self.contents.list("files").await?.into_iter().collect());
        }
        let mut paths = blocking(|| files_below(dir, "engine"))?;
        paths.extend(blocking(|| files_below(dir, "checkpoints"))?);
        let mut files = Vec::new();
        for path in paths {
            files.extend(self.put_file(dir, path).await?);
        }
        self.known.retain(|path, _| files.iter().any(|entry| entry.path == *path));
        let manifest = Manifest { format: FORMAT, epoch, state: state.clone(), files };
        let document = serde_json::to_vec_pretty(&seal(&manifest)?)
            .map_err(|error| RuntimeError::Bug(format!("a list of files cannot be written as JSON: {error}")))?;
        self.contents.put_bytes(&document_of(epoch), document).await?;
        self.retain_newest(&manifest).await
    }

    /// Makes the state folder of a pipeline again, if there is none and a checkpoint is here.
    /// `state.json` is written last: a folder that was not made completely is made once more.
    pub async fn restore(&self, dir: &Path, pipeline: &str) -> Result<Option<Epoch>, RuntimeError> {
        let epochs = self.list_epochs().await?;
        if epochs.is_empty() {
            return Ok(None);
        }
        durable::create_dir(dir)?;
        let _lock = Lock::acquire(dir)?;
        if StateFile::read(dir, pipeline)?.is_some() {
            return Ok(None);
        }
        let mut first = None;
        for epoch in epochs.into_iter().rev() {
            match self.fetch(dir, pipeline, epoch).await {
                Ok(manifest) => {
                    manifest.state.write(dir)?;
                    return Ok(Some(epoch));
                }
                Err(error) if error.kind() == ErrorKind::Stop => {
                    tracing::warn!(name: "checkpoint_unusable", error = %chain(&error), "a checkpoint cannot be used, trying the one before it");
                    first.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        first.map_or(Ok(None), Err)
    }

    async fn fetch(&self, dir: &Path, pipeline: &str, epoch: Epoch) -> Result<Manifest, RuntimeError> {
        let manifest = self.manifest(epoch).await?;
        if manifest.state.pipeline != pipeline {
            return Err(RuntimeError::State {
                path: self.contents.name("").trim_end_matches('/').into(),
                fact: format!("belongs to pipeline \"{}\", not to \"{pipeline}\"", manifest.state.pipeline),
                way_out: "give this pipeline its own log and state_dir, or change its name back",
                kind: ErrorKind::Reconfigure,
            });
        }
        for name in ["engine", "checkpoints"] {
            match fs::remove_dir_all(dir.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(RuntimeError::io("remove", &dir.join(name))(error));
                }
                _ => {}
            }
        }
        for entry in &manifest.files {
            self.get_file(dir, entry).await?;
        }
        Ok(manifest)
    }

    async fn manifest(&self, epoch: Epoch) -> Result<Manifest, RuntimeError> {
        let path = document_of(epoch);
        let document = self.contents.get_bytes(&path).await?;
        let document = document.ok_or_else(|| self.damaged(&path, "is missing".to_owned()))?;
        let wrong = || self.damaged(&path, "is not what Tidegate wrote".to_owned());
        let document = serde_json::from_slice(&document).ok().and_then(unchanged).ok_or_else(wrong)?;
        if let Some((fact, _)) = other_format(&document) {
            return Err(self.damaged(&path, fact));
        }
        serde_json::from_value(document).map_err(|_| wrong())
    }

    /// Puts a file unless its content is there; `None` when it is gone by now, which only files can
    /// be that no checkpoint names.
    async fn put_file(&mut self, dir: &Path, path: String) -> Result<Option<Entry>, RuntimeError> {
        let on_disk = dir.join(&path);
        let known = self.known.get(&path).cloned();
        let looked = blocking(|| -> std::io::Result<_> {
            let found = fs::metadata(&on_disk)?;
            let (bytes, modified) = (found.len(), found.modified()?);
            if let Some((known_bytes, known_modified, hash)) = known
                && (known_bytes, known_modified) == (bytes, modified)
            {
                return Ok((bytes, modified, hash));
            }
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(File::open(&on_disk)?)?;
            Ok((bytes, modified, hasher.finalize().to_hex().to_string()))
        });
        let (bytes, modified, hash) = match looked {
            Ok(looked) => looked,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(RuntimeError::io("read", &on_disk)(error)),
        };
        if !self.held.as_ref().is_some_and(|held| held.contains(&hash)) {
            self.contents.put(&content_of(&hash), &on_disk, bytes).await?;
            self.held.get_or_insert_default().insert(hash.clone());
        }
        self.known.insert(path.clone(), (bytes, modified, hash.clone()));
        Ok(Some(Entry { path, bytes, blake3: hash }))
    }

    async fn get_file(&self, dir: &Path, entry: &Entry) -> Result<(), RuntimeError> {
        let (from, to) = (content_of(&entry.blake3), dir.join(&entry.path));
        if !is_inside(&entry.path) {
            return Err(self.damaged(&from, "would be put outside the state folder".to_owned()));
        }
        let parent = to.parent().unwrap_or(dir);
        durable::create_dir(parent)?;
        match self.contents.get(&from, &to).await? {
            None => Err(self.damaged(&from, "is missing".to_owned())),
            Some(hash) if hash.to_hex().as_str() != entry.blake3 => {
                Err(self.damaged(&from, "does not match its hash".to_owned()))
            }
            Some(_) => durable::sync_dir(parent),
        }
    }

    /// Removes all checkpoints but the newest ones, and the contents that none of them names.
    async fn retain_newest(&mut self, newest: &Manifest) -> Result<(), RuntimeError> {
        let mut named: BTreeSet<String> = newest.files.iter().map(|entry| entry.blake3.clone()).collect();
        let mut kept = 1;
        let mut left = vec![newest.epoch];
        for epoch in self.epochs().await?.into_iter().rev().filter(|epoch| *epoch < newest.epoch) {
            if kept == KEPT {
                self.contents.remove(&document_of(epoch)).await?;
                continue;
            }
            left.push(epoch);
            match self.manifest(epoch).await {
                Ok(manifest) => {
                    named.extend(manifest.files.into_iter().map(|entry| entry.blake3));
                    kept += 1;
                }
                Err(error) if error.kind() == ErrorKind::Stop => {
                    tracing::warn!(name: "checkpoint_unusable", error = %chain(&error), "a checkpoint cannot be used any more");
                }
                Err(error) => return Err(error),
            }
        }
        left.reverse();
        self.epochs = Some(left);
        let held = self.held.take().unwrap_or_default();
        for hash in held.difference(&named) {
            self.contents.remove(&content_of(hash)).await?;
        }
        self.held = Some(held.intersection(&named).cloned().collect());
        Ok(())
    }

    /// The epochs of the checkpoints, ascending. They are listed once: nobody else puts any.
    pub async fn epochs(&mut self) -> Result<Vec<Epoch>, RuntimeError> {
        if self.epochs.is_none() {
            self.epochs = Some(self.list_epochs().await?);
        }
        Ok(self.epochs.clone().unwrap_or_default())
    }

    async fn list_epochs(&self) -> Result<Vec<Epoch>, RuntimeError> {
        let names = self.contents.list("").await?;
        let mut epochs: Vec<_> =
            names.iter().filter_map(|name| name.strip_suffix(".json")?.parse().ok().map(Epoch)).collect();
        epochs.sort();
        Ok(epochs)
    }

    fn damaged(&self, name: &str, fact: String) -> RuntimeError {
        RuntimeError::State {
            path: PathBuf::from(self.contents.name(name)),
            fact,
            way_out: "restore it from a backup; or move the log and its checkpoints away, run again, and bring each sink \
                      in line with 'tidegate resync PIPELINE SINK'",
            kind: ErrorKind::Stop,
        }
    }
}

fn document_of(epoch: Epoch) -> String {
    format!("{}.json", epoch.digits())
}

/// Where the content of this hash lies.
pub(crate) fn content_of(hash: &str) -> String {
    format!("files/{hash}")
}

/// Whether a path of a list of files leads nowhere but below the folder.
pub(crate) fn is_inside(path: &str) -> bool {
    Path::new(path).components().all(|part| matches!(part, std::path::Component::Normal(_)))
}

/// The files below a folder of `dir`, by their paths within `dir`.
pub(crate) fn files_below(dir: &Path, folder: &str) -> Result<Vec<String>, RuntimeError> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let on_disk = dir.join(&folder);
        for entry in fs::read_dir(&on_disk).map_err(RuntimeError::io("list", &on_disk))? {
            let entry = entry.map_err(RuntimeError::io("list", &on_disk))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let is_dir = entry.file_type().map_err(RuntimeError::io("list", &on_disk))?.is_dir();
            (if is_dir { &mut folders } else { &mut files }).push(format!("{folder}/{name}"));
        }
    }
    files.sort();
    Ok(files)
}
