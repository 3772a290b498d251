//! ASOF joins as DuckDB binds them: equalities are keys, one inequality orders, and what is left may only say
//! something of one side.

use std::sync::Arc;

use datafusion_common::{DFSchema, JoinConstraint, JoinType};
use datafusion_expr::logical_plan::{Filter, Join};
use datafusion_expr::utils::split_conjunction_owned;
use datafusion_expr::{BinaryExpr, Expr, LogicalPlan, Operator};
use datafusion_sql::sqlparser::tokenizer::Location;

use super::asof::{AsOf, Keys, Nearest, Unmet};
use super::bind::{bind, bind_condition, place};
use super::compare::compare;
use super::plan::{bind_plan, key_pair};
use crate::error::Refusal;

/// Whether a join that is not bound was written with ASOF.
pub(super) fn is_asof(node: &Join) -> bool {
    condition(node).is_some() || is_by_name(node)
}

/// The condition in ON.
fn condition(node: &Join) -> Option<&Expr> {
    match node.filter.as_ref()? {
        Expr::ScalarFunction(call) if call.func.name() == "#asof" => call.args.first(),
        _ => None,
    }
}

/// Whether the last column of USING is there twice.
fn is_by_name(node: &Join) -> bool {
    matches!((node.join_constraint, node.on.as_slice()), (JoinConstraint::Using, [.., a, b]) if a == b)
}

/// Binds an ASOF join.
pub(super) fn bind_join(node: Join) -> Result<LogicalPlan, Refusal> {
    let unmet = match node.join_type {
        JoinType::Inner => Unmet::Dropped,
        JoinType::Left => Unmet::Kept,
        other => return Err(refused(None, &format!("an ASOF {other} JOIN"), "write ASOF JOIN or ASOF LEFT JOIN")),
    };
    let written = condition(&node).cloned();
    let left = bind_plan(Arc::unwrap_or_clone(node.left))?;
    let right = bind_plan(Arc::unwrap_or_clone(node.right))?;
    let both = left.schema().join(right.schema())?;
    let mut conditions = Vec::new();
    match &written {
        Some(written) => conditions.extend(split_conjunction_owned(bind_condition(written, &both)?)),
        None => {
            let (last, equal) = node.on.split_last().map_or((None, &[][..]), |(last, rest)| (Some(last), rest));
            // The last column is there twice.
            let equal = equal.split_last().map_or(&[][..], |(_, rest)| rest);
            let pairs = equal.iter().map(|pair| (Operator::Eq, pair));
            for (op, (a, b)) in pairs.chain(last.map(|pair| (Operator::GtEq, pair))) {
                let bound = compare(op, bind(a, left.schema())?, bind(b, right.schema())?)
                    .map_err(|refusal| refusal.or_at(place(a)))?;
                conditions.push(bound.expr);
            }
        }
    }
    let start = written.as_ref().and_then(place);
    let mut split = Split::default();
    for condition in conditions {
        split.add(condition, left.schema(), right.schema())?;
    }
    let Some((order, nearest)) = split.order else {
        return Err(refused(
            start,
            "an ASOF JOIN without an inequality of one table with the other",
            "write one, for example a.ts >= b.ts, or leave ASOF out",
        ));
    };
    let right = filtered(right, split.rights)?;
    let (left, conditions) = match unmet {
        Unmet::Dropped => (filtered(left, split.lefts)?, Vec::new()),
        Unmet::Kept => (left, split.lefts),
    };
    Ok(AsOf::plan(left, right, Keys { on: split.on, order, nearest, conditions }, unmet)?)
}

/// The conditions of a join by what they say.
#[derive(Default)]
struct Split {
    on: Vec<(Expr, Expr)>,
    order: Option<((Expr, Expr), Nearest)>,
    /// On the left side alone, or on nothing.
    lefts: Vec<Expr>,
    /// On the right side alone.
    rights: Vec<Expr>,
}

impl Split {
    fn add(&mut self, condition: Expr, left: &DFSchema, right: &DFSchema) -> Result<(), Refusal> {
        if let Some(pair) = key_pair(&condition, left, right)? {
            self.on.push(pair);
        } else if let Some(found) = inequality(&condition, left, right) {
            if self.order.is_some() {
                return Err(refused(
                    place(&condition),
                    "a second inequality in an ASOF JOIN",
                    "keep the one that orders, and write the other one in WHERE, which filters the rows that met",
                ));
            }
            self.order = Some(found);
        } else if reads_only(&condition, left) {
            self.lefts.push(condition);
        } else if reads_only(&condition, right) {
            self.rights.push(condition);
        } else {
            return Err(refused(
                place(&condition),
                "a condition on both tables in an ASOF JOIN that is neither an equality nor its inequality",
                "write it in WHERE, which filters the rows that met",
            ));
        }
        Ok(())
    }
}

/// What an inequality of the two sides orders.
fn inequality(condition: &Expr, left: &DFSchema, right: &DFSchema) -> Option<((Expr, Expr), Nearest)> {
    let Expr::BinaryExpr(BinaryExpr { left: a, op, right: b }) = condition else { return None };
    let is_of = |expr: &Expr, side: &DFSchema| !expr.column_refs().is_empty() && reads_only(expr, side);
    let (before, op, after) = if is_of(a, left) && is_of(b, right) {
        (a, *op, b)
    } else if is_of(a, right) && is_of(b, left) {
        (b, op.swap()?, a)
    } else {
        return None;
    };
    let nearest = match op {
        Operator::GtEq => Nearest::AtOrBefore,
        Operator::Gt => Nearest::Before,
        Operator::LtEq => Nearest::AtOrAfter,
        Operator::Lt => Nearest::After,
        _ => return None,
    };
    Some(((before.as_ref().clone(), after.as_ref().clone()), nearest))
}

fn reads_only(expr: &Expr, side: &DFSchema) -> bool {
    expr.column_refs().iter().all(|column| side.has_column(column))
}

fn filtered(input: LogicalPlan, conditions: Vec<Expr>) -> Result<LogicalPlan, Refusal> {
    Ok(match conditions.into_iter().reduce(Expr::and) {
        Some(condition) => LogicalPlan::Filter(Filter::try_new(condition, Arc::new(input))?),
        None => input,
    })
}

fn refused(at: Option<Location>, construct: &str, way_out: &str) -> Refusal {
    Refusal::new(format!("{construct} cannot be maintained incrementally: {way_out}")).or_at(at)
}
