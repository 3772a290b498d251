//! ASOF joins: each left row with the nearest right row of its key.
//!
//! Both sides are kept by key as ordered rows. DBSP's operator looks a changed left row up among the right rows, with
//! the left rows that are equal in what is ordered; for a changed right row it goes through the left rows from there
//! to the next right row. It meets the last right row that does not come after the left one; to look the other way
//! both sides are kept in the opposite order. Right rows are distinct there: copies are one row to be met.
//!
//! Left rows with a NULL in what is compared, and those that fail a condition on the left side, meet none. Where
//! they stay they pass beside the circuit's state.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion_common::ScalarValue;
use datafusion_expr::Expr;
use dbsp::{OrdZSet, RootCircuit, Stream};
use smallvec::SmallVec;
use tidegate_core::RowIdentity;
use tidegate_engine_row::{KeyMode, Row, RowCodec};
use tidegate_engine_sql::{AsOf, Nearest, Stretch, Unmet, identity};

use super::compile::{Compiler, Origin, Relation, non_null, nullable};
use super::key::{Key, KeyShape, KeyedStream};
use super::order::{Direction, Nulls, OrderKey, OrderedEncoder, keys_and_columns};
use super::outer::candidates;
use super::pipe::{Decoder, Encoder, KeyedEncoder, ValueEncoder};
use super::plan::{Edge, OperatorKind};
use crate::EngineError;

/// How the rows of both sides meet.
#[derive(Clone)]
pub(crate) struct AsOfPlan {
    bound: Bound,
    /// The columns of the right side for left rows that meet none; without it these are left out.
    nothing: Option<Row>,
    copies: Copies,
}

/// Whether a left row meets a right row with which it is equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    Inclusive,
    Exclusive,
}

/// Whether there may be several equal right rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copies {
    One,
    Several,
}

impl Compiler<'_> {
    pub fn asof(&mut self, node: &AsOf) -> Result<Origin, EngineError> {
        let left = self.relation(&node.left)?;
        let right = self.relation(&node.right)?;
        let (left_keys, right_keys): (Vec<Expr>, Vec<Expr>) = node.on.iter().cloned().unzip();
        let (direction, bound) = match node.nearest {
            Nearest::AtOrBefore => (Direction::Ascending, Bound::Inclusive),
            Nearest::Before => (Direction::Ascending, Bound::Exclusive),
            Nearest::AtOrAfter => (Direction::Descending, Bound::Inclusive),
            Nearest::After => (Direction::Descending, Bound::Exclusive),
        };
        let met = candidates(&left, &node.conditions)?;
        let (left_edge, key, left_codec) = self.in_order(&met, &left_keys, &node.order.0, direction)?;
        let (right_edge, _, right_codec) = self.in_order(&right, &right_keys, &node.order.1, direction)?;
        let (left_width, right_width) = (left.schema.fields().len(), right.schema.fields().len());
        let left_values = left_codec.fields().count();
        let schema = nullable(node.columns().inner());
        let unique = matches!(identity(&node.right), RowIdentity::Key(_));
        let asof = Arc::new(AsOfPlan {
            bound,
            nothing: (node.unmet == Unmet::Kept).then(|| nulls(&right_codec)),
            copies: if unique { Copies::One } else { Copies::Several },
        });
        let decoder = Decoder {
            codec: RowCodec::concat(&[left_codec, right_codec]),
            keyed: None,
            key_width: 0,
            columns: (0..left_width).chain(left_values..left_values + right_width).collect(),
            schema: Arc::clone(&schema),
        };
        let origin = self.operator(OperatorKind::AsOf { left: left_edge, right: right_edge, key, asof }, decoder);
        if node.unmet == Unmet::Dropped {
            return Ok(origin);
        }
        let compared: Vec<Expr> = left_keys.into_iter().chain([node.order.0.clone()]).collect();
        let Some(stretch) = self.left_out(&left, &node.conditions, &compared)? else { return Ok(origin) };
        let mut padded: Vec<Expr> = left.schema.columns().into_iter().map(Expr::Column).collect();
        for field in right.schema.fields() {
            let null = ScalarValue::try_from(field.data_type()).map_err(|error| self.failed(&error))?;
            padded.push(Expr::Literal(null, None));
        }
        let unmet = self.projected(&left, stretch, &padded, &schema)?;
        let columns = Arc::new(node.columns().clone());
        let met = Relation { origin, residual: None, stretch: Stretch::nothing(columns.as_arrow()), schema: columns };
        let met = self.flat_edge(&met, &schema, KeyMode::Exact)?;
        self.union(vec![met, unmet], &schema)
    }

    /// The edge that brings the rows of a side by key and in order, and the codec of their columns: all of the side,
    /// and what is ordered if it is none of these. Rows with a NULL in what is compared are left out.
    fn in_order(
        &mut self,
        side: &Relation,
        keys: &[Expr],
        order: &Expr,
        direction: Direction,
    ) -> Result<(Edge, KeyShape, RowCodec), EngineError> {
        let mut columns: Vec<Expr> = side.schema.columns().into_iter().map(Expr::Column).collect();
        let column = columns.iter().position(|column| column == order).unwrap_or(columns.len());
        if column == columns.len() {
            columns.push(order.clone());
        }
        let exprs: Vec<Expr> = keys.iter().chain(&columns).cloned().collect();
        let (stretch, projected) = self.project(side, &exprs)?;
        let (key_fields, value_fields) = projected.split_at(keys.len());
        let key = RowCodec::new(&non_null(key_fields), KeyMode::Canonical)?;
        let values = RowCodec::new(value_fields, KeyMode::Exact)?;
        let shape = KeyShape::of(&key);
        let order = OrderKey { column, direction, nulls: Nulls::Last };
        let encoder = Encoder::Keyed(KeyedEncoder {
            keys: keys.len(),
            key,
            value: ValueEncoder::Ordered(OrderedEncoder::new(values.clone(), &[order])),
            required: (0..keys.len()).chain([keys.len() + column]).collect(),
        });
        Ok((self.edge(side, stretch, encoder), shape, values))
    }
}

/// A row of NULLs.
fn nulls(codec: &RowCodec) -> Row {
    let mut writer = codec.writer();
    for _ in codec.fields() {
        writer.put(None);
    }
    writer.finish()
}

/// The rows of `left`, each with the right row that it meets.
pub(super) fn asof<K: Key>(
    id: &str,
    left: &KeyedStream<K>,
    right: &KeyedStream<K>,
    plan: &AsOfPlan,
    count: &Arc<AtomicU64>,
) -> Stream<RootCircuit, OrdZSet<Row>> {
    let right = match plan.copies {
        Copies::One => right.clone(),
        Copies::Several => right.distinct().set_persistent_id(Some(&format!("{id}.distinct"))),
    };
    let (nothing, count) = (plan.nothing.clone(), Arc::clone(count));
    let join = move |_: &K, left: &Row, right: Option<&Row>| {
        count.fetch_add(1, Ordering::Relaxed);
        let left = keys_and_columns(left.as_words()).1;
        match (right, &nothing) {
            (Some(right), _) => Row::concat(&[left, keys_and_columns(right.as_words()).1]),
            (None, Some(nothing)) => Row::concat(&[left, nothing.as_words()]),
            (None, None) => Row::empty(),
        }
    };
    // What is equal comes after the left row where it is not to be met.
    let before = u64::from(plan.bound == Bound::Inclusive);
    let met = left.asof_join(&right, join, move |row: &Row| moment(row, before), |row: &Row| moment(row, 1));
    let met = met.set_persistent_id(Some(id));
    if plan.nothing.is_some() {
        return met;
    }
    // Rows have words: those of what is ordered are among their columns.
    met.filter(|row| !row.as_words().is_empty()).set_persistent_id(Some(&format!("{id}.met")))
}

/// What orders a row, and a word that tells equal ones of both sides apart.
fn moment(row: &Row, side: u64) -> Row {
    let mut words = SmallVec::<[u64; 8]>::from_slice(keys_and_columns(row.as_words()).0);
    words.push(side);
    Row::from_words(&words)
}
