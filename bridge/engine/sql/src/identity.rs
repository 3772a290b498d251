//! Row identity, derived bottom-up: which columns of a node's output are unique together.

use datafusion_expr::logical_plan::{Aggregate, Join, Projection, TableScan, Window};
use datafusion_expr::{Expr, JoinType, LogicalPlan};
use tidegate_core::RowIdentity;

use crate::error::Refusal;
use crate::join;
use crate::names::Relation;
use crate::semantics::{AsOf, Item, TopRows, Unnest, WindowKind, window_call};
use crate::threshold::Threshold;

/// The identity of a node's rows, in the positions of its output.
///
/// A filter keeps the identity of its input; a projection does when all key columns pass
/// unchanged; an aggregate has its groups as key, and an aggregate without groups at most one
/// row. A join has the keys of both sides together, or that of one side alone when it meets at
/// most one row of the other. A window keeps the identity of its input, or has its row numbers as key
/// within the partition; the first rows of an order keep it, and a first row has its partition as key. An ASOF join
/// keeps the identity of its left side, and a threshold that of the rows that it compares. Rows that were one before
/// a list was spread out have none, unless the items are numbered.
pub fn identity(plan: &LogicalPlan) -> RowIdentity {
    match key(plan) {
        Some(columns) => RowIdentity::Key(columns),
        None => RowIdentity::WholeRow,
    }
}

pub(crate) fn key(plan: &LogicalPlan) -> Option<Vec<usize>> {
    match plan {
        LogicalPlan::TableScan(scan) => scan_key(scan),
        LogicalPlan::EmptyRelation(_) => Some(Vec::new()),
        LogicalPlan::Filter(node) => key(&node.input),
        LogicalPlan::SubqueryAlias(node) => key(&node.input),
        LogicalPlan::Distinct(node) => key(node.input()),
        LogicalPlan::Projection(node) => projection_key(node),
        LogicalPlan::Aggregate(node) => Some(aggregate_key(node)),
        LogicalPlan::Join(node) if node.join_type != JoinType::Inner => join::key(node),
        LogicalPlan::Join(node) => join_key(node),
        LogicalPlan::Window(node) => key(&node.input).or_else(|| number_key(node)),
        // A left row meets at most one row.
        LogicalPlan::Extension(node) => match (AsOf::of(node), Threshold::of(node), Unnest::of(node)) {
            (Some(asof), _, _) => key(&asof.left),
            (_, Some(threshold), _) => key(&threshold.input),
            (_, _, Some(unnest)) => unnest_key(unnest),
            _ => top_key(TopRows::of(node)?),
        },
        _ => None,
    }
}

fn scan_key(scan: &TableScan) -> Option<Vec<usize>> {
    let RowIdentity::Key(columns) = &Relation::of(scan.source.as_ref())?.identity else { return None };
    let position = |column: &usize| match &scan.projection {
        Some(projection) => projection.iter().position(|p| p == column),
        None => Some(*column),
    };
    columns.iter().map(position).collect()
}

fn projection_key(node: &Projection) -> Option<Vec<usize>> {
    let schema = node.input.schema();
    let source = |expr: &Expr| column_position(expr, schema);
    let sources: Vec<Option<usize>> = node.expr.iter().map(source).collect();
    key(&node.input)?.into_iter().map(|column| sources.iter().position(|s| *s == Some(column))).collect()
}

fn aggregate_key(node: &Aggregate) -> Vec<usize> {
    (0..node.group_expr.len()).collect()
}

fn join_key(node: &Join) -> Option<Vec<usize>> {
    let (left, right) = (key(&node.left)?, key(&node.right)?);
    let width = node.left.schema().fields().len();
    let shifted: Vec<usize> = right.iter().map(|column| column + width).collect();
    if covered(&right, &node.right, node.on.iter().map(|(_, r)| r).collect()) {
        return Some(left);
    }
    if covered(&left, &node.left, node.on.iter().map(|(l, _)| l).collect()) {
        return Some(shifted);
    }
    Some(left.into_iter().chain(shifted).collect())
}

/// Row numbers tell the rows of a partition apart.
fn number_key(node: &Window) -> Option<Vec<usize>> {
    let width = node.input.schema().fields().len();
    let (position, call) = node.window_expr.iter().enumerate().find_map(|(position, expr)| {
        window_call(expr).filter(|call| call.kind == WindowKind::RowNumber).map(|call| (position, call))
    })?;
    let mut key = columns(call.partition_by, node.input.schema())?;
    key.push(width + position);
    Some(key)
}

/// The first row of each partition is told apart by what makes the partition.
fn top_key(node: &TopRows) -> Option<Vec<usize>> {
    match node.fetch {
        0 | 1 => columns(&node.partition_by, node.input.schema()).or_else(|| key(&node.input)),
        _ => key(&node.input),
    }
}

/// The numbers of its items tell the rows apart that were one.
fn unnest_key(node: &Unnest) -> Option<Vec<usize>> {
    let number = node.items.iter().position(|item| *item == Item::Number)?;
    let place = |column: usize| node.kept.iter().position(|kept| *kept == column);
    let mut key = key(&node.input)?.into_iter().map(place).collect::<Option<Vec<_>>>()?;
    key.push(node.kept.len() + number);
    Some(key)
}

fn columns(exprs: &[Expr], schema: &datafusion_common::DFSchema) -> Option<Vec<usize>> {
    exprs.iter().map(|expr| column_position(expr, schema)).collect()
}

/// Whether the joined expressions of one side hold all columns of its key.
pub(crate) fn covered(key: &[usize], side: &LogicalPlan, exprs: Vec<&Expr>) -> bool {
    let joined: Vec<Option<usize>> = exprs.into_iter().map(|e| column_position(e, side.schema())).collect();
    key.iter().all(|column| joined.contains(&Some(*column)))
}

/// The position of a plain column, with or without another name.
fn column_position(expr: &Expr, schema: &datafusion_common::DFSchema) -> Option<usize> {
    match expr {
        Expr::Column(column) => schema.index_of_column(column).ok(),
        Expr::Alias(alias) => column_position(&alias.expr, schema),
        _ => None,
    }
}

/// The columns of the key that a view declares.
pub(crate) fn declared(key: &[String], columns: &[&str]) -> Result<Vec<usize>, Refusal> {
    if key.is_empty() {
        return Err(Refusal::new("the declared key names no column: name some, or leave it out"));
    }
    let position = |name: &String| {
        columns.iter().position(|c| c.eq_ignore_ascii_case(name)).ok_or_else(|| {
            let hint = crate::names::did_you_mean(name, columns.iter().copied());
            Refusal::new(format!("the declared key names a column {name} that the view does not have{hint}"))
        })
    };
    key.iter().map(position).collect()
}

/// Whether rows that have the derived identity are told apart by these columns, too: they hold all columns of its key.
pub(crate) fn follows(derived: &RowIdentity, declared: &[usize]) -> bool {
    matches!(derived, RowIdentity::Key(proven) if proven.iter().all(|column| declared.contains(column)))
}
