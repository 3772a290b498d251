//! The files of a commit before anybody sees them: one an epoch and view, written as the stream
//! comes, a row group at a time.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use futures::StreamExt;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use tidegate_core::{BatchStream, DeltaBatch, Epoch, EpochBatch, EpochHash, EpochHeader, ViewInfo, ViewName};

use crate::blocking::blocking;
use crate::columns::{self, ColumnError};
use crate::error::ParquetSinkError;
use crate::layout;
use crate::store::{Staged, Store, Upload};

/// Key-value metadata of a file.
pub(crate) const KEY_HASH: &str = "tidegate.hash";
pub(crate) const KEY_FRONTIER: &str = "tidegate.frontier";
pub(crate) const KEY_EPOCH: &str = "tidegate.epoch";
pub(crate) const KEY_PIPELINE: &str = "tidegate.pipeline";
/// Set in the oldest file of a view: it holds the whole content, nothing before it counts.
pub(crate) const KEY_RESET: &str = "tidegate.reset";

/// Rows that are encoded at a time.
const CHUNK_ROWS: usize = 65_536;
/// Encoded bytes at which a row group ends.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// Whether a file holds changes or the whole content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Changes,
    Content,
}

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
        layout::file(&self.view, self.epoch)
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
                file.upload.abort().await;
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
        match error {
            EncodeError::Column(error) => ParquetSinkError::Unsupported {
                view: self.view.name.clone(),
                fact: format!("{error}: cast the column to another type in the view"),
            },
            error => self.contract(error),
        }
    }
}

/// A file that grows.
struct OpenFile {
    header: EpochHeader,
    encoder: Option<Encoder>,
    upload: Upload,
    rows: u64,
}

impl OpenFile {
    async fn create(stage: &ViewStage<'_>, header: &EpochHeader) -> Result<OpenFile, ParquetSinkError> {
        let encoder = Encoder::new(stage, header).map_err(|error| stage.encode_fault(error))?;
        let upload = stage.store.upload(&layout::file(&stage.view.name, header.epoch)).await?;
        Ok(OpenFile { header: header.clone(), encoder: Some(encoder), upload, rows: 0 })
    }

    async fn write(&mut self, stage: &ViewStage<'_>, batch: DeltaBatch) -> Result<(), ParquetSinkError> {
        self.rows += batch.changed_rows();
        let mut encoder = self.encoder.take().expect("an open file has its encoder between writes");
        let mut rows = Expansion::new(batch).map_err(|error| stage.encode_fault(error))?;
        loop {
            let (chunk, bytes);
            (encoder, rows, chunk, bytes) = blocking(move || {
                let chunk = rows.next_chunk();
                let bytes = match &chunk {
                    Ok(Some(chunk)) => encoder.write(chunk),
                    _ => Ok(Vec::new()),
                };
                (encoder, rows, chunk.map(|chunk| chunk.is_some()), bytes)
            })
            .await;
            if !chunk.map_err(|error| stage.encode_fault(error))? {
                break;
            }
            self.upload.write(bytes.map_err(|error| stage.encode_fault(error))?).await?;
        }
        self.encoder = Some(encoder);
        Ok(())
    }

    async fn finish(mut self, stage: &ViewStage<'_>) -> Result<StagedFile, ParquetSinkError> {
        let encoder = self.encoder.take().expect("an open file has its encoder between writes");
        let written = match blocking(move || encoder.finish()).await {
            Ok(rest) => self.upload.write(rest).await,
            Err(error) => Err(stage.encode_fault(error)),
        };
        if let Err(error) = written {
            self.upload.abort().await;
            return Err(error);
        }
        Ok(StagedFile {
            id: FileId {
                view: stage.view.name.clone(),
                epoch: self.header.epoch,
                hash: self.header.hash,
                kind: stage.kind,
            },
            rows: self.rows,
            staged: self.upload.finish().await?,
        })
    }
}

#[derive(Debug, thiserror::Error)]
enum EncodeError {
    #[error("{0}")]
    Column(ColumnError),
    #[error("they do not fit the file: {0}")]
    Parquet(String),
    #[error("{0}")]
    Contract(String),
}

impl From<ParquetError> for EncodeError {
    fn from(error: ParquetError) -> Self {
        EncodeError::Parquet(error.to_string())
    }
}

/// A Parquet file as bytes.
struct Encoder {
    writer: ArrowWriter<Vec<u8>>,
    schema: SchemaRef,
    epoch: i64,
    time: i64,
}

impl Encoder {
    fn new(stage: &ViewStage<'_>, header: &EpochHeader) -> Result<Encoder, EncodeError> {
        let mut metadata = vec![
            KeyValue::new(KEY_EPOCH.to_owned(), header.epoch.to_string()),
            KeyValue::new(KEY_HASH.to_owned(), header.hash.to_string()),
            KeyValue::new(KEY_FRONTIER.to_owned(), header.frontier.to_string()),
        ];
        if let Some(pipeline) = stage.pipeline {
            metadata.push(KeyValue::new(KEY_PIPELINE.to_owned(), pipeline.to_owned()));
        }
        if stage.kind == Kind::Content {
            metadata.push(KeyValue::new(KEY_RESET.to_owned(), "true".to_owned()));
        }
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_key_value_metadata(Some(metadata))
            .set_created_by(concat!("tidegate ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let schema = columns::stored_schema(&stage.view.schema);
        let epoch = i64::try_from(header.epoch.0)
            .map_err(|_| EncodeError::Contract(format!("epoch {} is not a BIGINT", header.epoch)))?;
        let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties))?;
        Ok(Encoder { writer, schema, epoch, time: header.time.0 })
    }

    /// Encodes some rows with their labels; answers the bytes that are ready to be written.
    fn write(&mut self, (rows, labels): &(RecordBatch, StringArray)) -> Result<Vec<u8>, EncodeError> {
        let mut stored = Vec::with_capacity(self.schema.fields().len());
        for column in rows.columns() {
            stored.push(columns::to_stored(column).map_err(EncodeError::Column)?);
        }
        let (versions, times) = columns::versions(rows.num_rows(), self.epoch, self.time);
        stored.extend([Arc::new(labels.clone()) as ArrayRef, versions, times]);
        let batch = RecordBatch::try_new(self.schema.clone(), stored)
            .map_err(|error| EncodeError::Contract(error.to_string()))?;
        self.writer.write(&batch)?;
        if self.writer.in_progress_size() >= ROW_GROUP_BYTES {
            self.writer.flush()?;
        }
        Ok(std::mem::take(self.writer.inner_mut()))
    }

    /// The rest of the bytes.
    fn finish(self) -> Result<Vec<u8>, EncodeError> {
        Ok(self.writer.into_inner()?)
    }
}

/// The rows of a delta, each as often as its weight says.
struct Expansion {
    batch: DeltaBatch,
    /// The next entry, and how many of its copies are out.
    entry: usize,
    copies: u64,
}

impl Expansion {
    fn new(batch: DeltaBatch) -> Result<Expansion, EncodeError> {
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

    fn next_chunk(&mut self) -> Result<Option<(RecordBatch, StringArray)>, EncodeError> {
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
