//! What a subquery says about the row around it, pulled up to where the two are joined.
//!
//! A bound subquery is walked from its root. Conditions that read the outer row leave their filters;
//! the columns they compare are kept on the way up, and an aggregate is grouped by them. What the
//! outer row decides in any other way is refused.

use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, DFSchema};
use datafusion_expr::logical_plan::{Aggregate, Distinct, Filter, Join, Projection, SubqueryAlias};
use datafusion_expr::utils::split_conjunction_owned;
use datafusion_expr::{BinaryExpr, Expr, JoinType, LogicalPlan, Operator};

use super::aggregate::{AggregateKind, aggregate_call};
use super::plan::bind_plan;
use super::recomputed::{Recomputed, Regression, recomputed_call};
use super::{branches, lateral};
use crate::error::Refusal;
use crate::names::{Input, Relation};

/// A subquery without the outer row.
#[derive(Debug, Clone)]
pub(super) struct Pulled {
    pub(super) plan: LogicalPlan,
    /// Over the plan's columns and those of the outer row.
    pub(super) conditions: Vec<Expr>,
    /// It is an aggregate of one row for each outer row, grouped by what the conditions compare: it has
    /// no row where it should have the aggregate of nothing.
    pub(super) grouped: bool,
    /// It has at most one row for each outer row.
    pub(super) single: bool,
}

impl Pulled {
    /// Its first column.
    pub(super) fn first(&self) -> Expr {
        Expr::Column(Column::from(self.plan.schema().qualified_field(0)))
    }

    /// Whether its rows belong to the outer rows with equal values.
    pub(super) fn is_by_equality(&self) -> bool {
        self.conditions.iter().all(|condition| equality(condition).is_some())
    }

    /// Whether it has exactly one row.
    pub(super) fn has_one_row(&self) -> bool {
        fn one(plan: &LogicalPlan) -> bool {
            match plan {
                LogicalPlan::Projection(node) => one(&node.input),
                LogicalPlan::SubqueryAlias(node) => one(&node.input),
                LogicalPlan::Aggregate(node) => node.group_expr.is_empty(),
                LogicalPlan::EmptyRelation(node) => node.produce_one_row,
                LogicalPlan::TableScan(node) => {
                    Relation::of(node.source.as_ref()).is_some_and(|relation| relation.input == Input::Clock)
                }
                _ => false,
            }
        }
        self.conditions.is_empty() && one(&self.plan)
    }
}

/// Binds a subquery over these outer rows, and pulls up what it says about them. Where that is not conditions alone, it is
/// computed for each of the values that it reads.
pub(super) fn open(subquery: LogicalPlan, outer: &LogicalPlan) -> Result<Pulled, Refusal> {
    let plan = bind_plan(typed(subquery, outer.schema())?)?;
    pull(plan.clone(), &mut 0).or_else(|refusal| {
        if lateral::reads(&plan, outer.schema()) { lateral::pulled(outer, plan) } else { Err(refusal) }
    })
}

/// Binds a subquery over these outer rows, for each of the values that it reads.
pub(super) fn open_by_values(subquery: LogicalPlan, outer: &LogicalPlan) -> Result<Pulled, Refusal> {
    lateral::pulled(outer, bind_plan(typed(subquery, outer.schema())?)?)
}

/// A plan whose references to an outer row with these columns have their types.
pub(super) fn typed(plan: LogicalPlan, outer: &DFSchema) -> Result<LogicalPlan, Refusal> {
    let typed = plan.transform_down_with_subqueries(|node| {
        node.map_expressions(|expr| {
            expr.transform_down(|expr| {
                Ok(match &expr {
                    Expr::OuterReferenceColumn(_, column) => match outer.qualified_field_from_column(column) {
                        Ok((_, field)) => {
                            let typed = Expr::OuterReferenceColumn(Arc::clone(field), column.clone());
                            Transformed::new(typed, true, TreeNodeRecursion::Jump)
                        }
                        Err(_) => Transformed::no(expr),
                    },
                    _ => Transformed::no(expr),
                })
            })
        })
    })?;
    Ok(typed.data)
}

/// An equality of something of the subquery with something of the outer row.
pub(super) struct Equality {
    pub(super) inner: Expr,
    pub(super) outer: Expr,
    pub(super) op: Operator,
}

/// A condition as such an equality, if it is one.
pub(super) fn equality(condition: &Expr) -> Option<Equality> {
    let Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::Eq | Operator::IsNotDistinctFrom), right }) = condition
    else {
        return None;
    };
    let is_outer = |expr: &Expr| expr.contains_outer() && expr.column_refs().is_empty();
    let (inner, outer) = if is_outer(right) { (left, right) } else { (right, left) };
    (is_outer(outer) && !inner.contains_outer()).then(|| Equality {
        inner: (**inner).clone(),
        outer: (**outer).clone(),
        op: *op,
    })
}

/// What an aggregate of no rows is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum OfNothing {
    Zero,
    Null,
}

/// The value of an aggregate of no rows, or the refusal of one that has another.
pub(super) fn of_nothing(call: &Expr) -> Result<OfNothing, Refusal> {
    match (aggregate_call(call).map(|call| call.kind), recomputed_call(call).map(|call| call.function)) {
        (Some(AggregateKind::Count), _) => Ok(OfNothing::Zero),
        (Some(AggregateKind::Sum | AggregateKind::Avg | AggregateKind::Min | AggregateKind::Max), _) => {
            Ok(OfNothing::Null)
        }
        (None, Some(function))
            if !matches!(function, Recomputed::Entropy | Recomputed::Regression(Regression::Count)) =>
        {
            Ok(OfNothing::Null)
        }
        _ => Err(refused(
            "such an aggregate without GROUP BY in a subquery that reads rows outside of it",
            "use another one, or join first and aggregate then",
        )),
    }
}

/// An expression over the outer row alone, as one over its columns.
pub(super) fn as_columns(expr: Expr, outer: &DFSchema) -> Result<Expr, Refusal> {
    let columns = expr.transform_down(|expr| {
        Ok(match &expr {
            Expr::OuterReferenceColumn(_, column) if outer.has_column(column) => {
                Transformed::new(Expr::Column(column.clone()), true, TreeNodeRecursion::Jump)
            }
            _ => Transformed::no(expr),
        })
    })?;
    if columns.data.contains_outer() {
        return Err(refused("a subquery that reads a query further out", "read its columns in the query between"));
    }
    Ok(columns.data)
}

/// An aggregate below projections, and an expression and the conditions over its columns.
pub(super) fn unfold(pulled: Pulled, value: Expr) -> Result<(Pulled, Expr), Refusal> {
    let Pulled { plan, conditions, grouped, .. } = pulled;
    let (input, below): (Arc<LogicalPlan>, Vec<Expr>) = match &plan {
        LogicalPlan::Aggregate(_) => return Ok((Pulled { plan, conditions, grouped, single: false }, value)),
        LogicalPlan::Projection(node) => {
            (Arc::clone(&node.input), node.expr.iter().map(|expr| expr.clone().unalias()).collect())
        }
        LogicalPlan::SubqueryAlias(node) => {
            (Arc::clone(&node.input), node.input.schema().columns().into_iter().map(Expr::Column).collect())
        }
        _ => return Err(refused("HAVING in a correlated subquery", "join with a view that has it")),
    };
    let columns = plan.schema().columns();
    let over = |expr: Expr| substitute(expr, &columns, &below);
    let conditions = conditions.into_iter().map(over).collect::<Result<Vec<_>, _>>()?;
    let value = over(value)?;
    unfold(Pulled { plan: Arc::unwrap_or_clone(input), conditions, grouped, single: false }, value)
}

fn substitute(expr: Expr, columns: &[Column], with: &[Expr]) -> Result<Expr, Refusal> {
    let replaced = expr.transform_down(|expr| {
        let position = match &expr {
            Expr::Column(column) => columns.iter().position(|known| known == column),
            _ => None,
        };
        Ok(match position {
            Some(position) => Transformed::new(with[position].clone(), true, TreeNodeRecursion::Jump),
            None => Transformed::no(expr),
        })
    })?;
    Ok(replaced.data)
}

fn refused(construct: &str, way_out: &str) -> Refusal {
    Refusal::new(format!("{construct} cannot be maintained incrementally: {way_out}"))
}

fn reads_outer(plan: &LogicalPlan) -> bool {
    plan.exists(|node| Ok(node.contains_outer_reference())).unwrap_or(true)
}

fn pull(plan: LogicalPlan, names: &mut usize) -> Result<Pulled, Refusal> {
    if !reads_outer(&plan) {
        return Ok(Pulled { plan, conditions: Vec::new(), grouped: false, single: false });
    }
    match plan {
        LogicalPlan::Filter(node) => {
            let below = pull(Arc::unwrap_or_clone(node.input), names)?;
            if below.grouped {
                return Err(refused("HAVING in a correlated subquery", "join with a view that has it"));
            }
            let parted = |condition: Expr| {
                if condition.contains_outer() { branches::parted(condition) } else { vec![condition] }
            };
            let conditions = split_conjunction_owned(node.predicate).into_iter().flat_map(parted);
            let (outer, own): (Vec<_>, Vec<_>) = conditions.partition(Expr::contains_outer);
            let plan = filtered(below.plan, own)?;
            Ok(Pulled {
                plan,
                conditions: below.conditions.into_iter().chain(outer).collect(),
                grouped: false,
                single: false,
            })
        }
        LogicalPlan::Projection(node) => projection(node, names),
        LogicalPlan::SubqueryAlias(node) => {
            let below = pull(Arc::unwrap_or_clone(node.input), names)?;
            let columns = below.plan.schema().columns();
            let plan = LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::new(below.plan), node.alias)?);
            let renamed: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
            let conditions = below.conditions.into_iter().map(|c| substitute(c, &columns, &renamed));
            Ok(Pulled {
                conditions: conditions.collect::<Result<_, _>>()?,
                plan,
                grouped: below.grouped,
                single: false,
            })
        }
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let below = pull(Arc::unwrap_or_clone(input), names)?;
            Ok(Pulled { plan: LogicalPlan::Distinct(Distinct::All(Arc::new(below.plan))), ..below })
        }
        LogicalPlan::Aggregate(node) => aggregate(node, names),
        LogicalPlan::Join(node) => join(node, names),
        _ => Err(refused("a subquery that reads the row around it in this place", "write it as a join")),
    }
}

fn filtered(plan: LogicalPlan, conditions: Vec<Expr>) -> Result<LogicalPlan, Refusal> {
    Ok(match conditions.into_iter().reduce(Expr::and) {
        Some(condition) => LogicalPlan::Filter(Filter::try_new(condition, Arc::new(plan))?),
        None => plan,
    })
}

fn projection(node: Projection, names: &mut usize) -> Result<Pulled, Refusal> {
    let below = pull(Arc::unwrap_or_clone(node.input), names)?;
    if node.expr.iter().any(Expr::contains_outer) {
        return Err(refused(
            "a subquery that selects a value of the row around it",
            "select columns of its own, and compute with them outside",
        ));
    }
    let mut exprs = node.expr;
    let mut compared: Vec<Column> = Vec::new();
    for condition in &below.conditions {
        compared.extend(condition.column_refs().into_iter().cloned());
    }
    compared.sort();
    compared.dedup();
    let mut renamed = Vec::with_capacity(compared.len());
    for column in &compared {
        *names += 1;
        let name = format!("#c{names}");
        exprs.push(Expr::Column(column.clone()).alias(&name));
        renamed.push(Expr::Column(Column::new_unqualified(name)));
    }
    let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(below.plan))?);
    let conditions = below.conditions.into_iter().map(|c| substitute(c, &compared, &renamed));
    Ok(Pulled { conditions: conditions.collect::<Result<_, _>>()?, plan, grouped: below.grouped, single: false })
}

fn aggregate(node: Aggregate, names: &mut usize) -> Result<Pulled, Refusal> {
    let below = pull(Arc::unwrap_or_clone(node.input), names)?;
    let mixed = node.group_expr.iter().chain(&node.aggr_expr).any(Expr::contains_outer);
    if mixed || below.grouped {
        return Err(refused("a subquery that aggregates values of the row around it", "write it as a join"));
    }
    let grouped = node.group_expr.is_empty();
    let mut groups = node.group_expr;
    let mut conditions = Vec::with_capacity(below.conditions.len());
    for condition in below.conditions {
        let equality = equality(&condition).ok_or_else(|| {
            refused(
                "an aggregate over rows that are compared with the row around it by anything but equality",
                "join first and aggregate then",
            )
        })?;
        *names += 1;
        let name = format!("#c{names}");
        groups.push(equality.inner.alias(&name));
        let column = Expr::Column(Column::new_unqualified(name));
        conditions.push(datafusion_expr::binary_expr(column, equality.op, equality.outer));
    }
    let plan = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(below.plan), groups, node.aggr_expr)?);
    Ok(Pulled { plan, conditions, grouped, single: false })
}

fn join(node: Join, names: &mut usize) -> Result<Pulled, Refusal> {
    let in_condition = node.filter.iter().any(Expr::contains_outer)
        || node.on.iter().any(|(l, r)| l.contains_outer() || r.contains_outer());
    let left = pull(Arc::unwrap_or_clone(node.left), names)?;
    let right = pull(Arc::unwrap_or_clone(node.right), names)?;
    let keeps_left =
        matches!(node.join_type, JoinType::Inner | JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti);
    let fits = match node.join_type {
        JoinType::Inner => !left.grouped && !right.grouped,
        _ => keeps_left && !in_condition && !left.grouped && right.conditions.is_empty(),
    };
    if !fits {
        return Err(refused(
            "a join in a subquery that reads the row around it this way",
            "write it as a join outside",
        ));
    }
    let mut conditions = left.conditions;
    conditions.extend(right.conditions);
    let (outer_on, on): (Vec<_>, Vec<_>) =
        node.on.into_iter().partition(|(l, r)| l.contains_outer() || r.contains_outer());
    conditions.extend(outer_on.into_iter().map(|(l, r)| l.eq(r)));
    let (outer, own): (Vec<_>, Vec<_>) =
        node.filter.into_iter().flat_map(split_conjunction_owned).partition(Expr::contains_outer);
    conditions.extend(outer);
    let plan = LogicalPlan::Join(Join::try_new(
        Arc::new(left.plan),
        Arc::new(right.plan),
        on,
        own.into_iter().reduce(Expr::and),
        node.join_type,
        node.join_constraint,
        node.null_equality,
        node.null_aware,
    )?);
    Ok(Pulled { plan, conditions, grouped: false, single: false })
}
