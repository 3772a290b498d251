//! The way into a nested circuit: an epoch may take several steps of the circuit around it, and the rounds run once,
//! over all of it. Over half an epoch they could find a circle that is not there before nor after.
//!
//! The last rows of a stream may come in one step at one worker and in another step at another one. So what a worker
//! has got waits until all workers have got all of theirs, and all gates open in the same step.

use std::borrow::Cow;
use std::collections::HashMap;

use dbsp::circuit::operator_traits::{BinaryOperator, Operator};
use dbsp::circuit::{Circuit, Scope};
use dbsp::{OrdIndexedZSet, OrdZSet, RootCircuit, Stream};
use tidegate_engine_row::Row;

use super::build::Flat;
use super::key::{Key, KeyedStream, Short};
use super::rounds::Outside;

/// All that goes into the nested circuit, in the step in which the last of it comes to any worker; sharded by its keys.
pub(super) fn together(id: &str, start: &Flat, sides: HashMap<usize, Outside>) -> (Flat, HashMap<usize, Outside>) {
    enum Held {
        Short(Stream<RootCircuit, Option<OrdIndexedZSet<Short, Row>>>),
        Row(Stream<RootCircuit, Option<OrdIndexedZSet<Row, Row>>>),
    }
    let held_start = held_flat(&format!("{id}.start"), start);
    let mut come = held_start.apply(|_| ()).set_persistent_id(Some(&format!("{id}.start.come")));
    let mut sides: Vec<(usize, Outside)> = sides.into_iter().collect();
    sides.sort_by_key(|(index, _)| *index);
    let mut held_sides = Vec::with_capacity(sides.len());
    for (index, side) in sides {
        let id = format!("{id}.side{index}");
        let held = match side {
            Outside::Short(side) => Held::Short(held_keyed(&id, &side)),
            Outside::Row(side) => Held::Row(held_keyed(&id, &side)),
        };
        let with = match &held {
            Held::Short(side) => come.apply2(side, |(), _| ()),
            Held::Row(side) => come.apply2(side, |(), _| ()),
        };
        come = with.set_persistent_id(Some(&format!("{id}.come")));
        held_sides.push((index, held));
    }
    let all = everywhere(id, &come);
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
    let whole = rows.shard().accumulate().into_enabled_stream();
    let held = whole.apply(|rows| rows.as_ref().map(|rows| rows.ro_snapshot().consolidate()));
    held.set_persistent_id(Some(&format!("{id}.held")))
}

/// The same for a keyed stream.
fn held_keyed<K: Key>(id: &str, rows: &KeyedStream<K>) -> Stream<RootCircuit, Option<OrdIndexedZSet<K, Row>>> {
    let whole = rows.shard().accumulate().into_enabled_stream();
    let held = whole.apply(|rows| rows.as_ref().map(|rows| rows.ro_snapshot().consolidate()));
    held.set_persistent_id(Some(&format!("{id}.held")))
}

/// A stream of nothing that is flushed in the same step at every worker, that in which the last one of them has flushed
/// `come`. It is an exchange of no rows: in every step all workers wait for what all of them send in it, and one
/// that is flushed says so.
fn everywhere(id: &str, come: &Stream<RootCircuit, ()>) -> Flat {
    let nothing = come.apply(|()| OrdZSet::empty()).set_persistent_id(Some(&format!("{id}.come")));
    nothing.shard()
}

fn gate<B: Clone + 'static>(held: &Stream<RootCircuit, Option<B>>, all: &Flat, nothing: B) -> Stream<RootCircuit, B> {
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

impl<B: Clone + 'static> BinaryOperator<Option<B>, OrdZSet<Row>, B> for Gate<B> {
    async fn eval(&mut self, rows: &Option<B>, _: &OrdZSet<Row>) -> B {
        if let Some(rows) = rows {
            self.held = Some(rows.clone());
        }
        match std::mem::replace(&mut self.last, Last::No) {
            Last::Yes => self.held.take().unwrap_or_else(|| self.nothing.clone()),
            Last::No => self.nothing.clone(),
        }
    }
}
