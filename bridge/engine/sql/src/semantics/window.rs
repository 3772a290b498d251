//! Window functions: how the circuit reads them from a plan.
//!
//! A bound call is an aggregate function of the planner below us with a window around it, whatever it
//! computes: its frame and the places of its arguments are in the function, all expressions that it reads
//! are among its arguments, and the planner's own frame means nothing.

use arrow::datatypes::DataType;
use datafusion_expr::expr::Sort;
use datafusion_expr::{Expr, SortExpr, WindowFunctionDefinition};

use super::aggregate::AggregateKind;
use super::recomputed::{Recomputed, RecomputedCall};
use super::recomputed_bind;
use super::window_udf::Windowed;

/// What the names of calls with OVER begin with until they are bound.
pub(crate) const OVER: &str = "#over_";

/// The functions that need a window, by name.
const NAMES: [&str; 12] = [
    "row_number",
    "rank",
    "dense_rank",
    "rank_dense",
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
    let recomputed = !name.starts_with('#') && recomputed_bind::known(name).is_some();
    NAMES.contains(&name) || recomputed || AggregateKind::by_name(name).is_some()
}

/// Whether a function of a window can pass over rows in which its argument is NULL.
pub(crate) fn may_ignore_nulls(name: &str) -> bool {
    matches!(name, "lag" | "lead" | "first_value" | "last_value" | "nth_value")
}

/// The name of a call with OVER until it is bound. It tells of each key of an order inside the call, which are
/// the last arguments, whether it ascends and whether NULLs come first: the planner drops such orders.
pub(crate) fn over_name(name: &str, keys: &[(bool, bool)]) -> String {
    let letter = |key: &(bool, bool)| match key {
        (true, false) => 'a',
        (true, true) => 'b',
        (false, false) => 'd',
        (false, true) => 'e',
    };
    let keys: String = keys.iter().map(letter).collect();
    if keys.is_empty() { format!("{OVER}{name}") } else { format!("{OVER}{name}@{keys}") }
}

/// The function's name, and the directions of the order inside the call.
pub(super) fn read_over_name(written: &str) -> (&str, Vec<(bool, bool)>) {
    let written = written.strip_prefix(OVER).unwrap_or(written);
    let (name, keys) = written.split_once('@').unwrap_or((written, ""));
    (name, keys.chars().map(|key| (matches!(key, 'a' | 'b'), matches!(key, 'b' | 'e'))).collect())
}

/// What is computed over a window.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum WindowKind {
    /// An aggregate of the frame.
    Aggregate(AggregateKind),
    /// An aggregate that is computed from all rows of the frame, and its name.
    Recomputed(Recomputed, &'static str),
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
    pub fn name(&self) -> &'static str {
        match self {
            WindowKind::Aggregate(kind) => kind.name(),
            WindowKind::Recomputed(_, name) => name.trim_start_matches('#'),
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
    /// The argument, over the columns of the node's input; `None` for `count(*)`, what takes none and what has
    /// `arguments`.
    pub argument: Option<&'a Expr>,
    /// All arguments of a recomputed aggregate.
    pub arguments: &'a [Expr],
    /// The order inside the call of a recomputed aggregate: its keys, and whether they ascend and have NULLs first.
    pub inner_order: (&'a [Expr], &'a [(bool, bool)]),
    /// Whether rows in which the argument is NULL are passed over.
    pub ignores_nulls: bool,
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
        match &self.kind {
            WindowKind::Rank | WindowKind::DenseRank | WindowKind::PercentRank | WindowKind::CumeDist => false,
            WindowKind::Recomputed(function, _) if function.is_ordered() => true,
            WindowKind::Aggregate(_) | WindowKind::Recomputed(..) => {
                let whole = self.frame.start == FrameBound::Unbounded && self.frame.end == FrameBound::Unbounded;
                self.frame.units == FrameUnits::Rows && !whole
            }
            _ => true,
        }
    }

    /// The keys of the order inside the call.
    pub fn inner_keys(&self) -> Vec<SortExpr> {
        let (keys, directions) = self.inner_order;
        let key = |(key, (asc, nulls_first)): (&Expr, &(bool, bool))| SortExpr::new(key.clone(), *asc, *nulls_first);
        keys.iter().zip(directions).map(key).collect()
    }

    /// A recomputed aggregate as it is without its window; `inner_keys` are those of [`WindowCall::inner_keys`].
    pub fn recomputed<'b>(&'b self, inner_keys: &'b [SortExpr]) -> Option<RecomputedCall<'b>> {
        let WindowKind::Recomputed(function, name) = &self.kind else { return None };
        Some(RecomputedCall {
            function,
            name,
            arguments: self.arguments,
            distinct: self.distinct,
            filter: self.filter,
            order_by: inner_keys,
            return_type: self.return_type,
        })
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
    let args = &function.params.args;
    let (args, inner_order) = args.split_at(args.len().checked_sub(bound.inner_order.len())?);
    let (args, arguments) = args.split_at(args.len().checked_sub(bound.places.arguments)?);
    let mut args = args.iter();
    let mut next = |present: bool| if present { args.next() } else { None };
    Some(WindowCall {
        kind: bound.kind.clone(),
        argument: next(bound.places.argument),
        arguments,
        inner_order: (inner_order, &bound.inner_order),
        ignores_nulls: bound.ignores_nulls,
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
