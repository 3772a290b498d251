//! The first rows of an order: the node that ORDER BY with LIMIT becomes, and conditions on row numbers.

use std::fmt;
use std::sync::Arc;

use datafusion_common::{DFSchemaRef, ScalarValue};
use datafusion_expr::expr::Sort;
use datafusion_expr::logical_plan::{Extension, Limit, Projection};
use datafusion_expr::utils::split_conjunction;
use datafusion_expr::{BinaryExpr, Expr, LogicalPlan, Operator, UserDefinedLogicalNodeCore};

use super::plan::bind_plan;
use super::window::window_call;
use super::window_bind::{is_row_number, order_by};
use crate::error::Refusal;

/// Of each partition the rows after the first `skip`, at most `fetch` of them, in the given order. Rows that
/// it does not tell apart are ordered by all their columns.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TopRows {
    /// Rows with equal values here are one partition; none for a single one.
    pub partition_by: Vec<Expr>,
    /// The order.
    pub order_by: Vec<Sort>,
    /// Rows that are left out at the beginning.
    pub skip: usize,
    /// Rows that stay.
    pub fetch: usize,
    /// Where the rows come from; all columns pass.
    pub input: LogicalPlan,
}

impl TopRows {
    /// Reads an extension node of this crate's plans.
    pub fn of(node: &Extension) -> Option<&TopRows> {
        node.node.as_any().downcast_ref()
    }

    pub(super) fn plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }
}

/// Binds LIMIT over ORDER BY.
pub(super) fn bind_limit(node: Limit) -> Result<LogicalPlan, Refusal> {
    let skip = count(node.skip.as_deref())?.unwrap_or(0);
    let Some(fetch) = count(node.fetch.as_deref())? else { return Err(unordered()) };
    limit(Arc::unwrap_or_clone(node.input), skip, fetch)
}

fn limit(input: LogicalPlan, skip: usize, fetch: usize) -> Result<LogicalPlan, Refusal> {
    match input {
        // Columns that are only ordered by are dropped after the order.
        LogicalPlan::Projection(node) => {
            let below = limit(Arc::unwrap_or_clone(node.input), skip, fetch)?;
            let exprs = node.expr.into_iter();
            let columns = exprs.filter(|expr| matches!(expr, Expr::Column(_))).collect::<Vec<_>>();
            if columns.len() != node.schema.fields().len() {
                return Err(unordered());
            }
            Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(below))?))
        }
        LogicalPlan::Sort(node) => {
            let input = bind_plan(Arc::unwrap_or_clone(node.input))?;
            let order_by = order_by(&node.expr, input.schema())?;
            Ok(TopRows { partition_by: Vec::new(), order_by, skip, fetch, input }.plan())
        }
        _ => Err(unordered()),
    }
}

fn unordered() -> Refusal {
    Refusal::new("LIMIT without ORDER BY cannot be maintained incrementally: add ORDER BY")
}

fn count(expr: Option<&Expr>) -> Result<Option<usize>, Refusal> {
    let number = |value: &ScalarValue| match value {
        ScalarValue::Int64(Some(count)) => usize::try_from(*count).ok(),
        _ => None,
    };
    match expr {
        None => Ok(None),
        Some(Expr::Literal(value, _)) if number(value).is_some() => Ok(number(value)),
        Some(_) => Err(Refusal::new("LIMIT and OFFSET take a whole number: write it so")),
    }
}

/// The input of a filter. Where the filter keeps row numbers up to some number, later rows need not be
/// numbered, and only the first rows of each partition go into the window.
pub(super) fn before_filter(input: LogicalPlan, predicate: &Expr) -> Result<LogicalPlan, Refusal> {
    let LogicalPlan::Window(window) = input else { return Ok(input) };
    let width = window.input.schema().fields().len();
    if !window.window_expr.iter().all(is_row_number) {
        return Ok(LogicalPlan::Window(window));
    }
    let is_number = |expr: &Expr| match expr {
        Expr::Column(column) => window.schema.index_of_column(column).is_ok_and(|index| index >= width),
        _ => false,
    };
    let greatest = split_conjunction(predicate).into_iter().filter_map(|condition| greatest(condition, &is_number));
    let (Some(fetch), Some(call)) = (greatest.min(), window.window_expr.first().and_then(window_call)) else {
        return Ok(LogicalPlan::Window(window));
    };
    let (partition_by, order_by) = (call.partition_by.to_vec(), call.order_by.to_vec());
    let input = window.input.as_ref().clone();
    let top = TopRows { partition_by, order_by, skip: 0, fetch, input }.plan();
    Ok(LogicalPlan::Window(datafusion_expr::Window::try_new(window.window_expr, Arc::new(top))?))
}

/// The greatest number for which a condition on a row number can be true.
fn greatest(condition: &Expr, is_number: &impl Fn(&Expr) -> bool) -> Option<usize> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else { return None };
    let (op, value) = match (left.as_ref(), right.as_ref()) {
        (number, Expr::Literal(ScalarValue::Int64(Some(value)), _)) if is_number(number) => (*op, *value),
        (Expr::Literal(ScalarValue::Int64(Some(value)), _), number) if is_number(number) => (op.swap()?, *value),
        _ => return None,
    };
    let greatest = match op {
        Operator::Eq | Operator::LtEq => value,
        Operator::Lt => value.saturating_sub(1),
        _ => return None,
    };
    Some(usize::try_from(greatest).unwrap_or(0))
}

impl PartialOrd for TopRows {
    fn partial_cmp(&self, _: &Self) -> Option<std::cmp::Ordering> {
        None
    }
}

impl UserDefinedLogicalNodeCore for TopRows {
    fn name(&self) -> &str {
        "TopRows"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        self.partition_by.iter().cloned().chain(self.order_by.iter().map(|sort| sort.expr.clone())).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TopRows")
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> datafusion_common::Result<Self> {
        let mut exprs = exprs.into_iter();
        let partition_by = exprs.by_ref().take(self.partition_by.len()).collect();
        let order_by = exprs.zip(&self.order_by).map(|(expr, sort)| Sort::new(expr, sort.asc, sort.nulls_first));
        let order_by = order_by.collect();
        let input = inputs.pop().unwrap_or_else(|| self.input.clone());
        Ok(TopRows { partition_by, order_by, skip: self.skip, fetch: self.fetch, input })
    }

    /// Which of the rows with equal keys stay depends on all columns.
    fn necessary_children_exprs(&self, _: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![(0..self.input.schema().fields().len()).collect()])
    }
}
