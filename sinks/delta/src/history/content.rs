//! The whole content of a view, as versions: where a history begins, begins anew, or is compared with what is open.
//!
//! The rows are those of the files that the view's own commit is about to name.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, BinaryArray, BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, interleave_record_batch};
use futures::{StreamExt, TryStreamExt, stream};

use super::events::Moment;
use super::follow::Written;
use super::versions::{Held, Places, address_of, begun, ended, held, versions, with_ends};
use crate::columns::Equality;
use crate::config::DeltaConfig;
use crate::error::DeltaSinkError;
use crate::load::{self, Order, Stored, sorted_by};
use crate::rewrite::Setting;
use crate::scan::scan;
use crate::shape::{Addresser, Shape};
use crate::store::TableStore;
use crate::table::DataFile;
use crate::write::{FileWriter, Kind, NewFile};

/// The rows of a view after its commit.
pub(crate) struct Content {
    pub(crate) store: TableStore,
    pub(crate) shape: Shape,
    pub(crate) files: Vec<(String, DataFile)>,
}

/// What becomes of the versions that are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// They are what the content is compared with.
    Compared,
    /// They end.
    Ended(Moment),
    /// They never were: the commit that began them was not followed by the view's.
    Dropped,
}

/// Streams files one after the other.
pub(crate) fn scanned(store: &TableStore, shape: &Shape, files: Vec<(String, DataFile)>) -> Stored {
    let (store, shape) = (store.clone(), shape.clone());
    let columns: Vec<usize> = (0..shape.stored.fields().len()).collect();
    let files = stream::iter(files).then(move |(path, file)| {
        let (store, shape, columns) = (store.clone(), shape.clone(), columns.clone());
        async move { scan(&store, &shape, &path, &file, &columns).await }
    });
    files.try_flatten().boxed()
}

/// Writes the versions after a content. `at` is the moment of the content.
pub(crate) async fn write(
    setting: Setting<'_>,
    config: &DeltaConfig,
    files: &BTreeMap<String, DataFile>,
    fate: Fate,
    content: &Content,
    at: Moment,
) -> Result<Written, DeltaSinkError> {
    let mut written = Written::default();
    let done = write_into(setting, config, files, fate, content, at, &mut written).await;
    if done.is_err() {
        setting.store.discard(written.files.paths()).await;
    }
    done.map(|()| written)
}

async fn write_into(
    setting: Setting<'_>,
    config: &DeltaConfig,
    files: &BTreeMap<String, DataFile>,
    fate: Fate,
    content: &Content,
    at: Moment,
    written: &mut Written,
) -> Result<(), DeltaSinkError> {
    let shape = setting.shape;
    let open = files.iter().filter(|(_, file)| held(file) != Held::Ended);
    let open: Vec<(String, DataFile)> = open.map(|(path, file)| (path.clone(), file.clone())).collect();
    let mixed: Vec<_> = open.iter().filter(|(_, file)| held(file) == Held::Mixed).cloned().collect();
    written.files.removed = open.iter().map(|(path, _)| path.clone()).collect();
    let read = Arc::new(AtomicU64::new(0));
    let all_open = || counted(scanned(setting.store, shape, open.clone()), read.clone());
    let in_order = Order::of(shape, config)?;
    let places = Places::of(shape);
    let is_ended = move |rows: &RecordBatch| places.ended(rows);
    let added = &mut written.files.added;
    match fate {
        Fate::Ended(end) => {
            let shape = shape.clone();
            let rows = all_open().map(move |rows| ended(&shape, &rows?, end)).boxed();
            added.extend(load::write(setting, rows).await?);
        }
        Fate::Dropped | Fate::Compared if !mixed.is_empty() => {
            let rows = filtered(scanned(setting.store, shape, mixed), shape, is_ended);
            added.extend(load::write(setting, rows).await?);
        }
        Fate::Dropped | Fate::Compared => {}
    }
    match fate {
        Fate::Compared => {
            let held = filtered(all_open(), shape, move |rows| places.open(rows));
            compare(setting, content, held, at, written).await?;
        }
        Fate::Ended(_) | Fate::Dropped => {
            if fate == Fate::Dropped {
                // Only their number is wanted.
                all_open().try_for_each(|_| async { Ok(()) }).await?;
            }
            let beginning = content.versions(shape, Some(at));
            let files = load::write(setting, in_order.sorted(shape, beginning)?).await?;
            written.counts[0] = files.iter().map(|file| file.rows).sum();
            written.files.added.extend(files);
        }
    }
    let rows: u64 = written.files.added.iter().map(|file| file.rows).sum();
    written.growth = rows as i64 - read.load(Ordering::Relaxed) as i64;
    Ok(())
}

impl Content {
    /// Its rows as versions that begin at a moment, or nobody knows when yet.
    fn versions(&self, shape: &Shape, from: Option<Moment>) -> Stored {
        let shape = shape.clone();
        let rows = scanned(&self.store, &self.shape, self.files.clone());
        rows.map(move |rows| {
            let rows = rows?;
            let count = rows.num_rows();
            versions(&shape, &rows, std::iter::repeat_n(from, count), std::iter::repeat_n(None, count))
        })
        .boxed()
    }
}

fn counted(rows: Stored, count: Arc<AtomicU64>) -> Stored {
    rows.inspect_ok(move |rows| {
        count.fetch_add(rows.num_rows() as u64, Ordering::Relaxed);
    })
    .boxed()
}

/// The rows of which a mask says so.
pub(crate) fn filtered(
    rows: Stored,
    shape: &Shape,
    which: impl Fn(&RecordBatch) -> BooleanArray + Send + 'static,
) -> Stored {
    let name = shape.view.name.clone();
    rows.map(move |rows| {
        let rows = rows?;
        filter_record_batch(&rows, &which(&rows)).map_err(|error| DeltaSinkError::contract(&name, error))
    })
    .boxed()
}

/// Compares open versions with a content: what is in both stays, in the order of the oldest; the others end or begin.
async fn compare(
    setting: Setting<'_>,
    content: &Content,
    open: Stored,
    at: Moment,
    written: &mut Written,
) -> Result<(), DeltaSinkError> {
    let shape = setting.shape;
    let unsupported = |fact: String| DeltaSinkError::unsupported(&shape.view.name, fact);
    // The key comes first, so that what is written is sorted by it.
    let mut columns = address_of(&content.shape.view);
    let others: Vec<usize> = (0..Places::of(shape).columns).filter(|column| !columns.contains(column)).collect();
    columns.extend(others);
    let addresser = Addresser::new(shape, columns, Equality::Same).map_err(unsupported)?;
    let place = move |rows: &RecordBatch| {
        let bytes = addresser.of_rows(rows)?;
        Ok(BinaryArray::from_iter_values((0..bytes.len()).map(|row| bytes.get(row))))
    };
    let from_epoch = Places::of(shape).since_epoch();
    let all = content.versions(shape, None).chain(open).boxed();
    let mut rows = sorted_by(shape, all, place, &[from_epoch])?;
    let mut keeping = FileWriter::new(setting, Kind::Data);
    let mut ending = FileWriter::new(setting, Kind::Data);
    let mut matching = Matching::default();
    let done = loop {
        let batch = match rows.try_next().await {
            Ok(batch) => batch,
            Err(error) => break Err(error),
        };
        let is_last = batch.is_none();
        let step = async {
            let (kept, gone, begins) = matching.take(shape, batch)?;
            written.counts[0] += begins;
            written.counts[1] += gone.num_rows() as u64;
            keeping.write(&begun(shape, &kept, at)?, None).await?;
            let ends = std::iter::repeat_n(Some(at), gone.num_rows());
            ending.write(&with_ends(shape, &gone, ends)?, None).await
        };
        let done = step.await;
        if done.is_err() || is_last {
            break done;
        }
    };
    let is_done = done.is_ok();
    let kept: Result<Vec<NewFile>, _> = keeping.finish(done).await;
    let stop = || DeltaSinkError::contract(&shape.view.name, "the comparison did not end");
    let ended = ending.finish(if is_done && kept.is_ok() { Ok(()) } else { Err(stop()) }).await;
    written.files.added.extend(kept?);
    written.files.added.extend(ended?);
    Ok(())
}

/// Rows that are the same, as they come by: first those of the content, which have no beginning yet, then the open
/// versions, the oldest first.
#[derive(Default)]
struct Matching {
    /// A row of the content that was not matched yet when the last batch ended, its place, and its copies.
    carried: Option<(RecordBatch, Vec<u8>, usize)>,
}

impl Matching {
    /// The rows that are open afterwards, the versions that end, and how many begin. `None` is the end.
    fn take(
        &mut self,
        shape: &Shape,
        batch: Option<RecordBatch>,
    ) -> Result<(RecordBatch, RecordBatch, u64), DeltaSinkError> {
        let contract = |error: arrow::error::ArrowError| DeltaSinkError::contract(&shape.view.name, error);
        let is_last = batch.is_none();
        let columns: Vec<usize> = (0..shape.stored.fields().len()).collect();
        let carried = self.carried.take();
        let (rows, places) = match batch {
            Some(batch) => {
                let places = batch.column(columns.len()).clone();
                (batch.project(&columns).map_err(contract)?, places)
            }
            None => {
                let places: Arc<dyn Array> = Arc::new(BinaryArray::from_iter_values(std::iter::empty::<&[u8]>()));
                (RecordBatch::new_empty(shape.stored.clone()), places)
            }
        };
        let places = arrow::array::AsArray::as_binary::<i32>(&places);
        let is_content = |row: usize| rows.column(Places::of(shape).since_epoch()).is_null(row);
        let (mut kept, mut gone, mut begins) = (Vec::new(), Vec::new(), 0);
        // Where a row of the group is, the group's place, and the copies that no version was found for.
        let mut group = carried.as_ref().map(|(_, place, copies)| ((0, 0), place.as_slice(), *copies));
        let mut close = |group: Option<((usize, usize), &[u8], usize)>, kept: &mut Vec<(usize, usize)>| {
            if let Some((row, _, copies)) = group {
                kept.extend(std::iter::repeat_n(row, copies));
                begins += copies as u64;
            }
        };
        for row in 0..rows.num_rows() {
            let place = places.value(row);
            if group.is_none_or(|(_, found, _)| found != place) {
                close(group.replace(((1, row), place, 0)), &mut kept);
            }
            let (at, _, copies) = group.as_mut().expect("there is a group now");
            if is_content(row) {
                (*at, *copies) = ((1, row), *copies + 1);
            } else if *copies > 0 {
                *copies -= 1;
                kept.push((1, row));
            } else {
                gone.push((1, row));
            }
        }
        let first = carried.as_ref().map_or_else(|| rows.slice(0, 0), |(row, ..)| row.clone());
        let batches = [&first, &rows];
        if is_last {
            close(group, &mut kept);
        } else if let Some(((batch, row), place, copies)) = group {
            self.carried = Some((batches[batch].slice(row, 1), place.to_vec(), copies));
        }
        let pick = |indices: &[(usize, usize)]| match indices {
            [] => Ok(RecordBatch::new_empty(shape.stored.clone())),
            indices => interleave_record_batch(&batches, indices).map_err(contract),
        };
        Ok((pick(&kept)?, pick(&gone)?, begins))
    }
}
