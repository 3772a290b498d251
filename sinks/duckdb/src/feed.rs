//! A stream of rows as a table of DuckDB: `FROM tidegate_feed(NUMBER)`. DuckDB's threads fetch the
//! rows as they need them and turn them into its own form themselves, so that a whole content goes
//! into a file without a copy in between, and nothing of it is kept but what a sort keeps.

use std::collections::HashMap;
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};

use arrow::array::{Int64Array, RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use tidegate_core::ViewInfo;
use tidegate_duck::duckdb::core::{DataChunkHandle, LogicalTypeHandle, LogicalTypeId};
use tidegate_duck::duckdb::vtab::{
    BindInfo, InitInfo, TableFunctionInfo, VTab, record_batch_to_duckdb_data_chunk, to_duckdb_logical_type_for_field,
};
use tidegate_duck::importable;
use tokio::sync::mpsc;

use crate::error::DuckdbSinkError;
use crate::stage::column;

/// The name of the function in SQL.
pub(crate) const FUNCTION: &str = "tidegate_feed";
/// DuckDB's vector size.
const VECTOR_ROWS: usize = 2048;
/// Batches on their way from the stream to DuckDB.
const READ_AHEAD: usize = 4;

static FEEDS: LazyLock<Mutex<HashMap<u64, Arc<Shared>>>> = LazyLock::new(Mutex::default);
static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// What comes through a feed. One that is closed before its end was given up.
pub(crate) enum Message {
    /// Rows, each with its number of copies.
    Rows(RecordBatch, Int64Array),
    /// No more rows.
    End,
    /// The stream failed.
    Failed(DuckdbSinkError),
}

/// The receiving end of a feed: a table of DuckDB until it is dropped.
pub(crate) struct Feed {
    number: u64,
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    /// The columns as they are handed over, which is not always the view's type.
    schema: SchemaRef,
    view: ViewInfo,
    source: Mutex<Source>,
    fault: Mutex<Option<DuckdbSinkError>>,
}

struct Source {
    receiver: mpsc::Receiver<Message>,
    pending: Option<Copies>,
    rows: u64,
    ended: bool,
}

impl Feed {
    /// A feed for the rows of a view, and where they go in.
    pub(crate) fn new(view: &ViewInfo) -> Result<(mpsc::Sender<Message>, Feed), DuckdbSinkError> {
        let contract = |fact: String| DuckdbSinkError::Contract { view: view.name.clone(), fact };
        let empty = RecordBatch::new_empty(view.schema.clone());
        let schema = importable(&empty).map_err(|error| contract(error.to_string()))?.schema();
        let (sender, receiver) = mpsc::channel(READ_AHEAD);
        let source = Source { receiver, pending: None, rows: 0, ended: false };
        let shared = Shared { schema, view: view.clone(), source: Mutex::new(source), fault: Mutex::default() };
        let (number, shared) = (NUMBERS.fetch_add(1, Ordering::Relaxed), Arc::new(shared));
        held(&FEEDS).insert(number, shared.clone());
        Ok((sender, Feed { number, shared }))
    }

    /// The feed as a query names it; its columns are those of the stage.
    pub(crate) fn table(&self) -> String {
        format!("{FUNCTION}({}::UBIGINT)", self.number)
    }

    /// Rows that were fetched, copies counted.
    pub(crate) fn rows(&self) -> u64 {
        held(&self.shared.source).rows
    }

    /// Why no more rows came, if not because there are none.
    pub(crate) fn fault(&self) -> Option<DuckdbSinkError> {
        held(&self.shared.fault).take()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        held(&FEEDS).remove(&self.number);
        // The sending side shall not wait for a receiver that is gone.
        held(&self.shared.source).receiver.close();
    }
}

/// Nothing panics while it holds one of these locks.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds a lock of a feed")
}

impl Shared {
    /// The next rows, at most a vector of them; `None` at the end.
    fn next(&self) -> Result<Option<RecordBatch>, DuckdbSinkError> {
        let mut source = held(&self.source);
        loop {
            if let Some(batch) = source.pending.as_mut().and_then(Copies::next) {
                source.rows += batch.num_rows() as u64;
                return Ok(Some(batch));
            }
            if source.ended {
                return Ok(None);
            }
            match source.receiver.blocking_recv() {
                Some(Message::Rows(rows, copies)) if copies.values().iter().all(|copies| *copies > 0) => {
                    source.pending = Some(Copies { rows, copies, row: 0, given: 0 });
                }
                Some(Message::Rows(..)) => {
                    let fact = "a whole content removes rows".to_owned();
                    return Err(DuckdbSinkError::Contract { view: self.view.name.clone(), fact });
                }
                Some(Message::End) => source.ended = true,
                Some(Message::Failed(error)) => return Err(error),
                None => {
                    let fact = "the commit was given up".to_owned();
                    return Err(DuckdbSinkError::Contract { view: self.view.name.clone(), fact });
                }
            }
        }
    }
}

/// The rows of a batch, each as often as it says.
struct Copies {
    rows: RecordBatch,
    copies: Int64Array,
    /// The row to be given next, and how many copies of it went already.
    row: usize,
    given: i64,
}

impl Copies {
    fn next(&mut self) -> Option<RecordBatch> {
        let left = self.rows.num_rows() - self.row;
        if left == 0 {
            return None;
        }
        let window = self.copies.slice(self.row, left.min(VECTOR_ROWS));
        if self.given == 0 && window.values().iter().all(|copies| *copies == 1) {
            let batch = self.rows.slice(self.row, window.len());
            self.row += window.len();
            return Some(batch);
        }
        let mut indices = Vec::with_capacity(VECTOR_ROWS);
        while indices.len() < VECTOR_ROWS && self.row < self.rows.num_rows() {
            indices.push(self.row as u64);
            self.given += 1;
            if self.given == self.copies.value(self.row) {
                (self.row, self.given) = (self.row + 1, 0);
            }
        }
        let taken = take_record_batch(&self.rows, &UInt64Array::from(indices));
        Some(taken.expect("the indices are those of the batch"))
    }
}

/// The table function over feeds.
pub(crate) struct FeedFunction;

impl VTab for FeedFunction {
    type InitData = ();
    type BindData = Arc<Shared>;

    fn bind(bind: &BindInfo) -> Result<Arc<Shared>, Box<dyn Error>> {
        let number = bind.get_parameter(0).to_uint64();
        let feed = held(&FEEDS).get(&number).cloned().ok_or("there is no such feed")?;
        for (index, field) in feed.schema.fields().iter().enumerate() {
            bind.add_result_column(&column(index), to_duckdb_logical_type_for_field(field)?);
        }
        Ok(feed)
    }

    fn init(init: &InitInfo) -> Result<(), Box<dyn Error>> {
        init.set_max_threads(std::thread::available_parallelism().map_or(1, usize::from) as u64);
        Ok(())
    }

    fn func(info: &TableFunctionInfo<Self>, output: &mut DataChunkHandle) -> Result<(), Box<dyn Error>> {
        let feed = info.get_bind_data();
        match feed.next() {
            Ok(Some(rows)) => record_batch_to_duckdb_data_chunk(&importable(&rows)?, output),
            Ok(None) => {
                output.set_len(0);
                Ok(())
            }
            Err(fault) => {
                // The first one counts; the others are about a stream that has ended.
                held(&feed.fault).get_or_insert(fault);
                Err("the rows cannot be had".into())
            }
        }
    }

    fn parameters() -> Option<Vec<LogicalTypeHandle>> {
        Some(vec![LogicalTypeHandle::from(LogicalTypeId::UBigint)])
    }
}
