//! What is known of a running pipeline: it is told by the loop, and asked by the handlers of requests, which never wait for the
//! loop.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use serde_json::{Map, Value, json};
use tidegate_core::{ChangeType, Epoch, EpochHeader, Micros, RowIdentity, ViewDelta, ViewName};
use tidegate_engine::Program;
use tidegate_runtime::{Clock, Observer, Phase, Progress, SinkState, SourceState, Status};

use super::about::About;
use super::figures::{EpochFigures, Figures};
use super::metrics::Metrics;
use super::values;
use crate::progress::Display;

/// Changed rows of a view that are remembered.
const CHANGES_KEPT: usize = 50;
/// Failures that are remembered.
const TROUBLES_KEPT: usize = 20;

/// Listens to a pipeline and remembers what is asked for; shows the progress of loads on the way.
pub struct Monitor {
    about: RwLock<Arc<About>>,
    pub metrics: Metrics,
    display: Display,
    started_at: Micros,
    seen: Mutex<Seen>,
}

struct Seen {
    status: Option<Status>,
    phase: Phase,
    since: Instant,
    is_draining: bool,
    applying: Applying,
    /// Rows that were read for views that are being built beside the others, and how many there are.
    builds: Option<(u64, Option<u64>)>,
    is_over: bool,
    loaded: u64,
    expected: Option<u64>,
    figures: Figures,
    program: Option<Arc<Program>>,
    /// The last changes of each view, newest first, and the last epoch that changed it.
    changes: BTreeMap<ViewName, Changes>,
    troubles: VecDeque<Trouble>,
}

/// How far another pipeline file is on its way to be in force.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Applying {
    No,
    /// The pipeline as it was comes to the end of its epoch.
    Asked,
    /// The pipeline is open as it is to be.
    Opened,
}

#[derive(Default)]
struct Changes {
    last_epoch: Epoch,
    last_rows: u64,
    recent: VecDeque<Changed>,
}

struct Changed {
    epoch: Epoch,
    time: Micros,
    rows: RecordBatch,
    change: Vec<ChangeType>,
    copies: Vec<u64>,
}

/// A source or a sink that failed.
struct Trouble {
    what: String,
    message: String,
    since: Micros,
    resolved_at: Option<Micros>,
}

impl Monitor {
    pub fn new(about: About) -> Monitor {
        let seen = Seen {
            status: None,
            phase: Phase::Waiting,
            since: Instant::now(),
            is_draining: false,
            applying: Applying::No,
            builds: None,
            is_over: false,
            loaded: 0,
            expected: None,
            figures: Figures::default(),
            program: None,
            changes: BTreeMap::new(),
            troubles: VecDeque::new(),
        };
        Monitor {
            about: RwLock::new(Arc::new(about)),
            metrics: Metrics::new(),
            display: Display::default(),
            started_at: now(),
            seen: Mutex::new(seen),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // Nothing is left half told, so a poisoned lock is as good as another.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the pipeline file says that is in force, or is being brought in force.
    pub fn about(&self) -> Arc<About> {
        Arc::clone(&self.about.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Another pipeline file is being brought in force.
    pub fn applying(&self, about: About) {
        let mut seen = self.seen();
        seen.applying = Applying::Asked;
        let known = |what: &str| {
            about.sources.keys().any(|name| what == format!("source {name}"))
                || about.sinks.keys().any(|name| what == format!("sink {name}"))
        };
        for trouble in seen.troubles.iter_mut().filter(|trouble| trouble.resolved_at.is_none() && !known(&trouble.what))
        {
            trouble.resolved_at = Some(now());
        }
        *self.about.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(about);
    }

    /// So many rows more were read for views that are being built beside the others, of so many in all.
    pub fn builds(&self, read: Option<(u64, Option<u64>)>) {
        let mut seen = self.seen();
        let before = seen.builds;
        seen.builds = read.map(|(rows, estimate)| {
            let (known, expected) = before.unwrap_or_default();
            (known + rows, estimate.or(expected))
        });
    }

    /// The pipeline is open as the other file says.
    pub fn applied(&self) {
        self.seen().applying = Applying::Opened;
    }

    /// Whether the program has the views of the pipeline file.
    fn is_in_force(&self, seen: &Seen) -> bool {
        let about = self.about();
        let wanted = about.views.iter().map(|(name, (_, sql))| (name, sql)).collect::<BTreeMap<_, _>>();
        let has = |program: &Arc<Program>| {
            let views = program.definition().views.iter().map(|view| (&view.name, &view.sql));
            views.collect::<BTreeMap<_, _>>() == wanted
        };
        seen.program.as_ref().is_some_and(has)
    }

    /// The pipeline has been asked to stop.
    pub fn draining(&self) {
        self.seen().is_draining = true;
    }

    /// The run has ended.
    pub fn over(&self) {
        self.seen().is_over = true;
    }

    /// The program in force, once there is one.
    pub fn program(&self) -> Option<Arc<Program>> {
        self.seen().program.clone()
    }

    /// What the loop does.
    pub fn phase(&self) -> Phase {
        self.seen().phase
    }

    /// The last epoch, if one was seen.
    pub fn epoch(&self) -> Epoch {
        self.seen().status.as_ref().map_or(Epoch::ZERO, |status| status.epoch)
    }

    /// Whether views are served: they are loaded, and the run goes on.
    pub fn is_ready(&self) -> bool {
        let seen = self.seen();
        seen.status.as_ref().is_some_and(|status| status.epoch > Epoch::ZERO) && !seen.is_over
    }

    /// The last epochs, oldest first.
    pub fn epochs(&self, count: usize) -> Vec<EpochFigures> {
        self.seen().figures.last(count)
    }

    /// Everything about the pipeline as a whole.
    pub fn status(&self, can_control: bool) -> Value {
        let seen = self.seen();
        let status = seen.status.as_ref();
        let mut found = match status.map(serde_json::to_value) {
            Some(Ok(Value::Object(found))) => found,
            _ => Map::new(),
        };
        let about = self.about();
        let phase = match (seen.is_over, seen.is_draining, seen.applying != Applying::No) {
            (true, ..) => "stopped",
            (false, true, _) => "draining",
            (false, false, true) => "applying",
            (false, false, false) => seen.phase.as_str(),
        };
        let is_loading = seen.phase == Phase::Loading;
        found.insert("pipeline".into(), json!(about.pipeline));
        found.insert("version".into(), json!(env!("CARGO_PKG_VERSION")));
        found.insert("now".into(), json!(now().to_string()));
        found.insert("started_at".into(), json!(self.started_at.to_string()));
        found.insert(
            "phase".into(),
            json!({
                "name": phase,
                "doing": seen.phase.as_str(),
                "since_ms": milliseconds(seen.since.elapsed()),
                "rows": if is_loading { Some(seen.loaded) } else { seen.builds.map(|(rows, _)| rows) },
                "rows_estimate": if is_loading { seen.expected } else { seen.builds.and_then(|(_, rows)| rows) },
                "building": seen.builds.is_some(),
            }),
        );
        found.insert("totals".into(), json!(seen.figures.totals()));
        found.insert("rates".into(), json!(seen.figures.rates()));
        found.insert("sources".into(), Monitor::sources(&seen, &about));
        found.insert("views".into(), Monitor::views(&seen, &about));
        found.insert("sinks".into(), Monitor::sinks(&seen, &about));
        found.insert("errors".into(), seen.troubles.iter().map(Trouble::to_json).collect());
        found.insert("can_control".into(), json!(can_control));
        Value::Object(found)
    }

    fn sources(seen: &Seen, about: &About) -> Value {
        let of_source = |(name, source_type): (&String, &String)| {
            let source = seen.status.as_ref().and_then(|status| status.sources.get(name));
            let mut found = object(source);
            found.insert("type".into(), json!(source_type));
            let tables = seen.program.iter().flat_map(|program| program.tables());
            let tables = tables.filter(|table| table.name.source == *name).map(|table| table.name.to_string());
            found.insert("tables".into(), tables.collect());
            seen.overlay(&format!("source {name}"), &mut found);
            (name.clone(), Value::Object(found))
        };
        Value::Object(about.sources.iter().map(of_source).collect())
    }

    fn views(seen: &Seen, about: &About) -> Value {
        let of_view = |name: &ViewName| {
            let mut found = object(seen.status.as_ref().and_then(|status| status.views.get(name)));
            let planned = seen.program.as_ref().and_then(|program| program.view(name));
            let reads: Vec<String> = planned.iter().flat_map(|view| &view.inputs).map(ToString::to_string).collect();
            let changes = seen.changes.get(name);
            let key = planned.and_then(|view| match &view.info.identity {
                RowIdentity::Key(key) => {
                    let name = |column: &usize| view.info.schema.field(*column).name().clone();
                    Some(key.iter().map(name).collect::<Vec<_>>())
                }
                RowIdentity::Rowid | RowIdentity::WholeRow => None,
            });
            found.insert("key".into(), json!(key));
            found.insert("reads".into(), json!(reads));
            found.insert("last_epoch".into(), json!(changes.map(|changes| changes.last_epoch)));
            found.insert("last_changed_rows".into(), json!(changes.map(|changes| changes.last_rows)));
            found.insert("temporal".into(), json!(about.histories.contains_key(name)));
            (name.to_string(), Value::Object(found))
        };
        Value::Object(about.views.keys().map(of_view).collect())
    }

    fn sinks(seen: &Seen, about: &About) -> Value {
        let of_sink = |(name, (sink_type, views)): (&String, &(String, Vec<ViewName>))| {
            let sink = seen.status.as_ref().and_then(|status| status.sinks.get(name));
            let mut found = object(sink);
            found.insert("type".into(), json!(sink_type));
            found.insert("views".into(), json!(views));
            seen.overlay(&format!("sink {name}"), &mut found);
            (name.clone(), Value::Object(found))
        };
        Value::Object(about.sinks.iter().map(of_sink).collect())
    }

    /// The epoch up to which the sinks that keep the history of a view hold it.
    pub fn kept_until(&self, view: &ViewName) -> Option<Epoch> {
        let (seen, about) = (self.seen(), self.about());
        let keepers = about.histories.get(view)?["sinks"].as_array()?.iter().filter_map(Value::as_str);
        let status = seen.status.as_ref()?;
        keepers.filter_map(|sink| status.sinks.get(sink)?.epoch).min().filter(|epoch| *epoch > Epoch::ZERO)
    }

    /// The last changed rows of a view, newest epoch first.
    pub fn changes(&self, view: &ViewName, rows_max: usize) -> Vec<Value> {
        let seen = self.seen();
        let mut found = Vec::new();
        for changed in seen.changes.get(view).iter().flat_map(|changes| &changes.recent) {
            let Ok(values) = values::rows(&changed.rows) else { continue };
            for ((values, change), copies) in values.into_iter().zip(&changed.change).zip(&changed.copies) {
                if found.len() == rows_max {
                    return found;
                }
                let (epoch, time) = (changed.epoch, changed.time.to_string());
                let change = change.as_str();
                found.push(
                    json!({ "epoch": epoch, "time": time, "change": change, "copies": copies, "values": values }),
                );
            }
        }
        found
    }

    fn note_changes(&self, header: &EpochHeader, deltas: &[ViewDelta]) {
        let mut seen = self.seen();
        for delta in deltas {
            let changes = seen.changes.entry(delta.view.clone()).or_default();
            let rows: usize = delta.batches.iter().map(|batch| batch.rows.num_rows()).sum();
            (changes.last_epoch, changes.last_rows) = (header.epoch, rows as u64);
            // The first rows of the epoch; those of the epochs before follow them.
            let mut room = CHANGES_KEPT;
            let mut recent = VecDeque::new();
            for batch in &delta.batches {
                let count = room.min(batch.rows.num_rows());
                let indices: arrow::array::UInt32Array = (0..count as u32).collect();
                // Copied, so that the whole batch need not stay for them.
                let Ok(rows) = arrow::compute::take_record_batch(&batch.rows, &indices) else { continue };
                let copies = batch.weights.values()[..count].iter().map(|weight| weight.unsigned_abs()).collect();
                let change = batch.change[..count].to_vec();
                recent.push_back(Changed { epoch: header.epoch, time: header.time, rows, change, copies });
                room -= count;
                if room == 0 {
                    break;
                }
            }
            while let Some(changed) = changes.recent.pop_front().filter(|_| room > 0) {
                room = room.saturating_sub(changed.rows.num_rows());
                recent.push_back(changed);
            }
            changes.recent = recent;
        }
    }

    fn note_status(&self, status: &Status) {
        let mut seen = self.seen();
        let sources = status.sources.iter().map(|(name, source)| {
            (format!("source {name}"), source.error.clone().filter(|_| source.state == SourceState::Failing))
        });
        let sinks = status.sinks.iter().map(|(name, sink)| {
            (format!("sink {name}"), sink.error.clone().filter(|_| sink.state != SinkState::Attached))
        });
        for (what, error) in sources.chain(sinks).collect::<Vec<_>>() {
            match error {
                Some(message) => seen.fails(&what, &message),
                None => seen.fares_well(&what),
            }
        }
        seen.status = Some(status.clone());
    }
}

impl Seen {
    /// What is remembered of views that had other columns is forgotten.
    fn take_program(&mut self, program: &Program) {
        let before = self.program.replace(Arc::new(program.clone()));
        self.changes.retain(|name, _| {
            let schema = |program: &Program| program.view(name).map(|view| Arc::clone(&view.info.schema));
            before.as_deref().and_then(schema) == schema(program)
        });
    }

    fn fails(&mut self, what: &str, message: &str) {
        if let Some(known) = self.troubles.iter_mut().find(|known| known.what == what && known.resolved_at.is_none()) {
            message.clone_into(&mut known.message);
            return;
        }
        self.troubles.truncate(TROUBLES_KEPT - 1);
        self.troubles.push_front(Trouble {
            what: what.to_owned(),
            message: message.to_owned(),
            since: now(),
            resolved_at: None,
        });
    }

    fn fares_well(&mut self, what: &str) {
        let open = self.troubles.iter_mut().find(|known| known.what == what && known.resolved_at.is_none());
        if let Some(trouble) = open {
            trouble.resolved_at = Some(now());
        }
    }

    /// A failure is known before the next status, which comes within a second.
    fn overlay(&self, what: &str, found: &mut Map<String, Value>) {
        let open = self.troubles.iter().find(|known| known.what == what && known.resolved_at.is_none());
        found.insert("failing_since".into(), json!(open.map(|open| open.since.to_string())));
        let Some(open) = open else { return };
        found.insert("error".into(), json!(open.message));
        if found.get("state").is_none_or(|state| state != "detached") {
            found.insert("state".into(), json!("failing"));
        }
    }
}

impl Trouble {
    fn to_json(&self) -> Value {
        json!({
            "at": self.since.to_string(),
            "what": self.what,
            "message": self.message,
            "resolved_at": self.resolved_at.map(|time| time.to_string()),
        })
    }
}

impl Observer for Monitor {
    fn notify(&self, event: Progress<'_>) {
        self.display.notify(event);
        self.metrics.notify(event);
        match event {
            Progress::Phase(phase) => {
                let mut seen = self.seen();
                if seen.phase != phase {
                    (seen.phase, seen.since) = (phase, Instant::now());
                }
                if phase == Phase::Waiting && seen.applying == Applying::Opened && self.is_in_force(&seen) {
                    seen.applying = Applying::No;
                }
            }
            Progress::LoadStarted { rows_estimate } => {
                let mut seen = self.seen();
                match rows_estimate {
                    None => (seen.loaded, seen.expected) = (0, None),
                    Some(rows) => seen.expected = Some(seen.expected.unwrap_or_default() + rows),
                }
            }
            Progress::RowsLoaded { rows } => self.seen().loaded += rows,
            Progress::Program(program) => self.seen().take_program(program),
            Progress::Changed { header, deltas } => self.note_changes(header, deltas),
            Progress::EpochStepped { header, phases, source_rows, view_rows } => {
                let took = self.seen().figures.add(header, phases, source_rows, view_rows);
                self.metrics.epoch(header, &took);
            }
            Progress::Idle { phases } => self.seen().figures.idle(phases),
            Progress::SourceRetry { source, error } => self.seen().fails(&format!("source {}", source.name), error),
            Progress::SinkRetry { sink, error } => self.seen().fails(&format!("sink {sink}"), error),
            Progress::Status(status) => self.note_status(status),
            Progress::LoadFinished
            | Progress::Replayed { .. }
            | Progress::Worked { .. }
            | Progress::Committed { .. } => {}
        }
    }
}

fn object(value: Option<impl serde::Serialize>) -> Map<String, Value> {
    match value.map(serde_json::to_value) {
        Some(Ok(Value::Object(found))) => found,
        _ => Map::new(),
    }
}

fn now() -> Micros {
    Clock::default().now()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}
