//! From the pipeline file to what the loop works with: its configuration and the connectors.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::ErrorKind;
use tidegate_duck::DuckBinder;
use tidegate_duck::lake::Storage;
use tidegate_runtime::{Connectors, LogLocation, PipelineConfig, RuntimeError};

use crate::failure::Failure;
use crate::file::{self, AllDatasets, Fault, Keeper, Mart, OpenLineage, PipelineFile, View};
use crate::place::Place;

/// How long a stop may take where the pipeline file does not say: less than the 90 seconds that systemd waits.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// A pipeline that is ready to be opened.
pub struct Assembly {
    pub config: PipelineConfig,
    pub connectors: Connectors,
    /// The types of the sinks, in their order.
    pub sink_types: Vec<&'static str>,
    /// How long a stop may take before the process ends all the same.
    pub stop_timeout: Duration,
    /// The views with their places in the files.
    pub views: Vec<View>,
    /// The DuckDB files that answer questions about the past.
    pub marts: Vec<Mart>,
    /// The sinks that keep histories.
    pub keepers: Vec<Keeper>,
    /// The sink that writes to the standard output while the pipeline runs.
    pub stdout_sink: Option<String>,
    /// How objects are reached.
    pub storage: Storage,
    /// What others call the tables of each source and sink.
    pub datasets: AllDatasets,
    /// Who is told where data comes from.
    pub openlineage: Option<OpenLineage>,
}

/// Reads the pipeline file and makes the connectors. Connects to nothing.
pub fn assemble(path: &Path) -> Result<Assembly, Failure> {
    from_file(file::read(path))
}

/// The same with another text in the place of the file's.
pub fn assemble_text(path: &Path, text: String) -> Result<Assembly, Failure> {
    from_file(file::read_text(path, text))
}

fn from_file(file: Result<PipelineFile, Vec<Fault>>) -> Result<Assembly, Failure> {
    let file =
        file.map_err(|faults| Failure::several(ErrorKind::Reconfigure, faults.iter().map(Fault::to_string).collect()))?;
    let views = file.views.iter().map(|view| view.def.clone()).collect();
    let mut config = PipelineConfig::new(file.name, file.state_dir, views);
    config.log = log_location(file.log);
    config.is_branch = file.is_branch;
    config.checkpoint_interval = file.checkpoint_interval.unwrap_or(config.checkpoint_interval);
    config.checkpoint_epochs = file.checkpoint_epochs.unwrap_or(config.checkpoint_epochs);
    config.checkpoint_log_bytes = file.checkpoint_bytes.unwrap_or(config.checkpoint_log_bytes);
    config.log_retention = file.log_retention.unwrap_or(config.log_retention);
    config.epoch_interval = file.epoch_interval.unwrap_or(config.epoch_interval);
    config.workers = file.workers;
    config.memory_limit = file.memory_limit;
    let histories = file.views.iter().filter_map(|view| Some((view.def.name.clone(), view.history.as_ref()?.history)));
    config.histories = histories.collect();
    config.read_backs = file.read_backs;
    config.sink_lag_max = file.sink_lag_max.unwrap_or(config.sink_lag_max);
    config.on_sink_failure = file.on_sink_failure.unwrap_or_default();
    config.retry_for = file.retry_for.unwrap_or(config.retry_for);
    let connectors = Connectors { sources: file.sources, sinks: file.sinks, binder: Arc::new(DuckBinder) };
    Ok(Assembly {
        config,
        connectors,
        sink_types: file.sink_types,
        stop_timeout: file.stop_timeout.unwrap_or(STOP_TIMEOUT),
        views: file.views,
        marts: file.marts,
        keepers: file.keepers,
        stdout_sink: file.stdout_sink,
        storage: file.storage,
        datasets: file.datasets,
        openlineage: file.openlineage,
    })
}

/// Where a log lies that the pipeline file places, or does not.
pub fn log_location(place: Option<Place>) -> LogLocation {
    match place {
        None => LogLocation::StateDir,
        Some(Place::Folder(folder)) => LogLocation::Local(folder),
        Some(Place::Store { store, prefix, url }) => LogLocation::ObjectStore { store, prefix, url },
    }
}

/// The failure, with the faults of views at their places in the files.
pub fn located(error: RuntimeError, views: &[View]) -> Failure {
    match &error {
        RuntimeError::Plan(faults) => {
            Failure::several(error.kind(), faults.iter().map(|fault| in_file(fault, views)).collect())
        }
        _ => error.into(),
    }
}

/// Turns `view NAME, line 2, column 8: …`, which counts from the start of the view's SQL, into a
/// place in the file that holds it. One fault a line.
pub fn in_file(faults: &str, views: &[View]) -> String {
    faults.lines().map(|fault| line_in_file(fault, views)).collect::<Vec<_>>().join("\n")
}

fn line_in_file(fault: &str, views: &[View]) -> String {
    let placed = views.iter().find_map(|view| {
        let name = &view.def.name;
        let rest = fault.strip_prefix("view ")?.strip_prefix(name.as_str())?;
        let (within, message) = match rest.strip_prefix(", line ") {
            Some(rest) => {
                let (line, rest) = rest.split_once(", column ")?;
                let (column, message) = rest.split_once(": ")?;
                (Some((line.parse().ok()?, column.parse().ok()?)), message)
            }
            None => (None, rest.strip_prefix(": ")?),
        };
        Some(view.origin.fault(within, &format!("view {name}: {message}")).to_string())
    });
    placed.unwrap_or_else(|| fault.to_owned())
}

impl From<RuntimeError> for Failure {
    fn from(error: RuntimeError) -> Self {
        Failure::caused(error.kind(), &error).with_repairs(error.repairs())
    }
}
