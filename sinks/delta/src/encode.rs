//! Rows as row groups of Parquet, and row groups as files. Groups do not know one another, so several are encoded
//! at the same time; a file takes them in the order of their rows.

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, compute_leaves};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use tidegate_columns::repeats;

use crate::bounds::FileStats;

/// How the files of a table are encoded.
#[derive(Debug, Clone)]
pub(crate) struct Encoding {
    schema: SchemaRef,
    /// The positions of the address columns that have statistics; `None` for files without any.
    address: Option<Vec<usize>>,
}

/// An encoded row group.
pub(crate) struct Group {
    chunks: Vec<ArrowColumnChunk>,
    stats: FileStats,
    pub(crate) size: u64,
}

/// A file that takes up groups.
pub(crate) struct File {
    writer: SerializedFileWriter<Vec<u8>>,
    stats: FileStats,
}

/// A file that is whole.
pub(crate) struct Whole {
    pub(crate) content: Vec<u8>,
    pub(crate) rows: u64,
    pub(crate) stats: String,
}

impl Encoding {
    pub(crate) fn new(schema: SchemaRef, address: Option<Vec<usize>>) -> Self {
        Encoding { schema, address }
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn stats(&self) -> FileStats {
        match &self.address {
            Some(address) => FileStats::new(&self.schema, address),
            None => FileStats::new(&Schema::empty(), &[]),
        }
    }

    /// A writer of which only columns without dictionaries are set apart.
    fn writer(&self, plain: &[usize]) -> Result<ArrowWriter<Vec<u8>>, String> {
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by(concat!("tidegate ", env!("CARGO_PKG_VERSION")).to_owned());
        for column in plain {
            let path = ColumnPath::from(vec![self.schema.field(*column).name().clone()]);
            properties = properties.set_column_dictionary_enabled(path, false);
        }
        ArrowWriter::try_new(Vec::new(), self.schema.clone(), Some(properties.build())).map_err(|e| e.to_string())
    }

    /// Encodes rows as one group. A column whose values hardly repeat gets no dictionary.
    pub(crate) fn group(&self, rows: &[RecordBatch]) -> Result<Group, String> {
        let fault = |error: parquet::errors::ParquetError| error.to_string();
        let plain: Vec<_> = (0..self.schema.fields().len()).filter(|column| !repeats(rows, *column)).collect();
        let (_, factory) = self.writer(&plain)?.into_serialized_writer().map_err(fault)?;
        let mut stats = self.stats();
        rows.iter().for_each(|batch| stats.update(batch.columns()));
        let mut writers = factory.create_column_writers(0).map_err(fault)?.into_iter();
        let mut chunks = Vec::with_capacity(writers.len());
        for (column, field) in self.schema.fields().iter().enumerate() {
            let mut of_field = Vec::new();
            for batch in rows {
                let leaves = compute_leaves(field, batch.column(column)).map_err(fault)?;
                if of_field.is_empty() {
                    of_field.extend(writers.by_ref().take(leaves.len()));
                }
                for (writer, leaf) in of_field.iter_mut().zip(&leaves) {
                    writer.write(leaf).map_err(fault)?;
                }
            }
            // One column after the other, so that the buffers of one at a time are in the caches.
            for writer in of_field {
                chunks.push(writer.close().map_err(fault)?);
            }
        }
        let size = chunks.iter().map(|chunk| chunk.close().bytes_written).sum();
        Ok(Group { chunks, stats, size })
    }

    /// An empty file.
    pub(crate) fn file(&self) -> Result<File, String> {
        let (writer, _) = self.writer(&[])?.into_serialized_writer().map_err(|error| error.to_string())?;
        Ok(File { writer, stats: self.stats() })
    }
}

impl File {
    pub(crate) fn append(&mut self, group: Group) -> Result<(), String> {
        let append = || {
            let mut writer = self.writer.next_row_group()?;
            for chunk in group.chunks {
                chunk.append_to_row_group(&mut writer)?;
            }
            writer.close()
        };
        append().map_err(|error: parquet::errors::ParquetError| error.to_string())?;
        self.stats.absorb(group.stats);
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<Whole, String> {
        let content = self.writer.into_inner().map_err(|error| error.to_string())?;
        Ok(Whole { content, rows: self.stats.rows(), stats: self.stats.to_json() })
    }
}
