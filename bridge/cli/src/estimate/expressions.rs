//! What expressions come to, and which of them tell rows apart.

use arrow::datatypes::DataType;
use datafusion_expr::{Expr, LogicalPlan};
use tidegate_core::RowIdentity;
use tidegate_engine_sql::identity;

use super::relation::{Column, Relation, TEXT_BYTES, Width};

/// The widths of some columns together.
pub fn total(columns: &[Column]) -> Width {
    columns.iter().fold(Width::default(), |sum, column| sum.plus(column.width))
}

/// What several come to.
pub fn of_all(exprs: &[&Expr], plan: &LogicalPlan, input: &Relation) -> Vec<Column> {
    exprs.iter().map(|expr| column(expr, &DataType::Int64, plan, input)).collect()
}

/// What an expression over `plan`, whose rows are `input`, comes to. It has no more different values than the columns that it is
/// computed from, and a text is as long as the longest of them.
pub fn column(expr: &Expr, data_type: &DataType, plan: &LogicalPlan, input: &Relation) -> Column {
    let schema = plan.schema();
    let at = |column| schema.maybe_index_of_column(column).and_then(|position| input.columns.get(position).copied());
    match expr {
        Expr::Alias(alias) => column(&alias.expr, data_type, plan, input),
        Expr::Column(name) => at(name).unwrap_or(Column { width: Width::of(data_type, TEXT_BYTES), distinct: None }),
        expr => {
            let read: Vec<Column> = expr.column_refs().into_iter().filter_map(at).collect();
            let text = read.iter().map(|column| column.width.text).fold(0.0, f64::max);
            let text = if text > 0.0 { text } else { TEXT_BYTES };
            Column { width: Width::of(data_type, text), distinct: input.distinct(&read) }
        }
    }
}

/// How many different values a side's keys have; as many as rows where they are its key.
pub fn values(side: &Relation, keys: &[Column], exprs: &[&Expr], plan: &LogicalPlan) -> Option<f64> {
    match key_of(plan) {
        Some(key) if covers(&key, exprs, plan) => Some(side.rows),
        _ => side.distinct(keys),
    }
}

/// The columns that tell rows apart.
pub fn key_of(plan: &LogicalPlan) -> Option<Vec<usize>> {
    match identity(plan) {
        RowIdentity::Key(key) if !key.is_empty() => Some(key),
        _ => None,
    }
}

/// Whether the key is among some expressions.
pub fn covers(key: &[usize], exprs: &[&Expr], plan: &LogicalPlan) -> bool {
    let schema = plan.schema();
    let positions: Vec<usize> = exprs
        .iter()
        .filter_map(|expr| match expr {
            Expr::Column(name) => schema.maybe_index_of_column(name),
            _ => None,
        })
        .collect();
    key.iter().all(|column| positions.contains(column))
}

/// Whether rows are those of groups, with columns left out or renamed at most.
pub fn is_group(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::SubqueryAlias(node) => is_group(&node.input),
        LogicalPlan::Projection(node) => {
            node.expr.iter().all(|expr| matches!(expr, Expr::Column(_))) && is_group(&node.input)
        }
        LogicalPlan::Aggregate(_) => true,
        _ => false,
    }
}
