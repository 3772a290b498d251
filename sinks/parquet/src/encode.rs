//! A Parquet file as bytes, written a row group at a time, with what the configuration says about
//! compression, statistics and bloom filters, and with what the file is in its key-value metadata.

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowColumnWriter;
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, ParquetMetaData};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use tidegate_columns::repeats;
use tidegate_core::{Epoch, EpochHash, EpochHeader, Frontier, Micros};

use crate::columns::ColumnError;
use crate::config::{BloomFilters, FileOptions, Statistics};
use crate::row_group;

/// Key-value metadata of a file: of the last epoch in it.
pub(crate) const KEY_HASH: &str = "tidegate.hash";
pub(crate) const KEY_FRONTIER: &str = "tidegate.frontier";
pub(crate) const KEY_EPOCH: &str = "tidegate.epoch";
pub(crate) const KEY_TIME: &str = "tidegate.time";
pub(crate) const KEY_LATEST: &str = "tidegate.latest_commit";
pub(crate) const KEY_PIPELINE: &str = "tidegate.pipeline";
/// Set in the oldest file of a view: it holds the whole content, nothing before it counts.
pub(crate) const KEY_RESET: &str = "tidegate.reset";
/// The row groups at which rows in order begin anew.
const KEY_RUNS: &str = "tidegate.runs";

/// Bytes of rows at which a row group ends.
const ROW_GROUP_BYTES: usize = 64 << 20;
/// What rows are taken to be encoded to before any were.
const ENCODED_PART: f64 = 0.5;
/// One look-up of a value that is not there in so many finds it needs to read the row group.
const FALSE_POSITIVES: f64 = 0.01;

/// Whether a file holds changes or begins with the whole content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Changes,
    Content,
}

/// What a file says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label {
    /// The last epoch in it.
    pub(crate) header: EpochHeader,
    pub(crate) kind: Kind,
    pub(crate) pipeline: Option<String>,
}

/// What of rows cannot be encoded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EncodeError {
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

/// A Parquet file in the making.
pub(crate) struct Encoder {
    file: SerializedFileWriter<Vec<u8>>,
    schema: SchemaRef,
    properties: WriterProperties,
    row_group_rows: usize,
    /// The rows of the next row group.
    waiting: Vec<RecordBatch>,
    waiting_rows: usize,
    waiting_bytes: usize,
    /// Bytes of the rows that are encoded.
    taken_bytes: usize,
    runs: Vec<usize>,
}

impl Label {
    /// The label of a file; `None` of one that we did not write.
    pub(crate) fn read(metadata: &ParquetMetaData) -> Option<Label> {
        let text = |key| value(metadata, key);
        let epoch = Epoch(text(KEY_EPOCH)?.parse().ok()?);
        let hash: EpochHash = text(KEY_HASH)?.parse().ok()?;
        let frontier: Frontier = serde_json::from_str(text(KEY_FRONTIER)?).ok()?;
        let time = Micros(text(KEY_TIME)?.parse().ok()?);
        let kind = if text(KEY_RESET).is_some() { Kind::Content } else { Kind::Changes };
        let latest_commit = text(KEY_LATEST).and_then(|latest| latest.parse().ok()).map(Micros);
        let header = EpochHeader { epoch, hash, frontier, time, latest_commit };
        Some(Label { header, kind, pipeline: text(KEY_PIPELINE).map(str::to_owned) })
    }

    fn pairs(&self) -> Vec<KeyValue> {
        let EpochHeader { epoch, hash, frontier, time, latest_commit } = &self.header;
        let mut pairs = vec![
            KeyValue::new(KEY_EPOCH.to_owned(), epoch.to_string()),
            KeyValue::new(KEY_HASH.to_owned(), hash.to_string()),
            KeyValue::new(KEY_FRONTIER.to_owned(), frontier.to_string()),
            KeyValue::new(KEY_TIME.to_owned(), time.0.to_string()),
        ];
        pairs.extend(latest_commit.map(|latest| KeyValue::new(KEY_LATEST.to_owned(), latest.0.to_string())));
        pairs.extend(self.pipeline.clone().map(|pipeline| KeyValue::new(KEY_PIPELINE.to_owned(), pipeline)));
        if self.kind == Kind::Content {
            pairs.push(KeyValue::new(KEY_RESET.to_owned(), "true".to_owned()));
        }
        pairs
    }
}

/// The row groups of a file at which rows in order begin anew.
pub(crate) fn runs(metadata: &ParquetMetaData) -> Option<Vec<usize>> {
    value(metadata, KEY_RUNS)?.split(',').map(|run| run.parse().ok()).collect()
}

fn value<'a>(metadata: &'a ParquetMetaData, key: &str) -> Option<&'a str> {
    let pairs = metadata.file_metadata().key_value_metadata();
    pairs.into_iter().flatten().find(|pair| pair.key == key).and_then(|pair| pair.value.as_deref())
}

impl Encoder {
    /// A file with these columns, of which `key` are looked up.
    pub(crate) fn new(
        schema: &SchemaRef,
        key: &[&str],
        options: &FileOptions,
        label: &Label,
    ) -> Result<Encoder, EncodeError> {
        let statistics = match options.statistics {
            Statistics::Page => EnabledStatistics::Page,
            Statistics::Chunk => EnabledStatistics::Chunk,
            Statistics::None => EnabledStatistics::None,
        };
        let mut properties = WriterProperties::builder()
            .set_compression(options.compression)
            .set_statistics_enabled(statistics)
            .set_key_value_metadata(Some(label.pairs()))
            .set_created_by(concat!("tidegate ", env!("CARGO_PKG_VERSION")).to_owned());
        if options.bloom_filters == BloomFilters::Key {
            let key = schema.fields().iter().filter(|field| key.contains(&field.name().as_str()));
            for field in key.filter(|field| can_be_looked_up(field.data_type())) {
                let column = ColumnPath::new(vec![field.name().clone()]);
                properties = properties.set_column_bloom_filter_fpp(column, FALSE_POSITIVES);
            }
        }
        let properties = properties.build();
        let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties.clone()))?;
        let (file, _) = writer.into_serialized_writer()?;
        Ok(Encoder {
            file,
            schema: schema.clone(),
            properties,
            row_group_rows: options.row_group_rows,
            waiting: Vec::new(),
            waiting_rows: 0,
            waiting_bytes: 0,
            taken_bytes: 0,
            runs: vec![0],
        })
    }

    /// Writers for the columns of the next row group, which holds these rows. Columns whose values hardly repeat
    /// get no dictionary: its hashing is most of their work, and it would only be thrown away.
    fn writers(&self, rows: &[RecordBatch]) -> Result<Vec<ArrowColumnWriter>, EncodeError> {
        let mut properties = self.properties.clone().into_builder();
        for (column, field) in self.schema.fields().iter().enumerate() {
            if !repeats(rows, column) {
                let path = ColumnPath::new(vec![field.name().clone()]);
                properties = properties.set_column_dictionary_enabled(path, false);
            }
        }
        let writer = ArrowWriter::try_new(Vec::new(), self.schema.clone(), Some(properties.build()))?;
        let (_, groups) = writer.into_serialized_writer()?;
        Ok(groups.create_column_writers(self.file.flushed_row_groups().len())?)
    }

    /// Rows that are not in order after those before begin a row group.
    pub(crate) fn begin_run(&mut self) -> Result<(), EncodeError> {
        self.end_group()?;
        self.runs.push(self.file.flushed_row_groups().len());
        Ok(())
    }

    /// Encodes some rows; answers the bytes that are ready to be written.
    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<Vec<u8>, EncodeError> {
        let mut at = 0;
        while at < rows.num_rows() {
            let rest = rows.slice(at, rows.num_rows() - at);
            let row_bytes = (bytes(&rest) / rest.num_rows()).max(1);
            let room = (ROW_GROUP_BYTES.saturating_sub(self.waiting_bytes) / row_bytes).max(1);
            let count = rest.num_rows().min(room).min(self.row_group_rows - self.waiting_rows);
            self.waiting.push(rest.slice(0, count));
            self.waiting_rows += count;
            self.waiting_bytes += count * row_bytes;
            at += count;
            if self.waiting_rows == self.row_group_rows || self.waiting_bytes + row_bytes > ROW_GROUP_BYTES {
                self.end_group()?;
            }
        }
        Ok(std::mem::take(self.file.inner_mut()))
    }

    fn end_group(&mut self) -> Result<(), EncodeError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.waiting);
        let chunks = row_group::encode(&rows, self.writers(&rows)?)?;
        let mut group = self.file.next_row_group()?;
        for chunk in chunks {
            chunk.append_to_row_group(&mut group)?;
        }
        group.close()?;
        self.taken_bytes += std::mem::take(&mut self.waiting_bytes);
        self.waiting_rows = 0;
        Ok(())
    }

    /// The bytes of what is complete, and about those of what is not.
    pub(crate) fn size(&self) -> usize {
        let written = self.file.bytes_written();
        let part = if self.taken_bytes == 0 { ENCODED_PART } else { written as f64 / self.taken_bytes as f64 };
        written + (self.waiting_bytes as f64 * part) as usize
    }

    /// The rest of the bytes.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>, EncodeError> {
        self.end_group()?;
        let runs: Vec<_> = self.runs.iter().map(usize::to_string).collect();
        self.file.append_key_value_metadata(KeyValue::new(KEY_RUNS.to_owned(), runs.join(",")));
        Ok(self.file.into_inner()?)
    }
}

/// Bytes of a batch's own rows, which may be a few of larger arrays'.
pub(crate) fn bytes(rows: &RecordBatch) -> usize {
    let column =
        |array: &ArrayRef| array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size());
    rows.columns().iter().map(column).sum()
}

/// Parquet has no bloom filters for columns of one bit, and a nested value is not looked up by its parts.
fn can_be_looked_up(data_type: &DataType) -> bool {
    !data_type.is_nested() && !matches!(data_type, DataType::Boolean)
}
