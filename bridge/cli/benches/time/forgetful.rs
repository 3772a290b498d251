//! A sink that remembers how far it got and nothing else, so that what it costs does not hide what is measured, and that
//! can be set back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use tidegate_core::{
    Commit, CommitOutcome, Committed, ConnectorError, Removal, Sink, ViewContent, ViewInfo, ViewName, ZSet,
};

/// What it holds of each view.
pub type Standing = BTreeMap<ViewName, Committed>;

/// Clones are the same sink.
#[derive(Clone, Default)]
pub struct ForgetfulSink {
    held: Arc<Mutex<Standing>>,
}

impl ForgetfulSink {
    /// How far it got.
    pub fn standing(&self) -> Standing {
        self.held.lock().expect("nobody panics with the lock").clone()
    }

    /// Sets it back to where it stood.
    pub fn set(&self, standing: &Standing) {
        self.held.lock().expect("nobody panics with the lock").clone_from(standing);
    }
}

#[async_trait]
impl Sink for ForgetfulSink {
    fn name(&self) -> &str {
        "nowhere"
    }

    fn default_commit_interval(&self) -> Duration {
        Duration::ZERO
    }

    async fn open(&mut self, views: &[ViewInfo]) -> Result<BTreeMap<ViewName, Option<Committed>>, ConnectorError> {
        let held = self.standing();
        Ok(views.iter().map(|view| (view.name.clone(), held.get(&view.name).copied())).collect())
    }

    async fn commit(&mut self, commit: Commit) -> Result<CommitOutcome, ConnectorError> {
        let mut rows = 0;
        let mut held = self.standing();
        for part in commit.views {
            let (ViewContent::Changes(mut batches) | ViewContent::Replace(mut batches)) = part.content;
            while let Some(batch) = batches.next().await {
                rows += batch?.batch.changed_rows();
            }
            held.insert(part.view.name, Committed { epoch: commit.header.epoch, hash: commit.header.hash });
        }
        self.set(&held);
        Ok(CommitOutcome::Committed { rows })
    }

    async fn read(&mut self, _: &ViewInfo) -> Result<BoxStream<'static, Result<ZSet, ConnectorError>>, ConnectorError> {
        Ok(stream::empty().boxed())
    }

    async fn remove(&mut self, view: &ViewName) -> Result<Removal, ConnectorError> {
        let mut held = self.standing();
        let removal = held.remove(view).map_or(Removal::Nothing, |_| Removal::Removed);
        self.set(&held);
        Ok(removal)
    }
}
