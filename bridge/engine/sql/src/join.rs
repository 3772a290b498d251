//! Joins that are not inner: how they tell their rows apart, and what explain says of them.

use datafusion_expr::logical_plan::Join;
use datafusion_expr::{JoinType, LogicalPlan};

use crate::identity;
use crate::semantics::{AsOf, Unmet};
use crate::text::expression;

/// The key of a join that is not inner.
///
/// A join that only asks for partners keeps the key of the side it answers. A preserved side meets at
/// most one row of a side whose key is joined, so its own key is enough; otherwise the keys of both
/// sides together are one, since a row is padded only if it meets none. In a FULL JOIN two padded
/// rows, one of each side, could agree in NULLs only, so some key column must not be NULL.
pub(crate) fn key(node: &Join) -> Option<Vec<usize>> {
    let width = node.left.schema().fields().len();
    let shifted = |key: &[usize]| key.iter().map(|column| column + width).collect::<Vec<_>>();
    match node.join_type {
        JoinType::LeftSemi | JoinType::LeftAnti => return identity::key(&node.left),
        JoinType::RightSemi | JoinType::RightAnti => return identity::key(&node.right),
        JoinType::LeftMark | JoinType::RightMark => return None,
        JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {}
    }
    let (left, right) = (identity::key(&node.left)?, identity::key(&node.right)?);
    let lefts = node.on.iter().map(|(l, _)| l).collect();
    let rights = node.on.iter().map(|(_, r)| r).collect();
    let both: Vec<usize> = left.iter().copied().chain(shifted(&right)).collect();
    match node.join_type {
        JoinType::Left if identity::covered(&right, &node.right, rights) => Some(left),
        JoinType::Right if identity::covered(&left, &node.left, lefts) => Some(shifted(&right)),
        JoinType::Full if !has_value(&left, &node.left) && !has_value(&right, &node.right) => None,
        _ => Some(both),
    }
}

/// Whether some column of a key is never NULL.
fn has_value(key: &[usize], side: &LogicalPlan) -> bool {
    key.iter().any(|column| !side.schema().field(*column).is_nullable())
}

/// What explain calls a join.
pub(crate) fn operator(node: &Join) -> &'static str {
    match node.join_type {
        JoinType::Inner => "Join",
        JoinType::Left => "LeftJoin",
        JoinType::Right => "RightJoin",
        JoinType::Full => "FullJoin",
        JoinType::LeftSemi | JoinType::RightSemi => "SemiJoin",
        JoinType::LeftAnti | JoinType::RightAnti => "AntiJoin",
        JoinType::LeftMark | JoinType::RightMark => "MarkJoin",
    }
}

/// What a join keeps.
pub(crate) fn state(node: &Join) -> String {
    let kept = match (node.join_type, &node.filter) {
        (JoinType::Inner, _) => "both sides, by the join key",
        (JoinType::Left | JoinType::Right | JoinType::Full, None) => {
            "both sides, by the join key; counts of the key's values"
        }
        (JoinType::Left | JoinType::Right, Some(_)) => {
            "both sides, by the join key; the preserved side's rows and counts of those that met"
        }
        (JoinType::Full, Some(_)) => "both sides, by the join key; the rows of both and counts of those that met",
        (_, None) => "one side, by the join key; counts of the other side's keys",
        (_, Some(_)) => "both sides, by the join key; one side's rows and counts of those that met",
    };
    if node.on.is_empty() {
        return format!("{}; each changed row meets the whole other side", kept.replace(", by the join key", ""));
    }
    kept.to_owned()
}

/// An ASOF join: a changed left row is looked up, and a changed right row meets the left rows that are nearer to it
/// than to the next one.
pub(crate) fn asof(node: &AsOf) -> (&'static str, String, String) {
    let text = |expr| expression(expr, false);
    let on = node.on.iter().map(|(left, right)| format!("{} = {}", text(left), text(right)));
    let order = format!("{} {} {}", text(&node.order.0), node.nearest.symbol(), text(&node.order.1));
    let parts: Vec<String> = on.chain([order]).chain(node.conditions.iter().map(text)).collect();
    let operator = match node.unmet {
        Unmet::Dropped => "AsofJoin",
        Unmet::Kept => "LeftAsofJoin",
    };
    let by = if node.on.is_empty() { "in order" } else { "by the join key and in order" };
    (
        operator,
        format!("{}; ties in the order of all columns", parts.join(" AND ")),
        format!("both sides, {by}; a changed right row meets the left rows up to the next right row"),
    )
}
