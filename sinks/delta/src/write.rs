//! Data files and change data files: rows in, files of a bounded size out, each with its statistics.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::partition;
use arrow::datatypes::{DataType, Date32Type, Field, Int8Type, Int16Type, Int32Type, Int64Type};
use bytes::Bytes;
use chrono::NaiveDate;

use crate::blocking::{Started, spawn, start};
use crate::encode::{Encoding, File, Group, Whole};
use crate::error::DeltaSinkError;
use crate::rewrite::Setting;
use crate::shape::{CHANGE_TYPE, Shape, projected};

/// Rows of a group at least, so of a file too, unless there are no more.
const GROUP_ROWS_MIN: usize = 4_096;
/// Rows of a row group at most: what readers pass over or read together.
const GROUP_ROWS_MAX: usize = 122_880;
/// Groups that are encoded at the same time, and one that waits for its turn.
const GROUPS: usize = 3;
/// Files on their way into the store at the same time.
const PUTS: usize = 2;
/// How much what groups had before counts for how large the next will be.
const MEMORY: f64 = 0.75;

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
///
/// Rows are collected into groups, which are encoded beside one another while more rows come. How many rows make a
/// file of the target size is known from the groups before.
pub(crate) struct FileWriter<'a> {
    setting: Setting<'a>,
    kind: Kind,
    encoding: Arc<Encoding>,
    kept: Vec<usize>,
    /// The rows of the next group, all of one partition.
    group: Vec<RecordBatch>,
    group_rows: usize,
    partition: PartitionValues,
    /// Rows of the file in groups that were cut.
    file_rows: usize,
    row_size: Option<RowSize>,
    steps: VecDeque<Step>,
    open: Option<File>,
    puts: VecDeque<Started<Result<(), DeltaSinkError>>>,
    done: Vec<NewFile>,
}

/// What comes next in the files.
enum Step {
    Group {
        rows: usize,
        encoded: Started<Result<Group, String>>,
    },
    /// The file of this partition ends.
    End(PartitionValues),
}

/// About how large a row is when it is encoded.
#[derive(Debug, Clone, Copy)]
struct RowSize {
    bytes: f64,
    rows: f64,
}

impl RowSize {
    fn new(bytes: u64, rows: usize) -> Self {
        RowSize { bytes: bytes as f64, rows: rows as f64 }
    }

    fn then(self, next: RowSize) -> Self {
        RowSize { bytes: self.bytes * MEMORY + next.bytes, rows: self.rows * MEMORY + next.rows }
    }

    /// Rows of a file of that size.
    fn rows_of(self, bytes: u64) -> usize {
        (bytes as f64 * self.rows / self.bytes.max(1.0)) as usize
    }
}

impl<'a> FileWriter<'a> {
    pub(crate) fn new(setting: Setting<'a>, kind: Kind) -> Self {
        let shape = setting.shape;
        let label = [Field::new(CHANGE_TYPE, DataType::Utf8, false)];
        let schema = projected(&shape.stored, &shape.partitions, if kind == Kind::Changes { &label } else { &[] });
        let kept = (0..shape.stored.fields().len()).filter(|column| !shape.partitions.contains(column));
        let kept: Vec<usize> = kept.collect();
        // Positions among the columns that files have.
        let address = shape.address();
        let address = (0..kept.len()).filter(|at| address.contains(&kept[*at])).collect();
        let address = (kind == Kind::Data).then_some(address);
        FileWriter {
            setting,
            kind,
            encoding: Arc::new(Encoding::new(schema, address)),
            kept,
            group: Vec::new(),
            group_rows: 0,
            partition: PartitionValues::new(),
            file_rows: 0,
            row_size: None,
            steps: VecDeque::new(),
            open: None,
            puts: VecDeque::new(),
            done: Vec::new(),
        }
    }

    /// Expects rows of a partition and of about this size, until it is known better.
    pub(crate) fn expecting(mut self, bytes: u64, rows: Option<u64>, partition: PartitionValues) -> Self {
        self.partition = partition;
        self.row_size = rows.filter(|rows| *rows > 0).map(|rows| RowSize::new(bytes, rows as usize));
        self
    }

    /// Writes rows in all stored columns, with labels if they are changes.
    pub(crate) async fn write(
        &mut self,
        rows: &RecordBatch,
        labels: Option<&StringArray>,
    ) -> Result<(), DeltaSinkError> {
        let runs = self.runs(rows)?;
        let all = self.in_file(rows, labels)?;
        for run in runs {
            let partition = partition_values(self.setting.shape, rows, run.start)?;
            if self.partition != partition {
                self.cut().await?;
                self.end();
                self.partition = partition;
            }
            let mut from = run.start;
            while from < run.end {
                let limit = self.limit(&all).await?;
                let length = (run.end - from).min(limit.saturating_sub(self.group_rows).max(1));
                self.group.push(all.slice(from, length));
                self.group_rows += length;
                from += length;
                if self.group_rows >= limit {
                    self.cut().await?;
                }
            }
        }
        Ok(())
    }

    /// The columns that files have.
    fn in_file(&self, rows: &RecordBatch, labels: Option<&StringArray>) -> Result<RecordBatch, DeltaSinkError> {
        let mut columns: Vec<ArrayRef> = self.kept.iter().map(|column| rows.column(*column).clone()).collect();
        if let Some(labels) = labels {
            columns.push(Arc::new(labels.clone()));
        }
        let rows = RecordBatch::try_new(self.encoding.schema().clone(), columns);
        rows.map_err(|error| self.contract(error.to_string()))
    }

    /// The runs of rows that belong to one partition.
    fn runs(&self, rows: &RecordBatch) -> Result<Vec<Range<usize>>, DeltaSinkError> {
        let shape = self.setting.shape;
        if rows.num_rows() == 0 {
            return Ok(Vec::new());
        }
        if shape.partitions.is_empty() {
            return Ok(std::iter::once(0..rows.num_rows()).collect());
        }
        let columns: Vec<_> = shape.partitions.iter().map(|column| rows.column(*column).clone()).collect();
        let runs = partition(&columns).map_err(|error| DeltaSinkError::contract(&shape.view.name, error))?;
        Ok(runs.ranges())
    }

    /// Rows of the group that is being collected. The groups of a file are about equally large.
    async fn limit(&mut self, next: &RecordBatch) -> Result<usize, DeltaSinkError> {
        if self.row_size.is_none() {
            self.settle(0).await?;
        }
        // Nothing has been encoded yet: not more than the rows take in memory, presumably.
        let in_memory = || {
            let bytes = next.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0));
            RowSize::new(bytes.sum::<usize>() as u64, next.num_rows())
        };
        let row_size = self.row_size.unwrap_or_else(in_memory);
        let left = row_size.rows_of(self.setting.target).saturating_sub(self.file_rows).max(1);
        Ok((left / left.div_ceil(GROUP_ROWS_MAX)).max(GROUP_ROWS_MIN))
    }

    /// Has the collected rows encoded, and ends the file if they are its last.
    async fn cut(&mut self) -> Result<(), DeltaSinkError> {
        if self.group_rows == 0 {
            return Ok(());
        }
        self.settle(GROUPS - 1).await?;
        let (group, rows) = (std::mem::take(&mut self.group), std::mem::take(&mut self.group_rows));
        let encoding = self.encoding.clone();
        self.steps.push_back(Step::Group { rows, encoded: start(move || encoding.group(&group)) });
        self.file_rows += rows;
        let whole = self.row_size.map(|size| size.rows_of(self.setting.target));
        if whole.is_some_and(|whole| self.file_rows + GROUP_ROWS_MIN.max(whole / 32) > whole) {
            self.end();
        }
        Ok(())
    }

    /// Ends the file with the groups that were cut.
    fn end(&mut self) {
        if std::mem::take(&mut self.file_rows) > 0 {
            self.steps.push_back(Step::End(self.partition.clone()));
        }
    }

    /// Takes groups into files until no more than some are left to do.
    async fn settle(&mut self, left: usize) -> Result<(), DeltaSinkError> {
        let mut groups = self.steps.iter().filter(|step| !matches!(step, Step::End(_))).count();
        while groups > left || matches!(self.steps.front(), Some(Step::End(_))) {
            match self.steps.pop_front() {
                Some(Step::Group { rows, encoded }) => {
                    groups -= 1;
                    let group = encoded.done().await;
                    self.append(group, rows).map_err(|fact| self.contract(fact))?;
                }
                Some(Step::End(partition)) => self.put(partition).await?,
                None => break,
            }
        }
        Ok(())
    }

    fn append(&mut self, group: Result<Group, String>, rows: usize) -> Result<(), String> {
        let group = group?;
        let size = RowSize::new(group.size, rows);
        self.row_size = Some(self.row_size.map_or(size, |before| before.then(size)));
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.encoding.file()?,
        };
        open.append(group)?;
        self.open = Some(open);
        Ok(())
    }

    fn contract(&self, fact: String) -> DeltaSinkError {
        DeltaSinkError::contract(&self.setting.shape.view.name, fact)
    }

    /// Sends the open file on its way.
    async fn put(&mut self, partition: PartitionValues) -> Result<(), DeltaSinkError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let Whole { content, rows, stats } = open.finish().map_err(|fact| self.contract(fact))?;
        self.arrive(PUTS - 1).await?;
        let path = match self.kind {
            Kind::Data => self.setting.names.data(),
            Kind::Changes => self.setting.names.changes(),
        };
        let size = content.len() as u64;
        // Counted before it is there, so that a failed put is thrown away too.
        self.done.push(NewFile { path: path.clone(), size, rows, stats, partition });
        let store = self.setting.store.clone();
        self.puts.push_back(spawn(async move { store.write(&path, Bytes::from(content)).await }));
        Ok(())
    }

    /// Waits until no more than some files are on their way.
    async fn arrive(&mut self, left: usize) -> Result<(), DeltaSinkError> {
        while self.puts.len() > left
            && let Some(put) = self.puts.pop_front()
        {
            put.done().await?;
        }
        Ok(())
    }

    async fn end_all(&mut self) -> Result<(), DeltaSinkError> {
        self.cut().await?;
        self.end();
        self.settle(0).await?;
        self.arrive(0).await
    }

    /// Ends writing, which went as `written` says; answers all files, or throws them away.
    pub(crate) async fn finish(mut self, written: Result<(), DeltaSinkError>) -> Result<Vec<NewFile>, DeltaSinkError> {
        let ended = match written {
            Ok(()) => self.end_all().await,
            Err(error) => Err(error),
        };
        let Err(error) = ended else { return Ok(self.done) };
        // What is on its way would lie there after all.
        for put in self.puts {
            let _ = put.done().await;
        }
        self.setting.store.discard(self.done.into_iter().map(|file| file.path)).await;
        Err(error)
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
