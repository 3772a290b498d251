//! The whole content of a view as a table of DuckDB: `FROM tidegate_feed(NUMBER)`. DuckDB's threads
//! fetch the rows as they write them, so that a load goes from the stream into the lake's files
//! without a copy in between, and nothing of it is kept but what a sort keeps.
//!
//! Each thread takes as many rows in a row as a row group of Parquet has: what comes in the order of the
//! key is so in every row group, and no two of them overlap, without a sort.

use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use arrow::array::{Int64Array, RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use futures::StreamExt;
use tidegate_core::{BatchStream, Epoch, EpochBatch, ViewInfo};
use tidegate_duck::duckdb::core::{DataChunkHandle, LogicalTypeHandle, LogicalTypeId};
use tidegate_duck::duckdb::vtab::{
    BindInfo, InitInfo, TableFunctionInfo, VTab, record_batch_to_duckdb_data_chunk, to_duckdb_logical_type_for_field,
};
use tidegate_duck::importable;
use tokio::sync::mpsc;

use crate::error::DucklakeSinkError;
use crate::order::Order;
use crate::stage::{check_columns, check_epoch, column};

/// The name of the function in SQL.
pub(crate) const FUNCTION: &str = "tidegate_feed";
/// DuckDB's vector size.
const VECTOR_ROWS: usize = 2048;
/// Rows of a row group in the lake's files, and at most so many bytes.
const SHARE_ROWS: usize = 122_880;
const SHARE_BYTES: usize = 32 << 20;
/// Batches on their way from the stream to DuckDB.
const READ_AHEAD: usize = 4;
/// How long a thread may be away from its rows until another one takes them: DuckDB may go on in another
/// thread than it began in.
const AWAY_MAX: Duration = Duration::from_secs(10);
/// Rows that tell whether a content comes in order; a smaller one is as well sorted.
pub(crate) const TELLING_ROWS: usize = 16_384;

static FEEDS: LazyLock<Mutex<HashMap<u64, Arc<Shared>>>> = LazyLock::new(Mutex::default);
static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// What comes through a feed. One that is closed before its end was given up.
pub(crate) enum Message {
    /// Rows, each with its number of copies.
    Rows(RecordBatch, Int64Array),
    /// No more rows.
    End,
    /// The stream failed.
    Failed(DucklakeSinkError),
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
    /// What threads have taken and not yet given to DuckDB.
    shares: Mutex<HashMap<ThreadId, Share>>,
    /// One of them is gone.
    given: Condvar,
    fault: Mutex<Option<DucklakeSinkError>>,
    is_touched: AtomicBool,
}

struct Source {
    receiver: mpsc::Receiver<Message>,
    /// Rows that were looked at ahead, or that a thread's share had no room for.
    ahead: VecDeque<(RecordBatch, Int64Array)>,
    order: Option<Order>,
    rows: u64,
    ended: bool,
}

impl Feed {
    /// A feed for the rows of a view, and where they go in.
    pub(crate) fn new(view: &ViewInfo) -> Result<(mpsc::Sender<Message>, Feed), DucklakeSinkError> {
        let contract = |fact: String| DucklakeSinkError::Contract { view: view.name.clone(), fact };
        let empty = RecordBatch::new_empty(view.schema.clone());
        let schema = importable(&empty).map_err(|error| contract(error.to_string()))?.schema();
        let (sender, receiver) = mpsc::channel(READ_AHEAD);
        let source = Source { receiver, ahead: VecDeque::new(), order: None, rows: 0, ended: false };
        let shared = Arc::new(Shared {
            schema,
            view: view.clone(),
            source: Mutex::new(source),
            shares: Mutex::default(),
            given: Condvar::new(),
            fault: Mutex::default(),
            is_touched: AtomicBool::new(false),
        });
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        held(&FEEDS).insert(number, shared.clone());
        Ok((sender, Feed { number, shared }))
    }

    /// The feed as a query names it; its columns are those of the stage. What it has given it does not
    /// give again.
    pub(crate) fn table(&self) -> String {
        format!("{FUNCTION}({}::UBIGINT)", self.number)
    }

    /// Whether many rows come, and begin in the order of these columns. If so, the next query gets them only
    /// as far as they are in order.
    pub(crate) fn begins_in_order(&self, key: &[usize]) -> Result<bool, DucklakeSinkError> {
        self.shared.is_touched.store(true, Ordering::Relaxed);
        let mut source = held(&self.shared.source);
        let mut order = Order::new(key);
        let (mut rows, mut bytes, mut looked) = (0, 0, VecDeque::new());
        while rows < TELLING_ROWS && bytes < SHARE_BYTES {
            let Some(batch) = source.receive(&self.shared.view)? else { break };
            rows += batch.0.num_rows();
            bytes += batch.0.get_array_memory_size();
            looked.push_back(batch);
        }
        let are_many = rows >= TELLING_ROWS || bytes >= SHARE_BYTES;
        let in_order = are_many && looked.iter().all(|(batch, _)| order.goes_on(batch));
        source.ahead = looked;
        source.order = in_order.then(|| Order::new(key));
        Ok(in_order)
    }

    /// Whether rows are left, after a query that got those in order. The next one gets them in any.
    pub(crate) fn has_more(&self) -> bool {
        let mut source = held(&self.shared.source);
        source.order = None;
        !source.ended || !source.ahead.is_empty()
    }

    /// Whether some rows may be gone.
    pub(crate) fn is_touched(&self) -> bool {
        self.shared.is_touched.load(Ordering::Relaxed)
    }

    /// Rows that were fetched, copies counted.
    pub(crate) fn rows(&self) -> u64 {
        held(&self.shared.source).rows
    }

    /// Why no more rows came, if not because there are none.
    pub(crate) fn fault(&self) -> Option<DucklakeSinkError> {
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

/// Sends the whole content of a view to its feed. Ends early when nobody fetches any more, which
/// is for the fetching side to explain.
pub(crate) async fn send(feed: mpsc::Sender<Message>, view: &ViewInfo, mut stream: BatchStream, last: Epoch) {
    let after = Epoch(last.0.saturating_sub(1));
    while let Some(item) = stream.next().await {
        let rows = item.map_err(DucklakeSinkError::Input).and_then(|EpochBatch { header, batch }| {
            check_epoch(view, header.epoch, after, after, last)?;
            check_columns(view, &batch.rows)?;
            Ok(Message::Rows(batch.rows, batch.weights))
        });
        let failed = rows.is_err();
        if feed.send(rows.unwrap_or_else(Message::Failed)).await.is_err() || failed {
            return;
        }
    }
    let _ = feed.send(Message::End).await;
}

/// Nothing panics while it holds one of these locks.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds a lock of a feed")
}

impl Shared {
    /// The next rows for this thread, at most a vector of them; `None` when no thread has any left.
    fn next(&self) -> Result<Option<RecordBatch>, DucklakeSinkError> {
        self.is_touched.store(true, Ordering::Relaxed);
        let me = std::thread::current().id();
        let mine = held(&self.shares).remove(&me);
        let mut share = match mine {
            Some(share) => share,
            None => match held(&self.source).share(&self.view)? {
                Some(share) => share,
                None => match self.left_behind() {
                    Some(share) => share,
                    None => return Ok(None),
                },
            },
        };
        let batch = share.next();
        if share.parts.is_empty() {
            self.given.notify_all();
        } else {
            share.asked = Instant::now();
            held(&self.shares).insert(me, share);
        }
        Ok(batch)
    }

    /// Waits until all threads have given what they took; what one of them does not come back for. Rows that
    /// two threads give are in no order.
    fn left_behind(&self) -> Option<Share> {
        let mut shares = held(&self.shares);
        loop {
            let (owner, away) =
                shares.iter().map(|(owner, share)| (*owner, share.asked.elapsed())).max_by_key(|s| s.1)?;
            if away >= AWAY_MAX {
                return shares.remove(&owner);
            }
            let waited = self.given.wait_timeout(shares, AWAY_MAX - away);
            shares = waited.expect("nothing panics while it holds a lock of a feed").0;
        }
    }
}

impl Source {
    /// The next batch of the stream that has rows. One that fails has ended: the error is told once.
    fn receive(&mut self, view: &ViewInfo) -> Result<Option<(RecordBatch, Int64Array)>, DucklakeSinkError> {
        let received = self.receive_next(view);
        self.ended |= received.is_err();
        received
    }

    fn receive_next(&mut self, view: &ViewInfo) -> Result<Option<(RecordBatch, Int64Array)>, DucklakeSinkError> {
        let contract = |fact: &str| DucklakeSinkError::Contract { view: view.name.clone(), fact: fact.to_owned() };
        while !self.ended {
            match self.receiver.blocking_recv() {
                Some(Message::Rows(rows, _)) if rows.num_rows() == 0 => {}
                Some(Message::Rows(rows, copies)) if copies.values().iter().all(|copies| *copies > 0) => {
                    self.rows += copies.values().iter().map(|copies| copies.unsigned_abs()).sum::<u64>();
                    return Ok(Some((rows, copies)));
                }
                Some(Message::Rows(..)) => return Err(contract("a whole content removes rows")),
                Some(Message::End) => self.ended = true,
                Some(Message::Failed(error)) => return Err(error),
                None => return Err(contract("the commit was given up")),
            }
        }
        Ok(None)
    }

    /// The next rows for one thread; `None` at the end, or where the order ends.
    fn share(&mut self, view: &ViewInfo) -> Result<Option<Share>, DucklakeSinkError> {
        let (mut parts, mut left, mut bytes) = (VecDeque::new(), SHARE_ROWS, 0);
        while left > 0 && bytes < SHARE_BYTES {
            let next = match self.ahead.pop_front() {
                Some(next) => Some(next),
                None => self.receive(view)?,
            };
            let Some((rows, copies)) = next else { break };
            if self.order.as_mut().is_some_and(|order| !order.goes_on(&rows)) {
                self.ahead.push_front((rows, copies));
                break;
            }
            let count = rows.num_rows().min(left);
            if count < rows.num_rows() {
                let rest = rows.num_rows() - count;
                self.ahead.push_front((rows.slice(count, rest), copies.slice(count, rest)));
                if let Some(order) = &mut self.order {
                    order.goes_back(&rows, count);
                }
            }
            left -= count;
            bytes += rows.get_array_memory_size();
            parts.push_back(Copies { rows: rows.slice(0, count), copies: copies.slice(0, count), row: 0, given: 0 });
        }
        Ok((!parts.is_empty()).then(|| Share { parts, asked: Instant::now() }))
    }
}

/// Rows of one thread.
struct Share {
    parts: VecDeque<Copies>,
    /// When the thread was last here.
    asked: Instant,
}

impl Share {
    fn next(&mut self) -> Option<RecordBatch> {
        let part = self.parts.front_mut()?;
        let batch = part.next();
        if part.row == part.rows.num_rows() {
            self.parts.pop_front();
        }
        batch
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
