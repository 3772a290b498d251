//! `tidegate resync`: brings a sink in line with the view state, by their difference.

use std::path::Path;
use std::sync::Arc;

use crate::assembly::{assemble, located};
use crate::ending;
use crate::failure::Failure;
use crate::output::{self, Json};
use crate::progress::Display;
use tidegate_core::near::did_you_mean;

/// Compares and writes.
pub async fn resync(path: &Path, sink: &str, json: bool) -> Result<(), Failure> {
    let assembly = assemble(path)?;
    let sinks = || assembly.connectors.sinks.iter().map(|slot| slot.sink.name());
    if !sinks().any(|known| known == sink) {
        return Err(Failure::usage(format!("there is no sink `{sink}`{}", did_you_mean(sink, sinks()))));
    }
    let state_dir = assembly.config.state_dir.clone();
    let summary = tidegate_runtime::resync(assembly.config, assembly.connectors, sink, Arc::new(Display::default()))
        .await
        .map_err(|error| located(error, &assembly.views))?;
    ending::forget(&state_dir);
    let summary = output::value(&summary)?;
    if json {
        output::json(&summary);
        return Ok(());
    }
    output::line(format!("sink {sink} holds epoch {}", summary.number("epoch")));
    output::view_rows(&summary, "rows that differed");
    Ok(())
}
