//! Backups: a pipeline's definitions and its state at one moment, in a folder or under a prefix of an object store.
//!
//! ```text
//! backups/<time>.json   what a backup consists of, with its own hash; put last: there is a whole backup or none
//! files/<BLAKE3>        contents, which backups share
//! ```

mod manifest;
mod pin;
mod restore;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use object_store::ObjectStore;
use tidegate_core::{ErrorKind, Micros, chain, failpoint};

use self::manifest::{Entry, Manifest};
use self::pin::PinnedFile;
pub(crate) use self::pin::remove_leftovers;
pub(crate) use self::restore::refuse_incomplete;
pub use self::restore::{Backup, RestorePlaces, Site};
use crate::contents::Contents;
use crate::depot::content_of;
use crate::state::FORMAT;
use crate::summary::BackupSummary;
use crate::{PipelineConfig, RuntimeError, blocking};

/// Where backups lie.
#[derive(Debug, Clone)]
pub enum BackupLocation {
    /// A local folder.
    Folder(PathBuf),
    /// A prefix of an object store.
    ObjectStore {
        /// The store, with its credentials.
        store: Arc<dyn ObjectStore>,
        /// The prefix.
        prefix: object_store::path::Path,
        /// What messages call it, without credentials.
        url: String,
    },
}

impl From<BackupLocation> for Contents {
    fn from(location: BackupLocation) -> Contents {
        match location {
            BackupLocation::Folder(folder) => Contents::Folder(folder),
            BackupLocation::ObjectStore { store, prefix, url } => Contents::Store { store, prefix, url },
        }
    }
}

/// Takes a backup, whether or not a process works on the pipeline. `sql_files` are those that the pipeline file
/// names. With `keep`, that many backups stay and older ones go; otherwise all stay.
pub async fn backup(
    config: &PipelineConfig,
    pipeline_file: &Path,
    sql_files: &[PathBuf],
    to: BackupLocation,
    keep: Option<usize>,
) -> Result<BackupSummary, RuntimeError> {
    let started = Instant::now();
    if let BackupLocation::Folder(folder) = &to
        && folder.starts_with(&config.state_dir)
    {
        return Err(RuntimeError::State {
            path: folder.clone(),
            fact: "lies in the state folder".to_owned(),
            way_out: "name a folder elsewhere, best on another disk",
            kind: ErrorKind::Reconfigure,
        });
    }
    let to = Contents::from(to);
    let newest = newest(&to, &config.name).await?;
    let held: BTreeSet<String> = to.list("files").await?.into_iter().collect();
    // Others are small, and some are replaced by others of the same length.
    let of_engine = |entry: &&Entry| entry.path.starts_with("engine/");
    let files = newest.iter().flat_map(|newest| newest.files.iter().filter(of_engine).chain(&newest.log));
    let known: BTreeMap<String, Entry> =
        files.filter(|entry| held.contains(&entry.blake3)).map(|entry| (entry.path.clone(), entry.clone())).collect();
    let pinned = pin::pin(config, &known).await?;
    failpoint::hit("backup.pinned");
    let (pipeline_name, definitions) = definitions(pipeline_file, sql_files, &pinned.scratch)?;
    let mut writer = Writer { held, to: &to, known, put: (0, 0) };
    let definitions = writer.put_all(definitions).await?;
    let files = writer.put_all(pinned.files).await?;
    let log = writer.put_all(pinned.log).await?;
    let (new_files, new_bytes) = writer.put;
    failpoint::hit("backup.contents_put");
    let after = newest.map_or(Micros(i64::MIN), |newest| Micros(newest.taken_at.0 + 1_000));
    let taken_at = config.clock.now().max(after);
    let manifest = Manifest {
        format: FORMAT,
        name: name_at(taken_at),
        taken_at,
        pipeline_file: pipeline_name,
        definitions,
        state: pinned.state,
        end: pinned.end,
        sinks: pinned.sinks,
        files,
        log,
    };
    manifest.put(&to).await?;
    failpoint::hit("backup.published");
    let kept = match keep {
        Some(keep) => prune(&to, keep.max(1)).await?,
        None => Manifest::names(&to).await?,
    };
    failpoint::hit("backup.pruned");
    Ok(BackupSummary {
        backup: manifest.name.clone(),
        pipeline: config.name.clone(),
        epoch: manifest.end.epoch,
        frontier: manifest.end.frontier.clone(),
        files: manifest.entries().count() as u64,
        bytes: manifest.entries().map(|entry| entry.bytes).sum(),
        new_files,
        new_bytes,
        kept,
        elapsed_ms: started.elapsed(),
    })
}

/// Sorts as text the way it sorts as a time.
fn name_at(time: Micros) -> String {
    let text = time.to_string();
    // 2026-01-02T03:04:05.678901Z
    let digits: String = text.chars().filter(|c| !matches!(c, '-' | ':')).collect();
    match digits.split_once('.') {
        Some((seconds, fraction)) => format!("{seconds}.{}Z", fraction.get(..3).unwrap_or("000")),
        None => digits,
    }
}

/// The newest backup of this pipeline; another pipeline's place is refused.
async fn newest(to: &Contents, pipeline: &str) -> Result<Option<Manifest>, RuntimeError> {
    let Some(name) = Manifest::names(to).await?.pop() else { return Ok(None) };
    match Manifest::get(to, &name).await {
        Ok(manifest) if manifest.state.pipeline != pipeline => Err(RuntimeError::State {
            path: to.name("").into(),
            fact: format!("holds backups of pipeline \"{}\", not of \"{pipeline}\"", manifest.state.pipeline),
            way_out: "give each pipeline's backups a place of their own",
            kind: ErrorKind::Reconfigure,
        }),
        Ok(manifest) => Ok(Some(manifest)),
        Err(error) if error.kind() == ErrorKind::Stop => {
            tracing::warn!(name: "backup_unreadable", error = %chain(&error), "the newest backup cannot be read; everything is looked at anew");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The pipeline file's name, and it and the SQL files as they are now.
fn definitions(
    pipeline_file: &Path,
    sql_files: &[PathBuf],
    scratch: &pin::Scratch,
) -> Result<(String, Vec<PinnedFile>), RuntimeError> {
    let absolute = std::path::absolute(pipeline_file).map_err(RuntimeError::io("find", pipeline_file))?;
    let folder = absolute.parent().unwrap_or(Path::new("/"));
    let mut made = Vec::new();
    let mut paths = BTreeSet::new();
    for on_disk in std::iter::once(&absolute).chain(sql_files) {
        let relative = on_disk.strip_prefix(folder).unwrap_or(on_disk);
        let path: PathBuf = relative.components().filter(|part| !matches!(part, Component::CurDir)).collect();
        let Some(path) = path.to_str().map(str::to_owned) else {
            let other = std::io::Error::new(std::io::ErrorKind::InvalidInput, "its path is not UTF-8");
            return Err(RuntimeError::io("back up", on_disk)(other));
        };
        if !paths.insert(path.clone()) {
            continue;
        }
        let content = std::fs::read(on_disk).map_err(RuntimeError::io("read", on_disk))?;
        let file = scratch.make(&format!("definitions/{}", made.len()), &content)?;
        made.push(PinnedFile { path, ..file });
    }
    let name = absolute.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    Ok((name, made))
}

/// Puts what is not there yet.
struct Writer<'t> {
    to: &'t Contents,
    held: BTreeSet<String>,
    known: BTreeMap<String, Entry>,
    /// Files and bytes that were put.
    put: (u64, u64),
}

impl Writer<'_> {
    async fn put_all(&mut self, files: Vec<PinnedFile>) -> Result<Vec<Entry>, RuntimeError> {
        let mut entries = Vec::new();
        for file in files {
            entries.push(self.put(file).await?);
        }
        Ok(entries)
    }

    async fn put(&mut self, file: PinnedFile) -> Result<Entry, RuntimeError> {
        let PinnedFile { path, on_disk, bytes, modified } = file;
        let is_same = |entry: &&Entry| (entry.bytes, entry.modified) == (bytes, modified);
        if let Some(entry) = self.known.get(&path).filter(is_same) {
            return Ok(entry.clone());
        }
        let on_disk = on_disk.ok_or_else(|| RuntimeError::Bug(format!("{path} is neither read nor known")))?;
        let hash = blocking(|| hash(&on_disk, bytes))?.to_hex().to_string();
        if !self.held.contains(&hash) {
            let put = self.to.put(&content_of(&hash), &on_disk, bytes).await?;
            if put.to_hex().as_str() != hash {
                return Err(RuntimeError::State {
                    path: on_disk,
                    fact: "has changed while it was read".to_owned(),
                    way_out: "take the backup again",
                    kind: ErrorKind::Retry,
                });
            }
            self.held.insert(hash.clone());
            self.put = (self.put.0 + 1, self.put.1 + bytes);
        }
        Ok(Entry { path, bytes, modified, blake3: hash })
    }
}

fn hash(path: &Path, bytes: u64) -> Result<blake3::Hash, RuntimeError> {
    use std::io::Read;
    let file = File::open(path).map_err(RuntimeError::io("open", path))?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file.take(bytes)).map_err(RuntimeError::io("read", path))?;
    Ok(hasher.finalize())
}

/// Removes all backups but the newest ones, and what none of them names. Answers those that are left.
async fn prune(to: &Contents, keep: usize) -> Result<Vec<String>, RuntimeError> {
    let mut names = Manifest::names(to).await?;
    let gone = names.len().saturating_sub(keep);
    for name in names.drain(..gone) {
        Manifest::remove(to, &name).await?;
    }
    let mut named = BTreeSet::new();
    for name in &names {
        match Manifest::get(to, name).await {
            Ok(manifest) => named.extend(manifest.entries().map(|entry| entry.blake3.clone())),
            Err(error) if error.kind() == ErrorKind::Stop => {
                tracing::warn!(name: "backup_unreadable", error = %chain(&error), "nobody can say what this backup needs, so that no content is removed");
                return Ok(names);
            }
            Err(error) => return Err(error),
        }
    }
    for content in to.list("files").await? {
        if !named.contains(&content) {
            to.remove(&content_of(&content)).await?;
        }
    }
    Ok(names)
}
