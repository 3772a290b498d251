//! Many files in order as one: the rows of sorted runs, merged as they are read. Of every run a batch is
//! in memory, and the row group that it comes from.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};

use crate::encode;
use crate::error::ParquetSinkError;
use crate::order::RowOrder;
use crate::sort::{Key, Keys};
use crate::store::Store;

/// Rows that are read of a run at a time.
const RUN_ROWS: usize = 1024;
/// Rows that are answered at a time.
const OUTPUT_ROWS: usize = 8192;

/// Batches of changes in order.
pub(crate) type Run = BoxStream<'static, Result<RecordBatch, ParquetSinkError>>;

/// Runs being merged.
pub(crate) struct Merge {
    order: Arc<RowOrder>,
    /// For messages.
    what: String,
    cursors: Vec<Cursor>,
    next: BinaryHeap<Reverse<(Key, usize)>>,
}

struct Cursor {
    run: Run,
    batch: RecordBatch,
    /// None at the end of the run.
    keys: Option<Keys>,
    at: usize,
}

impl Merge {
    /// Begins to read all runs.
    pub(crate) async fn new(order: Arc<RowOrder>, what: String, runs: Vec<Run>) -> Result<Merge, ParquetSinkError> {
        let mut merge = Merge { order, what, cursors: Vec::new(), next: BinaryHeap::new() };
        for run in runs {
            merge.add(run).await?;
        }
        Ok(merge)
    }

    /// Begins to read one more run; its rows must not come before those that are out.
    pub(crate) async fn add(&mut self, run: Run) -> Result<(), ParquetSinkError> {
        let none = RecordBatch::new_empty(Arc::new(Schema::empty()));
        let cursor = Cursor { run, batch: none, keys: None, at: 0 };
        let over = self.cursors.iter().position(|cursor| cursor.keys.is_none());
        let index = over.unwrap_or(self.cursors.len());
        if over.is_some() {
            self.cursors[index] = cursor;
        } else {
            self.cursors.push(cursor);
        }
        self.load(index).await
    }

    /// The key of the next change.
    pub(crate) fn peek(&self) -> Option<&Key> {
        self.next.peek().map(|Reverse((key, _))| key)
    }

    /// The next changes in order, those before `end` if given; `None` when there are no more.
    pub(crate) async fn next(&mut self, end: Option<&Key>) -> Result<Option<RecordBatch>, ParquetSinkError> {
        let mut batches: Vec<RecordBatch> = Vec::new();
        let mut places: Vec<Option<usize>> = vec![None; self.cursors.len()];
        let mut rows = Vec::new();
        while rows.len() < OUTPUT_ROWS && self.peek().is_some_and(|key| end.is_none_or(|end| key.row < end.row)) {
            let Some(Reverse((_, index))) = self.next.pop() else { break };
            let cursor = &mut self.cursors[index];
            let place = *places[index].get_or_insert_with(|| {
                batches.push(cursor.batch.clone());
                batches.len() - 1
            });
            rows.push((place, cursor.at));
            cursor.at += 1;
            match &cursor.keys {
                Some(keys) if cursor.at < cursor.batch.num_rows() => {
                    self.next.push(Reverse((keys.get(cursor.at), index)));
                }
                _ => {
                    places[index] = None;
                    self.load(index).await?;
                }
            }
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let batches: Vec<&RecordBatch> = batches.iter().collect();
        let merged = interleave_record_batch(&batches, &rows);
        merged.map(Some).map_err(|error| ParquetSinkError::damaged(&self.what, error))
    }

    async fn load(&mut self, index: usize) -> Result<(), ParquetSinkError> {
        let cursor = &mut self.cursors[index];
        while let Some(batch) = cursor.run.try_next().await? {
            if batch.num_rows() == 0 {
                continue;
            }
            let keys = Keys::new(&self.order, &batch);
            let keys = keys.map_err(|error| ParquetSinkError::damaged(&self.what, error))?;
            self.next.push(Reverse((keys.get(0), index)));
            (cursor.batch, cursor.keys, cursor.at) = (batch, Some(keys), 0);
            return Ok(());
        }
        cursor.keys = None;
        Ok(())
    }
}

/// The sorted runs of a file, which must have these columns.
pub(crate) async fn runs(store: &Store, name: &str, schema: &SchemaRef) -> Result<Vec<Run>, ParquetSinkError> {
    let path = store.path(name);
    let unread = |error: parquet::errors::ParquetError| ParquetSinkError::reading(&path, error);
    let mut file = store.open(name).await?;
    let metadata = ArrowReaderMetadata::load_async(&mut file, ArrowReaderOptions::new()).await.map_err(unread)?;
    if metadata.schema().fields() != schema.fields() {
        return Err(ParquetSinkError::damaged(&path, "its columns are not those of the view"));
    }
    let groups = metadata.metadata().num_row_groups();
    let starts = encode::runs(metadata.metadata());
    let starts = starts.ok_or_else(|| ParquetSinkError::damaged(&path, "it does not say how its rows are ordered"))?;
    let mut runs = Vec::new();
    for (index, start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(groups);
        let groups = (*start..end).collect();
        let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(store.open(name).await?, metadata.clone());
        let stream = builder.with_row_groups(groups).with_batch_size(RUN_ROWS).build().map_err(unread)?;
        let path = path.clone();
        runs.push(stream.map_err(move |error| ParquetSinkError::reading(&path, error)).boxed());
    }
    Ok(runs)
}
