//! `tidegate`: wires connectors, engine and loop together as the pipeline file says.
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 failed
//! and retry may help, 2 wrong usage or configuration, 3 stopped to protect data.

mod arguments;
mod assembly;
mod commands;
mod failure;
mod file;
mod lineage;
mod log;
mod output;
mod place;
mod progress;
mod registry;
mod signals;

use std::process::ExitCode;

use clap::Parser;
use tidegate_core::ErrorKind;

use arguments::{Arguments, Command};
use failure::Failure;

/// DBSP allocates much and in many threads; mimalloc is the faster for it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log::begin(arguments.log_format);
    match run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report();
            failure.exit_code()
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(ErrorKind::Retry, format!("the threads cannot be started: {error}")))?;
    // The command itself runs outside of the runtime, whose threads serve it: engines have runtimes
    // of their own, and those must not be dropped inside of another.
    let _served = runtime.enter();
    futures::executor::block_on(async {
        match command {
            Command::Init { dir } => commands::init::init(&dir),
            Command::Check { pipeline, json } => commands::check::check(&pipeline, json).await,
            Command::Explain { pipeline, view, format } => commands::explain::explain(&pipeline, &view, format).await,
            Command::Run { pipeline, once, until, json } => commands::run::run(&pipeline, once, until, json).await,
            Command::Status { pipeline, json } => commands::status::status(&pipeline, json),
            Command::Doctor { pipeline, install_notify, remove_notify, json } => {
                let announce = (install_notify || remove_notify).then_some(install_notify);
                commands::doctor::doctor(&pipeline, announce, json).await
            }
            Command::Resnapshot { pipeline, source, json } => {
                commands::resnapshot::resnapshot(&pipeline, &source, json).await
            }
            Command::Resync { pipeline, sink, json } => commands::resync::resync(&pipeline, &sink, json).await,
        }
    })
}
