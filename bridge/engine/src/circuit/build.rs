//! From a circuit plan to a running DBSP circuit.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use dbsp::circuit::{CircuitConfig, CircuitStorageConfig, Mode};
use dbsp::operator::{Fold, Max, Min};
use dbsp::storage::backend::StorageError;
use dbsp::typed_batch::SpineSnapshot;
use dbsp::{
    DBSPHandle, OrdIndexedZSet, OrdZSet, OutputHandle, RootCircuit, Runtime, Stream, algebra::UnimplementedSemigroup,
};
use feldera_types::config::{StorageCacheConfig, StorageConfig, StorageOptions};
use tidegate_engine_row::Row;
use tidegate_engine_sql::Comparison;
use uuid::Uuid;

use super::asof::{self, AsOfPlan};
use super::group::{Extreme, GroupOutputs, GroupPlan, Part, Slots};
use super::key::{Key, KeyShape, Keyed, KeyedStream, Short};
use super::leaf::Leaf;
use super::meet::meet;
use super::pipe::{Direct, Pipe};
use super::plan::{CircuitPlan, Edge, Keep, Operator, OperatorKind};
use super::recompute::Recomputing;
use super::threshold;
use super::way::{Errors, Way};
use super::window::{self, TopPlan, WindowPlan};
use crate::EngineError;
use crate::options::EngineOptions;

pub(super) type Flat = Stream<RootCircuit, OrdZSet<Row>>;

/// A view's integral as DBSP holds it at some moment; cheap to clone, valid while the circuit goes on.
pub(crate) type StateSnapshot = SpineSnapshot<OrdZSet<Row>>;

/// The ends of a circuit that stick out of it.
pub(crate) struct Handles {
    pub leaves: Vec<Leaf>,
    /// One for each global aggregate.
    pub seeds: Vec<Leaf>,
    pub delta: OutputHandle<SpineSnapshot<OrdZSet<Row>>>,
    pub state: OutputHandle<StateSnapshot>,
}

/// Starts a circuit, from a checkpoint in `dir` if one is given.
pub(crate) fn build(
    plan: &Arc<CircuitPlan>,
    dir: &Path,
    options: &EngineOptions,
    checkpoint: Option<Uuid>,
    errors: &Errors,
) -> Result<(DBSPHandle, Handles), EngineError> {
    let failed = |source: dbsp::Error| EngineError::Circuit {
        view: plan.view.clone(),
        during: if checkpoint.is_some() { "resuming from its checkpoint" } else { "starting" },
        source: source.into(),
    };
    let config = config(dir, options, checkpoint).map_err(|error| failed(dbsp::Error::Storage(error)))?;
    let (plan, errors) = (Arc::clone(plan), errors.clone());
    Runtime::init_circuit(config, move |circuit: &mut RootCircuit| Ok(Builder::new(circuit, &plan, &errors).build()))
        .map_err(failed)
}

/// Without a memory limit, batches up to this size stay in memory between checkpoints. Larger ones, those of loads, are
/// written where they are merged, in a thread beside the circuit's, which leaves less to write to the checkpoint that
/// follows; the circuit waits for that.
const MEMORY_BATCH_BYTES: usize = 128 << 20;

/// The cache of a circuit's files where memory is limited: its default of 256 MiB a thread would be more than
/// many a limit, and caches do not shrink when memory gets short.
fn cache_mib(memory_limit: u64) -> usize {
    usize::try_from(memory_limit >> 20).unwrap_or(usize::MAX).div_euclid(16).clamp(8, 256)
}

/// How often a file's Bloom filter says that a key may be there which is not. Filters are in memory as a whole: 6 bits a key, where
/// DBSP's default of 0.0001 is 19, which took a sixth of the time of merging state that does not fit. With some files for each
/// state, a look-up reads a quarter more than it must.
const FALSE_POSITIVES: f64 = 0.05;

/// The share of a memory limit, as one of so many parts, that is left to what does not make way: rows that are being read, and what
/// a step has in flight when memory gets short.
const OTHERS: u64 = 10;

/// How a circuit with state in `dir` is run.
pub(crate) fn config(
    dir: &Path,
    options: &EngineOptions,
    checkpoint: Option<Uuid>,
) -> Result<CircuitConfig, StorageError> {
    let folder = StorageConfig { path: dir.to_string_lossy().into_owned(), cache: StorageCacheConfig::default() };
    let storage = StorageOptions {
        min_storage_bytes: options.memory_limit.is_none().then_some(MEMORY_BATCH_BYTES),
        cache_mib: options.memory_limit.map(cache_mib),
        bloom_false_positive_rate: Some(FALSE_POSITIVES),
        ..StorageOptions::default()
    };
    let storage = CircuitStorageConfig::for_config(folder, storage)?.with_init_checkpoint(checkpoint);
    Ok(CircuitConfig::with_workers(options.workers)
        .with_max_rss_bytes(options.memory_limit.map(|limit| limit - limit / OTHERS))
        .with_storage(Some(storage))
        .with_mode(Mode::Persistent))
}

pub(super) struct Builder<'a> {
    pub circuit: &'a RootCircuit,
    plan: &'a CircuitPlan,
    pub errors: &'a Errors,
    leaves: Vec<Leaf>,
    flat_leaves: HashMap<usize, Flat>,
    keyed_leaves: HashMap<usize, Keyed>,
    seeds: Vec<Leaf>,
    outputs: Vec<OperatorStream>,
    /// What edges out of operators have become, by their pipes: an edge that several consumers
    /// share is one stream, and what they keep of it is kept once.
    shared: RefCell<HashMap<*const Pipe, Keyed>>,
    shared_flat: RefCell<HashMap<*const Pipe, Flat>>,
}

enum OperatorStream {
    Flat(Flat),
    Keyed(Keyed),
    /// Both sides of a join whose only consumer takes its rows straight from them.
    Join(Keyed, Keyed),
}

impl<'a> Builder<'a> {
    fn new(circuit: &'a RootCircuit, plan: &'a CircuitPlan, errors: &'a Errors) -> Self {
        Builder {
            circuit,
            plan,
            errors,
            leaves: Vec::new(),
            flat_leaves: HashMap::new(),
            keyed_leaves: HashMap::new(),
            seeds: Vec::new(),
            outputs: Vec::new(),
            shared: RefCell::default(),
            shared_flat: RefCell::default(),
        }
    }

    fn build(mut self) -> Handles {
        for (index, leaf) in self.plan.leaves.iter().enumerate() {
            let id = format!("leaf{index}");
            let leaf = match leaf.pipe.key_shape() {
                Some(KeyShape::Short) => self.keyed_leaf::<Short>(index, &id),
                Some(KeyShape::Row) => self.keyed_leaf::<Row>(index, &id),
                None => {
                    let (stream, leaf) = Leaf::flat(self.circuit);
                    self.flat_leaves.insert(index, stream.set_persistent_id(Some(&id)));
                    leaf
                }
            };
            self.leaves.push(leaf);
        }
        for (index, operator) in self.plan.operators.iter().enumerate() {
            let output = self.operator(index, operator);
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

    fn keyed_leaf<K: Key>(&mut self, index: usize, id: &str) -> Leaf {
        let (stream, leaf) = Leaf::keyed::<K>(self.circuit);
        self.keyed_leaves.insert(index, K::keyed(stream.set_persistent_id(Some(id))));
        leaf
    }

    fn operator(&mut self, index: usize, operator: &Operator) -> OperatorStream {
        let id = &format!("op{index}");
        match &operator.kind {
            OperatorKind::Join { left, right, key: KeyShape::Short } => self.join::<Short>(index, left, right),
            OperatorKind::Join { left, right, key: KeyShape::Row } => self.join::<Row>(index, left, right),
            OperatorKind::Match { left, right, key, keep } => OperatorStream::Keyed(match key {
                KeyShape::Short => Short::keyed(self.matched(id, left, right, *keep)),
                KeyShape::Row => Row::keyed(self.matched(id, left, right, *keep)),
            }),
            OperatorKind::AsOf { left, right, key, asof } => OperatorStream::Flat(match key {
                KeyShape::Short => self.asof::<Short>(id, left, right, asof),
                KeyShape::Row => self.asof::<Row>(id, left, right, asof),
            }),
            OperatorKind::Threshold { input, bound, key, comparison } => OperatorStream::Keyed(match key {
                KeyShape::Short => Short::keyed(self.threshold(id, input, bound, *comparison)),
                KeyShape::Row => Row::keyed(self.threshold(id, input, bound, *comparison)),
            }),
            OperatorKind::Group(group) => OperatorStream::Keyed(match group.key {
                KeyShape::Short => Short::keyed(self.group(id, group)),
                KeyShape::Row => Row::keyed(self.group(id, group)),
            }),
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
            OperatorKind::Window { input, key, window } => OperatorStream::Flat(match key {
                KeyShape::Short => self.windowed::<Short>(id, input, window),
                KeyShape::Row => self.windowed::<Row>(id, input, window),
            }),
            OperatorKind::Top { input, key, top } => OperatorStream::Flat(match key {
                KeyShape::Short => self.top::<Short>(id, input, *top),
                KeyShape::Row => self.top::<Row>(id, input, *top),
            }),
            OperatorKind::Recursion(recursion) => OperatorStream::Flat(self.recursion(id, recursion)),
            OperatorKind::Round => unreachable!("only a recursive term reads the rows so far"),
        }
    }

    fn windowed<K: Key>(&self, id: &str, input: &Edge, plan: &Arc<WindowPlan>) -> Flat {
        let input: KeyedStream<K> = self.keyed(&format!("{id}.in"), input);
        window::windowed(id, &input, plan, self.errors, &self.plan.recomputed)
    }

    fn top<K: Key>(&self, id: &str, input: &Edge, plan: TopPlan) -> Flat {
        let input: KeyedStream<K> = self.keyed(&format!("{id}.in"), input);
        window::top(id, &input, plan, self.errors, &self.plan.recomputed)
    }

    fn join<K: Key>(&self, index: usize, left: &Edge, right: &Edge) -> OperatorStream {
        let id = format!("op{index}");
        let left: KeyedStream<K> = self.keyed(&format!("{id}.left"), left);
        let right: KeyedStream<K> = self.keyed(&format!("{id}.right"), right);
        if let [pipe] = self.plan.pipes_from(index)[..]
            && pipe.direct().is_some()
        {
            return OperatorStream::Join(K::keyed(left), K::keyed(right));
        }
        let width = self.plan.operators[index].decoder.key_width;
        let joined = left.join(&right, move |key, left, right| {
            key.with_words(width, |key| Row::concat(&[key, left.as_words(), right.as_words()]))
        });
        OperatorStream::Flat(joined.set_persistent_id(Some(&id)))
    }

    fn matched<K: Key>(&self, id: &str, left: &Edge, right: &Edge, keep: Keep) -> KeyedStream<K> {
        let left: KeyedStream<K> = self.keyed(&format!("{id}.left"), left);
        let right: KeyedStream<K> = self.keyed(&format!("{id}.right"), right);
        meet(id, &left, &right, keep)
    }

    fn asof<K: Key>(&self, id: &str, left: &Edge, right: &Edge, plan: &AsOfPlan) -> Flat {
        let left: KeyedStream<K> = self.keyed(&format!("{id}.left"), left);
        let right: KeyedStream<K> = self.keyed(&format!("{id}.right"), right);
        asof::asof(id, &left, &right, plan, &self.plan.recomputed)
    }
    fn threshold<K: Key>(&self, id: &str, input: &Edge, bound: &Edge, comparison: Comparison) -> KeyedStream<K> {
        let input: KeyedStream<K> = self.keyed(&format!("{id}.in"), input);
        let bound: KeyedStream<K> = self.keyed(&format!("{id}.bound"), bound);
        threshold::passing(id, &input, &bound, comparison, self.errors, &self.plan.recomputed)
    }

    fn group<K: Key>(&mut self, id: &str, group: &GroupPlan) -> KeyedStream<K> {
        let mut results: Vec<KeyedStream<K>> = Vec::new();
        let alone = (!group.is_tagged()).then_some(&group.outputs);
        for (index, part) in group.parts.iter().enumerate() {
            let id = format!("{id}.part{index}");
            let result = match part {
                Part::Linear { input, slots } => {
                    let input: KeyedStream<K> = self.keyed(&format!("{id}.in"), input);
                    self.sums(&id, &input, slots, alone)
                }
                Part::Distinct { input, slots } => {
                    let input: KeyedStream<K> = self.keyed(&format!("{id}.in"), input).distinct();
                    let input = input.set_persistent_id(Some(&format!("{id}.distinct")));
                    self.sums(&id, &input, slots, alone)
                }
                Part::Extreme { input, which } => {
                    let input: KeyedStream<K> = self.keyed(&format!("{id}.in"), input);
                    match which {
                        Extreme::Min => input.aggregate_persistent(Some(&id), Min),
                        Extreme::Max => input.aggregate_persistent(Some(&id), Max),
                    }
                }
                Part::Recompute { input, part } => {
                    let input: KeyedStream<K> = self.keyed(&format!("{id}.in"), input);
                    let recomputing = Recomputing { part: Arc::clone(part), errors: self.errors.clone() };
                    input.aggregate_persistent(Some(&id), recomputing)
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
            let (seed, leaf) = Leaf::keyed::<K>(self.circuit);
            self.seeds.push(leaf);
            results.push(seed.set_persistent_id(Some(&format!("{id}.seed"))));
        }
        let (first, rest) = results.split_first().expect("a group has a linear part");
        if rest.is_empty() {
            return first.clone();
        }
        let all = first.sum(rest).set_persistent_id(Some(&format!("{id}.parts")));
        let outputs = Arc::clone(&group.outputs);
        let errors = self.errors.clone();
        let fold = Fold::<Row, Row, UnimplementedSemigroup<Row>, _, _>::with_output(
            Row::empty(),
            |sections: &mut Row, section: &Row, _weight: i64| {
                *sections = Row::concat(&[sections.as_words(), section.as_words()]);
            },
            move |sections: Row| errors.told(outputs.of_tagged(&sections)).unwrap_or_else(|| outputs.nothing()),
        );
        all.aggregate_persistent(Some(id), fold).set_persistent_id(Some(&format!("{id}.out")))
    }

    fn sums<K: Key>(
        &self,
        id: &str,
        input: &KeyedStream<K>,
        slots: &Slots,
        outputs: Option<&Arc<GroupOutputs>>,
    ) -> KeyedStream<K> {
        let (weigh, slots, outputs, errors) = (slots.clone(), slots.clone(), outputs.cloned(), self.errors.clone());
        input.aggregate_linear_postprocess_persistent(
            Some(id),
            move |value: &Row| weigh.weigh(value),
            move |sums| {
                let sums = errors.told(slots.result(&sums)).unwrap_or_else(|| slots.zero());
                match &outputs {
                    Some(outputs) => errors.told(outputs.of_one(&sums)).unwrap_or_else(|| outputs.nothing()),
                    None => Row::from_words(&sums),
                }
            },
        )
    }

    pub fn flat(&self, id: &str, edge: &Edge) -> Flat {
        let (origin, way) = match edge {
            Edge::Leaf(leaf) => return self.flat_leaves[leaf].clone(),
            Edge::Whole(_) => unreachable!("only joins read the rows of groups as they are"),
            Edge::Inner { .. } => unreachable!("an operator that reads rows of a recursive term is part of it"),
            Edge::Operator { operator, pipe } => {
                if let Some(stream) = self.shared_flat.borrow().get(&Arc::as_ptr(pipe)) {
                    return stream.clone();
                }
                self.way(*operator, pipe)
            }
        };
        let pipe = Arc::as_ptr(&way.pipe);
        let piped = match origin {
            OperatorStream::Flat(stream) => stream.apply(move |batch| OrdZSet::from_keys((), way.rows(batch))),
            OperatorStream::Keyed(Keyed::Short(stream)) => {
                stream.apply(move |batch| OrdZSet::from_keys((), way.rows(batch)))
            }
            OperatorStream::Keyed(Keyed::Row(stream)) => {
                stream.apply(move |batch| OrdZSet::from_keys((), way.rows(batch)))
            }
            OperatorStream::Join(Keyed::Short(left), right) => flat_join(left, &Short::stream(right), way),
            OperatorStream::Join(Keyed::Row(left), right) => flat_join(left, &Row::stream(right), way),
        };
        let piped = piped.set_persistent_id(Some(id));
        self.shared_flat.borrow_mut().insert(pipe, piped.clone());
        piped
    }

    pub fn keyed<K: Key>(&self, id: &str, edge: &Edge) -> KeyedStream<K> {
        let (origin, way) = match edge {
            Edge::Leaf(leaf) => return K::stream(&self.keyed_leaves[leaf]),
            Edge::Whole(operator) => match &self.outputs[*operator] {
                OperatorStream::Keyed(keyed) => return K::stream(keyed),
                _ => unreachable!("only keyed streams are read as they are"),
            },
            Edge::Inner { .. } => unreachable!("an operator that reads rows of a recursive term is part of it"),
            Edge::Operator { operator, pipe } => {
                if let Some(stream) = self.shared.borrow().get(&Arc::as_ptr(pipe)) {
                    return K::stream(stream);
                }
                self.way(*operator, pipe)
            }
        };
        let pipe = Arc::as_ptr(&way.pipe);
        let piped: KeyedStream<K> = match origin {
            OperatorStream::Flat(stream) => stream.apply(move |batch| OrdIndexedZSet::from_tuples((), way.rows(batch))),
            OperatorStream::Keyed(Keyed::Short(stream)) => {
                stream.apply(move |batch| OrdIndexedZSet::from_tuples((), way.rows(batch)))
            }
            OperatorStream::Keyed(Keyed::Row(stream)) => {
                stream.apply(move |batch| OrdIndexedZSet::from_tuples((), way.rows(batch)))
            }
            OperatorStream::Join(Keyed::Short(left), right) => keyed_join(left, &Short::stream(right), way),
            OperatorStream::Join(Keyed::Row(left), right) => keyed_join(left, &Row::stream(right), way),
        };
        let piped = piped.set_persistent_id(Some(id));
        self.shared.borrow_mut().insert(pipe, K::keyed(piped.clone()));
        piped
    }

    fn way(&self, operator: usize, pipe: &Arc<Pipe>) -> (&OperatorStream, Way) {
        let decoder = Arc::clone(&self.plan.operators[operator].decoder);
        (&self.outputs[operator], Way { decoder, pipe: Arc::clone(pipe), errors: self.errors.clone() })
    }
}

/// A join whose rows go straight to a flat consumer.
fn flat_join<K: Key>(left: &KeyedStream<K>, right: &KeyedStream<K>, way: Way) -> Flat {
    let (direct, errors, width) = sides(way);
    left.join(right, move |key, left, right| {
        key.with_words(width, |key| {
            errors.told(direct.flat(&[key, left.as_words(), right.as_words()])).unwrap_or_default()
        })
    })
}

/// A join whose rows go straight to a keyed consumer.
fn keyed_join<K: Key, T: Key>(left: &KeyedStream<K>, right: &KeyedStream<K>, way: Way) -> KeyedStream<T> {
    let (direct, errors, width) = sides(way);
    left.join_index(right, move |key, left, right| {
        key.with_words(width, |key| errors.told(direct.keyed(&[key, left.as_words(), right.as_words()])).flatten())
    })
}

/// What a consumer does with both sides of a join, and the words of the key.
fn sides(way: Way) -> (Direct, Errors, usize) {
    let direct = way.pipe.direct().expect("a join is left to direct consumers only").clone();
    (direct, way.errors, way.decoder.key_width)
}

pub(super) fn tagged(tag: u64, value: &Row) -> Row {
    let words = value.as_words();
    let mut tagged = Vec::with_capacity(words.len() + 2);
    tagged.extend([tag, words.len() as u64]);
    tagged.extend_from_slice(words);
    Row::from_words(&tagged)
}
