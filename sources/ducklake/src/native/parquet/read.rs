//! Reading rows of a data file.

use std::borrow::Cow;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Int64Type, SchemaRef};
use parquet::DecodeResult;
use parquet::arrow::ProjectionMask;
use parquet::arrow::push_decoder::ParquetPushDecoderBuilder;
use tidegate_duck::Flow;

use super::convert::Converter;
use super::file::Group;
use super::files::Files;
use super::plan::{Plan, plan};
use super::select::{Chosen, Rows, choose};
use super::{DataFile, FileError, LakeColumn, Matching, Wanted};

/// Rows of a batch at the most.
const BATCH_ROWS: usize = 65_536;
/// Bytes of a batch, about: the offsets of texts have 32 bits.
const BATCH_BYTES: u64 = 64 << 20;
/// Row groups of which no more rows than this are wanted are decoded side by side: the work is to skip the others.
const FEW_ROWS: usize = 4_096;
/// Bytes that these rows may have, about.
const FEW_BYTES: u64 = 4 << 20;
/// Threads that do so.
const THREADS_MAX: u64 = 4;
/// Bytes of row groups that they have in hand, about, before compression.
const AT_ONCE_BYTES: u64 = 512 << 20;

/// A batch, the positions of its rows, and the snapshot of each where the file has them.
type Found = (RecordBatch, Vec<u64>, Option<Vec<u64>>);

/// What is read of a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading<'a> {
    /// The columns of the lake.
    pub(crate) columns: &'a [LakeColumn],
    /// The canonical schema, one field a column.
    pub(crate) schema: &'a SchemaRef,
    /// How the columns are found in the file.
    pub(crate) matching: &'a Matching,
    /// Which rows.
    pub(crate) wanted: &'a Wanted,
}

impl Files {
    /// Reads rows of a file in the order of their positions. `each` takes a batch of the canonical schema with at most
    /// 65,536 rows, their positions in the file, and the snapshot of each where the file has them.
    pub(crate) fn read<E: From<FileError>>(
        &self,
        file: &DataFile,
        reading: &Reading<'_>,
        mut each: impl FnMut(RecordBatch, &[u64], Option<&[u64]>) -> Result<Flow, E>,
    ) -> Result<Flow, E> {
        let plan = plan(self, file, reading)?;
        let chosen = choose(file, reading.wanted)?;
        let is_small = |Chosen { group, rows }: &Chosen| {
            let rows = rows.count(group);
            rows <= FEW_ROWS && rows as u64 * row_bytes(group) <= FEW_BYTES
        };
        let threads = chosen.iter().map(|chosen| AT_ONCE_BYTES / chosen.group.bytes.max(1)).min().unwrap_or_default();
        let threads = threads.min(THREADS_MAX).min(chosen.len() as u64) as usize;
        if threads > 1 && matches!(reading.wanted, Wanted::Positions(_)) && chosen.iter().all(is_small) {
            return self.read_side_by_side(file, reading, &plan, &chosen, threads, &mut each);
        }
        self.read_in_turn(file, reading, &plan, &chosen, &mut each)
    }

    fn read_in_turn<E: From<FileError>>(
        &self,
        file: &DataFile,
        reading: &Reading<'_>,
        plan: &Plan,
        chosen: &[Chosen],
        each: &mut impl FnMut(RecordBatch, &[u64], Option<&[u64]>) -> Result<Flow, E>,
    ) -> Result<Flow, E> {
        for chosen in chosen {
            if self.read_group(file, reading, plan, chosen, each)? == Flow::Stop {
                return Ok(Flow::Stop);
            }
        }
        Ok(Flow::Continue)
    }

    /// Reads row groups on several threads and hands out their rows on this one, in order. Each thread has one row group
    /// in hand.
    fn read_side_by_side<E: From<FileError>>(
        &self,
        file: &DataFile,
        reading: &Reading<'_>,
        plan: &Plan,
        chosen: &[Chosen],
        threads: usize,
        each: &mut impl FnMut(RecordBatch, &[u64], Option<&[u64]>) -> Result<Flow, E>,
    ) -> Result<Flow, E> {
        let work = &|first: usize, sender: SyncSender<Result<Vec<Found>, FileError>>| {
            for chosen in chosen.iter().skip(first).step_by(threads) {
                let mut found = Vec::new();
                let mut take = |batch, positions: &[u64], snapshots: Option<&[u64]>| {
                    found.push((batch, positions.to_vec(), snapshots.map(<[u64]>::to_vec)));
                    Ok(Flow::Continue)
                };
                let read = self.read_group(file, reading, plan, chosen, &mut take);
                // Nobody receives when the receiver wants no more, or had an error.
                if sender.send(read.map(|_: Flow| found)).is_err() {
                    return;
                }
            }
        };
        thread::scope(|scope| {
            let mut receivers = Vec::with_capacity(threads);
            for first in 0..threads {
                let (sender, receiver) = sync_channel(0);
                if thread::Builder::new().spawn_scoped(scope, move || work(first, sender)).is_err() {
                    // The system gives no more threads; those that began find no receiver.
                    drop(receivers);
                    return self.read_in_turn(file, reading, plan, chosen, each);
                }
                receivers.push(receiver);
            }
            // A thread that panics ends the scope with its panic.
            for found in receivers.iter().cycle().take(chosen.len()).map_while(|receiver| receiver.recv().ok()) {
                for (batch, positions, snapshots) in found? {
                    if each(batch, &positions, snapshots.as_deref())? == Flow::Stop {
                        return Ok(Flow::Stop);
                    }
                }
            }
            Ok(Flow::Continue)
        })
    }

    fn read_group<E: From<FileError>>(
        &self,
        file: &DataFile,
        reading: &Reading<'_>,
        plan: &Plan,
        chosen: &Chosen,
        each: &mut impl FnMut(RecordBatch, &[u64], Option<&[u64]>) -> Result<Flow, E>,
    ) -> Result<Flow, E> {
        let Chosen { group, rows } = chosen;
        let (mut rows, mut known) = (Cow::Borrowed(rows), None);
        if let Wanted::Snapshots { after, to } = reading.wanted {
            let mut kept = self.snapshots(file, group)?;
            kept.retain(|(_, snapshot)| snapshot > after && snapshot <= to);
            if kept.len() < group.rows {
                rows = Cow::Owned(Rows::Some(kept.iter().map(|(row, _)| *row).collect()));
            }
            known = Some(kept.into_iter().map(|(_, snapshot)| snapshot).collect::<Vec<_>>());
        }
        let positions = rows.positions(group);
        let mut done = 0;
        let convert = Converter { file, caster: &self.caster };
        let mut hand_out = |found: &[ArrayRef], count: usize| -> Result<Flow, E> {
            let span = done..done + count;
            done += count;
            let misread = || file.contradiction("it has other rows than its footer says");
            let positions = positions.get(span.clone()).ok_or_else(misread)?;
            let along = match plan.snapshots {
                Some(at) => Some(numbers(file, found.get(at).ok_or_else(misread)?)?),
                None => None,
            };
            let snapshots = match (&known, &along) {
                (Some(known), _) => Some(known.get(span).ok_or_else(misread)?),
                (None, along) => along.as_deref(),
            };
            let columns = plan.columns.iter().map(|source| convert.source(source, found, count, None));
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            let options = RecordBatchOptions::new().with_row_count(Some(count));
            let batch = RecordBatch::try_new_with_options(reading.schema.clone(), columns, &options);
            let batch = batch.map_err(|_| file.contradiction("it has NULLs in a column that is NOT NULL"))?;
            each(batch, positions, snapshots)
        };
        let flow = if plan.roots.is_empty() {
            let mut left = positions.len();
            let mut flow = Flow::Continue;
            while left > 0 && flow == Flow::Continue {
                let count = left.min(BATCH_ROWS);
                left -= count;
                flow = hand_out(&[], count)?;
            }
            flow
        } else {
            self.decode(file, group, &rows, &plan.roots, &mut |batch| hand_out(batch.columns(), batch.num_rows()))?
        };
        if flow == Flow::Continue && done != positions.len() {
            return Err(file.contradiction("it has fewer rows than its footer says").into());
        }
        Ok(flow)
    }

    /// The snapshot of each row of a row group.
    fn snapshots(&self, file: &DataFile, group: &Group) -> Result<Vec<(usize, u64)>, FileError> {
        let Some(column) = file.snapshot_column() else { return Ok(Vec::new()) };
        let mut snapshots = Vec::with_capacity(group.rows);
        self.decode(file, group, &Rows::All, &[column], &mut |batch| {
            let column = batch.columns().first().ok_or_else(|| file.contradiction("a column is missing"))?;
            snapshots.extend(numbers(file, column)?);
            Ok::<_, FileError>(Flow::Continue)
        })?;
        if snapshots.len() != group.rows {
            return Err(file.contradiction("its column of snapshots has other rows than its footer says"));
        }
        Ok(snapshots.into_iter().enumerate().collect())
    }

    /// Decodes some top-level columns of some rows of a row group.
    pub(super) fn decode<E: From<FileError>>(
        &self,
        file: &DataFile,
        group: &Group,
        rows: &Rows,
        roots: &[usize],
        each: &mut impl FnMut(RecordBatch) -> Result<Flow, E>,
    ) -> Result<Flow, E> {
        if rows.count(group) == 0 {
            return Ok(Flow::Continue);
        }
        let undecodable = |error| E::from(file.undecodable(&error));
        let unsealed = file.key.as_ref().map(|key| self.unseal(file, key, group, roots)).transpose()?;
        let (reader, at) = unsealed.as_ref().map_or((&file.reader, group.at), |unsealed| (&unsealed.reader, 0));
        let mask = ProjectionMask::roots(file.reader.parquet_schema(), roots.iter().copied());
        let mut decoder = ParquetPushDecoderBuilder::new_with_metadata(reader.clone())
            .with_row_groups(vec![at])
            .with_projection(mask)
            .with_batch_size(batch_rows(group));
        if let Some(selection) = rows.selection(group) {
            decoder = decoder.with_row_selection(selection);
        }
        let mut decoder = decoder.build().map_err(undecodable)?;
        loop {
            match decoder.try_decode().map_err(undecodable)? {
                DecodeResult::NeedsData(ranges) => {
                    let found = match &unsealed {
                        Some(unsealed) => unsealed.fetch(&ranges),
                        None => Some(self.fetch(file, &ranges)?),
                    };
                    let found = found.ok_or_else(|| file.contradiction("a column ends before its rows do"))?;
                    decoder.push_ranges(ranges, found).map_err(undecodable)?;
                }
                DecodeResult::Data(batch) => {
                    if each(batch)? == Flow::Stop {
                        return Ok(Flow::Stop);
                    }
                }
                DecodeResult::Finished => return Ok(Flow::Continue),
            }
        }
    }
}

/// Snapshots, positions: numbers that are never NULL and never negative.
pub(super) fn numbers(file: &DataFile, column: &ArrayRef) -> Result<Vec<u64>, FileError> {
    let numbers = column.as_primitive_opt::<Int64Type>().filter(|numbers| numbers.null_count() == 0);
    let numbers = numbers.map(|numbers| numbers.values().iter().map(|n| u64::try_from(*n)).collect::<Result<_, _>>());
    let wrong = || file.contradiction("a snapshot or position is NULL or negative");
    numbers.ok_or_else(wrong)?.map_err(|_| wrong())
}

/// Fewer rows where they are wide.
fn batch_rows(group: &Group) -> usize {
    usize::try_from(BATCH_BYTES / row_bytes(group)).unwrap_or(BATCH_ROWS).clamp(1, BATCH_ROWS)
}

/// Bytes of a row before compression, about.
fn row_bytes(group: &Group) -> u64 {
    (group.bytes / (group.rows as u64).max(1)).max(1)
}
