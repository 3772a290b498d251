//! `tidegate rewind`: takes the views back, or makes a copy of the pipeline at a moment of its past.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use tidegate_core::{Epoch, ErrorKind, Frontier};
use tidegate_runtime::{Moment, Pipeline, RewindOptions, RunUntil, StopSignal};
use toml_edit::{DocumentMut, Item, Table, value};

use crate::assembly::{Assembly, assemble, located};
use crate::failure::Failure;
use crate::file::{NAME_RULE, is_name};
use crate::output::{self, Json};
use crate::past::{Opening, moment};
use crate::progress::Display;

/// The moment that the arguments name; exactly one of them is given.
pub fn target(to: Option<Frontier>, epoch: Option<u64>, timestamp: Option<String>) -> Result<Moment, Failure> {
    match (to, epoch, timestamp) {
        (Some(frontier), ..) => Ok(Moment::Frontier(frontier)),
        (_, Some(epoch), _) => Ok(Moment::Epoch(Epoch(epoch))),
        (_, _, Some(text)) => match moment::parse(&text, &Opening::when_needed())? {
            time @ Moment::Timestamp(_) => Ok(time),
            _ => {
                Err(Failure::usage(format!("--timestamp {text} is no timestamp: write --epoch or --to for the others")))
            }
        },
        _ => Err(Failure::usage("say where to go back to: --to FRONTIER, --epoch N or --timestamp T")),
    }
}

/// Takes the views back and says what that changed.
pub async fn rewind(path: &Path, target: &Moment, discard_after: bool, json: bool) -> Result<(), Failure> {
    let Assembly { config, connectors, views, .. } = assemble(path)?;
    let options = RewindOptions { discard_after, way: None };
    let summary = tidegate_runtime::rewind(config, connectors, target, &options, Arc::new(Display::default()))
        .await
        .map_err(|error| located(error, &views))?;
    let summary = output::value(&summary)?;
    if json {
        output::json(&summary);
        return Ok(());
    }
    output::line(format!("back to epoch {}, as epoch {}", summary.number("to"), summary.number("epoch")));
    match summary.entries("view_rows").next() {
        Some(_) => output::view_rows(&summary, "changed rows"),
        None => output::line("no view differs"),
    }
    output::line(format!("frontier {}", summary["frontier"]));
    output::line(match summary.number("replays") {
        0 => "the next run reads the sources from there".to_owned(),
        1 => "the next run goes through one epoch of the log again, then reads the sources".to_owned(),
        epochs => format!("the next run goes through {epochs} epochs of the log again, then reads the sources"),
    });
    Ok(())
}

/// Makes a folder with a pipeline file, a state folder and the outputs of a copy.
pub async fn branch(path: &Path, target: &Moment, name: &str, out: &Path, json: bool) -> Result<(), Failure> {
    if !is_name(name) {
        return Err(Failure::usage(format!("`{name}` cannot name a branch: {NAME_RULE}")));
    }
    let Assembly { config, connectors, views, .. } = assemble(path)?;
    let failed = |action: &str, at: &Path, error: std::io::Error| {
        Failure::new(ErrorKind::Reconfigure, format!("cannot {action} {}: {error}", at.display()))
    };
    let file = out.join(format!("{name}.toml"));
    if fs::exists(&file).map_err(|error| failed("look at", &file, error))? {
        return Err(Failure::usage(format!("{} is there already: give --out a folder of its own", file.display())));
    }
    let original = std::path::absolute(path).map_err(|error| failed("find", path, error))?;
    let text = pipeline_file(name, &original, &config.views, &config.histories);
    fs::create_dir_all(out).map_err(|error| failed("make", out, error))?;
    let state = out.join("state");
    let summary = tidegate_runtime::branch(config, connectors, target, name, &state, Arc::new(Display::default()))
        .await
        .map_err(|error| located(error, &views))?;
    fs::write(&file, text).map_err(|error| failed("write", &file, error))?;
    // Its outputs are made as of its point.
    let Assembly { config, connectors, views, .. } = assemble(&file)?;
    let mut pipeline = Pipeline::open(config, connectors, Arc::new(Display::default()))
        .await
        .map_err(|error| located(error, &views))?;
    let reached = pipeline.run(RunUntil::Epoch(summary.epoch), StopSignal::new()).await;
    reached.map_err(|error| located(error, &views))?;
    let summary = output::value(&summary)?;
    if json {
        output::json(&json!({
            "branch": name,
            "pipeline": file.display().to_string(),
            "epoch": summary["epoch"],
            "frontier": summary["frontier"],
            "replays": summary["replays"],
        }));
        return Ok(());
    }
    output::line(format!("branch {name} stands at epoch {} in {}", summary.number("epoch"), out.display()));
    output::line(format!("frontier {}", summary["frontier"]));
    output::line(format!("look at it:  duckdb {}", out.join("mart.duckdb").display()));
    output::line(match summary.number("replays") {
        0 => "nothing was logged after that".to_owned(),
        epochs => format!(
            "go on:       tidegate run {} --once  ({} of the log)",
            file.display(),
            if epochs == 1 { "one epoch".to_owned() } else { format!("{epochs} epochs") }
        ),
    });
    Ok(())
}

/// The file of a branch: the views as they are in the original, and outputs beside it.
fn pipeline_file(
    name: &str,
    original: &Path,
    views: &[tidegate_engine::ViewDef],
    histories: &std::collections::BTreeMap<tidegate_core::ViewName, tidegate_core::History>,
) -> String {
    let mut document = DocumentMut::new();
    let table = |parent: &mut Table, key: &str| {
        let mut table = Table::new();
        table.set_implicit(false);
        parent.insert(key, Item::Table(table));
    };
    let root = document.as_table_mut();
    table(root, "pipeline");
    root["pipeline"]["name"] = value(name);
    root["pipeline"]["state_dir"] = value("state");
    root["pipeline"]["branch_of"] = value(original.to_string_lossy().as_ref());
    let mut all = Table::new();
    all.set_implicit(true);
    for view in views {
        let key = view.name.as_str();
        table(&mut all, key);
        all[key]["sql"] = value(view.sql.as_str());
        if let Some(columns) = &view.key {
            all[key]["key"] = value(columns.iter().map(String::as_str).collect::<toml_edit::Array>());
        }
        if histories.contains_key(&view.name) {
            all[key]["temporal"] = value(true);
        }
    }
    root.insert("views", Item::Table(all));
    let mut sinks = Table::new();
    sinks.set_implicit(true);
    for (sink, kind, path) in [("mart", "duckdb", "mart.duckdb"), ("changes", "parquet", "changes")] {
        table(&mut sinks, sink);
        sinks[sink]["type"] = value(kind);
        sinks[sink]["path"] = value(path);
    }
    root.insert("sinks", Item::Table(sinks));
    format!(
        "# A branch: its sources are those of `branch_of`, of which only the log is read. Its views may be changed.\n{document}"
    )
}
