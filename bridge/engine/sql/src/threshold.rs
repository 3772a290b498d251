//! Rows compared with one value that is kept up to date: `x > (SELECT avg(x) …)`.
//!
//! A scalar subquery becomes a join with one row. Where nothing but a comparison reads that row, the join is
//! taken for a [`Threshold`]: its rows are kept in the order of what is compared, so that a new value of the
//! subquery looks at the rows between the old value and the new one, and not at all rows.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchema, DFSchemaRef, JoinType};
use datafusion_expr::logical_plan::{Aggregate, Extension, Filter, Join, Projection};
use datafusion_expr::utils::split_conjunction;
use datafusion_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, UserDefinedLogicalNodeCore};

use crate::error::Refusal;
use crate::identity;
use crate::names::{Input, Relation};
use crate::semantics::Recursion;

/// The rows of `input` for which `value`, compared with `bound`, is true. There is at most one bound; where there
/// is none, or it is NULL, no row passes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Threshold {
    /// Where the rows come from; all columns pass.
    pub input: LogicalPlan,
    /// Where the bound comes from: at most one row.
    pub source: LogicalPlan,
    /// What is compared, over the columns of `input`.
    pub value: Expr,
    /// How a row passes.
    pub comparison: Comparison,
    /// The bound, over the columns of `source`; of the type of `value`, which has one order.
    pub bound: Expr,
}

/// Which values pass a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
    /// `=`
    Equal,
}

impl Comparison {
    fn of(op: Operator) -> Option<Self> {
        Some(match op {
            Operator::Lt => Comparison::Less,
            Operator::LtEq => Comparison::AtMost,
            Operator::Gt => Comparison::Greater,
            Operator::GtEq => Comparison::AtLeast,
            Operator::Eq => Comparison::Equal,
            _ => return None,
        })
    }

    /// How it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Comparison::Less => "<",
            Comparison::AtMost => "<=",
            Comparison::Greater => ">",
            Comparison::AtLeast => ">=",
            Comparison::Equal => "=",
        }
    }
}

impl Threshold {
    /// Reads an extension node of this crate's plans.
    pub fn of(node: &Extension) -> Option<&Threshold> {
        node.node.as_any().downcast_ref()
    }
}

/// Takes joins with one row for thresholds where they are such. The schema stays.
pub(crate) fn thresholds(plan: LogicalPlan) -> Result<LogicalPlan, Refusal> {
    Ok(with_thresholds(plan)?.data)
}

/// A recursive term stays as it is: the operator follows epochs, not the rounds of one.
fn with_thresholds(plan: LogicalPlan) -> datafusion_common::Result<Transformed<LogicalPlan>> {
    if let LogicalPlan::Extension(extension) = &plan
        && let Some(recursion) = Recursion::of(extension)
    {
        let start = with_thresholds(recursion.start.clone())?.data;
        let inputs = vec![start, recursion.term.clone()];
        let node = extension.node.with_exprs_and_inputs(extension.node.expressions(), inputs)?;
        return Ok(Transformed::yes(LogicalPlan::Extension(Extension { node })));
    }
    plan.map_children(with_thresholds)?.transform_parent(threshold)
}

fn threshold(plan: LogicalPlan) -> datafusion_common::Result<Transformed<LogicalPlan>> {
    let replaced = match &plan {
        LogicalPlan::Projection(node) => match without_join(&node.expr, &node.input)? {
            Some(input) => {
                let (exprs, schema) = (node.expr.clone(), Arc::clone(&node.schema));
                Some(LogicalPlan::Projection(Projection::try_new_with_schema(exprs, Arc::new(input), schema)?))
            }
            None => None,
        },
        LogicalPlan::Aggregate(node) => {
            let exprs: Vec<Expr> = node.group_expr.iter().chain(&node.aggr_expr).cloned().collect();
            match without_join(&exprs, &node.input)? {
                Some(input) => {
                    let (groups, calls, schema) =
                        (node.group_expr.clone(), node.aggr_expr.clone(), node.schema.clone());
                    let node = Aggregate::try_new_with_schema(Arc::new(input), groups, calls, schema)?;
                    Some(LogicalPlan::Aggregate(node))
                }
                None => None,
            }
        }
        LogicalPlan::Join(node) if node.join_type == JoinType::LeftSemi => {
            let conditions: Vec<&Expr> = node.filter.iter().flat_map(split_conjunction).collect();
            match Sides::new(node, true) {
                Some(sides) => sides.compared(&conditions)?,
                None => None,
            }
        }
        _ => None,
    };
    Ok(replaced.map_or_else(|| Transformed::no(plan), Transformed::yes))
}

/// The input of `exprs` with a threshold in place of a join with one row, if `exprs` do not read that row.
fn without_join(exprs: &[Expr], input: &LogicalPlan) -> datafusion_common::Result<Option<LogicalPlan>> {
    let (filter, below) = match input {
        LogicalPlan::Filter(node) => (Some(&node.predicate), node.input.as_ref()),
        other => (None, other),
    };
    let LogicalPlan::Join(join) = below else { return Ok(None) };
    let conditions: Vec<&Expr> = join.filter.iter().chain(filter).flat_map(split_conjunction).collect();
    // A row without a bound is kept by a left join and dropped by the comparison above it.
    let lefts: &[bool] = match join.join_type {
        JoinType::Inner => &[true, false],
        JoinType::Left if join.filter.is_none() => &[true],
        _ => &[],
    };
    for left in lefts {
        if let Some(sides) = Sides::new(join, *left)
            && exprs.iter().all(|expr| sides.is_own(expr))
            && let Some(plan) = sides.compared(&conditions)?
        {
            return Ok(Some(plan));
        }
    }
    Ok(None)
}

/// The inputs of a join: the one whose rows are compared, and the one that may be the bound.
struct Sides<'a> {
    join: &'a Join,
    own: &'a LogicalPlan,
    other: &'a LogicalPlan,
    /// The columns of both, left first, and where those of `own` stand.
    both: DFSchema,
    places: Range<usize>,
}

impl<'a> Sides<'a> {
    /// `None` where the columns of both could not be told apart.
    fn new(join: &'a Join, left: bool) -> Option<Self> {
        let both = join.left.schema().join(join.right.schema()).ok()?;
        let width = join.left.schema().fields().len();
        let (own, other, places) = if left {
            (&join.left, &join.right, 0..width)
        } else {
            (&join.right, &join.left, width..both.fields().len())
        };
        Some(Sides { join, own, other, both, places })
    }

    fn is_own(&self, expr: &Expr) -> bool {
        self.all_columns(expr, |place| self.places.contains(&place))
    }

    fn is_other(&self, expr: &Expr) -> bool {
        self.all_columns(expr, |place| !self.places.contains(&place))
    }

    fn all_columns(&self, expr: &Expr, is_there: impl Fn(usize) -> bool) -> bool {
        expr.column_refs().into_iter().all(|column| self.both.index_of_column(column).is_ok_and(&is_there))
    }

    /// The own rows that compare with the one row of the other side, if `conditions` ask no more.
    fn compared(&self, conditions: &[&Expr]) -> datafusion_common::Result<Option<LogicalPlan>> {
        if !self.join.on.is_empty() || !identity::key(self.other).is_some_and(|key| key.is_empty()) {
            return Ok(None);
        }
        let (plain, compared): (Vec<&Expr>, Vec<&Expr>) = conditions.iter().copied().partition(|c| self.is_own(c));
        let Some(compared) = compared.into_iter().map(|c| self.comparison(c)).collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        // What is compared is computed for all rows. Where there may be no bound, no row must fail by that.
        let is_computed = compared.iter().any(|(value, ..)| !matches!(value, Expr::Column(_)));
        if compared.is_empty() || is_computed && self.join.join_type != JoinType::Left && !has_one_row(self.other) {
            return Ok(None);
        }
        let mut plan = self.own.clone();
        if let Some(condition) = plain.into_iter().cloned().reduce(Expr::and) {
            plan = LogicalPlan::Filter(Filter::try_new(condition, Arc::new(plan))?);
        }
        for (value, comparison, bound) in compared {
            let node = Threshold { input: plan, source: self.other.clone(), value, comparison, bound };
            plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
        }
        Ok(Some(plan))
    }

    /// A condition as what is compared of a row, how, and with what of the other side.
    fn comparison(&self, condition: &Expr) -> Option<(Expr, Comparison, Expr)> {
        let (negated, condition) = match condition {
            Expr::Not(inner) => (true, inner.as_ref()),
            condition => (false, condition),
        };
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else { return None };
        let op = if negated { op.negate()? } else { *op };
        let (value, op, bound) = if self.is_own(left) && self.is_other(right) {
            (left, op, right)
        } else if self.is_own(right) && self.is_other(left) {
            (right, op.swap()?, left)
        } else {
            return None;
        };
        let value_type = value.get_type(self.own.schema()).ok()?;
        let bound_type = bound.get_type(self.other.schema()).ok()?;
        let comparable = value_type == bound_type && has_one_order(&value_type);
        comparable.then_some((value.as_ref().clone(), Comparison::of(op)?, bound.as_ref().clone()))
    }
}

/// Whether the words of values of this type, as the state keeps them, compare as the values do.
fn has_one_order(data_type: &DataType) -> bool {
    data_type.is_integer()
        || data_type.is_floating()
        || matches!(
            data_type,
            DataType::Boolean
                | DataType::Decimal128(..)
                | DataType::Utf8
                | DataType::Binary
                | DataType::Date32
                | DataType::Time64(_)
                | DataType::Timestamp(..)
        )
}

/// Whether a plan has exactly one row.
fn has_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(node) => has_one_row(&node.input),
        LogicalPlan::SubqueryAlias(node) => has_one_row(&node.input),
        LogicalPlan::Aggregate(node) => node.group_expr.is_empty(),
        LogicalPlan::EmptyRelation(node) => node.produce_one_row,
        LogicalPlan::TableScan(scan) => {
            Relation::of(scan.source.as_ref()).is_some_and(|relation| relation.input == Input::Clock)
        }
        _ => false,
    }
}

impl PartialOrd for Threshold {
    fn partial_cmp(&self, _: &Self) -> Option<std::cmp::Ordering> {
        None
    }
}

impl UserDefinedLogicalNodeCore for Threshold {
    fn name(&self) -> &str {
        "Threshold"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input, &self.source]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![self.value.clone(), self.bound.clone()]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Threshold")
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> datafusion_common::Result<Self> {
        let (Ok([value, bound]), Ok([input, source])) =
            (<[Expr; 2]>::try_from(exprs), <[LogicalPlan; 2]>::try_from(inputs))
        else {
            return datafusion_common::internal_err!("a threshold has two expressions and two inputs");
        };
        Ok(Threshold { input, source, value, comparison: self.comparison, bound })
    }
}
