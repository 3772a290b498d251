//! `tidegate doctor`: what the sources say of themselves, good and bad, each fault with its fix. Writes
//! nothing.

use std::path::Path;

use serde_json::{Map, Value, json};
use tidegate_core::{ErrorKind, Finding, Severity};

use crate::assembly::assemble;
use crate::commands::check::named;
use crate::failure::Failure;
use crate::output;

/// Asks every source; a fault is a failure.
pub async fn doctor(path: &Path, json: bool) -> Result<(), Failure> {
    let mut assembly = assemble(path)?;
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
                lines.push(vec![source.clone(), word(finding.severity).to_owned(), finding.fact.clone()]);
            }
        }
        output::table(&lines);
    }
    if faults.is_empty() { Ok(()) } else { Err(Failure::several(ErrorKind::Reconfigure, faults)) }
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
