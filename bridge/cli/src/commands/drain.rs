//! `tidegate drain`: ends the process that runs a pipeline, once everything is committed and saved.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use axum::http::Method;
use serde_json::json;
use tidegate_core::ErrorKind;
use tidegate_runtime::{is_running, read_status};

use crate::assembly::assemble;
use crate::failure::Failure;
use crate::output::{self, Json};
use crate::serve::socket;

/// How often it is looked whether the process is gone.
const PAUSE: Duration = Duration::from_millis(50);

/// Asks the process to end, and waits until it has. Where none runs, nothing has to be done.
pub async fn drain(path: &Path, timeout: Duration, json: bool) -> Result<(), Failure> {
    let assembly = assemble(path)?;
    let state_dir = &assembly.config.state_dir;
    let asked = socket::ask(state_dir, Method::POST, "/api/drain").await?.is_some();
    let started = Instant::now();
    while asked && is_running(state_dir) {
        if started.elapsed() >= timeout {
            let message = format!(
                "the process still runs after {} s: wait longer with --timeout; ending it at once is safe, too, and the next \
                 start goes on from its log",
                timeout.as_secs()
            );
            return Err(Failure::new(ErrorKind::Retry, message));
        }
        tokio::time::sleep(PAUSE).await;
    }
    if !asked && is_running(state_dir) {
        let message = "a process works on the pipeline that cannot be asked to end: it is opening it, or is another command; \
                       try again";
        return Err(Failure::new(ErrorKind::Retry, message));
    }
    if asked && !socket::has_finished(state_dir) {
        let message =
            "the process ended before everything was finished; its log says why, and the next start goes on from there";
        return Err(Failure::new(ErrorKind::Retry, message));
    }
    let status = output::value(&read_status(state_dir)?)?;
    let (epoch, frontier) = (status["epoch"].clone(), status["frontier"].clone());
    let behind = status.entries("sinks").filter(|(_, sink)| sink.number("behind") > 0);
    let behind: BTreeMap<&String, u64> = behind.map(|(name, sink)| (name, sink.number("behind"))).collect();
    if json {
        output::json(&json!({ "drained": asked, "epoch": epoch, "frontier": frontier, "behind": behind }));
    } else if asked {
        output::line(format!("drained at epoch {}", status.number("epoch")));
        output::line(format!("frontier {frontier}"));
        for (sink, epochs) in behind {
            output::line(format!(
                "sink {sink} lacks {epochs} epochs, which are kept for it: it gets them in the next run"
            ));
        }
    } else {
        output::line("no process runs the pipeline");
    }
    Ok(())
}
