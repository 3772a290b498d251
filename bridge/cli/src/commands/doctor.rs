//! `tidegate doctor`: what the sources say of themselves, good and bad, each fault with its fix. Writes
//! nothing but, when asked, the trigger by which a catalog tells of commits.

use std::path::Path;

use serde_json::{Map, Value, json};
use tidegate_core::{ErrorKind, Finding, Severity, chain};
use tidegate_runtime::SourceSlot;

use crate::assembly::assemble;
use crate::commands::check::named;
use crate::failure::Failure;
use crate::output;

/// Asks every source; a fault is a failure. `announce` has those that can tell of commits do so, or no longer.
pub async fn doctor(path: &Path, announce: Option<bool>, json: bool) -> Result<(), Failure> {
    let mut assembly = assemble(path)?;
    if let Some(on) = announce {
        announced(&mut assembly.connectors.sources, on, json).await?;
    }
    let found = tidegate_runtime::findings(&assembly.config, &mut assembly.connectors).await;
    let mut faults = Vec::new();
    for (source, answer) in &found {
        match answer {
            Err(error) => faults.push(named("source", source, error)),
            Ok(findings) => faults.extend(findings.iter().filter(|f| f.severity == Severity::Fault).map(|fault| {
                let fix = fault.fix.as_ref().map(|fix| format!("\n  fix: {fix}")).unwrap_or_default();
                format!("source {source}: {}{fix}", fault.fact)
            })),
        }
    }
    if json {
        let sources: Map<String, Value> = found
            .iter()
            .map(|(source, answer)| {
                let value = match answer {
                    Ok(findings) => {
                        json!({ "error": null, "findings": findings.iter().map(as_json).collect::<Vec<_>>() })
                    }
                    Err(error) => json!({ "error": error, "findings": [] }),
                };
                (source.clone(), value)
            })
            .collect();
        output::json(&json!({ "ok": faults.is_empty(), "sources": sources }));
    } else {
        let mut lines = Vec::new();
        for (source, findings) in found.iter().filter_map(|(source, answer)| Some((source, answer.as_ref().ok()?))) {
            if findings.is_empty() {
                lines.push(vec![source.clone(), word(Severity::Good).to_owned(), "answers".to_owned()]);
            }
            for finding in findings.iter().filter(|finding| finding.severity != Severity::Fault) {
                let fix = finding.fix.as_ref().map(|fix| format!("; {fix}")).unwrap_or_default();
                lines.push(vec![source.clone(), word(finding.severity).to_owned(), format!("{}{fix}", finding.fact)]);
            }
        }
        output::table(&lines);
    }
    if faults.is_empty() { Ok(()) } else { Err(Failure::several(ErrorKind::Reconfigure, faults)) }
}

async fn announced(sources: &mut [SourceSlot], on: bool, json: bool) -> Result<(), Failure> {
    let mut done = Vec::new();
    for slot in sources {
        let name = slot.source.id().name.clone();
        let said = slot.source.announce(on).await;
        let said = said.map_err(|error| Failure::new(error.kind(), named("source", &name, &chain(&error))))?;
        done.extend(said.map(|said| format!("source {name}: {said}")));
    }
    if done.is_empty() {
        let message =
            "no source can tell of commits: only a lake with reader = \"native\" and a catalog in PostgreSQL can";
        return Err(Failure::new(ErrorKind::Reconfigure, message.to_owned()));
    }
    if !json {
        done.iter().for_each(output::line);
    }
    Ok(())
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Good => "good",
        Severity::Warning => "warning",
        Severity::Fault => "fault",
    }
}

fn as_json(finding: &Finding) -> Value {
    json!({ "severity": word(finding.severity), "fact": finding.fact, "fix": finding.fix })
}
