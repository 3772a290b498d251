//! A history that ran ahead of its view is taken back: the sink stopped between the two commits, and what comes next is
//! not what came then. And versions that ended long ago go.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use futures::TryStreamExt;
use tidegate_core::{Epoch, Micros};

use super::events::Moment;
use super::follow::Written;
use super::versions::{Held, Places, Spans, held, with_ends};
use crate::bounds::{Bounds, Scalar};
use crate::error::DeltaSinkError;
use crate::net::RowAt;
use crate::rewrite::{Going, Hits, Setting, replace_all, sort, write_rows};
use crate::scan::scan;
use crate::table::DataFile;
use crate::write::Kind;

/// How much longer than it must a version is kept at most, as a part of the retention: so often a file is written
/// anew at most while its versions grow old.
const SLACK: u32 = 8;

/// Takes the versions back to an epoch: those that began later go, those that ended later are open again.
pub(crate) async fn cut(
    setting: Setting<'_>,
    files: &BTreeMap<String, DataFile>,
    until: Epoch,
) -> Result<Written, DeltaSinkError> {
    let mut written = Written::default();
    let done = cut_into(setting, files, until, &mut written).await;
    if done.is_err() {
        setting.store.discard(written.files.paths()).await;
    }
    done.map(|()| written)
}

async fn cut_into(
    setting: Setting<'_>,
    files: &BTreeMap<String, DataFile>,
    until: Epoch,
    written: &mut Written,
) -> Result<(), DeltaSinkError> {
    let shape = setting.shape;
    let limit = Scalar::Integer(i128::from(until.0) + 1);
    let reaches = |bounds: &Bounds| bounds.max().is_none_or(|max| !max.order(&limit).is_lt());
    let may = |file: &DataFile| {
        Spans::of(file)
            .is_none_or(|spans| reaches(spans.from_epoch) || (held(file) != Held::Open && reaches(spans.to_epoch)))
    };
    let at = Places::of(shape);
    let (mut hits, mut reopened) = (BTreeMap::<String, Hits>::new(), BTreeMap::new());
    for (path, file) in files.iter().filter(|(_, file)| may(file)) {
        let mut rows = scan(setting.store, shape, path, file, &[at.since_epoch(), at.until_epoch()]).await?;
        let mut position = 0;
        while let Some(batch) = rows.try_next().await? {
            let [from, to] = [0, 1].map(|column| batch.column(column).as_primitive::<Int64Type>());
            let is_beyond = |epoch: i64| epoch > until.0 as i64;
            for row in 0..batch.num_rows() {
                let began_later = is_beyond(from.value(row));
                if began_later || (to.is_valid(row) && is_beyond(to.value(row))) {
                    hits.entry(path.clone()).or_default().insert(position + row as u64, None);
                    reopened.entry(path.clone()).or_insert_with(Vec::new).push(!began_later);
                    written.growth -= i64::from(began_later);
                }
            }
            position += batch.num_rows() as u64;
        }
    }
    let left = replace_all(setting, files, &[], hits, Going::Taken, &mut written.files).await?;
    let mut open: Vec<RecordBatch> = Vec::new();
    for (path, taken) in left.taken {
        let contract = |error: arrow::error::ArrowError| DeltaSinkError::contract(&shape.view.name, error);
        let taken = concat_batches(&shape.stored, &taken).map_err(contract)?;
        let which = reopened.remove(&path).unwrap_or_default().into();
        let rows = arrow::compute::filter_record_batch(&taken, &which).map_err(contract)?;
        open.push(with_ends(shape, &rows, std::iter::repeat_n(None, rows.num_rows()))?);
    }
    let all = |(batch, rows): (usize, &RecordBatch)| (0..rows.num_rows()).map(move |row| RowAt { batch, row });
    let mut places: Vec<RowAt> = open.iter().enumerate().flat_map(all).collect();
    sort(shape, &open, &mut places)?;
    written.files.added.extend(write_rows(setting, Kind::Data, &open, &places, None).await?);
    Ok(())
}

/// Removes versions that ended before a horizon, where enough of them lie in a file. Answers the last of their ends: what
/// was there then, and later, is all still there.
pub(crate) async fn trim(
    setting: Setting<'_>,
    files: &BTreeMap<String, DataFile>,
    horizon: Micros,
    retention: std::time::Duration,
) -> Result<(Written, Option<Moment>), DeltaSinkError> {
    let shape = setting.shape;
    let eager = horizon.before(retention / SLACK);
    let at_most = |bound: Option<&Scalar>, time: Micros| {
        bound.is_some_and(|bound| !bound.order(&Scalar::Integer(time.0.into())).is_gt())
    };
    let is_due = |file: &DataFile| {
        let due = |spans: Spans<'_>| at_most(spans.to.min(), eager) || at_most(spans.to.max(), horizon);
        held(file) != Held::Open && Spans::of(file).is_some_and(due)
    };
    let at = Places::of(shape);
    let (mut hits, mut last) = (BTreeMap::<String, Hits>::new(), None);
    let mut written = Written::default();
    for (path, file) in files.iter().filter(|(_, file)| is_due(file)) {
        let mut rows = scan(setting.store, shape, path, file, &[at.to(), at.until_epoch()]).await?;
        let mut position = 0;
        while let Some(batch) = rows.try_next().await? {
            let times = batch.column(0).as_primitive::<TimestampMicrosecondType>();
            let epochs = batch.column(1).as_primitive::<Int64Type>();
            for row in (0..batch.num_rows()).filter(|row| epochs.is_valid(*row) && times.value(*row) <= horizon.0) {
                hits.entry(path.clone()).or_default().insert(position + row as u64, None);
                last = last.max(Some((Epoch(epochs.value(row) as u64), Micros(times.value(row)))));
                written.growth -= 1;
            }
            position += batch.num_rows() as u64;
        }
    }
    let done = replace_all(setting, files, &[], hits, Going::Dropped, &mut written.files).await;
    if done.is_err() {
        setting.store.discard(written.files.paths()).await;
    }
    done.map(|_| (written, last))
}
