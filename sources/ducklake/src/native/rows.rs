//! Rows out of files and inlined tables, as a plan says.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use tidegate_duck::Flow;
use tokio::runtime::Handle;

use super::files::{DeleteFileRow, DeleteFormat, Place};
use super::kills::Kills;
use super::latest::Latest;
use super::layout::Layout;
use super::parquet::{FileEntry, FileError, Files, Matching, Meter, Reading, Wanted};
use super::plan::{Changes, Content, FilePlan};
use super::stamps::Replaced;
use super::virtual_columns::filled;
use crate::error::LakeError;

/// Deletes that are kept: 24 bytes each.
const DELETES_KEPT: usize = 4 << 20;

/// The positions that a delete file names, with the snapshots that it has for them.
type SharedDeletes = Arc<Vec<(u64, Option<u64>)>>;

/// Takes a batch of rows with their common weight, and the last snapshot that they are of; says whether to go on.
pub type Each<'a> = dyn FnMut(RecordBatch, i64, u64) -> Result<Flow, LakeError> + 'a;

/// The files of a lake as rows.
pub struct Rows {
    lake: String,
    files: Files,
    /// The delete files that were read last. Files of a lake never change.
    known: Mutex<Latest<String, SharedDeletes>>,
}

/// What a reading may end with, besides an error of the receiver.
enum Failed {
    File(FileError),
    Receiver(LakeError),
}

impl From<FileError> for Failed {
    fn from(error: FileError) -> Self {
        Failed::File(error)
    }
}

impl Rows {
    /// Of a lake.
    pub fn new(lake: &str, files: Files) -> Self {
        Rows { lake: lake.to_owned(), files, known: Mutex::new(Latest::new(DELETES_KEPT)) }
    }

    /// Requests are driven by this runtime from here on.
    pub fn drive_by(&mut self, runtime: Handle) {
        self.files.runtime = runtime;
    }

    /// The source's name.
    pub fn lake(&self) -> &str {
        &self.lake
    }

    /// Requests and bytes read so far.
    pub fn meter(&self) -> Arc<Meter> {
        self.files.meter()
    }

    /// What a table holds, each row with the weight given; `snapshot` is what they are said to be of.
    pub fn content(
        &self,
        content: &Content,
        snapshot: u64,
        weight: i64,
        each: &mut Each<'_>,
    ) -> Result<Flow, LakeError> {
        for part in &content.inlined {
            if each(part.batch.clone(), weight, snapshot)? == Flow::Stop {
                return Ok(Flow::Stop);
            }
        }
        let at = content.snapshot;
        for plan in &content.files {
            let kills = self.kills(plan, None)?;
            let is_there = |position, begin| begin <= at && kills.spares(position, at);
            let mut send = |batch, _| each(batch, weight, snapshot);
            if self.file(plan, &content.layout, Wanted::All, &is_there, &mut send)? == Flow::Stop {
                return Ok(Flow::Stop);
            }
        }
        Ok(Flow::Continue)
    }

    /// What changed in a table after one snapshot and up to another, +1 for rows that came and −1 for rows that
    /// went. The two need not cancel out.
    pub fn changes(&self, changes: &Changes, after: u64, to: u64, each: &mut Each<'_>) -> Result<Flow, LakeError> {
        let within = |snapshot: u64| after < snapshot && snapshot <= to;
        for part in &changes.inlined {
            let came = part.begin.iter().map(|begin| Some(*begin).filter(|begin| within(*begin)));
            let went = part.end.iter().map(|end| end.filter(|end| within(*end)));
            let sides = [(came.collect::<Vec<_>>(), 1), (went.collect(), -1)];
            for (snapshots, weight) in sides {
                let Some(last) = snapshots.iter().flatten().max().copied() else { continue };
                let batch = self.kept(&part.batch, snapshots.iter().map(Option::is_some))?;
                if each(batch, weight, last)? == Flow::Stop {
                    return Ok(Flow::Stop);
                }
            }
        }
        for plan in &changes.inserts {
            let file = &plan.file;
            if file.begin > to {
                continue;
            }
            let came = |_, begin: u64| within(begin) && !changes.rewrites.contains(&begin);
            let mut send = |batch, last| each(batch, 1, last);
            if self.file(plan, &changes.layout, Wanted::Snapshots { after, to }, &came, &mut send)? == Flow::Stop {
                return Ok(Flow::Stop);
            }
        }
        for plan in &changes.deletes {
            let rewritten = plan.file.end.filter(|end| changes.rewrites.contains(end));
            let mut kills = self.kills(plan, plan.file.end.filter(|_| rewritten.is_none()))?;
            if let Some(end) = rewritten {
                // A delete that met the rewrite without noticing deletes nothing: the row lives on elsewhere.
                kills.forget_from(end);
            }
            let wanted =
                if kills.ends_within(after, to) { Wanted::All } else { Wanted::Positions(kills.positions(after, to)) };
            if matches!(&wanted, Wanted::Positions(positions) if positions.is_empty()) {
                continue;
            }
            let went = |position, _| kills.of(position).is_some_and(within);
            // Which of the snapshots is of no more interest than that it is not later.
            let last = kills.last(after, to);
            let mut send = |batch, _| each(batch, -1, last);
            if self.file(plan, &changes.layout, wanted, &went, &mut send)? == Flow::Stop {
                return Ok(Flow::Stop);
            }
        }
        Ok(Flow::Continue)
    }

    /// Corrects what files have for the snapshots of deletes, before a row of them is sent.
    pub fn settle(&self, changes: &mut Changes, after: u64, to: u64) -> Result<(), LakeError> {
        changes.stamps.settle((after, to), &mut changes.deletes, self)
    }

    /// The same for what a table holds.
    pub fn settle_content(&self, content: &mut Content) -> Result<(), LakeError> {
        let at = content.snapshot;
        content.stamps.settle((at, at), &mut content.files, self)
    }

    /// When the rows of a file were deleted.
    fn kills(&self, plan: &FilePlan, end: Option<u64>) -> Result<Kills, LakeError> {
        let mut kills = Kills::ending(end);
        for file in &plan.deletes.files {
            for (position, snapshot) in self.deletes(file)?.iter() {
                let snapshot = snapshot.unwrap_or(file.begin);
                let late = if file.is_early && file.partial_max == Some(snapshot) {
                    file.writer
                } else {
                    plan.deletes.corrected.get(position).copied()
                };
                kills.add(*position, late.map_or(snapshot, |late| late.max(snapshot)));
            }
        }
        for (position, snapshot) in &plan.deletes.inlined {
            kills.add(*position, *snapshot);
        }
        Ok(kills)
    }

    /// The positions that a delete file of the catalog names.
    fn deletes(&self, file: &DeleteFileRow) -> Result<SharedDeletes, LakeError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(deletes) = known.get(&file.place.path) {
            return Ok(deletes);
        }
        let failed = |source: FileError| source.in_lake(&self.lake);
        let deletes = match file.format {
            DeleteFormat::Parquet => {
                let opened = self.files.open(&entry(&file.place)).map_err(failed)?;
                self.files.read_deletes(&opened).map_err(failed)?
            }
            DeleteFormat::Vector => {
                let positions = self.files.read_vector(&entry(&file.place), file.count).map_err(failed)?;
                positions.into_iter().map(|position| (position, None)).collect()
            }
        };
        let deletes = SharedDeletes::new(deletes);
        known.insert(file.place.path.clone(), deletes.clone(), deletes.len());
        Ok(deletes)
    }

    /// The snapshots in each delete file of a plan that was written late, with the place of the file in the plan.
    pub(super) fn stamps(&self, plan: &FilePlan) -> Result<Vec<(usize, BTreeSet<u64>)>, LakeError> {
        let late = plan.deletes.files.iter().enumerate().filter(|(_, file)| file.writer.is_some());
        let stamps = |(at, file): (usize, &DeleteFileRow)| {
            Ok((at, self.deletes(file)?.iter().filter_map(|(_, snapshot)| *snapshot).collect()))
        };
        late.map(stamps).collect()
    }

    /// A delete file that was replaced; `None`: it is gone.
    pub(super) fn replaced(&self, place: &Place) -> Result<Option<Replaced>, LakeError> {
        let read = || {
            let size = self.files.size(&place.path)?;
            let file = self.files.open(&entry(&Place { size, ..place.clone() }))?;
            let data_file = self.files.read_deleted_file(&file)?.unwrap_or_default();
            Ok(Replaced { data_file, positions: self.files.read_deletes(&file)? })
        };
        match read() {
            Ok(replaced) => Ok(Some(replaced)),
            // The catalog forgets the keys of files that were replaced.
            Err(FileError::Gone { .. } | FileError::Encrypted { .. }) => Ok(None),
            Err(error) => Err(error.in_lake(&self.lake)),
        }
    }

    /// Rows of a data file that `keep` wants, by position and by the snapshot that they came in. `send` is told the last
    /// of these snapshots, too.
    fn file(
        &self,
        plan: &FilePlan,
        layout: &Layout,
        wanted: Wanted,
        keep: &dyn Fn(u64, u64) -> bool,
        send: &mut dyn FnMut(RecordBatch, u64) -> Result<Flow, LakeError>,
    ) -> Result<Flow, LakeError> {
        let failed = |source: FileError| source.in_lake(&self.lake);
        let file = self.files.open(&entry(&plan.file.place)).map_err(failed)?;
        let begin = plan.file.begin;
        // A file that was added from elsewhere may have the snapshots of another lake.
        let has_snapshots = file.has_snapshot_ids() && plan.file.mapping.is_none();
        let wanted = match wanted {
            Wanted::Snapshots { .. } if !has_snapshots => {
                // All rows are of one snapshot, whatever their position.
                if !keep(0, begin) {
                    return Ok(Flow::Continue);
                }
                Wanted::All
            }
            Wanted::Snapshots { after, .. } if file.snapshot_ids_max().is_some_and(|max| max <= after) => {
                return Ok(Flow::Continue);
            }
            wanted => wanted,
        };
        let matching = plan.names.as_ref().map_or(Matching::FieldIds, |names| Matching::Names(names.to_vec()));
        let reading =
            Reading { columns: &layout.columns, schema: &layout.schema, matching: &matching, wanted: &wanted };
        let each = |batch: RecordBatch, positions: &[u64], snapshots: Option<&[u64]>| {
            let snapshots = snapshots.filter(|_| has_snapshots);
            let came = |row: usize| snapshots.and_then(|snapshots| snapshots.get(row)).copied().unwrap_or(begin);
            let kept = positions.iter().enumerate().map(|(row, position)| keep(*position, came(row)));
            let kept: Vec<bool> = kept.collect();
            let last = kept.iter().enumerate().filter(|(_, kept)| **kept).map(|(row, _)| came(row)).max();
            let Some(last) = last else { return Ok(Flow::Continue) };
            let batch = filled(&self.lake, batch, &file, &plan.file, positions).map_err(Failed::Receiver)?;
            let batch = self.kept(&batch, kept.into_iter()).map_err(Failed::Receiver)?;
            send(batch, last).map_err(Failed::Receiver)
        };
        self.files.read(&file, &reading, each).map_err(|error| match error {
            Failed::File(source) => failed(source),
            Failed::Receiver(error) => error,
        })
    }

    /// The rows of a batch whose flag is set.
    fn kept(&self, batch: &RecordBatch, flags: impl Iterator<Item = bool>) -> Result<RecordBatch, LakeError> {
        let flags: BooleanArray = flags.map(Some).collect();
        if flags.true_count() == batch.num_rows() {
            return Ok(batch.clone());
        }
        filter_record_batch(batch, &flags).map_err(|_| LakeError::Abandoned { lake: self.lake.clone() })
    }
}

fn entry(place: &Place) -> FileEntry<'_> {
    FileEntry {
        path: &place.path,
        size: place.size,
        footer_size: place.footer_size,
        encryption_key: place.key.as_deref(),
    }
}
