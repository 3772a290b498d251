//! Window functions bound: their DuckDB types, and one node for each window.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion_common::{DFSchema, ScalarValue};
use datafusion_expr::expr::{NullTreatment, Sort, WindowFunction, WindowFunctionParams};
use datafusion_expr::{AggregateUDF, Expr, LogicalPlan, Signature, Volatility, WindowFrame, WindowFunctionDefinition};

use super::aggregate::{self, AggregateKind};
use super::bind::{bind, bind_condition, bind_settled};
use super::bound::Bound;
use super::cast;
use super::compare::canonical;
use super::plan::{bind_plan, named};
use super::recomputed::recomputed_call;
use super::recomputed_bind;
use super::recomputed_udf::Function;
use super::window::{Frame, FrameBound, FrameUnits, WindowKind, read_over_name, window_call};
use super::window_frame::frame;
use super::window_udf::{Places, Windowed};
use crate::error::Refusal;

/// Binds a window node. Functions over different windows become nodes one over the other, those that only
/// number rows last, so that a condition on the numbers can choose rows before them.
pub(super) fn bind_window(node: datafusion_expr::Window) -> Result<LogicalPlan, Refusal> {
    let input = bind_plan(Arc::unwrap_or_clone(node.input))?;
    let width = input.schema().fields().len();
    let mut groups: Vec<Vec<Expr>> = Vec::new();
    for (position, expr) in node.window_expr.iter().enumerate() {
        let (qualifier, field) = node.schema.qualified_field(width + position);
        let bound = named(bind_call(expr, input.schema())?, qualifier, field.name());
        match groups.iter_mut().find(|group| same_window(&group[0], &bound)) {
            Some(group) => group.push(bound),
            None => groups.push(vec![bound]),
        }
    }
    groups.sort_by_key(|group| group.iter().all(is_row_number));
    let mut plan = input;
    for group in groups {
        plan = LogicalPlan::Window(datafusion_expr::Window::try_new(group, Arc::new(plan))?);
    }
    Ok(plan)
}

fn same_window(a: &Expr, b: &Expr) -> bool {
    match (window_call(a), window_call(b)) {
        (Some(a), Some(b)) => a.partition_by == b.partition_by && a.order_by == b.order_by,
        _ => false,
    }
}

pub(super) fn is_row_number(expr: &Expr) -> bool {
    window_call(expr).is_some_and(|call| call.kind == WindowKind::RowNumber)
}

fn bind_call(expr: &Expr, schema: &DFSchema) -> Result<Expr, Refusal> {
    let function = match expr {
        Expr::Alias(alias) => return bind_call(&alias.expr, schema),
        Expr::WindowFunction(function) => function,
        other => return Err(Refusal::new(format!("the window function {other} cannot be maintained"))),
    };
    let (name, directions) = read_over_name(function.fun.name());
    let params = &function.params;
    let (args, inner) = params.args.split_at(params.args.len().saturating_sub(directions.len()));
    let args = args.iter().map(|arg| bind(arg, schema)).collect::<Result<Vec<_>, _>>()?;
    let partition_by = keys(&params.partition_by, schema)?;
    let order_by = order_by(&params.order_by, schema)?;
    let mut bound = match recomputed_bind::known(name) {
        Some(name) => {
            let key = |(key, (asc, nulls_first)): (&Expr, (bool, bool))| Sort::new(key.clone(), asc, nulls_first);
            let inner: Vec<Sort> = inner.iter().zip(directions).map(key).collect();
            BoundCall::recomputed(name, args, params.distinct, &inner, schema)?
        }
        // The order of what is counted, added up or compared makes no difference.
        None => BoundCall::new(name, args, params.distinct)?,
    };
    bound.ignores_nulls = params.null_treatment == Some(NullTreatment::IgnoreNulls);
    if let Some(filter) = &params.filter {
        bound.filter = Some(bind_condition(filter, schema)?);
    }
    let (frame, range) = frame(&params.window_frame, &params.order_by, schema)?;
    let places = Places {
        argument: bound.argument.is_some(),
        default: bound.default.is_some(),
        filter: bound.filter.is_some(),
        range_key: !range.is_empty(),
        arguments: bound.arguments.len(),
    };
    Ok(windowed(bound, places, frame, range, partition_by, order_by))
}

/// The numbers, from 1, of the rows of each partition, in no order.
pub(super) fn row_numbers(partition_by: Vec<Expr>) -> Result<Expr, Refusal> {
    let bound = BoundCall::new("row_number", Vec::new(), false)?;
    let places = Places { argument: false, default: false, filter: false, range_key: false, arguments: 0 };
    let frame = Frame { units: FrameUnits::Rows, start: FrameBound::Unbounded, end: FrameBound::Unbounded };
    Ok(windowed(bound, places, frame, Vec::new(), partition_by, Vec::new()))
}

fn windowed(
    bound: BoundCall,
    places: Places,
    frame: Frame,
    range: Vec<Expr>,
    partition_by: Vec<Expr>,
    order_by: Vec<Sort>,
) -> Expr {
    let args = bound.argument.into_iter().chain(bound.default).chain(bound.filter).chain(range);
    let args = args.chain(bound.arguments);
    let (inner, inner_order): (Vec<_>, Vec<_>) =
        bound.inner.into_iter().map(|key| (key.expr, (key.asc, key.nulls_first))).unzip();
    let args = args.chain(inner).collect();
    let windowed = Windowed {
        kind: bound.kind,
        places,
        frame,
        distinct: bound.distinct,
        ignores_nulls: bound.ignores_nulls,
        inner_order,
        return_type: bound.return_type,
        duckdb_type: bound.duckdb_type,
        signature: Signature::user_defined(Volatility::Immutable),
    };
    Expr::WindowFunction(Box::new(WindowFunction {
        fun: WindowFunctionDefinition::AggregateUDF(Arc::new(AggregateUDF::from(windowed))),
        params: WindowFunctionParams {
            args,
            partition_by,
            order_by,
            window_frame: WindowFrame::new(None),
            filter: None,
            null_treatment: None,
            distinct: false,
        },
    }))
}

/// Expressions whose equal values are one key whatever their bits; constants tell nothing apart.
pub(super) fn keys(exprs: &[Expr], schema: &DFSchema) -> Result<Vec<Expr>, Refusal> {
    let mut keys = Vec::with_capacity(exprs.len());
    for expr in exprs {
        let bound = bind_settled(expr, schema)?;
        let key = canonical(bound.expr, &bound.data_type);
        if !matches!(key, Expr::Literal(..)) && !keys.contains(&key) {
            keys.push(key);
        }
    }
    Ok(keys)
}

/// The same for an order; a key that was there before decides nothing any more.
pub(super) fn order_by(sorts: &[Sort], schema: &DFSchema) -> Result<Vec<Sort>, Refusal> {
    let mut keys: Vec<Sort> = Vec::with_capacity(sorts.len());
    for sort in sorts {
        let bound = bind_settled(&sort.expr, schema)?;
        let key = canonical(bound.expr, &bound.data_type);
        if !matches!(key, Expr::Literal(..)) && !keys.iter().any(|known| known.expr == key) {
            keys.push(Sort::new(key, sort.asc, sort.nulls_first));
        }
    }
    Ok(keys)
}

struct BoundCall {
    kind: WindowKind,
    argument: Option<Expr>,
    default: Option<Expr>,
    filter: Option<Expr>,
    /// Of a recomputed aggregate.
    arguments: Vec<Expr>,
    /// The order inside the call of a recomputed aggregate.
    inner: Vec<Sort>,
    distinct: bool,
    ignores_nulls: bool,
    return_type: DataType,
    duckdb_type: Option<String>,
}

impl BoundCall {
    fn plain(kind: WindowKind, return_type: DataType) -> Self {
        BoundCall {
            kind,
            argument: None,
            default: None,
            filter: None,
            arguments: Vec::new(),
            inner: Vec::new(),
            distinct: false,
            ignores_nulls: false,
            return_type,
            duckdb_type: None,
        }
    }

    /// An aggregate that is computed from all rows, or one that only is another word for a sum or an extreme.
    fn recomputed(
        name: &'static str,
        args: Vec<Bound>,
        distinct: bool,
        inner: &[Sort],
        schema: &DFSchema,
    ) -> Result<Self, Refusal> {
        let expr = recomputed_bind::bind_bound(name, args, distinct, None, inner, schema)?.expr;
        if let Some(call) = aggregate::aggregate_call(&expr) {
            return Ok(BoundCall {
                argument: call.argument.cloned(),
                distinct: call.distinct,
                ..BoundCall::plain(WindowKind::Aggregate(call.kind), call.return_type.clone())
            });
        }
        let call =
            recomputed_call(&expr).ok_or_else(|| Refusal::new(format!("{name} over a window cannot be maintained")))?;
        let duckdb_type = match &expr {
            Expr::AggregateFunction(call) => call.func.inner().as_any().downcast_ref::<Function>(),
            _ => None,
        };
        Ok(BoundCall {
            arguments: call.arguments.to_vec(),
            inner: call.order_by.to_vec(),
            distinct: call.distinct,
            duckdb_type: duckdb_type.and_then(|function| function.duckdb_type.clone()),
            ..BoundCall::plain(WindowKind::Recomputed(call.function.clone(), name), call.return_type.clone())
        })
    }

    fn new(name: &str, args: Vec<Bound>, distinct: bool) -> Result<Self, Refusal> {
        let plain = BoundCall::plain;
        if let Some(kind) = AggregateKind::by_name(name) {
            let metadata = match kind {
                AggregateKind::Min | AggregateKind::Max => args.first().and_then(|arg| arg.duckdb_type.clone()),
                _ => None,
            };
            let expr = aggregate::bind(kind, args, distinct, None)?;
            let call = aggregate::aggregate_call(&expr)
                .ok_or_else(|| Refusal::new(format!("{name} over a window cannot be maintained")))?;
            return Ok(BoundCall {
                argument: call.argument.cloned(),
                distinct: call.distinct,
                duckdb_type: metadata,
                ..plain(WindowKind::Aggregate(kind), call.return_type.clone())
            });
        }
        let mut args = args.into_iter();
        let missing = || Refusal::new(format!("{name} lacks an argument: add it"));
        let bound = match name {
            "row_number" => plain(WindowKind::RowNumber, DataType::Int64),
            "rank" => plain(WindowKind::Rank, DataType::Int64),
            "dense_rank" | "rank_dense" => plain(WindowKind::DenseRank, DataType::Int64),
            "percent_rank" => plain(WindowKind::PercentRank, DataType::Float64),
            "cume_dist" => plain(WindowKind::CumeDist, DataType::Float64),
            "ntile" => {
                let buckets = positive(name, &args.next().ok_or_else(missing)?)?;
                plain(WindowKind::Ntile(buckets), DataType::Int64)
            }
            _ => {
                let argument = args.next().ok_or_else(missing)?.settled()?;
                let data_type = argument.data_type.clone();
                let (kind, default) = match name {
                    "lag" | "lead" => {
                        let offset = match args.next() {
                            None => 1,
                            Some(offset) => whole(name, &offset)?,
                        };
                        let default = args.next().map(|default| cast::cast(default, &data_type)).transpose()?;
                        let offset = if name == "lead" { -offset } else { offset };
                        (WindowKind::Lag(offset), default.map(|default| default.expr))
                    }
                    "first_value" => (WindowKind::FirstValue, None),
                    "last_value" => (WindowKind::LastValue, None),
                    "nth_value" => (WindowKind::NthValue(positive(name, &args.next().ok_or_else(missing)?)?), None),
                    other => return Err(super::unknown_function(other)),
                };
                let duckdb_type = argument.duckdb_type.clone();
                BoundCall { argument: Some(argument.expr), default, duckdb_type, ..plain(kind, data_type) }
            }
        };
        if args.next().is_some() {
            return Err(Refusal::new(format!("{name} has too many arguments: leave them out")));
        }
        if distinct {
            return Err(Refusal::new(format!("{name}(DISTINCT …) cannot be maintained: write it without DISTINCT")));
        }
        Ok(bound)
    }
}

fn whole(name: &str, argument: &Bound) -> Result<i64, Refusal> {
    let written = match &argument.expr {
        Expr::Literal(ScalarValue::Int32(Some(value)), _) => Some(i64::from(*value)),
        _ => None,
    };
    written.ok_or_else(|| {
        Refusal::new(format!("{name} by a number that is computed cannot be maintained: write a whole number"))
    })
}

fn positive(name: &str, argument: &Bound) -> Result<u64, Refusal> {
    let value = whole(name, argument)?;
    u64::try_from(value)
        .ok()
        .filter(|value| *value > 0)
        .ok_or_else(|| Refusal::new(format!("{name} takes a whole number from 1: correct it")))
}
