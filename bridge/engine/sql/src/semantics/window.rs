//! Window functions: how the circuit reads them from a plan.
//!
//! A bound call is an aggregate function of the planner below us with a window around it, whatever it
//! computes: its frame and the places of its arguments are in the function, all expressions that it reads
//! are among its arguments, and the planner's own frame means nothing.

use arrow::datatypes::DataType;
use datafusion_expr::expr::Sort;
use datafusion_expr::{Expr, WindowFunctionDefinition};

use super::aggregate::AggregateKind;
use super::window_udf::Windowed;

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
