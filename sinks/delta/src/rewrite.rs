//! Copy-on-write: which files hold the rows that go or change, and what takes their place.
//!
//! Files whose bounds exclude every such row are passed over without being opened. Of the others only the columns of
//! the address are read, and only those that hold such a row are read whole and written anew. A row that changes
//! under its key stays where it was, so a file's range of keys stays what it was; rows that come lie in files of
//! their own until maintenance merges them.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{RecordBatch, StringArray, UInt32Array};
use arrow::compute::{interleave_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use tidegate_core::EpochHeader;

use crate::columns::Equality;
use crate::error::DeltaSinkError;
use crate::layout::FileNames;
use crate::lookup::Lookup;
use crate::net::{Net, Removal, RowAt};
use crate::scan::scan;
use crate::shape::{Addresser, Shape};
use crate::store::TableStore;
use crate::table::DataFile;
use crate::write::{FileWriter, Kind, NewFile, partition_values};

/// Files that are looked into at the same time.
const LOOKUPS: usize = 4;
/// Files that are written anew at the same time.
const REWRITES: usize = 2;
/// Rows put together before they are written.
const CHUNK_ROWS: usize = 16_384;

/// What a commit does to a table's files. The new ones lie in the store already.
#[derive(Debug, Default)]
pub(crate) struct Rewrite {
    pub(crate) added: Vec<NewFile>,
    pub(crate) removed: Vec<String>,
    pub(crate) changes: Vec<NewFile>,
}

impl Rewrite {
    /// The new files, to be thrown away when there is no commit.
    pub(crate) fn paths(&self) -> impl Iterator<Item = String> {
        self.added.iter().chain(&self.changes).map(|file| file.path.clone()).collect::<Vec<_>>().into_iter()
    }
}

/// What writing needs to know.
#[derive(Clone, Copy)]
pub(crate) struct Setting<'a> {
    pub(crate) store: &'a TableStore,
    pub(crate) shape: &'a Shape,
    pub(crate) target: u64,
    pub(crate) names: &'a FileNames,
}

/// Rows of a file that go, by position, with the row that takes the place.
pub(crate) type Hits = BTreeMap<u64, Option<RowAt>>;

/// What becomes of rows that go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Going {
    /// They are forgotten.
    Dropped,
    /// They are answered.
    Taken,
}

/// What a file that is written anew leaves to the caller.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// Rows that would have to go into another partition.
    pub(crate) moved: Vec<RowAt>,
    /// By files, the rows that went, in the order of their positions.
    pub(crate) taken: BTreeMap<String, Vec<RecordBatch>>,
}

/// Writes the files that take a table from before a range to its end.
pub(crate) async fn rewrite(
    setting: Setting<'_>,
    files: &BTreeMap<String, DataFile>,
    net: &Net,
    header: &EpochHeader,
) -> Result<Rewrite, DeltaSinkError> {
    let hits = find(setting, files, net, header).await?;
    let mut rewrite = Rewrite::default();
    let written = write(setting, files, net, hits, &mut rewrite).await;
    if written.is_err() {
        setting.store.discard(rewrite.paths()).await;
    }
    written.map(|()| rewrite)
}

async fn write(
    setting: Setting<'_>,
    files: &BTreeMap<String, DataFile>,
    net: &Net,
    hits: BTreeMap<String, Hits>,
    rewrite: &mut Rewrite,
) -> Result<(), DeltaSinkError> {
    let shape = setting.shape;
    let left = replace_all(setting, files, &net.batches, hits, Going::Dropped, rewrite).await?;
    let mut places: Vec<RowAt> = left.moved;
    for insert in &net.inserts {
        places.extend(std::iter::repeat_n(insert.row, insert.copies as usize));
    }
    sort(shape, &net.batches, &mut places)?;
    rewrite.added.extend(write_rows(setting, Kind::Data, &net.batches, &places, None).await?);
    // A commit without removals needs no change data: readers take its new files for insertions.
    if !rewrite.removed.is_empty() {
        let (mut places, mut labels) = (Vec::new(), Vec::new());
        for change in &net.changes {
            let copies = change.copies as usize;
            places.extend(std::iter::repeat_n(change.row, copies));
            labels.extend(std::iter::repeat_n(change.change.as_str(), copies));
        }
        let mut order: Vec<usize> = (0..places.len()).collect();
        if !shape.partitions.is_empty() {
            let partition = |at: &usize| partition_values(shape, &net.batches[places[*at].batch], places[*at].row);
            let keys = order.iter().map(partition).collect::<Result<Vec<_>, _>>()?;
            order.sort_by(|a, b| keys[*a].cmp(&keys[*b]));
        }
        let places: Vec<_> = order.iter().map(|at| places[*at]).collect();
        let labels: Vec<_> = order.iter().map(|at| labels[*at]).collect();
        rewrite.changes = write_rows(setting, Kind::Changes, &net.batches, &places, Some(&labels)).await?;
    }
    Ok(())
}

/// Writes files anew without the rows that go. `batches` has the rows that take a place. What was written is in
/// `rewrite` even if this fails.
pub(crate) async fn replace_all(
    setting: Setting<'_>,
    files: &BTreeMap<String, DataFile>,
    batches: &[RecordBatch],
    hits: BTreeMap<String, Hits>,
    going: Going,
    rewrite: &mut Rewrite,
) -> Result<Left, DeltaSinkError> {
    let failed = AtomicBool::new(false);
    let replace_one = |(path, hits): (String, Hits)| {
        let (file, failed) = (&files[&path], &failed);
        let replaced = async move {
            if failed.load(Ordering::Relaxed) {
                return None;
            }
            let replaced = replace(setting, &path, file, hits, batches, going).await;
            failed.fetch_or(replaced.is_err(), Ordering::Relaxed);
            Some(replaced.map(|replaced| (path, replaced)))
        };
        replaced.boxed()
    };
    // Each of them is heard of, so that the files of all are known if one fails.
    let replaced: Vec<_> = hits.into_iter().map(replace_one).collect();
    let replaced: Vec<_> = stream::iter(replaced).buffered(REWRITES).collect().await;
    let (mut left, mut ended) = (Left::default(), Ok(()));
    for replaced in replaced.into_iter().flatten() {
        match replaced {
            Ok((path, Replaced { files, moved, taken })) => {
                rewrite.removed.push(path.clone());
                rewrite.added.extend(files);
                left.moved.extend(moved);
                left.taken.insert(path, taken);
            }
            Err(error) => ended = Err(error),
        }
    }
    ended.map(|()| left)
}

/// Writes some rows of some batches.
pub(crate) async fn write_rows(
    setting: Setting<'_>,
    kind: Kind,
    batches: &[RecordBatch],
    places: &[RowAt],
    labels: Option<&[&str]>,
) -> Result<Vec<NewFile>, DeltaSinkError> {
    let mut writer = FileWriter::new(setting, kind);
    let batches: Vec<&RecordBatch> = batches.iter().collect();
    let mut written = Ok(());
    for (number, chunk) in places.chunks(CHUNK_ROWS).enumerate() {
        let indices: Vec<_> = chunk.iter().map(|at| (at.batch, at.row)).collect();
        let rows = interleave_record_batch(&batches, &indices)
            .map_err(|error| DeltaSinkError::contract(&setting.shape.view.name, error));
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) => return writer.finish(Err(error)).await,
        };
        let labels = labels.map(|labels| {
            let from = number * CHUNK_ROWS;
            StringArray::from(labels[from..from + chunk.len()].to_vec())
        });
        written = writer.write(&rows, labels.as_ref()).await;
        if written.is_err() {
            break;
        }
    }
    writer.finish(written).await
}

/// Puts rows into the order of files.
pub(crate) fn sort(shape: &Shape, batches: &[RecordBatch], places: &mut [RowAt]) -> Result<(), DeltaSinkError> {
    let sorter = shape.sorter()?;
    let contract = |fact: String| DeltaSinkError::contract(&shape.view.name, fact);
    let bytes = batches.iter().map(|batch| sorter.of_rows(batch)).collect::<Result<Vec<_>, _>>().map_err(contract)?;
    places.sort_by(|a, b| bytes[a.batch].get(a.row).cmp(bytes[b.batch].get(b.row)));
    Ok(())
}

/// What became of a file.
struct Replaced {
    files: Vec<NewFile>,
    moved: Vec<RowAt>,
    taken: Vec<RecordBatch>,
}

/// Writes a file anew without the rows that go, and with those that take a place. Rows that would have to go
/// into another partition are answered, for the caller to write.
async fn replace(
    setting: Setting<'_>,
    path: &str,
    file: &DataFile,
    hits: Hits,
    batches: &[RecordBatch],
    going: Going,
) -> Result<Replaced, DeltaSinkError> {
    let shape = setting.shape;
    let (mut staying, mut moved) = (BTreeMap::new(), Vec::new());
    for (position, after) in hits {
        let after = match after {
            Some(row) if partition_values(shape, &batches[row.batch], row.row)? != file.partition => {
                moved.push(row);
                None
            }
            after => after,
        };
        staying.insert(position, after);
    }
    let is_emptied = file.rows == Some(staying.len() as u64) && staying.values().all(Option::is_none);
    if is_emptied && going == Going::Dropped {
        return Ok(Replaced { files: Vec::new(), moved, taken: Vec::new() });
    }
    // A file that grows a little stays one.
    let target = if file.size / 3 <= setting.target / 2 { setting.target * 2 } else { setting.target };
    let writer = FileWriter::new(Setting { target, ..setting }, Kind::Data);
    let mut writer = writer.expecting(file.size, file.rows, file.partition.clone());
    let mut taken = Vec::new();
    let keep = (going == Going::Taken).then_some(&mut taken);
    let written = write_staying(setting, path, file, &staying, batches, &mut writer, keep).await;
    Ok(Replaced { files: writer.finish(written).await?, moved, taken })
}

/// Copies the rows of a file, but for those that go or change.
async fn write_staying(
    setting: Setting<'_>,
    path: &str,
    file: &DataFile,
    staying: &Hits,
    batches: &[RecordBatch],
    writer: &mut FileWriter<'_>,
    mut taken: Option<&mut Vec<RecordBatch>>,
) -> Result<(), DeltaSinkError> {
    let Setting { store, shape, .. } = setting;
    let columns: Vec<_> = (0..shape.stored.fields().len()).collect();
    let mut rows = scan(store, shape, path, file, &columns).await?;
    let mut from = 0;
    while let Some(batch) = rows.try_next().await? {
        let rows = stays(shape, &batch, from, staying, batches)?;
        if let Some(taken) = &mut taken {
            let hits = staying.range(from..from + batch.num_rows() as u64);
            let hits: UInt32Array = hits.map(|(position, _)| (position - from) as u32).collect();
            let fault = |error| DeltaSinkError::damaged(&store.shown(path), error);
            taken.push(take_record_batch(&batch, &hits).map_err(fault)?);
        }
        from += batch.num_rows() as u64;
        writer.write(&rows, None).await?;
    }
    Ok(())
}

/// The rows of a batch at a position of a file, but for those that go, with those that take a place.
fn stays(
    shape: &Shape,
    batch: &RecordBatch,
    from: u64,
    staying: &Hits,
    replacing: &[RecordBatch],
) -> Result<RecordBatch, DeltaSinkError> {
    let mut hits = staying.range(from..from + batch.num_rows() as u64).peekable();
    if hits.peek().is_none() {
        return Ok(batch.clone());
    }
    let mut batches = vec![batch];
    let mut places: HashMap<usize, usize> = HashMap::new();
    let mut indices = Vec::with_capacity(batch.num_rows());
    let mut next = 0;
    for (position, after) in hits {
        let row = (position - from) as usize;
        indices.extend((next..row).map(|row| (0, row)));
        next = row + 1;
        if let Some(after) = after {
            let place = *places.entry(after.batch).or_insert_with(|| {
                batches.push(&replacing[after.batch]);
                batches.len() - 1
            });
            indices.push((place, after.row));
        }
    }
    indices.extend((next..batch.num_rows()).map(|row| (0, row)));
    interleaved(&shape.stored, &batches, &indices).map_err(|fact| DeltaSinkError::contract(&shape.view.name, fact))
}

fn interleaved(
    schema: &SchemaRef,
    batches: &[&RecordBatch],
    indices: &[(usize, usize)],
) -> Result<RecordBatch, String> {
    if indices.is_empty() {
        return Ok(RecordBatch::new_empty(schema.clone()));
    }
    interleave_record_batch(batches, indices).map_err(|error| error.to_string())
}

/// A row of a file under an address that loses rows.
struct Found {
    path: String,
    position: u64,
    /// Its own bytes, where equal rows need not be the same.
    bytes: Box<[u8]>,
}

/// Finds the rows that go, each at the position in its file.
async fn find(
    setting: Setting<'_>,
    files: &BTreeMap<String, DataFile>,
    net: &Net,
    header: &EpochHeader,
) -> Result<BTreeMap<String, Hits>, DeltaSinkError> {
    let Setting { store, shape, .. } = setting;
    if net.removals.is_empty() {
        return Ok(BTreeMap::new());
    }
    let addresser = shape.addresser(Equality::Grouped)?;
    let same = if shape.has_equal_rows() { Some(shape.addresser(Equality::Same)?) } else { None };
    let mut looks = Vec::new();
    for (path, file) in Lookup::new(shape, net).candidates(files) {
        looks.push(look_into(store, shape, path, file, net, &addresser, same.as_ref()).boxed());
    }
    let mut found: HashMap<&[u8], Vec<Found>> = HashMap::new();
    let mut looks = stream::iter(looks).buffered(LOOKUPS);
    while let Some(file) = looks.try_next().await? {
        for (address, row) in file {
            found.entry(address).or_default().push(row);
        }
    }
    let mut hits: BTreeMap<String, Hits> = BTreeMap::new();
    let (mut expected, mut present) = (0, 0);
    for (address, removal) in &net.removals {
        expected += removal.copies;
        let rows = found.remove(&**address).unwrap_or_default();
        if shape.is_keyed() && rows.len() > 1 {
            return Err(altered(store, format!("a key is there {} times", rows.len())));
        }
        for row in chosen(removal, rows) {
            present += 1;
            hits.entry(row.path).or_default().insert(row.position, removal.after);
        }
    }
    if present < expected {
        let epoch = header.epoch;
        let difference = format!("{present} of {expected} rows that epoch {epoch} removes are there");
        return Err(altered(store, difference));
    }
    Ok(hits)
}

fn altered(store: &TableStore, difference: String) -> DeltaSinkError {
    DeltaSinkError::Altered { table: store.shown(""), difference }
}

/// Of equal rows those that are the same as the removed ones go first.
fn chosen(removal: &Removal, mut rows: Vec<Found>) -> Vec<Found> {
    let mut wanted = removal.wanted.clone();
    let mut rank = |row: &Found| match wanted.get_mut(&row.bytes) {
        Some(copies) if *copies > 0 => {
            *copies -= 1;
            false
        }
        _ => true,
    };
    rows.sort_by_cached_key(&mut rank);
    rows.truncate(usize::try_from(removal.copies).unwrap_or(usize::MAX));
    rows
}

/// The rows of a file whose addresses lose rows.
async fn look_into<'a>(
    store: &TableStore,
    shape: &Shape,
    path: &str,
    file: &DataFile,
    net: &'a Net,
    addresser: &Addresser,
    same: Option<&Addresser>,
) -> Result<Vec<(&'a [u8], Found)>, DeltaSinkError> {
    let damaged = |fact: String| DeltaSinkError::damaged(&store.shown(path), fact);
    let mut rows = scan(store, shape, path, file, addresser.columns()).await?;
    let mut found = Vec::new();
    let mut from = 0u64;
    while let Some(batch) = rows.try_next().await? {
        let addresses = addresser.of_columns(batch.columns(), batch.num_rows()).map_err(damaged)?;
        let hits: Vec<(usize, &'a [u8])> = (0..addresses.len())
            .filter_map(|row| net.removals.get_key_value(addresses.get(row)).map(|(address, _)| (row, &**address)))
            .collect();
        let bytes = match same {
            Some(same) if !hits.is_empty() => {
                let indices: UInt32Array = hits.iter().map(|(row, _)| *row as u32).collect();
                let hit = take_record_batch(&batch, &indices).map_err(|error| damaged(error.to_string()))?;
                Some(same.of_columns(hit.columns(), hit.num_rows()).map_err(damaged)?)
            }
            _ => None,
        };
        for (number, (row, address)) in hits.into_iter().enumerate() {
            let bytes = bytes.as_ref().map_or(Box::from([]), |bytes| bytes.get(number).into());
            found.push((address, Found { path: path.to_owned(), position: from + row as u64, bytes }));
        }
        from += batch.num_rows() as u64;
    }
    Ok(found)
}
