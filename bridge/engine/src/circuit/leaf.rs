//! Where rows go into a circuit: collected as they come, and handed over as one sorted batch for each step, so that it is
//! the feeding thread that sorts them while the circuit is still busy with the batch before.

use dbsp::utils::Tup2;
use dbsp::{InputHandle, OrdIndexedZSet, OrdZSet, RootCircuit, ZWeight};
use tidegate_core::ZSet;
use tidegate_engine_row::Row;

use super::build::{Flat, tagged};
use super::group::SEED_TAG;
use super::key::{Key, KeyedStream, Short};
use super::pipe::{FlatRow, Pipe};
use crate::EngineError;

/// An entry of a stream of rows by key, as DBSP takes it.
type KeyedRow<K> = Tup2<Tup2<K, Row>, ZWeight>;

/// Rows by key on their way into a circuit.
pub(crate) type KeyedInflow<K> = Inflow<KeyedRow<K>, OrdIndexedZSet<K, Row>>;

/// Where rows go in.
pub(crate) enum Leaf {
    Flat(Inflow<FlatRow, OrdZSet<Row>>),
    Short(KeyedInflow<Short>),
    Row(KeyedInflow<Row>),
}

/// Rows `R` on their way into an input of batches `B`.
pub(crate) struct Inflow<R, B: Send + Clone + 'static> {
    input: InputHandle<B>,
    rows: Vec<R>,
    sorted: Vec<B>,
    sort: fn(Vec<R>) -> B,
}

impl Leaf {
    /// A leaf whose rows have no key, and the stream that they make.
    pub fn flat(circuit: &RootCircuit) -> (Flat, Leaf) {
        let (stream, input) = circuit.add_input_stream::<OrdZSet<Row>>();
        (stream, Leaf::Flat(Inflow::new(input, |rows| OrdZSet::from_keys((), rows))))
    }

    /// A leaf of rows by key, and the stream that they make.
    pub fn keyed<K: Key>(circuit: &RootCircuit) -> (KeyedStream<K>, Leaf) {
        let (stream, input) = circuit.add_input_stream::<OrdIndexedZSet<K, Row>>();
        (stream, K::leaf(Inflow::new(input, |rows| OrdIndexedZSet::from_tuples((), rows))))
    }

    /// Collects what a pipe makes of some rows; answers how many they are.
    pub fn take(&mut self, pipe: &Pipe, zset: &ZSet) -> Result<u64, EngineError> {
        match self {
            Leaf::Flat(inflow) => {
                let before = inflow.rows.len();
                inflow.rows.reserve(zset.len());
                pipe.flat(zset, &mut inflow.rows)?;
                Ok((inflow.rows.len() - before) as u64)
            }
            Leaf::Short(inflow) => inflow.take(pipe, zset),
            Leaf::Row(inflow) => inflow.take(pipe, zset),
        }
    }

    /// Collects the row that keeps a global aggregate alive.
    ///
    /// # Panics
    /// When the rows have no key: those of an aggregate do.
    pub fn seed(&mut self) {
        match self {
            Leaf::Flat(_) => unreachable!("an aggregate takes rows by key"),
            Leaf::Short(inflow) => inflow.seed(),
            Leaf::Row(inflow) => inflow.seed(),
        }
    }

    /// Sorts what was collected, into one batch for each worker.
    pub fn sort(&mut self, workers: usize) {
        match self {
            Leaf::Flat(inflow) => inflow.sort(workers),
            Leaf::Short(inflow) => inflow.sort(workers),
            Leaf::Row(inflow) => inflow.sort(workers),
        }
    }

    /// Hands what was sorted over to the step that comes. The one before must be done, or it might lose its own.
    pub fn hand_over(&mut self) {
        match self {
            Leaf::Flat(inflow) => inflow.hand_over(),
            Leaf::Short(inflow) => inflow.hand_over(),
            Leaf::Row(inflow) => inflow.hand_over(),
        }
    }
}

impl<R, B: Send + Clone + 'static> Inflow<R, B> {
    fn new(input: InputHandle<B>, sort: fn(Vec<R>) -> B) -> Self {
        Inflow { input, rows: Vec::new(), sorted: Vec::new(), sort }
    }

    fn sort(&mut self, workers: usize) {
        if self.rows.is_empty() {
            return;
        }
        let mut rows = std::mem::take(&mut self.rows);
        let share = rows.len().div_ceil(workers);
        while rows.len() > share {
            self.sorted.push((self.sort)(rows.split_off(rows.len() - share)));
        }
        self.sorted.push((self.sort)(rows));
    }

    fn hand_over(&mut self) {
        for (worker, batch) in self.sorted.drain(..).enumerate() {
            self.input.set_for_worker(worker, batch);
        }
    }
}

impl<K: Key> KeyedInflow<K> {
    fn take(&mut self, pipe: &Pipe, zset: &ZSet) -> Result<u64, EngineError> {
        let before = self.rows.len();
        self.rows.reserve(zset.len());
        let rows = &mut self.rows;
        pipe.keyed(zset, |key, value, weight| rows.push(Tup2(Tup2(key, value), weight)))?;
        Ok((self.rows.len() - before) as u64)
    }

    fn seed(&mut self) {
        self.rows.push(Tup2(Tup2(K::from_words(&[]), tagged(SEED_TAG, &Row::empty())), 1));
    }
}
