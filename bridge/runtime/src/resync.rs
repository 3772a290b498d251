//! `resync`: compares what a sink holds with the views and commits the difference as an epoch of
//! its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Int64Array, RecordBatch, UInt64Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use futures::{StreamExt, stream};
use tidegate_core::{
    ChangeType, Commit, DeltaBatch, EpochBatch, EpochHeader, RowIdentity, ViewCommit, ViewContent, ViewInfo, ViewName,
};

use crate::delivery::{Driver, rows_stream};
use crate::log::hash::{ContentHash, each_row};
use crate::log::header::{Origin, RecordKind};
use crate::observer::Observer;
use crate::pipeline::Pipeline;
use crate::summary::ResyncSummary;
use crate::{Connectors, PipelineConfig, RuntimeError, StopSignal, recovery};

/// Brings one sink in line with the views, whatever it holds. Other sinks that do not fit our
/// history are left alone. A new state folder loads the views first.
pub async fn resync(
    config: PipelineConfig,
    connectors: Connectors,
    sink: &str,
    observer: Arc<dyn Observer>,
) -> Result<ResyncSummary, RuntimeError> {
    let started = Instant::now();
    let mut pipeline = recovery::open(config, connectors, observer, Some(sink), None).await?;
    pipeline.apply_change(&StopSignal::new()).await?;
    let index = pipeline.drivers.iter().position(|driver| driver.name == sink);
    let index = index.ok_or_else(|| RuntimeError::Bug(format!("sink {sink} vanished")))?;
    let mut driver = pipeline.drivers.remove(index);
    let done = pipeline.resync_driver(&mut driver).await;
    if done.is_ok() {
        driver.aside = None;
    }
    pipeline.drivers.insert(index, driver);
    let view_rows = done?;
    pipeline.note_in_line()?;
    let last = pipeline.epoch();
    pipeline.deliver(|driver| !driver.is_current(last)).await?;
    pipeline.save_checkpoint().await?;
    pipeline.save_progress().await?;
    pipeline.write_status().await?;
    Ok(ResyncSummary { sink: sink.to_owned(), epoch: last, view_rows, elapsed_ms: started.elapsed() })
}

/// What a sink gets of a view.
enum Correction {
    Changes(Box<DeltaBatch>),
    Replace,
}

impl Pipeline {
    pub(crate) async fn resync_driver(&mut self, driver: &mut Driver) -> Result<BTreeMap<ViewName, u64>, RuntimeError> {
        if let Some(program) = self.engine.program() {
            driver.set_program(program);
        }
        let failed = |sink: &str| {
            let sink = sink.to_owned();
            move |error| RuntimeError::Sink { sink, error }
        };
        driver.open().await.map_err(failed(&driver.name))?;
        let views = driver.views.clone();
        let mut corrections = Vec::new();
        let mut view_rows = BTreeMap::new();
        for info in &views {
            let correction = self.compare(driver, info).await?;
            let rows = match &correction {
                Correction::Changes(batch) => batch.changed_rows(),
                Correction::Replace => {
                    let stats = self.engine.stats().into_iter().find(|stats| stats.view == info.name);
                    stats.map_or(0, |stats| stats.rows)
                }
            };
            tracing::info!(name: "sink_compared", sink = %driver.name, view = %info.name, rows, "compared");
            view_rows.insert(info.name.clone(), rows);
            corrections.push((info.clone(), correction));
        }
        let ahead = views.iter().filter_map(|info| driver.held(&info.name)).map(|committed| committed.epoch).max();
        let epoch = self.epoch().max(ahead.unwrap_or_default()).next();
        let replay = self.replay_under_way();
        let origin = Origin { replay, ..Origin::plain(RecordKind::Resync, BTreeMap::new()) };
        // The views stay as they are, so that no clock counts.
        let time = self.coming_time(&origin.commit_times, None);
        let last = self.epoch_numbered(epoch, origin, self.frontier(), &ContentHash::empty(), time);
        let record = self.record(&last, Vec::new());
        self.log.append(&record, None).await?;
        self.time_map.append(&record)?;
        self.history.insert(last.link());
        self.pending.push(last.header.clone(), last.previous, Vec::new());
        self.last = Some(last.clone());
        let commits = self.corrections(driver, corrections, &last.header)?;
        match driver.commit(commits).await.map_err(failed(&driver.name))? {
            Ok(()) => Ok(view_rows),
            Err(view) => Err(RuntimeError::SinkContended { sink: driver.name.clone(), view }),
        }
    }

    /// One commit for each epoch that some of the sink's views stand at.
    fn corrections(
        &self,
        driver: &Driver,
        corrections: Vec<(ViewInfo, Correction)>,
        header: &EpochHeader,
    ) -> Result<Vec<Commit>, RuntimeError> {
        let mut commits = BTreeMap::new();
        for (view, correction) in corrections {
            let after = driver.held(&view.name).map(|committed| committed.epoch).unwrap_or_default();
            let content = match correction {
                Correction::Changes(batch) if batch.is_empty() => ViewContent::Changes(stream::empty().boxed()),
                Correction::Changes(batch) if view.history.is_none() => {
                    let batch = EpochBatch { header: header.clone(), batch: *batch };
                    ViewContent::Changes(stream::iter([Ok(batch)]).boxed())
                }
                // A history has to be compared as well: what somebody else did to the table is not in it.
                Correction::Changes(_) | Correction::Replace => {
                    let rows = self.engine.rows(&view.name);
                    let rows = rows.map_err(RuntimeError::engine(format!("reading view {}", view.name)))?;
                    ViewContent::Replace(rows_stream(rows, header.clone()))
                }
            };
            let commit =
                commits.entry(after).or_insert_with(|| Commit { after, header: header.clone(), views: Vec::new() });
            commit.views.push(ViewCommit { view, content });
        }
        Ok(commits.into_values().collect())
    }

    /// The difference between the view and what the sink holds of it. Rows are compared by a
    /// 128-bit hash first, so that memory follows the number of rows, not their size, and only rows
    /// that differ are kept.
    async fn compare(&mut self, driver: &mut Driver, info: &ViewInfo) -> Result<Correction, RuntimeError> {
        if driver.held(&info.name).is_none() {
            return Ok(Correction::Replace);
        }
        let mut copies: HashMap<Digest, Copies> = HashMap::new();
        for chunk in self.rows(&info.name)? {
            let chunk = chunk?;
            tally(chunk.rows(), chunk.weights(), &mut copies, |copies, weight| copies.ours += weight)?;
        }
        let mut theirs = read(driver, info).await?;
        while let Some(chunk) = theirs.next().await {
            let chunk = chunk.map_err(|error| RuntimeError::Sink { sink: driver.name.clone(), error })?;
            if !same_columns(&chunk.schema(), &info.schema) {
                return Ok(Correction::Replace);
            }
            tally(chunk.rows(), chunk.weights(), &mut copies, |copies, weight| copies.theirs += weight)?;
        }
        drop(theirs);
        copies.retain(|_, copies| copies.ours != copies.theirs);
        let mut difference = Difference { schema: info.schema.clone(), copies, rows: Vec::new(), entries: Vec::new() };
        let mut theirs = read(driver, info).await?;
        while let Some(chunk) = theirs.next().await {
            let chunk = chunk.map_err(|error| RuntimeError::Sink { sink: driver.name.clone(), error })?;
            difference.collect(chunk.rows())?;
        }
        for chunk in self.rows(&info.name)? {
            difference.collect(chunk?.rows())?;
        }
        Ok(Correction::Changes(Box::new(difference.finish(info)?)))
    }
}

type Digest = [u8; 16];

#[derive(Default)]
struct Copies {
    ours: i64,
    theirs: i64,
    collected: bool,
}

async fn read(
    driver: &mut Driver,
    info: &ViewInfo,
) -> Result<stream::BoxStream<'static, Result<tidegate_core::ZSet, tidegate_core::ConnectorError>>, RuntimeError> {
    let Some(sink) = driver.sink() else {
        return Err(RuntimeError::Bug(format!("sink {} is at work while it is resynced", driver.name)));
    };
    let read = sink.read(info).await;
    read.map_err(|error| RuntimeError::Sink { sink: driver.name.clone(), error })
}

fn digest(bytes: &[u8]) -> Digest {
    let mut digest = [0; 16];
    digest.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    digest
}

fn tally(
    rows: &RecordBatch,
    weights: &Int64Array,
    copies: &mut HashMap<Digest, Copies>,
    add: impl Fn(&mut Copies, i64),
) -> Result<(), RuntimeError> {
    each_row(rows, |row, bytes| add(copies.entry(digest(bytes)).or_default(), weights.value(row)))
        .map_err(not_comparable)
}

fn not_comparable(error: arrow::error::ArrowError) -> RuntimeError {
    RuntimeError::Bug(format!("rows cannot be compared: {error}"))
}

/// Names and types; nullability is not the target's to say.
fn same_columns(theirs: &SchemaRef, ours: &SchemaRef) -> bool {
    let columns = |schema: &SchemaRef| {
        schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect::<Vec<_>>()
    };
    columns(theirs) == columns(ours)
}

/// The rows whose numbers of copies differ.
struct Difference {
    schema: SchemaRef,
    copies: HashMap<Digest, Copies>,
    rows: Vec<RecordBatch>,
    /// Our copies and theirs, one entry a collected row.
    entries: Vec<(i64, i64)>,
}

impl Difference {
    /// Takes the rows of a chunk that differ and were not taken before.
    fn collect(&mut self, chunk: &RecordBatch) -> Result<(), RuntimeError> {
        let mut wanted = Vec::new();
        let (copies, entries) = (&mut self.copies, &mut self.entries);
        each_row(chunk, |row, bytes| {
            if let Some(found) = copies.get_mut(&digest(bytes)).filter(|copies| !copies.collected) {
                found.collected = true;
                entries.push((found.ours, found.theirs));
                wanted.push(row as u64);
            }
        })
        .map_err(not_comparable)?;
        if !wanted.is_empty() {
            let chunk = RecordBatch::try_new(self.schema.clone(), chunk.columns().to_vec()).map_err(not_comparable)?;
            self.rows.push(take_record_batch(&chunk, &UInt64Array::from(wanted)).map_err(not_comparable)?);
        }
        Ok(())
    }

    /// One delta; under a key the two states of a row stand beside each other.
    fn finish(self, info: &ViewInfo) -> Result<DeltaBatch, RuntimeError> {
        let rows = concat_batches(&self.schema, &self.rows).map_err(not_comparable)?;
        let keys = keys(&rows, &info.identity)?;
        let weight = |row: usize| self.entries[row].0 - self.entries[row].1;
        let mut order: Vec<usize> = (0..rows.num_rows()).collect();
        order.sort_by(|a, b| keys[*a].cmp(&keys[*b]).then(weight(*a).cmp(&weight(*b))));
        let is_keyed = matches!(info.identity, RowIdentity::Key(_));
        let partner = |at: usize, other: Option<usize>| {
            is_keyed && other.is_some_and(|other| other < order.len() && keys[order[other]] == keys[order[at]])
        };
        let change = (0..order.len()).map(|at| {
            let paired = partner(at, at.checked_sub(1)) || partner(at, Some(at + 1));
            match (weight(order[at]) > 0, paired) {
                (true, true) => ChangeType::UpdatePostimage,
                (true, false) => ChangeType::Insert,
                (false, true) => ChangeType::UpdatePreimage,
                (false, false) => ChangeType::Delete,
            }
        });
        let change = change.collect();
        let indices: UInt64Array = order.iter().map(|row| *row as u64).collect();
        Ok(DeltaBatch {
            rows: take_record_batch(&rows, &indices).map_err(not_comparable)?,
            weights: order.iter().map(|row| weight(*row)).collect::<Vec<_>>().into(),
            change,
            copies_before: order.iter().map(|row| self.entries[*row].1).collect::<Vec<_>>().into(),
        })
    }
}

/// The key of each row; for views without one, nothing.
fn keys(rows: &RecordBatch, identity: &RowIdentity) -> Result<Vec<Vec<u8>>, RuntimeError> {
    let mut keys = vec![Vec::new(); rows.num_rows()];
    let RowIdentity::Key(columns) = identity else { return Ok(keys) };
    if !columns.is_empty() {
        let columns: RecordBatch = rows.project(columns).map_err(not_comparable)?;
        each_row(&columns, |row, bytes| keys[row] = bytes.to_vec()).map_err(not_comparable)?;
    }
    Ok(keys)
}
