//! The delta log: view deltas that some sink has not committed yet, durable, so that a checkpoint
//! may forget how they came about.
//!
//! It uses the segments of the input log: one record an epoch, with the deltas of all views in it.
//! Epochs without deltas have a record too, while a sink is behind: their headers are what the
//! sink's position is compared with.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, UInt8Array};
use arrow::datatypes::{Int64Type, UInt8Type};
use arrow::error::ArrowError;
use serde::{Deserialize, Serialize};
use tidegate_core::{ChangeType, DeltaBatch, DeltaKind, Epoch, EpochHeader, ViewDelta, ViewName, failpoint};

use crate::RuntimeError;
use crate::log::header::Link;
use crate::log::ipc;
use crate::log::segment::{Segments, Stored};

const SEGMENT_BYTES: u64 = 16 << 20;
const PREFIX: &str = "deltas";

/// One epoch in the delta log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeltaRecord {
    /// The epoch.
    #[serde(flatten)]
    pub header: EpochHeader,
    /// The epoch before it.
    pub previous: Link,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Part {
    view: ViewName,
    kind: PartKind,
    bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PartKind {
    Changes,
    Replace,
}

impl DeltaRecord {
    /// Bytes of its deltas.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// Whether the view's whole content is replaced in this epoch.
    pub fn replaces(&self, view: &ViewName) -> bool {
        self.parts.iter().any(|part| part.kind == PartKind::Replace && part.view == *view)
    }
}

/// Files, and how much of each is complete.
pub type CompleteFiles = Vec<(PathBuf, u64)>;

/// The delta log of a state folder.
#[derive(Debug)]
pub struct DeltaLog {
    segments: Segments,
    records: Vec<(Arc<DeltaRecord>, Stored)>,
}

impl DeltaLog {
    /// Opens the folder, which is made if it is absent.
    pub fn open(dir: &Path) -> Result<DeltaLog, RuntimeError> {
        Self::open_with(dir, SEGMENT_BYTES)
    }

    fn open_with(dir: &Path, segment_bytes: u64) -> Result<DeltaLog, RuntimeError> {
        let segments = Segments::open(dir, PREFIX, segment_bytes)?;
        let mut records = Vec::new();
        for record in segments.scan(Epoch::ZERO) {
            let (header, stored) = record?;
            records.push((Arc::new(parse(&header, dir)?), stored));
        }
        Ok(DeltaLog { segments, records })
    }

    /// What a folder holds that another process may be writing to: its records, and how much of each file is complete.
    pub fn look(dir: &Path) -> Result<(Vec<DeltaRecord>, CompleteFiles), RuntimeError> {
        let segments = Segments::look(dir, PREFIX)?;
        let mut records = Vec::new();
        for record in segments.scan(Epoch::ZERO) {
            records.push(parse(&record?.0, dir)?);
        }
        Ok((records, segments.files().map(|(path, len)| (path.to_owned(), len)).collect()))
    }

    /// The epochs that are held, in order.
    pub fn records(&self) -> impl DoubleEndedIterator<Item = &Arc<DeltaRecord>> {
        self.records.iter().map(|(record, _)| record)
    }

    /// The last epoch that is held.
    pub fn last(&self) -> Option<Epoch> {
        self.records.last().map(|(record, _)| record.header.epoch)
    }

    /// Adds an epoch; durable when it returns.
    pub fn append(&mut self, header: &EpochHeader, previous: Link, deltas: &[ViewDelta]) -> Result<(), RuntimeError> {
        let mut payload = Vec::new();
        let mut parts = Vec::new();
        for delta in deltas {
            let mut part = |kind, bytes| parts.push(Part { view: delta.view.clone(), kind, bytes });
            match delta.kind {
                DeltaKind::Replace => part(PartKind::Replace, 0),
                DeltaKind::Changes => {
                    for batch in &delta.batches {
                        let start = payload.len();
                        encode(batch, &mut payload).map_err(|error| {
                            RuntimeError::Bug(format!("a delta of view {} cannot be encoded: {error}", delta.view))
                        })?;
                        part(PartKind::Changes, (payload.len() - start) as u64);
                    }
                }
            }
        }
        let record = DeltaRecord { header: header.clone(), previous, parts };
        let json = serde_json::to_vec(&record).map_err(|error| {
            RuntimeError::Bug(format!("the deltas of epoch {} cannot be written: {error}", header.epoch))
        })?;
        let stored = self.segments.append(header.epoch, &json, &mut &payload[..], payload.len() as u64)?;
        self.records.push((Arc::new(record), stored));
        failpoint::hit("delta_log.written");
        Ok(())
    }

    /// The deltas of a view after epoch `after`, epoch by epoch; reads as it is driven and stays
    /// valid while the log is appended to.
    pub fn changes(&self, view: &ViewName, after: Epoch) -> DeltaReader {
        let records =
            self.records.iter().filter(|(record, _)| record.header.epoch > after).cloned().collect::<Vec<_>>();
        DeltaReader { view: view.clone(), records: records.into_iter(), current: None }
    }

    /// Removes the epochs at or before `epoch`, which every sink has committed, as far as whole
    /// segments go.
    pub fn trim(&mut self, epoch: Epoch) -> Result<(), RuntimeError> {
        if self.last().is_none_or(|last| last <= epoch) {
            self.records.clear();
            return self.segments.clear();
        }
        self.records.retain(|(record, _)| record.header.epoch > epoch);
        self.segments.trim(epoch, |_| true)?;
        Ok(())
    }

    /// Removes the first record that `is_ours` does not accept, and all after it: epochs that were
    /// prepared and never came to be.
    pub fn cut_unless(&mut self, is_ours: impl Fn(&DeltaRecord) -> bool) -> Result<(), RuntimeError> {
        let Some(from) = self.records.iter().position(|(record, _)| !is_ours(record)) else { return Ok(()) };
        let at = self.records[from].1.clone();
        self.records.truncate(from);
        self.segments.cut(&at)
    }
}

fn parse(header: &[u8], dir: &Path) -> Result<DeltaRecord, RuntimeError> {
    serde_json::from_slice(header).map_err(|error| RuntimeError::LogForeign {
        log: dir.display().to_string(),
        fact: format!("holds a record that this version does not read ({error})"),
        way_out: "run it with the version of Tidegate that wrote it",
    })
}

/// Reads the deltas of one view.
#[derive(Debug)]
pub struct DeltaReader {
    view: ViewName,
    records: std::vec::IntoIter<(Arc<DeltaRecord>, Stored)>,
    current: Option<(Arc<DeltaRecord>, Stored, usize, u64)>,
}

impl Iterator for DeltaReader {
    type Item = Result<(EpochHeader, DeltaBatch), RuntimeError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some((record, stored, next, offset)) = self.current.as_mut() else {
                let (record, stored) = self.records.next()?;
                if record.parts.iter().any(|part| part.view == self.view && part.bytes > 0) {
                    if let Err(error) = stored.verify() {
                        return Some(Err(error));
                    }
                    self.current = Some((record, stored, 0, 0));
                }
                continue;
            };
            let Some(part) = record.parts.get(*next) else {
                self.current = None;
                continue;
            };
            let at = *offset;
            *next += 1;
            *offset += part.bytes;
            if part.view != self.view || part.kind != PartKind::Changes {
                continue;
            }
            return Some(stored.read(at, part.bytes).and_then(|bytes| {
                let batch = decode(&bytes).map_err(|error| {
                    let (file, payload) = stored.place();
                    let fact = format!("a delta of view {} cannot be read ({error})", self.view);
                    RuntimeError::LogDamaged { file, offset: payload + at, fact }
                })?;
                Ok((record.header.clone(), batch))
            }));
        }
    }
}

fn encode(batch: &DeltaBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
    let change: UInt8Array = batch.change.iter().map(|change| *change as u8).collect();
    let extra: Vec<(&str, ArrayRef)> = vec![
        ("weight", Arc::new(batch.weights.clone())),
        ("change", Arc::new(change)),
        ("copies_before", Arc::new(batch.copies_before.clone())),
    ];
    ipc::encode(&batch.rows, extra, out)
}

fn decode(bytes: &[u8]) -> Result<DeltaBatch, ArrowError> {
    let foreign = || ArrowError::IpcError("its columns are not those of a delta".to_owned());
    let (rows, extra) = ipc::decode(bytes, 3)?;
    let number = |index: usize| extra[index].as_primitive_opt::<Int64Type>().cloned().ok_or_else(foreign);
    let codes = extra[1].as_primitive_opt::<UInt8Type>().ok_or_else(foreign)?;
    let change = codes.values().iter().map(|code| ChangeType::from_code(*code).ok_or_else(foreign));
    Ok(DeltaBatch { rows, weights: number(0)?, change: change.collect::<Result<_, _>>()?, copies_before: number(2)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, RecordBatch, StringArray};
    use tidegate_core::{EpochHash, Frontier, Micros, schema};

    fn header(epoch: u64) -> EpochHeader {
        let hash = EpochHash([epoch as u8; 32]);
        let time = Micros(epoch as i64);
        EpochHeader { epoch: Epoch(epoch), hash, frontier: Frontier::new(), time, latest_commit: Some(time) }
    }

    fn batch(name: &str) -> DeltaBatch {
        let schema = schema::columns([("id", "BIGINT", false), ("name", "VARCHAR", true)]).unwrap();
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from(vec![1, 1])), Arc::new(StringArray::from(vec![Some(name), None]))];
        DeltaBatch {
            rows: RecordBatch::try_new(schema, columns).unwrap(),
            weights: Int64Array::from(vec![-1, 1]),
            change: vec![ChangeType::UpdatePreimage, ChangeType::UpdatePostimage],
            copies_before: Int64Array::from(vec![1, 0]),
        }
    }

    fn changes(view: &str, names: &[&str]) -> ViewDelta {
        ViewDelta {
            view: view.into(),
            kind: DeltaKind::Changes,
            batches: names.iter().map(|name| batch(name)).collect(),
        }
    }

    fn fill(log: &mut DeltaLog) {
        log.append(&header(3), Link::default(), &[changes("a", &["x", "y"]), changes("b", &["z"])]).unwrap();
        log.append(&header(4), Link::default(), &[]).unwrap();
        let replace = ViewDelta { view: "b".into(), kind: DeltaKind::Replace, batches: Vec::new() };
        log.append(&header(5), Link::default(), &[replace, changes("a", &["w"])]).unwrap();
    }

    #[test]
    fn what_was_appended_is_read_back_by_view() {
        let dir = tempfile::tempdir().unwrap();
        fill(&mut DeltaLog::open(dir.path()).unwrap());
        let log = DeltaLog::open(dir.path()).unwrap();
        assert_eq!(log.last(), Some(Epoch(5)));
        let read: Vec<_> = log.changes(&"a".into(), Epoch(2)).map(Result::unwrap).collect();
        let names: Vec<_> =
            read.iter().map(|(h, b)| (h.epoch.0, b.rows.column(1).as_string::<i32>().value(0))).collect();
        assert_eq!(names, [(3, "x"), (3, "y"), (5, "w")]);
        let (expected, found) = (batch("x"), &read[0].1);
        assert_eq!((&expected.rows, &expected.weights), (&found.rows, &found.weights));
        assert_eq!((&expected.change, &expected.copies_before), (&found.change, &found.copies_before));
        assert_eq!(found.rows.schema().field(0).metadata(), expected.rows.schema().field(0).metadata());
        assert_eq!(log.changes(&"a".into(), Epoch(3)).count(), 1);
        let replaced: Vec<_> = log.records().filter(|r| r.replaces(&"b".into())).map(|r| r.header.epoch.0).collect();
        assert_eq!(replaced, [5]);
    }

    #[test]
    fn trimming_keeps_what_is_needed() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = DeltaLog::open_with(dir.path(), 1).unwrap();
        fill(&mut log);
        log.trim(Epoch(3)).unwrap();
        let epochs = |log: &DeltaLog| log.records().map(|r| r.header.epoch.0).collect::<Vec<_>>();
        assert_eq!(epochs(&log), [4, 5]);
        assert_eq!(epochs(&DeltaLog::open(dir.path()).unwrap()), [4, 5]);
        log.cut_unless(|record| record.header.epoch == Epoch(4)).unwrap();
        assert_eq!(epochs(&DeltaLog::open(dir.path()).unwrap()), [4]);
        log.trim(Epoch(4)).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn damage_is_never_read_as_data() {
        let dir = tempfile::tempdir().unwrap();
        fill(&mut DeltaLog::open(dir.path()).unwrap());
        let path = std::fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
        let whole = std::fs::read(&path).unwrap();
        let read = || -> Result<Vec<_>, RuntimeError> {
            let log = DeltaLog::open(dir.path())?;
            let of_view = |view: &str| log.changes(&view.into(), Epoch(0)).collect::<Result<Vec<_>, _>>();
            let all = [of_view("a")?, of_view("b")?].concat();
            Ok(all.into_iter().map(|(header, batch)| (header, batch.rows, batch.weights, batch.change)).collect())
        };
        let intact = read().unwrap();
        for at in (0..whole.len()).step_by(7) {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            std::fs::write(&path, &flipped).unwrap();
            // The hash of an empty payload is not read, and nothing hangs on it.
            assert!(read().map_or(true, |read| read == intact), "byte {at} makes wrong data");
        }
    }
}
