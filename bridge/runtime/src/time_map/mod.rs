//! The time map: which epoch stood at which positions of the sources, by which clock. One entry an epoch, ordered by
//! epoch alone and kept for longer than the log.
//!
//! It lies in `<state_dir>/time_map`, in small segments. An entry is appended after the log's record of its epoch and
//! becomes durable with the next checkpoint, before which no record of the log goes: what a crash takes is read from the
//! log again, and so is what is damaged later. Anybody may read it while the pipeline runs.

mod entry;
mod keep;
mod mend;
mod resolve;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tidegate_core::{Epoch, ErrorKind, Micros, chain};
use uuid::Uuid;

use crate::RuntimeError;
use crate::log::InputLog;
use crate::log::header::{Link, RecordHeader};
use crate::log::segment::{Segments, Stored};
use crate::state::StateFile;

pub use entry::TimeMapEntry;
pub use resolve::{Moment, Unresolved};

const FOLDER: &str = "time_map";
const PREFIX: &str = "map";
/// Some five hundred epochs.
const SEGMENT_BYTES: u64 = 256 << 10;
/// How often a reader looks again when what it sees does not fit together: the writer may just be at work.
const LOOKS: u32 = 5;

/// The time map of a state folder.
#[derive(Debug)]
pub struct TimeMap {
    dir: PathBuf,
    segments: Segments,
    last: Option<TimeMapEntry>,
}

impl TimeMap {
    /// Looks at the map of a state folder, whether or not a process works on it. What that process appends later is not
    /// seen.
    pub fn look(state_dir: &Path) -> Result<TimeMap, RuntimeError> {
        let dir = state_dir.join(FOLDER);
        let log_id = StateFile::log_id(state_dir)?;
        let mut looks = 1;
        loop {
            let seen = Segments::look(&dir, PREFIX).map_err(|error| unreadable(&dir, &error)).and_then(|segments| {
                let mut map = TimeMap { dir: dir.clone(), segments, last: None };
                map.last = map.read_last()?;
                Ok(map)
            });
            match seen {
                Ok(map) if map.last.as_ref().is_some_and(|last| Some(last.log_id) != log_id) => {
                    return Err(state(&dir, "is of another pipeline", RENEW));
                }
                Err(_) if looks < LOOKS => std::thread::sleep(Duration::from_millis(20)),
                seen => return seen,
            }
            looks += 1;
        }
    }

    /// Opens the map of a pipeline whose lock is held. Entries of another log are not its own and go.
    pub(crate) fn open(state_dir: &Path, log_id: Uuid) -> Result<TimeMap, RuntimeError> {
        Self::open_with(state_dir, log_id, SEGMENT_BYTES)
    }

    fn open_with(state_dir: &Path, log_id: Uuid, segment_bytes: u64) -> Result<TimeMap, RuntimeError> {
        let dir = state_dir.join(FOLDER);
        let segments = Segments::open_renewable(&dir, PREFIX, segment_bytes)?;
        let mut map = TimeMap { dir, segments, last: None };
        match map.read_last() {
            Ok(Some(last)) if last.log_id != log_id => map.begin_anew("it is of another pipeline")?,
            Ok(last) => map.last = last,
            Err(error) => map.begin_anew(&chain(&error))?,
        }
        Ok(map)
    }

    /// The last entry.
    pub fn last(&self) -> Option<&TimeMapEntry> {
        self.last.as_ref()
    }

    /// The first entry that is kept.
    pub fn first(&self) -> Result<Option<TimeMapEntry>, RuntimeError> {
        self.first_of(0)
    }

    /// The entry of an epoch, if it is kept.
    pub fn entry(&self, epoch: Epoch) -> Result<Option<TimeMapEntry>, RuntimeError> {
        match self.resolve(&Moment::Epoch(epoch)) {
            Ok(entry) => Ok(Some(entry).filter(|entry| entry.epoch == epoch)),
            Err(Unresolved::Failed(error)) => Err(*error),
            Err(_) => Ok(None),
        }
    }

    /// Appends the epoch of a log record. An epoch that is there already changes nothing; one that does not continue the map
    /// is left to [`complete`](TimeMap::complete).
    pub(crate) fn append(&mut self, record: &RecordHeader) -> Result<(), RuntimeError> {
        match &self.last {
            Some(last) if record.previous != last.link() => Ok(()),
            _ => self.push(record),
        }
    }

    fn push(&mut self, record: &RecordHeader) -> Result<(), RuntimeError> {
        let entry = TimeMapEntry::of(record, self.last.as_ref());
        self.segments.append(entry.epoch, &entry.encoded()?, &mut std::io::empty(), 0)?;
        self.last = Some(entry);
        Ok(())
    }

    /// Makes the map end with `records`, which are the last epochs of the pipeline. What it lacks before them comes from
    /// the log, as far as that reaches; what is not ours goes.
    pub(crate) async fn complete(&mut self, log: &InputLog, records: &[RecordHeader]) -> Result<(), RuntimeError> {
        let (Some(first), Some(last)) = (records.first(), records.last()) else { return Ok(()) };
        if self.last.as_ref().is_some_and(|known| known.link() == Link::from(&last.header)) {
            return Ok(());
        }
        if first.previous.epoch == Epoch::ZERO || self.joins(first) {
            return self.confirm(records);
        }
        let from = self.before(first.header.epoch).ok().flatten().map_or(Epoch::ZERO, |link| link.epoch);
        let mut earlier = logged(log, from).await;
        if from > Epoch::ZERO && !earlier.first().is_some_and(|first| self.joins(first)) {
            earlier = logged(log, Epoch::ZERO).await;
        }
        earlier.retain(|record| record.header.epoch < first.header.epoch);
        if earlier.last().is_some_and(|before| Link::from(&before.header) != first.previous) {
            earlier.clear();
        }
        self.confirm(&[&earlier, records].concat())
    }

    /// Makes the map end with `records`: entries that differ go, and where the records do not continue what is left, it
    /// begins anew with them.
    fn confirm(&mut self, records: &[RecordHeader]) -> Result<(), RuntimeError> {
        let Some(first) = records.first() else { return Ok(()) };
        let known = match self.joins(first) {
            true => self.links_from(first.header.epoch).unwrap_or_default(),
            false => Vec::new(),
        };
        let known = known.iter().skip_while(|(link, _)| link.epoch < first.header.epoch);
        let known: Vec<_> = known.collect();
        let pairs = known.iter().zip(records);
        let same = pairs.take_while(|((link, _), record)| *link == Link::from(&record.header)).count();
        if let Some((_, at)) = known.get(same) {
            tracing::warn!(name: "time_map_cut", folder = %self.dir.display(), "cutting off epochs that the log does not have");
            self.segments.cut(at)?;
            self.last = self.read_last().ok().flatten();
        }
        let continued = match &self.last {
            Some(last) => records.get(same).is_none_or(|next| next.previous == last.link()),
            None => true,
        };
        if continued {
            return records.iter().skip(same).try_for_each(|record| self.push(record));
        }
        self.begin_anew("the log does not continue it")?;
        records.iter().try_for_each(|record| self.push(record))
    }

    /// Whether the map has an epoch, or what it follows.
    fn joins(&self, record: &RecordHeader) -> bool {
        let known =
            |link: Link| self.entry(link.epoch).is_ok_and(|entry| entry.is_some_and(|entry| entry.link() == link));
        known(Link::from(&record.header)) || known(record.previous)
    }

    /// The last entry before an epoch.
    fn before(&self, epoch: Epoch) -> Result<Option<Link>, RuntimeError> {
        let known = self.links_from(epoch)?;
        Ok(known.iter().map(|(link, _)| *link).take_while(|link| link.epoch < epoch).last())
    }

    /// Removes entries logged before `older_than`; what such a moment means stays known.
    pub(crate) fn trim(&mut self, older_than: Micros) -> Result<bool, RuntimeError> {
        let Some(last) = self.last.as_ref().map(|last| last.epoch) else { return Ok(false) };
        let old = |header: &[u8]| {
            serde_json::from_slice::<TimeMapEntry>(header).is_ok_and(|entry| entry.logged_at < older_than)
        };
        self.segments.trim(last, old)
    }

    /// Makes everything durable.
    pub(crate) fn sync(&mut self) -> Result<(), RuntimeError> {
        self.segments.sync()
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) -> Result<(), RuntimeError> {
        self.last = None;
        self.segments.clear()
    }

    fn begin_anew(&mut self, reason: &str) -> Result<(), RuntimeError> {
        tracing::warn!(name: "time_map_remade", folder = %self.dir.display(), reason, "the time map is made anew from the log");
        self.clear()
    }

    /// The entries from the segment on that can hold `epoch`.
    fn links_from(&self, epoch: Epoch) -> Result<Vec<(Link, Stored)>, RuntimeError> {
        // One before it too, to see that it is continued.
        let from = Epoch(epoch.0.saturating_sub(1));
        let records = self.segments.scan(from).map(|record| {
            let (header, at) = record.map_err(|error| unreadable(&self.dir, &error))?;
            Ok((self.decode(&header)?.link(), at))
        });
        records.collect()
    }

    fn first_of(&self, segment: usize) -> Result<Option<TimeMapEntry>, RuntimeError> {
        self.entries_of(segment).next().transpose()
    }

    fn entries_of(&self, segment: usize) -> impl Iterator<Item = Result<TimeMapEntry, RuntimeError>> {
        self.segments.scan_segment(segment).map(|record| {
            let (header, _) = record.map_err(|error| unreadable(&self.dir, &error))?;
            self.decode(&header)
        })
    }

    fn read_last(&self) -> Result<Option<TimeMapEntry>, RuntimeError> {
        let Some(segment) = self.segments.starts().len().checked_sub(1) else { return Ok(None) };
        self.entries_of(segment).last().transpose()
    }

    fn decode(&self, header: &[u8]) -> Result<TimeMapEntry, RuntimeError> {
        serde_json::from_slice(header).map_err(|error| {
            state(&self.dir, format!("holds an entry that this version does not read ({error})"), RENEW)
        })
    }

    fn gap(&self, before: &TimeMapEntry, after: &TimeMapEntry) -> RuntimeError {
        let fact = format!("lacks the epochs between {} and {}", before.epoch, after.epoch);
        state(&self.dir, fact, RENEW)
    }
}

const RENEW: &str = "start the pipeline again: it mends the map from the log; if it warns that it cannot, stop it, remove that \
                     folder and run again: the map is then made anew as far as the log reaches";

async fn logged(log: &InputLog, from: Epoch) -> Vec<RecordHeader> {
    match log.records(from).await {
        Ok(records) => records.into_iter().map(|record| record.header).collect(),
        Err(error) => {
            tracing::warn!(name: "time_map_incomplete", error = %chain(&error), "the time map cannot be completed from the log");
            Vec::new()
        }
    }
}

fn state(dir: &Path, fact: impl Into<String>, way_out: &'static str) -> RuntimeError {
    RuntimeError::State { path: dir.to_owned(), fact: fact.into(), way_out, kind: ErrorKind::Retry }
}

/// Damage and what cannot be read: the map is not the truth, so that there is always a way out.
fn unreadable(dir: &Path, error: &RuntimeError) -> RuntimeError {
    match error {
        RuntimeError::LogDamaged { file, offset, fact } => {
            state(Path::new(file), format!("is damaged at byte {offset} ({fact})"), RENEW)
        }
        error => {
            state(dir, format!("cannot be read ({})", chain(error)), "check that this user may read it, and try again")
        }
    }
}
