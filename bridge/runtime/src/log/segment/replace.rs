//! Segments that are written again, for records that can be had from elsewhere.

use std::fs;
use std::ops::Range;
use std::sync::Arc;

use tidegate_core::Epoch;

use super::{Segment, Segments};
use crate::log::record;
use crate::{RuntimeError, durable};

impl Segments {
    /// Every byte of a segment that is complete.
    pub fn bytes_of(&self, index: usize) -> Result<Vec<u8>, RuntimeError> {
        let segment = &self.segments[index];
        let mut bytes = fs::read(&*segment.path).map_err(RuntimeError::io("read", &segment.path))?;
        bytes.truncate(segment.len as usize);
        Ok(bytes)
    }

    /// The length of a segment.
    pub fn len_of(&self, index: usize) -> u64 {
        self.segments[index].len
    }

    /// Puts one segment with these records, which have no payloads, in the place of a range of segments, which may be
    /// empty and ends before the last. A reader sees the old ones or the new one; durable when it returns.
    pub fn replace(&mut self, range: Range<usize>, first: Epoch, headers: &[Vec<u8>]) -> Result<(), RuntimeError> {
        if self.broken || range.end >= self.segments.len() {
            return Err(RuntimeError::Bug(format!("segments of {} cannot be replaced", self.dir.display())));
        }
        let mut content = Vec::new();
        let path = self.dir.join(format!("{}-{}.log", self.prefix, first.digits()));
        for header in headers {
            record::write(&mut content, header, &mut std::io::empty(), 0).map_err(RuntimeError::io("write", &path))?;
        }
        durable::write(&path, &content)?;
        let segment = Segment { first, path: Arc::new(path), len: content.len() as u64 };
        let replaced: Vec<Segment> = self.segments.splice(range, [segment.clone()]).collect();
        for old in replaced.iter().filter(|old| old.path != segment.path) {
            durable::remove(&old.path)?;
        }
        durable::sync_dir(&self.dir)
    }
}
