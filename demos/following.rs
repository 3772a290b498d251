//! A pipeline that a process of its own runs: how far it says that it is. A demo includes this file as a module.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tidegate_core::Frontier;

/// How long the pipeline may take for anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// A pipeline file, and what it reads from the environment.
pub struct Pipeline<'a> {
    pub folder: &'a Path,
    /// Its name in the folder.
    pub file: &'a str,
    pub variables: &'a [(&'a str, &'a str)],
}

impl Pipeline<'_> {
    /// A command of `tidegate`, which lies beside this program.
    pub fn command(&self, verb: &str) -> Result<Command> {
        let program = std::env::current_exe()?.with_file_name("tidegate");
        ensure!(program.is_file(), "{} is not there: `cargo xtask demo NAME` builds it", program.display());
        let mut command = Command::new(program);
        command.arg(verb).arg(self.file).current_dir(self.folder).stdin(Stdio::null());
        command.envs(self.variables.iter().copied());
        Ok(command)
    }

    /// Waits until every sink holds everything up to a frontier.
    pub fn until_caught_up(&self, goal: &Frontier, is_well: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let behind = format!("has not reached {}", serde_json::to_string(goal)?);
        self.until(is_well, &behind, |status| {
            let reached = serde_json::from_value::<Frontier>(status["frontier"].clone());
            reached.is_ok_and(|reached| goal.less_equal(&reached)) && is_delivered(status)
        })
    }

    /// Waits until its status is as it should be; `otherwise` says what it is if that takes too long.
    pub fn until(
        &self,
        is_well: &mut dyn FnMut() -> Result<()>,
        otherwise: &str,
        condition: impl Fn(&Value) -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            is_well()?;
            match self.status()? {
                Some(status) if condition(&status) => return Ok(()),
                status if Instant::now() >= deadline => {
                    let status = status.unwrap_or_default();
                    bail!("the pipeline {otherwise} within {} s; its status is {status}", PATIENCE.as_secs());
                }
                _ => thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// The answer of `tidegate status --json`; `None` before the first load.
    fn status(&self) -> Result<Option<Value>> {
        let output = self.command("status")?.arg("--json").output().context("tidegate cannot be started")?;
        match output.status.code() {
            Some(0) => {
                let status =
                    serde_json::from_slice(&output.stdout).context("the output of `tidegate status --json`")?;
                Ok(Some(status))
            }
            // There is no state yet.
            Some(1) => Ok(None),
            _ => bail!("`tidegate status` failed ({})\n{}", output.status, String::from_utf8_lossy(&output.stderr)),
        }
    }
}

/// Whether no sink lacks an epoch.
pub fn is_delivered(status: &Value) -> bool {
    let sinks = status["sinks"].as_object();
    sinks.is_some_and(|sinks| sinks.values().all(|sink| sink["epoch"].is_u64() && sink["behind"] == 0))
}
