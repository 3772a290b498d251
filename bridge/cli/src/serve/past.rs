//! Rows of a view as they were. `tidegate asof` answers, in a process of its own: a DuckDB file that a sink of this process writes must not
//! be opened here a second time, since closing it would give up the lock on it (`fcntl(2)`).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_core::{Epoch, ViewName};
use tokio::sync::Semaphore;

use super::child;

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

impl PastRows {
    /// Of a pipeline file.
    pub fn new(pipeline: PathBuf) -> PastRows {
        PastRows { pipeline, since: Mutex::default(), turns: Semaphore::new(TURNS) }
    }

    /// What `tidegate asof` answers, or what it says is wrong. Blocks.
    fn ask(&self, view: &ViewName, epoch: Epoch, rows_max: usize) -> Result<Value, String> {
        let (at, limit) = (format!("--at={epoch}"), format!("--limit={rows_max}"));
        let arguments: [&OsStr; 6] = [
            "asof".as_ref(),
            self.pipeline.as_os_str(),
            view.as_str().as_ref(),
            "--format=json".as_ref(),
            at.as_ref(),
            limit.as_ref(),
        ];
        child::ask(&arguments, PATIENCE)
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

    /// Forgets what may be different with another pipeline file.
    pub fn forget(&self) {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).clear();
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
