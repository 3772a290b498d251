//! `tidegate` as a child process, as anybody would call it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::pipeline;
use crate::site::Site;

/// `tidegate run` at work; killed when it is dropped.
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts it. What it says goes to a file.
    pub fn start(site: &Site) -> Result<Self> {
        let log = site.folder.join("run.log");
        let file = File::create(&log).with_context(|| format!("{} cannot be made", log.display()))?;
        let child =
            command(site, "run")?.stdout(Stdio::null()).stderr(file).spawn().context("tidegate cannot be started")?;
        Ok(Running { child, log })
    }

    /// An error if it has ended by itself.
    pub fn is_well(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("`tidegate run` ended by itself ({status})\n{}", self.said()),
        }
    }

    /// Asks it to stop, and waits until it has brought everything up to date and ended.
    pub fn stop(mut self) -> Result<()> {
        self.is_well()?;
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let deadline = Instant::now() + Duration::from_secs(60);
        let status = loop {
            match self.child.try_wait()? {
                Some(status) => break status,
                None if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
                None => bail!("`tidegate run` does not stop\n{}", self.said()),
            }
        };
        ensure!(status.success(), "`tidegate run` failed ({status})\n{}", self.said());
        Ok(())
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The answer of `tidegate status --json`; `None` before the first load.
pub fn status(site: &Site) -> Result<Option<Value>> {
    let output = command(site, "status")?.arg("--json").output().context("tidegate cannot be started")?;
    match output.status.code() {
        Some(0) => Ok(Some(serde_json::from_slice(&output.stdout).context("the output of `tidegate status --json`")?)),
        // There is no state yet.
        Some(1) => Ok(None),
        _ => bail!("`tidegate status` failed ({})\n{}", output.status, String::from_utf8_lossy(&output.stderr)),
    }
}

/// `tidegate` lies beside this program.
fn command(site: &Site, verb: &str) -> Result<Command> {
    let program = std::env::current_exe()?.with_file_name("tidegate");
    ensure!(program.is_file(), "{} is not there: `cargo xtask demo orders` builds it", program.display());
    let mut command = Command::new(program);
    command.arg(verb).arg(Path::new(pipeline::NAME)).current_dir(&site.folder).stdin(Stdio::null());
    command.envs(site.variables());
    Ok(command)
}
