//! `tidegate` as a child process, as anybody would call it.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::pipeline;
use crate::running::Running;
use crate::site::Site;

/// `tidegate run`.
pub fn run(site: &Site) -> Result<Running> {
    Running::start(command(site, "run")?, &site.folder.join("run.log"))
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
