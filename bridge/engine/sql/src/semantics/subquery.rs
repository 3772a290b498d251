//! Subqueries in expressions become joins while they are bound.
//!
//! A condition that must be true for a row to stay (`WHERE`, with AND between them) is a semi join or
//! an anti join with the subquery; anywhere else the subquery is joined to the row as columns.
//! What a subquery says about the outer row is pulled up to the join ([`correlation`](super::correlation)).
//!
//! `x NOT IN (S)` is true when no row of S equals x, no row of S is NULL, and S is empty or x is not
//! NULL: three anti joins, of which the last two are left out where nothing can be NULL.

use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, ScalarValue};
use datafusion_expr::expr::{Exists, InSubquery};
use datafusion_expr::logical_plan::{Distinct, Filter, Projection, Subquery, SubqueryAlias};
use datafusion_expr::utils::split_conjunction_owned;
use datafusion_expr::{Expr, ExprSchemable, JoinType, LogicalPlan, Operator, lit, when};

use super::bind::{bind, bind_condition};
use super::compare::compare;
use super::correlation::{OfNothing, Pulled, equality, of_nothing, open, open_by_values, unfold};
use super::only::only_row;
use super::plan::{bind_plan, joined};
use super::{top, unnest};
use crate::error::Refusal;
use crate::identity;

/// Whether an expression holds a subquery.
pub(super) fn is_in(expr: &Expr) -> bool {
    let found = expr.exists(|e| Ok(matches!(e, Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_))));
    found.unwrap_or(false)
}

/// The refusal of a subquery where none can be.
pub(super) fn refused() -> Refusal {
    Refusal::new(
        "a subquery in this place cannot be maintained incrementally: write it in WHERE, HAVING or SELECT, \
         or as a join with a subquery in FROM",
    )
}

/// A filter whose condition holds subqueries. What can be said of a row without them is asked first.
pub(super) fn filter(node: Filter) -> Result<LogicalPlan, Refusal> {
    let input = bind_plan(Arc::unwrap_or_clone(node.input))?;
    let columns = input.schema().columns();
    let (asking, plain): (Vec<_>, Vec<_>) = split_conjunction_owned(node.predicate).into_iter().partition(is_in);
    let mut scope = Scope { input: filtered(input, plain)?, subqueries: 0 };
    let mut rest = Vec::new();
    for condition in asking {
        match test(condition) {
            Test::Exists(subquery, negated) => scope.keep_existing(&subquery, negated)?,
            Test::In(value, subquery, negated) => scope.keep_in(&value, &subquery, negated)?,
            Test::Other(expr) => rest.push(scope.joined_in(expr)?),
        }
    }
    let plan = filtered(scope.input, rest)?;
    let columns = columns.into_iter().map(Expr::Column).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?))
}

fn filtered(input: LogicalPlan, conditions: Vec<Expr>) -> Result<LogicalPlan, Refusal> {
    let Some(condition) = conditions.into_iter().reduce(Expr::and) else { return Ok(input) };
    let condition = bind_condition(&condition, input.schema())?;
    let input = top::before_filter(input, &condition)?;
    Ok(LogicalPlan::Filter(Filter::try_new(condition, Arc::new(input))?))
}

/// A projection some of whose expressions hold subqueries.
pub(super) fn projection(node: Projection) -> Result<LogicalPlan, Refusal> {
    let mut scope = Scope { input: bind_plan(Arc::unwrap_or_clone(node.input))?, subqueries: 0 };
    let exprs = node.expr.into_iter().map(|expr| scope.joined_in(expr)).collect::<Result<Vec<_>, _>>()?;
    unnest::project(scope.input, exprs, &node.schema)
}

/// The columns of an expression, in one order.
fn columns_of(expr: &Expr) -> Vec<Expr> {
    let mut columns: Vec<&Column> = expr.column_refs().into_iter().collect();
    columns.sort();
    columns.into_iter().cloned().map(Expr::Column).collect()
}

enum Test {
    Exists(Subquery, bool),
    In(Expr, Subquery, bool),
    Other(Expr),
}

fn test(expr: Expr) -> Test {
    match expr {
        Expr::Exists(Exists { subquery, negated }) => Test::Exists(subquery, negated),
        Expr::InSubquery(InSubquery { expr, subquery, negated }) if !is_in(&expr) => Test::In(*expr, subquery, negated),
        Expr::Not(inner) => match test(*inner) {
            Test::Exists(subquery, negated) => Test::Exists(subquery, !negated),
            Test::In(value, subquery, negated) => Test::In(value, subquery, !negated),
            Test::Other(expr) => Test::Other(Expr::Not(Box::new(expr))),
        },
        other => Test::Other(other),
    }
}

/// The rows that subqueries are asked about, with what has been joined to them.
struct Scope {
    input: LogicalPlan,
    subqueries: usize,
}

/// A subquery as the right side of a join.
struct Right {
    plan: LogicalPlan,
    /// Over the columns of both sides.
    conditions: Vec<Expr>,
    /// What was asked for, as columns.
    values: Vec<Expr>,
}

impl Scope {
    fn open(&self, subquery: &Subquery) -> Result<Pulled, Refusal> {
        open(subquery.subquery.as_ref().clone(), &self.input)
    }

    /// A subquery that is asked for rows, which are its own.
    fn open_rows(&self, subquery: &Subquery) -> Result<Pulled, Refusal> {
        let pulled = self.open(subquery)?;
        if pulled.grouped { open_by_values(subquery.subquery.as_ref().clone(), &self.input) } else { Ok(pulled) }
    }

    /// The same where it is joined by equalities alone.
    fn open_equal(&self, subquery: &Subquery) -> Result<Pulled, Refusal> {
        let pulled = self.open_rows(subquery)?;
        if pulled.is_by_equality() {
            return Ok(pulled);
        }
        open_by_values(subquery.subquery.as_ref().clone(), &self.input)
    }

    /// A subquery under a name of its own, with `values` and the columns of its conditions.
    fn right(&mut self, pulled: &Pulled, values: &[Expr]) -> Result<Right, Refusal> {
        self.subqueries += 1;
        let alias = format!("#sq{}", self.subqueries);
        let mut inner: Vec<Expr> = Vec::new();
        let columns = pulled.conditions.iter().flat_map(columns_of);
        for expr in columns.chain(values.iter().cloned()) {
            if !inner.contains(&expr) {
                inner.push(expr);
            }
        }
        let column = |expr: &Expr| {
            let position = inner.iter().position(|known| known == expr)?;
            Some(Expr::Column(Column::new(Some(alias.clone()), format!("k{position}"))))
        };
        let outer = self.input.schema();
        let over_both = |condition: &Expr| {
            let mapped = condition.clone().transform_down(|expr| {
                Ok(match &expr {
                    Expr::Column(_) => Transformed::yes(column(&expr).unwrap_or(expr)),
                    Expr::OuterReferenceColumn(_, c) if outer.has_column(c) => {
                        Transformed::new(Expr::Column(c.clone()), true, TreeNodeRecursion::Jump)
                    }
                    _ => Transformed::no(expr),
                })
            })?;
            if mapped.data.contains_outer() {
                return Err(Refusal::new(
                    "a subquery that reads columns of a query further out cannot be maintained incrementally: \
                     read them in the query between, or write it as a join",
                ));
            }
            Ok(mapped.data)
        };
        let conditions = pulled.conditions.iter().map(over_both).collect::<Result<Vec<_>, _>>()?;
        let values = values.iter().filter_map(column).collect();
        let mut exprs: Vec<Expr> =
            inner.iter().enumerate().map(|(i, expr)| expr.clone().alias(format!("k{i}"))).collect();
        if exprs.is_empty() {
            exprs.push(lit(true).alias("k"));
        }
        let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(pulled.plan.clone()))?);
        let plan = LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::new(plan), alias)?);
        Ok(Right { plan, conditions, values })
    }

    fn join(&mut self, right: LogicalPlan, conditions: Vec<Expr>, join_type: JoinType) -> Result<(), Refusal> {
        self.input = joined(self.input.clone(), right, conditions, join_type)?;
        Ok(())
    }

    /// Keeps the rows for which the subquery has a row, or has none.
    fn keep_existing(&mut self, subquery: &Subquery, negated: bool) -> Result<(), Refusal> {
        let pulled = self.open_rows(subquery)?;
        let right = self.right(&pulled, &[])?;
        self.join(right.plan, right.conditions, if negated { JoinType::LeftAnti } else { JoinType::LeftSemi })
    }

    /// Keeps the rows whose value is, or is not, among the subquery's.
    fn keep_in(&mut self, value: &Expr, subquery: &Subquery, negated: bool) -> Result<(), Refusal> {
        let pulled = self.open_rows(subquery)?;
        let (right, value, equals, item) = self.in_right(&pulled, value)?;
        let with = |condition: Expr| right.conditions.iter().cloned().chain([condition]).collect::<Vec<_>>();
        if !negated {
            return self.join(right.plan.clone(), with(equals), JoinType::LeftSemi);
        }
        self.join(right.plan.clone(), with(equals), JoinType::LeftAnti)?;
        if item.nullable(right.plan.schema())? {
            let nulls = Filter::try_new(item.is_null(), Arc::new(right.plan.clone()))?;
            self.join(LogicalPlan::Filter(nulls), right.conditions.clone(), JoinType::LeftAnti)?;
        }
        if value.nullable(self.input.schema())? {
            self.join(right.plan.clone(), with(value.is_null()), JoinType::LeftAnti)?;
        }
        Ok(())
    }

    /// The right side of an IN, the value, their equality, and the subquery's column.
    fn in_right(&mut self, pulled: &Pulled, value: &Expr) -> Result<(Right, Expr, Expr, Expr), Refusal> {
        let right = self.right(pulled, &[pulled.first()])?;
        let item = right.values[0].clone();
        let value = bind(value, self.input.schema())?;
        let equals = compare(Operator::Eq, value.clone(), bind(&item, right.plan.schema())?)?.expr;
        Ok((right, value.settled()?.expr, equals, item))
    }

    /// The expression with columns in the place of its subqueries, which are joined to the input.
    fn joined_in(&mut self, expr: Expr) -> Result<Expr, Refusal> {
        if !is_in(&expr) {
            return Ok(expr);
        }
        let mut refusal = None;
        let replaced = expr.transform_down(|expr| {
            let column = match &expr {
                Expr::ScalarSubquery(subquery) => self.scalar(subquery),
                Expr::Exists(Exists { subquery, negated }) => self.existence(subquery, *negated),
                Expr::InSubquery(node) => self.membership(node),
                _ => return Ok(Transformed::no(expr)),
            };
            Ok(match column {
                Ok(column) => Transformed::new(column, true, TreeNodeRecursion::Jump),
                Err(error) => {
                    refusal.get_or_insert(error);
                    Transformed::new(expr, false, TreeNodeRecursion::Stop)
                }
            })
        })?;
        match refusal {
            Some(refusal) => Err(refusal),
            None => Ok(replaced.data),
        }
    }

    /// The input with one more column, which is computed over its columns.
    fn add(&mut self, expr: Expr) -> Result<Expr, Refusal> {
        self.subqueries += 1;
        let column = Column::new(Some(format!("#sq{}", self.subqueries)), "v");
        let mut exprs: Vec<Expr> = self.input.schema().columns().into_iter().map(Expr::Column).collect();
        exprs.push(expr.alias_qualified(column.relation.clone(), &column.name));
        self.input = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(self.input.clone()))?);
        Ok(Expr::Column(column))
    }

    /// A subquery as a value: it has at most one row for each outer row, which must follow from it.
    fn scalar(&mut self, subquery: &Subquery) -> Result<Expr, Refusal> {
        let mut pulled = self.open(subquery)?;
        if pulled.grouped {
            return self.aggregated(pulled);
        }
        let equal: Vec<Expr> = pulled.conditions.iter().filter_map(|c| equality(c).map(|e| e.inner)).collect();
        let is_equal = |column: &usize| {
            let column = Expr::Column(Column::from(pulled.plan.schema().qualified_field(*column)));
            equal.contains(&column)
        };
        if !pulled.single && !identity::key(&pulled.plan).is_some_and(|key| key.iter().all(is_equal)) {
            if !pulled.conditions.is_empty() {
                return Err(Refusal::new(
                    "a subquery that stands for one value may have several rows here: \
                     aggregate it, for example with max, or compare all columns of its key",
                ));
            }
            pulled.plan = only_row(pulled.plan)?;
        }
        let join_type = if pulled.has_one_row() { JoinType::Inner } else { JoinType::Left };
        let right = self.right(&pulled, &[pulled.first()])?;
        self.join(right.plan, right.conditions, join_type)?;
        Ok(right.values[0].clone())
    }

    /// An aggregate of the rows that belong to the outer row. Where there are none it has the value of
    /// an aggregate of nothing: COUNT is 0 and the others are NULL.
    fn aggregated(&mut self, pulled: Pulled) -> Result<Expr, Refusal> {
        let first = pulled.first();
        let (pulled, value) = unfold(pulled, first)?;
        let LogicalPlan::Aggregate(node) = &pulled.plan else { return Err(refused()) };
        let mut counts = Vec::new();
        let calls = node.aggr_expr.iter().zip(node.schema.columns().into_iter().skip(node.group_expr.len()));
        for (expr, column) in calls {
            if of_nothing(expr)? == OfNothing::Zero {
                counts.push(column);
            }
        }
        let inner = columns_of(&value);
        let right = self.right(&pulled, &inner)?;
        self.join(right.plan, right.conditions, JoinType::Left)?;
        let value = value.transform_down(|expr| {
            let Some(position) = inner.iter().position(|known| *known == expr) else {
                return Ok(Transformed::no(expr));
            };
            let column = right.values[position].clone();
            let is_count = matches!(&expr, Expr::Column(c) if counts.contains(c));
            let column = if is_count { when(column.clone().is_null(), lit(0i64)).otherwise(column)? } else { column };
            Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
        })?;
        self.add(value.data)
    }

    /// EXISTS as a value.
    fn existence(&mut self, subquery: &Subquery, negated: bool) -> Result<Expr, Refusal> {
        let pulled = self.open_equal(subquery)?;
        let found = self.mark(&pulled, None)?;
        Ok(if negated { found.is_null() } else { found.is_not_null() })
    }

    /// IN as a value: NULL where there is no equal row and NULLs leave it open.
    fn membership(&mut self, node: &InSubquery) -> Result<Expr, Refusal> {
        if is_in(&node.expr) {
            return Err(refused());
        }
        let pulled = self.open_equal(&node.subquery)?;
        let value = (*node.expr).clone();
        let item = pulled.first();
        let bound = bind(&value, self.input.schema())?;
        // Over the outer row the value is written as such, until the equality is split again.
        let outer = bound.clone();
        let equals = compare(Operator::Eq, outer, bind(&item, pulled.plan.schema())?)?.expr;
        let Expr::BinaryExpr(equals) = equals else { return Err(refused()) };
        let found = self.mark(&pulled, Some((*equals.right, *equals.left)))?;
        let mut answer = vec![(found.is_not_null(), ScalarValue::Boolean(Some(true)))];
        if item.nullable(pulled.plan.schema())? {
            let nulls = Filter::try_new(item.is_null(), Arc::new(pulled.plan.clone()))?;
            let nulls = Pulled { plan: LogicalPlan::Filter(nulls), ..pulled.clone() };
            answer.push((self.mark(&nulls, None)?.is_not_null(), ScalarValue::Boolean(None)));
        }
        let value = bound.settled()?.expr;
        if value.nullable(self.input.schema())? {
            let any = self.mark(&pulled, None)?.is_not_null();
            answer.push((value.is_null().and(any), ScalarValue::Boolean(None)));
        }
        let case = answer.into_iter().rev().try_fold(lit(false), |rest, (condition, value)| {
            when(condition, Expr::Literal(value, None)).otherwise(rest)
        })?;
        let column = self.add(case)?;
        Ok(if node.negated { Expr::Not(Box::new(column)) } else { column })
    }

    /// Joins a column that is not NULL where the subquery has a row for the outer row. `pair` is one
    /// more equality: of an expression over the subquery and one over the outer row.
    fn mark(&mut self, pulled: &Pulled, pair: Option<(Expr, Expr)>) -> Result<Expr, Refusal> {
        self.subqueries += 1;
        let alias = format!("#sq{}", self.subqueries);
        let mut exprs = vec![lit(true).alias("m")];
        let mut conditions = Vec::new();
        let mut key = |inner: Expr| {
            let name = format!("k{}", exprs.len());
            exprs.push(inner.alias(&name));
            Expr::Column(Column::new(Some(alias.clone()), name))
        };
        if let Some((inner, outer)) = pair {
            conditions.push(datafusion_expr::binary_expr(outer, Operator::Eq, key(inner)));
        }
        for condition in &pulled.conditions {
            let equality = equality(condition).ok_or_else(|| {
                Refusal::new(
                    "a subquery here can be compared with the row around it by equality only: \
                     put it into WHERE, with AND between the conditions",
                )
            })?;
            let outer = super::correlation::as_columns(equality.outer, self.input.schema())?;
            conditions.push(datafusion_expr::binary_expr(outer, equality.op, key(equality.inner)));
        }
        let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(pulled.plan.clone()))?);
        let plan = LogicalPlan::Distinct(Distinct::All(Arc::new(plan)));
        let plan = LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::new(plan), alias.clone())?);
        self.join(plan, conditions, JoinType::Left)?;
        Ok(Expr::Column(Column::new(Some(alias), "m")))
    }
}
