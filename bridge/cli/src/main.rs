//! `tidegate`: wires connectors, engine and loop together as the pipeline file says.
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 failed
//! and retry may help, 2 wrong usage or configuration, 3 stopped to protect data.

mod arguments;
mod assembly;
mod commands;
mod confirm;
mod ending;
mod estimate;
mod failure;
mod file;
mod lineage;
mod log;
mod observers;
mod openlineage;
mod outbound;
mod output;
mod past;
mod picture;
mod place;
mod progress;
#[cfg(test)]
mod reference;
mod registry;
mod serve;
mod signals;
mod telemetry;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use tidegate_core::ErrorKind;

use arguments::{Arguments, Asking, Command};
use commands::apply::{Apply, Dropped};
use commands::asof::AsOf;
use commands::diff::Diff;
use commands::remove::Remove;
use estimate::Flags;
use failure::Failure;
use log::LogFormat;

/// DBSP allocates much and in many threads; mimalloc is the faster for it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let log_format = arguments.log_format;
    log::begin(log_format);
    match run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            match log_format {
                LogFormat::Text => failure.report(),
                LogFormat::Json => failure.log(),
            }
            failure.exit_code()
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    // A question about the past needs no threads for it, and none has to be waited for at its end.
    let is_question = matches!(command, Command::Asof { .. } | Command::Diff { .. } | Command::Sql { .. });
    let mut runtime = match is_question {
        true => tokio::runtime::Builder::new_current_thread(),
        false => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = runtime
        .enable_all()
        .build()
        .map_err(|error| Failure::new(ErrorKind::Retry, format!("the threads cannot be started: {error}")))?;
    // The command itself runs outside of the runtime, whose threads serve it: engines have runtimes
    // of their own, and those must not be dropped inside of another.
    let served = runtime.enter();
    let done = futures::executor::block_on(async {
        match command {
            Command::Init { dir } => commands::init::init(&dir),
            Command::Check { pipeline, json } => commands::check::check(&pipeline, json).await,
            Command::Explain { pipeline, view, format } => commands::explain::explain(&pipeline, &view, format).await,
            Command::Estimate { pipeline, rows, changes, commits, groups, filter, json } => {
                let flags = Flags { rows, changes, commits, groups, filter };
                commands::estimate::estimate(&pipeline, &flags, json).await
            }
            Command::Run { pipeline, once, until, http, json } => {
                commands::run::run(&pipeline, once, until, http, json).await
            }
            Command::Apply { pipeline, plan, yes, remove_dropped, timeout, json } => {
                let dropped = if remove_dropped { Dropped::Removed } else { Dropped::Stay };
                commands::apply::apply(&pipeline, &Apply { plan, yes, dropped, timeout, json }).await
            }
            Command::Remove { pipeline, view, sink, plan, yes, json } => {
                let wanted = Remove { views: view, sinks: sink, plan, yes, json };
                commands::remove::remove(&pipeline, &wanted).await
            }
            Command::Status { pipeline, json } => commands::status::status(&pipeline, json).await,
            Command::Top { pipeline } => commands::top::top(&pipeline).await,
            Command::Drain { pipeline, timeout, json } => commands::drain::drain(&pipeline, timeout, json).await,
            Command::Doctor { pipeline, install_notify, remove_notify, json } => {
                let announce = (install_notify || remove_notify).then_some(install_notify);
                commands::doctor::doctor(&pipeline, announce, json).await
            }
            Command::Resnapshot { pipeline, source, json } => {
                commands::resnapshot::resnapshot(&pipeline, &source, json).await
            }
            Command::Rewind { pipeline, to, epoch, timestamp, discard_after, branch, out, json } => {
                let target = commands::rewind::target(to, epoch, timestamp)?;
                match branch.zip(out) {
                    Some((name, out)) => commands::rewind::branch(&pipeline, &target, &name, &out, json).await,
                    None => commands::rewind::rewind(&pipeline, &target, discard_after, json).await,
                }
            }
            Command::Resync { pipeline, sink, json } => commands::resync::resync(&pipeline, &sink, json).await,
            Command::Asof { pipeline, view, at, limit, asking: Asking { key, sink, format } } => {
                let sink = sink.as_deref();
                commands::asof::asof(&pipeline, &AsOf { view: &view, at: &at, key: &key, limit, sink, format })
            }
            Command::Diff { pipeline, view, from, to, asking: Asking { key, sink, format } } => {
                let sink = sink.as_deref();
                commands::diff::diff(&pipeline, &Diff { view: &view, from: &from, to: &to, key: &key, sink, format })
            }
            Command::Sql { pipeline, query, sink, format } => {
                commands::sql::sql(&pipeline, &query, sink.as_deref(), format)
            }
            Command::Track { pipeline, table, key, retention } => {
                commands::track::track(&pipeline, &table, &key, retention.as_deref()).await
            }
            Command::Untrack { pipeline, table } => commands::track::untrack(&pipeline, &table),
            Command::Completions { shell } => {
                let mut command = Arguments::command();
                clap_complete::generate(shell, &mut command, "tidegate", &mut std::io::stdout());
                Ok(())
            }
            Command::Man => commands::man::man(),
            Command::Schema => {
                commands::schema::show();
                Ok(())
            }
            Command::Backup { pipeline, dest, keep, json } => {
                commands::backup::backup(&pipeline, &dest, keep, json).await
            }
            Command::Restore { src, dir, at, storage, json } => {
                commands::restore::restore(&src, &dir, at.as_deref(), storage.as_deref(), json).await
            }
        }
    });
    drop(served);
    // Views that were being built for another pipeline file are waited for by nobody.
    runtime.shutdown_background();
    done
}
