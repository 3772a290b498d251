//! What a pipeline file would change in a pipeline that is there. Looks at the newest checkpoint, takes no lock and writes
//! nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tidegate_core::{Epoch, ViewName};
use tidegate_engine::Program;

use crate::checkpoint::{CheckpointFile, Checkpoints};
use crate::recovery::engine_checkpoint;
use crate::state::StateFile;
use crate::{Connectors, PipelineConfig, RuntimeError, read_status};

/// What becomes of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ViewChange {
    /// It is new.
    Added,
    /// It means something else than before, and is computed anew.
    Changed,
    /// It means the same, but what it reads does not, or this version computes it in another way: it is computed anew.
    Rebuilt,
    /// Its state goes on.
    Untouched,
    /// It is there no more. What sinks have of it stays there until somebody has it removed.
    Dropped,
}

/// Connectors that come and go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Exchange {
    /// Those that are new.
    pub added: BTreeSet<String>,
    /// Those that are there no more.
    pub removed: BTreeSet<String>,
}

impl Exchange {
    fn between(before: BTreeSet<String>, after: &BTreeSet<String>) -> Exchange {
        Exchange { added: after - &before, removed: &before - after }
    }
}

/// What a pipeline file would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The epoch that it is compared with: the newest checkpoint's.
    pub epoch: Epoch,
    /// Every view that was or will be there.
    pub views: BTreeMap<ViewName, ViewChange>,
    /// Sources that views read.
    pub sources: Exchange,
    /// Sinks.
    pub sinks: Exchange,
}

/// Compares a pipeline, whose views were planned as `wanted`, with what its state folder holds; `None` where nothing was
/// loaded yet.
pub fn difference(
    config: &PipelineConfig,
    connectors: &Connectors,
    wanted: Program,
) -> Result<Option<Difference>, RuntimeError> {
    let Some(checkpoint) = newest(config)? else { return Ok(None) };
    let definition = engine_checkpoint(&checkpoint)?.definition().clone();
    let present = Program::from_definition(definition).map_err(|faults| {
        RuntimeError::Plan(faults.iter().map(|fault| format!("as it is in force, {fault}")).collect())
    })?;
    let wanted = wanted
        .sharing(Some(&present))
        .map_err(|faults| RuntimeError::Plan(faults.iter().map(ToString::to_string).collect()))?;
    let names = |program: &Program| program.views().iter().map(|view| view.info.name.clone()).collect::<BTreeSet<_>>();
    let circuit = |program: &Program, name: &ViewName| {
        program.circuits().iter().find(|circuit| circuit.info.name == *name).map(|circuit| circuit.plan_id)
    };
    let sql = |program: &Program, name: &ViewName| {
        program
            .definition()
            .views
            .iter()
            .find(|view| view.name == *name)
            .map(|view| (view.sql.clone(), view.key.clone()))
    };
    let change = |name: &ViewName| match (circuit(&present, name), circuit(&wanted, name)) {
        (None, _) => ViewChange::Added,
        (_, None) => ViewChange::Dropped,
        (before, after) if before == after => ViewChange::Untouched,
        _ if sql(&present, name) == sql(&wanted, name) => ViewChange::Rebuilt,
        _ => ViewChange::Changed,
    };
    let views = &names(&present) | &names(&wanted);
    let read =
        |program: &Program| program.tables().iter().map(|table| table.name.source.clone()).collect::<BTreeSet<_>>();
    let sources = Exchange::between(read(&present), &read(&wanted));
    let sinks_before =
        read_status(&config.state_dir)?.into_iter().flat_map(|status| status.sinks.into_keys()).collect();
    let sinks = connectors.sinks.iter().map(|slot| slot.sink.name().to_owned()).collect();
    Ok(Some(Difference {
        epoch: checkpoint.header.epoch,
        views: views.into_iter().map(|name| (name.clone(), change(&name))).collect(),
        sources,
        sinks: Exchange::between(sinks_before, &sinks),
    }))
}

/// The views that a pipeline had when it was saved last: the next run goes on from them, as its file says. None before the
/// first load.
pub fn views_in_force(config: &PipelineConfig) -> Result<BTreeSet<ViewName>, RuntimeError> {
    let Some(checkpoint) = newest(config)? else { return Ok(BTreeSet::new()) };
    let saved = engine_checkpoint(&checkpoint)?;
    Ok(saved.definition().views.iter().map(|view| view.name.clone()).collect())
}

fn newest(config: &PipelineConfig) -> Result<Option<CheckpointFile>, RuntimeError> {
    match StateFile::read(&config.state_dir, &config.name)? {
        Some(_) => Checkpoints::open(&config.state_dir.join("checkpoints"))?.newest(),
        None => Ok(None),
    }
}
