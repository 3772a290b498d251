//! `x < ANY (query)` and `x < ALL (query)`: comparisons with the least or the greatest value of the query
//! and, for NULL, with whether it has rows and NULLs (SQL:2016 8.9).

use datafusion_sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion_sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, Expr, Ident, Query, SelectItem, TableAlias, TableAliasColumnDef, UnaryOperator, Value,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::derived;
use super::expression::{call, null, number};

/// What the rows of the query are called where they are asked for.
const ROWS: &str = "#compared";
const VALUE: &str = "value";

/// Which rows must compare as the operator says.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Quantifier {
    Any,
    All,
}

/// The comparison in other words, where `op` has some: with `<`, `<=`, `>` and `>=`, `= ALL` and `<> ANY`.
///
/// Without rows it is false for `ANY` and true for `ALL`; a NULL among the rows leaves it unknown where the others do not decide.
pub(super) fn comparison(
    value: Expr,
    op: &BinaryOperator,
    quantifier: Quantifier,
    query: &Query,
    span: Span,
) -> Option<Expr> {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    use Quantifier::{All, Any};
    let extremes: &[&str] = match (op, quantifier) {
        (Lt | LtEq, All) | (Gt | GtEq, Any) => &["min"],
        (Lt | LtEq, Any) | (Gt | GtEq, All) => &["max"],
        (Eq, All) | (NotEq, Any) => &["min", "max"],
        _ => return None,
    };
    let ask = |expr: Expr| {
        let quoted = |name: &str| Ident::with_quote('"', name);
        let column = TableAliasColumnDef { name: quoted(VALUE), data_type: None };
        let alias = TableAlias { explicit: true, name: quoted(ROWS), columns: vec![column] };
        let items = vec![SelectItem::UnnamedExpr(expr)];
        Expr::Subquery(Box::new(derived::query(derived::select(items, Box::new(query.clone()), alias))))
    };
    let column = || Expr::CompoundIdentifier([ROWS, VALUE].map(|name| Ident::with_quote('"', name)).to_vec());
    let counted = |args: Vec<Expr>| call("count", span, args);
    let no_row = ask(binary(counted(vec![number("1")]), Eq, number("0")));
    let no_null = ask(binary(counted(vec![number("1")]), Eq, counted(vec![column()])));
    let compared = extremes.iter().map(|extreme| {
        let extreme = ask(call(extreme, span, vec![column()]));
        nested(binary(value.clone(), op.clone(), extreme))
    });
    let compared = compared.reduce(|all, one| match quantifier {
        Any => binary(all, BinaryOperator::Or, one),
        All => binary(all, BinaryOperator::And, one),
    })?;
    let decided = |so: bool| Expr::Value(Value::Boolean(so).with_empty_span());
    // NULL where there is one among the rows, and otherwise what the comparison does not see.
    let unless_null = |so: bool| Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition: no_null.clone(), result: decided(so) }],
        else_result: Some(Box::new(null())),
    };
    Some(nested(match quantifier {
        Any => {
            let some_row = Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(no_row) };
            let either = binary(nested(compared), BinaryOperator::Or, unless_null(false));
            binary(some_row, BinaryOperator::And, nested(either))
        }
        All => {
            let both = binary(nested(compared), BinaryOperator::And, unless_null(true));
            binary(no_row, BinaryOperator::Or, nested(both))
        }
    }))
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn nested(expr: Expr) -> Expr {
    Expr::Nested(Box::new(expr))
}
