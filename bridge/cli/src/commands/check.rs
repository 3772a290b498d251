//! `tidegate check`: parses, connects and plans, and shows every fault at once. Writes nothing.

use std::path::Path;
use std::time::Duration;

use arrow::datatypes::Schema;
use serde_json::{Map, Value, json};
use tidegate_core::units::duration_text;
use tidegate_core::{ErrorKind, RowIdentity, ViewName};
use tidegate_runtime::{CheckReport, CheckedView};

use crate::assembly::{Assembly, assemble, in_file};
use crate::failure::Failure;
use crate::file::View;
use crate::output;

/// Checks a pipeline; a fault anywhere is a failure.
pub async fn check(path: &Path, json: bool) -> Result<(), Failure> {
    let mut assembly = match assemble(path) {
        Ok(assembly) => assembly,
        Err(failure) => {
            if json {
                output::json(&json!({
                    "ok": false, "file": failure.messages(), "views": {}, "sources": {}, "sinks": {}
                }));
            }
            return Err(failure);
        }
    };
    let report = tidegate_runtime::check(&assembly.config, &mut assembly.connectors).await;
    let faults = faults(&report, &assembly.views);
    if json {
        output::json(&as_json(&report, &assembly, faults.is_empty()));
    } else {
        show(&report, &assembly);
    }
    if faults.is_empty() { Ok(()) } else { Err(Failure::several(ErrorKind::Reconfigure, faults)) }
}

/// Every fault, those of views at their places in the files.
pub fn faults(report: &CheckReport, views: &[View]) -> Vec<String> {
    let sources = report.sources.iter().filter_map(|(name, found)| Some(named("source", name, found.as_ref().err()?)));
    let views = faults_of_views(report, views);
    let sinks = report.sinks.iter().filter_map(|(name, found)| Some(named("sink", name, found.as_ref().err()?)));
    sources.chain(views).chain(sinks).collect()
}

/// The faults of views, at their places.
pub fn faults_of_views(report: &CheckReport, views: &[View]) -> impl Iterator<Item = String> {
    report.views.values().filter_map(|found| Some(in_file(found.as_ref().err()?, views)))
}

/// A connector's message under its name, which most of them begin with already.
pub fn named(what: &str, name: &str, message: &str) -> String {
    let prefix = format!("{what} {name}: ");
    if message.starts_with(&prefix) { message.to_owned() } else { prefix + message }
}

/// How rows are addressed, for programs.
pub fn row_identity(identity: &RowIdentity, columns: &Schema) -> Value {
    match identity {
        RowIdentity::Key(key) => {
            json!({ "key": key.iter().map(|column| columns.field(*column).name()).collect::<Vec<_>>() })
        }
        RowIdentity::Rowid => json!("rowid"),
        RowIdentity::WholeRow => json!("whole_row"),
    }
}

/// How rows are addressed, for people.
pub fn identity_text(identity: &RowIdentity, columns: &Schema) -> String {
    let name = |column: &usize| columns.field(*column).name().as_str();
    match identity {
        RowIdentity::Key(key) if key.is_empty() => "at most one row".to_owned(),
        RowIdentity::Key(key) => format!("key ({})", key.iter().map(name).collect::<Vec<_>>().join(", ")),
        RowIdentity::Rowid => "rowid".to_owned(),
        RowIdentity::WholeRow => "whole row".to_owned(),
    }
}

/// For how long a view's history is kept, and the sinks that do it.
fn kept<'a>(name: &ViewName, assembly: &'a Assembly) -> Option<(Option<Duration>, Vec<&'a str>)> {
    let kept = assembly.views.iter().find(|view| view.def.name == *name)?.history.as_ref()?;
    let keepers = assembly.keepers.iter().filter(|keeper| keeper.takes(name));
    Some((kept.history.retention, keepers.map(|keeper| keeper.sink.as_str()).collect()))
}

/// What is kept of a view's past, and where, for programs; NULL where nothing is.
pub fn history(name: &ViewName, assembly: &Assembly) -> Value {
    kept(name, assembly).map_or(Value::Null, |(retention, sinks)| {
        let retention = retention.and_then(|retention| u64::try_from(retention.as_millis()).ok());
        json!({ "retention_ms": retention, "sinks": sinks })
    })
}

/// The same for people: `for 90 d, in mart`.
pub fn history_text(name: &ViewName, assembly: &Assembly) -> Option<String> {
    let (retention, sinks) = kept(name, assembly)?;
    let long = retention.map_or("for ever".to_owned(), |retention| format!("for {}", duration_text(retention)));
    Some(format!("{long}, in {}", sinks.join(", ")))
}

fn as_json(report: &CheckReport, assembly: &Assembly, ok: bool) -> Value {
    let entry = |name: &str, found: Result<Value, String>| {
        let (ok, mut entry) = match found {
            Ok(Value::Object(entry)) => (true, entry),
            Ok(_) => (true, Map::new()),
            Err(error) => (false, Map::from_iter([("error".to_owned(), Value::String(error))])),
        };
        entry.insert("ok".to_owned(), Value::Bool(ok));
        entry.entry("error").or_insert(Value::Null);
        (name.to_owned(), Value::Object(entry))
    };
    let of_view = |name: &ViewName, view: &CheckedView| {
        let identity = row_identity(&view.row_identity, &view.columns);
        json!({ "mode": view.mode, "row_identity": identity, "history": history(name, assembly) })
    };
    let views: Map<_, _> = report
        .views
        .iter()
        .map(|(name, found)| {
            let found = found.as_ref().map(|view| of_view(name, view));
            entry(name.as_str(), found.map_err(|fault| in_file(fault, &assembly.views)))
        })
        .collect();
    let sources: Map<_, _> = report
        .sources
        .iter()
        .map(|(name, found)| {
            entry(name, found.as_ref().map(|position| json!({ "position": position })).map_err(Clone::clone))
        })
        .collect();
    let sinks: Map<_, _> = report
        .sinks
        .iter()
        .map(|(name, found)| entry(name, found.as_ref().map(|()| json!({})).map_err(Clone::clone)))
        .collect();
    json!({ "ok": ok, "views": views, "sources": sources, "sinks": sinks })
}

/// What is good; faults are on standard error.
fn show(report: &CheckReport, assembly: &Assembly) {
    let mut lines = Vec::new();
    let mut good = |what: &str, name: &str, how: String| lines.push(vec![what.to_owned(), name.to_owned(), how]);
    for (name, position) in report.sources.iter().filter_map(|(name, found)| Some((name, found.as_ref().ok()?))) {
        good("source", name, format!("at {position}"));
    }
    for (name, view) in report.views.iter().filter_map(|(name, found)| Some((name, found.as_ref().ok()?))) {
        let identity = identity_text(&view.row_identity, &view.columns);
        let planned = report.program.as_ref().and_then(|program| program.view(name));
        let notes = planned.iter().flat_map(|view| &view.notes).map(|note| format!("; {note}"));
        let history = history_text(name, assembly).map(|kept| format!("; history kept {kept}")).unwrap_or_default();
        let notes = notes.collect::<String>();
        good("view", name.as_str(), format!("{}, rows by {identity}{history}{notes}", view.mode));
    }
    for (name, _) in report.sinks.iter().filter(|(_, found)| found.is_ok()) {
        good("sink", name, "ready".to_owned());
    }
    output::table(&lines);
}
