//! The load generator: one thread places, changes and cancels orders in PostgreSQL, another ships them in
//! the lake. What was shipped in the lake is noted in PostgreSQL a moment later.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::lake;
use crate::setup::{CUSTOMERS, REGIONS, orders, shipments};
use crate::site::{SHOP, Site, execute, value};

/// The time from one transaction in PostgreSQL to the next.
const TRANSACTION_EVERY: Duration = Duration::from_millis(50);
/// The time from one snapshot of the lake to the next.
const SNAPSHOT_EVERY: Duration = Duration::from_millis(400);
/// The newest orders are not shipped yet.
const OPEN_ORDERS: u64 = 1_500;

/// The threads at work.
pub struct Load {
    shared: Arc<Shared>,
    transactions: JoinHandle<Result<u64>>,
    snapshots: JoinHandle<Result<u64>>,
}

/// What the threads know of each other.
struct Shared {
    stopped: AtomicBool,
    /// The newest order that is committed.
    last_order: AtomicU64,
}

/// What was done.
pub struct Done {
    pub transactions: u64,
    pub snapshots: u64,
}

impl Load {
    /// Starts both threads where the tables stand.
    pub fn start(site: &Site, seed: u64) -> Result<Self> {
        let last_order = value(&site.connect(SHOP)?, "SELECT max(id) FROM orders")?.parse()?;
        let shared = Arc::new(Shared { stopped: AtomicBool::new(false), last_order: AtomicU64::new(last_order) });
        let (shipped, noted) = mpsc::channel();
        let transactions = {
            let (site, shared) = (site.clone(), Arc::clone(&shared));
            thread::spawn(move || shared.work(TRANSACTION_EVERY, Shop::open(&site, seed, noted)?))
        };
        let snapshots = {
            let (site, shared) = (site.clone(), Arc::clone(&shared));
            thread::spawn(move || shared.work(SNAPSHOT_EVERY, Shipping::open(&site, seed, shipped)?))
        };
        Ok(Load { shared, transactions, snapshots })
    }

    /// Whether both threads are at work; [`Load::finish`] says why one is not.
    pub fn is_well(&self) -> bool {
        !self.transactions.is_finished() && !self.snapshots.is_finished()
    }

    /// Stops both threads. What they have committed is all there is.
    pub fn finish(self) -> Result<Done> {
        self.shared.stopped.store(true, Ordering::Release);
        let join = |thread: JoinHandle<Result<u64>>, what| match thread.join() {
            Ok(done) => done.with_context(|| format!("the load generator, {what}")),
            Err(panic) => std::panic::resume_unwind(panic),
        };
        let snapshots = join(self.snapshots, "in the lake");
        let transactions = join(self.transactions, "in PostgreSQL");
        Ok(Done { transactions: transactions?, snapshots: snapshots? })
    }

    /// Runs until a thread ends, which it does only by failing.
    pub fn run_until_failure(self) -> Result<()> {
        println!("changing the tables until this is stopped");
        while self.is_well() {
            thread::sleep(Duration::from_millis(200));
        }
        self.finish()?;
        bail!("the load generator has ended")
    }
}

/// Something that is done again and again.
trait Worker {
    /// One transaction.
    fn commit(&mut self, shared: &Shared) -> Result<()>;
}

impl Shared {
    /// Lets a worker commit at its pace; answers how often it did.
    fn work(&self, every: Duration, mut worker: impl Worker) -> Result<u64> {
        let mut commits = 0;
        while !self.stopped.load(Ordering::Acquire) {
            let started = Instant::now();
            worker.commit(self)?;
            commits += 1;
            thread::sleep(every.saturating_sub(started.elapsed()));
        }
        Ok(commits)
    }
}

/// Orders that were shipped: the first and the last.
type Range = (u64, u64);

/// What happens in PostgreSQL.
struct Shop {
    session: tidegate_testkit::PgClient,
    random: StdRng,
    shipped: mpsc::Receiver<Range>,
}

impl Shop {
    fn open(site: &Site, seed: u64, shipped: mpsc::Receiver<Range>) -> Result<Self> {
        Ok(Shop { session: site.connect(SHOP)?, random: StdRng::seed_from_u64(seed), shipped })
    }

    /// A few of the last orders.
    fn some_orders(&mut self, last: u64) -> String {
        let count = self.random.random_range(1..=5);
        let oldest = last.saturating_sub(20_000).max(1);
        (0..count).map(|_| self.random.random_range(oldest..=last).to_string()).collect::<Vec<_>>().join(", ")
    }
}

impl Worker for Shop {
    fn commit(&mut self, shared: &Shared) -> Result<()> {
        let last = shared.last_order.load(Ordering::Acquire);
        let mut newest = last;
        let mut statements: Vec<String> = self
            .shipped
            .try_iter()
            .map(|(first, last)| {
                format!(
                    "UPDATE orders SET status = 'shipped' WHERE id BETWEEN {first} AND {last} AND status = 'placed'"
                )
            })
            .collect();
        statements.push(match self.random.random_range(0..100) {
            0..50 => {
                newest += self.random.random_range(1..=6);
                format!("INSERT INTO orders {}", orders(last + 1, newest))
            }
            50..75 => {
                let some = self.some_orders(last);
                format!("UPDATE orders SET amount = round(amount * 1.1, 2) WHERE id IN ({some}) AND amount < 5000")
            }
            75..92 => format!("UPDATE orders SET status = 'cancelled' WHERE id IN ({})", self.some_orders(last)),
            92..97 => {
                let some = self.some_orders(last);
                format!("DELETE FROM orders WHERE id IN ({some}) AND status = 'cancelled'")
            }
            _ => {
                let region = REGIONS[self.random.random_range(0..REGIONS.len())];
                let customer = self.random.random_range(1..=CUSTOMERS);
                format!("UPDATE customers SET region = '{region}' WHERE id = {customer}")
            }
        });
        execute(&self.session, &statements.join(";\n"))?;
        shared.last_order.store(newest, Ordering::Release);
        Ok(())
    }
}

/// What happens in the lake.
struct Shipping {
    duck: tidegate_duck::Duck,
    random: StdRng,
    last_shipped: u64,
    shipped: mpsc::Sender<Range>,
}

impl Shipping {
    fn open(site: &Site, seed: u64, shipped: mpsc::Sender<Range>) -> Result<Self> {
        let duck = lake::open(site)?;
        let last_shipped = lake::number(&duck, "SELECT max(order_id)::UBIGINT FROM lake.shipments")?;
        Ok(Shipping { duck, random: StdRng::seed_from_u64(seed + 1), last_shipped, shipped })
    }
}

impl Worker for Shipping {
    fn commit(&mut self, shared: &Shared) -> Result<()> {
        let first = self.last_shipped + 1;
        let until = shared.last_order.load(Ordering::Acquire).saturating_sub(OPEN_ORDERS);
        let last = until.min(self.last_shipped + self.random.random_range(10..=40));
        let mut statements = vec!["BEGIN".to_owned()];
        if last >= first {
            statements.push(format!("INSERT INTO lake.shipments {}", shipments(first, last)));
        }
        let some = self.random.random_range(1..=self.last_shipped);
        statements.push(match self.random.random_range(0..3) {
            0 => format!("DELETE FROM lake.shipments WHERE order_id = {some}"),
            1 => format!("UPDATE lake.shipments SET shipped_at = shipped_at + INTERVAL 1 HOUR WHERE order_id = {some}"),
            _ => format!("UPDATE lake.shipments SET carrier = 'pigeon' WHERE order_id = {some}"),
        });
        statements.push("COMMIT".to_owned());
        self.duck.execute(&statements.join(";\n"))?;
        if last >= first {
            self.last_shipped = last;
            // Nobody listens any more when the other thread has failed, and it says why.
            let _ = self.shipped.send((first, last));
        }
        Ok(())
    }
}
