//! Window functions: their DuckDB types, and how the circuit reads them from a plan.
//!
//! A bound call is an aggregate function of the planner below us with a window around it, whatever it
//! computes: its frame and the places of its arguments are in the function, all expressions that it reads
//! are among its arguments, and the planner's own frame means nothing.

use std::any::Any;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{DFSchema, Result, ScalarValue, internal_err};
use datafusion_expr::expr::{Sort, WindowFunction, WindowFunctionParams};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Expr, LogicalPlan, Signature, Volatility, WindowFrame,
    WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
};

use super::aggregate::{self, AggregateKind};
use super::bind::{bind, bind_condition, bind_settled};
use super::bound::Bound;
use super::compare::canonical;
use super::plan::{bind_plan, named};
use super::{cast, function};
use crate::error::Refusal;

/// What the names of calls with OVER begin with until they are bound.
pub(crate) const OVER: &str = "#over_";

/// The functions that need a window, by name.
const NAMES: [&str; 11] = [
    "row_number",
    "rank",
    "dense_rank",
    "percent_rank",
    "cume_dist",
    "ntile",
    "lag",
    "lead",
    "first_value",
    "last_value",
    "nth_value",
];

/// Whether a name is that of a function that may have a window.
pub(crate) fn is_window(name: &str) -> bool {
    NAMES.contains(&name) || AggregateKind::by_name(name).is_some()
}

/// What is computed over a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WindowKind {
    /// An aggregate of the frame.
    Aggregate(AggregateKind),
    /// The row's place, from 1.
    RowNumber,
    /// The place of the first peer.
    Rank,
    /// The number of the group of peers.
    DenseRank,
    /// `(rank - 1) / (rows - 1)`, 0 for a single row.
    PercentRank,
    /// The part of the rows up to the last peer.
    CumeDist,
    /// The number of the row's bucket, of so many.
    Ntile(u64),
    /// The argument so many rows before; after, when negative.
    Lag(i64),
    /// The argument in the frame's first row.
    FirstValue,
    /// The argument in the frame's last row.
    LastValue,
    /// The argument in the frame's row with this number, from 1.
    NthValue(u64),
}

impl WindowKind {
    /// The function's name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            WindowKind::Aggregate(kind) => kind.name(),
            WindowKind::RowNumber => "row_number",
            WindowKind::Rank => "rank",
            WindowKind::DenseRank => "dense_rank",
            WindowKind::PercentRank => "percent_rank",
            WindowKind::CumeDist => "cume_dist",
            WindowKind::Ntile(_) => "ntile",
            WindowKind::Lag(_) => "lag",
            WindowKind::FirstValue => "first_value",
            WindowKind::LastValue => "last_value",
            WindowKind::NthValue(_) => "nth_value",
        }
    }
}

/// What bounds of a frame count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameUnits {
    /// Rows.
    Rows,
    /// Values of the only ORDER BY key.
    Range,
    /// Groups of peers.
    Groups,
}

/// Where a frame begins or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameBound {
    /// The end of the partition on that side.
    Unbounded,
    /// The row itself; for RANGE and GROUPS its peers.
    CurrentRow,
    /// So many rows or groups before.
    Preceding(u64),
    /// So many rows or groups after.
    Following(u64),
    /// The value of an expression over the row, for RANGE.
    Value,
}

/// The rows that a function sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Frame {
    /// What the bounds count.
    pub units: FrameUnits,
    /// Its first row.
    pub start: FrameBound,
    /// Its last row.
    pub end: FrameBound,
}

/// One function of a `Window` node.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowCall<'a> {
    /// Which.
    pub kind: WindowKind,
    /// The argument, over the columns of the node's input; `None` for `count(*)` and what takes none.
    pub argument: Option<&'a Expr>,
    /// What LAG answers where there is no row.
    pub default: Option<&'a Expr>,
    /// Only rows for which this is true are aggregated.
    pub filter: Option<&'a Expr>,
    /// Whether equal values count once.
    pub distinct: bool,
    /// The rows that it sees.
    pub frame: Frame,
    /// The ORDER BY key in the type of the frame's bounds, where a bound is a value.
    pub range_key: Option<&'a Expr>,
    /// The value of the frame's start.
    pub range_start: Option<&'a Expr>,
    /// The value of the frame's end.
    pub range_end: Option<&'a Expr>,
    /// Rows with equal values here are one partition.
    pub partition_by: &'a [Expr],
    /// The order of the partition; rows that it does not tell apart are ordered by all their columns.
    pub order_by: &'a [Sort],
    /// The type of the result.
    pub return_type: &'a DataType,
}

impl WindowCall<'_> {
    /// Whether the result depends on the order of rows that ORDER BY does not tell apart.
    pub fn depends_on_ties(&self) -> bool {
        match self.kind {
            WindowKind::Rank | WindowKind::DenseRank | WindowKind::PercentRank | WindowKind::CumeDist => false,
            WindowKind::Aggregate(_) => {
                let whole = self.frame.start == FrameBound::Unbounded && self.frame.end == FrameBound::Unbounded;
                self.frame.units == FrameUnits::Rows && !whole
            }
            _ => true,
        }
    }
}

/// Reads an expression of `Window::window_expr`, with or without an alias around it. `None` for what this
/// crate's planner does not put there.
pub fn window_call(expr: &Expr) -> Option<WindowCall<'_>> {
    let function = match expr {
        Expr::Alias(alias) => return window_call(&alias.expr),
        Expr::WindowFunction(function) => function,
        _ => return None,
    };
    let WindowFunctionDefinition::AggregateUDF(udf) = &function.fun else { return None };
    let bound: &Windowed = udf.inner().as_any().downcast_ref()?;
    let mut args = function.params.args.iter();
    let mut next = |present: bool| if present { args.next() } else { None };
    Some(WindowCall {
        kind: bound.kind,
        argument: next(bound.places.argument),
        default: next(bound.places.default),
        filter: next(bound.places.filter),
        range_key: next(bound.places.range_key),
        range_start: next(bound.frame.start == FrameBound::Value),
        range_end: next(bound.frame.end == FrameBound::Value),
        distinct: bound.distinct,
        frame: bound.frame,
        partition_by: &function.params.partition_by,
        order_by: &function.params.order_by,
        return_type: &bound.return_type,
    })
}

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
    let name = function.fun.name().trim_start_matches(OVER).to_owned();
    let params = &function.params;
    let args = params.args.iter().map(|arg| bind(arg, schema)).collect::<Result<Vec<_>, _>>()?;
    let partition_by = keys(&params.partition_by, schema)?;
    let order_by = order_by(&params.order_by, schema)?;
    let mut bound = BoundCall::new(&name, args, params.distinct)?;
    if let Some(filter) = &params.filter {
        bound.filter = Some(bind_condition(filter, schema)?);
    }
    let frame = frame(&params.window_frame, &params.order_by, schema, &mut bound)?;
    let places = Places {
        argument: bound.argument.is_some(),
        default: bound.default.is_some(),
        filter: bound.filter.is_some(),
        range_key: !bound.range.is_empty(),
    };
    let args = bound.argument.into_iter().chain(bound.default).chain(bound.filter).chain(bound.range).collect();
    let windowed = Windowed {
        kind: bound.kind,
        places,
        frame,
        distinct: bound.distinct,
        return_type: bound.return_type,
        duckdb_type: bound.duckdb_type,
        signature: Signature::user_defined(Volatility::Immutable),
    };
    Ok(Expr::WindowFunction(Box::new(WindowFunction {
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
    })))
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
    /// Key, start and end of a frame by values.
    range: Vec<Expr>,
    distinct: bool,
    return_type: DataType,
    duckdb_type: Option<String>,
}

impl BoundCall {
    fn new(name: &str, args: Vec<Bound>, distinct: bool) -> Result<Self, Refusal> {
        let plain = |kind: WindowKind, return_type: DataType| BoundCall {
            kind,
            argument: None,
            default: None,
            filter: None,
            range: Vec::new(),
            distinct: false,
            return_type,
            duckdb_type: None,
        };
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
            "dense_rank" => plain(WindowKind::DenseRank, DataType::Int64),
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

fn frame(frame: &WindowFrame, order_by: &[Sort], schema: &DFSchema, bound: &mut BoundCall) -> Result<Frame, Refusal> {
    let units = match frame.units {
        WindowFrameUnits::Rows => FrameUnits::Rows,
        WindowFrameUnits::Range => FrameUnits::Range,
        WindowFrameUnits::Groups => FrameUnits::Groups,
    };
    if units != FrameUnits::Range {
        let side = |side: &WindowFrameBound| match side {
            WindowFrameBound::CurrentRow => Ok(FrameBound::CurrentRow),
            WindowFrameBound::Preceding(offset) => counted(offset, FrameBound::Preceding),
            WindowFrameBound::Following(offset) => counted(offset, FrameBound::Following),
        };
        return Ok(Frame { units, start: side(&frame.start_bound)?, end: side(&frame.end_bound)? });
    }
    let mut values = RangeValues { order_by, schema, key: None, offsets: Vec::new() };
    let (start, end) = (values.side(&frame.start_bound)?, values.side(&frame.end_bound)?);
    if let Some(key) = values.key {
        // Both bounds and the key meet in one type.
        let mut all = vec![key];
        all.extend(values.offsets);
        let (exprs, data_type) = super::coercion::unify(all)?;
        bound.range = exprs.into_iter().map(|expr| canonical(expr, &data_type)).collect();
    }
    Ok(Frame { units, start, end })
}

fn counted(offset: &ScalarValue, make: fn(u64) -> FrameBound) -> Result<FrameBound, Refusal> {
    match offset {
        ScalarValue::UInt64(Some(count)) => Ok(make(*count)),
        offset if offset.is_null() => Ok(FrameBound::Unbounded),
        _ => Err(Refusal::new("a frame bound is a whole number: write it so")),
    }
}

struct RangeValues<'a> {
    order_by: &'a [Sort],
    schema: &'a DFSchema,
    key: Option<Bound>,
    offsets: Vec<Bound>,
}

impl RangeValues<'_> {
    fn side(&mut self, side: &WindowFrameBound) -> Result<FrameBound, Refusal> {
        let (offset, precedes) = match side {
            WindowFrameBound::CurrentRow => return Ok(FrameBound::CurrentRow),
            WindowFrameBound::Preceding(offset) => (offset, true),
            WindowFrameBound::Following(offset) => (offset, false),
        };
        if offset.is_null() {
            return Ok(FrameBound::Unbounded);
        }
        let [sort] = self.order_by else {
            return Err(Refusal::new("RANGE with an offset needs exactly one ORDER BY key: order by one column"));
        };
        let key = bind_settled(&sort.expr, self.schema)?;
        if matches!(key.expr, Expr::Literal(..)) {
            return Err(Refusal::new(
                "RANGE with an offset needs an ORDER BY key that is no constant: order by a column",
            ));
        }
        let operation = if precedes == sort.asc { "#subtract" } else { "#add" };
        let value = function::bind(operation, vec![key.clone(), range_offset(offset)?])?;
        self.key = Some(key);
        self.offsets.push(value);
        Ok(FrameBound::Value)
    }
}

/// An offset as the syntax wrote it: a whole number, or months, days and microseconds.
fn range_offset(offset: &ScalarValue) -> Result<Bound, Refusal> {
    let text = match offset {
        ScalarValue::Utf8(Some(text)) => text.as_str(),
        _ => return Err(Refusal::new("a RANGE bound is a whole number or an INTERVAL: write it so")),
    };
    if let Ok(number) = text.parse::<i128>() {
        return Ok(Bound::integer(number));
    }
    let parts: Vec<Bound> = text.split(':').map(|part| Bound::text(part.to_owned())).collect();
    function::bind("#interval", parts)
}

/// Which arguments a bound call has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Places {
    argument: bool,
    default: bool,
    filter: bool,
    range_key: bool,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Windowed {
    kind: WindowKind,
    places: Places,
    frame: Frame,
    distinct: bool,
    return_type: DataType,
    duckdb_type: Option<String>,
    signature: Signature,
}

impl AggregateUDFImpl for Windowed {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        self.kind.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.return_type.clone())
    }

    fn return_field(&self, _: &[FieldRef]) -> Result<FieldRef> {
        let field = Field::new(self.name(), self.return_type.clone(), true);
        Ok(Arc::new(match &self.duckdb_type {
            Some(duckdb_type) => tidegate_core::schema::with_duckdb_type(field, duckdb_type),
            None => field,
        }))
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(types.to_vec())
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        internal_err!("windows are maintained by the circuit")
    }

    fn state_fields(&self, _: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        internal_err!("windows are maintained by the circuit")
    }
}
