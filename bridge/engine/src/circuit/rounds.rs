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
//! until none changes any more. In the term, rows of the recursion meet rows from outside alone: the join
//! of DBSP 0.349 loses rows where both of its inputs change in later rounds (`JoinTrace::eval` leaves out
//! what comes for a time that is taken in `future_outputs`), and what comes from outside changes in the first round only.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use dbsp::circuit::circuit_builder::IterativeCircuit;
use dbsp::circuit::operator_traits::{BinaryOperator, Operator, UnaryOperator};
use dbsp::circuit::{Circuit, Scope};
use dbsp::operator::DelayedFeedback;
use dbsp::trace::{BatchReader, Cursor};
use dbsp::typed_batch::Spine;
use dbsp::{OrdIndexedZSet, OrdZSet, RootCircuit, Stream};
use tidegate_engine_row::Row;
use tidegate_engine_sql::RecursiveUnion;

use super::build::{Builder, Flat};
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
/// wrap it around.
const COPIES_MAX: u64 = 1 << 40;

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
enum Outside {
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
                RecursiveUnion::Distinct => added.distinct().set_persistent_id(Some(&format!("{id}.distinct"))),
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
        let side = side.delta0(circuit).set_persistent_id(Some(&format!("{id}.outside")));
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
        let keys = keys.delta0(circuit).set_persistent_id(Some(&format!("{id}.outside")));
        // Rows and those of them that have met are subtracted at the worker that has the key.
        let rows: NestedKeyed<K> = self.keyed(&format!("{id}.inside"), rows, outputs).shard();
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

    fn keyed<K: Key>(&self, id: &str, edge: &Edge, outputs: &[Inside]) -> NestedKeyed<K> {
        let (origin, way) = self.way(edge, outputs);
        let piped = match origin {
            Inside::Flat(stream) => stream.apply(move |batch| OrdIndexedZSet::from_tuples((), way.rows(batch))),
            Inside::Short(stream) => stream.apply(move |batch| OrdIndexedZSet::from_tuples((), way.rows(batch))),
            Inside::Row(stream) => stream.apply(move |batch| OrdIndexedZSet::from_tuples((), way.rows(batch))),
        };
        piped.set_persistent_id(Some(id))
    }

    fn way<'a>(&self, edge: &Edge, outputs: &'a [Inside]) -> (&'a Inside, Way) {
        let Edge::Inner { operator, pipe } = edge else { unreachable!("the edge stays within the term") };
        let decoder = Arc::clone(&self.plan.operators[*operator].decoder);
        (&outputs[*operator], Way { decoder, pipe: Arc::clone(pipe), errors: self.errors.clone() })
    }
}

/// All that goes into the nested circuit, brought together: an epoch may take several steps of the circuit
/// around it, and the rounds run once, over all of it. Over half an epoch they could find a circle that
/// is not there before nor after.
fn together(id: &str, start: &Flat, sides: HashMap<usize, Outside>) -> (Flat, HashMap<usize, Outside>) {
    let held_start = held_flat(&format!("{id}.start"), start);
    let mut all = held_start.apply(|_| ()).set_persistent_id(Some(&format!("{id}.start.come")));
    enum Held {
        Short(Stream<RootCircuit, Option<OrdIndexedZSet<Short, Row>>>),
        Row(Stream<RootCircuit, Option<OrdIndexedZSet<Row, Row>>>),
    }
    let mut sides: Vec<(usize, Outside)> = sides.into_iter().collect();
    sides.sort_by_key(|(index, _)| *index);
    let mut held_sides = Vec::with_capacity(sides.len());
    for (index, side) in sides {
        let id = format!("{id}.side{index}");
        let come = Some(format!("{id}.come"));
        let held = match side {
            Outside::Short(side) => Held::Short(held_keyed(&id, &side)),
            Outside::Row(side) => Held::Row(held_keyed(&id, &side)),
        };
        let with = match &held {
            Held::Short(side) => all.apply2(side, |(), _| ()),
            Held::Row(side) => all.apply2(side, |(), _| ()),
        };
        all = with.set_persistent_id(come.as_deref());
        held_sides.push((index, held));
    }
    let sides = held_sides.into_iter().map(|(index, held)| {
        let id = Some(format!("{id}.side{index}.gate"));
        let side = match held {
            Held::Short(side) => {
                Outside::Short(gate(&side, &all, OrdIndexedZSet::empty()).set_persistent_id(id.as_deref()))
            }
            Held::Row(side) => {
                Outside::Row(gate(&side, &all, OrdIndexedZSet::empty()).set_persistent_id(id.as_deref()))
            }
        };
        (index, side)
    });
    let start = gate(&held_start, &all, OrdZSet::empty()).set_persistent_id(Some(&format!("{id}.start.gate")));
    (start, sides.collect())
}

/// What a stream has brought in the whole epoch, in the step in which its last rows come.
fn held_flat(id: &str, rows: &Flat) -> Stream<RootCircuit, Option<OrdZSet<Row>>> {
    let whole = rows.accumulate().into_enabled_stream();
    let held = whole.apply(|rows| rows.as_ref().map(|rows| rows.ro_snapshot().consolidate()));
    held.set_persistent_id(Some(&format!("{id}.held")))
}

/// The same for a keyed stream.
fn held_keyed<K: Key>(id: &str, rows: &KeyedStream<K>) -> Stream<RootCircuit, Option<OrdIndexedZSet<K, Row>>> {
    let whole = rows.accumulate().into_enabled_stream();
    let held = whole.apply(|rows| rows.as_ref().map(|rows| rows.ro_snapshot().consolidate()));
    held.set_persistent_id(Some(&format!("{id}.held")))
}

fn gate<B: Clone + 'static>(
    held: &Stream<RootCircuit, Option<B>>,
    all: &Stream<RootCircuit, ()>,
    nothing: B,
) -> Stream<RootCircuit, B> {
    held.circuit().add_binary_operator(Gate { held: None, nothing, last: Last::No }, held, all)
}

/// Holds the rows of one stream until all streams have brought theirs: it is flushed when all that it reads is.
struct Gate<B> {
    held: Option<B>,
    nothing: B,
    last: Last,
}

/// Whether the step is that in which the last rows of the epoch come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Yes,
    No,
}

impl<B: Clone + 'static> Operator for Gate<B> {
    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("Gate")
    }

    fn fixedpoint(&self, _: Scope) -> bool {
        true
    }

    fn flush(&mut self) {
        self.last = Last::Yes;
    }
}

impl<B: Clone + 'static> BinaryOperator<Option<B>, (), B> for Gate<B> {
    async fn eval(&mut self, rows: &Option<B>, (): &()) -> B {
        if let Some(rows) = rows {
            self.held = Some(rows.clone());
        }
        match std::mem::replace(&mut self.last, Last::No) {
            Last::Yes => self.held.take().unwrap_or_else(|| self.nothing.clone()),
            Last::No => self.nothing.clone(),
        }
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
        self.rounds = self.rounds.saturating_add(1);
        let mut cursor = batch.cursor();
        while cursor.key_valid() {
            self.rows += 1;
            if (**cursor.weight()).unsigned_abs() > self.limits.copies {
                return Some("a row has more than a trillion copies");
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

    fn fixedpoint(&self, _: Scope) -> bool {
        true
    }
}

impl UnaryOperator<OrdZSet<Row>, OrdZSet<Row>> for Bounded {
    async fn eval(&mut self, batch: &OrdZSet<Row>) -> OrdZSet<Row> {
        if batch.is_empty() {
            // Changes of later rounds may wait while there is nothing now.
            self.rounds = self.rounds.saturating_add(1);
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
