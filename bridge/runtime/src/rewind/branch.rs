//! A copy of a pipeline at a point of its past, to look around in: it reads the log and nothing else, and writes outputs of its
//! own. The original stays as it is.
//!
//! The state folder of a branch holds the engine at the point, and in `past` the records of the original's log from there on.
//! Its runs go through them as after a rewind. Then it has no more to read.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tidegate_core::{
    ConnectorError, Epoch, ErrorKind, Frontier, OnExpired, Polled, Position, Snapshot, Snapshots, Source, SourceId,
    TableName, TableSchema, VirtualColumn, failpoint,
};
use uuid::Uuid;

use super::RewindOptions;
use crate::checkpoint::Checkpoints;
use crate::log::header::{Origin, RecordHeader, RecordKind};
use crate::log::staging::Staging;
use crate::log::{InputLog, LogLocation, LogRecord};
use crate::observer::Observer;
use crate::pipeline::Change;
use crate::state::StateFile;
use crate::time_map::Moment;
use crate::{Connectors, PipelineConfig, RuntimeError, SourceSlot, blocking, durable, recovery};

/// The folder with the records of the original, in the state folder of a branch.
const PAST: &str = "past";

/// What a state folder is a branch of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BranchOf {
    /// The original pipeline.
    pub pipeline: String,
    /// Its log, whose records the branch goes through.
    pub log_id: Uuid,
    /// The last epoch of the original when the branch was made.
    pub until: Epoch,
    /// Where the sources stood then.
    pub frontier: Frontier,
}

/// What came of branching.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BranchSummary {
    /// The epoch that the branch begins at.
    pub epoch: Epoch,
    /// Where the sources stood.
    pub frontier: Frontier,
    /// Epochs of the log that its runs go through.
    pub replays: usize,
}

/// Makes a branch of a pipeline at `target` in a state folder of its own, which is not there yet. The branch has the name
/// and the state folder that `branch` says.
pub async fn branch(
    config: PipelineConfig,
    connectors: Connectors,
    target: &Moment,
    name: &str,
    state_dir: &Path,
    observer: Arc<dyn Observer>,
) -> Result<BranchSummary, RuntimeError> {
    if fs::exists(state_dir).map_err(RuntimeError::io("look at", state_dir))? {
        return Err(RuntimeError::State {
            path: state_dir.to_owned(),
            fact: "is there already".to_owned(),
            way_out: "give the branch a folder of its own",
            kind: ErrorKind::Reconfigure,
        });
    }
    // Nothing is sent anywhere: the sinks are not even opened.
    let connectors = Connectors { sinks: Vec::new(), ..connectors };
    let mut pipeline = recovery::open(config, connectors, observer, None, None).await?;
    let records = pipeline.log.records(Epoch::ZERO).await?;
    let headers: Vec<&RecordHeader> = records.iter().map(|record| &record.header).collect();
    let found = pipeline.find_target(target, &headers).await?;
    let Some(here) = pipeline.last.clone() else { return Err(RuntimeError::Bug("nothing was loaded".to_owned())) };
    let past = pipeline.past_after(&found, &here, &headers, &RewindOptions::default())?;
    pipeline.state_at(found.header.epoch, &records).await?;
    failpoint::hit("branch.engine_back");
    let is_later_load = |record: &&RecordHeader| record.header.epoch > found.header.epoch && record.origin.is_load();
    if headers.iter().any(is_later_load) || !matches!(pipeline.change, Change::None) {
        pipeline.change = Change::Later;
    }

    // Made under another name: a branch that was not made completely is none.
    let unfinished = PathBuf::from(format!("{}.unfinished", state_dir.display()));
    if fs::exists(&unfinished).map_err(RuntimeError::io("look at", &unfinished))? {
        fs::remove_dir_all(&unfinished).map_err(RuntimeError::io("remove", &unfinished))?;
    }
    durable::create_dir(&unfinished)?;
    let saved = blocking(|| {
        pipeline.engine.checkpoint().and_then(|saved| {
            let engine = unfinished.join("engine");
            tidegate_engine::Engine::copy(&pipeline.config.state_dir.join("engine"), &engine, &saved)
        })
    });
    let saved = saved.map_err(RuntimeError::engine("copying the state"))?;
    let last_frontier = records.last().map(|record| record.header.header.frontier.clone()).unwrap_or_default();
    let of = BranchOf {
        pipeline: pipeline.config.name.clone(),
        log_id: pipeline.log.id(),
        until: here.header.epoch,
        frontier: last_frontier,
    };
    let mut state = StateFile::new(name, pipeline.state.workers);
    state.branch = Some(of.clone());
    if let Some((replay, _)) = &past {
        copy_records(&pipeline.log, &records, replay.done, &unfinished, of.log_id).await?;
    }
    failpoint::hit("branch.past_copied");
    let origin = Origin {
        rewound_to: Some(found.header.epoch),
        replay: past.as_ref().map(|(replay, _)| replay.clone()),
        clock: Some(found.clock()),
        ..Origin::plain(RecordKind::Rewind, found.origin.commit_times.clone())
    };
    let file = pipeline.checkpoint_file(&found.header, found.previous, origin, saved, state.log_id)?;
    Checkpoints::open(&unfinished.join("checkpoints"))?.publish(&file)?;
    state.write(&unfinished)?;
    failpoint::hit("branch.state_written");
    fs::rename(&unfinished, state_dir).map_err(RuntimeError::io("rename", &unfinished))?;
    durable::sync_dir(state_dir.parent().unwrap_or(state_dir))?;
    let replays = past.map_or(0, |(_, epochs)| epochs);
    Ok(BranchSummary { epoch: found.header.epoch, frontier: found.header.frontier, replays })
}

/// Copies the records from an epoch on.
async fn copy_records(
    log: &InputLog,
    records: &[LogRecord],
    from: Epoch,
    state_dir: &Path,
    log_id: Uuid,
) -> Result<(), RuntimeError> {
    let mut copy = InputLog::open(&LogLocation::Local(state_dir.join(PAST)), state_dir, log_id)?;
    for record in records.iter().filter(|record| record.header.header.epoch >= from) {
        let mut staging = Staging::new(state_dir, 64 << 20);
        if !record.header.sections.is_empty() {
            let body = log.body(record).await?;
            blocking(|| body.drain(&record.header.sections, |table, event| staging.push(table, event)))?;
        }
        let mut staged = staging.finish();
        let header = RecordHeader { sections: staged.sections.clone(), ..record.header.clone() };
        copy.append(&header, Some(&mut staged)).await?;
    }
    Ok(())
}

impl BranchOf {
    /// The records that the branch goes through.
    pub(crate) fn past(&self, state_dir: &Path) -> Result<InputLog, RuntimeError> {
        InputLog::open(&LogLocation::Local(state_dir.join(PAST)), state_dir, self.log_id)
    }

    /// A source that a branch does not read on.
    pub(crate) fn detached(&self, slot: SourceSlot) -> SourceSlot {
        let end = self.frontier.get(slot.source.id()).copied();
        SourceSlot { source: Box::new(Detached { inner: slot.source, end }), wake: None, ..slot }
    }
}

/// A source of a branch: what it says of tables is true, but nothing happens there any more.
struct Detached {
    inner: Box<dyn Source>,
    end: Option<Position>,
}

#[async_trait]
impl Source for Detached {
    fn id(&self) -> &SourceId {
        self.inner.id()
    }

    fn on_expired(&self) -> OnExpired {
        OnExpired::Stop
    }

    fn snapshots(&self) -> Snapshots {
        self.inner.snapshots()
    }

    fn virtual_columns(&self) -> Vec<VirtualColumn> {
        self.inner.virtual_columns()
    }

    async fn head(&mut self) -> Result<Position, ConnectorError> {
        self.end.ok_or_else(|| self.unread())
    }

    async fn list(&mut self, at: Option<&Position>) -> Result<Vec<TableName>, ConnectorError> {
        self.inner.list(at).await
    }

    async fn tables(
        &mut self,
        wanted: &[TableName],
        at: Option<&Position>,
    ) -> Result<Vec<TableSchema>, ConnectorError> {
        self.inner.tables(wanted, at).await
    }

    async fn snapshot(&mut self, tables: &[TableSchema], at: Option<&Position>) -> Result<Snapshot, ConnectorError> {
        match self.inner.snapshots() {
            Snapshots::AnyPosition => self.inner.snapshot(tables, at).await,
            Snapshots::PresentOnly => Err(self.unread()),
        }
    }

    async fn poll(
        &mut self,
        _tables: &[TableSchema],
        _from: &Position,
        _until: Option<&Position>,
        _rows_max: u64,
    ) -> Result<Polled, ConnectorError> {
        Ok(Polled::Idle)
    }

    async fn acknowledge(&mut self, _position: &Position) -> Result<(), ConnectorError> {
        Ok(())
    }
}

impl Detached {
    fn unread(&self) -> ConnectorError {
        let fact = "a branch reads the log alone, which does not have this table as a whole: use tables that the views of the \
                    original read at that point";
        ConnectorError::new(ErrorKind::Reconfigure, fact)
    }
}
