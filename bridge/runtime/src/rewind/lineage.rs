//! Which epochs of the log made what the views are. A rewind takes the epochs after its target back; they stay in the log, but
//! what came after the rewind does not follow from them.

use std::collections::BTreeMap;

use tidegate_core::{Epoch, EpochHeader, Frontier};

use crate::log::header::RecordHeader;

/// The records of a log, by epoch.
pub(crate) struct Lineage<'a> {
    by_epoch: BTreeMap<Epoch, &'a RecordHeader>,
}

impl<'a> Lineage<'a> {
    pub fn new(records: impl Iterator<Item = &'a RecordHeader>) -> Lineage<'a> {
        Lineage { by_epoch: records.map(|record| (record.header.epoch, record)).collect() }
    }

    /// The epoch that this one follows from: the one before it, or what was rewound to.
    fn parent(record: &RecordHeader) -> Epoch {
        record.origin.rewound_to.unwrap_or(record.previous.epoch)
    }

    /// The epochs that lead from `from` to `until`, ascending, and the one before them: `from`, or where that does not lead
    /// there, the last one that stands at the same frontier. `None` where the log does not know of any.
    pub fn between(&self, from: &EpochHeader, until: Epoch) -> Option<(Epoch, Vec<Epoch>)> {
        let mut way = Vec::new();
        let mut at = until;
        let mut same_frontier = None;
        while at != from.epoch {
            let Some(record) = self.by_epoch.get(&at) else { break };
            if same_frontier.is_none() && is_same(&record.header.frontier, &from.frontier) {
                // What is above here comes after the same frontier.
                same_frontier = Some((at, way.len()));
            }
            way.push(at);
            at = Self::parent(record);
        }
        if at != from.epoch {
            let above;
            (at, above) = same_frontier?;
            way.truncate(above);
        }
        way.reverse();
        Some((at, way))
    }
}

fn is_same(a: &Frontier, b: &Frontier) -> bool {
    a.less_equal(b) && b.less_equal(a)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::header::{Link, Origin, RecordKind};
    use tidegate_core::{EpochHash, Micros, Position, SnapshotId, SourceId};

    /// An epoch at a position, rewound to another one perhaps.
    fn record(epoch: u64, position: u64, rewound_to: Option<u64>) -> RecordHeader {
        let frontier = Frontier::new().with(SourceId::new("ducklake", "l"), Position::SnapshotId(SnapshotId(position)));
        let hash = EpochHash([epoch as u8; 32]);
        let kind = if rewound_to.is_some() { RecordKind::Rewind } else { RecordKind::Events };
        RecordHeader {
            origin: Origin { rewound_to: rewound_to.map(Epoch), ..Origin::plain(kind, BTreeMap::new()) },
            header: EpochHeader { epoch: Epoch(epoch), hash, frontier, time: Micros(0), latest_commit: None },
            previous: Link { epoch: Epoch(epoch - 1), hash: EpochHash::default() },
            log_id: uuid::Uuid::nil(),
            logged_at: Micros(0),
            sections: Vec::new(),
        }
    }

    fn between(records: &[RecordHeader], from: u64, until: u64) -> Option<Vec<u64>> {
        let from = &records.iter().find(|record| record.header.epoch == Epoch(from)).unwrap().header;
        let way = Lineage::new(records.iter()).between(from, Epoch(until));
        way.map(|(_, way)| way.into_iter().map(|epoch| epoch.0).collect())
    }

    #[test]
    fn epochs_that_were_taken_back_are_left_out() {
        // 1 2 3 4, back to 2 as 5, then 3 and 4 again as 6 and 7, and 8 is new.
        let plain = (1..=4).map(|epoch| record(epoch, epoch * 10, None));
        let again = [record(5, 20, Some(2)), record(6, 30, None), record(7, 40, None), record(8, 50, None)];
        let records: Vec<_> = plain.chain(again).collect();
        assert_eq!(between(&records, 1, 4), Some(vec![2, 3, 4]));
        assert_eq!(between(&records, 1, 8), Some(vec![2, 5, 6, 7, 8]));
        assert_eq!(between(&records, 2, 8), Some(vec![5, 6, 7, 8]));
        assert_eq!(between(&records, 6, 8), Some(vec![7, 8]));
        assert_eq!(between(&records, 8, 8), Some(vec![]));
        assert_eq!(between(&records, 3, 8), Some(vec![7, 8]), "what follows its frontier");
        assert_eq!(between(&records, 4, 7), Some(vec![]));
        assert_eq!(between(&records, 5, 4), Some(vec![3, 4]), "from a rewind that is under way");
    }

    #[test]
    fn without_the_same_frontier_nothing_leads_on() {
        let records = [
            record(1, 10, None),
            record(2, 20, None),
            record(3, 10, Some(1)),
            record(4, 15, None),
            record(5, 25, None),
        ];
        assert_eq!(between(&records, 2, 5), None);
        assert_eq!(between(&records, 1, 5), Some(vec![3, 4, 5]));
    }
}
