//! Plans bound bottom-up: every expression gets its types from the bound input, every column
//! keeps its name.

use std::sync::Arc;

use datafusion_common::{Column, DFSchema, JoinConstraint, JoinType, NullEquality};
use datafusion_expr::logical_plan::{Aggregate, Distinct, Filter, Join, Projection, SubqueryAlias, Union};
use datafusion_expr::utils::{find_valid_equijoin_key_pair, split_conjunction_owned};
use datafusion_expr::{BinaryExpr, Expr, GroupingSet, LogicalPlan, Operator};

use super::bind::{bind, bind_condition, bind_settled, place};
use super::bound::Bound;
use super::coercion::common;
use super::compare::{canonical, compare};
use super::grouping::bind_sets;
use super::recursion::RecursiveUnion;
use super::unnest::Unnest;
use super::{asof_bind, branches, correlation, lateral, lent, recursion, set, subquery, top, unnest, window_bind};
use crate::error::Refusal;

/// Binds a plan as DuckDB would.
pub(crate) fn bind_plan(plan: LogicalPlan) -> Result<LogicalPlan, Refusal> {
    match plan {
        LogicalPlan::TableScan(_) => Ok(plan),
        LogicalPlan::EmptyRelation(_) => Ok(plan),
        LogicalPlan::Projection(node) => {
            if node.expr.iter().any(subquery::is_in) {
                return subquery::projection(node);
            }
            let input = bind_plan(Arc::unwrap_or_clone(node.input))?;
            unnest::project(input, node.expr, &node.schema)
        }
        LogicalPlan::Filter(node) => {
            if subquery::is_in(&node.predicate) {
                return subquery::filter(node);
            }
            let input = bind_plan(Arc::unwrap_or_clone(node.input))?;
            let predicate = bind_condition(&node.predicate, input.schema())?;
            let input = top::before_filter(input, &predicate)?;
            Ok(LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(input))?))
        }
        LogicalPlan::Aggregate(node) => aggregate(node),
        LogicalPlan::Join(node) => join(node),
        LogicalPlan::SubqueryAlias(node) => {
            let input = bind_plan(Arc::unwrap_or_clone(node.input))?;
            Ok(LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::new(input), node.alias)?))
        }
        LogicalPlan::Distinct(Distinct::All(input)) if recursion::is_recursive(&input) => {
            recursion::bind(Arc::unwrap_or_clone(input), RecursiveUnion::Distinct)
        }
        plan if recursion::is_recursive(&plan) => recursion::bind(plan, RecursiveUnion::All),
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let input = one_float(bind_plan(Arc::unwrap_or_clone(input))?)?;
            Ok(LogicalPlan::Distinct(Distinct::All(Arc::new(input))))
        }
        LogicalPlan::Union(node) => union(node),
        LogicalPlan::Window(node) => window_bind::bind_window(node),
        LogicalPlan::Limit(node) => top::bind_limit(node),
        LogicalPlan::Subquery(node) => bind_plan(Arc::unwrap_or_clone(node.subquery)),
        LogicalPlan::Extension(node) if Unnest::of(&node).is_some() => match Unnest::of(&node) {
            Some(node) => unnest::bind_unnest(node),
            None => Err(unnest::refused()),
        },
        other => {
            let name = other.display().to_string();
            let name = name.split([':', ' ']).next().unwrap_or_default().to_owned();
            Err(Refusal::new(format!(
                "the operator {name} cannot be maintained incrementally: write the view without it"
            )))
        }
    }
}

/// The rows with equal floats made the same bits.
fn one_float(input: LogicalPlan) -> Result<LogicalPlan, Refusal> {
    if !input.schema().fields().iter().any(|f| f.data_type().is_floating()) {
        return Ok(input);
    }
    let columns = input.schema().iter().map(|(qualifier, field)| {
        let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
        named(canonical(column, field.data_type()), qualifier, field.name())
    });
    let columns = columns.collect();
    Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(input))?))
}

/// An expression under a column's name; a column that has it already is left alone.
pub(super) fn named(expr: Expr, qualifier: Option<&datafusion_common::TableReference>, name: &str) -> Expr {
    match &expr {
        Expr::Column(column) if column.relation.as_ref() == qualifier && column.name == name => expr,
        _ => match qualifier {
            Some(qualifier) => expr.alias_qualified(Some(qualifier.clone()), name),
            None => expr.alias(name),
        },
    }
}

fn aggregate(node: Aggregate) -> Result<LogicalPlan, Refusal> {
    let input = bind_plan(Arc::unwrap_or_clone(Arc::clone(&node.input)))?;
    let schema = input.schema();
    let mut group_expr = Vec::with_capacity(node.group_expr.len());
    let mut aggr_expr = Vec::with_capacity(node.aggr_expr.len());
    if let [Expr::GroupingSet(sets)] = node.group_expr.as_slice() {
        return grouping_sets(&node, sets, input);
    }
    // A group that is written twice is one column.
    let mut unique: Vec<&Expr> = Vec::with_capacity(node.group_expr.len());
    for expr in &node.group_expr {
        if !unique.contains(&expr) {
            unique.push(expr);
        }
    }
    let groups = unique.len();
    for (position, expr) in unique.into_iter().chain(&node.aggr_expr).enumerate() {
        let (qualifier, field) = node.schema.qualified_field(position);
        let bound = bind_settled(expr, schema)?;
        if position < groups {
            // Equal floats must be one key whatever their bits.
            group_expr.push(named(canonical(bound.expr, &bound.data_type), qualifier, field.name()));
        } else {
            aggr_expr.push(named(bound.expr, qualifier, field.name()));
        }
    }
    Ok(LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(input), group_expr, aggr_expr)?))
}

fn grouping_sets(node: &Aggregate, sets: &GroupingSet, input: LogicalPlan) -> Result<LogicalPlan, Refusal> {
    let schema = input.schema();
    let groups = bind_sets(sets, |position, expr| {
        let (qualifier, field) = node.schema.qualified_field(position);
        let bound = bind_settled(expr, schema)?;
        Ok((named(canonical(bound.expr, &bound.data_type), qualifier, field.name()), bound.kind))
    })?;
    let first = node.schema.fields().len() - node.aggr_expr.len();
    let calls = node.aggr_expr.iter().enumerate().map(|(position, expr)| {
        let (qualifier, field) = node.schema.qualified_field(first + position);
        Ok(named(bind_settled(expr, schema)?.expr, qualifier, field.name()))
    });
    let calls = calls.collect::<Result<Vec<_>, Refusal>>()?;
    Ok(LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(input), vec![groups], calls)?))
}

fn join(node: Join) -> Result<LogicalPlan, Refusal> {
    // Nothing but EXCEPT and INTERSECT lets NULLs meet before conditions become keys.
    if node.null_equality == NullEquality::NullEqualsNull {
        return set::operation(node);
    }
    if asof_bind::is_asof(&node) {
        return asof_bind::bind_join(node);
    }
    let left = bind_plan(Arc::unwrap_or_clone(node.left))?;
    let right = correlation::typed(Arc::unwrap_or_clone(node.right), left.schema())?;
    let right = bind_plan(right)?;
    let mut conditions = Vec::new();
    for (a, b) in node.on {
        let bound = compare(Operator::Eq, bind(&a, left.schema())?, bind(&b, right.schema())?)
            .map_err(|refusal| refusal.or_at(place(&a)))?;
        conditions.push(bound.expr);
    }
    if let Some(filter) = &node.filter {
        let both = left.schema().join(right.schema())?;
        let bound = split_conjunction_owned(bind_condition(filter, &both)?);
        conditions.extend(bound.into_iter().flat_map(branches::parted));
    }
    if lateral::reads(&right, left.schema()) {
        return lateral::join(left, right, conditions, node.join_type);
    }
    joined(left, right, conditions, node.join_type)
}

/// A join of two bound inputs. Equalities of one with the other are its keys, whatever its type: rows
/// that differ in them do not meet.
pub(super) fn joined(
    left: LogicalPlan,
    right: LogicalPlan,
    conditions: Vec<Expr>,
    join_type: JoinType,
) -> Result<LogicalPlan, Refusal> {
    let (mut on, mut rest) = (Vec::new(), Vec::new());
    for condition in conditions {
        match key_pair(&condition, left.schema(), right.schema())? {
            Some(pair) => on.push(pair),
            None => rest.push(condition),
        }
    }
    Ok(LogicalPlan::Join(Join::try_new(
        Arc::new(left),
        Arc::new(right),
        on,
        rest.into_iter().reduce(Expr::and),
        join_type,
        JoinConstraint::On,
        NullEquality::NullEqualsNothing,
        false,
    )?))
}

/// The two sides of an equality of the left input with the right one.
pub(super) fn key_pair(condition: &Expr, left: &DFSchema, right: &DFSchema) -> Result<Option<(Expr, Expr)>, Refusal> {
    let sides = match condition {
        Expr::BinaryExpr(BinaryExpr { left: a, op: Operator::Eq, right: b }) => Some((a.as_ref(), b.as_ref())),
        condition => lent::equality(condition),
    };
    Ok(sides.map(|(a, b)| find_valid_equijoin_key_pair(a, b, left, right)).transpose()?.flatten())
}

/// Columns of a union meet in one type each, as results of a CASE do.
fn union(node: Union) -> Result<LogicalPlan, Refusal> {
    let parts = node.inputs.into_iter().map(|input| part(Arc::unwrap_or_clone(input)));
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    let width = parts.first().map_or(0, |(_, columns)| columns.len());
    if parts.iter().any(|(_, columns)| columns.len() != width) {
        return Err(Refusal::new(
            "the parts of a UNION have different numbers of columns: select the same number in each",
        ));
    }
    let mut types = Vec::with_capacity(width);
    for i in 0..width {
        types.push(common(&parts.iter().map(|(_, columns)| &columns[i]).collect::<Vec<_>>())?);
    }
    let names: Vec<String> = node.schema.fields().iter().map(|f| f.name().clone()).collect();
    let mut converted = Vec::with_capacity(parts.len());
    for (input, columns) in parts {
        let exprs = columns.into_iter().zip(&types).zip(&names).map(|((c, t), name)| Ok(c.to(t)?.alias(name)));
        let exprs = exprs.collect::<Result<Vec<_>, Refusal>>()?;
        converted.push(Arc::new(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?)));
    }
    Ok(LogicalPlan::Union(Union::try_new_with_loose_types(converted)?))
}

/// One input of a union and its columns. A NULL that is written in its select list has no type
/// yet; every other literal has.
pub(super) fn part(plan: LogicalPlan) -> Result<(LogicalPlan, Vec<Bound>), Refusal> {
    if let LogicalPlan::Projection(node) = plan {
        if node.expr.iter().any(unnest::is_in) {
            return settled_part(unnest::project(
                bind_plan(Arc::unwrap_or_clone(node.input))?,
                node.expr,
                &node.schema,
            )?);
        }
        let input = bind_plan(Arc::unwrap_or_clone(node.input))?;
        let column = |expr: &Expr| {
            let bound = bind(expr, input.schema())?;
            if bound.is_null() { Ok(bound) } else { bound.settled() }
        };
        let columns = node.expr.iter().map(column).collect::<Result<Vec<_>, Refusal>>()?;
        return Ok((input, columns));
    }
    settled_part(bind_plan(plan)?)
}

fn settled_part(input: LogicalPlan) -> Result<(LogicalPlan, Vec<Bound>), Refusal> {
    let column = |i: usize| bind(&Expr::Column(Column::from(input.schema().qualified_field(i))), input.schema());
    let columns = (0..input.schema().fields().len()).map(column).collect::<Result<Vec<_>, _>>()?;
    Ok((input, columns))
}
