//! `tidegate run` as a child process. A demo includes this file as a module.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// `tidegate run` at work; killed when it is dropped.
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts it. What it says goes to a file.
    pub fn start(mut command: Command, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("{} cannot be made", log.display()))?;
        let child = command.stdout(Stdio::null()).stderr(file).spawn().context("tidegate cannot be started")?;
        Ok(Running { child, log: log.to_owned() })
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
