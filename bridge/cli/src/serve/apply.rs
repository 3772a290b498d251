//! Bringing another pipeline file in force while the pipeline runs: what is new is built beside the views that go on, as far as
//! that can be; then the run ends after its epoch, and the pipeline goes on as the file says, in the same process.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tidegate_runtime::{Beside, Observer, PipelineConfig, PipelineHandle, Progress, StopSignal, Unanswered};

use super::{About, Monitor, Next, Server, child};
use crate::assembly::{Assembly, assemble};

/// How long a look at all sources and sinks may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long to wait before asking a busy pipeline again.
const PAUSE: Duration = Duration::from_millis(50);

impl Server {
    /// Checks the pipeline file, and has it brought in force. Answers what it changes, or why it cannot be; then
    /// everything is as it was. Blocks.
    pub fn apply(self: &Arc<Self>) -> Result<Value, String> {
        let arguments: [&OsStr; 4] =
            ["apply".as_ref(), self.pipeline.as_os_str(), "--plan".as_ref(), "--json".as_ref()];
        let difference = child::ask(&arguments, PATIENCE)?;
        let assembly = assemble(&self.pipeline).map_err(|failure| failure.messages().join("\n"))?;
        let about = self.monitor.about();
        let restart = |what: &str| format!("{what}: drain the pipeline, and start it again");
        if assembly.config.name != about.pipeline || assembly.config.state_dir != about.state_dir {
            return Err(restart("the file is another pipeline's now, by its `name` or its `state_dir`"));
        }
        if assembly.stdout_sink != about.stdout_sink {
            return Err(restart("another sink would write to the standard output"));
        }
        let mut turn = self.turn();
        if turn.building.is_some() {
            return Err("another file is on its way to be in force: `tidegate status` says when it is".to_owned());
        }
        let Some(stop) = turn.stop.take() else {
            return Err(
                "the run is about to end, or has an end of its own: the next one brings the file in force".to_owned()
            );
        };
        self.monitor.applying(About::of(&assembly));
        let building = StopSignal::new();
        turn.building = Some(building.clone());
        let (server, handle) = (Arc::clone(self), self.handle());
        tokio::spawn(async move {
            let beside = match handle {
                Some(handle) => built(&handle, &assembly.config, &server.monitor, &building).await,
                None => None,
            };
            server.take_over(assembly, beside, &building, &stop);
        });
        Ok(difference)
    }

    /// Has the run end, and what was built take its place, unless the run is over by now.
    fn take_over(&self, assembly: Assembly, beside: Option<Beside>, building: &StopSignal, stop: &StopSignal) {
        let mut turn = self.turn();
        if building.is_stopped() {
            return;
        }
        turn.building = None;
        turn.next = Some(Next { assembly, beside });
        self.between_runs();
        stop.stop();
    }
}

/// Builds what is new beside the views that go on. Where that cannot be, it is built when all stand still.
async fn built(
    handle: &PipelineHandle,
    config: &PipelineConfig,
    monitor: &Monitor,
    stop: &StopSignal,
) -> Option<Beside> {
    let groundwork = loop {
        match handle.groundwork(config.clone()).await {
            Ok(laid) => break laid,
            Err(Unanswered::Busy) => tokio::time::sleep(PAUSE).await,
            Err(_) => return None,
        }
    };
    let beside = match groundwork {
        Ok(groundwork) => groundwork.build(&Building(monitor), stop).await,
        Err(reason) => Err(reason),
    };
    monitor.builds(None);
    match beside {
        Ok(beside) => Some(beside),
        Err(reason) => {
            tracing::info!(name: "not_beside", %reason, "views that are new are built while all stand still");
            None
        }
    }
}

/// Tells of rows that are read for views that are being built.
struct Building<'a>(&'a Monitor);

impl Observer for Building<'_> {
    fn notify(&self, event: Progress<'_>) {
        match event {
            Progress::LoadStarted { rows_estimate } => self.0.builds(Some((0, rows_estimate))),
            Progress::RowsLoaded { rows } => self.0.builds(Some((rows, None))),
            _ => {}
        }
    }
}
