//! A state as it is at one moment, held fast while its process goes on: hard links in a scratch folder keep files
//! that are removed meanwhile.
//!
//! The order is what makes it one moment: what was read without an event and everything of no order come first, then
//! checkpoints, then the input log, then the delta log. So the log continues the checkpoint, nothing is said to be read
//! that is not in the log, and deltas beyond the log's end are cut off by whoever opens the state. Where something is
//! removed under our hands, it is begun again.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use tidegate_core::{EpochHeader, ErrorKind, ViewName, chain};
use tidegate_engine::EngineCheckpoint;

use super::manifest::Entry;
use super::restore::{MARKER, refuse_incomplete};
use crate::checkpoint::{CheckpointFile, Checkpoints};
use crate::delta_log::DeltaLog;
use crate::depot::files_below;
use crate::lock::Lock;
use crate::log::InputLog;
use crate::log::header::Link;
use crate::log::object::Objects;
use crate::recovery::engine_checkpoint;
use crate::state::{ProgressFile, StateFile};
use crate::tail::Tail;
use crate::{LogLocation, PipelineConfig, RuntimeError, blocking};

/// The scratch folder in the state folder.
pub(crate) const SCRATCH: &str = "backup.tmp";

/// How often it is begun again, and the pause in between.
const ATTEMPTS: u32 = 60;
const PAUSE: Duration = Duration::from_millis(50);

/// What is at the top of a state folder and has its own turn, or none.
const TOP: &[&str] =
    &["state.json", "progress.json", "checkpoints", "engine", "log", "delta_log", "lock", SCRATCH, MARKER];

/// A state that does not change.
#[derive(Debug)]
pub(crate) struct Pinned {
    pub state: StateFile,
    pub files: Vec<PinnedFile>,
    /// By their names in the log's folder.
    pub log: Vec<PinnedFile>,
    /// The last epoch.
    pub end: EpochHeader,
    pub sinks: BTreeMap<String, BTreeMap<ViewName, Link>>,
    pub scratch: Scratch,
}

/// A file of it.
#[derive(Debug)]
pub(crate) struct PinnedFile {
    /// As in [`Entry::path`].
    pub path: String,
    /// Where it lies; `None` for a record of a log on an object store whose content is known.
    pub on_disk: Option<PathBuf>,
    pub bytes: u64,
    pub modified: i64,
}

impl PinnedFile {
    /// A file as it is now; `None` when it is gone.
    fn at(path: String, on_disk: PathBuf) -> Result<Option<PinnedFile>, RuntimeError> {
        match fs::metadata(&on_disk) {
            Ok(found) => {
                let since = found.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
                let modified = since.and_then(|since| i64::try_from(since.as_nanos()).ok()).unwrap_or_default();
                Ok(Some(PinnedFile { path, on_disk: Some(on_disk), bytes: found.len(), modified }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(RuntimeError::io("read", &on_disk)(error)),
        }
    }
}

/// The scratch folder; it goes with this.
#[derive(Debug)]
pub(crate) struct Scratch {
    pub dir: PathBuf,
    _lock: Lock,
}

impl Scratch {
    /// Makes it, or takes the one that a backup that was cut short has left.
    fn create(state_dir: &Path) -> Result<Scratch, RuntimeError> {
        let dir = state_dir.join(SCRATCH);
        fs::create_dir_all(&dir).map_err(RuntimeError::io("create", &dir))?;
        let lock = Lock::acquire(&dir).map_err(|error| match error {
            RuntimeError::Locked { pid, .. } => RuntimeError::State {
                path: dir.clone(),
                fact: format!("is in use by another backup (process {pid})"),
                way_out: "wait until that one has ended",
                kind: ErrorKind::Retry,
            },
            other => other,
        })?;
        let scratch = Scratch { dir, _lock: lock };
        scratch.empty()?;
        Ok(scratch)
    }

    fn empty(&self) -> Result<(), RuntimeError> {
        for entry in fs::read_dir(&self.dir).map_err(RuntimeError::io("list", &self.dir))? {
            let path = entry.map_err(RuntimeError::io("list", &self.dir))?.path();
            let removed = match path.is_dir() {
                true => fs::remove_dir_all(&path),
                false if path.file_name().is_some_and(|name| name == "lock") => Ok(()),
                false => fs::remove_file(&path),
            };
            removed.map_err(RuntimeError::io("remove", &path))?;
        }
        Ok(())
    }

    /// Holds a file under the same path; `None` when it is gone.
    fn pin(&self, root: &Path, path: &str) -> Result<Option<PinnedFile>, RuntimeError> {
        self.pin_at(&root.join(path), path)
    }

    fn pin_at(&self, from: &Path, path: &str) -> Result<Option<PinnedFile>, RuntimeError> {
        let to = self.dir.join(path);
        self.make_parent(&to)?;
        let linked = match fs::hard_link(from, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
            // Another file system, or one without links.
            Err(_) => fs::copy(from, &to).map(drop),
            linked => linked,
        };
        match linked {
            Ok(()) => PinnedFile::at(path.to_owned(), to),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(RuntimeError::io("copy", from)(error)),
        }
    }

    /// A file with this content.
    pub fn make(&self, path: &str, content: &[u8]) -> Result<PinnedFile, RuntimeError> {
        let to = self.dir.join(path);
        self.make_parent(&to)?;
        fs::write(&to, content).map_err(RuntimeError::io("write", &to))?;
        PinnedFile::at(path.to_owned(), to)?.ok_or_else(|| RuntimeError::Bug(format!("{path} vanished")))
    }

    fn make_parent(&self, path: &Path) -> Result<(), RuntimeError> {
        let parent = path.parent().unwrap_or(&self.dir);
        fs::create_dir_all(parent).map_err(RuntimeError::io("create", parent))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            tracing::warn!(name: "backup_left", dir = %self.dir.display(), %error, "the scratch folder of a backup is left to the next one");
        }
    }
}

/// Removes what a backup has left that was cut short: it holds files that nobody needs.
pub(crate) fn remove_leftovers(state_dir: &Path) {
    if state_dir.join(SCRATCH).exists() {
        // One that is at work keeps its own.
        drop(Scratch::create(state_dir));
    }
}

/// Pins a state, whether or not a process works on it. `known` are the files of an earlier backup, by path.
pub(crate) async fn pin(config: &PipelineConfig, known: &BTreeMap<String, Entry>) -> Result<Pinned, RuntimeError> {
    let dir = &config.state_dir;
    refuse_incomplete(dir)?;
    let Some(state) = StateFile::read(dir, &config.name)? else {
        return Err(RuntimeError::State {
            path: dir.clone(),
            fact: "holds no state yet".to_owned(),
            way_out: "'tidegate run' makes it",
            kind: ErrorKind::Reconfigure,
        });
    };
    let mut scratch = Some(Scratch::create(dir)?);
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let Some(taken) = scratch.take() else { break };
        match try_to_pin(config, &state, taken, known).await {
            Ok(pinned) => return Ok(pinned),
            Err((_, Moved::Failed(error))) => return Err(*error),
            Err((taken, Moved::On(error))) => {
                last = error.or(last);
                tracing::debug!(error = last.as_deref().map(|error| chain(error)), "the state has moved on");
                tokio::time::sleep(PAUSE).await;
                taken.empty()?;
                scratch = Some(taken);
            }
        }
    }
    let too_fast = || RuntimeError::State {
        path: dir.clone(),
        fact: "changes faster than it can be read".to_owned(),
        way_out: "take the backup again when the pipeline has less to do",
        kind: ErrorKind::Retry,
    };
    Err(last.map_or_else(too_fast, |error| *error))
}

/// Why it did not work.
enum Moved {
    /// Something was removed or is not complete yet; with what is wrong if it stays so.
    On(Option<Box<RuntimeError>>),
    Failed(Box<RuntimeError>),
}

impl From<RuntimeError> for Moved {
    fn from(error: RuntimeError) -> Self {
        Moved::Failed(error.into())
    }
}

async fn try_to_pin(
    config: &PipelineConfig,
    state: &StateFile,
    scratch: Scratch,
    known: &BTreeMap<String, Entry>,
) -> Result<Pinned, (Scratch, Moved)> {
    match pin_into(config, state, &scratch, known).await {
        Ok((files, log, end, sinks)) => Ok(Pinned { state: state.clone(), files, log, end, sinks, scratch }),
        Err(moved) => Err((scratch, moved)),
    }
}

type Parts = (Vec<PinnedFile>, Vec<PinnedFile>, EpochHeader, BTreeMap<String, BTreeMap<ViewName, Link>>);

async fn pin_into(
    config: &PipelineConfig,
    state: &StateFile,
    scratch: &Scratch,
    known: &BTreeMap<String, Entry>,
) -> Result<Parts, Moved> {
    let dir = &config.state_dir;
    let mut files: Vec<PinnedFile> = scratch.pin(dir, "progress.json")?.into_iter().collect();
    let progress = ProgressFile::read(&scratch.dir)?;
    for path in others(dir).map_err(moved_on)? {
        if matches!(&config.log, LogLocation::Local(log) if dir.join(&path).starts_with(log)) {
            continue;
        }
        files.push(scratch.pin(dir, &path)?.ok_or(Moved::On(None))?);
    }
    let newest = blocking(|| pin_checkpoints(dir, scratch, &mut files))?;
    let log_files = pin_log(config, state, scratch, known, &newest).await?;
    let log = InputLog::look(&scratch.dir.join("log"), state.log_id)?;
    let tail = Tail::read(&newest, &log).await.map_err(moved_on)?;
    for record in &tail.records {
        if record.header.origin.is_load() {
            // Its checkpoint was published before it was logged.
            return Err(Moved::On(None));
        }
        log.body(record).await?;
    }
    let log_files = whole(log_files, log.files());
    let end = tail.records.last().map_or(&newest.header, |record| &record.header.header).clone();
    let mut hashes: BTreeMap<_, _> =
        tail.records.iter().map(|record| (record.header.header.epoch, record.header.header.hash)).collect();
    hashes.insert(newest.header.epoch, newest.header.hash);
    pin_deltas(dir, scratch, &hashes, &mut files)?;
    let mut sinks = newest.sinks;
    for (sink, views) in progress.sinks {
        sinks.entry(sink).or_default().extend(views);
    }
    Ok((files, log_files, end, sinks))
}

/// Damage that goes away is none.
fn moved_on(error: RuntimeError) -> Moved {
    match error {
        RuntimeError::LogForeign { .. } | RuntimeError::LogDamaged { .. } => Moved::On(Some(error.into())),
        RuntimeError::Io { ref source, .. } if source.kind() == io::ErrorKind::NotFound => {
            Moved::On(Some(error.into()))
        }
        error => Moved::Failed(error.into()),
    }
}

/// Everything that no other step pins: what connectors remember, the time map, and what later versions add.
fn others(dir: &Path) -> Result<Vec<String>, RuntimeError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(RuntimeError::io("list", dir))? {
        let entry = entry.map_err(RuntimeError::io("list", dir))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let kind = entry.file_type().map_err(RuntimeError::io("list", dir))?;
        match TOP.contains(&name.as_str()) {
            true => {}
            false if kind.is_dir() => paths.extend(files_below(dir, &name)?),
            false if kind.is_file() => paths.push(name),
            false => {}
        }
    }
    // Half-written files; sockets are no files.
    paths.retain(|path| {
        !path.ends_with(".tmp") && fs::symlink_metadata(dir.join(path)).is_ok_and(|found| found.is_file())
    });
    paths.sort();
    Ok(paths)
}

/// Every checkpoint that is complete, and the newest one of them.
fn pin_checkpoints(dir: &Path, scratch: &Scratch, files: &mut Vec<PinnedFile>) -> Result<CheckpointFile, Moved> {
    let (mut newest, mut kept): (Option<CheckpointFile>, Vec<EngineCheckpoint>) = (None, Vec::new());
    let mut wrong = None;
    let engine = dir.join("engine");
    let unreadable = RuntimeError::engine("reading the engine's state");
    for (epoch, file) in Checkpoints::open(&dir.join("checkpoints"))?.list()? {
        let read = file.and_then(|file| Ok((engine_checkpoint(&file)?, file)));
        let (state, file) = match read {
            Ok(read) => read,
            Err(error) => {
                wrong.get_or_insert(error);
                continue;
            }
        };
        if !EngineCheckpoint::files(&engine, [&state])
            .map_err(RuntimeError::engine("reading the engine's state"))?
            .is_some_and(|needed| needed.unchanging.iter().all(|path| engine.join(path).is_file()))
        {
            if newest.is_none() {
                let fact = format!("lacks files that the checkpoint of epoch {epoch} needs");
                let way_out = "start the pipeline, which goes on from another checkpoint, and take the backup again";
                let error = RuntimeError::State { path: engine, fact, way_out, kind: ErrorKind::Stop };
                return Err(Moved::On(Some(error.into())));
            }
            // An older one is for going back alone.
            continue;
        }
        let path = format!("checkpoints/{}.json", epoch.digits());
        files.push(scratch.pin(dir, &path)?.ok_or(Moved::On(None))?);
        newest.get_or_insert(file);
        kept.push(state);
    }
    let Some(newest) = newest else {
        let none = || RuntimeError::State {
            path: dir.to_owned(),
            fact: "holds no checkpoint yet: the first load is not complete".to_owned(),
            way_out: "take the backup when it is",
            kind: ErrorKind::Retry,
        };
        return Err(Moved::On(Some(Box::new(wrong.unwrap_or_else(none)))));
    };
    if let Some(error) = wrong {
        tracing::warn!(name: "checkpoint_unreadable", error = %chain(&error), "a checkpoint cannot be read and is not in the backup");
    }
    let needed = EngineCheckpoint::files(&engine, &kept).map_err(unreadable)?.ok_or(Moved::On(None))?;
    for path in needed.unchanging {
        files.push(scratch.pin(dir, &format!("engine/{path}"))?.ok_or(Moved::On(None))?);
    }
    for (path, content) in needed.made {
        files.push(scratch.make(&format!("engine/{path}"), &content)?);
    }
    Ok(newest)
}

/// The whole log, as it will be looked through in the scratch folder.
async fn pin_log(
    config: &PipelineConfig,
    state: &StateFile,
    scratch: &Scratch,
    known: &BTreeMap<String, Entry>,
    newest: &CheckpointFile,
) -> Result<Vec<PinnedFile>, Moved> {
    let folder = scratch.dir.join("log");
    fs::create_dir_all(&folder).map_err(RuntimeError::io("create", &folder))?;
    let local = match &config.log {
        LogLocation::StateDir => config.state_dir.join("log"),
        LogLocation::Local(folder) => folder.clone(),
        LogLocation::ObjectStore { store, prefix, url } => {
            let objects = Objects::new(store.clone(), prefix.clone(), url.clone());
            return pin_objects(&objects, scratch, known, newest).await;
        }
    };
    blocking(|| {
        let mut files = Vec::new();
        for (path, _) in InputLog::look(&local, state.log_id).map_err(moved_on)?.files() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let file = scratch.pin_at(&path, &format!("log/{name}"))?.ok_or(Moved::On(None))?;
            files.push(PinnedFile { path: name, ..file });
        }
        Ok(files)
    })
}

/// Records never change, so those are not read that an earlier backup has and the checkpoint does not need.
async fn pin_objects(
    objects: &Objects,
    scratch: &Scratch,
    known: &BTreeMap<String, Entry>,
    newest: &CheckpointFile,
) -> Result<Vec<PinnedFile>, Moved> {
    let mut files = Vec::new();
    for (epoch, object) in objects.list_objects(tidegate_core::Epoch::ZERO).await? {
        let name = object.location.filename().unwrap_or_default().to_owned();
        let modified = object.last_modified.timestamp_nanos_opt().unwrap_or_default();
        let is_known = |entry: &Entry| (entry.bytes, entry.modified) == (object.size, modified);
        let on_disk = match epoch < newest.header.epoch && known.get(&name).is_some_and(is_known) {
            true => None,
            false => {
                let record = objects.whole(epoch).await?.ok_or(Moved::On(None))?;
                Some(scratch.make(&format!("log/{name}"), &record)?.on_disk).flatten()
            }
        };
        files.push(PinnedFile { path: name, on_disk, bytes: object.size, modified });
    }
    Ok(files)
}

/// As much of the files as is complete.
fn whole(files: Vec<PinnedFile>, complete: Vec<(PathBuf, u64)>) -> Vec<PinnedFile> {
    let mut left = Vec::new();
    for mut file in files {
        let found = |path: &PathBuf| complete.iter().find(|(known, _)| known == path).map(|(_, bytes)| *bytes);
        match file.on_disk.as_ref().map(found) {
            // Nothing of it is complete.
            Some(None) => continue,
            Some(Some(bytes)) => file.bytes = bytes,
            None => {}
        }
        left.push(file);
    }
    left
}

fn pin_deltas(
    dir: &Path,
    scratch: &Scratch,
    hashes: &BTreeMap<tidegate_core::Epoch, tidegate_core::EpochHash>,
    files: &mut Vec<PinnedFile>,
) -> Result<(), Moved> {
    let mut deltas = Vec::new();
    for path in files_below(dir, "delta_log").map_err(moved_on)? {
        deltas.push(scratch.pin(dir, &path)?.ok_or(Moved::On(None))?);
    }
    let folder = scratch.dir.join("delta_log");
    if deltas.is_empty() {
        return Ok(());
    }
    let (records, complete) = DeltaLog::look(&folder).map_err(moved_on)?;
    for record in records {
        let ours = hashes.get(&record.header.epoch);
        if ours.is_some_and(|hash| *hash != record.header.hash) {
            let fact = format!("has another epoch {} than the input log", record.header.epoch);
            let way_out = "start the pipeline, which removes what never came to be, and take the backup again";
            let log = dir.join("delta_log").display().to_string();
            return Err(Moved::On(Some(Box::new(RuntimeError::LogForeign { log, fact, way_out }))));
        }
    }
    files.extend(whole(deltas, complete));
    Ok(())
}
