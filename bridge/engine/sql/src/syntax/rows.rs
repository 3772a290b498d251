//! Rows of values, `(a, b)`: compared with each other, in a list of them, in a query, and counted.

use datafusion_sql::sqlparser::ast::{
    BinaryOperator, DictionaryField, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Query, SelectItem,
    SetExpr, TableAlias, TableAliasColumnDef,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::derived;
use super::expression::{number, refuse};
use super::written::Written;
use crate::error::Refusal;
use crate::names::Names;

/// What the rows of a query are called that a row is looked for in.
const ROWS: &str = "#rows";

/// `(a, b) = (c, d)` and the like: DuckDB compares them as structs, in which NULLs are equal.
pub(super) fn compared(
    left: Expr,
    op: &BinaryOperator,
    right: Expr,
    span: Span,
    names: &Names,
) -> Result<Expr, Refusal> {
    let mut written = Written::new(names);
    let text = format!("({} {op} {})", row(left, &mut written)?, row(right, &mut written)?);
    Ok(written.finish("the comparison of rows", text, span))
}

/// `(a, b) IN ((1, 2), (3, 4))`.
pub(super) fn is_in(value: Expr, list: Vec<Expr>, span: Span, names: &Names) -> Result<Expr, Refusal> {
    let mut written = Written::new(names);
    let value = row(value, &mut written)?;
    let items = list.into_iter().map(|item| row(item, &mut written)).collect::<Result<Vec<_>, _>>()?;
    Ok(written.finish("IN with rows", format!("({value} IN ({}))", items.join(", ")), span))
}

fn row(expr: Expr, written: &mut Written<'_>) -> Result<String, Refusal> {
    match expr {
        Expr::Tuple(values) => {
            let values = values.into_iter().map(|value| written.argument(value)).collect::<Result<Vec<_>, _>>()?;
            Ok(format!("row({})", values.join(", ")))
        }
        other => written.argument(other),
    }
}

/// `a GLOB b` of prepared values.
pub(super) fn globbed(value: Expr, pattern: Expr, span: Span) -> Expr {
    Written::of_prepared("GLOB", vec![value, pattern], |values| values.join(" GLOB "), span)
}

/// The row in `count(DISTINCT (a, b))` as a struct; the names of its fields are seen by nobody.
pub(super) fn name_fields(arguments: &mut FunctionArguments) {
    let FunctionArguments::List(list) = arguments else { return };
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))] = list.args.as_mut_slice() else { return };
    let Expr::Tuple(values) = argument else { return };
    let field = |(position, value): (usize, Expr)| DictionaryField {
        key: Ident::with_quote('\'', format!("v{position}")),
        value: Box::new(value),
    };
    *argument = Expr::Dictionary(std::mem::take(values).into_iter().enumerate().map(field).collect());
}

/// Writes `(a, b) IN (query)`, where it is a condition that rows must meet, as `EXISTS`. Elsewhere it would have to be NULL where
/// some value is.
pub(super) fn find_by_exists(condition: &mut Expr) -> Result<(), Refusal> {
    match condition {
        Expr::Nested(inner) => find_by_exists(inner),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            find_by_exists(left)?;
            find_by_exists(right)
        }
        Expr::InSubquery { expr, subquery, negated: false } => {
            let Expr::Tuple(values) = expr.as_mut() else { return Ok(()) };
            if let SetExpr::Select(select) = subquery.body.as_ref()
                && select.projection.len() != values.len()
            {
                let (row, columns) = (values.len(), select.projection.len());
                return Err(Refusal::new(format!(
                    "a row of {row} values is looked for in a query of {columns} columns"
                )));
            }
            *condition = exists(std::mem::take(values), subquery)?;
            Ok(())
        }
        _ => Ok(()),
    }
}

fn exists(values: Vec<Expr>, query: &Query) -> Result<Expr, Refusal> {
    let quoted = |name: &str| Ident::with_quote('"', name);
    let name = |position: usize| format!("#v{position}");
    let columns =
        (0..values.len()).map(|at| TableAliasColumnDef { name: quoted(&name(at)), data_type: None }).collect();
    let alias = TableAlias { explicit: true, name: quoted(ROWS), columns };
    let mut found = derived::select(vec![SelectItem::UnnamedExpr(number("1"))], Box::new(query.clone()), alias);
    let equal = values.into_iter().enumerate().map(|(at, value)| Expr::BinaryOp {
        left: Box::new(Expr::CompoundIdentifier(vec![quoted(ROWS), quoted(&name(at))])),
        op: BinaryOperator::Eq,
        right: Box::new(Expr::Nested(Box::new(value))),
    });
    let all =
        equal.reduce(|all, one| Expr::BinaryOp { left: Box::new(all), op: BinaryOperator::And, right: Box::new(one) });
    match &mut found {
        SetExpr::Select(select) => select.selection = all,
        _ => return Err(refuse("such a query", "write EXISTS")),
    }
    Ok(Expr::Exists { subquery: Box::new(derived::query(found)), negated: false })
}
