//! From a moment to an epoch. Nothing is scanned but one segment: which one is found by the first entries of a few.

use std::fmt;

use tidegate_core::{Epoch, Frontier, Micros};

use super::{TimeMap, TimeMapEntry};
use crate::RuntimeError;

/// What can be asked for. `docs/src/time.md` says what each means.
#[derive(Debug, Clone, PartialEq)]
pub enum Moment {
    /// The last epoch such that no epoch up to it holds a source commit later than this.
    Timestamp(Micros),
    /// The epoch of this number, or the last one before it.
    Epoch(Epoch),
    /// The last epoch that stands at or before this frontier in every source that it names.
    Frontier(Frontier),
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Moment::Timestamp(time) => write!(f, "{time}"),
            Moment::Epoch(epoch) => write!(f, "epoch {epoch}"),
            Moment::Frontier(frontier) => write!(f, "frontier {frontier}"),
        }
    }
}

/// Why a moment has no epoch.
#[derive(Debug, thiserror::Error)]
pub enum Unresolved {
    /// There is no epoch yet.
    #[error("the pipeline has no epoch yet: `tidegate run` makes the first one")]
    Empty,
    /// The moment is before everything that is remembered.
    #[error("{moment} is before epoch {}, with which what is remembered begins; one can ask from {} on", .first.epoch, since(.first, .moment))]
    TooEarly {
        /// What was asked.
        moment: Box<Moment>,
        /// The first entry that is kept.
        first: Box<TimeMapEntry>,
    },
    /// No epoch has this number yet.
    #[error("there is no epoch {epoch} yet: the last one is {last}")]
    Coming {
        /// What was asked.
        epoch: Epoch,
        /// The last one.
        last: Epoch,
    },
    /// The frontier names a source that the pipeline has not, or a position of another kind.
    #[error("{source_id} is not a position of this pipeline, whose frontier is {frontier}")]
    OtherSource {
        /// What was asked.
        source_id: String,
        /// The last epoch's frontier.
        frontier: Frontier,
    },
    /// The map cannot be read.
    #[error(transparent)]
    Failed(Box<RuntimeError>),
}

impl From<RuntimeError> for Unresolved {
    fn from(error: RuntimeError) -> Self {
        Unresolved::Failed(Box::new(error))
    }
}

/// From when on one can ask, in the terms of the question.
fn since(first: &TimeMapEntry, moment: &Moment) -> String {
    match (moment, first.latest_commit) {
        (Moment::Timestamp(_), Some(time)) => time.to_string(),
        (Moment::Frontier(_), _) => format!("frontier {}", first.frontier),
        _ => format!("epoch {}", first.epoch),
    }
}

impl TimeMap {
    /// The epoch that a moment means.
    pub fn resolve(&self, moment: &Moment) -> Result<TimeMapEntry, Unresolved> {
        let last = self.last().ok_or(Unresolved::Empty)?;
        let found = match moment {
            Moment::Timestamp(time) => self.last_while(|entry| entry.latest_commit <= Some(*time))?,
            Moment::Epoch(epoch) if *epoch > last.epoch => {
                return Err(Unresolved::Coming { epoch: *epoch, last: last.epoch });
            }
            Moment::Epoch(epoch) => self.last_while(|entry| entry.epoch <= *epoch)?,
            Moment::Frontier(frontier) => self.last_within(frontier, last)?,
        };
        match found {
            Some(entry) => Ok(entry),
            None => {
                let first = Box::new(self.first()?.ok_or(Unresolved::Empty)?);
                Err(Unresolved::TooEarly { moment: Box::new(moment.clone()), first })
            }
        }
    }

    /// The last entry at or before `frontier`. Between two turns frontiers grow, so each such stretch is searched
    /// by halves, from the newest back.
    fn last_within(&self, frontier: &Frontier, last: &TimeMapEntry) -> Result<Option<TimeMapEntry>, Unresolved> {
        for (source, bound) in frontier.iter() {
            if last.frontier.get(source).is_none_or(|at| at.compare(bound).is_none()) {
                let (source_id, frontier) = (format!("{source} at {bound}"), last.frontier.clone());
                return Err(Unresolved::OtherSource { source_id, frontier });
            }
        }
        let (mut end, mut turn) = (last.epoch, last.turn);
        loop {
            let holds =
                |entry: &TimeMapEntry| entry.epoch < turn || (entry.epoch <= end && entry.stands_within(frontier));
            match self.last_while(holds)? {
                Some(entry) if entry.epoch < turn => (end, turn) = (entry.epoch, entry.turn),
                found => return Ok(found),
            }
        }
    }

    /// The last of the entries for which `holds`, which are the first ones of the map. The entry after it is known to
    /// continue it, so that none between them is missing.
    fn last_while(&self, holds: impl Fn(&TimeMapEntry) -> bool) -> Result<Option<TimeMapEntry>, RuntimeError> {
        let (mut low, mut high) = (0, self.segments.starts().len());
        // Segments before `low` begin with an entry that holds, those from `high` on do not.
        while low < high {
            let middle = low + (high - low) / 2;
            match self.first_of(middle)? {
                Some(entry) if holds(&entry) => low = middle + 1,
                _ => high = middle,
            }
        }
        let Some(segment) = low.checked_sub(1) else { return Ok(None) };
        let mut found: Option<TimeMapEntry> = None;
        let mut next = None;
        for entry in self.entries_of(segment) {
            let entry = entry?;
            if let Some(before) = &found
                && entry.previous != before.link()
            {
                return Err(self.gap(before, &entry));
            }
            if !holds(&entry) {
                return Ok(found);
            }
            found = Some(entry);
        }
        if low < self.segments.starts().len() {
            next = self.first_of(low)?;
        }
        match (&found, next) {
            (Some(before), Some(next)) if next.previous != before.link() => Err(self.gap(before, &next)),
            _ => Ok(found),
        }
    }
}
