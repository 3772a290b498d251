//! LATERAL: what stands in FROM and reads the rows of the tables before it.
//!
//! Most of it is done row by row: lists of the row spread out, tables that are filtered by it, expressions. Such a
//! relation is attached to the rows themselves: it is built anew over them, and each of its operators passes their
//! columns on. Where rows of the relation are put together (aggregates, windows, the first rows of an order, outer
//! joins) it is attached to the distinct values that it reads, which partition it, and its rows are joined to the
//! rows with these values.

use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, DFSchema, JoinType, ScalarValue, TableReference};
use datafusion_expr::logical_plan::{Filter, Projection};
use datafusion_expr::{Expr, LogicalPlan};

use super::attach::{Attach, Mode, is_linear};
use super::correlation::Pulled;
use super::outer_values::OuterValues;
use super::plan::joined;
use super::top::TopRows;
use super::unnest::Unnest;
use crate::error::Refusal;

/// What the columns of outer rows are qualified by while something is attached to them, with a number.
const OUTER: &str = "#outer";

/// Whether a bound plan reads columns of an outer row with this schema.
pub(super) fn reads(plan: &LogicalPlan, outer: &DFSchema) -> bool {
    plan.exists(|node| Ok(node.expressions().iter().any(|expr| expr_reads(expr, outer)))).unwrap_or(true)
}

fn expr_reads(expr: &Expr, outer: &DFSchema) -> bool {
    let found = expr.exists(|e| Ok(matches!(e, Expr::OuterReferenceColumn(_, column) if outer.has_column(column))));
    found.unwrap_or(true)
}

pub(super) fn refused(construct: &str, way_out: &str) -> Refusal {
    Refusal::new(format!("{construct} cannot be maintained incrementally: {way_out}"))
}

/// A join of rows with what reads them. The conditions are over the columns of both.
pub(super) fn join(
    left: LogicalPlan,
    right: LogicalPlan,
    conditions: Vec<Expr>,
    join_type: JoinType,
) -> Result<LogicalPlan, Refusal> {
    let conditions: Vec<Expr> = conditions.into_iter().filter(|condition| !is_true(condition)).collect();
    let outer = Arc::clone(left.schema());
    match join_type {
        JoinType::Inner if is_linear(&right, &outer) => by_row(left, right, conditions),
        JoinType::Left if conditions.is_empty() => match padded(&right) {
            Some(right) => by_row(left, right, conditions),
            None => by_values(left, right, conditions, join_type),
        },
        JoinType::Inner | JoinType::Left => by_values(left, right, conditions, join_type),
        _ => Err(refused(
            "a subquery that reads the tables before it in such a join",
            "join it with JOIN or LEFT JOIN, or let it read its own tables alone",
        )),
    }
}

fn is_true(condition: &Expr) -> bool {
    matches!(condition, Expr::Literal(ScalarValue::Boolean(Some(true)), _))
}

/// The right side attached to the rows of the left one.
fn by_row(left: LogicalPlan, right: LogicalPlan, conditions: Vec<Expr>) -> Result<LogicalPlan, Refusal> {
    let outer = Arc::clone(left.schema());
    let rows = renamed(left, 0..outer.fields().len(), next_level(&right))?;
    let columns = rows.schema().columns();
    let attach = Attach { outer: &outer, columns: columns.iter().cloned().map(Some).collect(), mode: Mode::Rows };
    let plan = attach.attach(rows, right.clone())?;
    let names = outer.columns().into_iter().chain(right.schema().columns());
    let back = plan.schema().columns().into_iter().zip(names).map(|(column, name)| called(column, &name)).collect();
    let plan = LogicalPlan::Projection(Projection::try_new(back, Arc::new(plan))?);
    Ok(match conditions.into_iter().reduce(Expr::and) {
        Some(condition) => LogicalPlan::Filter(Filter::try_new(condition, Arc::new(plan))?),
        None => plan,
    })
}

/// The right side attached to the distinct values of the left one that it reads, and joined to it by them.
fn by_values(
    left: LogicalPlan,
    right: LogicalPlan,
    conditions: Vec<Expr>,
    join_type: JoinType,
) -> Result<LogicalPlan, Refusal> {
    let outer = Arc::clone(left.schema());
    let names = right.schema().columns();
    let values = OuterValues::read_by(&right, &left)?;
    let keys = values.conditions(|column| Expr::Column(Column::from(outer.qualified_field(column))))?;
    let plan = values.attach(&outer, right)?;
    let plan = joined(left, plan, keys.into_iter().chain(conditions).collect(), join_type)?;
    let columns = outer.columns().into_iter().chain(names).map(Expr::Column).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?))
}

/// A subquery of an expression over these outer rows, for each of the values that it reads. Its rows belong to the
/// outer rows with these values.
pub(super) fn pulled(input: &LogicalPlan, subquery: LogicalPlan) -> Result<Pulled, Refusal> {
    let outer = input.schema();
    let values = OuterValues::read_by(&subquery, input)?;
    let conditions = values.conditions(|column| {
        let (qualifier, field) = outer.qualified_field(column);
        Expr::OuterReferenceColumn(Arc::clone(field), Column::from((qualifier, field)))
    })?;
    let single = is_single(&subquery);
    let own = subquery.schema().columns();
    let keys = values.keys();
    let plan = values.attach(outer, subquery)?;
    if plan.exists(|node| Ok(node.contains_outer_reference()))? {
        return Err(refused("a subquery that reads a query further out", "read its columns in the query between"));
    }
    let columns = own.into_iter().chain(keys).map(Expr::Column).collect();
    let plan = LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?);
    Ok(Pulled { plan, conditions, grouped: false, single })
}

/// Whether a subquery has at most one row for each outer row, whatever the tables hold.
fn is_single(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(node) => is_single(&node.input),
        LogicalPlan::Filter(node) => is_single(&node.input),
        LogicalPlan::SubqueryAlias(node) => is_single(&node.input),
        LogicalPlan::Aggregate(node) => node.group_expr.is_empty(),
        LogicalPlan::Extension(node) => {
            TopRows::of(node).is_some_and(|top| top.partition_by.is_empty() && top.fetch <= 1)
        }
        plan => one_row(plan),
    }
}

/// A relation that is nothing but lists of the outer row, with a row of NULLs where there are no items.
fn padded(right: &LogicalPlan) -> Option<LogicalPlan> {
    let plan = right.clone().transform_down(|node| {
        Ok(match &node {
            LogicalPlan::SubqueryAlias(_) => Transformed::no(node),
            LogicalPlan::Projection(projection) if projection.expr.iter().all(is_column) => Transformed::no(node),
            LogicalPlan::Extension(extension) => match Unnest::of(extension) {
                Some(unnest) if one_row(&unnest.input) => {
                    Transformed::new(unnest.clone().padded().plan(), true, TreeNodeRecursion::Stop)
                }
                _ => Transformed::new(node, false, TreeNodeRecursion::Stop),
            },
            _ => Transformed::new(node, false, TreeNodeRecursion::Stop),
        })
    });
    plan.ok().filter(|plan| plan.transformed).map(|plan| plan.data)
}

fn is_column(expr: &Expr) -> bool {
    match expr {
        Expr::Column(_) => true,
        Expr::Alias(alias) => is_column(&alias.expr),
        _ => false,
    }
}

/// Whether a plan is one row without columns.
pub(super) fn one_row(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::EmptyRelation(node) if node.produce_one_row && node.schema.fields().is_empty())
}

/// A qualifier for columns of outer rows that no plan below has.
pub(super) fn next_level(plan: &LogicalPlan) -> TableReference {
    let mut level = 0;
    let _ = plan.apply(|node| {
        for column in node.schema().columns() {
            let number =
                column.relation.as_ref().and_then(|relation| relation.table().strip_prefix(OUTER)?.parse().ok());
            level = level.max(number.map_or(0, |number: usize| number + 1));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    TableReference::bare(format!("{OUTER}{level}"))
}

/// The rows with some of their columns under another qualifier and by number; the other ones stay.
pub(super) fn renamed(
    plan: LogicalPlan,
    which: std::ops::Range<usize>,
    qualifier: TableReference,
) -> Result<LogicalPlan, Refusal> {
    let columns = plan.schema().columns().into_iter().enumerate().map(|(position, column)| {
        if which.contains(&position) {
            called(column, &Column::new(Some(qualifier.clone()), format!("#o{position}")))
        } else {
            Expr::Column(column)
        }
    });
    let columns = columns.collect();
    Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?))
}

fn called(column: Column, name: &Column) -> Expr {
    called_expr(Expr::Column(column), name)
}

/// An expression under a column's name.
pub(super) fn called_expr(expr: Expr, name: &Column) -> Expr {
    super::plan::named(expr, name.relation.as_ref(), &name.name)
}
