//! What sources say of themselves: whether a server is set up as reading it needs.

use std::collections::BTreeMap;

use tidegate_core::{ConnectorError, ErrorKind, Finding, Frontier, Severity, SourceId, chain};

use crate::planner::{self, Planned};
use crate::{Connectors, PipelineConfig, read_status};

/// What each source that the views use says of itself, by its name, or why it cannot be asked.
pub type Findings = BTreeMap<String, Result<Vec<Finding>, Unasked>>;

/// Why a source cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unasked {
    /// Whether asking again may help.
    pub kind: ErrorKind,
    /// What it said, with the causes.
    pub error: String,
}

/// Asks every source that the views use how it fares. Reads only.
pub async fn findings(config: &PipelineConfig, connectors: &mut Connectors) -> Findings {
    let mut sources: Vec<_> = connectors.sources.iter_mut().map(|slot| &mut slot.source).collect();
    let planned = planner::plan(&mut sources, config, &*connectors.binder, &Frontier::new()).await;
    of_planned(&planned, config, connectors).await
}

/// What planning has found, and how long each source keeps what was not read.
pub(crate) async fn of_planned(planned: &Planned, config: &PipelineConfig, connectors: &mut Connectors) -> Findings {
    let unasked = |error: &ConnectorError| Unasked { kind: error.kind(), error: chain(error) };
    let failed = planned.unreachable.iter().map(|(id, error)| (id.name.clone(), Err(unasked(error))));
    let mut answers: Findings = failed.collect();
    // A fault is among the findings too, and better told there.
    answers.extend(planned.findings.iter().map(|(id, findings)| (id.name.clone(), Ok(findings.clone()))));
    let read = read_status(&config.state_dir).ok().flatten().map(|status| status.frontier).unwrap_or_default();
    for slot in &mut connectors.sources {
        let (name, read) = (slot.source.id().name.clone(), read.get(slot.source.id()).copied());
        let Some(Ok(findings)) = answers.get_mut(&name) else { continue };
        let Some(read) = read else { continue };
        match slot.source.retention(&read).await {
            Ok(retention) => findings.extend(retention),
            Err(error) => findings.push(Finding {
                severity: Severity::Warning,
                fact: format!("how long the source keeps what was not read cannot be told: {}", chain(&error)),
                fix: None,
            }),
        }
    }
    answers
}

/// All faults of a source as one error.
pub(crate) fn faults(source: &SourceId, findings: &[Finding]) -> Option<ConnectorError> {
    let faults = findings.iter().filter(|finding| finding.severity == Severity::Fault);
    let lines: Vec<String> = faults.map(|fault| line(source, fault)).collect();
    (!lines.is_empty()).then(|| ConnectorError::new(ErrorKind::Reconfigure, lines.join("\n")))
}

fn line(source: &SourceId, finding: &Finding) -> String {
    let fix = finding.fix.as_ref().map(|fix| format!("\n  fix: {fix}")).unwrap_or_default();
    format!("source {}: {}{fix}", source.name, finding.fact)
}

/// Logs what may become a fault.
pub(crate) fn warn(findings: &BTreeMap<SourceId, Vec<Finding>>) {
    for (source, findings) in findings {
        for Finding { fact, fix, .. } in findings.iter().filter(|finding| finding.severity == Severity::Warning) {
            tracing::warn!(name: "source_warning", %source, fact, fix = fix.as_deref(), "the source may come to harm");
        }
    }
}
