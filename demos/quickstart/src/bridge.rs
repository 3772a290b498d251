//! `tidegate run --once` as a child process, as anybody would call it.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The program and the pipeline file.
pub struct Bridge {
    program: PathBuf,
    file: PathBuf,
}

/// What a run says of itself, and how long its process took.
pub struct Run {
    pub source_rows: u64,
    /// Changed rows of all views together.
    pub view_rows: u64,
    pub elapsed_ms: f64,
    pub step_ms: f64,
}

impl Bridge {
    /// `tidegate` lies beside this program.
    pub fn find(file: PathBuf) -> Result<Self> {
        let program = std::env::current_exe()?.with_file_name("tidegate");
        if !program.is_file() {
            bail!("{} is not there: run the demo with `cargo xtask demo`, which builds it", program.display());
        }
        Ok(Bridge { program, file })
    }

    /// Catches up with the lake.
    pub fn run_once(&self) -> Result<Run> {
        let start = Instant::now();
        let output = Command::new(&self.program)
            .arg("run")
            .arg(&self.file)
            .args(["--once", "--json"])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .with_context(|| format!("{} cannot be started", self.program.display()))?;
        let elapsed_ms = start.elapsed().as_secs_f64() * 1000.0;
        if !output.status.success() {
            bail!("`tidegate run --once` failed ({})\n{}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        let json: Value = serde_json::from_slice(&output.stdout).context("the output of `tidegate run --json`")?;
        let number =
            |value: &Value, what: &str| value.as_f64().with_context(|| format!("`tidegate run --json` has no {what}"));
        let views = json["view_rows"].as_object().context("`tidegate run --json` has no view_rows")?;
        Ok(Run {
            source_rows: json["source_rows"].as_u64().context("`tidegate run --json` has no source_rows")?,
            view_rows: views.values().filter_map(Value::as_u64).sum(),
            elapsed_ms,
            step_ms: number(&json["phases_ms"]["step"], "phases_ms.step")?,
        })
    }
}
