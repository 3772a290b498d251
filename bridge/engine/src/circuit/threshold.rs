//! Rows compared with one value: from the plan's node to an operator that touches the rows between the old value
//! and the new one.
//!
//! The rows are kept by what is compared, in the order of its words, each on the worker of that key. The bound is
//! told to all workers, and each keeps it ([`passing`](super::passing)).

use std::slice;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use datafusion_common::NullEquality;
use dbsp::algebra::AddAssignByRef;
use dbsp::operator::communication::{ExchangeActivity, Mailbox, new_exchange_operators};
use dbsp::trace::BatchReader;
use dbsp::utils::Tup2;
use dbsp::{Circuit, OrdZSet, RootCircuit, Runtime, Stream, ZWeight};
use tidegate_engine_row::{KeyMode, RowCodec};
use tidegate_engine_sql::{Comparison, Threshold};

use super::compile::{Compiler, Origin, non_null, nullable};
use super::key::{Key, KeyShape, KeyedStream};
use super::passing::{Passing, weighted_keys};
use super::pipe::{Decoder, Encoder, KeyedEncoder, ValueEncoder};
use super::plan::OperatorKind;
use super::way::{Errors, each_keyed};
use crate::EngineError;

impl Compiler<'_> {
    /// The rows that pass. Those with a NULL never do, and are not kept.
    pub fn threshold(&mut self, node: &Threshold) -> Result<Origin, EngineError> {
        let (input, source) = (self.relation(&node.input)?, self.relation(&node.source)?);
        let rows = self.join_side(&input, slice::from_ref(&node.value), NullEquality::NullEqualsNothing, false)?;
        let (stretch, bound) = self.project(&source, slice::from_ref(&node.bound))?;
        let encoder = KeyedEncoder {
            keys: 1,
            key: RowCodec::new(&non_null(&bound), KeyMode::Canonical)?,
            value: ValueEncoder::Row(RowCodec::new(&[], KeyMode::Exact)?),
            required: vec![0],
        };
        let bound = self.edge(&source, stretch, Encoder::Keyed(encoder));
        let (key_codec, value) = (rows.key_codec.clone(), rows.value_codec.clone());
        let decoder = Decoder {
            codec: RowCodec::concat(&[key_codec.clone(), value.clone()]),
            key_width: key_codec.fixed_words().unwrap_or(0),
            columns: rows.columns(1).collect(),
            schema: nullable(node.input.schema().inner()),
            keyed: Some((key_codec.clone(), value)),
        };
        let (key, comparison) = (KeyShape::of(&key_codec), node.comparison);
        Ok(self.operator(OperatorKind::Threshold { input: rows.edge, bound, key, comparison }, decoder))
    }
}

/// The rows of `input` whose keys pass the only key of `bound`; `touched` counts those that a bound passes over.
pub(super) fn passing<K: Key>(
    id: &str,
    input: &KeyedStream<K>,
    bound: &KeyedStream<K>,
    comparison: Comparison,
    errors: &Errors,
    touched: &Arc<AtomicU64>,
) -> KeyedStream<K> {
    let input = input.shard();
    let bound = told_to_all(id, bound);
    let operator = Passing::<K>::new(comparison, errors.clone(), Arc::clone(touched));
    let changes = input.accumulate().into_enabled_stream();
    let moves = bound.accumulate().into_enabled_stream();
    let (rows, bounds) = (input.accumulate_integrate_trace(), bound.accumulate_integrate_trace());
    let passing = input.circuit().add_quaternary_operator(operator, &changes, &rows, &moves, &bounds);
    passing.set_persistent_id(Some(id))
}

/// The keys of a stream, all of them on every worker.
fn told_to_all<K: Key>(id: &str, stream: &KeyedStream<K>) -> Stream<RootCircuit, OrdZSet<K>> {
    let keys = stream.apply(|batch| {
        let mut keys: Vec<Tup2<K, ZWeight>> = Vec::new();
        each_keyed(batch, |key, _, weight| keys.push(Tup2(key.clone(), weight)));
        OrdZSet::from_keys((), keys)
    });
    let keys = keys.set_persistent_id(Some(&format!("{id}.bound.keys")));
    let exchange = new_exchange_operators(
        None,
        OrdZSet::<K>::empty,
        |batch: OrdZSet<K>, outputs: &mut Vec<Mailbox<Vec<Tup2<K, ZWeight>>>>| {
            let keys = weighted_keys(batch.cursor());
            outputs.extend((0..Runtime::num_workers()).map(|_| Mailbox::Plain(keys.clone())));
        },
        |_| unreachable!("all workers of a circuit are threads of one process"),
        |all: &mut OrdZSet<K>, keys: Vec<Tup2<K, ZWeight>>| {
            if !keys.is_empty() {
                all.add_assign_by_ref(&OrdZSet::from_keys((), keys));
            }
        },
        ExchangeActivity::AllSteps,
    );
    match exchange {
        Some((sender, receiver)) => {
            let all = keys.circuit().add_exchange(sender, receiver, &keys);
            all.set_persistent_id(Some(&format!("{id}.bound.told")))
        }
        None => keys,
    }
}
