//! Rows of a view as they were. `tidegate asof` answers, in a process of its own: a DuckDB file that a sink of this process writes must not
//! be opened here a second time, since closing it would give up the lock on it (`fcntl(2)`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use tidegate_core::{Epoch, ViewName};

/// Asks for the past of views.
pub struct PastRows {
    pipeline: PathBuf,
    /// Since which epoch the history of a view is kept, once that was asked.
    since: Mutex<BTreeMap<ViewName, u64>>,
}

impl PastRows {
    /// Of a pipeline file.
    pub fn new(pipeline: PathBuf) -> PastRows {
        PastRows { pipeline, since: Mutex::default() }
    }

    /// What `tidegate asof` answers, or what it says is wrong. Blocks.
    fn ask(&self, view: &ViewName, epoch: Epoch, rows_max: usize) -> Result<Value, String> {
        let program = std::env::current_exe().map_err(|error| format!("this program cannot be found: {error}"))?;
        let output = Command::new(program)
            .arg("asof")
            .arg(&self.pipeline)
            .args([view.as_str(), "--format", "json"])
            .args([format!("--at={epoch}"), format!("--limit={rows_max}")])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("`tidegate asof` cannot be started: {error}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().find_map(|line| line.strip_prefix("error: ")).unwrap_or("`tidegate asof` failed");
            return Err(said.to_owned());
        }
        serde_json::from_slice(&output.stdout).map_err(|error| format!("`tidegate asof` answers no JSON: {error}"))
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
