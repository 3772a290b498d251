//! What recent epochs were like, and what they come to in a second.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde::Serialize;
use tidegate_core::{Epoch, EpochHeader, ViewName};
use tidegate_runtime::Phases;

/// Epochs that are remembered.
const EPOCHS_KEPT: usize = 600;

/// The time that rates are of.
const RATE_TIME: Duration = Duration::from_secs(10);

/// What one epoch was like.
#[derive(Debug, Clone, Serialize)]
pub struct EpochFigures {
    pub epoch: Epoch,
    pub time: String,
    pub source_rows: u64,
    pub view_rows: BTreeMap<ViewName, u64>,
    /// What was done since the epoch before; sinks may have been given several epochs at once.
    pub phases_ms: Phases,
    #[serde(skip)]
    at: Instant,
}

/// Rows and epochs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Totals {
    pub epochs: u64,
    pub source_rows: u64,
    pub view_rows: u64,
}

/// The same a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Rates {
    pub epochs_per_s: f64,
    pub source_rows_per_s: f64,
    pub view_rows_per_s: f64,
}

/// The recent epochs of a run.
#[derive(Debug, Default)]
pub struct Figures {
    epochs: VecDeque<EpochFigures>,
    totals: Totals,
    before: Phases,
}

impl Figures {
    /// Adds an epoch; answers what each phase took for it. `phases` count from the beginning of the run.
    pub fn add(
        &mut self,
        header: &EpochHeader,
        phases: &Phases,
        source_rows: u64,
        view_rows: &BTreeMap<ViewName, u64>,
    ) -> Phases {
        let took = |now: Duration, before: Duration| now.saturating_sub(before);
        let before = std::mem::replace(&mut self.before, *phases);
        let phases_ms = Phases {
            read: took(phases.read, before.read),
            log: took(phases.log, before.log),
            step: took(phases.step, before.step),
            commit: took(phases.commit, before.commit),
            checkpoint: took(phases.checkpoint, before.checkpoint),
        };
        self.totals.epochs += 1;
        self.totals.source_rows += source_rows;
        self.totals.view_rows += view_rows.values().sum::<u64>();
        if self.epochs.len() == EPOCHS_KEPT {
            self.epochs.pop_front();
        }
        self.epochs.push_back(EpochFigures {
            epoch: header.epoch,
            time: header.time.to_string(),
            source_rows,
            view_rows: view_rows.clone(),
            phases_ms,
            at: Instant::now(),
        });
        phases_ms
    }

    /// Sources were asked for nothing.
    pub fn idle(&mut self, phases: &Phases) {
        self.before.read = phases.read;
    }

    /// The last epochs, oldest first.
    pub fn last(&self, count: usize) -> Vec<EpochFigures> {
        self.epochs.iter().skip(self.epochs.len().saturating_sub(count)).cloned().collect()
    }

    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Means over the last ten seconds.
    pub fn rates(&self) -> Rates {
        let recent = self.epochs.iter().rev().take_while(|epoch| epoch.at.elapsed() <= RATE_TIME);
        let second = |count: u64| count as f64 / RATE_TIME.as_secs_f64();
        recent.fold(Rates::default(), |rates, epoch| Rates {
            epochs_per_s: rates.epochs_per_s + second(1),
            source_rows_per_s: rates.source_rows_per_s + second(epoch.source_rows),
            view_rows_per_s: rates.view_rows_per_s + second(epoch.view_rows.values().sum()),
        })
    }
}
