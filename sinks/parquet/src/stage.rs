//! The files of a commit before anybody sees them: one an epoch and view, written as the stream
//! comes. Rows are sorted as many as fit in memory at a time; an epoch with more has several sorted
//! parts in its file, unless they come in order.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use futures::StreamExt;
use tidegate_core::{BatchStream, DeltaBatch, Epoch, EpochBatch, EpochHash, EpochHeader, ViewInfo, ViewName};
use tokio::task::JoinSet;

use crate::blocking::blocking;
use crate::columns;
use crate::config::FileOptions;
use crate::encode::{self, EncodeError, Encoder, Kind, Label};
use crate::error::ParquetSinkError;
use crate::layout::Span;
use crate::order::{self, RowOrder};
use crate::sort::{self, Key, Sorted};
use crate::store::{Staged, Store, Upload};

/// Rows that are taken from a delta at a time.
const CHUNK_ROWS: usize = 65_536;
/// Bytes of rows in memory that are sorted together.
const SORTED_BYTES: usize = 128 << 20;

/// A file that only has to be made visible.
pub(crate) struct StagedFile {
    pub(crate) id: FileId,
    pub(crate) rows: u64,
    pub(crate) staged: Staged,
}

/// What a file is. Two files with the same identity hold the same changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileId {
    pub(crate) view: ViewName,
    pub(crate) epoch: Epoch,
    pub(crate) hash: EpochHash,
    pub(crate) kind: Kind,
}

impl FileId {
    /// The file's name.
    pub(crate) fn name(&self) -> String {
        Span::single(self.epoch).file(&self.view)
    }
}

/// What all files of a view in one commit have in common.
pub(crate) struct ViewStage<'a> {
    pub(crate) store: &'a Store,
    pub(crate) view: &'a ViewInfo,
    pub(crate) kind: Kind,
    pub(crate) after: Epoch,
    pub(crate) last: &'a EpochHeader,
    pub(crate) pipeline: Option<&'a str>,
    pub(crate) order: Arc<RowOrder>,
    pub(crate) options: &'a FileOptions,
}

impl ViewStage<'_> {
    /// Reads the stream to its end. What was staged is in `files` also when this fails. A content
    /// always makes a file; `Changes` make none for epochs without any.
    pub(crate) async fn run(
        &self,
        mut stream: BatchStream,
        files: &mut Vec<StagedFile>,
    ) -> Result<(), ParquetSinkError> {
        let mut open: Option<OpenFile> = None;
        let read = self.fill(&mut stream, &mut open, files).await;
        if let Err(error) = read {
            if let Some(file) = open {
                file.abort().await;
            }
            return Err(error);
        }
        match open {
            Some(file) => files.push(file.finish(self).await?),
            None if self.kind == Kind::Content => {
                files.push(OpenFile::create(self, self.last).await?.finish(self).await?);
            }
            None => {}
        }
        Ok(())
    }

    async fn fill(
        &self,
        stream: &mut BatchStream,
        open: &mut Option<OpenFile>,
        files: &mut Vec<StagedFile>,
    ) -> Result<(), ParquetSinkError> {
        while let Some(item) = stream.next().await {
            let EpochBatch { header, batch } = item.map_err(ParquetSinkError::Input)?;
            if batch.is_empty() {
                continue;
            }
            let reached = open.as_ref().map_or(self.after, |file| file.header.epoch);
            let is_next = header.epoch > self.after && header.epoch >= reached && header.epoch <= self.last.epoch;
            if !is_next || (self.kind == Kind::Content && header.epoch != self.last.epoch) {
                return Err(self.contract(format!(
                    "epoch {} is out of order in ({}, {}]",
                    header.epoch, self.after, self.last.epoch
                )));
            }
            if open.as_ref().is_some_and(|file| file.header.epoch < header.epoch) {
                let done = open.take().expect("a file is open");
                files.push(done.finish(self).await?);
            }
            if open.is_none() {
                *open = Some(OpenFile::create(self, &header).await?);
            }
            open.as_mut().expect("a file is open").write(self, batch).await?;
        }
        Ok(())
    }

    pub(crate) fn contract(&self, fact: impl ToString) -> ParquetSinkError {
        ParquetSinkError::Contract { view: self.view.name.clone(), fact: fact.to_string() }
    }

    fn encode_fault(&self, error: EncodeError) -> ParquetSinkError {
        encode_fault(&self.view.name, error)
    }
}

/// A file that grows: rows that wait to be sorted, and those that are being written meanwhile.
struct OpenFile {
    header: EpochHeader,
    waiting: Waiting,
    /// Away while it writes.
    writer: Option<RunWriter>,
    /// The run before, if it is being written; ends when this is dropped.
    writing: JoinSet<(RunWriter, Result<(), ParquetSinkError>)>,
}

impl OpenFile {
    async fn create(stage: &ViewStage<'_>, header: &EpochHeader) -> Result<OpenFile, ParquetSinkError> {
        let waiting = Waiting::new(stage.view, header).map_err(|error| stage.encode_fault(error))?;
        let label = Label { header: header.clone(), kind: stage.kind, pipeline: stage.pipeline.map(str::to_owned) };
        let name = Span::single(header.epoch).file(&stage.view.name);
        let writer = RunWriter::create(stage.store, stage.view, &name, &waiting.schema, stage.options, &label).await?;
        Ok(OpenFile { header: header.clone(), writer: Some(writer), writing: JoinSet::new(), waiting })
    }

    async fn write(&mut self, stage: &ViewStage<'_>, batch: DeltaBatch) -> Result<(), ParquetSinkError> {
        let mut rows = Expansion::new(batch).map_err(|error| stage.encode_fault(error))?;
        while self.waiting.take_from(&mut rows).map_err(|error| stage.encode_fault(error))? {
            if self.waiting.bytes >= SORTED_BYTES {
                self.write_waiting(stage).await?;
            }
        }
        Ok(())
    }

    /// Begins to write what waits; sorts it while the run before is written.
    async fn write_waiting(&mut self, stage: &ViewStage<'_>) -> Result<(), ParquetSinkError> {
        let sorted = self.waiting.sorted(&stage.order).await.map_err(|error| stage.encode_fault(error))?;
        let Some(sorted) = sorted else { return Ok(()) };
        let (mut writer, written) = self.rest().await;
        match written {
            Ok(()) => {
                self.writing.spawn(async move {
                    let written = writer.write_run(sorted).await;
                    (writer, written)
                });
                Ok(())
            }
            Err(error) => {
                self.writer = Some(writer);
                Err(error)
            }
        }
    }

    /// The writer, when it has written what it was given.
    async fn rest(&mut self) -> (RunWriter, Result<(), ParquetSinkError>) {
        match self.writing.join_next().await {
            Some(Ok(done)) => done,
            Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            None => (self.writer.take().expect("a file's writer is here where it does not write"), Ok(())),
        }
    }

    async fn abort(mut self) {
        self.rest().await.0.abort().await;
    }

    async fn finish(mut self, stage: &ViewStage<'_>) -> Result<StagedFile, ParquetSinkError> {
        if let Err(error) = self.write_waiting(stage).await {
            self.abort().await;
            return Err(error);
        }
        let (writer, written) = self.rest().await;
        if let Err(error) = written {
            writer.abort().await;
            return Err(error);
        }
        let view = stage.view.name.clone();
        let id = FileId { view, epoch: self.header.epoch, hash: self.header.hash, kind: stage.kind };
        let rows = writer.rows;
        Ok(StagedFile { id, rows, staged: writer.finish().await? })
    }
}

/// Changes of one epoch as they are stored, in no order yet.
pub(crate) struct Waiting {
    pub(crate) schema: SchemaRef,
    pub(crate) bytes: usize,
    epoch: i64,
    time: i64,
    batches: Vec<RecordBatch>,
}

impl Waiting {
    pub(crate) fn new(view: &ViewInfo, header: &EpochHeader) -> Result<Waiting, EncodeError> {
        let epoch = i64::try_from(header.epoch.0)
            .map_err(|_| EncodeError::Contract(format!("epoch {} is not a BIGINT", header.epoch)))?;
        let schema = columns::stored_schema(&view.schema);
        Ok(Waiting { schema, bytes: 0, epoch, time: header.time.0, batches: Vec::new() })
    }

    /// Takes a chunk of a delta's rows; false when there are no more.
    pub(crate) fn take_from(&mut self, rows: &mut Expansion) -> Result<bool, EncodeError> {
        let Some((rows, labels)) = rows.next_chunk()? else { return Ok(false) };
        let mut stored = Vec::with_capacity(self.schema.fields().len());
        for column in rows.columns() {
            stored.push(columns::to_stored(column).map_err(EncodeError::Column)?);
        }
        let (versions, times) = columns::versions(rows.num_rows(), self.epoch, self.time);
        stored.extend([Arc::new(labels) as ArrayRef, versions, times]);
        let batch = RecordBatch::try_new(self.schema.clone(), stored)
            .map_err(|error| EncodeError::Contract(error.to_string()))?;
        self.bytes += encode::bytes(&batch);
        self.batches.push(batch);
        Ok(true)
    }

    /// Everything that waits, in order.
    pub(crate) async fn sorted(&mut self, order: &Arc<RowOrder>) -> Result<Option<Sorted>, EncodeError> {
        let (batches, order) = (std::mem::take(&mut self.batches), order.clone());
        self.bytes = 0;
        blocking(move || sort::sorted(&order, batches)).await.map_err(EncodeError::Column)
    }
}

/// A file of sorted runs on its way to the store.
pub(crate) struct RunWriter {
    view: ViewName,
    encoder: Option<Encoder>,
    upload: Upload,
    last: Option<Key>,
    pub(crate) rows: u64,
}

impl RunWriter {
    pub(crate) async fn create(
        store: &Store,
        view: &ViewInfo,
        name: &str,
        schema: &SchemaRef,
        options: &FileOptions,
        label: &Label,
    ) -> Result<RunWriter, ParquetSinkError> {
        let key: Vec<&str> = order::key_names(view);
        let encoder = Encoder::new(schema, &key, options, label).map_err(|error| encode_fault(&view.name, error))?;
        let upload = store.upload(name).await?;
        Ok(RunWriter { view: view.name.clone(), encoder: Some(encoder), upload, last: None, rows: 0 })
    }

    /// Appends rows in order, which go on with the run before them where they follow it.
    pub(crate) async fn write_run(&mut self, rows: Sorted) -> Result<(), ParquetSinkError> {
        let Sorted { batches, first, last } = rows;
        if self.last.as_ref().is_some_and(|before| first < *before) {
            let encoder = self.encoder.as_mut().expect("an open file has its encoder between writes");
            encoder.begin_run().map_err(|error| encode_fault(&self.view, error))?;
        }
        self.last = Some(last);
        for batch in batches {
            self.write(batch).await?;
        }
        Ok(())
    }

    /// Appends rows that are in order after those before.
    pub(crate) async fn write(&mut self, rows: RecordBatch) -> Result<(), ParquetSinkError> {
        self.rows += rows.num_rows() as u64;
        let mut encoder = self.encoder.take().expect("an open file has its encoder between writes");
        let (encoder, bytes) = blocking(move || {
            let bytes = encoder.write(&rows);
            (encoder, bytes)
        })
        .await;
        self.encoder = Some(encoder);
        self.upload.write(bytes.map_err(|error| encode_fault(&self.view, error))?).await
    }

    /// Bytes so far.
    pub(crate) fn size(&self) -> u64 {
        self.encoder.as_ref().map_or(0, |encoder| encoder.size() as u64)
    }

    pub(crate) async fn finish(mut self) -> Result<Staged, ParquetSinkError> {
        let encoder = self.encoder.take().expect("an open file has its encoder between writes");
        let written = match blocking(move || encoder.finish()).await {
            Ok(rest) => self.upload.write(rest).await,
            Err(error) => Err(encode_fault(&self.view, error)),
        };
        match written {
            Ok(()) => self.upload.finish().await,
            Err(error) => {
                self.upload.abort().await;
                Err(error)
            }
        }
    }

    pub(crate) async fn abort(self) {
        self.upload.abort().await;
    }

    /// What the sink says about rows that cannot be written.
    pub(crate) fn fault(&self, error: columns::ColumnError) -> ParquetSinkError {
        column_fault(&self.view, error)
    }
}

/// What the sink says about values that cannot be stored.
pub(crate) fn column_fault(view: &ViewName, error: columns::ColumnError) -> ParquetSinkError {
    encode_fault(view, EncodeError::Column(error))
}

/// What the sink says about rows that cannot be encoded.
pub(crate) fn encode_fault(view: &ViewName, error: EncodeError) -> ParquetSinkError {
    match error {
        EncodeError::Column(error) => ParquetSinkError::Unsupported {
            view: view.clone(),
            fact: format!("{error}: cast the column to another type in the view"),
        },
        error => ParquetSinkError::Contract { view: view.clone(), fact: error.to_string() },
    }
}

/// The rows of a delta, each as often as its weight says.
pub(crate) struct Expansion {
    batch: DeltaBatch,
    /// The next entry, and how many of its copies are out.
    entry: usize,
    copies: u64,
}

impl Expansion {
    pub(crate) fn new(batch: DeltaBatch) -> Result<Expansion, EncodeError> {
        let entries = batch.len();
        if batch.weights.len() != entries || batch.change.len() != entries {
            return Err(EncodeError::Contract("weights and labels are not one an entry".to_owned()));
        }
        let disagreement = batch.weights.values().iter().zip(&batch.change).find(|(w, c)| w.signum() != c.sign());
        if let Some((weight, change)) = disagreement {
            let fact = format!("an entry is labelled {} and has weight {weight}", change.as_str());
            return Err(EncodeError::Contract(fact));
        }
        Ok(Expansion { batch, entry: 0, copies: 0 })
    }

    pub(crate) fn next_chunk(&mut self) -> Result<Option<(RecordBatch, StringArray)>, EncodeError> {
        let mut indices = Vec::new();
        while self.entry < self.batch.len() && indices.len() < CHUNK_ROWS {
            let left = self.batch.weights.value(self.entry).unsigned_abs() - self.copies;
            let taken = left.min((CHUNK_ROWS - indices.len()) as u64);
            indices.extend((0..taken).map(|_| self.entry as u64));
            self.copies += taken;
            if taken == left {
                (self.entry, self.copies) = (self.entry + 1, 0);
            }
        }
        if indices.is_empty() {
            return Ok(None);
        }
        let labels = indices.iter().map(|index| Some(self.batch.change[*index as usize].as_str())).collect();
        let rows = if indices.len() == self.batch.len() && indices.iter().enumerate().all(|(at, i)| at as u64 == *i) {
            self.batch.rows.clone()
        } else {
            take_record_batch(&self.batch.rows, &UInt64Array::from(indices))
                .map_err(|error| EncodeError::Contract(error.to_string()))?
        };
        Ok(Some((rows, labels)))
    }
}
