//! `tidegate apply`: shows what the pipeline file changes, and has the process that runs the pipeline bring it in force.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use axum::http::Method;
use indicatif::ProgressBar;
use serde_json::json;
use tidegate_core::{ErrorKind, ViewName};
use tidegate_runtime::{Difference, ViewChange, difference, is_running};

use super::check;
use crate::assembly::{assemble, located};
use crate::failure::Failure;
use crate::output::{self, Json};
use crate::progress;
use crate::serve::socket;

/// How often it is looked whether the process is done.
const PAUSE: Duration = Duration::from_millis(50);

/// What is wanted.
pub struct Apply {
    /// To see the plan and nothing else.
    pub plan: bool,
    /// Not to be asked.
    pub yes: bool,
    /// How long to wait.
    pub timeout: Duration,
    pub json: bool,
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
    let answer = |applied: bool| -> Result<(), Failure> {
        let mut found = output::value(&difference)?;
        found["running"] = json!(runs);
        found["loaded"] = json!(true);
        found["applied"] = json!(applied);
        output::json(&found);
        Ok(())
    };
    if !wanted.json {
        show(&difference);
    }
    let stays = match (wanted.plan, runs) {
        (true, _) => Some("nothing was changed"),
        (false, false) => Some("no process runs the pipeline: the next `tidegate run` brings this in force"),
        (false, true) => None,
    };
    if let Some(text) = stays {
        if wanted.json {
            return answer(false);
        }
        output::line(text);
        return Ok(());
    }
    if !wanted.yes && !is_confirmed()? {
        output::line("nothing was changed");
        return Ok(());
    }
    let started = Instant::now();
    if socket::ask_for(&state_dir, Method::POST, "/api/apply", wanted.timeout).await?.is_none() {
        return Err(gone());
    }
    in_force(&state_dir, started, wanted).await?;
    if wanted.json {
        return answer(true);
    }
    output::line(format!("in force after {} ms", started.elapsed().as_millis()));
    Ok(())
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

fn is_confirmed() -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            "nobody can be asked here: say --yes to bring this in force, or --plan to look only",
        ));
    }
    eprint!("bring this in force? [y/N] ");
    let _ = std::io::stderr().flush();
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line);
    read.map_err(|error| Failure::new(ErrorKind::Retry, format!("the answer cannot be read: {error}")))?;
    Ok(matches!(line.trim().to_lowercase().as_str(), "y" | "yes"))
}

fn show(difference: &Difference) {
    let of = |wanted: ViewChange| difference.views.iter().filter(move |(_, change)| **change == wanted);
    let mut lines = Vec::new();
    let mut say = |sign: &str, what: &str, name: &str, how: &str| {
        lines.push([sign, what, name, how].map(str::to_owned).to_vec());
    };
    for (change, sign, how) in [
        (ViewChange::Added, "+", "is computed"),
        (ViewChange::Changed, "~", "means something else: computed anew"),
        (ViewChange::Rebuilt, "~", "what it reads is another, or computed in another way: computed anew"),
        (ViewChange::Dropped, "-", "is kept up to date no more; what sinks have of it stays there"),
    ] {
        of(change).for_each(|(name, _)| say(sign, "view", name.as_str(), how));
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
