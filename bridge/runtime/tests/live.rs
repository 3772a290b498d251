//! Pipelines that run while a test goes on.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate_core::{Epoch, Frontier};
use tidegate_runtime::{Observer, Pipeline, Progress, RunUntil, RuntimeError, StopSignal};
use tokio::sync::watch;
use tokio::time::timeout;

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Hears of epochs.
pub struct Ear {
    pub committed: watch::Sender<Epoch>,
    pub frontiers: Mutex<Vec<Frontier>>,
}

impl Ear {
    pub fn new() -> Arc<Ear> {
        Arc::new(Ear { committed: watch::Sender::new(Epoch(0)), frontiers: Mutex::default() })
    }

    pub async fn hears(&self, epoch: u64) {
        self.until(|| self.committed.borrow().0 >= epoch).await;
    }

    /// Returns when a commit makes something true.
    pub async fn until(&self, holds: impl Fn() -> bool) {
        let mut heard = self.committed.subscribe();
        let heard = async {
            while !holds() {
                heard.changed().await.unwrap();
            }
        };
        let heard = timeout(PATIENCE, heard).await;
        heard.unwrap_or_else(|_| panic!("it did not come; committed is epoch {}", *self.committed.borrow()));
    }
}

impl Observer for Ear {
    fn notify(&self, event: Progress<'_>) {
        match event {
            Progress::Committed { epoch, .. } => drop(self.committed.send_replace(epoch)),
            Progress::EpochStepped { header, .. } => self.frontiers.lock().unwrap().push(header.frontier.clone()),
            _ => {}
        }
    }
}

pub type Running = tokio::task::JoinHandle<Result<(), RuntimeError>>;

/// Runs until the signal is given.
pub fn run(mut pipeline: Pipeline) -> (StopSignal, Running) {
    let stop = StopSignal::new();
    let signal = stop.clone();
    (stop, tokio::spawn(async move { pipeline.run(RunUntil::Stopped, signal).await.map(drop) }))
}

pub async fn ends(running: Running) -> Result<(), RuntimeError> {
    timeout(PATIENCE, running).await.expect("the run ends").unwrap()
}
