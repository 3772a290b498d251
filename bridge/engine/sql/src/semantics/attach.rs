//! A bound relation that reads an outer row, built anew over given rows: each of them with the relation's rows for
//! it. References to the outer row become columns of the rows, which every operator passes on.

use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, DFSchema, JoinType, NullEquality};
use datafusion_expr::logical_plan::{Aggregate, Distinct, Filter, Join, Projection, Union, Window};
use datafusion_expr::utils::split_conjunction_owned;
use datafusion_expr::{Expr, LogicalPlan, Operator, binary_expr, lit, when};

use super::correlation::{OfNothing, of_nothing};
use super::lateral::{called_expr, next_level, one_row, reads, refused, renamed};
use super::plan::joined;
use super::top::TopRows;
use super::unnest::{Item, Unnest};
use crate::error::Refusal;

/// What the rows are that a relation is attached to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Any rows, equal ones among them: each row of the relation belongs to one of them.
    Rows,
    /// Values that are all different, and are all that the relation reads. The first columns tell them apart; what
    /// comes after these follows from them.
    Values {
        /// How many they are.
        keys: usize,
    },
}

/// How references are read.
pub(super) struct Attach<'a> {
    pub(super) outer: &'a DFSchema,
    /// The column of the rows for each outer column; `None` where nothing reads it.
    pub(super) columns: Vec<Option<Column>>,
    pub(super) mode: Mode,
}

/// Whether each row of a plan follows from one outer row and rows that do not depend on it.
pub(super) fn is_linear(plan: &LogicalPlan, outer: &DFSchema) -> bool {
    if !reads(plan, outer) {
        return true;
    }
    match plan {
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Union(_) => {
            plan.inputs().into_iter().all(|input| is_linear(input, outer))
        }
        LogicalPlan::Join(node) => match node.join_type {
            JoinType::Inner => is_linear(&node.left, outer) && is_linear(&node.right, outer),
            JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti => {
                is_linear(&node.left, outer) && !reads(&node.right, outer)
            }
            _ => false,
        },
        LogicalPlan::Extension(node) => Unnest::of(node).is_some_and(|unnest| is_linear(&unnest.input, outer)),
        _ => false,
    }
}

impl Attach<'_> {
    /// The columns of `rows`, then those of `plan`.
    pub(super) fn attach(&self, rows: LogicalPlan, plan: LogicalPlan) -> Result<LogicalPlan, Refusal> {
        if !reads(&plan, self.outer) {
            return if one_row(&plan) { Ok(rows) } else { joined(rows, plan, Vec::new(), JoinType::Inner) };
        }
        let width = rows.schema().fields().len();
        match plan {
            LogicalPlan::Projection(node) => {
                let below = self.attach(rows, Arc::unwrap_or_clone(node.input))?;
                let mut exprs = first_columns(&below, width);
                for (expr, name) in node.expr.into_iter().zip(node.schema.columns()) {
                    exprs.push(called_expr(self.over_rows(expr)?.unalias(), &name));
                }
                Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(below))?))
            }
            LogicalPlan::Filter(node) => {
                let below = self.attach(rows, Arc::unwrap_or_clone(node.input))?;
                let predicate = self.over_rows(node.predicate)?;
                Ok(LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(below))?))
            }
            LogicalPlan::SubqueryAlias(node) => {
                let below = self.attach(rows, Arc::unwrap_or_clone(node.input))?;
                self.named_after(below, width, node.schema.columns())
            }
            LogicalPlan::Union(node) => {
                let names = node.schema.columns();
                let parts = node.inputs.into_iter().map(|part| {
                    let part = self.attach(rows.clone(), Arc::unwrap_or_clone(part))?;
                    Ok(Arc::new(renamed(part.clone(), 0..part.schema().fields().len(), next_level(&part))?))
                });
                let parts = parts.collect::<Result<Vec<_>, Refusal>>()?;
                let union = LogicalPlan::Union(Union::try_new_with_loose_types(parts)?);
                let names = rows.schema().columns().into_iter().chain(names);
                let columns = union.schema().columns().into_iter().zip(names);
                let columns = columns.map(|(column, name)| called_expr(Expr::Column(column), &name)).collect();
                Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(union))?))
            }
            LogicalPlan::Extension(node) => match (Unnest::of(&node), TopRows::of(&node)) {
                (Some(unnest), _) => self.unnest(rows, unnest),
                (None, Some(top)) if self.mode != Mode::Rows => {
                    let input = self.attach(rows, top.input.clone())?;
                    let mut partition_by = first_columns(&input, self.keys(width));
                    for key in &top.partition_by {
                        partition_by.push(self.over_rows(key.clone())?);
                    }
                    let order_by = top.order_by.iter().map(|sort| {
                        Ok(datafusion_expr::expr::Sort { expr: self.over_rows(sort.expr.clone())?, ..sort.clone() })
                    });
                    let order_by = order_by.collect::<Result<_, Refusal>>()?;
                    Ok(TopRows { partition_by, order_by, skip: top.skip, fetch: top.fetch, input }.plan())
                }
                _ => Err(not_here()),
            },
            LogicalPlan::Join(node) => self.join(rows, node),
            LogicalPlan::Distinct(Distinct::All(input)) if self.mode != Mode::Rows => {
                let below = self.attach(rows.clone(), Arc::unwrap_or_clone(input))?;
                let keys = self.keys(width);
                let columns = below.schema().columns();
                let columns = columns.iter().take(keys).chain(columns.iter().skip(width)).cloned();
                let columns = columns.map(Expr::Column).collect();
                let below = LogicalPlan::Projection(Projection::try_new(columns, Arc::new(below))?);
                let distinct = LogicalPlan::Distinct(Distinct::All(Arc::new(below)));
                if keys == width { Ok(distinct) } else { self.regained(rows, distinct, JoinType::Inner) }
            }
            LogicalPlan::Aggregate(node) if self.mode != Mode::Rows => self.aggregate(rows, node),
            LogicalPlan::Window(node) if self.mode != Mode::Rows => self.window(rows, node),
            _ => Err(not_here()),
        }
    }

    /// How many of the rows' columns tell them apart.
    fn keys(&self, width: usize) -> usize {
        match self.mode {
            Mode::Values { keys } => keys,
            Mode::Rows => width,
        }
    }

    /// All columns of the values in the place of their keys, with which the columns of a plan begin.
    fn regained(&self, values: LogicalPlan, plan: LogicalPlan, join_type: JoinType) -> Result<LogicalPlan, Refusal> {
        let width = values.schema().fields().len();
        let keys = self.keys(width);
        let level = above(&[&values, &plan]);
        let plan = renamed(plan, 0..keys, level)?;
        let conditions = same_values(&values, &plan, keys);
        let plan = joined(values, plan, conditions, join_type)?;
        let columns = plan.schema().columns();
        let columns = columns.iter().take(width).chain(columns.iter().skip(width + keys)).cloned();
        let columns = columns.map(Expr::Column).collect();
        Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?))
    }

    /// An expression with columns of the rows in the place of those of the outer row.
    fn over_rows(&self, expr: Expr) -> Result<Expr, Refusal> {
        let replaced = expr.transform_down(|expr| {
            let column = match &expr {
                Expr::OuterReferenceColumn(_, column) => self.outer.maybe_index_of_column(column),
                _ => None,
            };
            Ok(match column.and_then(|column| self.columns.get(column)?.clone()) {
                Some(column) => Transformed::new(Expr::Column(column), true, TreeNodeRecursion::Jump),
                None => Transformed::no(expr),
            })
        })?;
        Ok(replaced.data)
    }

    /// The plan's columns from `width` on under these names.
    fn named_after(&self, plan: LogicalPlan, width: usize, names: Vec<Column>) -> Result<LogicalPlan, Refusal> {
        let mut exprs = first_columns(&plan, width);
        let own = plan.schema().columns().split_off(width);
        exprs.extend(own.into_iter().zip(names).map(|(column, name)| called_expr(Expr::Column(column), &name)));
        Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?))
    }

    fn unnest(&self, rows: LogicalPlan, node: &Unnest) -> Result<LogicalPlan, Refusal> {
        let input = self.attach(rows, node.input.clone())?;
        let items = node.items.iter().map(|item| match item {
            Item::Of(list) => Ok(Item::Of(self.over_rows(list.clone())?)),
            Item::Number => Ok(Item::Number),
        });
        let items = items.collect::<Result<_, Refusal>>()?;
        Ok(Unnest::try_new(input, items, node.names(), node.itemless)?.plan())
    }

    /// The conditions of a join, its keys among them.
    fn conditions(
        &self,
        on: Vec<(Expr, Expr)>,
        filter: Option<Expr>,
        nulls: NullEquality,
    ) -> Result<Vec<Expr>, Refusal> {
        let op = match nulls {
            NullEquality::NullEqualsNull => Operator::IsNotDistinctFrom,
            NullEquality::NullEqualsNothing => Operator::Eq,
        };
        let keys = on.into_iter().map(|(left, right)| binary_expr(left, op, right));
        let conditions = keys.chain(filter.into_iter().flat_map(split_conjunction_owned));
        conditions.map(|condition| self.over_rows(condition)).collect()
    }

    fn join(&self, rows: LogicalPlan, node: Join) -> Result<LogicalPlan, Refusal> {
        let Join { left, right, on, filter, join_type, null_equality, .. } = node;
        let (left, right) = (Arc::unwrap_or_clone(left), Arc::unwrap_or_clone(right));
        let conditions = self.conditions(on, filter, null_equality)?;
        let (width, from_left) = (rows.schema().fields().len(), left.schema().fields().len());
        match join_type {
            JoinType::Inner | JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti => {}
            _ => return Err(not_here()),
        }
        if !reads(&right, self.outer) {
            return joined(self.attach(rows, left)?, right, conditions, join_type);
        }
        if join_type == JoinType::Inner && !reads(&left, self.outer) {
            // The columns of the rows stand between those of the two sides.
            let plan = joined(left, self.attach(rows, right)?, conditions, join_type)?;
            let columns = plan.schema().columns();
            let (left, rest) = columns.split_at(from_left);
            let (rows, right) = rest.split_at(width);
            let columns = rows.iter().chain(left).chain(right).cloned().map(Expr::Column).collect();
            return Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?));
        }
        if join_type == JoinType::Inner && is_linear(&right, self.outer) {
            // The right side is attached to the left one's rows, whose names must not meet its own.
            let names: Vec<Column> = left.schema().columns().into_iter().chain(right.schema().columns()).collect();
            let left = self.attach(rows, left)?;
            let left = renamed(left, width..width + from_left, above(&[&right]))?;
            let attached = Attach { outer: self.outer, columns: self.columns.clone(), mode: Mode::Rows };
            let plan = self.named_after(attached.attach(left, right)?, width, names)?;
            return Ok(match conditions.into_iter().reduce(Expr::and) {
                Some(condition) => LogicalPlan::Filter(Filter::try_new(condition, Arc::new(plan))?),
                None => plan,
            });
        }
        if self.mode == Mode::Rows {
            return Err(not_here());
        }
        let left = self.attach(rows.clone(), left)?;
        let right = self.attach(rows, right)?;
        let right = renamed(right.clone(), 0..width, above(&[&left, &right]))?;
        let values = same_values(&left, &right, self.keys(width));
        let joined = joined(left, right, values.into_iter().chain(conditions).collect(), join_type)?;
        // The right side's values go.
        let mut columns = joined.schema().columns();
        columns.drain((width + from_left).min(columns.len())..(2 * width + from_left).min(columns.len()));
        let columns = columns.into_iter().map(Expr::Column).collect();
        Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(joined))?))
    }

    /// An aggregate of each value's rows. One without groups has a row for values without rows, too.
    fn aggregate(&self, values: LogicalPlan, node: Aggregate) -> Result<LogicalPlan, Refusal> {
        if matches!(node.group_expr.as_slice(), [Expr::GroupingSet(_)]) {
            return Err(refused("grouping sets in a subquery that reads the tables before it", "aggregate outside"));
        }
        let width = values.schema().fields().len();
        let below = self.attach(values.clone(), Arc::unwrap_or_clone(node.input))?;
        let names = node.schema.columns();
        let is_total = node.group_expr.is_empty();
        let keys = self.keys(width);
        let mut groups = first_columns(&below, keys);
        for (expr, name) in node.group_expr.into_iter().zip(&names) {
            groups.push(called_expr(self.over_rows(expr)?.unalias(), name));
        }
        let own = names.get(groups.len() - keys..).unwrap_or_default();
        let mut calls = Vec::with_capacity(node.aggr_expr.len());
        for (expr, name) in node.aggr_expr.into_iter().zip(own) {
            calls.push(called_expr(self.over_rows(expr)?.unalias(), name));
        }
        let aggregate = Aggregate::try_new(Arc::new(below), groups, calls.clone())?;
        let plan = LogicalPlan::Aggregate(aggregate);
        if !is_total {
            return if keys == width { Ok(plan) } else { self.regained(values, plan, JoinType::Inner) };
        }
        let plan = self.regained(values, plan, JoinType::Left)?;
        let mut exprs = first_columns(&plan, width);
        for (column, call) in plan.schema().columns().into_iter().skip(width).zip(&calls) {
            let value = Expr::Column(column.clone());
            let value = match of_nothing(call)? {
                OfNothing::Zero => when(value.clone().is_null(), lit(0i64)).otherwise(value)?,
                OfNothing::Null => value,
            };
            exprs.push(called_expr(value, &column));
        }
        Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?))
    }

    /// Windows within each value's rows.
    fn window(&self, values: LogicalPlan, node: Window) -> Result<LogicalPlan, Refusal> {
        let width = values.schema().fields().len();
        let names = node.schema.columns().split_off(node.input.schema().fields().len());
        let below = self.attach(values, Arc::unwrap_or_clone(node.input))?;
        let partition_by = first_columns(&below, self.keys(width));
        let mut calls = Vec::with_capacity(node.window_expr.len());
        for (expr, name) in node.window_expr.into_iter().zip(names) {
            let mut call = self.over_rows(expr)?.unalias();
            if let Expr::WindowFunction(function) = &mut call {
                function.params.partition_by.splice(0..0, partition_by.iter().cloned());
            }
            calls.push(called_expr(call, &name));
        }
        Ok(LogicalPlan::Window(Window::try_new(calls, Arc::new(below))?))
    }
}

/// The first columns of both sides are the same values.
fn same_values(left: &LogicalPlan, right: &LogicalPlan, width: usize) -> Vec<Expr> {
    let pairs = left.schema().columns().into_iter().zip(right.schema().columns()).take(width);
    pairs.map(|(l, r)| binary_expr(Expr::Column(l), Operator::IsNotDistinctFrom, Expr::Column(r))).collect()
}

/// A qualifier that none of these plans has.
fn above(plans: &[&LogicalPlan]) -> datafusion_common::TableReference {
    let levels = plans.iter().map(|plan| next_level(plan));
    levels.max_by_key(|level| (level.table().len(), level.to_string())).unwrap_or_else(|| "#outer0".into())
}

fn first_columns(plan: &LogicalPlan, width: usize) -> Vec<Expr> {
    plan.schema().columns().into_iter().take(width).map(Expr::Column).collect()
}

fn not_here() -> Refusal {
    refused(
        "a subquery that reads the row around it, or the tables before it, in this place",
        "write the part that reads them as a join of its own",
    )
}
