//! What of the map was damaged or lost between entries that are still there is written again from the log, which holds
//! the same. Where the log does not reach back so far, the map stays as it is: moments there have no answer.

use std::ops::Range;

use tidegate_core::Epoch;

use super::{TimeMap, TimeMapEntry, logged};
use crate::RuntimeError;
use crate::log::InputLog;
use crate::log::header::{Link, RecordHeader};
use crate::log::record::{self, Found};

/// How much of the map, from its end back, is looked through: a start takes no longer however long the map is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Some two thousand epochs.
    Recent,
    Whole,
}

impl Reach {
    fn bytes(self) -> u64 {
        match self {
            Reach::Recent => 1 << 20,
            Reach::Whole => u64::MAX,
        }
    }
}

/// Segments that are damaged, or none where some are missing, and what stands around them.
#[derive(Debug)]
struct Lost {
    segments: Range<usize>,
    before: Option<TimeMapEntry>,
    after: TimeMapEntry,
}

impl TimeMap {
    /// Mends what can be mended.
    pub(crate) async fn mend(&mut self, log: &InputLog, reach: Reach) -> Result<(), RuntimeError> {
        // From the end, so that the places of those before stay.
        for lost in self.lost(reach).into_iter().rev() {
            let (from, to) = (self.first_lost(&lost), lost.after.epoch);
            let mut records = logged(log, from).await;
            records.retain(|record| (from..to).contains(&record.header.epoch));
            if !continues(&lost, from, &records) {
                tracing::warn!(name: "time_map_damaged", folder = %self.dir.display(), %from, %to,
                    "a part of the time map is damaged, and the log does not reach back to it: moments there have no answer",
                );
                continue;
            }
            let mut headers = Vec::new();
            let mut before = lost.before;
            for record in &records {
                let entry = TimeMapEntry::of(record, before.as_ref());
                headers.push(entry.encoded()?);
                before = Some(entry);
            }
            let Some(first) = records.first().map(|record| record.header.epoch) else { continue };
            tracing::warn!(name: "time_map_mended", folder = %self.dir.display(), %from, %to, "a damaged part of the time map is written again from the log");
            self.segments.replace(lost.segments, first, &headers)?;
        }
        Ok(())
    }

    /// The first epoch that a stretch may lack.
    fn first_lost(&self, lost: &Lost) -> Epoch {
        let named = self.segments.starts().nth(lost.segments.start).unwrap_or_default();
        lost.before.as_ref().map_or(named, |before| before.epoch.next())
    }

    /// What is damaged or missing. The end of the map is another matter: it is completed.
    fn lost(&self, reach: Reach) -> Vec<Lost> {
        let count = self.segments.starts().len();
        let mut start = count;
        let mut bytes = 0;
        while start > 0 && bytes < reach.bytes() {
            start -= 1;
            bytes += self.segments.len_of(start);
        }
        let mut lost = Vec::new();
        // The last entry before what is looked at, and the segment after it.
        let mut before = None;
        while start > 0 && before.is_none() {
            before = self.ends_of(start - 1).map(|(_, last)| last);
            start -= usize::from(before.is_none());
        }
        let mut next = start;
        for segment in start..count {
            let Some((first, last)) = self.ends_of(segment) else { continue };
            let is_continued = before.as_ref().is_none_or(|before: &TimeMapEntry| first.previous == before.link());
            if next < segment || !is_continued {
                lost.push(Lost { segments: next..segment, before: before.take(), after: first });
            }
            (before, next) = (Some(last), segment + 1);
        }
        lost
    }

    /// The first and the last entry of a segment all of whose records are what was written.
    fn ends_of(&self, segment: usize) -> Option<(TimeMapEntry, TimeMapEntry)> {
        let bytes = self.segments.bytes_of(segment).ok()?;
        let (mut first, mut last, mut offset) = (None, None, 0);
        loop {
            match record::look(&mut &bytes[..], bytes.len() as u64, offset).ok()? {
                Found::Record { header, extent } => {
                    offset = extent.end();
                    // Entries have no payload, but the hash of one.
                    if bytes[extent.payload as usize..offset as usize] != *blake3::hash(&[]).as_bytes() {
                        return None;
                    }
                    first.get_or_insert_with(|| header.clone());
                    last = Some(header);
                }
                Found::End => return Some((self.decode(&first?).ok()?, self.decode(&last?).ok()?)),
                Found::Torn | Found::Damaged { .. } => return None,
            }
        }
    }
}

/// Whether the log's records are all that is lacking: they follow what is before, and what is after follows them.
fn continues(lost: &Lost, from: Epoch, records: &[RecordHeader]) -> bool {
    let (Some(first), Some(last)) = (records.first(), records.last()) else { return false };
    let begins = match &lost.before {
        Some(before) => first.previous == before.link(),
        None => first.header.epoch == from,
    };
    begins && lost.after.previous == Link::from(&last.header)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::super::tests::{files, history, moments, seed, unanswered};
    use super::*;
    use crate::LogLocation;
    use crate::state::StateFile;

    /// Whatever happens to files before the last one, the map is again what it was, where the log has it; where it has
    /// not, nothing is touched and no answer is wrong.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_damaged_in_the_middle_is_written_again_from_the_log() {
        let rng = &mut StdRng::seed_from_u64(seed("mend"));
        let mut mended = 0;
        for round in 0..24 {
            let dir = tempfile::tempdir().unwrap();
            let state = StateFile::new("shop", 1);
            state.write(dir.path()).unwrap();
            let epochs = rng.random_range(8..60);
            let records = history(rng, state.log_id, epochs);
            let moments = moments(rng, &records);
            let segment_bytes = rng.random_range(1..4_000);
            let mut map = TimeMap::open_with(dir.path(), state.log_id, segment_bytes).unwrap();
            records.iter().for_each(|record| map.append(record).unwrap());
            drop(map);
            let log_from = if rng.random_bool(0.7) { 0 } else { rng.random_range(0..records.len()) };
            let mut log = InputLog::open(&LogLocation::StateDir, dir.path(), state.log_id).unwrap();
            for record in &records[log_from..] {
                log.append(record, None).await.unwrap();
            }
            let paths = files(dir.path());
            if paths.len() < 3 {
                continue;
            }
            let whole: Vec<_> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
            let at = rng.random_range(0..paths.len() - 1);
            let end = (at + rng.random_range(1..4)).min(paths.len() - 1);
            for (path, bytes) in paths.iter().zip(&whole).take(end).skip(at) {
                let mut bytes = bytes.clone();
                // A file that was removed from the beginning is as one that was trimmed.
                match rng.random_range(0..3) {
                    0 if at > 0 => fs::remove_file(path).unwrap(),
                    1 => fs::write(path, &bytes[..rng.random_range(0..bytes.len())]).unwrap(),
                    _ => {
                        let byte = rng.random_range(0..bytes.len());
                        bytes[byte] ^= 1 << rng.random_range(0..8);
                        fs::write(path, bytes).unwrap();
                    }
                }
            }
            let what = format!("round {round}, files {at} to {end} of {}, log from {log_from}", paths.len());
            let mut map = TimeMap::open_with(dir.path(), state.log_id, segment_bytes).unwrap();
            map.mend(&log, Reach::Recent).await.unwrap();
            let without = unanswered(&map, &records, &moments, &what);
            if log_from == 0 {
                assert_eq!(without, 0, "{what}");
                let now: Vec<u8> = files(dir.path()).iter().flat_map(|path| fs::read(path).unwrap()).collect();
                assert!(now == whole.concat(), "{what}: entries are other ones than before");
                mended += 1;
            }
            let seen = TimeMap::look(dir.path()).unwrap();
            assert_eq!(unanswered(&seen, &records, &moments, &what), without, "{what}, looked at");
            // What was mended stays, and grows.
            let mut map = TimeMap::open_with(dir.path(), state.log_id, segment_bytes).unwrap();
            map.complete(&log, &records[records.len() - 1..]).await.unwrap();
            assert_eq!(unanswered(&map, &records, &moments, &what), without, "{what}, opened again");
        }
        assert!(mended > 3, "{mended}");
    }
}
