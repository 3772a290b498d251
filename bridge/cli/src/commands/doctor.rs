//! `tidegate doctor`: looks at the pipeline file, the state folder, the last run, the sources and the sinks; each fault with its
//! fix. Writes nothing but, when asked, the trigger by which a catalog tells of commits.

use std::path::Path;

use serde_json::{Map, Value, json};
use tidegate_core::units::size_text;
use tidegate_core::{ErrorKind, Finding, Severity, chain};
use tidegate_runtime::{CheckReport, Repair, RuntimeError, SourceSlot, Unasked, is_running};

use crate::assembly::{Assembly, assemble};
use crate::commands::check::{self, named};
use crate::ending;
use crate::failure::Failure;
use crate::output::{self, Json};
use crate::serve::socket;

/// How many bytes are free at the least where nothing is said of it.
const FREE_BYTES_MIN: u64 = 1 << 30;

/// What mends what a running pipeline tries again.
const BY_ITSELF: &str = "it is tried again by itself when that is mended";
/// What mends a source that cannot be asked.
const ANSWER: &str = "see to it that it answers: it is read on from where it was";

/// Something that was looked at.
struct Check {
    /// What: `source app`, `state folder`.
    what: String,
    finding: Finding,
}

impl Check {
    fn new(what: impl Into<String>, severity: Severity, fact: impl Into<String>) -> Check {
        Check { what: what.into(), finding: Finding { severity, fact: fact.into(), fix: None } }
    }

    /// The same with what to do.
    fn fix(mut self, fix: Option<String>) -> Check {
        self.finding.fix = fix;
        self
    }
}

/// Looks at everything; a fault is a failure. `announce` has sources that can tell of commits do so, or no longer.
pub async fn doctor(path: &Path, announce: Option<bool>, json: bool) -> Result<(), Failure> {
    let mut assembly = match assemble(path) {
        Ok(assembly) => assembly,
        Err(failure) => {
            if json {
                let faults = failure.messages().iter();
                let faults = faults.map(|fact| Check::new("pipeline file", Severity::Fault, fact.as_str()));
                let checks: Vec<Value> = faults.map(|check| as_json(&check)).collect();
                output::json(&json!({ "ok": false, "checks": checks, "sources": {} }));
            }
            return Err(failure);
        }
    };
    if let Some(on) = announce {
        announced(&mut assembly.connectors.sources, on, json).await?;
    }
    let state_dir = assembly.config.state_dir.clone();
    let mut checks = vec![Check::new("pipeline file", Severity::Good, "can be read")];
    let live = socket::status(&state_dir).await;
    checks.push(process(&state_dir));
    checks.extend(folder(&state_dir));
    checks.extend(last_run(&state_dir, path));
    let (found, report) = match live {
        Some(_) => (tidegate_runtime::findings(&assembly.config, &mut assembly.connectors).await, None),
        None => {
            let mut report = tidegate_runtime::check(&assembly.config, &mut assembly.connectors).await;
            (std::mem::take(&mut report.findings), Some(report))
        }
    };
    if let Some(Err(error)) = report.as_ref().map(|report| &report.state) {
        checks.retain(|check| check.what != "state folder");
        checks.push(lost(error, path));
    }
    for (source, answer) in &found {
        checks.extend(of_source(source, answer, live.as_ref()));
    }
    match (&live, &report) {
        (Some(status), _) => checks.extend(sinks_of(status, path)),
        (None, Some(report)) => checks.extend(sinks(&assembly, report, path)?),
        (None, None) => {}
    }
    let faults: Vec<String> =
        checks.iter().filter(|check| check.finding.severity == Severity::Fault).map(line).collect();
    if json {
        let sources: Map<String, Value> = found
            .iter()
            .map(|(source, answer)| {
                let value = match answer {
                    Ok(findings) => {
                        json!({ "error": null, "findings": findings.iter().map(finding).collect::<Vec<_>>() })
                    }
                    Err(unasked) => json!({ "error": unasked.error, "findings": [] }),
                };
                (source.clone(), value)
            })
            .collect();
        let checks: Vec<Value> = checks.iter().map(as_json).collect();
        output::json(&json!({ "ok": faults.is_empty(), "checks": checks, "sources": sources }));
    } else {
        let lines = checks.iter().filter(|check| check.finding.severity != Severity::Fault).map(|check| {
            let Finding { severity, fact, fix } = &check.finding;
            let fix = fix.as_ref().map(|fix| format!("; {fix}")).unwrap_or_default();
            vec![check.what.clone(), word(*severity).to_owned(), format!("{fact}{fix}")]
        });
        output::table(&lines.collect::<Vec<_>>());
    }
    if faults.is_empty() { Ok(()) } else { Err(Failure::several(ErrorKind::Reconfigure, faults)) }
}

/// A fault with what to do, as it is told beside the others.
fn line(check: &Check) -> String {
    // The steps of one fix stand below each other.
    let fix = check.finding.fix.as_ref().map(|fix| format!("\n  fix: {}", fix.replace('\n', "\n       ")));
    let fix = fix.unwrap_or_default();
    let fact = match check.what.split_once(' ') {
        Some((what @ ("source" | "sink"), name)) => named(what, name, &check.finding.fact),
        _ => format!("{}: {}", check.what, check.finding.fact),
    };
    format!("{fact}{fix}")
}

fn process(state_dir: &Path) -> Check {
    let fact = if is_running(state_dir) { "runs the pipeline" } else { "none runs the pipeline" };
    Check::new("process", Severity::Good, fact)
}

/// Whether the state has room.
fn folder(state_dir: &Path) -> Option<Check> {
    let what = "state folder";
    if !state_dir.exists() {
        return Some(Check::new(what, Severity::Good, "is made by the first run"));
    }
    let room = rustix::fs::statvfs(state_dir).ok()?;
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    let fact = format!("{} are free", size_text(free));
    Some(match free < FREE_BYTES_MIN {
        true => Check::new(what, Severity::Warning, fact).fix(Some("free some space".to_owned())),
        false => Check::new(what, Severity::Good, fact),
    })
}

/// Why the last run ended, with the command that mends it, if one does.
fn last_run(state_dir: &Path, path: &Path) -> Vec<Check> {
    let Some(ending) = ending::read(state_dir) else { return Vec::new() };
    let fixes = ending.fixes(path);
    let fix = (!fixes.is_empty()).then(|| fixes.join("\n"));
    let fact = ending.messages.join("\n");
    vec![Check::new("last run", Severity::Fault, format!("ended at {}: {fact}", ending.at)).fix(fix)]
}

/// A state that no run can begin with.
fn lost(error: &RuntimeError, path: &Path) -> Check {
    let steps: Vec<_> = error.repairs().iter().map(|repair| ending::step(repair, path)).collect();
    let check = Check::new("state folder", Severity::Fault, chain(error));
    check.fix((!steps.is_empty()).then(|| steps.join("\n")))
}

/// How a source fares: what the running pipeline says of it, and what it says of itself.
fn of_source(source: &str, answer: &Result<Vec<Finding>, Unasked>, live: Option<&Value>) -> Vec<Check> {
    let what = format!("source {source}");
    let failing = live.map(|status| &status["sources"][source]).filter(|status| status["state"] == "failing");
    if let Some(error) = failing.and_then(|status| status["error"].as_str()) {
        return vec![Check::new(what, Severity::Fault, error).fix(Some(BY_ITSELF.to_owned()))];
    }
    match answer {
        Err(Unasked { kind, error }) => {
            let fix = (*kind == ErrorKind::Retry).then(|| ANSWER.to_owned());
            vec![Check::new(what, Severity::Fault, error.as_str()).fix(fix)]
        }
        Ok(findings) if findings.is_empty() => vec![Check::new(what, Severity::Good, "answers")],
        Ok(findings) => findings.iter().map(|finding| Check { what: what.clone(), finding: finding.clone() }).collect(),
    }
}

/// How the sinks of a running pipeline fare.
fn sinks_of(status: &Value, path: &Path) -> Vec<Check> {
    let check = |(name, sink): (&String, &Value)| {
        let what = format!("sink {name}");
        let error = || sink["error"].as_str().unwrap_or("fails").to_owned();
        match sink["state"].as_str() {
            Some("failing") => {
                Check::new(what, Severity::Fault, error()).fix(Some(format!("what it lacks is kept, and {BY_ITSELF}")))
            }
            Some("detached") => Check::new(what, Severity::Fault, format!("it is detached: {}", error())).fix(Some(
                // One process works on a state folder.
                [ending::command("drain", path), resync(name, path), ending::command("run", path)].join("\n"),
            )),
            _ => Check::new(what, Severity::Good, format!("holds epoch {}", sink["epoch"])),
        }
    };
    status.entries("sinks").map(check).collect()
}

/// Whether the sinks can be opened.
fn sinks(assembly: &Assembly, report: &CheckReport, path: &Path) -> Result<Vec<Check>, Failure> {
    let before = output::value(&tidegate_runtime::read_status(&assembly.config.state_dir)?)?;
    let views = check::faults_of_views(report, &assembly.views).map(|fact| Check::new("views", Severity::Fault, fact));
    let mut checks: Vec<Check> = views.collect();
    for (name, opened) in &report.sinks {
        let what = format!("sink {name}");
        let is_detached = before["sinks"][name]["state"] == "detached";
        checks.push(match opened {
            Err(error) => Check::new(what, Severity::Fault, error.as_str()),
            Ok(()) if is_detached => {
                let error = before["sinks"][name]["error"].as_str().unwrap_or_default();
                Check::new(what, Severity::Fault, format!("it is detached: {error}")).fix(Some(resync(name, path)))
            }
            Ok(()) => Check::new(what, Severity::Good, "ready"),
        });
    }
    Ok(checks)
}

fn resync(sink: &str, path: &Path) -> String {
    ending::step(&Repair::Resync(sink.to_owned()), path)
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

fn finding(finding: &Finding) -> Value {
    json!({ "severity": word(finding.severity), "fact": finding.fact, "fix": finding.fix })
}

fn as_json(check: &Check) -> Value {
    let mut found = finding(&check.finding);
    found["check"] = json!(check.what);
    found
}
