//! The changes of a range, as changes to the versions: what goes ends, what comes begins.
//!
//! Open versions lie in files of their own, sorted as the view's table is. A removed row is looked for in those files
//! whose bounds admit it. Under a key the version that takes its place lies where it lay; the ended one goes, with all
//! others that the range ends, into a file of ended versions, which is not touched again but by maintenance.

use std::collections::{BTreeMap, HashMap};

use arrow::array::RecordBatch;
use arrow::compute::{concat_batches, filter_record_batch, interleave_record_batch};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};

use super::events::{Events, Life, Moment, Origin, lives, looks_back};
use super::versions::{Held, Places, address_of, held, moments, versions, with_ends};
use crate::bounds::{Probe, probe};
use crate::columns::Equality;
use crate::error::DeltaSinkError;
use crate::lookup::Lookup;
use crate::net::RowAt;
use crate::rewrite::{Going, Hits, Rewrite, Setting, replace_all, sort, write_rows};
use crate::scan::scan;
use crate::shape::{Addresser, Shape};
use crate::table::DataFile;
use crate::write::Kind;

/// Files that are looked into at the same time.
const LOOKUPS: usize = 4;
/// Versions put together at a time.
const CHUNK_ROWS: usize = 16_384;

/// What a commit does to the versions.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) files: Rewrite,
    /// How many versions there are more afterwards.
    pub(crate) growth: i64,
    /// How many began, and how many ended.
    pub(crate) counts: [u64; 2],
}

/// The changes of a range.
pub(crate) struct Changes {
    /// The shape of the view's table.
    pub(crate) present: Shape,
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) events: Events,
}

/// An open version in a file.
struct Found {
    path: String,
    position: u64,
    from: Option<Moment>,
    bytes: Box<[u8]>,
}

/// A version that comes: a row of the range, with its bounds.
struct Coming {
    row: RowAt,
    from: Moment,
    end: Option<Moment>,
}

/// Versions that end in a file, by their positions.
type Endings = BTreeMap<String, BTreeMap<u64, Moment>>;

/// Writes the files that take the versions to the end of a range.
pub(crate) async fn follow(
    setting: Setting<'_>,
    files: &BTreeMap<String, DataFile>,
    changes: &Changes,
) -> Result<Written, DeltaSinkError> {
    let found = find(setting, files, changes).await?;
    let mut written = Written::default();
    let done = write(setting, files, changes, found, &mut written).await;
    if done.is_err() {
        setting.store.discard(written.files.paths()).await;
    }
    done.map(|()| written)
}

async fn write(
    setting: Setting<'_>,
    files: &BTreeMap<String, DataFile>,
    changes: &Changes,
    mut found: HashMap<&[u8], Vec<Found>>,
    written: &mut Written,
) -> Result<(), DeltaSinkError> {
    let shape = setting.shape;
    let is_keyed = changes.present.is_keyed();
    let altered =
        |difference: String| DeltaSinkError::HistoryAltered { table: setting.store.shown(""), fact: difference };
    let (mut endings, mut hits) = (Endings::new(), BTreeMap::<String, Hits>::new());
    let (mut open, mut passed) = (Vec::new(), Vec::new());
    let mut beginning = Vec::new();
    for (address, events) in &changes.events.of {
        let held = found.remove(&**address).unwrap_or_default();
        if is_keyed && held.len() > 1 {
            return Err(altered(format!("{} versions of a key are open", held.len())));
        }
        let lives = lives(events, held.iter().map(|found| &*found.bytes)).map_err(|(epoch, ending, open)| {
            altered(format!("{open} of {ending} versions that epoch {epoch} ends are open"))
        })?;
        let mut place = None;
        for Life { origin, end, .. } in lives {
            match (origin, end) {
                (Origin::Held(at), Some(end)) => {
                    let Found { path, position, .. } = &held[at];
                    endings.entry(path.clone()).or_default().insert(*position, end);
                    hits.entry(path.clone()).or_default().insert(*position, None);
                    written.counts[1] += 1;
                    place = Some((path, *position));
                }
                (Origin::Held(_), None) => {}
                (Origin::Came(row, from), Some(_)) => passed.push(Coming { row, from, end }),
                (Origin::Came(row, from), None) => {
                    let number = beginning.len();
                    beginning.push(Coming { row, from, end });
                    match place.take().filter(|_| is_keyed) {
                        Some((path, position)) => {
                            let hit = hits.get_mut(path).and_then(|hits| hits.get_mut(&position));
                            *hit.expect("the version that ends was put there above") = Some(chunked(number));
                        }
                        None => open.push(chunked(number)),
                    }
                }
            }
        }
    }
    written.counts[0] = (beginning.len() + passed.len()) as u64;
    written.counts[1] += passed.len() as u64;
    written.growth = written.counts[0] as i64;
    let begun = built(shape, changes, &beginning)?;
    let left = replace_all(setting, files, &begun, hits, Going::Taken, &mut written.files).await?;
    open.extend(left.moved);
    sort(shape, &begun, &mut open)?;
    written.files.added.extend(write_rows(setting, Kind::Data, &begun, &open, None).await?);
    let mut ended = built(shape, changes, &passed)?;
    for (path, taken) in left.taken {
        let ends: Vec<_> = endings.remove(&path).unwrap_or_default().into_values().map(Some).collect();
        let taken = concat_batches(&shape.stored, &taken).map_err(|e| DeltaSinkError::contract(&shape.view.name, e))?;
        ended.push(with_ends(shape, &taken, ends.iter().copied())?);
    }
    let all = |(batch, rows): (usize, &RecordBatch)| (0..rows.num_rows()).map(move |row| RowAt { batch, row });
    let mut places: Vec<RowAt> = ended.iter().enumerate().flat_map(all).collect();
    sort(shape, &ended, &mut places)?;
    written.files.added.extend(write_rows(setting, Kind::Data, &ended, &places, None).await?);
    Ok(())
}

/// Where a row is among batches of chunks.
fn chunked(number: usize) -> RowAt {
    RowAt { batch: number / CHUNK_ROWS, row: number % CHUNK_ROWS }
}

/// Versions as they are stored, in chunks.
fn built(shape: &Shape, changes: &Changes, coming: &[Coming]) -> Result<Vec<RecordBatch>, DeltaSinkError> {
    let batches: Vec<&RecordBatch> = changes.batches.iter().collect();
    let chunk = |chunk: &[Coming]| {
        let indices: Vec<_> = chunk.iter().map(|coming| (coming.row.batch, coming.row.row)).collect();
        let rows = interleave_record_batch(&batches, &indices);
        let rows = rows.map_err(|error| DeltaSinkError::contract(&shape.view.name, error))?;
        let (from, to) = (chunk.iter().map(|coming| Some(coming.from)), chunk.iter().map(|coming| coming.end));
        versions(shape, &rows, from, to)
    };
    coming.chunks(CHUNK_ROWS).map(chunk).collect()
}

/// The open versions under the addresses of which some may end, the oldest first.
async fn find<'a>(
    setting: Setting<'_>,
    files: &BTreeMap<String, DataFile>,
    changes: &'a Changes,
) -> Result<HashMap<&'a [u8], Vec<Found>>, DeltaSinkError> {
    let (shape, is_keyed) = (setting.shape, changes.present.is_keyed());
    let wanted: HashMap<&'a [u8], RowAt> = changes
        .events
        .of
        .iter()
        .filter(|(_, events)| looks_back(events, is_keyed))
        .map(|(address, events)| (&**address, events[0].row))
        .collect();
    let mut found: HashMap<&'a [u8], Vec<Found>> = HashMap::new();
    if wanted.is_empty() {
        return Ok(found);
    }
    let at = Places::of(shape);
    let columns = shape.bounded();
    let lookup = Lookup::of(wanted.values().map(|row| {
        let of = |column: &usize| match *column {
            column if column < at.columns => probe(changes.batches[row.batch].column(column), row.row),
            column if column == at.until_epoch() => Probe::Null,
            _ => Probe::Anything,
        };
        columns.iter().map(of).collect()
    }));
    let key = address_of(&changes.present.view);
    let unsupported = |fact: String| DeltaSinkError::unsupported(&shape.view.name, fact);
    let addresser = Addresser::new(shape, key.clone(), Equality::Grouped).map_err(unsupported)?;
    let same = match changes.present.has_equal_rows() {
        true => Some(Addresser::new(shape, key, Equality::Same).map_err(unsupported)?),
        false => None,
    };
    let mut looks = Vec::new();
    for (path, file) in files.iter().filter(|(_, file)| held(file) != Held::Ended && lookup.may_be_in(file)) {
        looks.push(look_into(setting, path, file, &wanted, &addresser, same.as_ref()).boxed());
    }
    let mut looks = stream::iter(looks).buffered(LOOKUPS);
    while let Some(file) = looks.try_next().await? {
        for (address, version) in file {
            found.entry(address).or_default().push(version);
        }
    }
    found.values_mut().for_each(|versions| versions.sort_by_key(|version| version.from));
    Ok(found)
}

/// The open versions of a file whose addresses are wanted.
async fn look_into<'a>(
    setting: Setting<'_>,
    path: &str,
    file: &DataFile,
    wanted: &HashMap<&'a [u8], RowAt>,
    addresser: &Addresser,
    same: Option<&Addresser>,
) -> Result<Vec<(&'a [u8], Found)>, DeltaSinkError> {
    let Setting { store, shape, .. } = setting;
    let damaged = |fact: String| DeltaSinkError::damaged(&store.shown(path), fact);
    let at = Places::of(shape);
    let key = addresser.columns().len();
    let mut columns = addresser.columns().to_vec();
    columns.extend([at.from(), at.since_epoch(), at.until_epoch()]);
    let mut rows = scan(store, shape, path, file, &columns).await?;
    let (mut found, mut from) = (Vec::new(), 0u64);
    while let Some(batch) = rows.try_next().await? {
        let addresses = addresser.of_columns(&batch.columns()[..key], batch.num_rows()).map_err(damaged)?;
        let is_open = |row: &usize| batch.column(key + 2).is_null(*row);
        let hits: Vec<(usize, &'a [u8])> = (0..batch.num_rows())
            .filter(is_open)
            .filter_map(|row| wanted.get_key_value(addresses.get(row)).map(|(address, _)| (row, *address)))
            .collect();
        if !hits.is_empty() {
            let mut is_hit = vec![false; batch.num_rows()];
            hits.iter().for_each(|(row, _)| is_hit[*row] = true);
            let hit = filter_record_batch(&batch, &is_hit.into()).map_err(|error| damaged(error.to_string()))?;
            let bytes = same.map(|same| same.of_columns(&hit.columns()[..key], hit.num_rows()));
            let bytes = bytes.transpose().map_err(damaged)?;
            let begins = moments(&hit, key, key + 1);
            for (number, (row, address)) in hits.into_iter().enumerate() {
                let bytes = bytes.as_ref().map_or(Box::from([]), |bytes| bytes.get(number).into());
                let position = from + row as u64;
                found.push((address, Found { path: path.to_owned(), position, from: begins[number], bytes }));
            }
        }
        from += batch.num_rows() as u64;
    }
    Ok(found)
}
