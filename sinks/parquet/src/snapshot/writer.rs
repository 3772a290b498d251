//! A new snapshot's files: those that stay as they are get a second name, the others are written.

use std::sync::Arc;

use arrow::array::RecordBatch;
use tidegate_core::{EpochHeader, ViewInfo};

use super::partition::Partitions;
use super::parts::{self, Part};
use crate::columns::ColumnError;
use crate::commit::Target;
use crate::consolidate::Counted;
use crate::encode::{Kind, Label};
use crate::error::ParquetSinkError;
use crate::layout;
use crate::order::RowOrder;
use crate::sort::{Key, Keys};
use crate::stage::RunWriter;
use crate::store::Published;

/// Rows that are written at a time.
const OUTPUT_ROWS: usize = 8192;

/// Bytes of rows between two looks at how large the file is.
const PIECE_BYTES: u64 = 1 << 20;

/// The files of one view's snapshot in the making.
pub(crate) struct SnapshotWriter<'a> {
    target: Target<'a>,
    view: &'a ViewInfo,
    order: Arc<RowOrder>,
    partitions: Partitions,
    label: Label,
    folder: String,
    file_bytes: u64,
    open: Option<OpenPart>,
    /// What is there, with the first row of each.
    pub(crate) parts: Vec<(String, Key)>,
    /// Copies written anew.
    pub(crate) rows: u64,
}

struct OpenPart {
    part: Part,
    first: Key,
    writer: RunWriter,
}

/// How a snapshot's files came to be there.
pub(crate) enum Written {
    Done,
    /// Another writer's files are in the folder.
    Raced,
}

impl<'a> SnapshotWriter<'a> {
    pub(crate) fn new(
        target: Target<'a>,
        view: &'a ViewInfo,
        order: Arc<RowOrder>,
        partitions: Partitions,
        header: &EpochHeader,
        folder: String,
        file_bytes: u64,
    ) -> Self {
        let pipeline = target.pipeline.map(str::to_owned);
        let label = Label { header: header.clone(), kind: Kind::Content, pipeline };
        let (open, parts) = (None, Vec::new());
        SnapshotWriter { target, view, order, partitions, label, folder, file_bytes, open, parts, rows: 0 }
    }

    /// Takes over a file as it is.
    pub(crate) async fn share(&mut self, part: &Part, first: Key) -> Result<Written, ParquetSinkError> {
        if let Written::Raced = self.close().await? {
            return Ok(Written::Raced);
        }
        let name = parts::name(&self.folder, &part.folders, self.parts.len());
        let shared = self.target.store.share(&part.name, &name).await?;
        self.parts.push((name, first));
        Ok(if shared == Published::Exists { Written::Raced } else { Written::Done })
    }

    pub(crate) fn order(&self) -> &Arc<RowOrder> {
        &self.order
    }

    pub(crate) fn partitions(&self) -> &Partitions {
        &self.partitions
    }

    /// Whether a small file is better added to the one that is being written, or files would only ever
    /// become smaller. A larger one is not: what is left over of one would go on into the next, and so on.
    pub(crate) fn takes(&self, part: &Part) -> bool {
        let is_small = part.bytes < self.file_bytes / 8;
        is_small
            && self.is_open_in(&part.folders)
            && self.open.as_ref().is_some_and(|open| open.writer.size() < self.file_bytes / 2)
    }

    fn is_open_in(&self, folders: &str) -> bool {
        self.open.as_ref().is_some_and(|open| open.part.folders == folders)
    }

    /// Writes rows that follow those before. Equal ones must come in one call: they stay in one file, or the
    /// first row of the next would not tell where they are.
    pub(crate) async fn write(&mut self, rows: &[Counted]) -> Result<Written, ParquetSinkError> {
        if rows.iter().any(|row| row.copies < 0) {
            let path = self.target.store.path(&layout::folder(&self.view.name));
            return Err(ParquetSinkError::Diverged { path, view: self.view.name.clone() });
        }
        let mut rest = rows;
        while !rest.is_empty() {
            let mut bytes = 0;
            let full = rest.iter().position(|row| {
                let is_full = row.follows && bytes >= self.file_bytes.min(PIECE_BYTES);
                bytes += row.row.len() as u64 * row.copies.unsigned_abs();
                is_full
            });
            let (piece, after) = rest.split_at(full.unwrap_or(rest.len()));
            rest = after;
            if self.open.as_ref().is_some_and(|open| open.writer.size() >= self.file_bytes)
                && let Written::Raced = self.close().await?
            {
                return Ok(Written::Raced);
            }
            if let Written::Raced = self.write_piece(piece).await? {
                return Ok(Written::Raced);
            }
        }
        Ok(Written::Done)
    }

    async fn write_piece(&mut self, rows: &[Counted]) -> Result<Written, ParquetSinkError> {
        let copies: Vec<&[u8]> = rows.iter().flat_map(|row| (0..row.copies).map(|_| row.row.as_slice())).collect();
        self.rows += copies.len() as u64;
        for chunk in copies.chunks(OUTPUT_ROWS) {
            let stored = self.order.stored(chunk).map_err(|error| self.fault(error))?;
            let folders = self.partitions.folders(&stored, chunk.len()).map_err(|error| self.fault(error))?;
            let rows = self.partitions.project(&stored).map_err(|error| self.fault(error))?;
            let mut start = 0;
            for group in folders.chunk_by(|a, b| a == b) {
                if !self.is_open_in(&group[0]) {
                    if let Written::Raced = self.close().await? {
                        return Ok(Written::Raced);
                    }
                    let first: Vec<_> = stored.iter().map(|array| array.slice(start, 1)).collect();
                    let first = self.partitions.project(&first).map_err(|error| self.fault(error))?;
                    self.begin(&group[0], &first).await?;
                }
                let open = self.open.as_mut().expect("a file was begun above");
                open.writer.write(rows.slice(start, group.len())).await?;
                start += group.len();
            }
        }
        Ok(Written::Done)
    }

    async fn begin(&mut self, folders: &str, first: &RecordBatch) -> Result<(), ParquetSinkError> {
        let first = self.partitions.changes(folders, first);
        let lost = || self.fault(ColumnError("a value to partition by does not come back from a folder's name"));
        let first = Keys::new(&self.order, &first.ok_or_else(lost)?).map_err(|error| self.fault(error))?.get(0);
        let name = parts::name(&self.folder, folders, self.parts.len());
        let part = Part { name, folders: folders.to_owned(), bytes: 0 };
        let writer = self.writer(&part.name).await?;
        self.open = Some(OpenPart { part, first, writer });
        Ok(())
    }

    async fn writer(&mut self, name: &str) -> Result<RunWriter, ParquetSinkError> {
        let Target { store, files, .. } = self.target;
        RunWriter::create(store, self.view, name, &self.partitions.in_files, files, &self.label).await
    }

    async fn close(&mut self) -> Result<Written, ParquetSinkError> {
        let Some(OpenPart { part, first, writer }) = self.open.take() else { return Ok(Written::Done) };
        let staged = writer.finish().await?;
        let published = self.target.store.publish(staged, &part.name).await?;
        self.parts.push((part.name, first));
        Ok(if published == Published::Exists { Written::Raced } else { Written::Done })
    }

    /// There are no more rows. A snapshot without any has one file, which shows its columns.
    pub(crate) async fn finish(&mut self) -> Result<(Written, usize), ParquetSinkError> {
        let written = self.close().await?;
        if !self.parts.is_empty() {
            return Ok((written, self.parts.len()));
        }
        let name = parts::name(&self.folder, &self.partitions.of_nothing(), 0);
        let writer = self.writer(&name).await?;
        let published = self.target.store.publish(writer.finish().await?, &name).await?;
        Ok((if published == Published::Exists { Written::Raced } else { Written::Done }, 1))
    }

    /// Throws away what is being written.
    pub(crate) async fn abort(&mut self) {
        if let Some(open) = self.open.take() {
            open.writer.abort().await;
        }
    }

    pub(crate) fn fault(&self, error: ColumnError) -> ParquetSinkError {
        crate::stage::column_fault(&self.view.name, error)
    }
}
