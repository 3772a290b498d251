//! The input log: the durable record of every epoch's source events. An epoch exists when its
//! record is durable here, and not before.

pub mod hash;
pub mod header;
pub mod ipc;
pub mod object;
pub mod record;
pub mod section;
pub mod segment;
pub mod staging;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use tidegate_core::{Epoch, Micros, TableEvent, TableName, failpoint};
use uuid::Uuid;

use self::header::RecordHeader;
use self::object::{Fetched, Objects};
use self::section::Section;
use self::segment::{Segments, Stored};
use self::staging::Staged;
use crate::RuntimeError;
use crate::depot::Depot;

/// Where the input log lies.
#[derive(Debug, Clone, Default)]
pub enum LogLocation {
    /// `log` in the state folder.
    #[default]
    StateDir,
    /// Another local folder.
    Local(PathBuf),
    /// Under a prefix of an object store.
    ObjectStore {
        /// The store, with its credentials.
        store: Arc<dyn ObjectStore>,
        /// The prefix.
        prefix: object_store::path::Path,
        /// What messages call it, without credentials.
        url: String,
    },
}

impl LogLocation {
    /// Where checkpoints go beside the log: nowhere but the state folder when the log is on a disk.
    pub(crate) fn depot(&self) -> Option<Depot> {
        match self {
            LogLocation::ObjectStore { store, prefix, url } => Some(Depot::new(Arc::clone(store), prefix, url)),
            LogLocation::StateDir | LogLocation::Local(_) => None,
        }
    }
}

const SEGMENT_BYTES: u64 = 64 << 20;

/// How the names of the log's files begin.
pub(crate) const PREFIX: &str = "input";

/// The input log of one pipeline.
#[derive(Debug)]
pub struct InputLog {
    place: Place,
    log_id: Uuid,
    retention: Option<Duration>,
}

#[derive(Debug)]
enum Place {
    Local { segments: Segments, dir: PathBuf },
    Objects(Objects),
}

/// A record of the log.
#[derive(Debug, Clone)]
pub struct LogRecord {
    /// Its header.
    pub header: RecordHeader,
    at: At,
}

#[derive(Debug, Clone)]
enum At {
    Stored(Stored),
    Object(object_store::path::Path),
}

/// The verified payload of a record.
#[derive(Debug)]
pub enum Body {
    /// In a segment.
    Stored(Stored),
    /// In memory.
    Fetched(Fetched),
}

impl InputLog {
    /// Opens the log, cutting off a torn tail.
    pub fn open(location: &LogLocation, state_dir: &Path, log_id: Uuid) -> Result<InputLog, RuntimeError> {
        let local = |dir: PathBuf| -> Result<Place, RuntimeError> {
            let segments = Segments::open(&dir, PREFIX, SEGMENT_BYTES)?.with_torn_failpoint("log.torn_append");
            Ok(Place::Local { segments, dir })
        };
        let place = match location {
            LogLocation::StateDir => local(state_dir.join("log"))?,
            LogLocation::Local(dir) => local(dir.clone())?,
            LogLocation::ObjectStore { store, prefix, url } => {
                Place::Objects(Objects::new(store.clone(), prefix.clone(), url.clone()))
            }
        };
        Ok(InputLog { place, log_id, retention: None })
    }

    /// A log in a local folder that another process may be writing to; it can be read and not appended to.
    pub(crate) fn look(dir: &Path, log_id: Uuid) -> Result<InputLog, RuntimeError> {
        let segments = Segments::look(dir, PREFIX)?;
        Ok(InputLog { place: Place::Local { segments, dir: dir.to_owned() }, log_id, retention: None })
    }

    /// The files of a local log, and how much of each is complete.
    pub(crate) fn files(&self) -> Vec<(PathBuf, u64)> {
        match &self.place {
            Place::Local { segments, .. } => segments.files().map(|(path, len)| (path.to_owned(), len)).collect(),
            Place::Objects(_) => Vec::new(),
        }
    }

    /// Begins a segment when the last one's first record is older than this, so that records can be
    /// trimmed at most as long again after their time, however few they are.
    #[must_use]
    pub fn with_retention(mut self, retention: Duration) -> Self {
        self.retention = Some(retention);
        self
    }

    /// What messages call the log.
    pub fn name(&self) -> String {
        match &self.place {
            Place::Local { dir, .. } => dir.display().to_string(),
            Place::Objects(objects) => objects.url().to_owned(),
        }
    }

    /// The log's id, which is in every record.
    pub fn id(&self) -> Uuid {
        self.log_id
    }

    /// Every record from epoch `from` on, in order; each continues the one before it and belongs
    /// to this log.
    pub async fn records(&self, from: Epoch) -> Result<Vec<LogRecord>, RuntimeError> {
        let mut records: Vec<LogRecord> = Vec::new();
        let mut take = |header: Vec<u8>, at: At| -> Result<(), RuntimeError> {
            let header = self.parse(&header)?;
            if header.log_id != self.log_id {
                return Err(RuntimeError::LogForeign {
                    log: self.name(),
                    fact: format!(
                        "holds epoch {} of log {}, but this state folder belongs to log {}",
                        header.header.epoch, header.log_id, self.log_id
                    ),
                    way_out: "restore the state folder that belongs to it, or move these records away",
                });
            }
            if let Some(last) = records.last()
                && (header.previous.epoch != last.header.header.epoch
                    || header.previous.hash != last.header.header.hash)
            {
                return Err(RuntimeError::LogForeign {
                    log: self.name(),
                    fact: format!(
                        "has epoch {} after epoch {}, which it does not continue; records between them are missing",
                        header.header.epoch, last.header.header.epoch
                    ),
                    way_out: "restore the missing segments from a backup, or move the state folder and the log away, \
                              run again, and bring each sink in line with 'tidegate resync PIPELINE SINK'",
                });
            }
            if header.header.epoch >= from {
                records.push(LogRecord { header, at });
            }
            Ok(())
        };
        match &self.place {
            Place::Local { segments, .. } => {
                for record in segments.scan(from) {
                    let (header, stored) = record?;
                    take(header, At::Stored(stored))?;
                }
            }
            Place::Objects(objects) => {
                for (_, path) in objects.list(from).await? {
                    let (header, _) = objects.read(&path).await?;
                    take(header, At::Object(path))?;
                }
            }
        }
        Ok(records)
    }

    /// The epoch that the first record continues: from there on the log has everything. `None` where it is empty.
    pub async fn begins_after(&self) -> Result<Option<Epoch>, RuntimeError> {
        let first = match &self.place {
            Place::Local { segments, .. } => segments.scan(Epoch::ZERO).next().transpose()?.map(|(header, _)| header),
            Place::Objects(objects) => match objects.list(Epoch::ZERO).await?.first() {
                Some((_, path)) => Some(objects.read(path).await?.0),
                None => None,
            },
        };
        first.map(|header| self.parse(&header).map(|header| header.previous.epoch)).transpose()
    }

    fn parse(&self, header: &[u8]) -> Result<RecordHeader, RuntimeError> {
        serde_json::from_slice(header).map_err(|error| RuntimeError::LogForeign {
            log: self.name(),
            fact: format!("holds a record that this version does not read ({error})"),
            way_out: "run it with the version of Tidegate that wrote it",
        })
    }

    /// Whether there is any record, whoever it belongs to.
    pub async fn is_empty(&self) -> Result<bool, RuntimeError> {
        match &self.place {
            Place::Local { segments, .. } => Ok(segments.bytes() == 0),
            Place::Objects(objects) => Ok(objects.list(Epoch::ZERO).await?.is_empty()),
        }
    }

    /// The payload of a record, verified.
    pub async fn body(&self, record: &LogRecord) -> Result<Body, RuntimeError> {
        match (&record.at, &self.place) {
            (At::Stored(stored), _) => {
                stored.verify()?;
                Ok(Body::Stored(stored.clone()))
            }
            (At::Object(path), Place::Objects(objects)) => Ok(Body::Fetched(objects.read(path).await?.1)),
            (At::Object(_), Place::Local { .. }) => Err(RuntimeError::Bug("an object of a local log".to_owned())),
        }
    }

    /// Appends an epoch; it exists when this returns. `staged` is `None` for records without
    /// events. Returns the bytes written.
    pub async fn append(&mut self, header: &RecordHeader, staged: Option<&mut Staged>) -> Result<u64, RuntimeError> {
        let epoch = header.header.epoch;
        let oldest = self.retention.map(|retention| header.logged_at.before(retention));
        let header = serde_json::to_vec(header)
            .map_err(|error| RuntimeError::Bug(format!("the header of epoch {epoch} cannot be written: {error}")))?;
        let (mut empty, payload_len) = (std::io::empty(), staged.as_ref().map_or(0, |staged| staged.payload_len()));
        failpoint::hit("log.before_append");
        let written = match &mut self.place {
            Place::Local { segments, .. } => {
                let append = || {
                    let mut payload = match staged {
                        Some(staged) => staged.reader()?,
                        None => Box::new(&mut empty),
                    };
                    if let Some(oldest) = oldest {
                        segments.end_if(|first| logged_before(first, oldest))?;
                    }
                    let before = segments.bytes();
                    segments.append(epoch, &header, &mut payload, payload_len)?;
                    Ok(segments.bytes() - before)
                };
                crate::blocking(append)?
            }
            Place::Objects(objects) => {
                let mut payload = match staged {
                    Some(staged) => staged.reader()?,
                    None => Box::new(&mut empty),
                };
                objects.append(epoch, &header, &mut payload, payload_len).await?
            }
        };
        failpoint::hit("log.appended");
        Ok(written)
    }

    /// Removes records at or before `epoch` that were logged before `older_than`, as far as that
    /// can be done without touching later ones. The last record stays. Says whether any went.
    pub async fn trim(&mut self, epoch: Epoch, older_than: Micros) -> Result<bool, RuntimeError> {
        let old = |header: &[u8]| logged_before(header, older_than);
        match &mut self.place {
            Place::Local { segments, .. } => segments.trim(epoch, old),
            Place::Objects(objects) => {
                let mut any = false;
                let mut listed = objects.list(Epoch::ZERO).await?;
                listed.pop();
                for (_, path) in listed.into_iter().take_while(|(e, _)| *e <= epoch) {
                    if !old(&objects.read(&path).await?.0) {
                        break;
                    }
                    objects.remove(&path).await?;
                    any = true;
                }
                Ok(any)
            }
        }
    }
}

fn logged_before(header: &[u8], time: Micros) -> bool {
    serde_json::from_slice::<RecordHeader>(header).is_ok_and(|header| header.logged_at < time)
}

impl Body {
    /// Calls `take` with every event, in order.
    pub fn drain(
        &self,
        sections: &[Section],
        mut take: impl FnMut(TableName, TableEvent) -> Result<(), RuntimeError>,
    ) -> Result<(), RuntimeError> {
        let mut at = 0;
        for section in sections {
            let event = match self {
                Body::Stored(stored) => section::decode(section, &stored.read(at, section.bytes)?),
                Body::Fetched(fetched) => section::decode(section, fetched.read(at, section.bytes)),
            };
            let event = event.map_err(|error| {
                let (file, payload) = match self {
                    Body::Stored(stored) => stored.place(),
                    Body::Fetched(fetched) => fetched.place(),
                };
                RuntimeError::LogDamaged {
                    file,
                    offset: payload + at,
                    fact: format!("the events of {} cannot be read ({error})", section.table),
                }
            })?;
            take(section.table.clone(), event)?;
            at += section.bytes;
        }
        Ok(())
    }
}
