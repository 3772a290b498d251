//! `check`: looks at everything and writes nothing.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;
use tidegate_core::near::did_you_mean;
use tidegate_core::{Frontier, Position, RowIdentity, ViewName, chain};
use tidegate_engine::{Input, Program};
use uuid::Uuid;

use crate::findings::{self, Findings};
use crate::log::InputLog;
use crate::patience::Patience;
use crate::state::StateFile;
use crate::{Connectors, LogLocation, PipelineConfig, RuntimeError, SinkSlot, planner};

/// What was found; one run shows all faults.
#[derive(Debug)]
pub struct CheckReport {
    /// The program, when every view is sound.
    pub program: Option<Program>,
    /// How each view will be maintained, or what is wrong with it.
    pub views: BTreeMap<ViewName, Result<CheckedView, String>>,
    /// Where each source stands, or why it cannot be asked.
    pub sources: BTreeMap<String, Result<Position, String>>,
    /// Whether each sink can be opened.
    pub sinks: BTreeMap<String, Result<(), String>>,
    /// Whether the state folder is this pipeline's, or still to be made.
    pub state: Result<(), RuntimeError>,
    /// What the sources say of themselves.
    pub findings: Findings,
}

/// How a view will be maintained.
#[derive(Debug, Clone)]
pub struct CheckedView {
    /// `incremental`.
    pub mode: &'static str,
    /// How its rows are addressed.
    pub row_identity: RowIdentity,
    /// Its columns.
    pub columns: SchemaRef,
    /// What it reads.
    pub inputs: Vec<Input>,
}

/// Checks a pipeline against its sources and sinks as they are now.
pub async fn check(config: &PipelineConfig, connectors: &mut Connectors) -> CheckReport {
    let patience = Patience::with(config);
    let mut sources = BTreeMap::new();
    for slot in &mut connectors.sources {
        let name = slot.source.id().name.clone();
        let head = patience.wait_for(async || slot.source.head().await).await;
        sources.insert(name, head.map_err(|error| chain(&error)));
    }
    let mut offered: Vec<_> = connectors.sources.iter_mut().map(|slot| &mut slot.source).collect();
    let planned = loop {
        let planned = planner::plan(&mut offered, config, &*connectors.binder, &Frontier::new()).await;
        match planned.unreachable.first() {
            Some((_, error)) if patience.lets_try_again(error).await => {}
            _ => break planned,
        }
    };
    for (id, error) in &planned.unreachable {
        sources.insert(id.name.clone(), Err(chain(error)));
    }
    let mut views: BTreeMap<ViewName, Result<CheckedView, String>> = BTreeMap::new();
    for view in &config.views {
        let of_program = planned.sound.iter().flat_map(Program::views).find(|planned| planned.info.name == view.name);
        let found = match (planned.faults.get(&view.name), of_program) {
            (Some(faults), _) => Err(faults.join("\n")),
            (None, Some(planned)) => Ok(CheckedView {
                mode: "incremental",
                row_identity: planned.info.identity.clone(),
                columns: planned.info.schema.clone(),
                inputs: planned.inputs.clone(),
            }),
            (None, None) => Err(format!("view {}: it cannot be planned before what it reads is sound", view.name)),
        };
        views.insert(view.name.clone(), found);
    }
    let mut sinks = BTreeMap::new();
    for slot in &mut connectors.sinks {
        let name = slot.sink.name().to_owned();
        let taken = |view: &ViewName| slot.views.as_ref().is_none_or(|filter| filter.contains(view));
        let infos: Vec<_> = planned.sound.iter().flat_map(Program::views).map(|view| view.info.clone()).collect();
        let infos: Vec<_> = infos.into_iter().filter(|info| taken(&info.name)).collect();
        let opened = match unknown_view(slot, config) {
            Some(fault) => Err(fault),
            None => {
                let opened = patience.wait_for(async || slot.sink.open(&infos).await).await;
                opened.map(drop).map_err(|error| chain(&error))
            }
        };
        sinks.insert(name, opened);
    }
    let findings = findings::of_planned(&planned, config, connectors).await;
    let state = look_at_state(config).await;
    CheckReport { program: planned.program, views, sources, sinks, state, findings }
}

/// Whether a run can begin with the state folder and the log as they are: without the one, the other holds nothing, or a checkpoint
/// to make the folder of again.
pub(crate) async fn look_at_state(config: &PipelineConfig) -> Result<(), RuntimeError> {
    if StateFile::read(&config.state_dir, &config.name)?.is_some() {
        return Ok(());
    }
    let log = match &config.log {
        LogLocation::StateDir => InputLog::look(&config.state_dir.join("log"), Uuid::nil())?,
        LogLocation::Local(dir) => InputLog::look(dir, Uuid::nil())?,
        LogLocation::ObjectStore { .. } => {
            if let Some(mut depot) = config.log.depot()
                && !depot.epochs().await?.is_empty()
            {
                return Ok(());
            }
            InputLog::open(&config.log, &config.state_dir, Uuid::nil())?
        }
    };
    if log.is_empty().await? { Ok(()) } else { Err(RuntimeError::log_without_state(&log.name(), &config.state_dir)) }
}

/// What is wrong with the views that a sink takes.
pub(crate) fn unknown_view(slot: &SinkSlot, config: &PipelineConfig) -> Option<String> {
    let known = || config.views.iter().map(|view| view.name.as_str());
    let unknown = slot.views.iter().flatten().find(|name| !known().any(|view| view == name.as_str()))?;
    let near = did_you_mean(unknown.as_str(), known());
    Some(format!("it takes view {unknown}, which the pipeline does not have{near}"))
}
