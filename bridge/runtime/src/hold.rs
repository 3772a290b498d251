//! Back pressure of the sinks: the deltas that are kept for one are bounded. Beyond that the sources wait, or the
//! sink is detached.

use std::time::Instant;

use crate::error::SinkBehind;
use crate::goal::Goal;
use crate::pipeline::Pipeline;
use crate::round::LONGEST_SLEEP;
use crate::{OnSinkFailure, RuntimeError, StopSignal};

impl Pipeline {
    /// Whether the sources have to wait for a sink, for which it then waits a while itself.
    pub(crate) async fn hold_back(&mut self, goal: &Goal, stop: &StopSignal) -> Result<bool, RuntimeError> {
        let Some(index) = self.overburdened() else {
            if self.held_since.take().is_some() {
                tracing::info!(name: "sources_resumed", "the sinks have caught up, the sources are read again");
            }
            return Ok(false);
        };
        let (limit, driver) = (self.config.sink_lag_max, &self.drivers[index]);
        if self.config.on_sink_failure == OnSinkFailure::Detach
            && let Some(trouble) = &driver.trouble
        {
            let said = tidegate_core::chain(&trouble.error);
            self.detach(
                index,
                format!("it lacks more than {limit} bytes of changes, the limit of sink_lag_max: {said}"),
            );
            self.save_progress().await?;
            self.forget_delivered()?;
            return Ok(true);
        }
        if self.held_since.is_none() {
            tracing::warn!(name: "sources_held", sink = %driver.name, sink_lag_max = limit,
                "the sources wait, because the sink lacks more than sink_lag_max bytes of changes"
            );
        }
        let since = *self.held_since.get_or_insert_with(Instant::now);
        if let Some(patience) = goal.retry_for.filter(|patience| since.elapsed() >= *patience)
            && let Some(trouble) = self.drivers[index].trouble.take_if(|t| t.backoff.failing_for() >= patience)
        {
            let (sink, epoch) = (self.drivers[index].name.clone(), self.drivers[index].epoch());
            return Err(RuntimeError::SinksBehind(vec![SinkBehind { sink, epoch, error: trouble.error }]));
        }
        // Whatever its commit interval says.
        self.begin_deliveries(|driver| driver.trouble.as_ref().is_none_or(|trouble| trouble.backoff.is_due()))?;
        let driver = &mut self.drivers[index];
        let pause = if driver.is_busy() { LONGEST_SLEEP } else { driver.due_in().min(LONGEST_SLEEP) };
        tokio::select! {
            () = driver.rest() => {}
            () = tokio::time::sleep(pause) => {}
            () = stop.stopped() => {}
        }
        self.take_reports()?;
        self.forget_delivered()?;
        Ok(true)
    }

    /// A sink for which more deltas are kept than is allowed.
    fn overburdened(&self) -> Option<usize> {
        if self.pending.bytes_kept() <= self.config.sink_lag_max {
            return None;
        }
        let kept = |floor| self.pending.bytes_after(floor);
        self.drivers.iter().position(|driver| driver.floor().map_or(0, kept) > self.config.sink_lag_max)
    }
}
