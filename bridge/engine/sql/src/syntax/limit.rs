//! ORDER BY with LIMIT, FETCH FIRST and DISTINCT ON: the first rows of an order.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    BinaryOperator, Distinct, Expr, Ident, LimitClause, Offset, OrderByExpr, OrderByKind, Query, Select, SelectItem,
    SetExpr, Spanned, Value, WindowSpec, WindowType,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::expression::{self, number, refuse};
use super::{one_row, window};
use crate::error::Refusal;
use crate::names::Names;
use crate::walk;

/// Takes the order of a view out where it orders rows and does not choose any; a view is a multiset.
pub(crate) fn take_order(query: &mut Query) -> bool {
    let chooses = query.limit_clause.is_some() || query.fetch.is_some();
    let is_distinct_on =
        matches!(query.body.as_ref(), SetExpr::Select(select) if matches!(select.distinct, Some(Distinct::On(_))));
    !chooses && !is_distinct_on && query.order_by.take().is_some()
}

/// Checks and rewrites the clauses after the body of a query, and DISTINCT ON, which reads its ORDER BY.
pub(super) fn prepare(query: &mut Query, names: &Names) -> Result<(), Refusal> {
    fetch(query)?;
    one_row::drop_limit(query);
    // DuckDB takes these clauses into the SELECT in the parentheses, where they mean something else.
    if matches!(query.body.as_ref(), SetExpr::Query(_)) && (query.order_by.is_some() || query.limit_clause.is_some()) {
        let refusal = refuse("ORDER BY or LIMIT after a query in parentheses", "leave the parentheses out");
        return Err(located(query.body.span(), refusal));
    }
    let is_limited = query.limit_clause.is_some();
    let on = distinct_on(query)?;
    if on && !is_limited {
        query.order_by = None;
        return Ok(());
    }
    if let Some(limit) = &query.limit_clause {
        let span = limit.span();
        limit_clause(limit).map_err(|refusal| located(span, refusal))?;
        if query.order_by.is_none() {
            return Err(located(
                span,
                refuse(
                    "LIMIT without ORDER BY",
                    "it may be any of the rows: add ORDER BY, or limit when you query the view",
                ),
            ));
        }
    }
    let aliases = match query.body.as_ref() {
        SetExpr::Select(select) => aliases(select),
        _ => Vec::new(),
    };
    let Some(order) = &mut query.order_by else { return Ok(()) };
    let span = order.span();
    if !is_limited {
        return Err(Refusal::at(
            span,
            "ORDER BY has no effect: a view is a multiset; order when you query it, or add LIMIT",
        ));
    }
    let OrderByKind::Expressions(keys) = &mut order.kind else {
        return Err(located(span, refuse("ORDER BY ALL", "name the columns to order by")));
    };
    for key in keys {
        let span = key.expr.span();
        if window::has_window(&key.expr) {
            let way_out = "give the window function a name in the select list and order by that name";
            return Err(located(span, refuse("a window function in ORDER BY", way_out)));
        }
        plain_or_without_aliases(&key.expr, &aliases).map_err(|refusal| located(span, refusal))?;
        window::order_key(key, names).map_err(|refusal| located(span, refusal))?;
    }
    Ok(())
}

/// FETCH FIRST n ROWS ONLY is LIMIT n.
fn fetch(query: &mut Query) -> Result<(), Refusal> {
    let Some(fetch) = query.fetch.take() else { return Ok(()) };
    let quantity = fetch.quantity.clone().unwrap_or_else(|| number("1"));
    let offset = match query.limit_clause.take() {
        None => None,
        Some(LimitClause::LimitOffset { limit: None, offset, limit_by }) if limit_by.is_empty() => offset,
        Some(_) => return Err(refuse("LIMIT together with FETCH", "write one of them")),
    };
    if fetch.with_ties || fetch.percent {
        return Err(refuse(&fetch.to_string(), "write FETCH FIRST n ROWS ONLY"));
    }
    query.limit_clause = Some(LimitClause::LimitOffset { limit: Some(quantity), offset, limit_by: Vec::new() });
    Ok(())
}

fn limit_clause(clause: &LimitClause) -> Result<(), Refusal> {
    let (limit, offset, limit_by) = match clause {
        LimitClause::OffsetCommaLimit { offset, limit } => {
            return Err(refuse(&format!("LIMIT {offset}, {limit}"), "write LIMIT and OFFSET"));
        }
        LimitClause::LimitOffset { limit, offset, limit_by } => (limit, offset, limit_by),
    };
    if !limit_by.is_empty() {
        return Err(refuse("LIMIT BY", "use QUALIFY row_number() OVER (PARTITION BY …)"));
    }
    let Some(limit) = limit else {
        return Err(refuse("OFFSET without LIMIT", "add LIMIT, or leave the first rows out when you query the view"));
    };
    for count in std::iter::once(limit).chain(offset.as_ref().map(|Offset { value, .. }| value)) {
        match count {
            Expr::Value(value) if is_whole(&value.value) => {}
            _ => return Err(refuse(&format!("LIMIT or OFFSET {count}"), "write a whole number")),
        }
    }
    Ok(())
}

fn is_whole(value: &Value) -> bool {
    matches!(value, Value::Number(text, _) if text.parse::<u32>().is_ok())
}

/// `SELECT DISTINCT ON (a, b) … ORDER BY c`: the first row by c of each a and b. Answers whether there was one.
fn distinct_on(query: &mut Query) -> Result<bool, Refusal> {
    let keys = match &query.order_by {
        None => Vec::new(),
        Some(order) => match &order.kind {
            OrderByKind::Expressions(keys) => keys.clone(),
            OrderByKind::All(_) => Vec::new(),
        },
    };
    let SetExpr::Select(select) = query.body.as_mut() else { return Ok(false) };
    let Some(Distinct::On(on)) = &select.distinct else { return Ok(false) };
    let span = select.span();
    let on = on.clone();
    if select.projection.iter().any(has_unnest) {
        return Err(located(span, refuse("DISTINCT ON with UNNEST in the select list", "write UNNEST in FROM")));
    }
    if select.qualify.is_some() {
        return Err(located(span, refuse("DISTINCT ON with QUALIFY", "put one of them into a subquery")));
    }
    if matches!(&query.order_by, Some(order) if matches!(order.kind, OrderByKind::All(_))) {
        return Err(located(span, refuse("DISTINCT ON with ORDER BY ALL", "name the columns to order by")));
    }
    let partition_by = on.into_iter().map(|expr| target(expr, select)).collect::<Result<_, _>>()?;
    let order_by = keys.into_iter().map(|key| Ok(OrderByExpr { expr: target(key.expr, select)?, ..key }));
    let order_by = order_by.collect::<Result<_, Refusal>>()?;
    let mut row_number = expression::call_function("row_number", span, Vec::new());
    row_number.over =
        Some(WindowType::WindowSpec(WindowSpec { window_name: None, partition_by, order_by, window_frame: None }));
    select.distinct = None;
    select.qualify = Some(Expr::BinaryOp {
        left: Box::new(Expr::Function(row_number)),
        op: BinaryOperator::Eq,
        right: Box::new(number("1")),
    });
    Ok(true)
}

fn has_unnest(item: &SelectItem) -> bool {
    let found = walk::expressions(item, |expr| match expr {
        Expr::Function(call) if ["unnest", "unlist"].contains(&call.name.to_string().to_ascii_lowercase().as_str()) => {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// What an expression of ORDER BY or DISTINCT ON means over the rows of FROM: a number is a column of the
/// select list, and so is a name that the list gives, in parentheses or not.
fn target(mut expr: Expr, select: &Select) -> Result<Expr, Refusal> {
    while let Expr::Nested(inner) = expr {
        expr = *inner;
    }
    let span = expr.span();
    if let Expr::Value(value) = &expr
        && let Value::Number(text, _) = &value.value
    {
        let item = text.parse::<usize>().ok().and_then(|position| select.projection.get(position.checked_sub(1)?));
        let all_named = !select
            .projection
            .iter()
            .any(|item| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)));
        return match item.filter(|_| all_named) {
            Some(SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) => Ok(expr.clone()),
            _ => Err(located(span, Refusal::new(format!("the select list has no column {text}: name the column")))),
        };
    }
    let aliases = aliases(select);
    if let Expr::Identifier(name) = &expr
        && let Some((_, aliased)) = aliases.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(&name.value))
    {
        return Ok((*aliased).clone());
    }
    plain_or_without_aliases(&expr, &aliases).map_err(|refusal| located(span, refusal))?;
    Ok(expr)
}

/// The names that a select list gives to something else.
pub(super) fn aliases(select: &Select) -> Vec<(String, Expr)> {
    let named = select.projection.iter().filter_map(|item| match item {
        SelectItem::ExprWithAlias { expr, alias } if !names_itself(expr, alias) => {
            Some((alias.value.to_ascii_lowercase(), expr.clone()))
        }
        _ => None,
    });
    named.collect()
}

fn names_itself(expr: &Expr, alias: &Ident) -> bool {
    matches!(expr, Expr::Identifier(name) if name.value.eq_ignore_ascii_case(&alias.value))
}

/// Inside an expression a name may mean a column of FROM or one of the select list, and DuckDB does not
/// choose as the planner below us does.
fn plain_or_without_aliases(expr: &Expr, aliases: &[(String, Expr)]) -> Result<(), Refusal> {
    if matches!(expr, Expr::Identifier(_)) {
        return Ok(());
    }
    let found = walk::expressions(expr, |e| match e {
        Expr::Identifier(name) if aliases.iter().any(|(alias, _)| alias.eq_ignore_ascii_case(&name.value)) => {
            ControlFlow::Break(name.value.clone())
        }
        _ => ControlFlow::Continue(()),
    });
    match found {
        ControlFlow::Break(name) => {
            Err(Refusal::new(format!("it is not clear what {name} is in {expr}: give the whole expression a name")))
        }
        ControlFlow::Continue(()) => Ok(()),
    }
}

fn located(span: Span, refusal: Refusal) -> Refusal {
    refusal.or_at((span.start.line > 0).then_some(span.start))
}
