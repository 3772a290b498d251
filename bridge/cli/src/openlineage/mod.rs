//! Where the data of the views comes from and goes to, told by OpenLineage (<https://openlineage.io/spec/2-0-2/OpenLineage.json>):
//! one job a view, whose runs begin and end with ours. Nobody is waited for: events are queued, and what is not taken is lost,
//! which is told once.

mod datasets;
mod event;
mod sender;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidegate_core::ViewName;
use tidegate_runtime::{Clock, Observer, Progress, RunUntil, Work};

use crate::assembly::Assembly;
use crate::failure::Failure;
use datasets::{Targets, View};
use event::{Job, Kind, Run};
use sender::Sender;

/// The shortest time between two events that say that a job goes on.
const RUNNING_INTERVAL: Duration = Duration::from_secs(60);

/// How long the end of a run waits for the events to be taken.
const PATIENCE: Duration = Duration::from_secs(3);

/// How a run ended.
pub enum Ended<'a> {
    Complete,
    /// Before it was where it should have come to.
    Abort,
    Fail(&'a Failure),
}

/// Tells what a run does.
pub struct Lineage {
    told: Arc<Told>,
}

/// Listens to the pipeline.
struct Told {
    namespace: String,
    until: RunUntil,
    sender: Sender,
    state: Mutex<State>,
}

struct State {
    targets: Targets,
    /// By view.
    runs: BTreeMap<ViewName, Run>,
    /// What the program in force says of each view.
    views: BTreeMap<ViewName, View>,
    /// When it was last said that the jobs go on.
    said: Option<Instant>,
}

impl Lineage {
    /// Begins a run, if the pipeline file says whom to tell.
    pub fn begin(assembly: &mut Assembly, until: &RunUntil) -> Option<Lineage> {
        let asked = assembly.openlineage.take()?;
        let sender = match Sender::begin(asked.target) {
            Ok(sender) => sender,
            Err(reason) => {
                tracing::warn!(name: "lineage_off", %reason, "events of OpenLineage cannot be sent");
                return None;
            }
        };
        let state = State { targets: Targets::of(assembly), runs: BTreeMap::new(), views: BTreeMap::new(), said: None };
        let namespace = asked.namespace.unwrap_or_else(|| assembly.config.name.clone());
        let told = Told { namespace, until: until.clone(), sender, state: Mutex::new(state) };
        told.take_up(assembly);
        Some(Lineage { told: Arc::new(told) })
    }

    /// What listens to the pipeline for it.
    pub fn observer(&self) -> Arc<dyn Observer> {
        Arc::clone(&self.told) as Arc<dyn Observer>
    }

    /// Another pipeline file takes the place of the one that was in force: jobs of views that go, or mean something else, are
    /// complete, and others begin.
    pub fn apply(&self, assembly: &Assembly) {
        self.told.take_up(assembly);
    }

    /// The run is over; waits a short time for the events to be taken.
    pub async fn finish(self, ended: Ended<'_>) {
        let (kind, message) = match ended {
            Ended::Complete => (Kind::Complete, None),
            Ended::Abort => (Kind::Abort, None),
            Ended::Fail(failure) => (Kind::Fail, Some(failure.messages().join("\n"))),
        };
        self.told.tell_all(&self.told.state(), kind, message.as_deref());
        let lost = self.told.sender.finish(PATIENCE).await;
        if lost > 0 {
            tracing::warn!(name: "lineage_lost", events = lost, "not all events of OpenLineage were taken");
        }
    }
}

impl Told {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is left half done, so a poisoned lock is as good as another.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_up(&self, assembly: &Assembly) {
        let mut state = self.state();
        let wanted: BTreeMap<&ViewName, &str> =
            assembly.views.iter().map(|view| (&view.def.name, view.def.sql.as_str())).collect();
        let gone = state.runs.iter().filter(|(name, run)| wanted.get(name) != Some(&run.sql.as_str()));
        for name in gone.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.tell(&state, &name, Kind::Complete, None);
            state.runs.remove(&name);
            state.views.remove(&name);
        }
        state.targets = Targets::of(assembly);
        for (name, sql) in wanted {
            if !state.runs.contains_key(name) {
                state.runs.insert(name.clone(), Run::begin(sql));
                self.tell(&state, name, Kind::Start, None);
            }
        }
    }

    /// Queues an event of every job.
    fn tell_all(&self, state: &State, kind: Kind, message: Option<&str>) {
        state.runs.keys().for_each(|name| self.tell(state, name, kind, message));
    }

    /// Queues an event of one job.
    fn tell(&self, state: &State, name: &ViewName, kind: Kind, message: Option<&str>) {
        let Some(run) = state.runs.get(name) else { return };
        let job = Job { namespace: &self.namespace, name, is_endless: self.until == RunUntil::Stopped };
        let time = Clock::default().now().to_string();
        let event = event::event(kind, &time, run, &job, state.views.get(name), &state.targets.of_view(name), message);
        self.sender.send(event);
    }

    /// An endless run goes on; one with an end of its own tells that alone.
    fn goes_on(&self, state: &mut State) {
        if self.until == RunUntil::Stopped {
            state.said = Some(Instant::now());
            self.tell_all(state, Kind::Running, None);
        }
    }
}

impl Observer for Told {
    fn notify(&self, event: Progress<'_>) {
        match event {
            Progress::Program(program) => {
                let mut state = self.state();
                let views = datasets::views(program, &state.targets);
                if state.views != views {
                    state.views = views;
                    self.goes_on(&mut state);
                }
            }
            Progress::EpochStepped { view_rows, .. } => {
                let mut state = self.state();
                for (view, rows) in view_rows {
                    if let Some(run) = state.runs.get_mut(view) {
                        run.rows += rows;
                    }
                }
            }
            Progress::Worked { work: Work::Checkpoint(_), .. } => {
                let mut state = self.state();
                if state.said.is_some_and(|said| said.elapsed() >= RUNNING_INTERVAL) {
                    self.goes_on(&mut state);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_core::Epoch;
    use tidegate_runtime::Stretch;

    use super::*;
    use crate::file::{AllDatasets, Target};

    #[test]
    fn a_job_goes_on_once_a_minute_at_the_most() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lineage.jsonl");
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _served = runtime.enter();
        let told = |until: RunUntil, said: Option<Duration>| Told {
            namespace: "shop".to_owned(),
            until,
            sender: Sender::begin(Target::File(path.clone())).unwrap(),
            state: Mutex::new(State {
                targets: Targets::new(AllDatasets::default(), Vec::new()),
                runs: BTreeMap::from([(ViewName::new("v"), Run::begin("SELECT 1"))]),
                views: BTreeMap::new(),
                said: said.map(|ago| Instant::now() - ago),
            }),
        };
        let saved = |told: &Told| {
            let time = Stretch::since(Instant::now());
            told.notify(Progress::Worked { work: Work::Checkpoint(Epoch(1)), time });
            told.notify(Progress::Worked { work: Work::Step, time });
        };
        let recently = told(RunUntil::Stopped, Some(RUNNING_INTERVAL / 2));
        let long_ago = told(RunUntil::Stopped, Some(RUNNING_INTERVAL));
        let once = told(RunUntil::Once, Some(RUNNING_INTERVAL));
        for told in [&recently, &long_ago, &once] {
            (0..3).for_each(|_| saved(told));
            assert_eq!(runtime.block_on(told.sender.finish(PATIENCE)), 0);
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let kinds: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(kinds.iter().map(|event| &event["eventType"]).collect::<Vec<_>>(), ["RUNNING"]);
    }
}
