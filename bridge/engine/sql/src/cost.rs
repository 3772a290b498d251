//! What an epoch costs a view beside the changed rows and those that meet them, told from its plan.

use std::collections::BTreeSet;
use std::fmt;

use datafusion_expr::logical_plan::Distinct;
use datafusion_expr::{Expr, JoinType, LogicalPlan};

use crate::identity;
use crate::semantics::{TopRows, recomputed_call, window_call};

/// Rows that are read again although they have not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cost {
    /// All rows of each group that has a changed row.
    Groups,
    /// All rows of each partition that has a changed row.
    Partitions,
    /// All rows that are compared with a single row, when that row changes.
    Compared,
    /// The whole other side of a join without an equality, for each changed row.
    OtherSide,
    /// All rows, of a window without partitions.
    AllRows,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cost::Groups => "the groups",
            Cost::Partitions => "the partitions",
            Cost::Compared => "what is compared with a value, when the value changes",
            Cost::OtherSide => "the other side of a join",
            Cost::AllRows => "all rows of a window",
        })
    }
}

/// The costs of a plan, without those of the views it reads.
pub(crate) fn of(plan: &LogicalPlan) -> BTreeSet<Cost> {
    let mut costs = BTreeSet::new();
    add(plan, &mut costs);
    costs
}

fn add(plan: &LogicalPlan, costs: &mut BTreeSet<Cost>) {
    match plan {
        LogicalPlan::Aggregate(node) if node.aggr_expr.iter().any(|call| recomputed_call(call).is_some()) => {
            costs.insert(Cost::Groups);
        }
        LogicalPlan::Window(node) => {
            let calls = || node.window_expr.iter().filter_map(window_call);
            // Of the first rows of each partition no more are numbered than stay.
            let first = first_rows(&node.input);
            if !first.is_some_and(|top| calls().all(|call| call.partition_by == top.partition_by)) {
                let is_whole = calls().any(|call| call.partition_by.is_empty());
                costs.insert(if is_whole { Cost::AllRows } else { Cost::Partitions });
            }
        }
        LogicalPlan::Join(node) if node.on.is_empty() => {
            // A semi or anti join without any condition asks whether there is a row.
            let asks = !matches!(node.join_type, JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full);
            let single = asks && node.filter.is_none() || is_single(&node.left) || is_single(&node.right);
            costs.insert(if single { Cost::Compared } else { Cost::OtherSide });
        }
        _ => {}
    }
    plan.inputs().into_iter().for_each(|input| add(input, costs));
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
