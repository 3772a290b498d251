//! `tidegate run`: catches up and stops, or goes on until a signal.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tidegate_core::near::did_you_mean;
use tidegate_core::{ErrorKind, Frontier};
use tidegate_runtime::{Observer, Pipeline, RunSummary, RunUntil, RuntimeError, StopSignal};

use crate::arguments::Until;
use crate::assembly::{Assembly, assemble, located};
use crate::ending;
use crate::failure::Failure;
use crate::observers::Observers;
use crate::openlineage::{Ended, Lineage};
use crate::output::{self, Json};
use crate::serve::{About, Monitor, Server};
use crate::signals;
use crate::telemetry::Telemetry;

/// Runs a pipeline and says what it did.
pub async fn run(
    path: &Path,
    once: bool,
    until: Option<Until>,
    http: Option<SocketAddr>,
    json: bool,
) -> Result<(), Failure> {
    let until = match (until, once) {
        (Some(_), true) => return Err(Failure::usage("--once and --until exclude each other: give one of them")),
        (Some(Until::Epoch(epoch)), false) => RunUntil::Epoch(epoch),
        (Some(Until::Frontier(frontier)), false) => RunUntil::Frontier(frontier),
        (None, true) => RunUntil::Once,
        (None, false) => RunUntil::Stopped,
    };
    let mut assembly = assemble(path)?;
    if let RunUntil::Frontier(frontier) = &until {
        names_sources(frontier, &assembly)?;
    }
    let stop = StopSignal::new();
    signals::stop_on_signal(stop.clone(), assembly.stop_timeout)
        .map_err(|error| Failure::new(ErrorKind::Retry, format!("signals cannot be handled: {error}")))?;
    match &assembly.stdout_sink {
        Some(sink) if json => {
            return Err(Failure::usage(format!(
                "sink {sink} writes to the standard output, and so does --json: give the sink the path of a file, or \
                 leave --json out"
            )));
        }
        Some(_) => output::results_to_standard_error(),
        None => {}
    }
    let monitor = Arc::new(Monitor::new(About::of(&assembly)));
    let server = Server::new(path, Arc::clone(&monitor), stop.clone())?;
    if let Some(address) = http {
        server.listen(address).await?;
    }
    let state_dir = assembly.config.state_dir.clone();
    let telemetry = Telemetry::begin(&monitor);
    let mut observers: Vec<Arc<dyn Observer>> = vec![Arc::clone(&monitor) as Arc<dyn Observer>];
    observers.extend(telemetry.observer());
    let lineage = Lineage::begin(&mut assembly, &until);
    observers.extend(lineage.as_ref().map(Lineage::observer));
    let observer: Arc<dyn Observer> = Arc::new(Observers(observers));
    let is_endless = until == RunUntil::Stopped;
    let told = Told { server: &server, monitor: &monitor, observer: &observer, lineage: lineage.as_ref() };
    let summary = ran(assembly, until, &told, &stop).await;
    match &summary {
        Ok(_) => monitor.over(),
        Err(failure) => ending::note(&state_dir, failure),
    }
    let of_lineage = async {
        let Some(lineage) = lineage else { return };
        let ended = match &summary {
            Ok(_) if is_endless || !stop.is_stopped() => Ended::Complete,
            Ok(_) => Ended::Abort,
            // It was stopped while it loaded.
            Err(failure) if stop.is_stopped() && failure.code() == 1 => Ended::Abort,
            Err(failure) => Ended::Fail(failure),
        };
        lineage.finish(ended).await;
    };
    futures::join!(of_lineage, telemetry.finish());
    let summary = summary?;
    let summary = output::value(&summary)?;
    if json {
        output::json(&summary);
    } else {
        show(&summary);
    }
    Ok(())
}

/// A frontier of sources that there are: any other would never be reached.
fn names_sources(frontier: &Frontier, assembly: &Assembly) -> Result<(), Failure> {
    let there: Vec<String> = assembly.connectors.sources.iter().map(|slot| slot.source.id().to_string()).collect();
    let Some(unknown) = frontier.iter().map(|(id, _)| id.to_string()).find(|id| !there.contains(id)) else {
        return Ok(());
    };
    let near = did_you_mean(&unknown, there.iter().map(String::as_str));
    Err(Failure::usage(format!("--until: there is no source `{unknown}`{near}; here are {}", there.join(", "))))
}

/// Who is told of a run.
struct Told<'a> {
    server: &'a Arc<Server>,
    monitor: &'a Monitor,
    observer: &'a Arc<dyn Observer>,
    lineage: Option<&'a Lineage>,
}

/// Runs a pipeline, and after it those that other pipeline files make of it.
async fn ran(
    mut assembly: Assembly,
    until: RunUntil,
    told: &Told<'_>,
    stop: &StopSignal,
) -> Result<RunSummary, Failure> {
    let Told { server, monitor, observer, lineage } = told;
    let (mut socket, mut before, mut beside) = (None, None, None);
    loop {
        let Assembly { config, connectors, views, .. } = assembly;
        let state_dir = config.state_dir.clone();
        let observer = Arc::clone(*observer);
        let opened = match before.take() {
            Some(pipeline) => Pipeline::reopen(pipeline, config, connectors, observer, beside.take()).await,
            None => Pipeline::open(config, connectors, observer).await,
        };
        let mut pipeline = opened.map_err(|error| located(error, &views))?;
        ending::forget(&state_dir);
        // The run may end for another pipeline file to take its place.
        let turn = StopSignal::new();
        server.begin(pipeline.handle(), (until == RunUntil::Stopped).then(|| turn.clone()));
        let socket = match &mut socket {
            Some(socket) => {
                monitor.applied();
                tracing::info!(name: "applied", "goes on as the pipeline file says now");
                socket
            }
            none => none.insert(server.open(&state_dir)?),
        };
        let stopped = async {
            stop.stopped().await;
            turn.stop();
            std::future::pending::<Infallible>().await
        };
        let summary = tokio::select! {
            summary = pipeline.run(until.clone(), turn.clone()) => summary,
            never = stopped => match never {},
        };
        match (summary, server.next().filter(|_| !stop.is_stopped())) {
            // A load that was not complete is begun again, as the file says now.
            (Ok(_) | Err(RuntimeError::StoppedWhileLoading), Some(next)) => {
                if let Some(lineage) = lineage {
                    lineage.apply(&next.assembly);
                }
                (assembly, beside) = (next.assembly, next.beside);
                before = Some(pipeline);
            }
            (Ok(summary), None) => {
                socket.finished();
                return Ok(summary);
            }
            (Err(error), _) => return Err(located(error, &views)),
        }
    }
}

fn show(summary: &Value) {
    let (epochs, rows) = (summary.number("epochs"), summary.number("source_rows"));
    output::line(match epochs {
        0 => format!("epoch {}: nothing new", summary.number("epoch")),
        1 => format!("epoch {}: {} source rows", summary.number("epoch"), output::grouped(rows)),
        _ => format!("epoch {}: {} source rows in {epochs} epochs", summary.number("epoch"), output::grouped(rows)),
    });
    output::view_rows(summary, "changed rows");
    for source in summary["recopied"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        output::line(format!("source {source}: its past was gone, its tables were copied again"));
    }
    for (sink, views) in summary.entries("resynced") {
        let rows: u64 = views.as_object().into_iter().flatten().filter_map(|(_, rows)| rows.as_u64()).sum();
        output::line(format!("sink {sink}: compared with the views, {} rows differed", output::grouped(rows)));
    }
    output::line(format!("frontier {}", summary["frontier"]));
    let phases: Vec<String> = ["read", "log", "step", "commit", "checkpoint"]
        .iter()
        .map(|phase| format!("{phase} {}", summary["phases_ms"].number(phase)))
        .collect();
    output::line(format!("{} ms ({})", summary.number("elapsed_ms"), phases.join(", ")));
}
