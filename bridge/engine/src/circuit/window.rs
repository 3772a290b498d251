//! Window functions and first rows of an order: from plan nodes to operators that recompute the touched
//! partitions, and the operators themselves.
//!
//! Rows are kept by partition as ordered rows. When a partition changes, a window's aggregator reads it in
//! order and answers the list of its rows with their results; the lists before and after are spread into
//! rows, and only what differs flows on. First rows go through DBSP's top-k, which reads no more rows than
//! it answers; a second aggregator cuts copies off at the limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::datatypes::{Field, FieldRef};
use datafusion_expr::expr::Sort;
use datafusion_expr::{Expr, Window};
use dbsp::algebra::{HasZero, UnimplementedSemigroup};
use dbsp::dynamic::{DataTrait, DynUnit, Erase, WeightTrait};
use dbsp::operator::Aggregator;
use dbsp::trace::Cursor;
use dbsp::utils::Tup2;
use dbsp::{OrdZSet, RootCircuit, Stream, ZWeight};
use tidegate_engine_row::{KeyMode, Row, RowCodec, RowError};
use tidegate_engine_sql::{TopRows, WindowCall, window_call};

use super::compile::{Compiler, Origin, Relation, nullable};
use super::frame::{Function, Partition};
use super::key::{Key, KeyShape, KeyedStream};
use super::order::{Direction, Nulls, OrderKey, OrderedEncoder, RowList, keys_and_columns};
use super::pipe::{Decoder, Encoder, KeyedEncoder, ValueEncoder};
use super::plan::{Edge, OperatorKind};
use super::recompute::{Call, OrderKey as InnerKey, Recompute as Recomputed};
use super::way::{Errors, each_keyed};
use crate::EngineError;

/// The functions of a window operator.
pub(crate) struct WindowPlan {
    pub functions: Vec<Function>,
    /// The aggregates among them that are computed from all rows of a frame.
    recomputed: Option<Recomputed>,
    /// Of the functions' results.
    pub codec: RowCodec,
}

/// Which rows of a partition stay.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TopPlan {
    pub skip: usize,
    pub fetch: usize,
}

impl Compiler<'_> {
    pub fn window(&mut self, window: &Window) -> Result<Origin, EngineError> {
        let calls: Option<Vec<WindowCall>> = window.window_expr.iter().map(window_call).collect();
        let calls = calls.filter(|calls| !calls.is_empty());
        let calls = calls.ok_or_else(|| self.unsupported("a window function".to_owned()))?;
        let input = self.relation(&window.input)?;
        let mut columns = Columns::of(&input);
        let keys = columns.order(calls[0].order_by);
        let mut recomputed = Vec::new();
        let draft: Vec<_> = calls.iter().map(|call| columns.call(call, &mut recomputed)).collect();
        let (edge, key, values) = self.partitions(&input, calls[0].partition_by, &columns, &keys)?;
        let width = input.schema.fields().len();
        let schema = nullable(window.schema.inner());
        let results: Vec<FieldRef> = calls
            .iter()
            .zip(&schema.fields()[width..])
            .map(|(call, field)| Arc::new(Field::new(field.name(), call.return_type.clone(), true)))
            .collect();
        let functions = calls.iter().zip(draft).map(|(call, places)| Function::new(call, &places, &values));
        let functions = functions.collect::<Result<Vec<_>, _>>().map_err(|construct| self.unsupported(construct))?;
        let recomputed = match recomputed.is_empty() {
            true => None,
            false => Some(Recomputed::new(self.view.clone(), values.clone(), recomputed)?),
        };
        let codec = RowCodec::new(&results, KeyMode::Exact)?;
        let value_width = values.fields().count();
        let decoder = Decoder {
            codec: RowCodec::concat(&[values, codec.clone()]),
            keyed: None,
            key_width: 0,
            columns: (0..width).chain(value_width..value_width + results.len()).collect(),
            schema,
        };
        let window = Arc::new(WindowPlan { functions, recomputed, codec });
        Ok(self.operator(OperatorKind::Window { input: edge, key, window }, decoder))
    }

    pub fn top(&mut self, node: &TopRows) -> Result<Origin, EngineError> {
        let input = self.relation(&node.input)?;
        let mut columns = Columns::of(&input);
        let keys = columns.order(&node.order_by);
        let (edge, key, values) = self.partitions(&input, &node.partition_by, &columns, &keys)?;
        let schema = nullable(node.input.schema().inner());
        let decoder =
            Decoder { codec: values, keyed: None, key_width: 0, columns: (0..schema.fields().len()).collect(), schema };
        let top = TopPlan { skip: node.skip, fetch: node.fetch };
        Ok(self.operator(OperatorKind::Top { input: edge, key, top }, decoder))
    }

    /// The edge that brings rows by partition and in order, and the codec of their columns.
    fn partitions(
        &mut self,
        input: &Relation,
        partition_by: &[Expr],
        columns: &Columns,
        keys: &[OrderKey],
    ) -> Result<(Edge, KeyShape, RowCodec), EngineError> {
        let exprs: Vec<Expr> = partition_by.iter().chain(&columns.0).cloned().collect();
        let (stretch, projected) = self.project(input, &exprs)?;
        let (key_fields, value_fields) = projected.split_at(partition_by.len());
        let key = RowCodec::new(key_fields, KeyMode::Canonical)?;
        let values = RowCodec::new(value_fields, KeyMode::Exact)?;
        let shape = KeyShape::of(&key);
        let encoder = Encoder::Keyed(KeyedEncoder {
            keys: partition_by.len(),
            key,
            value: ValueEncoder::Ordered(OrderedEncoder::new(values.clone(), keys)),
            required: Vec::new(),
        });
        Ok((self.edge(input, stretch, encoder), shape, values))
    }
}

/// The columns of a partition's rows: all of the input, then what keys and functions compute besides.
pub(super) struct Columns(Vec<Expr>);

/// Where the expressions of a call stand among the columns.
pub(crate) struct Places {
    pub argument: Option<usize>,
    pub default: Option<usize>,
    pub filter: Option<usize>,
    pub range_key: Option<usize>,
    pub range_start: Option<usize>,
    pub range_end: Option<usize>,
    /// Which of the recomputed aggregates it is.
    pub recomputed: Option<usize>,
}

impl Columns {
    fn of(input: &Relation) -> Self {
        Columns(input.schema.columns().into_iter().map(Expr::Column).collect())
    }

    fn place(&mut self, expr: &Expr) -> usize {
        self.0.iter().position(|known| known == expr).unwrap_or_else(|| {
            self.0.push(expr.clone());
            self.0.len() - 1
        })
    }

    fn order(&mut self, keys: &[Sort]) -> Vec<OrderKey> {
        let key = |key: &Sort| OrderKey {
            column: self.place(&key.expr),
            direction: if key.asc { Direction::Ascending } else { Direction::Descending },
            nulls: if key.nulls_first { Nulls::First } else { Nulls::Last },
        };
        keys.iter().map(key).collect()
    }

    fn call(&mut self, call: &WindowCall, recomputed: &mut Vec<Call>) -> Places {
        let aggregate = self.recomputed(call);
        let aggregate = aggregate.map(|aggregate| {
            recomputed.push(aggregate);
            recomputed.len() - 1
        });
        let mut place = |expr: Option<&Expr>| expr.map(|expr| self.place(expr));
        Places {
            argument: place(call.argument),
            default: place(call.default),
            filter: place(call.filter),
            range_key: place(call.range_key),
            range_start: place(call.range_start),
            range_end: place(call.range_end),
            recomputed: aggregate,
        }
    }

    fn recomputed(&mut self, call: &WindowCall) -> Option<Call> {
        let inner_keys = call.inner_keys();
        let aggregate = call.recomputed(&inner_keys)?;
        let key =
            |key: &Sort| InnerKey { column: self.place(&key.expr), descending: !key.asc, nulls_first: key.nulls_first };
        Some(Call {
            function: aggregate.function.clone(),
            name: call.kind.name().to_owned(),
            order: inner_keys.iter().map(key).collect(),
            arguments: aggregate.arguments.iter().map(|argument| self.place(argument)).collect(),
            distinct: aggregate.distinct,
            filter: aggregate.filter.map(|filter| self.place(filter)),
            return_type: aggregate.return_type.clone(),
        })
    }
}

/// The rows of each partition with the functions' results.
pub(super) fn windowed<K: Key>(
    id: &str,
    input: &KeyedStream<K>,
    plan: &Arc<WindowPlan>,
    errors: &Errors,
    count: &Arc<AtomicU64>,
) -> Stream<RootCircuit, OrdZSet<Row>> {
    let what = What::Window { plan: Arc::clone(plan), errors: errors.clone() };
    let compute = Recompute { what, count: Arc::clone(count) };
    let lists = input.aggregate_persistent(Some(id), compute).set_persistent_id(Some(&format!("{id}.lists")));
    spread(id, &lists)
}

/// The first rows of each partition.
pub(super) fn top<K: Key>(
    id: &str,
    input: &KeyedStream<K>,
    plan: TopPlan,
    errors: &Errors,
    count: &Arc<AtomicU64>,
) -> Stream<RootCircuit, OrdZSet<Row>> {
    // No more distinct rows than this can be among the first ones.
    let first = input.topk_asc_persistent(Some(&format!("{id}.first")), plan.skip.saturating_add(plan.fetch));
    let first = first.set_persistent_id(Some(&format!("{id}.first.out")));
    let what = What::Top { plan, errors: errors.clone() };
    let lists = first.aggregate_persistent(Some(id), Recompute { what, count: Arc::clone(count) });
    spread(id, &lists.set_persistent_id(Some(&format!("{id}.lists"))))
}

fn spread<K: Key>(id: &str, lists: &KeyedStream<K>) -> Stream<RootCircuit, OrdZSet<Row>> {
    let rows = lists.apply(|lists| {
        let mut rows = Vec::new();
        each_keyed(lists, |_, list, weight| {
            rows.extend(RowList::rows(list).map(|(row, copies)| Tup2(row, copies * weight)));
        });
        OrdZSet::from_keys((), rows)
    });
    rows.set_persistent_id(Some(&format!("{id}.rows")))
}

/// Computes the list of a partition's results from all its rows.
#[derive(Clone)]
struct Recompute {
    what: What,
    count: Arc<AtomicU64>,
}

#[derive(Clone)]
enum What {
    Window { plan: Arc<WindowPlan>, errors: Errors },
    Top { plan: TopPlan, errors: Errors },
}

impl Recompute {
    fn list(&self, rows: &[(Row, ZWeight)]) -> Row {
        let copies: i64 = rows.iter().map(|(_, copies)| copies).sum();
        self.count.fetch_add(copies.unsigned_abs(), Ordering::Relaxed);
        match &self.what {
            What::Window { plan, errors } => plan.list(rows, errors).unwrap_or_else(|error| {
                errors.keep(error);
                Row::default()
            }),
            What::Top { plan, errors } => errors.told(plan.list(rows)).unwrap_or_default(),
        }
    }
}

impl WindowPlan {
    fn list(&self, rows: &[(Row, ZWeight)], errors: &Errors) -> Result<Row, EngineError> {
        let partition = Partition::new(rows);
        let ones = vec![1; if self.recomputed.is_some() { partition.len() } else { 0 }];
        let columns = (0..partition.len()).map(|row| partition.columns(row));
        let recomputed = match &self.recomputed {
            Some(recomputed) => Some((recomputed, recomputed.partition(columns, &ones)?)),
            None => None,
        };
        let mut results = Vec::with_capacity(self.functions.len());
        for function in &self.functions {
            results.push(match (function.recomputed(), &recomputed) {
                (Some(call), Some((recomputed, group))) => {
                    let frames = function.frames(&partition).map_err(|error| errors.named(error))?;
                    recomputed.over(call, group, &frames)?
                }
                _ => function.results(&partition).map_err(|error| errors.named(error))?,
            });
        }
        let mut list = RowList::default();
        for row in 0..partition.len() {
            let mut writer = self.codec.writer();
            results.iter().for_each(|column| column[row].write(&mut writer));
            list.push(&[partition.columns(row), writer.finish().as_words()], 1);
        }
        list.finish().map_err(|error| errors.named(error))
    }
}

impl TopPlan {
    fn list(self, rows: &[(Row, ZWeight)]) -> Result<Row, RowError> {
        let mut list = RowList::default();
        let (mut skip, mut left) = (self.skip as i64, self.fetch as i64);
        for (row, copies) in rows {
            let skipped = skip.min(*copies);
            skip -= skipped;
            let taken = left.min(copies - skipped);
            left -= taken;
            if taken > 0 {
                list.push(&[keys_and_columns(row.as_words()).1], taken);
            }
        }
        list.finish()
    }
}

impl Aggregator<Row, (), ZWeight> for Recompute {
    type Accumulator = Row;
    type Semigroup = UnimplementedSemigroup<Row>;
    type Output = Row;

    fn aggregate<V, W>(&self, cursor: &mut dyn Cursor<V, DynUnit, (), W>) -> Option<Row>
    where
        V: DataTrait + ?Sized,
        W: WeightTrait + ?Sized,
        Row: Erase<V>,
        ZWeight: Erase<W>,
    {
        let mut rows: Vec<(Row, ZWeight)> = Vec::new();
        while cursor.key_valid() {
            let mut copies: ZWeight = HasZero::zero();
            // SAFETY: the batch was built with integer weights.
            cursor.map_times(&mut |(), weight| copies += unsafe { weight.downcast::<ZWeight>() });
            if copies > 0 {
                // SAFETY: the batch was built with `Row` values.
                rows.push((unsafe { cursor.key().downcast::<Row>() }.clone(), copies));
            }
            cursor.step_key();
        }
        (!rows.is_empty()).then(|| self.list(&rows))
    }

    fn finalize(&self, list: Row) -> Row {
        list
    }
}
