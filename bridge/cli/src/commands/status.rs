//! `tidegate status`: where a pipeline stands, from its state folder.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_core::units::{duration_text, size_text};
use tidegate_core::{ErrorKind, Position};
use tidegate_runtime::read_status;

use crate::assembly::{Assembly, assemble};
use crate::ending;
use crate::failure::Failure;
use crate::output::{self, Json};
use crate::serve::socket;

/// Shows the status; touches neither sources nor sinks. A process that runs the pipeline is asked; otherwise its state folder
/// tells.
pub async fn status(path: &Path, json: bool) -> Result<(), Failure> {
    let assembly = assemble(path)?;
    let config = &assembly.config;
    let Some(status) = read_status(&config.state_dir)? else {
        let dir = config.state_dir.display();
        let message = format!("there is no state in {dir} yet: `tidegate run {}` makes it", path.display());
        return Err(Failure::new(ErrorKind::Retry, message));
    };
    let mut status = match socket::status(&config.state_dir).await {
        Some(live) => live,
        None => output::value(&status)?,
    };
    status["tracked"] = tracked(&assembly);
    status["ending"] = ending::read(&config.state_dir).map_or(Value::Null, |ending| {
        let fixes = ending.fixes(path);
        json!({ "at": ending.at, "exit_code": ending.exit_code, "messages": ending.messages, "fixes": fixes })
    });
    if json {
        output::json(&status);
    } else {
        show(&status);
    }
    Ok(())
}

fn show(status: &Value) {
    let running = if status["running"] == Value::Bool(true) { "running" } else { "not running" };
    output::line(format!("{}: epoch {}, {running}", status.text("pipeline"), status.number("epoch")));
    let ending = &status["ending"];
    if ending.is_object() {
        let (at, code) = (ending.text("at"), ending.number("exit_code"));
        output::line(format!("the last run ended at {at} with exit code {code}:"));
        for message in ending["messages"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            output::line(format!("  {message}"));
        }
        for fix in ending["fixes"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            output::line(format!("  fix: {fix}"));
        }
    }
    output::line(format!("committed at {}", status.text("committed_at")));
    output::line(format!("frontier {}", status["frontier"]));
    if let Some(replay) = status["replay"].as_object() {
        let line = format!("rewound: epoch {} of the past, which goes up to {}", replay["done"], replay["until"]);
        output::line(line);
    }
    let heading = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
    let mut lines = vec![heading(&["source", "position", "committed at", "lag", "kept from", "state"])];
    for (name, source) in status.entries("sources") {
        let committed_at = source["committed_at"].as_str().unwrap_or_default().to_owned();
        let [position, lag] = ["position", "lag"].map(|key| source[key].to_string());
        lines.push(vec![name.clone(), position, committed_at, lag, kept_from(source), state(source)]);
    }
    section(&lines);
    let mut lines = vec![heading(&["view", "mode", "rows", "incremental steps", "full steps", "state"])];
    for (name, view) in status.entries("views") {
        let number = |key| output::grouped(view.number(key));
        let state = size_text(view.number("state_bytes"));
        let steps = [number("incremental_steps"), number("full_steps")];
        lines.push([vec![name.clone(), view.text("mode"), number("rows")], steps.to_vec(), vec![state]].concat());
    }
    section(&lines);
    if status.entries("tracked").next().is_some() {
        let mut lines = vec![heading(&["tracked table", "view", "key", "kept"])];
        for (name, tracked) in status.entries("tracked") {
            let key = tracked["key"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let kept = tracked["retention_ms"].as_u64().map(Duration::from_millis);
            let kept = kept.map_or("for ever".to_owned(), duration_text);
            lines.push(vec![name.clone(), tracked.text("view"), key.collect::<Vec<_>>().join(", "), kept]);
        }
        section(&lines);
    }
    let mut lines = vec![heading(&["sink", "epoch", "behind", "kept for it", "commits next", "state"])];
    for (name, sink) in status.entries("sinks") {
        let (epoch, behind) = (sink["epoch"].to_string(), sink["behind"].to_string());
        let kept = size_text(sink.number("behind_bytes"));
        let next = sink["next_commit"].as_str().unwrap_or_default().to_owned();
        lines.push(vec![name.clone(), epoch, behind, kept, next, state(sink)]);
    }
    section(&lines);
}

/// The tables of `[track]`, by their names.
fn tracked(assembly: &Assembly) -> Value {
    let tracked = assembly.views.iter().filter_map(|view| {
        let (table, kept) = (view.tracked.as_ref()?, view.history.as_ref()?);
        let retention = kept.history.retention.and_then(|kept| u64::try_from(kept.as_millis()).ok());
        Some((table.table.clone(), json!({ "view": view.def.name, "key": view.def.key, "retention_ms": retention })))
    });
    Value::Object(tracked.collect())
}

/// How a source or a sink fares, and what it says.
fn state(of: &Value) -> String {
    let error = of["error"].as_str().map_or_else(String::new, |error| format!(": {error}"));
    format!("{}{error}", of.text("state"))
}

/// From where on a source could still be read, and how long that was before what was read.
fn kept_from(source: &Value) -> String {
    let Ok(oldest) = serde_json::from_value::<Position>(source["oldest"].clone()) else { return String::new() };
    match source["kept_ms"].as_u64().map(Duration::from_millis) {
        Some(kept) => format!("{oldest} ({} before what was read last)", duration_text(kept)),
        None => oldest.to_string(),
    }
}

fn section(lines: &[Vec<String>]) {
    output::line("");
    output::table(lines);
}
