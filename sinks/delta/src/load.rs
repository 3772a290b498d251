//! The whole content of a view into files: sorted as a whole, so that each file holds a range of its own and a
//! later change finds its file by the bounds. What does not fit into memory is spilled by the sort.

use std::fmt;
use std::sync::{Arc, Mutex};

use arrow::array::{BinaryArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_common::DataFusionError;
use datafusion_execution::memory_pool::GreedyMemoryPool;
use datafusion_execution::runtime_env::RuntimeEnvBuilder;
use datafusion_execution::{SendableRecordBatchStream, TaskContext};
use datafusion_physical_expr::expressions::Column;
use datafusion_physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion_physical_plan::ExecutionPlan;
use datafusion_physical_plan::sorts::sort::SortExec;
use datafusion_physical_plan::stream::RecordBatchStreamAdapter;
use datafusion_physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use tidegate_core::{BatchStream, ChangeType, DeltaBatch, EpochBatch, EpochHeader};

use crate::config::DeltaConfig;
use crate::curve::Curve;
use crate::error::DeltaSinkError;
use crate::rewrite::Setting;
use crate::scan::scan;
use crate::shape::{Addresser, Shape};
use crate::table::DataFile;
use crate::write::{FileWriter, Kind, NewFile};

/// What the sort may keep in memory.
const SORT_BYTES: usize = 256 << 20;
/// Rows handed on at a time.
const CHUNK_ROWS: usize = 8_192;

/// Rows as they are stored.
pub(crate) type Stored = BoxStream<'static, Result<RecordBatch, DeltaSinkError>>;

/// Writes a content; the files lie in the store when this returns, and none of them when it fails.
pub(crate) async fn load(
    setting: Setting<'_>,
    content: BatchStream,
    header: &EpochHeader,
    order: &Order,
) -> Result<Vec<NewFile>, DeltaSinkError> {
    let rows = stored(setting.shape.clone(), content, header.clone());
    let Order::Address = order else { return write(setting, order.sorted(setting.shape, rows)?).await };
    let (begun, rest) = write_ordered(setting, rows).await?;
    let Some(rest) = rest else { return Ok(begun) };
    if begun.is_empty() {
        return write(setting, order.sorted(setting.shape, rest)?).await;
    }
    // What was in order is read again and sorted with what was not.
    let (store, shape) = (setting.store.clone(), setting.shape.clone());
    let begun_paths: Vec<_> = begun.iter().map(|file| file.path.clone()).collect();
    let columns: Vec<usize> = (0..shape.stored.fields().len()).collect();
    let again = stream::iter(begun).then(move |NewFile { path, size, partition, .. }| {
        let (store, shape, columns) = (store.clone(), shape.clone(), columns.clone());
        async move { scan(&store, &shape, &path, &DataFile::new(size, partition, None), &columns).await }
    });
    let sorted = order.sorted(setting.shape, again.try_flatten().chain(rest).boxed());
    let written = match sorted {
        Ok(sorted) => write(setting, sorted).await,
        Err(error) => Err(error),
    };
    setting.store.discard(begun_paths).await;
    written
}

/// Writes rows for as long as they come in the order of files; answers the others, if there are any.
async fn write_ordered(
    setting: Setting<'_>,
    mut rows: Stored,
) -> Result<(Vec<NewFile>, Option<Stored>), DeltaSinkError> {
    let mut writer = FileWriter::new(setting, Kind::Data);
    let mut run = Run { sorter: setting.shape.sorter()?, last: None };
    let mut rest = None;
    let mut written = Ok(());
    while written.is_ok() {
        written = match rows.try_next().await {
            Ok(None) => break,
            Ok(Some(batch)) => match run.goes_on(&batch) {
                Ok(true) => writer.write(&batch, None).await,
                Ok(false) => {
                    rest = Some(stream::iter([Ok(batch)]).chain(rows).boxed());
                    break;
                }
                Err(fact) => Err(DeltaSinkError::contract(&setting.shape.view.name, fact)),
            },
            Err(error) => Err(error),
        };
    }
    Ok((writer.finish(written).await?, rest))
}

/// Rows that came in order.
struct Run {
    sorter: Addresser,
    last: Option<Box<[u8]>>,
}

impl Run {
    /// Whether the rows go on in order.
    fn goes_on(&mut self, rows: &RecordBatch) -> Result<bool, String> {
        let keys = self.sorter.of_rows(rows)?;
        let Some(end) = keys.len().checked_sub(1) else { return Ok(true) };
        let follows = self.last.as_deref().is_none_or(|last| last <= keys.get(0));
        let in_order = follows && (0..end).all(|row| keys.get(row) <= keys.get(row + 1));
        self.last = Some(keys.get(end).into());
        Ok(in_order)
    }
}

/// Writes rows in the order in which they come.
pub(crate) async fn write(setting: Setting<'_>, mut rows: Stored) -> Result<Vec<NewFile>, DeltaSinkError> {
    let mut writer = FileWriter::new(setting, Kind::Data);
    let mut written = Ok(());
    while written.is_ok() {
        written = match rows.try_next().await {
            Ok(Some(batch)) => writer.write(&batch, None).await,
            Ok(None) => break,
            Err(error) => Err(error),
        };
    }
    writer.finish(written).await
}

/// The rows of a content, each as often as it is there.
fn stored(shape: Shape, content: BatchStream, header: EpochHeader) -> Stored {
    let expanded = move |item: Result<EpochBatch, _>| {
        let EpochBatch { header: found, batch } = item.map_err(DeltaSinkError::Input)?;
        let contract = |fact: String| Err(DeltaSinkError::contract(&shape.view.name, fact));
        if found.epoch != header.epoch {
            return contract(format!("a content of epoch {} has rows of epoch {}", header.epoch, found.epoch));
        }
        if batch.weights.len() != batch.len() || batch.change.iter().any(|change| *change != ChangeType::Insert) {
            return contract("a content has rows that are no insertions".to_owned());
        }
        if batch.weights.values().iter().any(|weight| *weight <= 0) {
            return contract("a content has rows without copies".to_owned());
        }
        let rows = shape.store(&batch.rows)?;
        if batch.weights.values().iter().all(|weight| *weight == 1) {
            return Ok(stream::iter([Ok(rows)]).boxed());
        }
        Ok(stream::iter(Copies { rows, batch, entry: 0, taken: 0 }).map(Ok).boxed())
    };
    content.map(expanded).try_flatten().boxed()
}

/// The rows of a batch, in chunks, each as often as its weight says.
struct Copies {
    rows: RecordBatch,
    batch: DeltaBatch,
    entry: usize,
    taken: u64,
}

impl Iterator for Copies {
    type Item = RecordBatch;

    fn next(&mut self) -> Option<RecordBatch> {
        let mut indices = Vec::new();
        while self.entry < self.batch.len() && indices.len() < CHUNK_ROWS {
            let left = self.batch.weights.value(self.entry).unsigned_abs() - self.taken;
            let taken = left.min((CHUNK_ROWS - indices.len()) as u64);
            indices.extend((0..taken).map(|_| self.entry as u32));
            self.taken += taken;
            if taken == left {
                (self.entry, self.taken) = (self.entry + 1, 0);
            }
        }
        if indices.is_empty() {
            return None;
        }
        let rows = take_record_batch(&self.rows, &UInt32Array::from(indices));
        Some(rows.expect("the indices are those of entries of the batch"))
    }
}

/// How rows follow one another in files.
#[derive(Debug)]
pub(crate) enum Order {
    /// By partition and address.
    Address,
    /// By partition and the place on a curve through these columns.
    Curve(Arc<Curve>),
}

impl Order {
    /// The order that the configuration asks for.
    pub(crate) fn of(shape: &Shape, config: &DeltaConfig) -> Result<Order, DeltaSinkError> {
        if config.z_order.is_empty() {
            return Ok(Order::Address);
        }
        Curve::new(shape, &config.z_order).map(|curve| Order::Curve(Arc::new(curve)))
    }

    /// Sorts rows, with a spill where they do not fit into memory.
    pub(crate) fn sorted(&self, shape: &Shape, rows: Stored) -> Result<Stored, DeltaSinkError> {
        let columns = shape.stored.fields().len();
        match self {
            Order::Address => {
                let order = shape.sort_columns().into_iter().map(|column| by(column, shape.physical(column)));
                sort(shape, shape.stored.clone(), order.collect(), rows)
            }
            Order::Curve(curve) => {
                let placed = curve.clone();
                let rows = sorted_by(shape, rows, move |batch| placed.places(batch), &[])?;
                let narrow: Vec<usize> = (0..columns).collect();
                let view = shape.view.name.clone();
                let sorted =
                    rows.map(move |batch| batch?.project(&narrow).map_err(|e| DeltaSinkError::contract(&view, e)));
                Ok(sorted.boxed())
            }
        }
    }
}

/// The column that a row's place has while it is sorted.
const PLACE: &str = "place";

fn by(column: usize, name: &str) -> PhysicalSortExpr {
    PhysicalSortExpr { expr: Arc::new(Column::new(name, column)), options: Default::default() }
}

/// Sorts rows by partition, a place that is made of each, and some more columns, NULLs first. The places are the last
/// column of what comes.
pub(crate) fn sorted_by(
    shape: &Shape,
    rows: Stored,
    place: impl Fn(&RecordBatch) -> Result<BinaryArray, String> + Send + 'static,
    then: &[usize],
) -> Result<Stored, DeltaSinkError> {
    let mut fields = shape.stored.fields().to_vec();
    fields.push(Arc::new(Field::new(PLACE, DataType::Binary, false)));
    let schema = Arc::new(Schema::new(fields));
    let mut order: Vec<_> = shape.partitions.iter().map(|column| by(*column, shape.physical(*column))).collect();
    order.push(by(shape.stored.fields().len(), PLACE));
    order.extend(then.iter().map(|column| by(*column, shape.physical(*column))));
    let (wide, view) = (schema.clone(), shape.view.name.clone());
    let rows = rows.map(move |batch| {
        let batch = batch?;
        let mut arrays = batch.columns().to_vec();
        let fault = |fact: String| DeltaSinkError::contract(&view, fact);
        arrays.push(Arc::new(place(&batch).map_err(fault)?));
        RecordBatch::try_new(wide.clone(), arrays).map_err(|error| fault(error.to_string()))
    });
    sort(shape, schema, order, rows.boxed())
}

fn sort(
    shape: &Shape,
    schema: SchemaRef,
    order: Vec<PhysicalSortExpr>,
    rows: Stored,
) -> Result<Stored, DeltaSinkError> {
    let Some(order) = LexOrdering::new(order) else { return Ok(rows) };
    let fault = |error: DataFusionError| DeltaSinkError::contract(&shape.view.name, error);
    let failed: Failed = Arc::default();
    let input = Input { schema: schema.clone(), rows: Mutex::new(Some(rows)), failed: failed.clone() };
    let input = StreamingTableExec::try_new(schema, vec![Arc::new(input)], None, Vec::new(), false, None);
    let plan = SortExec::new(order, Arc::new(input.map_err(fault)?));
    let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(GreedyMemoryPool::new(SORT_BYTES)));
    let context = TaskContext::default().with_runtime(runtime.build_arc().map_err(fault)?);
    let view = shape.view.name.clone();
    let rows = plan.execute(0, Arc::new(context)).map_err(fault)?;
    Ok(rows
        .map_err(move |error| {
            let own = failed.lock().expect("nothing panics while it holds the error").take();
            own.unwrap_or_else(|| DeltaSinkError::contract(&view, format!("they cannot be sorted: {error}")))
        })
        .boxed())
}

/// The error of the input, which the sort would wrap.
type Failed = Arc<Mutex<Option<DeltaSinkError>>>;

/// Rows as the input of a plan.
struct Input {
    schema: SchemaRef,
    rows: Mutex<Option<Stored>>,
    failed: Failed,
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Input")
    }
}

impl PartitionStream for Input {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = self.rows.lock().expect("nothing panics while it holds the rows").take();
        let failed = self.failed.clone();
        let rows = rows.unwrap_or_else(|| stream::empty().boxed()).map_err(move |error| {
            let text = error.to_string();
            *failed.lock().expect("nothing panics while it holds the error") = Some(error);
            DataFusionError::Execution(text)
        });
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), rows))
    }
}
