//! Rows of a view as they were. `tidegate asof` answers, in a process of its own: a DuckDB file that a sink of this process writes must not
//! be opened here a second time, since closing it would give up the lock on it (`fcntl(2)`).

use std::collections::BTreeMap;
use std::io::{Read, Seek};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_core::{Epoch, ViewName};
use tokio::sync::Semaphore;

/// Asks for the past of views.
pub struct PastRows {
    pipeline: PathBuf,
    /// Since which epoch the history of a view is kept, once that was asked.
    since: Mutex<BTreeMap<ViewName, u64>>,
    /// So many may ask at the same time.
    pub turns: Semaphore,
}

const TURNS: usize = 2;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

impl PastRows {
    /// Of a pipeline file.
    pub fn new(pipeline: PathBuf) -> PastRows {
        PastRows { pipeline, since: Mutex::default(), turns: Semaphore::new(TURNS) }
    }

    /// What `tidegate asof` answers, or what it says is wrong. Blocks.
    fn ask(&self, view: &ViewName, epoch: Epoch, rows_max: usize) -> Result<Value, String> {
        let program = std::env::current_exe().map_err(|error| format!("this program cannot be found: {error}"))?;
        let failed = |error: std::io::Error| format!("`tidegate asof` cannot be asked: {error}");
        let (stdout, stderr) = (tempfile::tempfile().map_err(failed)?, tempfile::tempfile().map_err(failed)?);
        let mut child = Command::new(program)
            .arg("asof")
            .arg(&self.pipeline)
            .args([view.as_str(), "--format", "json"])
            .args([format!("--at={epoch}"), format!("--limit={rows_max}")])
            .stdin(Stdio::null())
            .stdout(stdout.try_clone().map_err(failed)?)
            .stderr(stderr.try_clone().map_err(failed)?)
            .spawn()
            .map_err(failed)?;
        let started = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().map_err(failed)? {
                break status;
            }
            if started.elapsed() > PATIENCE {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("`tidegate asof` takes longer than {} s: ask it yourself", PATIENCE.as_secs()));
            }
            std::thread::sleep(PAUSE);
        };
        let read = |mut file: std::fs::File| {
            let mut text = Vec::new();
            file.rewind().and_then(|()| file.read_to_end(&mut text)).map(|_| text).map_err(failed)
        };
        if !status.success() {
            let said = read(stderr)?;
            let said = String::from_utf8_lossy(&said);
            let said = said.lines().find_map(|line| line.strip_prefix("error: ")).unwrap_or("`tidegate asof` failed");
            return Err(said.to_owned());
        }
        serde_json::from_slice(&read(stdout)?).map_err(|error| format!("`tidegate asof` answers no JSON: {error}"))
    }

    /// Rows as of an epoch, every value as text, in the order of `columns`. Blocks.
    pub fn rows(&self, view: &ViewName, epoch: Epoch, columns: &[String], rows_max: usize) -> Result<Value, String> {
        let answer = self.ask(view, epoch, rows_max)?;
        let text = |value: &Value| match value {
            Value::Null => Value::Null,
            Value::String(text) => json!(text),
            other => json!(other.to_string()),
        };
        let row = |row: &Value| columns.iter().map(|column| text(&row[column])).collect::<Value>();
        let rows: Vec<Value> = answer["rows"].as_array().into_iter().flatten().map(row).collect();
        Ok(json!({ "epoch": epoch, "rows": rows }))
    }

    /// Since which epoch the past of a view can be asked for; `present` is one that can. Blocks.
    pub fn since(&self, view: &ViewName, present: Epoch) -> Result<u64, String> {
        let known = || self.since.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = known().get(view) {
            return Ok(*since);
        }
        let answer = self.ask(view, present, 0)?;
        let since = answer["kept_since"].as_u64().ok_or("`tidegate asof` does not say since when it can answer")?;
        known().insert(view.clone(), since);
        Ok(since)
    }
}
