//! Which pieces of work belong to which epoch. Sinks commit and states are saved after an epoch was made, so it stays open
//! until every sink holds it and nothing has happened to it for a while; what comes later stands alone.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidegate_core::{Epoch, ViewName};
use tidegate_runtime::{Progress, SinkState, Status, Stretch, Work};

/// How long nothing happens to an epoch that is over.
const QUIET: Duration = Duration::from_secs(1);

/// Epochs that are open at once; sinks may be far behind.
const OPEN_MAX: usize = 1024;

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Did {
    /// Of this source.
    Read(String),
    Log,
    Step,
    /// Of this sink.
    Commit(String),
    Checkpoint,
}

/// A piece of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub did: Did,
    pub time: Stretch,
}

/// An epoch with everything that was done for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    pub epoch: Epoch,
    pub source_rows: u64,
    pub view_rows: BTreeMap<ViewName, u64>,
    /// At least one.
    pub parts: Vec<Part>,
}

/// What is known in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finished {
    Epoch(Done),
    /// A commit or a checkpoint of an epoch that was over, or of an earlier run.
    Late(Epoch, Part),
}

/// Takes in what a pipeline tells.
#[derive(Debug, Default)]
pub struct Epochs {
    /// Done for the epoch that is being made; checkpoints with their epochs.
    coming: Vec<(Option<Epoch>, Part)>,
    open: BTreeMap<Epoch, Done>,
}

impl Epochs {
    /// Takes note of what happened; answers what came to its end by that.
    pub fn take(&mut self, event: Progress<'_>, now: Instant) -> Vec<Finished> {
        match event {
            Progress::Worked { work, time } => match work {
                Work::Read(source) => self.comes(None, Did::Read(source.name.clone()), time),
                Work::Log => self.comes(None, Did::Log, time),
                Work::Step => self.comes(None, Did::Step, time),
                Work::Checkpoint(epoch) if self.open.contains_key(&epoch) => {
                    return self.add(epoch, Part { did: Did::Checkpoint, time });
                }
                // An epoch that is published by its checkpoint is told after that.
                Work::Checkpoint(epoch) => self.comes(Some(epoch), Did::Checkpoint, time),
            },
            Progress::EpochStepped { header, source_rows, view_rows, .. } => {
                let (own, other) = std::mem::take(&mut self.coming)
                    .into_iter()
                    .partition::<Vec<_>, _>(|(of, _)| of.is_none_or(|of| of == header.epoch));
                let mut finished = late(other);
                let mut parts: Vec<Part> = own.into_iter().map(|(_, part)| part).collect();
                if parts.is_empty() {
                    parts.push(Part { did: Did::Step, time: Stretch { began: now, ended: now } });
                }
                let done = Done { epoch: header.epoch, source_rows, view_rows: view_rows.clone(), parts };
                self.open.insert(header.epoch, done);
                if self.open.len() > OPEN_MAX {
                    finished.extend(self.open.pop_first().map(|(_, done)| Finished::Epoch(done)));
                }
                return finished;
            }
            Progress::Committed { sink, epoch, time } => {
                return self.add(epoch, Part { did: Did::Commit(sink.to_owned()), time });
            }
            // What was read or computed made no epoch of this run.
            Progress::Idle { .. } | Progress::Replayed { .. } => self.coming.retain(|(of, _)| of.is_some()),
            Progress::Status(status) => return self.close_held(status, now),
            _ => {}
        }
        Vec::new()
    }

    /// The run is over.
    pub fn close(&mut self) -> Vec<Finished> {
        let mut finished = late(std::mem::take(&mut self.coming));
        finished.extend(std::mem::take(&mut self.open).into_values().map(Finished::Epoch));
        finished
    }

    fn comes(&mut self, of: Option<Epoch>, did: Did, time: Stretch) {
        self.coming.push((of, Part { did, time }));
    }

    fn add(&mut self, epoch: Epoch, part: Part) -> Vec<Finished> {
        match self.open.get_mut(&epoch) {
            Some(done) => {
                done.parts.push(part);
                Vec::new()
            }
            None => vec![Finished::Late(epoch, part)],
        }
    }

    fn close_held(&mut self, status: &Status, now: Instant) -> Vec<Finished> {
        let waited_for = status.sinks.values().filter(|sink| sink.state != SinkState::Detached);
        let held = waited_for.map(|sink| sink.epoch.unwrap_or_default()).min().unwrap_or(status.epoch);
        let over = |done: &Done| {
            done.epoch <= held && done.parts.iter().all(|part| now.saturating_duration_since(part.time.ended) >= QUIET)
        };
        let closed: Vec<Epoch> = self.open.values().filter(|done| over(done)).map(|done| done.epoch).collect();
        closed.iter().filter_map(|epoch| self.open.remove(epoch)).map(Finished::Epoch).collect()
    }
}

/// Checkpoints of epochs that no run of ours made; the rest made none.
fn late(parts: Vec<(Option<Epoch>, Part)>) -> Vec<Finished> {
    parts.into_iter().filter_map(|(of, part)| Some(Finished::Late(of?, part))).collect()
}

#[cfg(test)]
mod tests {
    use tidegate_core::{EpochHash, EpochHeader, Frontier, Micros, SourceId};
    use tidegate_runtime::{Phases, SinkStatus};

    use super::*;

    /// A pipeline that tells what it does, by a clock of its own.
    struct Told {
        epochs: Epochs,
        now: Instant,
        source: SourceId,
    }

    impl Told {
        fn new() -> Told {
            let source = SourceId { kind: "ducklake".to_owned(), name: "lake".to_owned() };
            Told { epochs: Epochs::default(), now: Instant::now(), source }
        }

        /// The next millisecond.
        fn time(&mut self) -> Stretch {
            let began = self.now;
            self.now += Duration::from_millis(1);
            Stretch { began, ended: self.now }
        }

        fn worked(&mut self, work: Work<'_>) -> Vec<Finished> {
            let time = self.time();
            self.epochs.take(Progress::Worked { work, time }, self.now)
        }

        fn read(&mut self) {
            let source = self.source.clone();
            self.worked(Work::Read(&source));
        }

        fn stepped(&mut self, epoch: u64) -> Vec<Finished> {
            self.worked(Work::Step);
            let header = EpochHeader {
                epoch: Epoch(epoch),
                time: Micros(0),
                frontier: Frontier::new(),
                latest_commit: None,
                hash: EpochHash::default(),
            };
            let view_rows = BTreeMap::from([(ViewName::from("v"), 2)]);
            let phases = Phases::default();
            let stepped =
                Progress::EpochStepped { header: &header, phases: &phases, source_rows: 1, view_rows: &view_rows };
            self.epochs.take(stepped, self.now)
        }

        fn committed(&mut self, epoch: u64) -> Vec<Finished> {
            let time = self.time();
            self.epochs.take(Progress::Committed { sink: "mart", epoch: Epoch(epoch), time }, self.now)
        }

        fn status(&mut self, sinks: &[(&str, u64, SinkState)]) -> Vec<Finished> {
            let sink = |(name, epoch, state): &(&str, u64, SinkState)| {
                let status = SinkStatus {
                    epoch: Some(Epoch(*epoch)),
                    behind: 0,
                    behind_bytes: 0,
                    state: *state,
                    next_commit: None,
                    error: None,
                };
                ((*name).to_owned(), status)
            };
            let status = Status {
                pipeline: String::new(),
                epoch: Epoch(9),
                frontier: Frontier::new(),
                committed_at: None,
                replay: None,
                running: true,
                sources: BTreeMap::new(),
                views: BTreeMap::new(),
                sinks: sinks.iter().map(sink).collect(),
            };
            self.epochs.take(Progress::Status(&status), self.now)
        }
    }

    fn told(finished: &[Finished]) -> Vec<(u64, Vec<&'static str>)> {
        let name = |part: &Part| match part.did {
            Did::Read(_) => "read",
            Did::Log => "log",
            Did::Step => "step",
            Did::Commit(_) => "commit",
            Did::Checkpoint => "checkpoint",
        };
        let one = |finished: &Finished| match finished {
            Finished::Epoch(done) => (done.epoch.0, done.parts.iter().map(name).collect()),
            Finished::Late(epoch, part) => (epoch.0, vec!["late", name(part)]),
        };
        finished.iter().map(one).collect()
    }

    #[test]
    fn an_epoch_is_over_when_every_sink_holds_it_and_it_is_quiet() {
        let mut pipeline = Told::new();
        pipeline.read();
        pipeline.worked(Work::Log);
        assert!(pipeline.stepped(1).is_empty());
        assert!(pipeline.stepped(2).is_empty() && pipeline.committed(2).is_empty());
        let behind = [("mart", 2, SinkState::Attached), ("changes", 0, SinkState::Failing)];
        pipeline.now += QUIET * 2;
        assert!(pipeline.status(&behind).is_empty(), "one sink lacks them");
        pipeline.worked(Work::Checkpoint(Epoch(2)));
        let detached = [behind[0], ("changes", 0, SinkState::Detached)];
        assert_eq!(told(&pipeline.status(&detached)), [(1, vec!["read", "log", "step"])], "nobody waits for that sink");
        pipeline.now += QUIET;
        assert_eq!(told(&pipeline.status(&detached)), [(2, vec!["step", "commit", "checkpoint"])]);
        assert_eq!(told(&pipeline.committed(2)), [(2, vec!["late", "commit"])]);
        assert!(pipeline.epochs.close().is_empty());
    }

    #[test]
    fn a_load_is_published_by_its_checkpoint() {
        let mut pipeline = Told::new();
        pipeline.read();
        pipeline.worked(Work::Checkpoint(Epoch(7)));
        pipeline.worked(Work::Checkpoint(Epoch(8)));
        assert_eq!(told(&pipeline.stepped(8)), [(7, vec!["late", "checkpoint"])], "that one is of an earlier run");
        assert_eq!(told(&pipeline.epochs.close()), [(8, vec!["read", "checkpoint", "step"])]);
    }

    #[test]
    fn what_makes_no_epoch_is_in_none() {
        let mut pipeline = Told::new();
        pipeline.read();
        pipeline.epochs.take(Progress::Idle { phases: &Phases::default() }, pipeline.now);
        pipeline.read();
        pipeline.worked(Work::Step);
        pipeline.epochs.take(Progress::Replayed { epoch: Epoch(1) }, pipeline.now);
        pipeline.stepped(2);
        assert_eq!(told(&pipeline.epochs.close()), [(2, vec!["step"])]);
    }

    #[test]
    fn no_more_are_open_than_there_is_room_for() {
        let mut pipeline = Told::new();
        let finished: Vec<_> = (1..=OPEN_MAX as u64 + 2).flat_map(|epoch| pipeline.stepped(epoch)).collect();
        assert_eq!(told(&finished), [(1, vec!["step"]), (2, vec!["step"])]);
    }
}
