//! `tidegate estimate`: what a pipeline will take. Asks the sources for their statistics, and writes nothing.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tidegate_core::ErrorKind;
use tidegate_core::units::{duration_text, size_text};

use crate::assembly::{assemble, located};
use crate::commands::check;
use crate::estimate::{self, Estimate, Flags, Origin, Settings, facts};
use crate::failure::Failure;
use crate::output;

/// Estimates a pipeline that is free of faults.
pub async fn estimate(path: &Path, flags: &Flags, json: bool) -> Result<(), Failure> {
    let mut assembly = assemble(path)?;
    let report = tidegate_runtime::check(&assembly.config, &mut assembly.connectors).await;
    let faulty = |faults| Failure::several(ErrorKind::Reconfigure, faults);
    let Some(program) = &report.program else { return Err(faulty(check::faults(&report, &assembly.views))) };
    let program = program.clone().sharing(None);
    let program = program.map_err(|errors| faulty(errors.iter().map(ToString::to_string).collect()))?;
    let config = &assembly.config;
    let known = tidegate_runtime::statistics(config, &mut assembly.connectors, program.tables()).await;
    let known = known.map_err(|error| located(error, &assembly.views))?;
    let facts = facts(&program, &known, flags)?;
    let settings = Settings {
        memory_limit: config.memory_limit,
        log_retention: config.log_retention,
        epoch_interval: config.epoch_interval,
        sinks: assembly.connectors.sinks.len(),
    };
    let estimate = estimate::estimate(&program, &facts, &settings);
    if json {
        output::json(&rounded(output::value(&estimate)?));
    } else {
        show(&estimate, &settings);
    }
    Ok(())
}

/// Bytes and rows as whole numbers, all others with three digits behind the point: more is not known.
fn rounded(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let field = |(name, value): (String, Value)| {
                let is_whole =
                    name.contains("bytes") || name == "rows" || name.contains("changes") || name.contains("per_");
                let value = match value.as_f64() {
                    Some(number) if is_whole && number.is_finite() && !value.is_u64() => {
                        Value::from(number.round() as u64)
                    }
                    Some(number) if !value.is_u64() => Value::from((number * 1e3).round() / 1e3),
                    _ => rounded(value),
                };
                (name, value)
            };
            Value::Object(fields.into_iter().map(field).collect())
        }
        other => other,
    }
}

fn show(estimate: &Estimate, settings: &Settings) {
    let heading = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
    let mut lines = vec![heading(&["table", "rows", "by", "changes a day", "by", "state", "log a day"])];
    for (name, table) in &estimate.tables {
        lines.push(vec![
            name.clone(),
            count(table.rows),
            origin(table.rows_from).to_owned(),
            table.changes_per_day.map_or("not known".to_owned(), count),
            origin(table.changes_from).to_owned(),
            size(table.state_bytes),
            table.log_bytes_per_day.map_or("not known".to_owned(), size),
        ]);
    }
    output::aligned_table(&lines, &[false, true, false, true, false, true, true]);
    output::line("");
    let mut lines = vec![heading(&["view", "rows", "state", "memory", "load", "1,000 changed rows"])];
    for (name, view) in &estimate.views {
        let [load, epoch] = [view.load_ms, view.epoch_1000_ms].map(time);
        lines.push(vec![name.clone(), count(view.rows), size(view.state_bytes), size(view.memory_bytes), load, epoch]);
    }
    output::aligned_table(&lines, &[false, true, true, true, true, true]);
    output::line("");
    let total = &estimate.total;
    let limit = match settings.memory_limit {
        Some(_) if total.memory_unlimited_bytes > total.memory_bytes => {
            format!(" (memory_limit; {} without it)", size(total.memory_unlimited_bytes))
        }
        _ => String::new(),
    };
    let mut facts = vec![
        ("state on disk", size(total.state_bytes)),
        ("memory", format!("{}{limit}", size(total.memory_bytes))),
        ("first load", time(total.load_ms)),
        ("an epoch of 1,000 changed rows", time(total.epoch_1000_ms)),
        ("keeps up with", format!("{} changed rows a second", count(total.changes_per_second))),
    ];
    if let (Some(per_day), Some(all)) = (total.log_bytes_per_day, total.log_bytes) {
        let kept = duration_text(settings.log_retention);
        facts.push(("input log", format!("{} a day, {} in {kept}", size(per_day), size(all))));
    }
    if let (Some(epochs), Some(changes), Some(ms)) = (total.epochs_per_day, total.epoch_changes, total.epoch_ms) {
        let (epochs, changes) = (count(epochs), count(changes));
        facts.push(("expected", format!("{epochs} epochs a day of {changes} changed rows, {} each", time(ms))));
    }
    output::table(&facts.into_iter().map(|(what, fact)| vec![what.to_owned(), fact]).collect::<Vec<_>>());
    output::line("");
    for assumption in &estimate.assumptions {
        output::line(format!("assumed: {assumption}"));
    }
    let error = &estimate.error;
    output::line(format!(
        "measured against {} pipelines: bytes of state, log and memory within a factor of {}, times within {} on two idle cores, \
         where the numbers of rows are right",
        error.pipelines, error.bytes, error.times
    ));
}

fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Given => "you",
        Origin::Source => "the source",
        Origin::Unknown => "nobody",
    }
}

fn count(number: f64) -> String {
    output::grouped(number.round() as u64)
}

fn size(bytes: f64) -> String {
    size_text(bytes.round() as u64)
}

fn time(ms: f64) -> String {
    if ms < 1_000.0 { format!("{ms:.1} ms") } else { duration_text(Duration::from_secs_f64((ms / 1e3).min(1e12))) }
}
