//! What is known of our own history: which hash an epoch has. Sinks' positions are compared with it.

use std::collections::BTreeMap;

use tidegate_core::{Committed, Epoch, EpochHash};

use crate::log::header::Link;

/// Epochs and their hashes, as far back as they are still known.
#[derive(Debug, Clone, Default)]
pub struct History {
    known: BTreeMap<Epoch, EpochHash>,
}

/// How a target's position relates to our history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The epoch is ours.
    Ours,
    /// Another epoch of ours has this number.
    Other {
        /// Our hash.
        ours: EpochHash,
    },
    /// Our history has not got there.
    Beyond {
        /// Our last epoch.
        last: Epoch,
    },
    /// It is older than what we still know, or fell between two of our epochs.
    Unknown,
}

impl History {
    /// Adds an epoch.
    pub fn insert(&mut self, link: Link) {
        self.known.insert(link.epoch, link.hash);
    }

    /// The last epoch.
    pub fn last(&self) -> Epoch {
        self.known.last_key_value().map_or(Epoch::ZERO, |(epoch, _)| *epoch)
    }

    /// Whether this is one of our epochs.
    pub fn holds(&self, link: Link) -> bool {
        self.known.get(&link.epoch) == Some(&link.hash)
    }

    /// Compares a target's position.
    pub fn standing(&self, committed: &Committed) -> Standing {
        match self.known.get(&committed.epoch) {
            Some(hash) if *hash == committed.hash => Standing::Ours,
            Some(hash) => Standing::Other { ours: *hash },
            None if committed.epoch > self.last() => Standing::Beyond { last: self.last() },
            None => Standing::Unknown,
        }
    }

    /// Forgets epochs before `epoch`, but never the last one.
    pub fn forget_before(&mut self, epoch: Epoch) {
        let keep = epoch.min(self.last());
        self.known = self.known.split_off(&keep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_alone_are_not_enough() {
        let hash = |byte| EpochHash([byte; 32]);
        let mut history = History::default();
        history.insert(Link { epoch: Epoch(4), hash: hash(4) });
        history.insert(Link { epoch: Epoch(5), hash: hash(5) });
        let standing = |epoch, byte| history.standing(&Committed { epoch: Epoch(epoch), hash: hash(byte) });
        assert_eq!(standing(5, 5), Standing::Ours);
        assert_eq!(standing(5, 6), Standing::Other { ours: hash(5) });
        assert_eq!(standing(6, 6), Standing::Beyond { last: Epoch(5) });
        assert_eq!(standing(3, 3), Standing::Unknown);
        history.forget_before(Epoch(9));
        assert_eq!(history.last(), Epoch(5));
        assert!(!history.holds(Link { epoch: Epoch(4), hash: hash(4) }));
    }
}
