//! The pipeline file: TOML in, a checked description of the pipeline out, or every fault in it
//! with its line. Nothing is connected to and nothing written here.

mod commits;
mod document;
mod environment;
mod fields;
pub mod keys;
mod openlineage;
mod past;
pub mod schema;
mod section;
mod settings;
pub mod sql;
mod storage;
pub mod track;
mod views;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidegate_core::near::did_you_mean;
use tidegate_core::{ViewName, chain};
use tidegate_duck::lake::Storage;
use tidegate_runtime::{OnSinkFailure, ReadBack, SinkSlot, SourceSlot};

use crate::place::{self, Place};
use crate::registry::{self, Datasets, Home, Keeps, Made, Make, Registry, StandardOutput, Surroundings};
pub use document::{Document, Fault};
pub use openlineage::{OpenLineage, Target};
pub use past::Keeper;
pub use section::{Located, Reader, Section};
pub use storage::storage_of_file;
pub use track::Tracked;
pub use views::{NAME_RULE, View, is_name};

/// A pipeline as its file describes it.
pub struct PipelineFile {
    pub name: String,
    pub state_dir: PathBuf,
    /// A folder or an object store URL; `None`: within the state folder.
    pub log: Option<Place>,
    pub log_retention: Option<Duration>,
    /// Whether the sources are those of another pipeline, of which only the log is read.
    pub is_branch: bool,
    pub checkpoint_interval: Option<Duration>,
    pub checkpoint_epochs: Option<u64>,
    /// Bytes of input log.
    pub checkpoint_bytes: Option<u64>,
    pub epoch_interval: Option<Duration>,
    pub workers: Option<usize>,
    pub memory_limit: Option<u64>,
    pub retry_for: Option<Duration>,
    pub stop_timeout: Option<Duration>,
    /// Bytes of changes that are kept for one sink.
    pub sink_lag_max: Option<u64>,
    /// What happens when a sink fails for good or lacks more.
    pub on_sink_failure: Option<OnSinkFailure>,
    pub sources: Vec<SourceSlot>,
    pub views: Vec<View>,
    pub sinks: Vec<SinkSlot>,
    /// The type of each of them.
    pub sink_types: Vec<&'static str>,
    /// The DuckDB files among the sinks, which answer questions about the past.
    pub marts: Vec<Mart>,
    /// The sinks that keep histories.
    pub keepers: Vec<Keeper>,
    /// What sinks write and sources read.
    pub read_backs: Vec<ReadBack>,
    /// The sink that writes to the standard output while a pipeline runs.
    pub stdout_sink: Option<String>,
    /// How objects are reached.
    pub storage: Storage,
    /// What others call the tables of each source and sink.
    pub datasets: AllDatasets,
    /// Who is told where data comes from.
    pub openlineage: Option<OpenLineage>,
}

/// What others call the tables of each source and of each sink, by its name.
#[derive(Debug, Clone, Default)]
pub struct AllDatasets {
    pub sources: BTreeMap<String, Datasets>,
    pub sinks: BTreeMap<String, Datasets>,
}

/// A sink that is a DuckDB file.
#[derive(Debug, Clone)]
pub struct Mart {
    pub sink: String,
    /// The file that people open.
    pub path: PathBuf,
    /// The views it takes; `None`: all.
    pub views: Option<Vec<ViewName>>,
}

/// Reads the pipeline file and the SQL files it names.
pub fn read(path: &Path) -> Result<PipelineFile, Vec<Fault>> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let hint = if error.kind() == std::io::ErrorKind::NotFound {
            "; `tidegate init` makes a pipeline file to start from"
        } else {
            ""
        };
        vec![Fault::of_file(path, format!("the pipeline file cannot be read: {error}{hint}"))]
    })?;
    parse(path, text, &|name| std::env::var(name).ok())
}

/// The same with another text in its place.
pub fn read_text(path: &Path, text: String) -> Result<PipelineFile, Vec<Fault>> {
    parse(path, text, &|name| std::env::var(name).ok())
}

/// Where a pipeline keeps its state.
pub struct Places {
    pub state_dir: PathBuf,
    /// As in [`PipelineFile`].
    pub log: Option<Place>,
}

/// Reads of the pipeline file only where it keeps its state; nothing else has to be right.
pub fn places(path: &Path) -> Result<Places, Vec<Fault>> {
    let variable = |name: &str| std::env::var(name).ok();
    let text = std::fs::read_to_string(path)
        .map_err(|error| vec![Fault::of_file(path, format!("the pipeline file cannot be read: {error}"))])?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let document = Document::new(path, text);
    let places = Section::parse(Reader { document: &document, variable: &variable }).and_then(|mut root| {
        let head = root.section("pipeline");
        let storage = root.sections("storage");
        let mut head = head?;
        let state_dir = head.required_text("state_dir", "name a local folder for logs, checkpoints and engine state");
        let log = head.text("log").map(|log| {
            let storage = storage::read(&document, storage, &variable);
            place::resolve(folder, &storage, &log.value).map_err(|error| (log.offset, chain(&error)))
        });
        let log = log.transpose().map_err(|(offset, error)| document.fault(offset, format!("`log`: {error}"))).ok()?;
        Some(Places { state_dir: folder.join(state_dir?.value), log })
    });
    let faults = document.into_faults();
    match places {
        Some(places) if faults.is_empty() => Ok(places),
        _ if faults.is_empty() => Err(vec![Fault::of_file(path, "there is no [pipeline] table")]),
        _ => Err(faults),
    }
}

fn parse(path: &Path, text: String, variable: &dyn Fn(&str) -> Option<String>) -> Result<PipelineFile, Vec<Fault>> {
    let folder = std::path::absolute(path).ok().and_then(|path| path.parent().map(Path::to_owned)).unwrap_or_default();
    let document = Document::new(path, text);
    let mut foreign = Vec::new();
    let reader = Reader { document: &document, variable };
    let file = Section::parse(reader).and_then(|root| pipeline(&document, &folder, root, variable, &mut foreign));
    let mut faults = document.into_faults();
    faults.append(&mut foreign);
    match file {
        Some(file) if faults.is_empty() => Ok(file),
        _ => Err(faults),
    }
}

/// `None` only with a fault.
fn pipeline(
    document: &Document,
    folder: &Path,
    mut root: Section<'_>,
    variable: &dyn Fn(&str) -> Option<String>,
    foreign: &mut Vec<Fault>,
) -> Option<PipelineFile> {
    let head = root.section("pipeline");
    let sources = root.sections("sources");
    let view_sections = root.sections("views");
    let tracked = root.sections("track");
    let sinks = root.sections("sinks");
    let storage = storage::read(document, root.sections("storage"), variable);
    let openlineage = root.section("openlineage").and_then(|section| openlineage::read(document, folder, section));
    let has_views = !view_sections.is_empty()
        || !tracked.is_empty()
        || head.as_ref().is_some_and(|head| head.place_of("views_dir").is_some());
    let is_branch = head.as_ref().is_some_and(|head| head.place_of("branch_of").is_some());
    let needed = [
        (head.is_some(), "there is no [pipeline] table: add it, with `name` and `state_dir`"),
        (!sources.is_empty() || is_branch, "there is no source: add [sources.NAME] with a `type`"),
        (has_views, "there is no view: add [views.NAME] with `sql`"),
        (!sinks.is_empty(), "there is no sink: add [sinks.NAME] with a `type`"),
    ];
    // What seems to be missing may be there under a misspelt name, and that is a fault already.
    for (_, message) in needed.iter().filter(|(present, _)| !present && !root.has_unknown()) {
        document.fault_of_file(*message);
    }
    root.end();
    let mut head = head?;
    let name = head.required_text("name", "name the pipeline");
    let state_dir = head.required_text("state_dir", "name a local folder for logs, checkpoints and engine state");
    let state_dir = state_dir.filter(|state_dir| {
        let is_local = !state_dir.value.contains("://");
        if !is_local {
            document.fault(state_dir.offset, "`state_dir` is a local folder: `log` and the sinks can be elsewhere");
        }
        is_local
    });
    let log = head.text("log").and_then(|log| {
        let place = place::resolve(folder, &storage, &log.value);
        place.map_err(|error| document.fault(log.offset, format!("`log`: {}", chain(&error)))).ok()
    });
    let log_retention = head.duration("log_retention");
    let epoch_interval = head.duration("epoch_interval");
    let workers = head.integer("workers").and_then(|workers| match usize::try_from(workers.value) {
        Ok(count @ 1..=256) => Some(count),
        _ => {
            document.fault(workers.offset, "`workers` is a number from 1 to 256");
            None
        }
    });
    let memory_limit = head.size("memory_limit");
    let retry_for = head.duration("retry_for");
    let stop_timeout = head.duration("stop_timeout");
    let sink_lag_max = head.size("sink_lag_max");
    let on_sink_failure = head.text("on_sink_failure").and_then(|policy| match policy.value.as_str() {
        "pause" => Some(OnSinkFailure::Pause),
        "detach" => Some(OnSinkFailure::Detach),
        _ => {
            document.fault(policy.offset, "`on_sink_failure` is \"pause\" or \"detach\"");
            None
        }
    });
    let views_dir = head.text("views_dir");
    let branch_of = head.text("branch_of");
    let checkpoint_interval = head.duration("checkpoint_interval");
    let checkpoint_epochs = head.integer("checkpoint_epochs").and_then(|epochs| {
        if epochs.value == 0 {
            document.fault(epochs.offset, "`checkpoint_epochs` is a number from 1 on");
        }
        (epochs.value > 0).then_some(epochs.value)
    });
    let checkpoint_bytes = head.size("checkpoint_bytes");
    head.end();

    let mut views = views::read(document, folder, view_sections, views_dir, foreign);
    track::read(document, tracked, &mut views);
    let pipeline = name.as_ref().map(|name| name.value.clone()).unwrap_or_default();
    let pipeline = pipeline.as_str();
    let state = state_dir.as_ref().map(|state_dir| folder.join(&state_dir.value)).unwrap_or_default();
    let state = state.as_path();
    let mut source_slots = Vec::new();
    let mut homes = Vec::new();
    let mut datasets = AllDatasets::default();
    if let Some(original) = &branch_of {
        if let Some((_, section)) = sources.first() {
            let fact = "a branch has the sources of `branch_of`: remove this one";
            document.fault(section.offset(), fact);
        }
        match read(&folder.join(&original.value)) {
            Ok(file) => (source_slots, datasets.sources) = (file.sources, file.datasets.sources),
            Err(mut faults) => foreign.append(&mut faults),
        }
    }
    for (name, section) in sources {
        let around = Surroundings { pipeline, folder, name: &name, state, storage: &storage, memory_limit };
        let Some(made) = source(document, &around, section) else { continue };
        source_slots.push(made.connector);
        datasets.sources.extend(made.datasets.map(|datasets| (name.clone(), datasets)));
        homes.extend(made.home.map(|home| (name, home.store)));
    }
    let names: BTreeMap<String, ViewName> =
        views.iter().map(|view| (view.def.name.as_str().to_lowercase(), view.def.name.clone())).collect();
    let (mut sink_slots, mut sink_types) = (Vec::new(), Vec::new());
    let mut read_backs = Vec::new();
    let mut stdout_sink = None;
    let (mut marts, mut keepers, mut sinks_faulty) = (Vec::new(), Vec::new(), false);
    for (name, section) in sinks {
        let around = Surroundings { pipeline, folder, name: &name, state, storage: &storage, memory_limit };
        let Some((kind, made)) = sink(document, &around, section, &names) else {
            sinks_faulty = true;
            continue;
        };
        let taken = &made.connector.views;
        marts.extend(made.mart.map(|path| Mart { sink: name.clone(), path, views: taken.clone() }));
        if made.keeps == Keeps::History {
            keepers.push(Keeper { sink: name.clone(), views: taken.clone() });
        }
        if made.standard_output == StandardOutput::Connector {
            stdout_sink = Some(name.clone());
        }
        if let Some(Home { store, schema: Some(schema) }) = made.home {
            let views = || made.connector.views.clone();
            let of_source = |source: &String| ReadBack {
                sink: name.clone(),
                views: views(),
                source: source.clone(),
                schema: schema.clone(),
            };
            read_backs.extend(homes.iter().filter(|(_, home)| *home == store).map(|(source, _)| of_source(source)));
        }
        datasets.sinks.extend(made.datasets.map(|datasets| (name, datasets)));
        sink_slots.push(made.connector);
        sink_types.push(kind);
    }
    if !sinks_faulty {
        foreign.extend(views.iter().filter_map(|view| unkept(view, &keepers)));
    }
    name.as_ref()?;
    Some(PipelineFile {
        name: pipeline.to_owned(),
        state_dir: folder.join(state_dir?.value),
        is_branch,
        checkpoint_interval,
        checkpoint_epochs,
        checkpoint_bytes,
        log,
        log_retention,
        epoch_interval,
        workers,
        memory_limit,
        retry_for,
        stop_timeout,
        sink_lag_max,
        on_sink_failure,
        sources: source_slots,
        views,
        sinks: sink_slots,
        sink_types,
        marts,
        keepers,
        read_backs,
        stdout_sink,
        storage,
        datasets,
        openlineage,
    })
}

/// What is wrong where no sink keeps the past of a view that shall have one.
fn unkept(view: &View, keepers: &[Keeper]) -> Option<Fault> {
    let kept = view.history.as_ref()?;
    if keepers.iter().any(|keeper| keeper.takes(&view.def.name)) {
        return None;
    }
    let (name, built) = (&view.def.name, registry::SINKS_WITH_HISTORY.join(", "));
    let way_out = match keepers.is_empty() {
        true => format!("add a sink of one of the types {built}"),
        false => format!("add `{name}` to the `views` of a sink of one of the types {built}"),
    };
    Some(kept.origin.fault(None, &format!("no sink keeps the history of `{name}`: {way_out}")))
}

fn check_name(document: &Document, offset: usize, what: &str, name: &str) {
    if !views::is_name(name) {
        document.fault(offset, format!("`{name}` cannot name a {what}: {}", views::NAME_RULE));
    }
}

/// The type of a connector, and what makes it.
type Known<C> = (&'static str, Make<C>);

/// The connector that `type` names.
fn connector<C: 'static>(document: &Document, section: &mut Section<'_>, registry: &Registry<C>) -> Option<Known<C>> {
    let names = || registry.built.iter().map(|(name, _)| *name);
    let built = names().collect::<Vec<_>>().join(", ");
    let kind = section.required_text("type", &format!("write one of: {built}"))?;
    let found = registry.built.iter().find(|(name, _)| *name == kind.value);
    if found.is_none() {
        let near = did_you_mean(&kind.value, names());
        document.fault(kind.offset, format!("the type `{}` is not known; known here: {built}{near}", kind.value));
    }
    found.copied()
}

fn source(document: &Document, around: &Surroundings<'_>, mut section: Section<'_>) -> Option<Made<SourceSlot>> {
    check_name(document, section.offset(), "source", around.name);
    let (_, make) = connector(document, &mut section, &registry::SOURCES)?;
    make(around, section)
}

fn sink(
    document: &Document,
    around: &Surroundings<'_>,
    mut section: Section<'_>,
    views: &BTreeMap<String, ViewName>,
) -> Option<(&'static str, Made<SinkSlot>)> {
    check_name(document, section.offset(), "sink", around.name);
    let commits = commits::commits(document, &mut section);
    let chosen = section.texts("views").map(|chosen| {
        let view = |chosen: Located<String>| {
            let found = views.get(&chosen.value.to_lowercase()).cloned();
            if found.is_none() {
                let near = did_you_mean(&chosen.value, views.values().map(ViewName::as_str));
                document.fault(chosen.offset, format!("there is no view `{}`{near}", chosen.value));
            }
            found
        };
        chosen.into_iter().filter_map(view).collect()
    });
    let (kind, make) = connector(document, &mut section, &registry::SINKS)?;
    let keeps = if registry::SINKS_WITH_HISTORY.contains(&kind) { Keeps::History } else { Keeps::Present };
    let made = Made { keeps, ..make(around, section)? };
    Some((kind, made.map(|sink| SinkSlot { sink, views: chosen, commits })))
}
