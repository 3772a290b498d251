//! The nested circuit of a recursive query.
//!
//! ```text
//!          ┌──────────────────────────────────────────────────────┐
//! start ──►│─────────────────────► + ─► distinct ─► bounded ──┬───│──► rows
//!          │   ┌──► term ─────────►                           │   │
//! sides ──►│───│─────▲                                        │   │
//!          │   └──────────────── one round later ◄────────────┘   │
//!          └──────────────────────────────────────────────────────┘
//! ```
//!
//! Its streams are changes in two directions: what this epoch changes in what each round adds. Rounds are run
//! until none changes any more. Two faults of DBSP 0.349 decide on how it is built:
//!
//! - In the term, rows of the recursion meet rows from outside alone: a join loses rows where both of its inputs
//!   change in later rounds (`JoinTrace::eval` leaves out what comes for a time that is taken in
//!   `future_outputs`), and what comes from outside changes in the first round only.
//! - Every stream with state after it is sharded by an operator of its own, and never by the one that shards and
//!   accumulates at once (`ShardedAccumulator`), as joins and `distinct` do for streams that are not sharded yet:
//!   that one may take several steps of a round and holds rows for the next round, but answers that it has reached
//!   its fixed point whatever it holds. With more than one worker rounds then end, now and then, before the
//!   rows that are held have been followed.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use dbsp::circuit::circuit_builder::IterativeCircuit;
use dbsp::circuit::operator_traits::{Operator, UnaryOperator};
use dbsp::circuit::{Circuit, Scope};
use dbsp::operator::DelayedFeedback;
use dbsp::trace::{BatchReader, Cursor};
use dbsp::typed_batch::Spine;
use dbsp::{OrdIndexedZSet, OrdZSet, RootCircuit, Stream};
use tidegate_engine_row::Row;
use tidegate_engine_sql::RecursiveUnion;

use super::build::{Builder, Flat};
use super::gate::together;
use super::key::{Key, KeyShape, KeyedStream, Short};
use super::plan::{Edge, Keep, OperatorKind};
use super::recursion::RecursionPlan;
use super::way::{Errors, Way};

/// Rounds of one epoch after which a recursion counts as endless. A chain that is followed from its start needs as
/// many rounds as it has links.
const ROUNDS_MAX: u32 = 100_000;

/// Rows that one epoch may change in all rounds together, before memory gets short. Rows that double from
/// round to round are far from [`ROUNDS_MAX`] then.
const ROWS_MAX: u64 = 1 << 28;

/// Copies of a row that one round may add: far below what a weight holds, so that the next round cannot
/// wrap it around, with up to as many rows to join with.
const COPIES_MAX: u64 = 1 << 31;

/// The circuit in which rounds run.
type Nested = IterativeCircuit<RootCircuit>;
type NestedFlat = Stream<Nested, OrdZSet<Row>>;
type NestedKeyed<K> = Stream<Nested, OrdIndexedZSet<K, Row>>;

/// The rows of an operator of the term.
enum Inside {
    Flat(NestedFlat),
    Short(NestedKeyed<Short>),
    Row(NestedKeyed<Row>),
}

/// A side of a join that comes from outside.
pub(super) enum Outside {
    Short(KeyedStream<Short>),
    Row(KeyedStream<Row>),
}

impl Builder<'_> {
    /// The rows of a recursion.
    pub fn recursion(&self, id: &str, plan: &RecursionPlan) -> Flat {
        let start = self.flat(&format!("{id}.start"), &plan.start);
        let mut sides: HashMap<usize, Outside> = HashMap::new();
        for (index, operator) in plan.operators.iter().enumerate() {
            let id = format!("{id}.term{index}");
            let side = match &operator.kind {
                OperatorKind::Join { left, right, key } => match key {
                    KeyShape::Short => Outside::Short(self.keyed(&format!("{id}.side"), outer(left, right))),
                    KeyShape::Row => Outside::Row(self.keyed(&format!("{id}.side"), outer(left, right))),
                },
                OperatorKind::Match { left, right, key, .. } => match key {
                    KeyShape::Short => Outside::Short(self.keys(&id, outer(left, right))),
                    KeyShape::Row => Outside::Row(self.keys(&id, outer(left, right))),
                },
                _ => continue,
            };
            sides.insert(index, side);
        }
        let (start, sides) = together(id, &start, sides);
        let rows = self.circuit.fixedpoint(|circuit| {
            let feedback = DelayedFeedback::with_default(circuit, OrdZSet::empty());
            let rows = feedback.stream().set_persistent_id(Some(&format!("{id}.round")));
            let term = Term { id, plan, errors: self.errors };
            let start = start.delta0(circuit).set_persistent_id(Some(&format!("{id}.first")));
            let added = term.build(circuit, &rows, &sides).plus(&start);
            let added = added.set_persistent_id(Some(&format!("{id}.added")));
            let added = match plan.union {
                RecursiveUnion::Distinct => added.shard().distinct().set_persistent_id(Some(&format!("{id}.distinct"))),
                RecursiveUnion::All => added,
            };
            let bounded = circuit.add_unary_operator(Bounded::new(self.errors, LIMITS), &added);
            let bounded = bounded.set_persistent_id(Some(&format!("{id}.bounded")));
            feedback.connect(&bounded);
            Ok(bounded.integrate_trace().inner().export())
        });
        let rows = rows.expect("the rounds are the only cycle, and it has a delay");
        rows.typed::<Spine<OrdZSet<Row>>>().consolidate().set_persistent_id(Some(id))
    }

    /// The distinct keys of an edge.
    fn keys<K: Key>(&self, id: &str, edge: &Edge) -> KeyedStream<K> {
        let side: KeyedStream<K> = self.keyed(&format!("{id}.side"), edge);
        let keys = side.map_index(|(key, _)| (key.clone(), Row::empty()));
        let keys = keys.set_persistent_id(Some(&format!("{id}.keys"))).distinct();
        keys.set_persistent_id(Some(&format!("{id}.distinct")))
    }
}

/// A side of a join in the nested circuit, where it changes in the first round alone. It has been sharded by its key
/// outside.
fn from_outside<K: Key>(circuit: &Nested, id: &str, side: &KeyedStream<K>) -> NestedKeyed<K> {
    let side = side.delta0(circuit).set_persistent_id(Some(&format!("{id}.outside")));
    side.inner().mark_sharded();
    side
}

/// The one of two edges that comes from outside.
fn outer<'a>(left: &'a Edge, right: &'a Edge) -> &'a Edge {
    if left.is_inner() { right } else { left }
}

struct Term<'a> {
    id: &'a str,
    plan: &'a RecursionPlan,
    errors: &'a Errors,
}

impl Term<'_> {
    /// What the term makes of the rows.
    fn build(&self, circuit: &Nested, rows: &NestedFlat, sides: &HashMap<usize, Outside>) -> NestedFlat {
        let mut outputs: Vec<Inside> = Vec::with_capacity(self.plan.operators.len());
        for (index, operator) in self.plan.operators.iter().enumerate() {
            let id = format!("{}.term{index}", self.id);
            let output = match (&operator.kind, sides.get(&index)) {
                (OperatorKind::Round, _) => Inside::Flat(rows.clone()),
                (OperatorKind::Join { left, right, .. }, Some(Outside::Short(side))) => {
                    Inside::Flat(self.join(circuit, &id, [left, right], side, &outputs, operator.decoder.key_width))
                }
                (OperatorKind::Join { left, right, .. }, Some(Outside::Row(side))) => {
                    Inside::Flat(self.join(circuit, &id, [left, right], side, &outputs, operator.decoder.key_width))
                }
                (OperatorKind::Match { left, keep, .. }, Some(Outside::Short(keys))) => {
                    Inside::Short(self.matched(circuit, &id, left, keys, &outputs, *keep))
                }
                (OperatorKind::Match { left, keep, .. }, Some(Outside::Row(keys))) => {
                    Inside::Row(self.matched(circuit, &id, left, keys, &outputs, *keep))
                }
                (OperatorKind::Union { inputs }, _) => {
                    let inputs = inputs.iter().enumerate();
                    let inputs = inputs.map(|(i, input)| self.flat(&format!("{id}.in{i}"), input, &outputs));
                    let inputs: Vec<NestedFlat> = inputs.collect();
                    let (first, rest) = inputs.split_first().expect("a union has inputs");
                    Inside::Flat(first.sum(rest).set_persistent_id(Some(&id)))
                }
                _ => unreachable!("the planner lets only linear operators read the rows of a recursion"),
            };
            outputs.push(output);
        }
        self.flat(&format!("{}.next", self.id), &self.plan.output, &outputs)
    }

    fn join<K: Key>(
        &self,
        circuit: &Nested,
        id: &str,
        [left, right]: [&Edge; 2],
        side: &KeyedStream<K>,
        outputs: &[Inside],
        width: usize,
    ) -> NestedFlat {
        let side = from_outside(circuit, id, side);
        let (left, right) = if left.is_inner() {
            (self.keyed(&format!("{id}.inside"), left, outputs), side)
        } else {
            (side, self.keyed(&format!("{id}.inside"), right, outputs))
        };
        let joined = left.join(&right, move |key, left, right| {
            key.with_words(width, |key| Row::concat(&[key, left.as_words(), right.as_words()]))
        });
        joined.set_persistent_id(Some(id))
    }

    /// The rows whose key is among `keys`, or is not.
    fn matched<K: Key>(
        &self,
        circuit: &Nested,
        id: &str,
        rows: &Edge,
        keys: &KeyedStream<K>,
        outputs: &[Inside],
        keep: Keep,
    ) -> NestedKeyed<K> {
        let keys = from_outside(circuit, id, keys);
        // Rows and those of them that have met are subtracted at the worker that has the key.
        let rows: NestedKeyed<K> = self.keyed(&format!("{id}.inside"), rows, outputs);
        let met = rows.join_index(&keys, |key, value, _| Some((key.clone(), value.clone())));
        match keep {
            Keep::Met => met.set_persistent_id(Some(id)),
            Keep::Unmet => {
                let met = met.set_persistent_id(Some(&format!("{id}.met")));
                rows.minus(&met).set_persistent_id(Some(id))
            }
        }
    }

    fn flat(&self, id: &str, edge: &Edge, outputs: &[Inside]) -> NestedFlat {
        let (origin, way) = self.way(edge, outputs);
        let piped = match origin {
            Inside::Flat(stream) => stream.apply(move |batch| OrdZSet::from_keys((), way.rows(batch))),
            Inside::Short(stream) => stream.apply(move |batch| OrdZSet::from_keys((), way.rows(batch))),
            Inside::Row(stream) => stream.apply(move |batch| OrdZSet::from_keys((), way.rows(batch))),
        };
        piped.set_persistent_id(Some(id))
    }

    /// The rows of an edge, at the worker that has their key.
    fn keyed<K: Key>(&self, id: &str, edge: &Edge, outputs: &[Inside]) -> NestedKeyed<K> {
        let (origin, way) = self.way(edge, outputs);
        let piped = match origin {
            Inside::Flat(stream) => stream.apply(move |batch| OrdIndexedZSet::from_tuples((), way.rows(batch))),
            Inside::Short(stream) => stream.apply(move |batch| OrdIndexedZSet::from_tuples((), way.rows(batch))),
            Inside::Row(stream) => stream.apply(move |batch| OrdIndexedZSet::from_tuples((), way.rows(batch))),
        };
        piped.set_persistent_id(Some(id)).shard()
    }

    fn way<'a>(&self, edge: &Edge, outputs: &'a [Inside]) -> (&'a Inside, Way) {
        let Edge::Inner { operator, pipe } = edge else { unreachable!("the edge stays within the term") };
        let decoder = Arc::clone(&self.plan.operators[*operator].decoder);
        (&outputs[*operator], Way { decoder, pipe: Arc::clone(pipe), errors: self.errors.clone() })
    }
}

/// What an epoch may take.
#[derive(Clone, Copy)]
struct Limits {
    rounds: u32,
    rows: u64,
    copies: u64,
}

const LIMITS: Limits = Limits { rounds: ROUNDS_MAX, rows: ROWS_MAX, copies: COPIES_MAX };

/// Lets the rows of a round pass until they are too many, and nothing after, so that the rounds end.
struct Bounded {
    errors: Errors,
    limits: Limits,
    rounds: u32,
    rows: u64,
}

impl Bounded {
    fn new(errors: &Errors, limits: Limits) -> Self {
        Bounded { errors: errors.clone(), limits, rounds: 0, rows: 0 }
    }

    /// What is exceeded, if anything is.
    fn excess(&mut self, batch: &OrdZSet<Row>) -> Option<&'static str> {
        let mut cursor = batch.cursor();
        while cursor.key_valid() {
            self.rows += 1;
            if (**cursor.weight()).unsigned_abs() > self.limits.copies {
                return Some("a row has more than two billion copies");
            }
            cursor.step_key();
        }
        match () {
            () if self.rounds > self.limits.rounds => Some("more than 100000 rounds, and there are still new rows"),
            () if self.rows > self.limits.rows => Some("more than 268 million rows in one epoch"),
            () => None,
        }
    }
}

impl Operator for Bounded {
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("Bounded")
    }

    fn clock_start(&mut self, scope: Scope) {
        if scope == 0 {
            (self.rounds, self.rows) = (0, 0);
        }
    }

    /// A round is a transaction of the nested circuit.
    fn start_transaction(&mut self) {
        self.rounds = self.rounds.saturating_add(1);
    }

    fn fixedpoint(&self, _: Scope) -> bool {
        true
    }
}

impl UnaryOperator<OrdZSet<Row>, OrdZSet<Row>> for Bounded {
    async fn eval(&mut self, batch: &OrdZSet<Row>) -> OrdZSet<Row> {
        if batch.is_empty() {
            return OrdZSet::empty();
        }
        match self.excess(batch) {
            Some(fact) => {
                self.errors.endless(fact);
                OrdZSet::empty()
            }
            None => batch.clone(),
        }
    }
}
