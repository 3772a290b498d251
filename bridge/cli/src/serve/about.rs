//! What the pipeline file says of a running pipeline.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;
use tidegate_core::ViewName;

use crate::assembly::Assembly;
use crate::commands::check;

/// What the pipeline file says; it changes by `apply` alone.
pub struct About {
    /// Its name.
    pub pipeline: String,
    /// Its state folder.
    pub state_dir: PathBuf,
    /// The sink that writes to the standard output.
    pub stdout_sink: Option<String>,
    /// The type of each source.
    pub sources: BTreeMap<String, String>,
    /// The type of each sink, and the views that it takes.
    pub sinks: BTreeMap<String, (String, Vec<ViewName>)>,
    /// Where each view's SQL stands, and the SQL.
    pub views: BTreeMap<ViewName, (String, String)>,
    /// What is kept of a view's past; null where nothing is.
    pub histories: BTreeMap<ViewName, Value>,
}

impl About {
    /// What the pipeline file says.
    pub fn of(assembly: &Assembly) -> About {
        let sources = assembly.connectors.sources.iter().map(|slot| {
            let id = slot.source.id();
            (id.name.clone(), id.kind.clone())
        });
        let all = || assembly.views.iter().map(|view| view.def.name.clone()).collect::<Vec<_>>();
        let sinks = assembly.connectors.sinks.iter().zip(&assembly.sink_types).map(|(slot, kind)| {
            (slot.sink.name().to_owned(), ((*kind).to_owned(), slot.views.clone().unwrap_or_else(all)))
        });
        let views = assembly.views.iter();
        let views = views.map(|view| (view.def.name.clone(), (view.origin.place(), view.def.sql.clone())));
        let histories = assembly.views.iter().filter(|view| view.history.is_some());
        let histories = histories.map(|view| (view.def.name.clone(), check::history(&view.def.name, assembly)));
        About {
            pipeline: assembly.config.name.clone(),
            state_dir: assembly.config.state_dir.clone(),
            stdout_sink: assembly.stdout_sink.clone(),
            sources: sources.collect(),
            sinks: sinks.collect(),
            views: views.collect(),
            histories: histories.collect(),
        }
    }
}
