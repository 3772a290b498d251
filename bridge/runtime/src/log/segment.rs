//! Records in segment files of a local folder, durable when an append returns.
//!
//! A segment is called `<prefix>-<first epoch, 20 digits>.log`. An append writes the record and
//! flushes the file; a new segment flushes the folder too. Only the last record of the last
//! segment can be incomplete, and it is cut off when the folder is opened: its append never
//! returned. Where every record can be had from elsewhere again, appends may be left to the system and become
//! durable together ([`Durability::OnSync`]).

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate_core::{Epoch, failpoint};

use super::record::{self, Extent, Found, ReadAt};
use crate::{RuntimeError, durable};

mod replace;
#[cfg(test)]
mod tests;

/// Epochs of a segment at the most: opening a folder reads the headers of its last one.
const ROLL_EPOCHS: u64 = 1_024;

/// A folder of segments. One process at a time; the state folder's lock sees to it.
#[derive(Debug)]
pub struct Segments {
    dir: PathBuf,
    prefix: &'static str,
    roll_bytes: u64,
    torn_failpoint: Option<&'static str>,
    durability: Durability,
    segments: Vec<Segment>,
    tail: Option<File>,
    /// Whether the tail holds records that are not durable yet.
    unsynced: bool,
    /// Whether the next record begins a segment, whatever the last one's length.
    ended: bool,
    /// The header of the last segment's first record, once it is known.
    first_header: Option<Vec<u8>>,
    broken: bool,
}

/// When what was appended is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// When the append returns.
    #[default]
    EachAppend,
    /// When [`Segments::sync`] returns.
    OnSync,
}

/// What happens to bytes of the last segment that were not written like this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnDamage {
    Refuse,
    Cut,
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
        Self::open_as(dir, prefix, roll_bytes, OnDamage::Refuse)
    }

    /// The same for records that can be had from elsewhere again: damage in the last segment is cut off with
    /// everything after it.
    pub fn open_renewable(dir: &Path, prefix: &'static str, roll_bytes: u64) -> Result<Segments, RuntimeError> {
        let segments = Self::open_as(dir, prefix, roll_bytes, OnDamage::Cut)?;
        Ok(Segments { durability: Durability::OnSync, ..segments })
    }

    fn open_as(
        dir: &Path,
        prefix: &'static str,
        roll_bytes: u64,
        on_damage: OnDamage,
    ) -> Result<Segments, RuntimeError> {
        durable::create_dir(dir)?;
        let mut segments = list(dir, prefix)?;
        while let Some(last) = segments.last_mut() {
            let kept = match complete_len(last) {
                Err(RuntimeError::LogDamaged { file, offset, fact }) if on_damage == OnDamage::Cut => {
                    // Nobody has to do anything about it.
                    tracing::warn!(name: "log_rewritten", %file, from = offset, reason = %fact, "what follows is damaged and is written again");
                    offset.min(last.len)
                }
                complete => complete?,
            };
            if kept < last.len {
                tracing::warn!(name: "log_cut", file = %last.path.display(), from = kept, to = last.len, "cutting off an incomplete record");
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
        Ok(Segments::of(dir, prefix, roll_bytes, segments))
    }

    /// Looks at a folder that another process may be writing to: what is complete at this moment. Nothing is
    /// changed, and nothing may be.
    pub fn look(dir: &Path, prefix: &'static str) -> Result<Segments, RuntimeError> {
        if !dir.is_dir() {
            return Ok(Segments::of(dir, prefix, 0, Vec::new()));
        }
        let mut segments = list(dir, prefix)?;
        while let Some(last) = segments.last_mut() {
            last.len = complete_len(last)?;
            if last.len > 0 {
                break;
            }
            segments.pop();
        }
        // It is not ours to write to.
        Ok(Segments { broken: true, ..Segments::of(dir, prefix, 0, segments) })
    }

    fn of(dir: &Path, prefix: &'static str, roll_bytes: u64, segments: Vec<Segment>) -> Segments {
        Segments {
            dir: dir.to_owned(),
            prefix,
            roll_bytes,
            torn_failpoint: None,
            durability: Durability::default(),
            segments,
            tail: None,
            unsynced: false,
            ended: false,
            first_header: None,
            broken: false,
        }
    }

    /// The segments' files, and how much of each is complete.
    pub fn files(&self) -> impl Iterator<Item = (&Path, u64)> {
        self.segments.iter().map(|segment| (segment.path.as_path(), segment.len))
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
        let is_full =
            |last: &Segment| last.len >= self.roll_bytes || epoch.0.saturating_sub(last.first.0) >= ROLL_EPOCHS;
        if self.ended || self.segments.last().is_none_or(is_full) {
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
            if self.durability == Durability::EachAppend {
                file.sync_data()?;
            }
            Ok(written)
        })();
        match written {
            Ok(written) => {
                self.unsynced = self.durability == Durability::OnSync;
                let extent = Extent { offset: last.len, payload: last.len + written - payload_len - 32, payload_len };
                last.len += written;
                Ok(Stored { path, extent })
            }
            Err(error) => {
                self.broken = true;
                if let Err(error) = cut_file(&path, last.len) {
                    tracing::warn!(name: "log_cut", file = %path.display(), %error, "an incomplete record is cut off at the next start");
                }
                Err(RuntimeError::io("append to", &path)(error))
            }
        }
    }

    /// Makes durable what was appended.
    pub fn sync(&mut self) -> Result<(), RuntimeError> {
        if let (true, Some(tail), Some(last)) = (self.unsynced, &self.tail, self.segments.last()) {
            tail.sync_data().map_err(RuntimeError::io("flush", &last.path))?;
        }
        self.unsynced = false;
        Ok(())
    }

    fn roll(&mut self, first: Epoch) -> Result<(), RuntimeError> {
        self.sync()?;
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

    /// The epochs that the segments begin with.
    pub fn starts(&self) -> impl ExactSizeIterator<Item = Epoch> {
        self.segments.iter().map(|segment| segment.first)
    }

    /// Every record of one segment.
    pub fn scan_segment(&self, index: usize) -> Scan {
        Scan { segments: self.segments.get(index).cloned().into_iter().collect(), file: None, offset: 0 }
    }

    /// Removes a record and everything after it.
    pub fn cut(&mut self, at: &Stored) -> Result<(), RuntimeError> {
        let keep = self.segments.iter().position(|segment| segment.path == at.path);
        let keep = keep.ok_or_else(|| RuntimeError::Bug("a record of another folder was to be cut off".to_owned()))?;
        (self.tail, self.first_header, self.unsynced) = (None, None, false);
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
        (self.tail, self.first_header, self.unsynced) = (None, None, false);
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
    tracing::error!(name: "failpoint", failpoint = name, ok = torn.is_ok(), "stopping with half a record written");
    std::process::abort()
}

fn damaged(path: &Path, offset: u64, fact: &str) -> RuntimeError {
    RuntimeError::LogDamaged { file: path.display().to_string(), offset, fact: fact.to_owned() }
}
