//! What ends a command: exit codes, the messages with what stands in them, and what mends it, made of the errors themselves.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use tidegate_core::{BindError, ConnectorError, Epoch, ErrorKind, SourceId, ViewName};
use tidegate_engine::EngineError;
use tidegate_runtime::{RuntimeError, SinkBehind, SinkDetached, Unresolved};

use super::{WRITTEN, hold, table};
use crate::commands::man::EXIT_CODES;
use crate::ending;
use crate::failure::Failure;

const HEAD: &str = "# Errors

A command that fails says why in one message for each fault: the thing, the fact, and the way out. Messages have no numbers. What programs need is the exit code, and, with `--log-format json`, the event `failed` with `exit_code` and the message ([Logs](../logs.md)). `tidegate status` and `tidegate doctor` tell how the last run ended, with what mends it ([When a run has failed](../monitoring.md#when-a-run-has-failed)).
";

/// Every error of a run, and what it is about. A new one does not compile until it is told here.
fn about(error: &RuntimeError) -> &'static str {
    match error {
        RuntimeError::Io { .. } => "a file or folder",
        RuntimeError::DiskFull { .. } => "a full disk",
        RuntimeError::ObjectStore { .. } => "the object store of the log",
        RuntimeError::Locked { .. } => "two processes on one state folder",
        RuntimeError::OtherPipeline { .. } => "another pipeline's state folder",
        RuntimeError::State { .. } => "a file of the state folder",
        RuntimeError::LogDamaged { .. } => "a damaged log",
        RuntimeError::LogForeign { .. } => "a log that is not this state folder's",
        RuntimeError::Plan(_) => "views that cannot be planned",
        RuntimeError::NoLongerBinds { .. } => "a table that changed under its views",
        RuntimeError::Bind(_) => "a view that DuckDB refuses",
        RuntimeError::Expired { .. } => "changes that are gone",
        RuntimeError::Source { .. } => "a source",
        RuntimeError::Sink { .. } => "a sink",
        RuntimeError::SinksBehind(_) => "sinks that are behind at the end",
        RuntimeError::SinksDetached(_) => "sinks that are detached",
        RuntimeError::SinkMismatch { .. } => "a target with another history",
        RuntimeError::SinkContended { .. } => "two pipelines on one target",
        RuntimeError::UnknownSource { .. } => "a source or table that there is not",
        RuntimeError::UnknownSink { .. } => "a sink that there is not",
        RuntimeError::OutOfReach { .. } => "a moment from before the log",
        RuntimeError::Unresolved(_) => "a moment of which no epoch is known",
        RuntimeError::NoPast { .. } => "a rewind that cannot be done",
        RuntimeError::Past { .. } => "a past that cannot be gone through again",
        RuntimeError::Engine { .. } => "the engine",
        RuntimeError::StoppedWhileLoading => "a stop before the load was complete",
        RuntimeError::StoppedWhileWaiting { .. } => "a stop before a frontier was reached",
        RuntimeError::Bug(_) => "a bug",
    }
}

/// One of each, and more where the exit code differs; capitals stand for what differs from case to case.
fn all() -> Vec<RuntimeError> {
    let path = || PathBuf::from("FILE");
    let source_id = || SourceId { kind: "TYPE".to_owned(), name: "SOURCE".to_owned() };
    let sink = || "SINK".to_owned();
    let reason = || "REASON".to_owned();
    let view = || ViewName::new("VIEW");
    let system = |kind| io::Error::new(kind, "WHAT THE SYSTEM SAYS");
    let said = |kind| ConnectorError::new(kind, "WHAT IT SAYS");
    let store = || object_store::Error::Generic { store: "STORE", source: "WHAT IT SAYS".into() };
    let log = || "LOG".to_owned();
    let (fact, way_out) = ("FACT".to_owned(), "WAY OUT");
    let state = |kind| RuntimeError::State { path: path(), fact: fact.clone(), way_out, kind };
    let engine = |error| RuntimeError::Engine { action: "WHAT WAS DONE".to_owned(), error };
    let broken = || EngineError::Storage {
        path: "FILE".to_owned(),
        fact: fact.clone(),
        source: Some(system(io::ErrorKind::Other)),
    };
    let kinds = [ErrorKind::Retry, ErrorKind::Reconfigure, ErrorKind::Stop];
    let mut all = vec![
        RuntimeError::Io { action: "DO", path: path(), source: system(io::ErrorKind::Other) },
        RuntimeError::Io { action: "DO", path: path(), source: system(io::ErrorKind::PermissionDenied) },
        RuntimeError::DiskFull { action: "DO", path: path(), source: system(io::ErrorKind::StorageFull) },
        RuntimeError::ObjectStore { action: "DO", url: "URL".to_owned(), kind: ErrorKind::Retry, source: store() },
        RuntimeError::ObjectStore {
            action: "DO",
            url: "URL".to_owned(),
            kind: ErrorKind::Reconfigure,
            source: store(),
        },
        RuntimeError::Locked { dir: "FOLDER".into(), pid: "NUMBER".to_owned() },
        RuntimeError::OtherPipeline { dir: "FOLDER".into(), found: "ONE".to_owned(), expected: "ANOTHER".to_owned() },
        state(ErrorKind::Reconfigure),
        state(ErrorKind::Stop),
        RuntimeError::LogDamaged { file: "FILE".to_owned(), offset: 0, fact: fact.clone() },
        RuntimeError::LogForeign { log: log(), fact: fact.clone(), way_out },
        RuntimeError::Plan(vec!["FILE:LINE:COLUMN: WHAT CANNOT BE KEPT, AND A WAY OUT".to_owned()]),
        RuntimeError::NoLongerBinds { reason: reason(), faults: vec!["FAULT".to_owned()] },
        RuntimeError::Bind(BindError { view: view(), message: "WHAT DUCKDB SAYS".to_owned() }),
        RuntimeError::Expired { source_id: source_id(), reason: reason(), way_out: "WAY OUT".to_owned() },
        RuntimeError::SinksBehind(vec![SinkBehind {
            sink: sink(),
            epoch: Some(Epoch(0)),
            error: said(ErrorKind::Retry),
        }]),
        RuntimeError::SinksDetached(vec![SinkDetached { sink: sink(), reason: reason() }]),
        RuntimeError::SinkMismatch { sink: sink(), view: view(), found: "AN EPOCH".to_owned(), ours: fact.clone() },
        RuntimeError::SinkContended { sink: sink(), view: view() },
        RuntimeError::UnknownSource { name: "source NAME".to_owned(), known: "WHAT THERE IS".to_owned() },
        RuntimeError::UnknownSink { name: "NAME".to_owned(), known: "WHAT THERE IS".to_owned() },
        RuntimeError::OutOfReach { target: "MOMENT".to_owned(), epoch: Epoch(0), reach: "BACK TO AN EPOCH".to_owned() },
        RuntimeError::Unresolved(Box::new(Unresolved::Empty)),
        RuntimeError::Unresolved(Box::new(Unresolved::Coming { epoch: Epoch(2), last: Epoch(1) })),
        RuntimeError::NoPast { pipeline: "NAME".to_owned(), fact: "FACT" },
        RuntimeError::Past { epoch: Epoch(0), fact: fact.clone(), way_out },
        engine(broken()),
        engine(EngineError::SumOverflow { view: view() }),
        RuntimeError::StoppedWhileLoading,
        RuntimeError::StoppedWhileWaiting { source_id: source_id() },
        RuntimeError::Bug("WHAT HAPPENED".to_owned()),
    ];
    all.extend(kinds.map(|kind| RuntimeError::Source { source_id: source_id(), error: said(kind) }));
    all.extend(kinds.map(|kind| RuntimeError::Sink { sink: sink(), error: said(kind) }));
    all
}

#[test]
fn the_page_of_errors() {
    let mut found: Vec<(u8, &str, String, String)> = Vec::new();
    for error in all() {
        let what = about(&error);
        let failure = Failure::from(error);
        let steps: Vec<String> =
            failure.repairs().iter().map(|repair| ending::step(repair, Path::new("PIPELINE"))).collect();
        let steps = steps.iter().map(|step| match step.starts_with("tidegate ") {
            true => format!("`{step}`"),
            false => step.clone(),
        });
        found.push((failure.code(), what, failure.messages().join("\n"), steps.collect::<Vec<_>>().join(", ")));
    }
    let told: BTreeSet<&str> = found.iter().map(|(_, what, ..)| *what).collect();
    assert_eq!(told.len(), 28, "every error that `about` knows is among `all`: {told:?}");
    let mut page = HEAD.replacen("\n\n", &format!("\n\n{WRITTEN}"), 1);
    page += "\nCapitals stand for what differs. What sources and sinks say themselves is on their pages; faults of the pipeline file have exit code 2 and begin with file, line and column.\n";
    for (code, meaning) in EXIT_CODES.iter().skip(1) {
        page += &format!("\n## Exit code {code}\n\n{meaning}\n\n");
        let of_code = found.iter().filter(|(found, ..)| found.to_string() == *code);
        page += &table(
            &["about", "message", "what mends it"],
            of_code.map(|(_, what, message, steps)| vec![(*what).to_owned(), message.clone(), steps.clone()]),
        );
    }
    hold("errors.md", &page);
}
