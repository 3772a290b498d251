//! What a running pipeline logs of its work, as times: `tidegate run --log-format json` with
//! `TIDEGATE_LOG=warn,tidegate=debug`. A demo includes this file as a module.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::running::Running;

/// How long the pipeline may take for anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// A line of the log that is about an epoch or on the way to one.
#[derive(Debug, Clone)]
pub struct Entry {
    /// When it was written.
    pub at: SystemTime,
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum What {
    /// The lake was read up to a snapshot, which took so long; whether anything changed.
    Read { snapshot: u64, changed: bool, took: Duration },
    /// An epoch is in the log, and the views have followed; up to a snapshot.
    Stepped { epoch: u64, snapshot: u64, rows: u64 },
    /// A sink holds an epoch.
    Committed { sink: String, epoch: u64 },
}

/// When the views had followed a snapshot, the epoch of it, and its rows.
pub fn stepped(entries: &[Entry], snapshot: u64) -> Option<(SystemTime, u64, u64)> {
    entries.iter().find_map(|entry| match entry.what {
        What::Stepped { epoch, snapshot: at, rows } if at >= snapshot => Some((entry.at, epoch, rows)),
        _ => None,
    })
}

/// When a sink held an epoch.
pub fn committed(entries: &[Entry], name: &str, epoch: u64) -> Option<SystemTime> {
    entries.iter().find_map(|entry| match &entry.what {
        What::Committed { sink, epoch: at } if sink == name && *at >= epoch => Some(entry.at),
        _ => None,
    })
}

/// Milliseconds; none where the first was later, because two programs wrote the times down.
pub fn ms_between(from: SystemTime, to: SystemTime) -> f64 {
    to.duration_since(from).unwrap_or_default().as_secs_f64() * 1e3
}

/// The command `tidegate`, which lies beside this program.
pub fn tidegate(folder: &Path, verb: &str) -> Result<Command> {
    let program = std::env::current_exe()?.with_file_name("tidegate");
    ensure!(program.is_file(), "{} is not there: `cargo xtask demo NAME` builds it", program.display());
    let mut command = Command::new(program);
    command.arg(verb).arg("pipeline.toml").current_dir(folder).stdin(Stdio::null());
    Ok(command)
}

/// A pipeline at work, and its log.
pub struct Journal {
    running: Running,
    log: PathBuf,
}

impl Journal {
    /// Starts `tidegate run`; `variables` are what the pipeline file reads from the environment.
    pub fn start(folder: &Path, variables: &[(&str, &str)]) -> Result<Self> {
        let log = folder.join("run.log");
        let mut command = tidegate(folder, "run")?;
        command.args(["--log-format", "json"]).env("TIDEGATE_LOG", "warn,tidegate=debug");
        command.envs(variables.iter().copied());
        Ok(Journal { running: Running::start(command, &log)?, log })
    }

    /// Waits until the log has what is looked for, and answers with that.
    pub fn wait<T>(&mut self, what: &str, find: impl Fn(&[Entry]) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.running.is_well()?;
            match find(&self.entries()?) {
                Some(found) => return Ok(found),
                None if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
                None => bail!("{what} is not in {} after {} s", self.log.display(), PATIENCE.as_secs()),
            }
        }
    }

    /// Everything so far.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let text = fs::read_to_string(&self.log).with_context(|| format!("{} cannot be read", self.log.display()))?;
        entries(&text).map(|(entries, _)| entries)
    }

    /// Stops the pipeline, which brings everything up to date before it ends.
    pub fn stop(self) -> Result<()> {
        self.running.stop()
    }
}

/// What the whole lines of a piece of a log say, and how many bytes these are: the last line may be half written.
pub fn entries(text: &str) -> Result<(Vec<Entry>, usize)> {
    let end = text.rfind('\n').map_or(0, |end| end + 1);
    let entries: Result<Vec<Entry>> = text[..end].lines().filter_map(|line| entry(line).transpose()).collect();
    Ok((entries?, end))
}

/// What a line says, if it is one of those that matter here.
fn entry(line: &str) -> Result<Option<Entry>> {
    // Other lines may come from libraries.
    let Ok(json) = serde_json::from_str::<Value>(line) else { return Ok(None) };
    let number = |key: &str| {
        let value = &json[key];
        let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
        number.with_context(|| format!("a line of the log has no {key}: {line}"))
    };
    let text = |key: &str| json[key].as_str().with_context(|| format!("a line of the log has no {key}: {line}"));
    let what = match json["event"].as_str() {
        Some("read") => {
            let snapshot = text("position")?.trim_start_matches("snapshot ").parse()?;
            let changed = json["changed"] == Value::Bool(true);
            let took =
                json["duration_ms"].as_f64().with_context(|| format!("a line of the log has no duration: {line}"))?;
            What::Read { snapshot, changed, took: Duration::from_secs_f64(took / 1000.0) }
        }
        Some("stepped") => {
            let frontier: Value = serde_json::from_str(text("frontier")?)?;
            let snapshot = frontier["ducklake:lake"]["snapshot_id"].as_u64();
            let snapshot = snapshot.with_context(|| format!("a frontier has no snapshot: {frontier}"))?;
            What::Stepped { epoch: number("epoch")?, snapshot, rows: number("source_rows")? }
        }
        Some("committed") => What::Committed { sink: text("sink")?.to_owned(), epoch: number("epoch")? },
        _ => return Ok(None),
    };
    let at: DateTime<Utc> = text("timestamp")?.parse()?;
    Ok(Some(Entry { at: at.into(), what }))
}
