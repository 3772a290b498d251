//! The events of an epoch in the making: encoded and hashed as they come from the sources, in
//! memory up to a budget and in an unnamed file beyond it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use arrow::error::ArrowError;
use tidegate_core::{TableEvent, TableName};

use super::hash::{ContentHash, ContentHasher};
use super::record::ReadAt;
use super::section::{self, Section};
use crate::RuntimeError;

/// Collects events.
pub struct Staging {
    dir: PathBuf,
    budget: u64,
    sections: Vec<Section>,
    hasher: ContentHasher,
    payload: Payload,
    events: Vec<(TableName, TableEvent)>,
}

/// Everything an epoch's record holds, with the events themselves where they fitted in memory.
pub struct Staged {
    /// What the header lists.
    pub sections: Vec<Section>,
    /// What the hash chain takes.
    pub content: ContentHash,
    payload: Payload,
    events: Vec<(TableName, TableEvent)>,
}

/// A moment in the making of an epoch.
pub struct Mark {
    sections: usize,
    len: u64,
    hasher: ContentHasher,
}

enum Payload {
    Memory(Vec<u8>),
    File { file: File, path: PathBuf, len: u64 },
}

impl Staging {
    /// `dir` takes what is more than `budget` bytes.
    pub fn new(dir: &Path, budget: u64) -> Self {
        Staging {
            dir: dir.to_owned(),
            budget,
            sections: Vec::new(),
            hasher: ContentHasher::default(),
            payload: Payload::Memory(Vec::new()),
            events: Vec::new(),
        }
    }

    /// Takes the next event. Events without rows that say nothing are dropped.
    pub fn push(&mut self, table: TableName, event: TableEvent) -> Result<(), RuntimeError> {
        if event.rows() == 0 && matches!(event, TableEvent::Rows(_) | TableEvent::Keyed(_)) {
            return Ok(());
        }
        let unencodable =
            |error: ArrowError| RuntimeError::Bug(format!("events of {table} cannot be encoded: {error}"));
        self.hasher.update(&table, &event).map_err(unencodable)?;
        match &mut self.payload {
            Payload::Memory(bytes) => {
                self.sections.push(section::encode(&table, &event, bytes).map_err(unencodable)?);
                self.events.push((table, event));
                if bytes.len() as u64 > self.budget {
                    self.spill()?;
                }
            }
            Payload::File { file, path, len } => {
                let mut bytes = Vec::new();
                self.sections.push(section::encode(&table, &event, &mut bytes).map_err(unencodable)?);
                file.write_all(&bytes).map_err(RuntimeError::io("write", path))?;
                *len += bytes.len() as u64;
            }
        }
        Ok(())
    }

    fn spill(&mut self) -> Result<(), RuntimeError> {
        let Payload::Memory(bytes) = &self.payload else { return Ok(()) };
        let path = self.dir.join("staging.tmp");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(RuntimeError::io("create", &path))?;
        // Without a name it goes with the process.
        fs::remove_file(&path).map_err(RuntimeError::io("remove", &path))?;
        file.write_all(bytes).map_err(RuntimeError::io("write", &path))?;
        let len = bytes.len() as u64;
        self.payload = Payload::File { file, path, len };
        self.events = Vec::new();
        Ok(())
    }

    /// Where the next event goes.
    pub fn mark(&self) -> Mark {
        Mark { sections: self.sections.len(), len: self.payload.len(), hasher: self.hasher.clone() }
    }

    /// Forgets what came after a mark.
    pub fn rollback(&mut self, mark: Mark) -> Result<(), RuntimeError> {
        self.sections.truncate(mark.sections);
        self.hasher = mark.hasher;
        self.events.truncate(mark.sections);
        match &mut self.payload {
            Payload::Memory(bytes) => bytes.truncate(mark.len as usize),
            Payload::File { file, path, len } => {
                file.set_len(mark.len).map_err(RuntimeError::io("shorten", path))?;
                file.seek(SeekFrom::Start(mark.len)).map_err(RuntimeError::io("write", path))?;
                *len = mark.len;
            }
        }
        Ok(())
    }

    /// Whether no event has come that says anything.
    pub fn is_empty(&self) -> bool {
        self.sections.is_empty()
    }

    /// What was collected.
    pub fn finish(self) -> Staged {
        Staged { sections: self.sections, content: self.hasher.finish(), payload: self.payload, events: self.events }
    }
}

impl Payload {
    fn len(&self) -> u64 {
        match self {
            Payload::Memory(bytes) => bytes.len() as u64,
            Payload::File { len, .. } => *len,
        }
    }
}

impl Staged {
    /// Rows of all events.
    pub fn rows(&self) -> u64 {
        self.sections.iter().map(|section| section.rows).sum()
    }

    /// Bytes of the payload.
    pub fn payload_len(&self) -> u64 {
        self.payload.len()
    }

    /// The payload from its beginning.
    pub fn reader(&mut self) -> Result<Box<dyn Read + Send + '_>, RuntimeError> {
        Ok(match &mut self.payload {
            Payload::Memory(bytes) => Box::new(&bytes[..]),
            Payload::File { file, path, .. } => {
                file.seek(SeekFrom::Start(0)).map_err(RuntimeError::io("read", path))?;
                Box::new(file)
            }
        })
    }

    /// Calls `take` with every event, in order.
    pub fn drain(
        mut self,
        mut take: impl FnMut(TableName, TableEvent) -> Result<(), RuntimeError>,
    ) -> Result<(), RuntimeError> {
        let Payload::File { file, path, .. } = &mut self.payload else {
            return self.events.into_iter().try_for_each(|(table, event)| take(table, event));
        };
        let mut at = 0;
        for section in &self.sections {
            let mut bytes = vec![0; section.bytes as usize];
            file.read_at(at, &mut bytes).map_err(RuntimeError::io("read", path))?;
            at += section.bytes;
            let event = section::decode(section, &bytes)
                .map_err(|error| RuntimeError::Bug(format!("a staged event cannot be read back: {error}")))?;
            take(section.table.clone(), event)?;
        }
        Ok(())
    }
}
