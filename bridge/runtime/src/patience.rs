//! Waiting for a process that holds what another one works on, too: a file while it commits or polls.

use std::time::{Duration, Instant};

use tidegate_core::{ConnectorError, ErrorKind};

use crate::{PipelineConfig, is_running};

/// How long it may hold that.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// Until when to wait.
pub(crate) struct Patience(Option<Instant>);

impl Patience {
    /// For the process that runs the pipeline, if one does.
    pub(crate) fn with(config: &PipelineConfig) -> Patience {
        Patience(is_running(&config.state_dir).then(|| Instant::now() + PATIENCE))
    }

    /// For whoever it is, readers too.
    pub(crate) fn with_all() -> Patience {
        Patience(Some(Instant::now() + PATIENCE))
    }

    /// Whether to try again, after a pause.
    pub(crate) async fn lets_try_again(&self, error: &ConnectorError) -> bool {
        let again = error.kind() == ErrorKind::Retry && self.0.is_some_and(|until| Instant::now() < until);
        if again {
            tokio::time::sleep(PAUSE).await;
        }
        again
    }

    /// What is answered once nobody holds it.
    pub(crate) async fn wait_for<T>(
        &self,
        mut ask: impl AsyncFnMut() -> Result<T, ConnectorError>,
    ) -> Result<T, ConnectorError> {
        loop {
            match ask().await {
                Err(error) if self.lets_try_again(&error).await => {}
                answer => return answer,
            }
        }
    }
}
