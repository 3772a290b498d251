//! What a sink is asked to do, beside the loop: a job has the connector while it runs and gives it back.

use std::collections::BTreeMap;
use std::time::Instant;

use tidegate_core::{Commit, CommitOutcome, Committed, ConnectorError, EpochHeader, Sink, ViewInfo, ViewName};
use tokio::sync::oneshot;

use crate::observer::Stretch;

/// What a sink is asked to do.
pub(crate) enum Job {
    /// To say what it holds.
    Open(Vec<ViewInfo>),
    /// To take these, one after the other.
    Commit(Vec<Commit>),
    /// To keep its target in order, until it is done or the sender is gone.
    Maintain(oneshot::Receiver<()>),
}

/// A job that has ended, with the connector.
pub(crate) struct Done {
    pub sink: Box<dyn Sink>,
    pub report: Report,
    pub time: Stretch,
}

/// How a job ended.
pub(crate) enum Report {
    Opened(Result<BTreeMap<ViewName, Option<Committed>>, ConnectorError>),
    Committed {
        /// What was committed before it ended.
        views: Vec<(ViewName, EpochHeader)>,
        end: Result<(), Setback>,
    },
    Maintained(Result<(), ConnectorError>),
}

/// Why commits ended early.
pub(crate) enum Setback {
    /// The target holds another epoch of this view than it was known to.
    Conflict(ViewName),
    Failed(ConnectorError),
}

impl Job {
    /// Does it.
    pub async fn run(self, mut sink: Box<dyn Sink>) -> Done {
        let started = Instant::now();
        let report = match self {
            Job::Open(views) => Report::Opened(sink.open(&views).await),
            Job::Commit(commits) => {
                let mut views = Vec::new();
                let end = commit(&mut *sink, commits, &mut views).await;
                Report::Committed { views, end }
            }
            Job::Maintain(cancelled) => Report::Maintained(tokio::select! {
                maintained = sink.maintain() => maintained,
                _ = cancelled => Ok(()),
            }),
        };
        Done { sink, report, time: Stretch::since(started) }
    }
}

async fn commit(
    sink: &mut dyn Sink,
    commits: Vec<Commit>,
    done: &mut Vec<(ViewName, EpochHeader)>,
) -> Result<(), Setback> {
    for commit in commits {
        let header = commit.header.clone();
        let views: Vec<ViewName> = commit.views.iter().map(|view| view.view.name.clone()).collect();
        match sink.commit(commit).await.map_err(Setback::Failed)? {
            CommitOutcome::Committed { .. } => done.extend(views.into_iter().map(|view| (view, header.clone()))),
            CommitOutcome::Conflict { view, .. } => return Err(Setback::Conflict(view)),
        }
    }
    Ok(())
}
