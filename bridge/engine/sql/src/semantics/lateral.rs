//! LATERAL: what stands in FROM and reads the rows of the tables before it.
//!
//! Most of it is done row by row: lists of the row spread out, tables that are filtered by it, expressions. Such a
//! relation is attached to the rows themselves: it is built anew over them, and each of its operators passes their
//! columns on. Where rows of the relation are put together (aggregates, windows, the first rows of an order, outer
//! joins) it is attached to the distinct values that it reads, which partition it, and its rows are joined to the
//! rows with these values.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, DFSchema, JoinType, ScalarValue, TableReference};
use datafusion_expr::logical_plan::{Distinct, Filter, Projection};
use datafusion_expr::{Expr, LogicalPlan, Operator};

use super::attach::{Attach, Mode, is_linear};
use super::bound::Bound;
use super::compare::{canonical, compare};
use super::plan::joined;
use super::unnest::Unnest;
use crate::error::Refusal;
use crate::explain::type_name;

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
    let read = columns_read(&right, &outer)?;
    let qualifier = next_level(&right);
    let mut columns: Vec<Option<Column>> = vec![None; outer.fields().len()];
    let (mut values, mut keys) = (Vec::new(), Vec::new());
    for (position, column) in read.iter().enumerate() {
        let (from, field) = outer.qualified_field(*column);
        let name = Column::new(Some(qualifier.clone()), format!("#o{position}"));
        let value = Expr::Column(Column::from((from, field)));
        values.push(called_expr(canonical(value.clone(), field.data_type()), &name));
        let bound = |expr: Expr| Bound::new(expr, field.data_type().clone());
        keys.push(compare(Operator::IsNotDistinctFrom, bound(value), bound(Expr::Column(name.clone())))?.expr);
        if let Some(place) = columns.get_mut(*column) {
            *place = Some(name);
        }
    }
    let values = LogicalPlan::Projection(Projection::try_new(values, Arc::new(left.clone()))?);
    let values = LogicalPlan::Distinct(Distinct::All(Arc::new(values)));
    let names = right.schema().columns();
    let plan = Attach { outer: &outer, columns, mode: Mode::Values }.attach(values, right)?;
    let plan = joined(left, plan, keys.into_iter().chain(conditions).collect(), join_type)?;
    let columns = outer.columns().into_iter().chain(names).map(Expr::Column).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?))
}

/// The columns of the outer row that a plan reads. Their values are compared, so they must have one encoding each,
/// and floats must not be computed with: of two zeros that are equal only one is left.
fn columns_read(plan: &LogicalPlan, outer: &DFSchema) -> Result<BTreeSet<usize>, Refusal> {
    let (mut read, mut computed) = (BTreeSet::new(), BTreeSet::new());
    plan.apply(|node| {
        for expr in node.expressions() {
            expr.apply(|expr| match expr {
                Expr::OuterReferenceColumn(_, column) => {
                    let column = outer.maybe_index_of_column(column);
                    read.extend(column);
                    computed.extend(column);
                    Ok(TreeNodeRecursion::Continue)
                }
                Expr::ScalarFunction(call) if call.func.name() == "canonical" => {
                    if let [Expr::OuterReferenceColumn(_, column)] = call.args.as_slice() {
                        read.extend(outer.maybe_index_of_column(column));
                        return Ok(TreeNodeRecursion::Jump);
                    }
                    Ok(TreeNodeRecursion::Continue)
                }
                _ => Ok(TreeNodeRecursion::Continue),
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    for column in &read {
        let field = outer.field(*column);
        let data_type = field.data_type();
        let name = field.name().trim_start_matches('#');
        if data_type.is_nested() || matches!(data_type, DataType::Interval(_)) {
            return Err(Refusal::new(format!(
                "a subquery in FROM that puts rows together for each value of {name}, which is {}, cannot be maintained \
                 incrementally: join its rows first, and aggregate or choose among them outside, by a key",
                type_name(data_type)
            )));
        }
        if data_type.is_floating() && computed.contains(column) {
            return Err(Refusal::new(format!(
                "a subquery in FROM that puts rows together and computes with {name}, which is {}, cannot be maintained \
                 incrementally: compare with it only, or cast it to DECIMAL before",
                type_name(data_type)
            )));
        }
    }
    Ok(read)
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
            let number = column.relation.as_ref().and_then(|relation| relation.table().strip_prefix(OUTER)?.parse().ok());
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
