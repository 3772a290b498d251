//! From a circuit plan to a running DBSP circuit.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use dbsp::circuit::{CircuitConfig, CircuitStorageConfig, Mode};
use dbsp::dynamic::DowncastTrait;
use dbsp::operator::{Fold, Max, Min};
use dbsp::storage::backend::StorageError;
use dbsp::trace::{BatchReader, Cursor};
use dbsp::typed_batch::SpineSnapshot;
use dbsp::utils::Tup2;
use dbsp::{
    DBSPHandle, IndexedZSetHandle, OrdIndexedZSet, OrdZSet, OutputHandle, RootCircuit, Runtime, Stream, ZSetHandle,
    algebra::UnimplementedSemigroup,
};
use feldera_types::config::{StorageCacheConfig, StorageConfig, StorageOptions};
use tidegate_core::ZSet;
use tidegate_engine_row::Row;
use uuid::Uuid;

use super::group::{Extreme, GroupPlan, Part, SEED_TAG, Slots};
use super::pipe::{Decoder, FlatRow, KeyedRow, Pipe};
use super::plan::{CircuitPlan, Edge, Operator, OperatorKind};
use crate::EngineError;
use crate::engine::EngineOptions;

type Flat = Stream<RootCircuit, OrdZSet<Row>>;
type Keyed = Stream<RootCircuit, OrdIndexedZSet<Row, Row>>;

/// A view's integral as DBSP holds it at some moment; cheap to clone, valid while the circuit goes on.
pub(crate) type StateSnapshot = SpineSnapshot<OrdZSet<Row>>;

/// Rows that are decoded, projected and encoded at a time.
const CHUNK_ROWS: usize = 8192;

/// The first error of a pipe inside the circuit, where closures cannot return one.
pub(crate) type ErrorSlot = Arc<Mutex<Option<EngineError>>>;

/// Where rows of a leaf go in.
pub(crate) enum LeafHandle {
    Flat(ZSetHandle<Row>),
    Keyed(IndexedZSetHandle<Row, Row>),
}

/// The ends of a circuit that stick out of it.
pub(crate) struct Handles {
    pub leaves: Vec<LeafHandle>,
    /// One for each global aggregate.
    pub seeds: Vec<IndexedZSetHandle<Row, Row>>,
    pub delta: OutputHandle<SpineSnapshot<OrdZSet<Row>>>,
    pub state: OutputHandle<StateSnapshot>,
}

/// Starts a circuit, from a checkpoint in `dir` if one is given.
pub(crate) fn build(
    plan: &Arc<CircuitPlan>,
    dir: &Path,
    options: &EngineOptions,
    checkpoint: Option<Uuid>,
    errors: &ErrorSlot,
) -> Result<(DBSPHandle, Handles), EngineError> {
    let failed = |source: dbsp::Error| EngineError::Circuit {
        view: plan.view.clone(),
        during: if checkpoint.is_some() { "resuming from its checkpoint" } else { "starting" },
        source: Box::new(source),
    };
    let config = config(dir, options, checkpoint).map_err(|error| failed(dbsp::Error::Storage(error)))?;
    let (plan, errors) = (Arc::clone(plan), Arc::clone(errors));
    Runtime::init_circuit(config, move |circuit: &mut RootCircuit| Ok(Builder::new(circuit, &plan, &errors).build()))
        .map_err(failed)
}

/// Without a memory limit, batches up to this size stay in memory between checkpoints.
const MEMORY_BATCH_BYTES: usize = 512 << 20;

/// How a circuit with state in `dir` is run.
pub(crate) fn config(
    dir: &Path,
    options: &EngineOptions,
    checkpoint: Option<Uuid>,
) -> Result<CircuitConfig, StorageError> {
    let folder = StorageConfig { path: dir.to_string_lossy().into_owned(), cache: StorageCacheConfig::default() };
    let storage = StorageOptions {
        min_storage_bytes: options.memory_limit.is_none().then_some(MEMORY_BATCH_BYTES),
        ..StorageOptions::default()
    };
    let storage = CircuitStorageConfig::for_config(folder, storage)?.with_init_checkpoint(checkpoint);
    Ok(CircuitConfig::with_workers(options.workers)
        .with_max_rss_bytes(options.memory_limit)
        .with_storage(Some(storage))
        .with_mode(Mode::Persistent))
}

struct Builder<'a> {
    circuit: &'a RootCircuit,
    plan: &'a CircuitPlan,
    errors: &'a ErrorSlot,
    leaves: Vec<LeafHandle>,
    flat_leaves: HashMap<usize, Flat>,
    keyed_leaves: HashMap<usize, Keyed>,
    seeds: Vec<IndexedZSetHandle<Row, Row>>,
    outputs: Vec<OperatorStream>,
}

enum OperatorStream {
    Flat(Flat),
    Keyed(Keyed),
}

impl<'a> Builder<'a> {
    fn new(circuit: &'a RootCircuit, plan: &'a CircuitPlan, errors: &'a ErrorSlot) -> Self {
        Builder {
            circuit,
            plan,
            errors,
            leaves: Vec::new(),
            flat_leaves: HashMap::new(),
            keyed_leaves: HashMap::new(),
            seeds: Vec::new(),
            outputs: Vec::new(),
        }
    }

    fn build(mut self) -> Handles {
        for (index, leaf) in self.plan.leaves.iter().enumerate() {
            let id = format!("leaf{index}");
            if leaf.pipe.is_keyed() {
                let (stream, handle) = self.circuit.add_input_indexed_zset::<Row, Row>();
                self.keyed_leaves.insert(index, stream.set_persistent_id(Some(&id)));
                self.leaves.push(LeafHandle::Keyed(handle));
            } else {
                let (stream, handle) = self.circuit.add_input_zset::<Row>();
                self.flat_leaves.insert(index, stream.set_persistent_id(Some(&id)));
                self.leaves.push(LeafHandle::Flat(handle));
            }
        }
        for (index, operator) in self.plan.operators.iter().enumerate() {
            let output = self.operator(&format!("op{index}"), operator);
            self.outputs.push(output);
        }
        let view = self.flat("view", &self.plan.output).shard().set_persistent_id(Some("view.shard"));
        let delta = view.accumulate_output_persistent(Some("view.delta"));
        let state = view
            .accumulate_integrate_trace()
            .set_persistent_id(Some("view.state"))
            .apply(|state| state.ro_snapshot())
            .set_persistent_id(Some("view.snapshot"))
            .output_persistent(Some("view.snapshot.out"));
        Handles { leaves: self.leaves, seeds: self.seeds, delta, state }
    }

    fn operator(&mut self, id: &str, operator: &Operator) -> OperatorStream {
        match &operator.kind {
            OperatorKind::Join { left, right } => {
                let left = self.keyed(&format!("{id}.left"), left);
                let right = self.keyed(&format!("{id}.right"), right);
                let joined = left.join(&right, |key, left, right| Row::concat(&Row::concat(key, left), right));
                OperatorStream::Flat(joined.set_persistent_id(Some(id)))
            }
            OperatorKind::Group(group) => OperatorStream::Keyed(self.group(id, group)),
            OperatorKind::Distinct { input } => {
                let input = self.flat(&format!("{id}.in"), input);
                OperatorStream::Flat(input.distinct().set_persistent_id(Some(id)))
            }
            OperatorKind::Union { inputs } => {
                let inputs: Vec<Flat> =
                    inputs.iter().enumerate().map(|(i, input)| self.flat(&format!("{id}.in{i}"), input)).collect();
                let (first, rest) = inputs.split_first().expect("a union has inputs");
                OperatorStream::Flat(first.sum(rest).set_persistent_id(Some(id)))
            }
        }
    }

    fn group(&mut self, id: &str, group: &GroupPlan) -> Keyed {
        let mut results: Vec<Keyed> = Vec::new();
        for (index, part) in group.parts.iter().enumerate() {
            let id = format!("{id}.part{index}");
            let result = match part {
                Part::Linear { input, slots } => {
                    let input = self.keyed(&format!("{id}.in"), input);
                    self.sums(&id, &input, slots)
                }
                Part::Distinct { input, slots } => {
                    let input = self.keyed(&format!("{id}.in"), input).distinct();
                    let input = input.set_persistent_id(Some(&format!("{id}.distinct")));
                    self.sums(&id, &input, slots)
                }
                Part::Extreme { input, which } => {
                    let input = self.keyed(&format!("{id}.in"), input);
                    match which {
                        Extreme::Min => input.aggregate_persistent(Some(&id), Min),
                        Extreme::Max => input.aggregate_persistent(Some(&id), Max),
                    }
                }
            };
            let result = result.set_persistent_id(Some(&format!("{id}.out")));
            results.push(if group.is_tagged() {
                let tag = index as u64;
                result
                    .map_index(move |(key, value)| (key.clone(), tagged(tag, value)))
                    .set_persistent_id(Some(&format!("{id}.tagged")))
            } else {
                result
            });
        }
        if group.seeded {
            let (seed, handle) = self.circuit.add_input_indexed_zset::<Row, Row>();
            self.seeds.push(handle);
            results.push(seed.set_persistent_id(Some(&format!("{id}.seed"))));
        }
        let (first, rest) = results.split_first().expect("a group has a linear part");
        if rest.is_empty() {
            return first.clone();
        }
        let all = first.sum(rest).set_persistent_id(Some(&format!("{id}.parts")));
        let fold = Fold::<Row, Row, UnimplementedSemigroup<Row>, _, _>::new(
            Row::empty(),
            |sections: &mut Row, section: &Row, _weight: i64| *sections = Row::concat(sections, section),
        );
        all.aggregate_persistent(Some(id), fold).set_persistent_id(Some(&format!("{id}.out")))
    }

    fn sums(&self, id: &str, input: &Keyed, slots: &Slots) -> Keyed {
        let (weigh, finish, errors, view) =
            (slots.clone(), slots.clone(), Arc::clone(self.errors), self.plan.view.clone());
        input.aggregate_linear_postprocess_persistent(
            Some(id),
            move |value: &Row| weigh.weigh(value),
            move |sums| {
                finish.result(&sums).unwrap_or_else(|_| {
                    keep_error(&errors, Err(EngineError::SumOverflow { view: view.clone() }));
                    finish.zero()
                })
            },
        )
    }

    fn flat(&self, id: &str, edge: &Edge) -> Flat {
        match edge {
            Edge::Leaf(leaf) => self.flat_leaves[leaf].clone(),
            Edge::Operator { operator, pipe } => {
                let decoder = Arc::clone(&self.plan.operators[*operator].decoder);
                let (pipe, errors) = (Arc::clone(pipe), Arc::clone(self.errors));
                let piped = match &self.outputs[*operator] {
                    OperatorStream::Flat(stream) => stream.apply(move |batch| {
                        let mut rows: Vec<FlatRow> = Vec::new();
                        let result = decode_flat(batch, &decoder, &mut |zset| pipe.flat(&zset, &mut rows));
                        keep_error(&errors, result);
                        OrdZSet::from_keys((), rows)
                    }),
                    OperatorStream::Keyed(stream) => stream.apply(move |batch| {
                        let mut rows: Vec<FlatRow> = Vec::new();
                        let result = decode_groups(batch, &decoder, &mut |zset| pipe.flat(&zset, &mut rows));
                        keep_error(&errors, result);
                        OrdZSet::from_keys((), rows)
                    }),
                };
                piped.set_persistent_id(Some(id))
            }
        }
    }

    fn keyed(&self, id: &str, edge: &Edge) -> Keyed {
        match edge {
            Edge::Leaf(leaf) => self.keyed_leaves[leaf].clone(),
            Edge::Operator { operator, pipe } => {
                let decoder = Arc::clone(&self.plan.operators[*operator].decoder);
                let (pipe, errors): (Arc<Pipe>, ErrorSlot) = (Arc::clone(pipe), Arc::clone(self.errors));
                let piped = match &self.outputs[*operator] {
                    OperatorStream::Flat(stream) => stream.apply(move |batch| {
                        let mut rows: Vec<KeyedRow> = Vec::new();
                        let result = decode_flat(batch, &decoder, &mut |zset| pipe.keyed(&zset, &mut rows));
                        keep_error(&errors, result);
                        OrdIndexedZSet::from_tuples((), rows)
                    }),
                    OperatorStream::Keyed(stream) => stream.apply(move |batch| {
                        let mut rows: Vec<KeyedRow> = Vec::new();
                        let result = decode_groups(batch, &decoder, &mut |zset| pipe.keyed(&zset, &mut rows));
                        keep_error(&errors, result);
                        OrdIndexedZSet::from_tuples((), rows)
                    }),
                };
                piped.set_persistent_id(Some(id))
            }
        }
    }
}

/// The row that keeps a global aggregate alive.
pub(crate) fn seed() -> Tup2<Row, Tup2<Row, i64>> {
    Tup2(Row::empty(), Tup2(tagged(SEED_TAG, &Row::empty()), 1))
}

fn tagged(tag: u64, value: &Row) -> Row {
    let words = value.as_words();
    let mut tagged = Vec::with_capacity(words.len() + 2);
    tagged.extend([tag, words.len() as u64]);
    tagged.extend_from_slice(words);
    Row::from_words(&tagged)
}

fn keep_error(errors: &ErrorSlot, result: Result<(), EngineError>) {
    if let Err(error) = result {
        let mut slot = errors.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        slot.get_or_insert(error);
    }
}

type Consumer<'a> = dyn FnMut(ZSet) -> Result<(), EngineError> + 'a;

fn decode_flat(batch: &OrdZSet<Row>, decoder: &Decoder, consume: &mut Consumer) -> Result<(), EngineError> {
    let mut cursor = batch.cursor();
    let (mut rows, mut weights) = (Vec::new(), Vec::new());
    while cursor.key_valid() {
        // SAFETY: the batch was built with `Row` keys and integer weights.
        rows.push(unsafe { cursor.key().downcast::<Row>() }.clone());
        weights.push(**cursor.weight());
        cursor.step_key();
        if rows.len() == CHUNK_ROWS || !cursor.key_valid() {
            let batch = decoder.flat(rows.iter())?;
            consume(ZSet::new(batch, std::mem::take(&mut weights).into()))?;
            rows.clear();
        }
    }
    Ok(())
}

fn decode_groups(
    batch: &OrdIndexedZSet<Row, Row>,
    decoder: &Decoder,
    consume: &mut Consumer,
) -> Result<(), EngineError> {
    let Decoder::Group(decoder) = decoder else { unreachable!("keyed operators have group decoders") };
    let mut cursor = batch.cursor();
    let (mut keys, mut values, mut weights) = (Vec::new(), Vec::new(), Vec::new());
    while cursor.key_valid() {
        while cursor.val_valid() {
            // SAFETY: the batch was built with `Row` keys, `Row` values and integer weights.
            keys.push(unsafe { cursor.key().downcast::<Row>() }.clone());
            values.push(unsafe { cursor.val().downcast::<Row>() }.clone());
            weights.push(**cursor.weight());
            cursor.step_val();
        }
        cursor.step_key();
        if keys.len() >= CHUNK_ROWS || !cursor.key_valid() {
            let batch = decoder.decode(&keys, &values)?;
            consume(ZSet::new(batch, std::mem::take(&mut weights).into()))?;
            keys.clear();
            values.clear();
        }
    }
    Ok(())
}
