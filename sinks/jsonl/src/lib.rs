//! Changes as JSON, one object a line: for pipes, for programs that read a file as it grows, and for looking.
//!
//! [`mod@line`] says what the lines are, and [`tidegate_json`] how values are written. A file holds whole commits: its
//! last commit line says what it holds, and what stands behind that never counted and is cut off before the next
//! commit. A file is therefore exactly-once, as other sinks are.
//!
//! Standard output cannot be asked what it holds. Every process begins there with all rows of each view, and goes on
//! with the changes.

mod blocking;
mod commit;
pub mod config;
pub mod error;
mod file;
pub mod line;
mod output;
mod read;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tidegate_core::{
    Commit, CommitOutcome, Committed, ConnectorError, Epoch, EpochHeader, Micros, Removal, Sink, ViewCommit,
    ViewContent, ViewInfo, ViewName, ZSet, failpoint,
};

use crate::blocking::blocking;
use crate::commit::{Begin, Part};
pub use crate::config::JsonlConfig;
pub use crate::error::JsonlSinkError;
use crate::error::connector_error;
use crate::file::Locked;
use crate::line::Held;
use crate::output::{Output, Place, Stdout, Stream};

/// Where `committed_at` comes from.
pub type Clock = Arc<dyn Fn() -> Micros + Send + Sync>;

/// How often lines are written when the pipeline file does not say: whoever looks at them wants to see them come.
pub const COMMIT_INTERVAL: Duration = Duration::from_millis(200);

/// A sink that writes changes as lines of JSON.
pub struct JsonlSink {
    name: String,
    target: Target,
    clock: Clock,
    /// The views whose columns this process has written.
    described: BTreeSet<ViewName>,
}

enum Target {
    File(PathBuf),
    Stream {
        /// `None` while a commit uses it, and for good after one that was cancelled while it wrote.
        stream: Option<Stream>,
        /// What has been written to it.
        held: Held,
        /// The epoch of a commit that ended halfway.
        torn: Option<Epoch>,
    },
}

impl JsonlSink {
    /// A sink of this name under `[sinks.…]`. Touches nothing yet. Standard output goes to one sink alone.
    pub fn new(name: impl Into<String>, config: &JsonlConfig, clock: Clock) -> Result<Self, ConnectorError> {
        let name = name.into();
        if !config.is_stdout() {
            let target = Target::File(config.path.clone());
            return Ok(JsonlSink { name, target, clock, described: BTreeSet::new() });
        }
        match Stdout::take() {
            Ok(stdout) => Ok(Self::to_stream(name, Box::new(stdout), clock)),
            Err(error) => Err(connector_error(&name, error)),
        }
    }

    /// A sink that writes as it would to standard output.
    pub fn to_stream(name: impl Into<String>, stream: Box<dyn Write + Send>, clock: Clock) -> Self {
        let target = Target::Stream { stream: Some(stream), held: Held::new(), torn: None };
        JsonlSink { name: name.into(), target, clock, described: BTreeSet::new() }
    }

    async fn held(&mut self) -> Result<Held, JsonlSinkError> {
        match &self.target {
            Target::Stream { held, .. } => Ok(held.clone()),
            Target::File(path) => {
                let path = path.clone();
                Ok(blocking(move || file::state(&path)).await?.held)
            }
        }
    }

    async fn commit_range(&mut self, commit: Commit) -> Result<CommitOutcome, JsonlSinkError> {
        let at = (self.clock)();
        let Commit { after, header, views } = commit;
        let (mut output, mut held) = match &mut self.target {
            Target::File(path) => {
                let path = path.clone();
                let locked = blocking(move || Locked::open(&path)).await?;
                let held = locked.state.held.clone();
                (Output::new(Place::File(locked)), held)
            }
            Target::Stream { stream, held, torn } => {
                let mut output = Output::new(Place::Stream(stream.take().ok_or(JsonlSinkError::StdoutClosed)?));
                if let Some(epoch) = torn.take() {
                    // The last line may be cut short.
                    output.text.push('\n');
                    line::rollback(epoch, &mut output.text);
                }
                (output, held.clone())
            }
        };
        if let Some((view, found)) = conflict(&held, &views, after) {
            self.give_back(output, None);
            return Ok(CommitOutcome::Conflict { view, found });
        }
        let names: Vec<ViewName> = views.iter().map(|part| part.view.name.clone()).collect();
        let parts = views.into_iter().map(|part| self.part(part, &held)).collect();
        held.retain(|view, _| !names.contains(view));
        let written = write(&mut output, parts, after, &header, at, &names, &held).await;
        match written {
            Ok(rows) => {
                self.described.extend(names.iter().cloned());
                self.give_back(output, None);
                if let Target::Stream { held, .. } = &mut self.target {
                    let committed = Committed { epoch: header.epoch, hash: header.hash };
                    held.extend(names.into_iter().map(|view| (view, committed)));
                }
                Ok(CommitOutcome::Committed { rows })
            }
            Err(error) => {
                self.give_back(output, Some(header.epoch));
                Err(error)
            }
        }
    }

    fn part(&self, part: ViewCommit, held: &Held) -> Part {
        let ViewCommit { view, content } = part;
        let begin = match content {
            ViewContent::Replace(_) => Begin::Anew,
            ViewContent::Changes(_) if !held.contains_key(&view.name) => Begin::Anew,
            ViewContent::Changes(_) if self.described.contains(&view.name) => Begin::Goes,
            ViewContent::Changes(_) => Begin::Described,
        };
        Part { view, content, begin }
    }

    /// Takes a stream back for the next commit. A file is opened anew for each, and cut back then.
    fn give_back(&mut self, output: Output, torn_by: Option<Epoch>) {
        if let Target::Stream { stream, torn, .. } = &mut self.target {
            *torn = torn_by.or(*torn);
            if let Some(Place::Stream(place)) = output.into_place() {
                *stream = Some(place);
            }
        }
    }
}

/// Writes a commit with its commit line.
async fn write(
    output: &mut Output,
    parts: Vec<Part>,
    after: Epoch,
    header: &EpochHeader,
    at: Micros,
    views: &[ViewName],
    others: &Held,
) -> Result<u64, JsonlSinkError> {
    output.begin().await?;
    let rows = commit::write(output, parts, after, header).await?;
    // The lines are durable before the one that makes them count.
    output.settle().await?;
    failpoint::hit("sink.jsonl.before_commit");
    line::commit(header, at, views, others, &mut output.text);
    output.settle().await?;
    failpoint::hit("sink.jsonl.committed");
    Ok(rows)
}

/// Which view stands elsewhere than the range begins.
fn conflict(held: &Held, views: &[ViewCommit], after: Epoch) -> Option<(ViewName, Option<Committed>)> {
    let mut changed = views.iter().filter(|part| matches!(part.content, ViewContent::Changes(_)));
    changed.find_map(|part| {
        let found = held.get(&part.view.name).copied();
        let stands_elsewhere = found.map_or(Epoch::ZERO, |found| found.epoch) != after;
        stands_elsewhere.then(|| (part.view.name.clone(), found))
    })
}

#[async_trait]
impl Sink for JsonlSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn default_commit_interval(&self) -> Duration {
        COMMIT_INTERVAL
    }

    async fn open(&mut self, views: &[ViewInfo]) -> Result<BTreeMap<ViewName, Option<Committed>>, ConnectorError> {
        let held = self.held().await.map_err(|error| connector_error(&self.name, error))?;
        Ok(views.iter().map(|view| (view.name.clone(), held.get(&view.name).copied())).collect())
    }

    async fn commit(&mut self, commit: Commit) -> Result<CommitOutcome, ConnectorError> {
        self.commit_range(commit).await.map_err(|error| connector_error(&self.name, error))
    }

    async fn read(
        &mut self,
        view: &ViewInfo,
    ) -> Result<BoxStream<'static, Result<ZSet, ConnectorError>>, ConnectorError> {
        match &self.target {
            Target::File(path) => Ok(read::rows(self.name.clone(), path.clone(), view.clone())),
            // What has gone through a pipe cannot be read back.
            Target::Stream { .. } => Ok(stream::empty().boxed()),
        }
    }

    async fn remove(&mut self, view: &ViewName) -> Result<Removal, ConnectorError> {
        let held = self.held().await.map_err(|error| connector_error(&self.name, error))?;
        if !held.contains_key(view) {
            return Ok(Removal::Nothing);
        }
        Ok(Removal::Kept("lines that were written stay, among those of the other views".to_owned()))
    }
}
