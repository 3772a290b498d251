//! What happened to rows, epoch by epoch, and the versions that come of it.

use std::collections::{BTreeMap, HashMap};

use tidegate_core::{Epoch, Micros};

use crate::net::RowAt;

/// An epoch and its time.
pub(crate) type Moment = (Epoch, Micros);

/// Copies of a row that came or went.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) moment: Moment,
    /// The row, among the batches of the range.
    pub(crate) row: RowAt,
    pub(crate) weight: i64,
    /// What tells it from rows that are equal to it.
    pub(crate) bytes: Box<[u8]>,
}

/// The events of a range, by the addresses of rows and in the order of epochs.
#[derive(Debug, Default)]
pub(crate) struct Events {
    pub(crate) of: BTreeMap<Box<[u8]>, Vec<Event>>,
    /// The first epoch that changed something.
    pub(crate) first: Option<Moment>,
}

impl Events {
    pub(crate) fn take(&mut self, address: &[u8], event: Event) {
        self.first.get_or_insert(event.moment);
        match self.of.get_mut(address) {
            Some(events) => events.push(event),
            None => drop(self.of.insert(address.into(), vec![event])),
        }
    }
}

/// Where a version comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It was open before the range: its place among those.
    Held(usize),
    Came(RowAt, Moment),
}

/// A version that was open for some time of the range.
#[derive(Debug)]
pub(crate) struct Life<'a> {
    pub(crate) origin: Origin,
    pub(crate) end: Option<Moment>,
    bytes: &'a [u8],
}

/// Whether some event of an address may end a version that was open before the range. Under a key, only one of the
/// first epoch can.
pub(crate) fn looks_back(events: &[Event], is_keyed: bool) -> bool {
    let first = events.first().map(|event| event.moment);
    let counts = |event: &&Event| !is_keyed || Some(event.moment) == first;
    events.iter().filter(counts).any(|event| event.weight < 0)
}

/// The versions under an address. `held` has the bytes of those that are open before, the oldest first. Of equal versions
/// those end first that are the same as the removed row, and of these the newest. Fails with the epoch, what it ends
/// and what of that is open.
pub(crate) fn lives<'a>(
    events: &'a [Event],
    held: impl Iterator<Item = &'a [u8]>,
) -> Result<Vec<Life<'a>>, (Epoch, u64, u64)> {
    let mut lives: Vec<Life<'a>> =
        held.enumerate().map(|(at, bytes)| Life { origin: Origin::Held(at), end: None, bytes }).collect();
    for group in events.chunk_by(|a, b| a.moment == b.moment) {
        let moment = group[0].moment;
        let mut wanted: HashMap<&[u8], u64> = HashMap::new();
        for event in group.iter().filter(|event| event.weight < 0) {
            *wanted.entry(&event.bytes).or_default() += event.weight.unsigned_abs();
        }
        let ending: u64 = wanted.values().sum();
        let mut left = ending;
        for is_same in [true, false] {
            for life in lives.iter_mut().rev().filter(|life| life.end.is_none()) {
                if left == 0 {
                    break;
                }
                if is_same {
                    match wanted.get_mut(life.bytes) {
                        Some(copies) if *copies > 0 => *copies -= 1,
                        _ => continue,
                    }
                }
                life.end = Some(moment);
                left -= 1;
            }
        }
        if left > 0 {
            return Err((moment.0, ending, ending - left));
        }
        for event in group.iter().filter(|event| event.weight > 0) {
            let came = |_| Life { origin: Origin::Came(event.row, moment), end: None, bytes: &event.bytes };
            lives.extend((0..event.weight).map(came));
        }
    }
    Ok(lives)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(epoch: u64, weight: i64, bytes: &[u8]) -> Event {
        let row = RowAt { batch: 0, row: epoch as usize };
        Event { moment: (Epoch(epoch), Micros(epoch as i64)), row, weight, bytes: bytes.into() }
    }

    fn ends(events: &[Event], held: &[&[u8]]) -> Vec<Option<u64>> {
        let lives = lives(events, held.iter().copied()).unwrap();
        lives.iter().map(|life| life.end.map(|(epoch, _)| epoch.0)).collect()
    }

    #[test]
    fn of_equal_versions_the_same_end_first_and_then_the_newest() {
        assert_eq!(ends(&[event(5, -1, b"a")], &[b"a", b"b", b"a", b"b"]), [None, None, Some(5), None]);
        assert_eq!(ends(&[event(5, -3, b"a")], &[b"a", b"b", b"a", b"b"]), [Some(5), None, Some(5), Some(5)]);
    }

    #[test]
    fn what_comes_and_goes_within_the_range_has_both_ends() {
        let events = [event(5, 2, b""), event(6, -1, b""), event(8, 1, b""), event(8, -1, b"")];
        assert_eq!(ends(&events, &[]), [Some(8), Some(6), None]);
        assert_eq!(lives(&[event(5, 1, b""), event(7, -2, b"")], std::iter::empty()).unwrap_err(), (Epoch(7), 2, 1));
    }

    #[test]
    fn a_key_that_comes_first_is_not_looked_for() {
        let events = [event(5, 1, b""), event(6, -1, b"")];
        assert!(!looks_back(&events, true) && looks_back(&events, false));
        assert!(looks_back(&[event(5, -1, b""), event(5, 1, b"")], true));
    }
}
