//! Queries of one row at most, which a LIMIT leaves as they are.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    Expr, GroupByExpr, Join, JoinOperator, LimitClause, Query, Select, SelectItem, SetExpr, TableFactor,
    TableWithJoins, Value, Visitor,
};

use crate::semantics;
use crate::walk;

/// Drops a LIMIT of one or more, without OFFSET, where the query has no more than one row anyway.
pub(super) fn drop_limit(query: &mut Query) {
    let Some(LimitClause::LimitOffset { limit: Some(Expr::Value(count)), offset: None, limit_by }) =
        &query.limit_clause
    else {
        return;
    };
    let is_positive = matches!(&count.value, Value::Number(text, _) if text.parse::<u32>().is_ok_and(|n| n > 0));
    if is_positive && limit_by.is_empty() && query.order_by.is_none() && has_one_row(&query.body) {
        query.limit_clause = None;
    }
}

fn has_one_row(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => aggregates_all(select) || joins_single_rows(select),
        SetExpr::Query(query) => has_one_row(&query.body),
        _ => false,
    }
}

/// Aggregates without groups, and nothing that makes several rows of one.
fn aggregates_all(select: &Select) -> bool {
    let mut calls = Calls::default();
    for item in &select.projection {
        let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else { return false };
        let _ = walk::visit(expr, &mut calls);
    }
    is_ungrouped(select) && calls.aggregates && !calls.others
}

/// Subqueries of one row each, side by side.
fn joins_single_rows(select: &Select) -> bool {
    let mut calls = Calls::default();
    let _ = walk::visit(&select.projection, &mut calls);
    let is_single = |table: &TableFactor| match table {
        TableFactor::Derived { lateral: false, subquery, sample: None, .. } => has_one_row(&subquery.body),
        _ => false,
    };
    let is_inner = |join: &Join| {
        use JoinOperator::{CrossJoin, Inner};
        matches!(join.join_operator, JoinOperator::Join(_) | Inner(_) | CrossJoin(_)) && is_single(&join.relation)
    };
    let are_single = |from: &TableWithJoins| is_single(&from.relation) && from.joins.iter().all(is_inner);
    is_ungrouped(select) && !calls.others && !select.from.is_empty() && select.from.iter().all(are_single)
}

fn is_ungrouped(select: &Select) -> bool {
    matches!(&select.group_by, GroupByExpr::Expressions(groups, sets) if groups.is_empty() && sets.is_empty())
}

/// What is called in expressions, outside of their subqueries.
#[derive(Default)]
struct Calls {
    depth: usize,
    aggregates: bool,
    /// Functions that may make several rows of one, as UNNEST does.
    others: bool,
}

impl Visitor for Calls {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let (Expr::Function(call), 0) = (expr, self.depth) {
            let name = call.name.to_string().trim_matches('"').to_ascii_lowercase();
            let is_aggregate = semantics::is_aggregate(&name);
            self.aggregates |= call.over.is_none() && is_aggregate;
            self.others |=
                name == "unnest" || !(is_aggregate || semantics::is_scalar(&name) || semantics::is_window(&name));
        }
        ControlFlow::Continue(())
    }
}
