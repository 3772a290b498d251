//! Records in segment files of a local folder, durable when an append returns.
//!
//! A segment is called `<prefix>-<first epoch, 20 digits>.log`. An append writes the record and
//! flushes the file; a new segment flushes the folder too. Only the last record of the last
//! segment can be incomplete, and it is cut off when the folder is opened: its append never
//! returned.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate_core::{Epoch, failpoint};

use super::record::{self, Extent, Found, ReadAt};
use crate::{RuntimeError, durable};

/// A folder of segments. One process at a time; the state folder's lock sees to it.
#[derive(Debug)]
pub struct Segments {
    dir: PathBuf,
    prefix: &'static str,
    roll_bytes: u64,
    torn_failpoint: Option<&'static str>,
    segments: Vec<Segment>,
    tail: Option<File>,
    /// Whether the next record begins a segment, whatever the last one's length.
    ended: bool,
    /// The header of the last segment's first record, once it is known.
    first_header: Option<Vec<u8>>,
    broken: bool,
}

#[derive(Debug, Clone)]
struct Segment {
    first: Epoch,
    path: Arc<PathBuf>,
    len: u64,
}

/// A record in a segment.
#[derive(Debug, Clone)]
pub struct Stored {
    path: Arc<PathBuf>,
    extent: Extent,
}

impl Stored {
    /// Length of the payload.
    pub fn payload_len(&self) -> u64 {
        self.extent.payload_len
    }

    /// Reads the payload through and compares it with its hash.
    pub fn verify(&self) -> Result<(), RuntimeError> {
        let mut file = self.open()?;
        match record::verify_payload(&mut file, &self.extent).map_err(RuntimeError::io("read", &self.path))? {
            true => Ok(()),
            false => Err(damaged(&self.path, self.extent.payload, "the payload does not match its hash")),
        }
    }

    /// A part of the payload, which has been verified before.
    pub fn read(&self, from: u64, len: u64) -> Result<Vec<u8>, RuntimeError> {
        assert!(from + len <= self.extent.payload_len, "sections lie within the payload");
        let mut part = vec![0; len as usize];
        self.open()?.read_at(self.extent.payload + from, &mut part).map_err(RuntimeError::io("read", &self.path))?;
        Ok(part)
    }

    /// For messages: where the payload begins.
    pub fn place(&self) -> (String, u64) {
        (self.path.display().to_string(), self.extent.payload)
    }

    fn open(&self) -> Result<File, RuntimeError> {
        File::open(&*self.path).map_err(RuntimeError::io("open", &self.path))
    }
}

impl Segments {
    /// Opens a folder, which is made if it is absent, and cuts off what was not completely
    /// written. Damage anywhere else is found when it is read.
    pub fn open(dir: &Path, prefix: &'static str, roll_bytes: u64) -> Result<Segments, RuntimeError> {
        durable::create_dir(dir)?;
        let mut segments = list(dir, prefix)?;
        while let Some(last) = segments.last_mut() {
            let kept = complete_len(last)?;
            if kept < last.len {
                tracing::warn!(file = %last.path.display(), from = kept, to = last.len, "cutting off an incomplete record");
                cut_file(&last.path, kept)?;
                last.len = kept;
            }
            if kept > 0 {
                break;
            }
            durable::remove(&last.path)?;
            durable::sync_dir(dir)?;
            segments.pop();
        }
        let dir = dir.to_owned();
        Ok(Segments {
            dir,
            prefix,
            roll_bytes,
            torn_failpoint: None,
            segments,
            tail: None,
            ended: false,
            first_header: None,
            broken: false,
        })
    }

    /// Names the failpoint that leaves half a record behind.
    #[must_use]
    pub fn with_torn_failpoint(mut self, name: &'static str) -> Self {
        self.torn_failpoint = Some(name);
        self
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len).sum()
    }

    /// Ends the last segment if `may_end` agrees on the header of its first record.
    pub fn end_if(&mut self, may_end: impl Fn(&[u8]) -> bool) -> Result<(), RuntimeError> {
        let Some(last) = self.segments.last() else { return Ok(()) };
        if self.first_header.is_none() {
            let mut scan = Scan { segments: [last.clone()].into(), file: None, offset: 0 };
            self.first_header = scan.next().transpose()?.map(|(header, _)| header);
        }
        self.ended = self.first_header.as_deref().is_some_and(may_end);
        Ok(())
    }

    /// Appends a record; durable when it returns. After an error nothing of the record is left,
    /// or it is cut off at the next start.
    pub fn append(
        &mut self,
        epoch: Epoch,
        header: &[u8],
        payload: &mut dyn Read,
        payload_len: u64,
    ) -> Result<Stored, RuntimeError> {
        if self.broken {
            return Err(RuntimeError::Bug(format!("{} was written to after a failed append", self.dir.display())));
        }
        if self.segments.last().is_none_or(|last| self.ended || last.len >= self.roll_bytes) {
            self.roll(epoch)?;
        }
        let last = self.segments.last_mut().unwrap_or_else(|| unreachable!("a segment was just begun"));
        let path = last.path.clone();
        let file = match self.tail.as_mut() {
            Some(file) => file,
            None => {
                let file = OpenOptions::new().append(true).open(&*path).map_err(RuntimeError::io("open", &path))?;
                self.tail.insert(file)
            }
        };
        if let Some(name) = self.torn_failpoint.filter(|name| failpoint::due(name)) {
            tear(file, header, payload, payload_len, name);
        }
        let written = (|| {
            let mut out = BufWriter::with_capacity(1 << 18, &mut *file);
            let written = record::write(&mut out, header, payload, payload_len)?;
            out.flush()?;
            drop(out);
            file.sync_data()?;
            Ok(written)
        })();
        match written {
            Ok(written) => {
                let extent = Extent { offset: last.len, payload: last.len + written - payload_len - 32, payload_len };
                last.len += written;
                Ok(Stored { path, extent })
            }
            Err(error) => {
                self.broken = true;
                if let Err(error) = cut_file(&path, last.len) {
                    tracing::warn!(file = %path.display(), %error, "an incomplete record is cut off at the next start");
                }
                Err(RuntimeError::io("append to", &path)(error))
            }
        }
    }

    fn roll(&mut self, first: Epoch) -> Result<(), RuntimeError> {
        let path = self.dir.join(format!("{}-{}.log", self.prefix, first.digits()));
        let file =
            OpenOptions::new().append(true).create_new(true).open(&path).map_err(RuntimeError::io("create", &path))?;
        durable::sync_dir(&self.dir)?;
        (self.tail, self.ended, self.first_header) = (Some(file), false, None);
        self.segments.push(Segment { first, path: Arc::new(path), len: 0 });
        Ok(())
    }

    /// Every record from the segment on that can hold `from`, in order, headers checked. Records
    /// of earlier epochs in that segment come too.
    pub fn scan(&self, from: Epoch) -> Scan {
        let start = self.segments.iter().rposition(|segment| segment.first <= from).unwrap_or(0);
        Scan { segments: self.segments[start..].iter().cloned().collect(), file: None, offset: 0 }
    }

    /// Removes a record and everything after it.
    pub fn cut(&mut self, at: &Stored) -> Result<(), RuntimeError> {
        let keep = self.segments.iter().position(|segment| segment.path == at.path);
        let keep = keep.ok_or_else(|| RuntimeError::Bug("a record of another folder was to be cut off".to_owned()))?;
        (self.tail, self.first_header) = (None, None);
        for segment in self.segments.drain(keep + 1..).rev() {
            durable::remove(&segment.path)?;
        }
        cut_file(&at.path, at.extent.offset)?;
        self.segments[keep].len = at.extent.offset;
        if at.extent.offset == 0 {
            durable::remove(&at.path)?;
            self.segments.pop();
        }
        durable::sync_dir(&self.dir)
    }

    /// Removes whole segments from the oldest on, as long as every record in them is at or before
    /// `epoch` and `may_go` agrees on the header of the first record after them. The last segment
    /// stays. Says whether any went.
    pub fn trim(&mut self, epoch: Epoch, may_go: impl Fn(&[u8]) -> bool) -> Result<bool, RuntimeError> {
        let mut gone = 0;
        for pair in self.segments.windows(2) {
            if pair[1].first > epoch.next() {
                break;
            }
            let mut next = Scan { segments: [pair[1].clone()].into(), file: None, offset: 0 };
            match next.next().transpose()? {
                Some((header, _)) if may_go(&header) => gone += 1,
                _ => break,
            }
        }
        for segment in self.segments.drain(..gone) {
            durable::remove(&segment.path)?;
        }
        if gone > 0 {
            durable::sync_dir(&self.dir)?;
        }
        Ok(gone > 0)
    }

    /// Removes all segments.
    pub fn clear(&mut self) -> Result<(), RuntimeError> {
        (self.tail, self.first_header) = (None, None);
        if self.segments.is_empty() {
            return Ok(());
        }
        for segment in self.segments.drain(..) {
            durable::remove(&segment.path)?;
        }
        durable::sync_dir(&self.dir)
    }
}

/// Iterates over records: header and place.
#[derive(Debug)]
pub struct Scan {
    segments: VecDeque<Segment>,
    file: Option<(Segment, File)>,
    offset: u64,
}

impl Iterator for Scan {
    type Item = Result<(Vec<u8>, Stored), RuntimeError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some((segment, file)) = self.file.as_mut() else {
                let segment = self.segments.pop_front()?;
                match File::open(&*segment.path) {
                    Ok(file) => self.file = Some((segment, file)),
                    Err(error) => return Some(Err(RuntimeError::io("open", &segment.path)(error))),
                }
                self.offset = 0;
                continue;
            };
            match record::look(file, segment.len, self.offset) {
                Ok(Found::Record { header, extent }) => {
                    self.offset = extent.end();
                    return Some(Ok((header, Stored { path: segment.path.clone(), extent })));
                }
                Ok(Found::End) => self.file = None,
                Ok(Found::Torn) => {
                    let fact = "the file ends within a record, but it is not the last of the log";
                    return Some(Err(damaged(&segment.path, self.offset, fact)));
                }
                Ok(Found::Damaged { offset, fact }) => return Some(Err(damaged(&segment.path, offset, fact))),
                Err(error) => return Some(Err(RuntimeError::io("read", &segment.path)(error))),
            }
        }
    }
}

fn list(dir: &Path, prefix: &str) -> Result<Vec<Segment>, RuntimeError> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(dir).map_err(RuntimeError::io("list", dir))? {
        let entry = entry.map_err(RuntimeError::io("list", dir))?;
        let name = entry.file_name();
        let digits = name.to_str().and_then(|name| name.strip_prefix(prefix)?.strip_prefix('-')?.strip_suffix(".log"));
        let Some(first) = digits.filter(|digits| digits.len() == 20).and_then(|digits| digits.parse().ok()) else {
            continue;
        };
        let len = entry.metadata().map_err(RuntimeError::io("read", &entry.path()))?.len();
        segments.push(Segment { first: Epoch(first), path: Arc::new(entry.path()), len });
    }
    segments.sort_by_key(|segment| segment.first);
    Ok(segments)
}

/// How much of the last segment was completely written.
fn complete_len(segment: &Segment) -> Result<u64, RuntimeError> {
    let mut file = File::open(&*segment.path).map_err(RuntimeError::io("open", &segment.path))?;
    let mut offset = 0;
    loop {
        match record::look(&mut file, segment.len, offset).map_err(RuntimeError::io("read", &segment.path))? {
            Found::End | Found::Torn => return Ok(offset),
            Found::Damaged { offset, fact } => return Err(damaged(&segment.path, offset, fact)),
            Found::Record { extent, .. } => {
                let unfinished = record::never_finished(&mut file, &extent, segment.len);
                if unfinished.map_err(RuntimeError::io("read", &segment.path))? {
                    return Ok(offset);
                }
                offset = extent.end();
            }
        }
    }
}

fn cut_file(path: &Path, len: u64) -> Result<(), RuntimeError> {
    OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|file| file.set_len(len).and_then(|()| file.sync_all()))
        .map_err(RuntimeError::io("shorten", path))
}

fn tear(file: &mut File, header: &[u8], payload: &mut dyn Read, payload_len: u64, name: &str) -> ! {
    let mut whole = Vec::new();
    let torn = record::write(&mut whole, header, payload, payload_len)
        .and_then(|_| file.write_all(&whole[..whole.len() / 2]))
        .and_then(|()| file.sync_all());
    tracing::error!(failpoint = name, ok = torn.is_ok(), "stopping with half a record written");
    std::process::abort()
}

fn damaged(path: &Path, offset: u64, fact: &str) -> RuntimeError {
    RuntimeError::LogDamaged { file: path.display().to_string(), offset, fact: fact.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path, roll: u64) -> Segments {
        Segments::open(dir, "input", roll).unwrap()
    }

    fn append(segments: &mut Segments, epoch: u64, payload: &[u8]) {
        segments.append(Epoch(epoch), epoch.to_string().as_bytes(), &mut &payload[..], payload.len() as u64).unwrap();
    }

    fn epochs(segments: &Segments, from: u64) -> Vec<u64> {
        segments.scan(Epoch(from)).map(|r| String::from_utf8(r.unwrap().0).unwrap().parse().unwrap()).collect()
    }

    #[test]
    fn rolls_trims_and_cuts() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path(), 1);
        (1..=5).for_each(|epoch| append(&mut log, epoch, b"payload"));
        assert_eq!(epochs(&log, 3), [3, 4, 5]);
        assert!(!log.trim(Epoch(3), |_| false).unwrap());
        assert!(log.trim(Epoch(2), |_| true).unwrap());
        assert_eq!(epochs(&log, 1), [3, 4, 5]);
        let at = log.scan(Epoch(4)).next().unwrap().unwrap().1;
        log.cut(&at).unwrap();
        append(&mut log, 4, b"again");
        drop(log);
        let mut log = open(dir.path(), 1);
        assert_eq!(epochs(&log, 1), [3, 4]);
        assert!(log.trim(Epoch(9), |_| true).unwrap());
        assert_eq!(epochs(&log, 1), [4], "the last segment stays");
        log.clear().unwrap();
        assert_eq!(epochs(&open(dir.path(), 1), 1), [] as [u64; 0]);
    }

    #[test]
    fn a_segment_ends_when_its_first_record_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path(), 1 << 20);
        for epoch in 1..=4 {
            log.end_if(|first| first == b"1").unwrap();
            append(&mut log, epoch, b"payload");
        }
        let firsts: Vec<_> = log.segments.iter().map(|segment| segment.first.0).collect();
        assert_eq!(firsts, [1, 2]);
        assert_eq!(epochs(&log, 1), [1, 2, 3, 4]);
    }

    #[test]
    fn a_torn_tail_is_cut_off_and_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path(), 1 << 20);
        append(&mut log, 1, b"one");
        let one = log.bytes();
        append(&mut log, 2, b"two");
        let path = log.segments[0].path.clone();
        drop(log);
        let whole = fs::read(&*path).unwrap();
        for len in 0..whole.len() as u64 {
            fs::write(&*path, &whole[..len as usize]).unwrap();
            let mut log = open(dir.path(), 1 << 20);
            let kept = if len < one { 0 } else { 1 };
            assert_eq!(epochs(&log, 1).len(), kept, "cut at {len}");
            (kept as u64 + 1..=2).for_each(|epoch| append(&mut log, epoch, b"new"));
            assert_eq!(epochs(&log, 1), [1, 2]);
            for record in log.scan(Epoch(1)) {
                record.unwrap().1.verify().unwrap();
            }
            let _ = fs::remove_file(&*path);
        }
    }

    #[test]
    fn a_flipped_byte_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path(), 1 << 20);
        append(&mut log, 1, b"one");
        append(&mut log, 2, b"two");
        let path = log.segments[0].path.clone();
        drop(log);
        let whole = fs::read(&*path).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x40;
            fs::write(&*path, &flipped).unwrap();
            let read = Segments::open(dir.path(), "input", 1 << 20)
                .and_then(|log| log.scan(Epoch(1)).try_for_each(|record| record?.1.verify()));
            let error = read.unwrap_err();
            assert!(error.to_string().contains("input-00000000000000000001.log"), "{error}");
            assert_eq!(fs::read(&*path).unwrap(), flipped, "damage is left as it was found");
        }
    }

    #[test]
    fn a_segment_cut_short_before_the_last_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path(), 1);
        (1..=2).for_each(|epoch| append(&mut log, epoch, b"payload"));
        cut_file(&log.segments[0].path, 40).unwrap();
        let error = open(dir.path(), 1).scan(Epoch(1)).find_map(Result::err).unwrap();
        assert!(error.to_string().contains("byte 0"), "{error}");
    }
}
