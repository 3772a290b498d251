//! Data files and change data files: rows in, files of a bounded size out, each with its statistics.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::partition;
use arrow::datatypes::{DataType, Date32Type, Field, Int8Type, Int16Type, Int32Type, Int64Type, SchemaRef};
use bytes::Bytes;
use chrono::NaiveDate;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::blocking::blocking;
use crate::bounds::FileStats;
use crate::error::DeltaSinkError;
use crate::layout::FileNames;
use crate::shape::{CHANGE_TYPE, Shape, projected};
use crate::store::TableStore;

/// Rows that are encoded at a time, and looked at whether the file is full.
const CHUNK_ROWS: usize = 4_096;
/// Rows of a row group: what readers pass over or read together.
const ROW_GROUP_ROWS: usize = 122_880;

/// Values of the partition columns, by their names in files; `None` is NULL.
pub(crate) type PartitionValues = BTreeMap<String, Option<String>>;

/// A file that lies in the store and that no version knows yet.
#[derive(Debug, Clone)]
pub(crate) struct NewFile {
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) rows: u64,
    pub(crate) stats: String,
    pub(crate) partition: PartitionValues,
}

/// What the rows are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Data,
    /// Rows come with a label each.
    Changes,
}

/// Writes rows into files. Rows of one partition should come together: a file ends where the partition does.
pub(crate) struct FileWriter<'a> {
    store: &'a TableStore,
    shape: &'a Shape,
    kind: Kind,
    target: u64,
    names: FileNames,
    schema: SchemaRef,
    kept: Vec<usize>,
    open: Option<OpenFile>,
    done: Vec<NewFile>,
    next: usize,
}

struct OpenFile {
    encoder: Encoder,
    partition: PartitionValues,
}

struct Encoder {
    writer: ArrowWriter<Vec<u8>>,
    stats: FileStats,
}

impl<'a> FileWriter<'a> {
    /// Files get the names from number `first` on.
    pub(crate) fn new(
        store: &'a TableStore,
        shape: &'a Shape,
        kind: Kind,
        target: u64,
        names: FileNames,
        first: usize,
    ) -> Self {
        let label = [Field::new(CHANGE_TYPE, DataType::Utf8, false)];
        let schema = projected(&shape.stored, &shape.partitions, if kind == Kind::Changes { &label } else { &[] });
        let kept = (0..shape.stored.fields().len()).filter(|column| !shape.partitions.contains(column)).collect();
        FileWriter { store, shape, kind, target, names, schema, kept, open: None, done: Vec::new(), next: first }
    }

    /// Writes rows in all stored columns, with labels if they are changes.
    pub(crate) async fn write(
        &mut self,
        rows: &RecordBatch,
        labels: Option<&StringArray>,
    ) -> Result<(), DeltaSinkError> {
        for run in self.runs(rows)? {
            let partition = partition_values(self.shape, rows, run.start)?;
            if self.open.as_ref().is_some_and(|open| open.partition != partition) {
                self.end_file().await?;
            }
            for from in run.clone().step_by(CHUNK_ROWS) {
                let length = (run.end - from).min(CHUNK_ROWS);
                let part = rows.slice(from, length);
                let mut columns: Vec<ArrayRef> = self.kept.iter().map(|column| part.column(*column).clone()).collect();
                if let Some(labels) = labels {
                    columns.push(Arc::new(labels.slice(from, length)));
                }
                self.encode(columns, partition.clone()).await?;
            }
        }
        Ok(())
    }

    /// The runs of rows that belong to one partition.
    fn runs(&self, rows: &RecordBatch) -> Result<Vec<Range<usize>>, DeltaSinkError> {
        if rows.num_rows() == 0 {
            return Ok(Vec::new());
        }
        if self.shape.partitions.is_empty() {
            return Ok(std::iter::once(0..rows.num_rows()).collect());
        }
        let columns: Vec<_> = self.shape.partitions.iter().map(|column| rows.column(*column).clone()).collect();
        let runs = partition(&columns).map_err(|error| DeltaSinkError::contract(&self.shape.view.name, error))?;
        Ok(runs.ranges())
    }

    async fn encode(&mut self, columns: Vec<ArrayRef>, partition: PartitionValues) -> Result<(), DeltaSinkError> {
        let view = self.shape.view.name.clone();
        let contract = |fact: String| DeltaSinkError::contract(&view, fact);
        let batch = RecordBatch::try_new(self.schema.clone(), columns).map_err(|error| contract(error.to_string()))?;
        let open = match self.open.take() {
            Some(open) => open,
            None => OpenFile { encoder: self.encoder().map_err(contract)?, partition },
        };
        let OpenFile { mut encoder, partition } = open;
        let (encoder, written) = blocking(move || {
            let written = encoder.write(&batch);
            (encoder, written)
        })
        .await;
        let size = written.map_err(contract)?;
        self.open = Some(OpenFile { encoder, partition });
        if size >= self.target {
            self.end_file().await?;
        }
        Ok(())
    }

    fn encoder(&self) -> Result<Encoder, String> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_created_by(concat!("tidegate ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let writer = ArrowWriter::try_new(Vec::new(), self.schema.clone(), Some(properties));
        // Positions among the columns that files have.
        let address = self.shape.address();
        let address: Vec<_> = (0..self.kept.len()).filter(|at| address.contains(&self.kept[*at])).collect();
        let stats = match self.kind {
            Kind::Data => FileStats::new(&self.schema, &address),
            Kind::Changes => FileStats::new(&arrow::datatypes::Schema::empty(), &[]),
        };
        Ok(Encoder { writer: writer.map_err(|error| error.to_string())?, stats })
    }

    async fn end_file(&mut self) -> Result<(), DeltaSinkError> {
        let Some(OpenFile { encoder, partition }) = self.open.take() else { return Ok(()) };
        let (stats, rows) = (encoder.stats.to_json(), encoder.stats.rows());
        let content = blocking(move || encoder.writer.into_inner().map_err(|error| error.to_string())).await;
        let content = content.map_err(|fact| DeltaSinkError::contract(&self.shape.view.name, fact))?;
        let path = match self.kind {
            Kind::Data => self.names.data(self.next),
            Kind::Changes => self.names.changes(self.next),
        };
        let size = content.len() as u64;
        // Counted before it is there, so that a failed put is thrown away too.
        self.next += 1;
        self.done.push(NewFile { path: path.clone(), size, rows, stats, partition });
        self.store.write(&path, Bytes::from(content)).await
    }

    /// Ends the last file; answers all files.
    pub(crate) async fn finish(&mut self) -> Result<Vec<NewFile>, DeltaSinkError> {
        self.end_file().await?;
        Ok(std::mem::take(&mut self.done))
    }

    /// The files that lie in the store when writing has failed.
    pub(crate) fn left_behind(self) -> Vec<String> {
        self.done.into_iter().map(|file| file.path).collect()
    }
}

/// The values of the partition columns of a row.
pub(crate) fn partition_values(
    shape: &Shape,
    rows: &RecordBatch,
    row: usize,
) -> Result<PartitionValues, DeltaSinkError> {
    let value = |column: &usize| {
        let text = partition_text(rows.column(*column), row).map_err(|fact| {
            let name = shape.view.schema.field(*column).name();
            let fact =
                format!("partition column {name} {fact}: partition by another column, or replace it in the view");
            DeltaSinkError::unsupported(&shape.view.name, fact)
        })?;
        Ok((shape.physical(*column).to_owned(), text))
    };
    shape.partitions.iter().map(value).collect()
}

fn partition_text(array: &ArrayRef, row: usize) -> Result<Option<String>, &'static str> {
    if array.is_null(row) {
        return Ok(None);
    }
    Ok(Some(match array.data_type() {
        DataType::Boolean => array.as_boolean().value(row).to_string(),
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).to_string(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).to_string(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Date32 => {
            let days = array.as_primitive::<Date32Type>().value(row);
            let date = days.checked_add(719_163).and_then(NaiveDate::from_num_days_from_ce_opt);
            let date = date.filter(|date| (1..=9999).contains(&chrono::Datelike::year(date)));
            date.ok_or("holds a date that Delta has no text for")?.format("%Y-%m-%d").to_string()
        }
        _ => match array.as_string::<i32>().value(row) {
            "" => return Err("holds an empty text, which Delta takes for NULL"),
            text => text.to_owned(),
        },
    }))
}

impl Encoder {
    /// Encodes some rows; answers about how large the file is.
    fn write(&mut self, batch: &RecordBatch) -> Result<u64, String> {
        self.stats.update(batch.columns());
        self.writer.write(batch).map_err(|error| error.to_string())?;
        Ok((self.writer.bytes_written() + self.writer.in_progress_size()) as u64)
    }
}
