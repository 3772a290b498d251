//! `tidegate apply`: shows what the pipeline file changes, and has the process that runs the pipeline bring it in force.

use std::path::Path;
use std::time::{Duration, Instant};

use axum::http::Method;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use tidegate_core::{ErrorKind, ViewName};
use tidegate_runtime::{Difference, ViewChange, difference, is_running};

use super::check;
use super::remove::{Ended, by_sink};
use crate::assembly::{Assembly, assemble, located};
use crate::confirm;
use crate::failure::Failure;
use crate::output::{self, Json};
use crate::progress;
use crate::registry::SINKS_THAT_KEEP;
use crate::serve::socket;

/// How often it is looked whether the process is done.
const PAUSE: Duration = Duration::from_millis(50);

/// What is wanted.
pub struct Apply {
    /// To see the plan and nothing else.
    pub plan: bool,
    /// Not to be asked.
    pub yes: bool,
    /// What becomes of that which sinks hold of views that the file drops.
    pub dropped: Dropped,
    /// How long to wait.
    pub timeout: Duration,
    pub json: bool,
}

/// What becomes of that which sinks hold of views that the file drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// It stays there.
    Stay,
    /// It is removed once the file is in force.
    Removed,
}

/// Compares the file with what is in force, asks, and has it brought in force.
pub async fn apply(path: &Path, wanted: &Apply) -> Result<(), Failure> {
    let mut assembly = assemble(path)?;
    let report = tidegate_runtime::check(&assembly.config, &mut assembly.connectors).await;
    let faults = check::faults(&report, &assembly.views);
    let Some(program) = report.program.filter(|_| faults.is_empty()) else {
        return Err(Failure::several(ErrorKind::Reconfigure, faults));
    };
    let state_dir = assembly.config.state_dir.clone();
    let difference =
        difference(&assembly.config, &assembly.connectors, program).map_err(|error| located(error, &assembly.views))?;
    let runs = is_running(&state_dir);
    let Some(difference) = difference else {
        if wanted.json {
            output::json(&json!({ "epoch": 0, "running": runs, "applied": false, "loaded": false }));
        } else {
            output::line("nothing is loaded yet: `tidegate run` begins with the file as it is");
        }
        return Ok(());
    };
    let goes = match (wanted.dropped, runs) {
        (Dropped::Removed, true) => removals(&assembly, &difference),
        // Nothing is brought in force now, so that nothing is gone yet.
        (Dropped::Removed, false) | (Dropped::Stay, _) => Vec::new(),
    };
    let answer = |applied: bool, removed: Value| -> Result<(), Failure> {
        let mut found = output::value(&difference)?;
        if wanted.dropped == Dropped::Removed {
            found["removed"] = removed;
        }
        found["running"] = json!(runs);
        found["loaded"] = json!(true);
        found["applied"] = json!(applied);
        output::json(&found);
        Ok(())
    };
    if !wanted.json {
        show(&difference, &goes);
    }
    let stays = match (wanted.plan, runs) {
        (true, _) => Some("nothing was changed"),
        (false, false) => Some("no process runs the pipeline: the next `tidegate run` brings this in force"),
        (false, true) => None,
    };
    if let Some(text) = stays {
        if wanted.json {
            return answer(false, json!(by_sink(&goes)));
        }
        output::line(text);
        return Ok(());
    }
    if !wanted.yes && !confirm::is_confirmed("bring this in force")? {
        output::line("nothing was changed");
        return Ok(());
    }
    let started = Instant::now();
    if socket::ask_for(&state_dir, Method::POST, "/api/apply", wanted.timeout).await?.is_none() {
        return Err(gone());
    }
    in_force(&state_dir, started, wanted).await?;
    if !wanted.json {
        output::line(format!("in force after {} ms", started.elapsed().as_millis()));
    }
    let ended = Ended::of(&mut assembly.connectors, &goes).await;
    match wanted.json {
        true => answer(true, json!(ended.removed))?,
        false => ended.show(),
    }
    ended.failure()
}

/// What goes with the views that are dropped: from every sink that stays and takes back what it wrote.
fn removals(assembly: &Assembly, difference: &Difference) -> Vec<(String, ViewName)> {
    let types = assembly.connectors.sinks.iter().zip(&assembly.sink_types);
    let takes_back = types.filter(|(_, kind)| !SINKS_THAT_KEEP.contains(kind)).map(|(slot, _)| slot.sink.name());
    let sinks: Vec<&str> = takes_back.filter(|sink| !difference.sinks.added.contains(*sink)).collect();
    let dropped = difference.views.iter().filter(|(_, change)| **change == ViewChange::Dropped);
    // To some targets a name is the same in other letters: what has only been written otherwise is not gone.
    let comes_again = |view: &ViewName| {
        assembly.views.iter().any(|known| known.def.name.as_str().to_lowercase() == view.as_str().to_lowercase())
    };
    let dropped = dropped.filter(|(view, _)| !comes_again(view));
    dropped.flat_map(|(view, _)| sinks.iter().map(|sink| ((*sink).to_owned(), view.clone()))).collect()
}

/// Waits until the process has brought the file in force.
async fn in_force(state_dir: &Path, started: Instant, wanted: &Apply) -> Result<(), Failure> {
    let mut bar: Option<ProgressBar> = None;
    loop {
        let Some(status) = socket::ask(state_dir, Method::GET, "/api/status").await? else { return Err(gone()) };
        let phase = &status["phase"];
        if phase["name"] != "applying" {
            if let Some(bar) = bar {
                bar.finish_and_clear();
            }
            return Ok(());
        }
        if (phase["doing"] == "loading" || phase["building"] == true) && phase.number("rows") > 0 {
            bar.get_or_insert_with(|| progress::bar(phase.number("rows_estimate"))).set_position(phase.number("rows"));
        }
        if started.elapsed() >= wanted.timeout {
            let message = format!(
                "it is not in force after {} s, and goes on: `tidegate status` says when it is",
                wanted.timeout.as_secs()
            );
            return Err(Failure::new(ErrorKind::Retry, message));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn gone() -> Failure {
    let message = "the process that ran the pipeline has ended; its log says why, and the next `tidegate run` goes on with the \
                   file as it is";
    Failure::new(ErrorKind::Retry, message)
}

fn show(difference: &Difference, goes: &[(String, ViewName)]) {
    let of = |wanted: ViewChange| difference.views.iter().filter(move |(_, change)| **change == wanted);
    let mut lines = Vec::new();
    let mut say = |sign: &str, what: &str, name: &str, how: &str| {
        lines.push([sign, what, name, how].map(str::to_owned).to_vec());
    };
    for (change, sign, how) in [
        (ViewChange::Added, "+", "is computed"),
        (ViewChange::Changed, "~", "means something else: computed anew"),
        (ViewChange::Rebuilt, "~", "what it reads is another, or computed in another way: computed anew"),
    ] {
        of(change).for_each(|(name, _)| say(sign, "view", name.as_str(), how));
    }
    for (name, _) in of(ViewChange::Dropped) {
        let sinks: Vec<&str> = goes.iter().filter(|(_, view)| view == name).map(|(sink, _)| sink.as_str()).collect();
        let becomes = match sinks.is_empty() {
            true => "what sinks have of it stays there, until `tidegate remove` takes it away".to_owned(),
            false => format!("removed from {}", sinks.join(", ")),
        };
        say("-", "view", name.as_str(), &format!("is kept up to date no more; {becomes}"));
    }
    for (what, exchange) in [("source", &difference.sources), ("sink", &difference.sinks)] {
        exchange.added.iter().for_each(|name| say("+", what, name, "is new"));
        exchange.removed.iter().for_each(|name| say("-", what, name, "is used no more"));
    }
    let untouched: Vec<&ViewName> = of(ViewChange::Untouched).map(|(name, _)| name).collect();
    if lines.is_empty() {
        output::line("no view, source or sink comes, goes or is computed anew");
    } else {
        output::table(&lines);
    }
    if !untouched.is_empty() {
        let names = untouched.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
        output::line(format!("untouched: {names}"));
    }
}
