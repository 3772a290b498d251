//! `tidegate remove`: takes away what sinks hold of views that the pipeline does not write there any more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use axum::http::Method;
use serde::Serialize;
use serde_json::json;
use tidegate_core::near::did_you_mean;
use tidegate_core::{ErrorKind, Removal, ViewName, chain};
use tidegate_runtime::{Connectors, is_running, views_in_force};

use super::check;
use crate::assembly::{Assembly, assemble};
use crate::confirm;
use crate::failure::Failure;
use crate::output;
use crate::serve::socket;

/// What is wanted.
pub struct Remove {
    pub views: Vec<String>,
    /// Only these sinks; none: all.
    pub sinks: Vec<String>,
    /// To see what would be removed and nothing else.
    pub plan: bool,
    /// Not to be asked.
    pub yes: bool,
    pub json: bool,
}

/// Looks whether the views are gone from the pipeline, asks, and removes them.
pub async fn remove(path: &Path, wanted: &Remove) -> Result<(), Failure> {
    let mut assembly = assemble(path)?;
    let sinks = sinks(&assembly, &wanted.sinks)?;
    let views: BTreeSet<ViewName> = wanted.views.iter().map(|view| ViewName::new(view.clone())).collect();
    let pairs: Vec<(String, ViewName)> =
        sinks.iter().flat_map(|sink| views.iter().map(|view| (sink.clone(), view.clone()))).collect();
    let in_force = InForce::look(&assembly).await?;
    let refused: Vec<String> =
        pairs.iter().filter_map(|(sink, view)| refusal(&assembly, &in_force, sink, view)).collect();
    if !refused.is_empty() {
        return Err(Failure::several(ErrorKind::Reconfigure, refused));
    }
    if !wanted.json {
        let line = |(sink, view): &(String, ViewName)| vec!["-".to_owned(), view.to_string(), format!("from {sink}")];
        output::table(&pairs.iter().map(line).collect::<Vec<_>>());
    }
    if wanted.plan {
        match wanted.json {
            true => output::json(&json!({ "planned": by_sink(&pairs), "done": false })),
            false => output::line("nothing was changed"),
        }
        return Ok(());
    }
    if !wanted.yes && !confirm::is_confirmed("remove these from the sinks for good")? {
        output::line("nothing was changed");
        return Ok(());
    }
    let ended = Ended::of(&mut assembly.connectors, &pairs).await;
    match wanted.json {
        true => output::json(&output::value(&ended)?),
        false => ended.show(),
    }
    ended.failure()
}

/// The views of each sink.
pub fn by_sink(pairs: &[(String, ViewName)]) -> BTreeMap<String, BTreeSet<ViewName>> {
    let mut found: BTreeMap<String, BTreeSet<ViewName>> = BTreeMap::new();
    for (sink, view) in pairs {
        found.entry(sink.clone()).or_default().insert(view.clone());
    }
    found
}

fn sinks(assembly: &Assembly, wanted: &[String]) -> Result<Vec<String>, Failure> {
    let known: Vec<&str> = assembly.connectors.sinks.iter().map(|slot| slot.sink.name()).collect();
    if let Some(name) = wanted.iter().find(|name| !known.contains(&name.as_str())) {
        let near = did_you_mean(name, known.iter().copied());
        return Err(Failure::usage(format!("there is no sink `{name}`{near}")));
    }
    let is_wanted = |sink: &&str| wanted.is_empty() || wanted.iter().any(|name| name == sink);
    Ok(known.into_iter().filter(is_wanted).map(str::to_owned).collect())
}

/// What is written just now, with names in small letters: targets tell views apart in their own ways.
enum InForce {
    /// By a process: the views of each sink.
    Running(BTreeMap<String, BTreeSet<String>>),
    /// By none: the views that were there last.
    Saved(BTreeSet<String>),
}

impl InForce {
    async fn look(assembly: &Assembly) -> Result<InForce, Failure> {
        let config = &assembly.config;
        let status = match is_running(&config.state_dir) {
            true => socket::ask(&config.state_dir, Method::GET, "/api/status").await?,
            false => None,
        };
        let Some(status) = status else {
            return Ok(InForce::Saved(views_in_force(config)?.iter().map(small).collect()));
        };
        if status["phase"]["name"] == "applying" {
            let message = "another file is on its way to be in force: `tidegate status` says when it is, and then the views that \
                           it dropped can be removed";
            return Err(Failure::new(ErrorKind::Retry, message));
        }
        let views = |sink: &serde_json::Value| {
            let names = sink["views"].as_array().into_iter().flatten();
            names.filter_map(|name| name.as_str().map(str::to_lowercase)).collect()
        };
        let sinks = status["sinks"].as_object().into_iter().flatten();
        Ok(InForce::Running(sinks.map(|(name, sink)| (name.clone(), views(sink))).collect()))
    }
}

fn small(view: &ViewName) -> String {
    view.as_str().to_lowercase()
}

/// Why a view is not removed from a sink, and the way out.
fn refusal(assembly: &Assembly, in_force: &InForce, sink: &str, view: &ViewName) -> Option<String> {
    let slot = assembly.connectors.sinks.iter().find(|slot| slot.sink.name() == sink)?;
    let name = small(view);
    let is_in_file = assembly.views.iter().any(|known| small(&known.def.name) == name);
    let takes = is_in_file && slot.views.as_ref().is_none_or(|taken| taken.iter().any(|taken| small(taken) == name));
    if takes {
        return Some(format!(
            "view {view} is one that sink {sink} takes: take it out of the pipeline file, or of the sink's `views`, and run \
             `tidegate apply`; or name other sinks with --sink"
        ));
    }
    let (is_in_force, way_out) = match in_force {
        InForce::Running(sinks) => (sinks.get(sink).is_some_and(|views| views.contains(&name)), "run `tidegate apply`"),
        InForce::Saved(views) => {
            (!is_in_file && views.contains(&name), "`tidegate run` brings the pipeline file in force")
        }
    };
    is_in_force.then(|| format!("view {view} is still in force in sink {sink}: {way_out}, and then it can be removed"))
}

/// What became of views in sinks.
#[derive(Debug, Default, Serialize)]
pub struct Ended {
    /// What is gone, by sink.
    pub removed: BTreeMap<String, BTreeSet<ViewName>>,
    /// What was not there.
    nothing: BTreeMap<String, BTreeSet<ViewName>>,
    /// What stays, and why.
    kept: BTreeMap<String, BTreeMap<ViewName, String>>,
    /// What is wrong.
    failed: BTreeMap<String, BTreeMap<ViewName, String>>,
    /// Whether nothing is.
    done: bool,
    #[serde(skip)]
    kind: Option<ErrorKind>,
}

impl Ended {
    /// Removes views from sinks.
    pub async fn of(connectors: &mut Connectors, pairs: &[(String, ViewName)]) -> Ended {
        let mut all = Ended::default();
        for tidegate_runtime::Removed { sink, view, ended } in tidegate_runtime::remove(connectors, pairs).await {
            match ended {
                Ok(Removal::Removed) => drop(all.removed.entry(sink).or_default().insert(view)),
                Ok(Removal::Nothing) => drop(all.nothing.entry(sink).or_default().insert(view)),
                Ok(Removal::Kept(reason)) => drop(all.kept.entry(sink).or_default().insert(view, reason)),
                Err(error) => {
                    all.kind = all.kind.or(Some(error.kind()));
                    let message = check::named("sink", &sink, &chain(&error));
                    all.failed.entry(sink).or_default().insert(view, message);
                }
            }
        }
        all.done = all.failed.is_empty();
        all
    }

    /// Tells people what became of them; what is wrong is told by [`Ended::failure`].
    pub fn show(&self) {
        let mut lines = Vec::new();
        let mut say = |sink: &String, view: &ViewName, what: String| {
            lines.push(vec![view.to_string(), format!("sink {sink}"), what]);
        };
        for (what, found) in [("removed", &self.removed), ("there was nothing of it", &self.nothing)] {
            for (sink, views) in found {
                views.iter().for_each(|view| say(sink, view, what.to_owned()));
            }
        }
        for (sink, views) in &self.kept {
            views.iter().for_each(|(view, reason)| say(sink, view, format!("stays: {reason}")));
        }
        output::table(&lines);
    }

    /// The end of the command.
    pub fn failure(&self) -> Result<(), Failure> {
        let messages: Vec<String> = self.failed.values().flat_map(BTreeMap::values).cloned().collect();
        self.kind.map_or(Ok(()), |kind| Err(Failure::several(kind, messages)))
    }
}
