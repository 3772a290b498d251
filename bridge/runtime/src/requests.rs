//! What other tasks ask of a pipeline that runs. It answers between two rounds, so that what it says is of one epoch.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use tidegate_core::{Epoch, ViewName, ZSet};
use tokio::sync::{mpsc, oneshot};

use crate::pipeline::Pipeline;
use crate::{RuntimeError, blocking};

/// Asks a pipeline that runs.
#[derive(Debug, Clone)]
pub struct PipelineHandle(mpsc::UnboundedSender<Request>);

/// The pipeline does not run any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the pipeline does not run any more")]
pub struct Gone;

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

#[derive(Debug)]
pub(crate) enum Request {
    Checkpoint(oneshot::Sender<Epoch>),
    Sample { view: ViewName, rows_max: usize, answer: oneshot::Sender<Option<Sample>> },
}

/// The end of the line at which a pipeline listens.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    receiver: Option<mpsc::UnboundedReceiver<Request>>,
    arrived: VecDeque<Request>,
}

impl PipelineHandle {
    /// Has a checkpoint taken; answers the epoch that it is of, 0 where nothing was loaded yet.
    pub async fn checkpoint(&self) -> Result<Epoch, Gone> {
        let (sender, answer) = oneshot::channel();
        self.0.send(Request::Checkpoint(sender)).map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }

    /// Up to `rows_max` rows of a view; `None` for one that the program does not have.
    pub async fn sample(&self, view: ViewName, rows_max: usize) -> Result<Option<Sample>, Gone> {
        let (sender, answer) = oneshot::channel();
        self.0.send(Request::Sample { view, rows_max, answer: sender }).map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
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
        let (sender, receiver) = mpsc::unbounded_channel();
        self.requests = Requests { receiver: Some(receiver), arrived: VecDeque::new() };
        PipelineHandle(sender)
    }

    /// Answers what was asked. Whoever does not wait for the answer any more gets none.
    pub(crate) async fn answer_requests(&mut self) -> Result<(), RuntimeError> {
        while let Some(request) = self.requests.next() {
            match request {
                Request::Checkpoint(answer) => {
                    if self.saved.epoch != Some(self.epoch()) {
                        self.save_checkpoint().await?;
                        self.trim_log().await?;
                    }
                    let _ = answer.send(self.epoch());
                }
                Request::Sample { view, rows_max, answer } => {
                    let sample = self.sample(&view, rows_max)?;
                    let _ = answer.send(sample);
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
