//! The one error of this crate: what stopped a pipeline, and what the caller can do about it.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidegate_core::{BindError, ConnectorError, Epoch, ErrorKind, SourceId, ViewName, chain};
use tidegate_engine::EngineError;

use crate::time_map::Unresolved;

/// What to do about a log that is not what was written.
const MOVE_AWAY: &str = "restore the file from a backup, or move the state folder and the log away, run again so that the views are \
                         loaded afresh, and bring each sink in line with 'tidegate resync PIPELINE SINK'";

/// What stopped a pipeline. `Display` gives the object, the fact and the way out; the cause is
/// in `source()`.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// A file of the state folder or of a local log could not be read or written.
    #[error("cannot {action} {path}: check that the folder exists and that this user may write to it")]
    Io {
        /// A verb phrase: "read", "append to".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file system is full. What was begun is undone or is cut off at the next start.
    #[error("the disk is full: cannot {action} {path}; free some space and run again, nothing is lost")]
    DiskFull {
        /// A verb phrase.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The log's object store refused or failed.
    #[error("cannot {action} {url}")]
    ObjectStore {
        /// A verb phrase.
        action: &'static str,
        /// The object.
        url: String,
        /// Whether trying again may help.
        kind: ErrorKind,
        /// What the store says.
        source: object_store::Error,
    },
    /// Another process works on the state folder.
    #[error(
        "state folder {dir} is in use by process {pid}: stop that process, or give this pipeline its own state_dir"
    )]
    Locked {
        /// The folder.
        dir: PathBuf,
        /// The other process, as far as it is known.
        pid: String,
    },
    /// The folder holds the state of another pipeline.
    #[error(
        "state folder {dir} belongs to pipeline \"{found}\", not to \"{expected}\": give this pipeline its own \
         state_dir, or change its name back"
    )]
    OtherPipeline {
        /// The folder.
        dir: PathBuf,
        /// Whose state it is.
        found: String,
        /// Who asked.
        expected: String,
    },
    /// A file of the state folder that this version does not read.
    #[error("{path} {fact}: {way_out}")]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fact: String,
        /// What to do.
        way_out: &'static str,
        /// What the caller should do.
        kind: ErrorKind,
    },
    /// A record of a log is damaged. Nothing was changed.
    #[error("{file} is damaged at byte {offset}: {fact}; {}", MOVE_AWAY)]
    LogDamaged {
        /// The file or object.
        file: String,
        /// Where the damaged record begins or the damage was found.
        offset: u64,
        /// What is wrong there.
        fact: String,
    },
    /// The log holds records that do not belong to this state folder.
    #[error("{log} {fact}: {way_out}")]
    LogForeign {
        /// The folder or URL.
        log: String,
        /// What was found.
        fact: String,
        /// What to do.
        way_out: &'static str,
    },
    /// A view or a pipeline that cannot be planned; every fault that was found.
    #[error("{}", .0.join("\n"))]
    Plan(Vec<String>),
    /// A view whose tables changed so that its SQL no longer binds.
    #[error(
        "{reason}, and the views can no longer be maintained: {}; change the SQL of these views and run again",
        .faults.join("; ")
    )]
    NoLongerBinds {
        /// What changed at the source.
        reason: String,
        /// The binder's and the planner's messages.
        faults: Vec<String>,
    },
    /// A view that DuckDB refused.
    #[error("view {}", .0.view)]
    Bind(#[source] BindError),
    /// The changes after a position are gone and the source's policy is to stop.
    #[error(
        "source {source_id}: {reason}, so the changes after it cannot be known; {way_out} (downstream sees only real \
         differences), and run again"
    )]
    Expired {
        /// The source.
        source_id: SourceId,
        /// What is gone.
        reason: String,
        /// What to do.
        way_out: String,
    },
    /// A source failed.
    #[error("source {source_id}")]
    Source {
        /// The source.
        source_id: SourceId,
        /// What it says.
        #[source]
        error: ConnectorError,
    },
    /// A sink failed in a way that trying again does not help.
    #[error("sink {sink}")]
    Sink {
        /// The sink.
        sink: String,
        /// What it says.
        #[source]
        error: ConnectorError,
    },
    /// Some sinks could not be brought up to date; everything else is done and saved.
    #[error("{} behind; what they lack is kept and is sent by the next run", name_sinks(.0))]
    SinksBehind(Vec<SinkBehind>),
    /// Some sinks are detached; everything else is done and saved.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    SinksDetached(Vec<SinkDetached>),
    /// A target that does not continue our history.
    #[error(
        "sink {sink} holds {found} of view {view}, but {ours}: restore the state folder that wrote it, or run 'tidegate \
         resync PIPELINE {sink}', which compares it with the views and writes the difference"
    )]
    SinkMismatch {
        /// The sink.
        sink: String,
        /// The view.
        view: ViewName,
        /// What the sink holds.
        found: String,
        /// What our history has there.
        ours: String,
    },
    /// A target that went on reporting conflicts.
    #[error(
        "sink {sink} changed view {view} while this pipeline was writing it: let only one pipeline write to the target, \
         then run again"
    )]
    SinkContended {
        /// The sink.
        sink: String,
        /// The view.
        view: ViewName,
    },
    /// A name that is not a source of the pipeline, or not a table that its views read.
    #[error("there is no {name}: {known}")]
    UnknownSource {
        /// What was asked for: "source app".
        name: String,
        /// What there is, as a clause.
        known: String,
    },
    /// A name that is not a sink of the pipeline.
    #[error("there is no sink {name}: the sinks of this pipeline are {known}")]
    UnknownSink {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A target of a rewind that is not in the log any more, or never was.
    #[error(
        "cannot go back to {target}, which is epoch {epoch}: the log reaches {reach}; log_retention says how long it is kept"
    )]
    OutOfReach {
        /// What was asked for.
        target: String,
        /// The epoch that this means.
        epoch: Epoch,
        /// How far back it is possible.
        reach: String,
    },
    /// A moment that no epoch is known of.
    #[error(transparent)]
    Unresolved(Box<Unresolved>),
    /// A rewind that cannot be done.
    #[error("pipeline {pipeline} {fact}")]
    NoPast {
        /// The pipeline.
        pipeline: String,
        /// Why, and the way out.
        fact: &'static str,
    },
    /// A past that cannot be gone through again from some epoch on. Everything before it is done and saved.
    #[error("after the rewind, epoch {epoch} of the past cannot be gone through again: {fact}; {way_out}")]
    Past {
        /// The epoch of the past.
        epoch: Epoch,
        /// Why.
        fact: String,
        /// What to do.
        way_out: &'static str,
    },
    /// The engine failed.
    #[error("{action}")]
    Engine {
        /// What it was doing, with the epoch.
        action: String,
        /// What it says.
        #[source]
        error: EngineError,
    },
    /// The run was asked to stop in the middle of a load; nothing was published.
    #[error("stopped before the load was complete: the next run begins it again")]
    StoppedWhileLoading,
    /// The run was asked to stop before a source had come as far as it was waited for.
    #[error("stopped before source {source_id} came to the frontier that was waited for: run it again to wait on")]
    StoppedWhileWaiting {
        /// The source.
        source_id: SourceId,
    },
    /// A broken invariant.
    #[error("internal error: {0}; this is a bug of Tidegate, please report it")]
    Bug(String),
}

/// A sink that is behind, and why.
#[derive(Debug)]
pub struct SinkBehind {
    /// Its name.
    pub sink: String,
    /// The last epoch it is known to hold.
    pub epoch: Option<Epoch>,
    /// The last error it gave.
    pub error: ConnectorError,
}

/// A sink that gets nothing any more, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "sink {sink} is detached ({reason}) and what it lacks is not kept: mend it and run 'tidegate resync PIPELINE {sink}', which \
     compares it with the views and writes the difference"
)]
pub struct SinkDetached {
    /// Its name.
    pub sink: String,
    /// What it said, or how far it was behind.
    pub reason: String,
}

/// What mends what stopped a pipeline. Whether it is what is wanted is for a person to decide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Repair {
    /// `tidegate resnapshot PIPELINE SOURCE`.
    Resnapshot(String),
    /// `tidegate resync PIPELINE SINK`.
    Resync(String),
    /// What no command does: a sentence for a person, without a full stop.
    ByHand(String),
}

fn name_sinks(behind: &[SinkBehind]) -> String {
    let described: Vec<String> = behind
        .iter()
        .map(|sink| {
            let at = match sink.epoch {
                Some(epoch) => format!("at epoch {epoch}"),
                None => "at an unknown epoch".to_owned(),
            };
            format!("{} ({at}: {})", sink.sink, chain(&sink.error))
        })
        .collect();
    let verb = if described.len() == 1 { "sink" } else { "sinks" };
    format!("{verb} {} {}", described.join(", "), if described.len() == 1 { "is" } else { "are" })
}

impl RuntimeError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            RuntimeError::Io { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied
                | io::ErrorKind::NotFound
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Reconfigure,
                _ => ErrorKind::Retry,
            },
            RuntimeError::DiskFull { .. }
            | RuntimeError::Locked { .. }
            | RuntimeError::SinksBehind(_)
            | RuntimeError::SinkContended { .. }
            | RuntimeError::StoppedWhileLoading
            | RuntimeError::StoppedWhileWaiting { .. } => ErrorKind::Retry,
            RuntimeError::OtherPipeline { .. }
            | RuntimeError::Plan(_)
            | RuntimeError::Bind(_)
            | RuntimeError::UnknownSource { .. }
            | RuntimeError::UnknownSink { .. }
            | RuntimeError::OutOfReach { .. }
            | RuntimeError::NoPast { .. } => ErrorKind::Reconfigure,
            RuntimeError::ObjectStore { kind, .. } | RuntimeError::State { kind, .. } => *kind,
            RuntimeError::LogDamaged { .. }
            | RuntimeError::LogForeign { .. }
            | RuntimeError::NoLongerBinds { .. }
            | RuntimeError::Expired { .. }
            | RuntimeError::SinksDetached(_)
            | RuntimeError::Past { .. }
            | RuntimeError::SinkMismatch { .. } => ErrorKind::Stop,
            RuntimeError::Source { error, .. } | RuntimeError::Sink { error, .. } => error.kind(),
            RuntimeError::Engine { error, .. } => error.kind(),
            RuntimeError::Unresolved(error) => match &**error {
                Unresolved::Failed(error) => error.kind(),
                _ => ErrorKind::Reconfigure,
            },
            RuntimeError::Bug(_) => ErrorKind::Bug,
        }
    }

    /// What mends it, in this order, where that is known.
    pub fn repairs(&self) -> Vec<Repair> {
        let by_hand = |words: String| vec![Repair::ByHand(words)];
        match self {
            RuntimeError::Expired { source_id, .. } => vec![Repair::Resnapshot(source_id.name.clone())],
            RuntimeError::SinkMismatch { sink, .. } => vec![Repair::Resync(sink.clone())],
            RuntimeError::SinksDetached(sinks) => {
                sinks.iter().map(|detached| Repair::Resync(detached.sink.clone())).collect()
            }
            RuntimeError::DiskFull { path, .. } => {
                by_hand(format!("free some space on the disk of {}, and run again", path.display()))
            }
            RuntimeError::LogDamaged { .. } => by_hand(MOVE_AWAY.to_owned()),
            RuntimeError::LogForeign { way_out, .. }
            | RuntimeError::State { way_out, .. }
            | RuntimeError::Past { way_out, .. } => by_hand((*way_out).to_owned()),
            RuntimeError::Source { source_id, error } if error.kind() == ErrorKind::Retry => by_hand(format!(
                "see to it that source {} answers, and run again: it is read on from where it was",
                source_id.name
            )),
            RuntimeError::SinksBehind(behind) => {
                let names: Vec<_> = behind.iter().map(|behind| behind.sink.as_str()).collect();
                let verb = if names.len() == 1 { "takes" } else { "take" };
                by_hand(format!(
                    "see to it that {} {verb} commits again, and run again: what is lacking is kept",
                    names.join(", ")
                ))
            }
            RuntimeError::Engine { error, .. } if error.is_disk_full() => {
                by_hand("free some space on the disk of the state folder, and run again".to_owned())
            }
            error if error.kind() == ErrorKind::Retry => {
                by_hand("mend what the message names, and run again: nothing is lost".to_owned())
            }
            _ => Vec::new(),
        }
    }

    /// The state folder that a log belongs to is lost.
    pub(crate) fn log_without_state(log: &str, state_dir: &Path) -> RuntimeError {
        RuntimeError::LogForeign {
            log: log.to_owned(),
            fact: format!("holds records, but the state that belongs to them is gone from {}", state_dir.display()),
            way_out: "restore that folder, or move the log away: the views are then loaded afresh, and 'tidegate \
                      resync PIPELINE SINK' brings each sink in line",
        }
    }

    /// An I/O error at a path; a full disk is told apart.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RuntimeError {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                RuntimeError::DiskFull { action, path, source }
            }
            _ => RuntimeError::Io { action, path, source },
        }
    }

    pub(crate) fn source(source_id: &SourceId) -> impl FnOnce(ConnectorError) -> RuntimeError {
        let source_id = source_id.clone();
        move |error| RuntimeError::Source { source_id, error }
    }

    /// The engine failed on an epoch that is in the log.
    pub(crate) fn applying(epoch: Epoch) -> impl FnOnce(EngineError) -> RuntimeError {
        move |error| {
            let way_out = match error.kind() {
                ErrorKind::Stop => {
                    "; change the SQL of the view so that this cannot happen and run again: it is then built anew from \
                     the same frontier"
                }
                _ => "",
            };
            RuntimeError::Engine { action: format!("epoch {epoch} cannot be applied{way_out}"), error }
        }
    }

    pub(crate) fn engine(action: impl Into<String>) -> impl FnOnce(EngineError) -> RuntimeError {
        let action = action.into();
        move |error| RuntimeError::Engine { action, error }
    }
}
