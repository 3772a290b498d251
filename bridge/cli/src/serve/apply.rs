//! Bringing another pipeline file in force while the pipeline runs: the run ends after its epoch, and the pipeline goes on as
//! the file says, in the same process.

use std::ffi::OsStr;
use std::time::Duration;

use serde_json::Value;

use super::{About, Server, child};
use crate::assembly::assemble;

/// How long a look at all sources and sinks may take.
const PATIENCE: Duration = Duration::from_secs(120);

impl Server {
    /// Checks the pipeline file, and has it brought in force. Answers what it changes, or why it cannot be; then
    /// everything is as it was. Blocks.
    pub fn apply(&self) -> Result<Value, String> {
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
        let Some(stop) = turn.stop.clone() else {
            return Err(
                "the run is about to end, or has an end of its own: the next one brings the file in force".to_owned()
            );
        };
        self.monitor.applying(About::of(&assembly));
        turn.next = Some(assembly);
        self.between_runs();
        stop.stop();
        Ok(difference)
    }
}
