//! The files of a snapshot: sorted one after the other, so that each holds the rows from its first up to
//! the first of the next one.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::{StreamExt, TryStreamExt};
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use tidegate_core::{Epoch, ViewName};

use super::partition::Partitions;
use crate::commit::Ledger;
use crate::error::ParquetSinkError;
use crate::layout;
use crate::merge::Run;
use crate::order::RowOrder;
use crate::sort::{Key, Keys};
use crate::store::Store;

/// Rows that are read at a time.
const RUN_ROWS: usize = 1024;

/// A file of a snapshot.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// Relative to the sink's path.
    pub(crate) name: String,
    /// Its folders of partitions, each with `/` at its end.
    pub(crate) folders: String,
    pub(crate) bytes: u64,
}

/// The folder of a snapshot, relative to the sink's path.
pub(crate) fn folder(view: &ViewName, folder: &str) -> String {
    format!("{}/{folder}", layout::folder(view))
}

/// Whether a folder's name is one of ours: an epoch, and which attempt it was at it.
pub(crate) fn is_folder(name: &str) -> bool {
    let (epoch, attempt) = name.split_once('-').unwrap_or((name, "1"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    epoch.len() == Epoch::ZERO.digits().len() && digits(epoch) && digits(attempt)
}

/// The name of the part with this number.
pub(crate) fn name(folder: &str, folders: &str, number: usize) -> String {
    format!("{folder}/{folders}part-{number:08}{}", layout::EXTENSION)
}

/// The parts of a snapshot in the order of their rows.
pub(crate) async fn list(store: &Store, view: &ViewName, at: &str) -> Result<Vec<Part>, ParquetSinkError> {
    let folder = folder(view, at);
    let mut parts = Vec::new();
    for (name, bytes) in store.tree(&folder).await? {
        let inside = name[folder.len()..].trim_start_matches('/').to_owned();
        let (folders, file) = inside.rsplit_once('/').map_or(("", inside.as_str()), |(folders, file)| (folders, file));
        if !file.ends_with(layout::EXTENSION) {
            continue;
        }
        let folders = if folders.is_empty() { String::new() } else { format!("{folders}/") };
        parts.push((file.to_owned(), Part { name, folders, bytes }));
    }
    parts.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(parts.into_iter().map(|(_, part)| part).collect())
}

/// The rows of a part as changes, all inserts, in order.
pub(crate) async fn rows(store: &Store, part: &Part, partitions: &Partitions) -> Result<Run, ParquetSinkError> {
    read(store, part, partitions, RUN_ROWS, None).await
}

async fn read(
    store: &Store,
    part: &Part,
    partitions: &Partitions,
    rows: usize,
    limit: Option<usize>,
) -> Result<Run, ParquetSinkError> {
    let path = store.path(&part.name);
    let unread = |error: parquet::errors::ParquetError| ParquetSinkError::reading(&path, error);
    let options = ArrowReaderOptions::new();
    let builder = ParquetRecordBatchStreamBuilder::new_with_options(store.open(&part.name).await?, options).await;
    let mut builder = builder.map_err(unread)?.with_batch_size(rows);
    if builder.schema().fields() != partitions.in_files.fields() {
        return Err(ParquetSinkError::damaged(&path, "its columns are not those of the view"));
    }
    if let Some(limit) = limit {
        builder = builder.with_limit(limit);
    }
    let stream = builder.build().map_err(unread)?;
    let (partitions, part) = (partitions.clone(), part.clone());
    let changes = move |batch: parquet::errors::Result<RecordBatch>| {
        let batch = batch.map_err(|error| ParquetSinkError::reading(&path, error))?;
        partitions
            .changes(&part.folders, &batch)
            .ok_or_else(|| ParquetSinkError::damaged(&path, "it lies in folders of other partitions"))
    };
    Ok(stream.map(changes).boxed())
}

/// The keys of the first rows of all parts; parts without rows are left out.
pub(crate) async fn first_rows(
    store: &Store,
    ledger: &mut Ledger,
    parts: Vec<Part>,
    partitions: &Partitions,
    order: &Arc<RowOrder>,
) -> Result<Vec<(Part, Key)>, ParquetSinkError> {
    let mut keyed = Vec::with_capacity(parts.len());
    for part in parts {
        let key = match ledger.first_rows.get(&part.name) {
            Some(key) => key.clone(),
            None => {
                let first = read(store, &part, partitions, 1, Some(1)).await?.try_next().await?;
                let Some(first) = first.filter(|first| first.num_rows() > 0) else { continue };
                let keys = Keys::new(order, &first);
                keys.map_err(|error| ParquetSinkError::damaged(&store.path(&part.name), error))?.get(0)
            }
        };
        keyed.push((part, key));
    }
    Ok(keyed)
}
