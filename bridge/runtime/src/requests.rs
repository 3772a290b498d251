//! What other tasks ask of a pipeline that runs. It answers between two rounds, so that what it says is of one epoch.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use tidegate_core::{Epoch, ViewName, ZSet};
use tokio::sync::{mpsc, oneshot};

use crate::beside::{Groundwork, NotBeside};
use crate::pipeline::Pipeline;
use crate::{PipelineConfig, RuntimeError, blocking};

/// Requests that wait for their answers; further ones are refused.
const WAITING_MAX: usize = 16;

/// Requests that are answered before the loop goes on.
const ANSWERED_AT_ONCE: usize = 16;

/// Asks a pipeline that runs.
#[derive(Debug, Clone)]
pub struct PipelineHandle(mpsc::Sender<Request>);

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// It has ended.
    #[error("the pipeline has ended, or is about to be opened again: ask again")]
    Gone,
    /// Others wait already.
    #[error("the pipeline is busy, and others wait for it already: ask again")]
    Busy,
    /// It could not be answered.
    #[error("{0}")]
    Failed(String),
}

impl<T> From<mpsc::error::TrySendError<T>> for Unanswered {
    fn from(error: mpsc::error::TrySendError<T>) -> Self {
        match error {
            mpsc::error::TrySendError::Full(_) => Unanswered::Busy,
            mpsc::error::TrySendError::Closed(_) => Unanswered::Gone,
        }
    }
}

/// Some rows of a view.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The epoch that they are of.
    pub epoch: Epoch,
    /// All rows of the view, counting copies.
    pub rows_total: u64,
    /// The first rows in the order in which the engine keeps them, with their copies as weights.
    pub rows: ZSet,
}

/// Rows of a view, if there is such a view, or why they cannot be read.
type Sampled = Result<Option<Sample>, String>;

pub(crate) enum Request {
    Checkpoint(oneshot::Sender<Epoch>),
    Sample { view: ViewName, rows_max: usize, answer: oneshot::Sender<Sampled> },
    Groundwork { config: Box<PipelineConfig>, answer: oneshot::Sender<Result<Groundwork, NotBeside>> },
}

/// The end of the line at which a pipeline listens.
#[derive(Default)]
pub(crate) struct Requests {
    receiver: Option<mpsc::Receiver<Request>>,
    arrived: VecDeque<Request>,
}

impl PipelineHandle {
    /// Has a checkpoint taken; answers the epoch that it is of, 0 where nothing was loaded yet.
    pub async fn checkpoint(&self) -> Result<Epoch, Unanswered> {
        let (sender, answer) = oneshot::channel();
        self.0.try_send(Request::Checkpoint(sender))?;
        answer.await.map_err(|_| Unanswered::Gone)
    }

    /// What is needed to build the views of another configuration while this pipeline goes on, or why that cannot be. The
    /// pipeline takes a checkpoint for it.
    pub async fn groundwork(&self, config: PipelineConfig) -> Result<Result<Groundwork, NotBeside>, Unanswered> {
        let (sender, answer) = oneshot::channel();
        self.0.try_send(Request::Groundwork { config: Box::new(config), answer: sender })?;
        answer.await.map_err(|_| Unanswered::Gone)
    }

    /// Up to `rows_max` rows of a view; `None` for one that the program does not have.
    pub async fn sample(&self, view: ViewName, rows_max: usize) -> Result<Option<Sample>, Unanswered> {
        let (sender, answer) = oneshot::channel();
        self.0.try_send(Request::Sample { view, rows_max, answer: sender })?;
        answer.await.map_err(|_| Unanswered::Gone)?.map_err(Unanswered::Failed)
    }
}

impl Requests {
    /// Ready when somebody asks.
    pub fn poll_arrived(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(receiver) = &mut self.receiver else { return Poll::Pending };
        if self.arrived.is_empty()
            && let Poll::Ready(Some(request)) = receiver.poll_recv(cx)
        {
            self.arrived.push_back(request);
        }
        if self.arrived.is_empty() { Poll::Pending } else { Poll::Ready(()) }
    }

    fn next(&mut self) -> Option<Request> {
        self.arrived.pop_front().or_else(|| self.receiver.as_mut()?.try_recv().ok())
    }
}

impl Pipeline {
    /// A handle to ask this pipeline by while it runs. A new one takes the place of the one before.
    pub fn handle(&mut self) -> PipelineHandle {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        self.requests = Requests { receiver: Some(receiver), arrived: VecDeque::new() };
        PipelineHandle(sender)
    }

    /// Answers what was asked. Whoever does not wait for the answer any more gets none.
    pub(crate) async fn answer_requests(&mut self) -> Result<(), RuntimeError> {
        for _ in 0..ANSWERED_AT_ONCE {
            let Some(request) = self.requests.next() else { break };
            match request {
                Request::Checkpoint(answer) => {
                    if self.saved.epoch != Some(self.epoch()) {
                        self.save_checkpoint().await?;
                        self.trim_log().await?;
                    }
                    let _ = answer.send(self.epoch());
                }
                Request::Groundwork { config, answer } => {
                    let laid = self.lay_groundwork(&config).await?;
                    let _ = answer.send(laid);
                }
                Request::Sample { answer, .. } if answer.is_closed() => {}
                Request::Sample { view, rows_max, answer } => {
                    let sample = self.sample(&view, rows_max);
                    let _ = answer.send(sample.map_err(|error| tidegate_core::chain(&error)));
                }
            }
        }
        Ok(())
    }

    fn sample(&self, view: &ViewName, rows_max: usize) -> Result<Option<Sample>, RuntimeError> {
        let has_view = |program: &tidegate_engine::Program| program.view(view).is_some();
        if !self.engine.program().is_some_and(has_view) {
            return Ok(None);
        }
        let rows = blocking(|| self.engine.sample(view, rows_max));
        let (rows_total, rows) = rows.map_err(RuntimeError::engine(format!("reading view {view}")))?;
        Ok(Some(Sample { epoch: self.epoch(), rows_total, rows }))
    }
}
