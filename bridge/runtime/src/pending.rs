//! View deltas on their way to the sinks: the newest in memory, the rest in the delta log.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use tidegate_core::{DeltaBatch, DeltaKind, Epoch, EpochHeader, ViewDelta, ViewName};

use crate::RuntimeError;
use crate::delta_log::{DeltaLog, DeltaRecord};
use crate::log::header::Link;

/// Every epoch that some sink lacks, without gaps from the first to the last.
#[derive(Debug)]
pub struct Pending {
    log: DeltaLog,
    memory: VecDeque<Entry>,
    bytes: u64,
}

#[derive(Debug)]
struct Entry {
    header: EpochHeader,
    previous: Link,
    deltas: Arc<Vec<ViewDelta>>,
    bytes: u64,
}

impl Pending {
    /// What the folder holds.
    pub fn open(dir: &Path) -> Result<Pending, RuntimeError> {
        Ok(Pending { log: DeltaLog::open(dir)?, memory: VecDeque::new(), bytes: 0 })
    }

    /// Drops epochs of the delta log that never came to be.
    pub fn cut_unless(&mut self, is_ours: impl Fn(&DeltaRecord) -> bool) -> Result<(), RuntimeError> {
        self.log.cut_unless(is_ours)
    }

    /// The epochs in the delta log.
    pub fn durable(&self) -> impl Iterator<Item = &Arc<DeltaRecord>> {
        self.log.records()
    }

    /// Adds the next epoch. One that the delta log holds already, because it is replayed, is not
    /// kept twice.
    pub fn push(&mut self, header: EpochHeader, previous: Link, deltas: Vec<ViewDelta>) {
        let last = self.memory.back().map(|entry| entry.header.epoch).or(self.log.last());
        if last.is_some_and(|last| last >= header.epoch) {
            return;
        }
        let bytes = deltas.iter().flat_map(|delta| &delta.batches).map(bytes).sum();
        self.bytes += bytes;
        self.memory.push_back(Entry { header, previous, deltas: Arc::new(deltas), bytes });
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of all deltas that are kept, in memory and in the delta log.
    pub fn bytes_kept(&self) -> u64 {
        self.bytes + self.log.records().map(|record| record.bytes()).sum::<u64>()
    }

    /// The same of the epochs after `epoch`.
    pub fn bytes_after(&self, epoch: Epoch) -> u64 {
        let durable = self.log.records().filter(|record| record.header.epoch > epoch).map(|record| record.bytes());
        let memory = self.memory.iter().filter(|entry| entry.header.epoch > epoch).map(|entry| entry.bytes);
        durable.chain(memory).sum()
    }

    /// Moves everything in memory to the delta log; durable when it returns.
    pub fn spill(&mut self) -> Result<(), RuntimeError> {
        while let Some(entry) = self.memory.front() {
            self.log.append(&entry.header, entry.previous, &entry.deltas)?;
            self.bytes -= entry.bytes;
            self.memory.pop_front();
        }
        Ok(())
    }

    /// Forgets the epochs at or before `epoch`, which every sink holds.
    pub fn trim(&mut self, epoch: Epoch) -> Result<(), RuntimeError> {
        while let Some(entry) = self.memory.front().filter(|entry| entry.header.epoch <= epoch) {
            self.bytes -= entry.bytes;
            self.memory.pop_front();
        }
        if self.log.last().is_some() { self.log.trim(epoch) } else { Ok(()) }
    }

    fn links(&self) -> impl Iterator<Item = (Link, Link)> {
        let durable = self.log.records().map(|record| (record.previous, Link::from(&record.header)));
        durable.chain(self.memory.iter().map(|entry| (entry.previous, Link::from(&entry.header))))
    }

    /// Whether every epoch after `after` up to `last` is here.
    pub fn covers(&self, after: Link, last: Link) -> bool {
        let mut reached = after;
        for (previous, link) in self.links().filter(|(_, link)| link.epoch > after.epoch) {
            if previous != reached {
                return false;
            }
            reached = link;
        }
        reached == last
    }

    /// Whether the view's content is replaced in an epoch after `after`.
    pub fn replaces(&self, view: &ViewName, after: Epoch) -> bool {
        let durable = self.log.records().any(|record| record.header.epoch > after && record.replaces(view));
        let replaced = |delta: &ViewDelta| delta.kind == DeltaKind::Replace && delta.view == *view;
        durable || self.memory.iter().any(|entry| entry.header.epoch > after && entry.deltas.iter().any(replaced))
    }

    /// The changes of a view after an epoch, in order. Valid, and the same, whatever comes later.
    pub fn changes(&self, view: &ViewName, after: Epoch) -> Changes {
        let memory = self.memory.iter().filter(|entry| entry.header.epoch > after);
        let memory: Vec<_> = memory
            .filter(|entry| entry.deltas.iter().any(|delta| delta.view == *view))
            .map(|entry| (entry.header.clone(), entry.deltas.clone()))
            .collect();
        let wanted = view.clone();
        let in_memory = memory.into_iter().flat_map(move |(header, deltas)| {
            let batches = deltas.iter().filter(|delta| delta.view == wanted).flat_map(|delta| delta.batches.clone());
            batches.map(|batch| Ok((header.clone(), batch))).collect::<Vec<_>>()
        });
        Box::new(self.log.changes(view, after).chain(in_memory))
    }
}

/// The changes of one view, each with the header of its epoch.
pub type Changes = Box<dyn Iterator<Item = Result<(EpochHeader, DeltaBatch), RuntimeError>> + Send>;

fn bytes(batch: &DeltaBatch) -> u64 {
    (batch.rows.get_array_memory_size() + batch.len() * 17) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_core::{EpochHash, Frontier, Micros};

    fn header(epoch: u64) -> EpochHeader {
        let hash = EpochHash([epoch as u8; 32]);
        EpochHeader { epoch: Epoch(epoch), hash, frontier: Frontier::new(), time: Micros(0), latest_commit: None }
    }

    fn push(pending: &mut Pending, epoch: u64, previous: u64) {
        let replace =
            ViewDelta { view: ViewName::new(format!("v{epoch}")), kind: DeltaKind::Replace, batches: Vec::new() };
        pending.push(header(epoch), Link::from(&header(previous)), vec![replace]);
    }

    #[test]
    fn gaps_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let mut pending = Pending::open(dir.path()).unwrap();
        push(&mut pending, 2, 1);
        push(&mut pending, 3, 2);
        pending.spill().unwrap();
        push(&mut pending, 3, 2);
        push(&mut pending, 9, 3);
        let covers = |pending: &Pending, after, last| pending.covers((&header(after)).into(), (&header(last)).into());
        assert!(covers(&pending, 1, 9) && covers(&pending, 3, 9) && covers(&pending, 9, 9));
        assert!(!covers(&pending, 0, 9) && !covers(&pending, 4, 9) && !covers(&pending, 1, 3));
        assert!(pending.replaces(&"v9".into(), Epoch(3)) && !pending.replaces(&"v3".into(), Epoch(3)));
        push(&mut pending, 11, 10);
        assert!(!covers(&pending, 3, 11) && covers(&pending, 10, 11));
        pending.trim(Epoch(9)).unwrap();
        assert!(covers(&pending, 10, 11) && !covers(&pending, 9, 11));
        assert!(Pending::open(dir.path()).unwrap().durable().next().is_none());
    }
}
