//! From a backup to a pipeline that goes on where it was. Nothing is overwritten, and nothing counts before everything is there
//! and verified: the pipeline file gets its name last.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tidegate_core::{Epoch, ErrorKind, failpoint};

use super::BackupLocation;
use super::manifest::{Entry, Manifest, OTHER, damaged};
use crate::contents::Contents;
use crate::depot::{content_of, is_inside};
use crate::lock::Lock;
use crate::log::object::Objects;
use crate::log::segment::Segments;
use crate::log::{InputLog, PREFIX};
use crate::state::Restored;
use crate::summary::RestoreSummary;
use crate::{LogLocation, RuntimeError, durable};

/// In a state folder that is being restored: names the file that gets its own name when everything is there.
pub(super) const MARKER: &str = "restore.incomplete";

/// A backup that can be restored.
#[derive(Debug)]
pub struct Backup {
    contents: Contents,
    manifest: Manifest,
}

/// Where the state goes, as the restored pipeline file says.
#[derive(Debug)]
pub struct RestorePlaces {
    /// The state folder.
    pub state_dir: PathBuf,
    /// The input log.
    pub log: LogLocation,
}

/// A folder in which a restore has begun.
#[derive(Debug)]
pub struct Site {
    dir: PathBuf,
    incomplete: PathBuf,
    /// Whether there was nothing before.
    is_fresh: bool,
    definitions: Vec<PathBuf>,
    since: Instant,
}

impl Site {
    /// The pipeline file, under the name that it has until everything is there.
    pub fn pipeline_file(&self) -> &Path {
        &self.incomplete
    }

    /// Removes what was begun; a restore that failed leaves nothing in a folder that it made.
    pub fn abandon(self, state_dir: Option<&Path>) {
        if let Some(state_dir) = state_dir.filter(|dir| is_ours(dir, &self.incomplete)) {
            let _ = fs::remove_dir_all(state_dir);
        }
        if self.is_fresh {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

impl Backup {
    /// The newest backup, or the one of this name.
    pub async fn open(from: BackupLocation, at: Option<&str>) -> Result<Backup, RuntimeError> {
        let contents = Contents::from(from);
        let names = Manifest::names(&contents).await?;
        let refuse = |fact: String, way_out| {
            let path = contents.name("").trim_end_matches('/').into();
            RuntimeError::State { path, fact, way_out, kind: ErrorKind::Reconfigure }
        };
        let Some(newest) = names.last() else {
            return Err(refuse("holds no backup".to_owned(), "name the place that 'tidegate backup' was given"));
        };
        let name = at.unwrap_or(newest);
        if !names.iter().any(|known| known == name) {
            return Err(refuse(format!("has no backup {name}; it has {}", names.join(", ")), "name one of them"));
        }
        let manifest = Manifest::get(&contents, name).await?;
        Ok(Backup { contents, manifest })
    }

    /// Puts the definitions into a folder, which is made; one that holds something is refused, unless that is a restore
    /// that was cut short.
    pub async fn begin(&self, dir: &Path) -> Result<Site, RuntimeError> {
        let dir = std::path::absolute(dir).map_err(RuntimeError::io("find", dir))?;
        let incomplete = dir.join(format!("{}.incomplete", self.manifest.pipeline_file));
        let is_fresh = is_empty(&dir)?;
        if !is_fresh && !incomplete.exists() {
            return Err(occupied(&dir, "name a folder that does not exist yet: nothing is overwritten"));
        }
        durable::create_dir(&dir)?;
        let mut site = Site { dir, incomplete, is_fresh, definitions: Vec::new(), since: Instant::now() };
        match self.put_definitions(&mut site).await {
            Ok(()) => Ok(site),
            Err(error) => {
                site.abandon(None);
                Err(error)
            }
        }
    }

    async fn put_definitions(&self, site: &mut Site) -> Result<(), RuntimeError> {
        let (pipeline, others): (Vec<_>, Vec<_>) =
            self.manifest.definitions.iter().partition(|entry| entry.path == self.manifest.pipeline_file);
        for entry in pipeline {
            // First of all: from here on the folder is known for what it is.
            self.get(entry, &site.incomplete).await?;
            durable::sync_dir(&site.dir)?;
        }
        failpoint::hit("restore.begun");
        for entry in others {
            let to = site.dir.join(&entry.path);
            if !is_inside(&entry.path) && to.exists() {
                let same = fs::read(&to).map_err(RuntimeError::io("read", &to))?;
                if blake3::hash(&same).to_hex().as_str() != entry.blake3 {
                    let way_out = "move it away, or restore on a machine that has no such file: nothing is overwritten";
                    return Err(occupied(&to, way_out));
                }
            } else {
                self.get_renamed(entry, &to).await?;
            }
            site.definitions.push(to);
        }
        failpoint::hit("restore.definitions_put");
        Ok(())
    }

    /// Puts the state and the log, and makes it a pipeline.
    pub async fn finish(&self, site: Site, places: RestorePlaces) -> Result<RestoreSummary, RuntimeError> {
        match self.restore(&site, &places).await {
            Ok(summary) => Ok(summary),
            Err(error) => {
                site.abandon(Some(&places.state_dir));
                Err(error)
            }
        }
    }

    async fn restore(&self, site: &Site, places: &RestorePlaces) -> Result<RestoreSummary, RuntimeError> {
        let (manifest, dir) = (&self.manifest, &places.state_dir);
        if !is_empty(dir)? {
            if !is_ours(dir, &site.incomplete) {
                return Err(occupied(dir, "give the restored pipeline another state_dir: nothing is overwritten"));
            }
            fs::remove_dir_all(dir).map_err(RuntimeError::io("remove", dir))?;
        }
        durable::create_dir(dir)?;
        let marker = dir.join(MARKER);
        durable::write(&marker, site.incomplete.as_os_str().as_encoded_bytes())?;
        let _lock = Lock::acquire(dir)?;
        self.get_all(&manifest.files, dir).await?;
        failpoint::hit("restore.files_put");
        let (log, log_put) = self.put_log(places).await?;
        failpoint::hit("restore.log_put");
        let mut state = manifest.state.clone();
        state.restored = Some(Restored {
            backup: manifest.name.clone(),
            epoch: manifest.end.epoch,
            sources: BTreeSet::new(),
            sinks: BTreeSet::new(),
        });
        state.write(dir)?;
        failpoint::hit("restore.state_put");
        let pipeline_file = site.dir.join(&manifest.pipeline_file);
        fs::rename(&site.incomplete, &pipeline_file).map_err(RuntimeError::io("replace", &pipeline_file))?;
        durable::sync_dir(&site.dir)?;
        failpoint::hit("restore.named");
        durable::remove(&marker)?;
        Ok(RestoreSummary {
            backup: manifest.name.clone(),
            pipeline: manifest.state.pipeline.clone(),
            epoch: manifest.end.epoch,
            frontier: manifest.end.frontier.clone(),
            pipeline_file,
            definitions: site.definitions.clone(),
            state_dir: dir.clone(),
            log,
            log_put,
            files: manifest.entries().count() as u64,
            bytes: manifest.entries().map(|entry| entry.bytes).sum(),
            elapsed_ms: site.since.elapsed(),
        })
    }

    /// Puts the log where it belongs; where it is already, perhaps with more, it is left as it is. Answers where
    /// that is, and whether it was put.
    async fn put_log(&self, places: &RestorePlaces) -> Result<(String, bool), RuntimeError> {
        let local = match &places.log {
            LogLocation::StateDir => places.state_dir.join("log"),
            LogLocation::Local(folder) => folder.clone(),
            LogLocation::ObjectStore { store, prefix, url } => {
                let objects = Objects::new(store.clone(), prefix.clone(), url.clone());
                let depot = places.log.depot();
                let has_checkpoints = match depot {
                    Some(mut depot) => !depot.epochs().await?.is_empty(),
                    None => false,
                };
                return Ok((url.clone(), self.put_objects(&objects, &places.state_dir, has_checkpoints).await?));
            }
        };
        let name = local.display().to_string();
        durable::create_dir(&local)?;
        let held: Vec<PathBuf> = Segments::look(&local, PREFIX)?.files().map(|(path, _)| path.to_owned()).collect();
        if !held.is_empty() {
            let log = InputLog::look(&local, self.manifest.state.log_id)?;
            if self.is_held(&log).await? {
                return Ok((name, false));
            }
            // What a restore that was cut short has put is taken; anything else is somebody's.
            for path in &held {
                let bytes = fs::read(path).map_err(RuntimeError::io("read", path))?;
                let hash = blake3::hash(&bytes).to_hex();
                if !self.manifest.log.iter().any(|entry| path.ends_with(&entry.path) && entry.blake3 == hash.as_str()) {
                    return Err(self.other_log(name));
                }
            }
        }
        for entry in &self.manifest.log {
            self.refuse_outside(entry)?;
            self.get_renamed(entry, &local.join(&entry.path)).await?;
        }
        Ok((name, true))
    }

    async fn put_objects(
        &self,
        objects: &Objects,
        state_dir: &Path,
        has_checkpoints: bool,
    ) -> Result<bool, RuntimeError> {
        let held = objects.list(Epoch::ZERO).await?;
        let end = &self.manifest.end;
        if let Some((_, path)) = held.iter().find(|(epoch, _)| *epoch == end.epoch) {
            let (header, _) = objects.read(path).await?;
            let header: crate::log::header::RecordHeader =
                serde_json::from_slice(&header).map_err(|_| self.other_log(objects.url().to_owned()))?;
            if header.header.hash != end.hash {
                return Err(self.other_log(objects.url().to_owned()));
            }
            return Ok(false);
        }
        if held.last().is_some_and(|(epoch, _)| *epoch > end.epoch) || (held.is_empty() && has_checkpoints) {
            return Err(self.other_log(objects.url().to_owned()));
        }
        let staged = state_dir.join("restore.tmp");
        durable::create_dir(&staged)?;
        for entry in &self.manifest.log {
            self.refuse_outside(entry)?;
            self.get(entry, &staged.join(&entry.path)).await?;
        }
        for record in Segments::look(&staged, PREFIX)?.scan(Epoch::ZERO) {
            let (header, stored) = record?;
            let known: crate::log::header::RecordHeader = serde_json::from_slice(&header)
                .map_err(|error| RuntimeError::Bug(format!("a record of the log cannot be read: {error}")))?;
            let payload = stored.read(0, stored.payload_len())?;
            objects.append(known.header.epoch, &header, &mut &payload[..], stored.payload_len()).await?;
        }
        fs::remove_dir_all(&staged).map_err(RuntimeError::io("remove", &staged))?;
        Ok(true)
    }

    /// Whether a log holds all of the backup's.
    async fn is_held(&self, log: &InputLog) -> Result<bool, RuntimeError> {
        let end = &self.manifest.end;
        let records = log.records(end.epoch).await?;
        let found = records.iter().find(|record| record.header.header.epoch == end.epoch);
        Ok(found.is_some_and(|record| record.header.header.hash == end.hash))
    }

    fn other_log(&self, log: String) -> RuntimeError {
        RuntimeError::LogForeign {
            log,
            fact: format!("holds other epochs than this backup, which ends with epoch {}", self.manifest.end.epoch),
            way_out: "move them away, or give the restored pipeline another log: nothing is overwritten",
        }
    }

    async fn get_all(&self, entries: &[Entry], dir: &Path) -> Result<(), RuntimeError> {
        let mut folders = BTreeSet::new();
        for entry in entries {
            self.refuse_outside(entry)?;
            let to = dir.join(&entry.path);
            let parent = to.parent().unwrap_or(dir);
            durable::create_dir(parent)?;
            self.get(entry, &to).await?;
            folders.insert(parent.to_owned());
        }
        folders.iter().try_for_each(|folder| durable::sync_dir(folder))
    }

    /// Writes a file that has its name only when it is whole.
    async fn get_renamed(&self, entry: &Entry, to: &Path) -> Result<(), RuntimeError> {
        let parent = to.parent().unwrap_or(Path::new("/"));
        durable::create_dir(parent)?;
        let mut staged = to.as_os_str().to_owned();
        staged.push(".tmp");
        let staged = PathBuf::from(staged);
        self.get(entry, &staged).await?;
        fs::rename(&staged, to).map_err(RuntimeError::io("replace", to))?;
        durable::sync_dir(parent)
    }

    async fn get(&self, entry: &Entry, to: &Path) -> Result<(), RuntimeError> {
        let from = content_of(&entry.blake3);
        let wrong = |fact: &str| damaged(&self.contents, &from, format!("({}) {fact}", entry.path), OTHER);
        match self.contents.get(&from, to).await? {
            None => Err(wrong("is missing")),
            Some(hash) if hash.to_hex().as_str() != entry.blake3 => Err(wrong("does not match its hash")),
            Some(_) => Ok(()),
        }
    }

    fn refuse_outside(&self, entry: &Entry) -> Result<(), RuntimeError> {
        match is_inside(&entry.path) {
            true => Ok(()),
            false => {
                let fact = format!("({}) would be put outside the state folder", entry.path);
                Err(damaged(&self.contents, &content_of(&entry.blake3), fact, OTHER))
            }
        }
    }
}

/// A state folder that was not restored completely is not opened.
pub(crate) fn refuse_incomplete(state_dir: &Path) -> Result<(), RuntimeError> {
    let Some(incomplete) = marked(state_dir)? else { return Ok(()) };
    if incomplete.exists() {
        return Err(RuntimeError::State {
            path: state_dir.to_owned(),
            fact: "was not restored completely".to_owned(),
            way_out: "run 'tidegate restore' again",
            kind: ErrorKind::Stop,
        });
    }
    // It was: only the mark is left.
    durable::remove(&state_dir.join(MARKER))
}

fn marked(state_dir: &Path) -> Result<Option<PathBuf>, RuntimeError> {
    let marker = state_dir.join(MARKER);
    match fs::read_to_string(&marker) {
        Ok(path) => Ok(Some(path.into())),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(RuntimeError::io("read", &marker)(error)),
    }
}

/// Whether the state folder was begun by a restore into the same folder.
fn is_ours(state_dir: &Path, incomplete: &Path) -> bool {
    marked(state_dir).is_ok_and(|marked| marked.is_some_and(|path| path == incomplete))
}

fn is_empty(dir: &Path) -> Result<bool, RuntimeError> {
    match fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(RuntimeError::io("list", dir)(error)),
    }
}

fn occupied(path: &Path, way_out: &'static str) -> RuntimeError {
    let fact = if path.is_dir() { "exists and is not empty" } else { "exists and is another file" };
    RuntimeError::State { path: path.to_owned(), fact: fact.to_owned(), way_out, kind: ErrorKind::Reconfigure }
}
