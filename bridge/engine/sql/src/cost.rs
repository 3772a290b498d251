//! How each operator follows a change, and what that costs in an epoch: what explain says besides the state.

use std::collections::BTreeSet;
use std::fmt;

use datafusion_expr::logical_plan::Distinct;
use datafusion_expr::{Expr, JoinType, LogicalPlan};

use crate::identity;
use crate::semantics::{AggregateKind, AsOf, Recursion, TopRows, Unnest, aggregate_call, recomputed_call, window_call};
use crate::threshold::Threshold;

/// Which rows an epoch makes an operator look at. The later ones are the greater ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cost {
    /// The changed rows, and those that meet them.
    Change,
    /// All rows of each group that has a changed row.
    Groups,
    /// All rows of each partition that has a changed row.
    Partitions,
    /// All rows that are compared with a single row, when that row changes.
    Compared,
    /// The whole other side of a join without an equality, for each changed row.
    OtherSide,
    /// All rows: those of the only group or partition.
    AllRows,
}

impl Cost {
    /// As programs read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Cost::Change => "change",
            Cost::Groups => "groups",
            Cost::Partitions => "partitions",
            Cost::Compared => "compared",
            Cost::OtherSide => "other side",
            Cost::AllRows => "all rows",
        }
    }
}

/// As people read it.
impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cost::Change => "the change",
            Cost::Groups => "the touched groups",
            Cost::Partitions => "the touched partitions",
            Cost::Compared => "what is compared with a value, when the value changes",
            Cost::OtherSide => "the other side of a join",
            Cost::AllRows => "all rows",
        })
    }
}

/// What an operator costs, its inputs apart.
pub(crate) fn own_cost(plan: &LogicalPlan) -> Cost {
    match plan {
        LogicalPlan::TableScan(_)
        | LogicalPlan::EmptyRelation(_)
        | LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::Distinct(_) => Cost::Change,
        // Only keys find the rows that meet.
        LogicalPlan::Join(node) if node.on.is_empty() => {
            // A semi or anti join without any condition asks whether there is a row.
            let asks = !matches!(node.join_type, JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full);
            let single = asks && node.filter.is_none() || is_single(&node.left) || is_single(&node.right);
            if single { Cost::Compared } else { Cost::OtherSide }
        }
        LogicalPlan::Join(_) => Cost::Change,
        LogicalPlan::Aggregate(node) => match (is_recomputed(&node.aggr_expr), node.group_expr.is_empty()) {
            (false, _) => Cost::Change,
            (true, false) => Cost::Groups,
            (true, true) => Cost::AllRows,
        },
        LogicalPlan::Window(node) => {
            let calls = || node.window_expr.iter().filter_map(window_call);
            // Of the first rows of each partition no more are numbered than stay.
            let first = first_rows(&node.input);
            match first.is_some_and(|top| calls().all(|call| call.partition_by == top.partition_by)) {
                true => Cost::Change,
                false if calls().any(|call| call.partition_by.is_empty()) => Cost::AllRows,
                false => Cost::Partitions,
            }
        }
        LogicalPlan::Extension(node)
            if TopRows::of(node).is_some()
                || Unnest::of(node).is_some()
                || AsOf::of(node).is_some()
                || Recursion::of(node).is_some()
                || Threshold::of(node).is_some() =>
        {
            Cost::Change
        }
        // Nothing better is known of it.
        _ => Cost::AllRows,
    }
}

/// What the operators of a plan cost beside the change, without those of the views it reads.
pub(crate) fn costs(plan: &LogicalPlan) -> BTreeSet<Cost> {
    let mut all: BTreeSet<Cost> = plan.inputs().into_iter().flat_map(costs).collect();
    all.extend(Some(own_cost(plan)).filter(|cost| *cost != Cost::Change));
    all
}

/// The first rows of an order, with or without columns left out.
fn first_rows(plan: &LogicalPlan) -> Option<&TopRows> {
    match plan {
        LogicalPlan::Projection(node) => first_rows(&node.input),
        LogicalPlan::Extension(node) => TopRows::of(node),
        _ => None,
    }
}

/// Whether there is one row at most: by its key, or as the distinct rows of constants.
fn is_single(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::SubqueryAlias(node) => is_single(&node.input),
        LogicalPlan::Distinct(Distinct::All(input)) => match input.as_ref() {
            LogicalPlan::Projection(node) => node.expr.iter().all(is_constant) || is_single(&node.input),
            input => is_single(input),
        },
        plan => identity::key(plan).is_some_and(|key| key.is_empty()),
    }
}

fn is_constant(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(alias) => is_constant(&alias.expr),
        expr => matches!(expr, Expr::Literal(..)),
    }
}

/// How an operator follows a change.
pub(crate) fn strategy(plan: &LogicalPlan) -> &'static str {
    match plan {
        LogicalPlan::TableScan(_)
        | LogicalPlan::EmptyRelation(_)
        | LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Union(_) => "row by row",
        LogicalPlan::Distinct(_) => "counts are moved",
        LogicalPlan::Join(node) => match node.join_type {
            JoinType::Inner => "changed rows meet the other side",
            JoinType::LeftSemi | JoinType::RightSemi | JoinType::LeftAnti | JoinType::RightAnti => {
                "changed rows and keys meet the other side"
            }
            _ => "changed rows meet the other side, and rows that meet none are padded",
        },
        LogicalPlan::Aggregate(node) if is_recomputed(&node.aggr_expr) => "touched groups are computed anew",
        LogicalPlan::Aggregate(node) => {
            let is_ordered = |call: &Expr| {
                aggregate_call(call).is_some_and(|call| matches!(call.kind, AggregateKind::Min | AggregateKind::Max))
            };
            match node.aggr_expr.iter().any(is_ordered) {
                true => "sums are moved, and the ends of ordered values are looked up",
                false => "sums are moved",
            }
        }
        LogicalPlan::Window(_) => "touched partitions are computed anew",
        LogicalPlan::Extension(node) if Unnest::of(node).is_some() => "row by row",
        LogicalPlan::Extension(node) if TopRows::of(node).is_some() => "the first rows are looked up in the order",
        LogicalPlan::Extension(node) if Unnest::of(node).is_some() => "row by row",
        LogicalPlan::Extension(node) if AsOf::of(node).is_some() => {
            "changed rows look up their neighbours in the order"
        }
        LogicalPlan::Extension(node) if Recursion::of(node).is_some() => {
            "what follows from changed rows, round by round"
        }
        LogicalPlan::Extension(node) if Threshold::of(node).is_some() => {
            "changed rows, and those that the value passes over, are looked up in the order"
        }
        _ => "computed anew",
    }
}

fn is_recomputed(calls: &[Expr]) -> bool {
    calls.iter().any(|call| recomputed_call(call).is_some())
}
