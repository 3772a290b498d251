//! DuckDB's arrow `->`, which the parser reads as a lambda wherever a name stands on its left.

use datafusion_sql::sqlparser::ast::{BinaryOperator, Expr, LambdaFunction, OneOrManyWithParens, Spanned};

use crate::error::Refusal;

/// The expression that DuckDB reads: `j -> 'a' -> 0` is `(j -> 'a') -> 0`, and `j -> 'a' || 'b'` is `j -> ('a' || 'b')`.
pub(super) fn read(lambda: Expr) -> Result<Expr, Refusal> {
    let span = lambda.span();
    let Expr::Lambda(LambdaFunction { params: OneOrManyWithParens::One(name), body, .. }) = lambda else {
        return Err(Refusal::at(
            span,
            "a lambda stands in a call that takes one, such as list_transform(l, lambda x: x + 1)",
        ));
    };
    Ok(through(Expr::Identifier(name), *body))
}

/// `left -> body`, with the arrows at the front of the body applied from the left.
fn through(left: Expr, mut body: Expr) -> Expr {
    match pull(left, &mut body) {
        None => body,
        Some(left) => arrow(left, nested(body)),
    }
}

/// `j ->> ('a' = 'x')`, which the parser makes of `j ->> 'a' = 'x'`, as DuckDB reads it: `(j ->> 'a') = 'x'`.
pub(super) fn turned(expr: Expr) -> Expr {
    match expr {
        Expr::BinaryOp { left, op: BinaryOperator::LongArrow, mut right } => {
            turn(*left, &mut right);
            *right
        }
        expr => expr,
    }
}

/// Puts `left ->>` before the operand that `place` begins with.
fn turn(left: Expr, place: &mut Expr) {
    if binds_weaker(place)
        && let Some(first) = first_operand(place)
    {
        return turn(left, first);
    }
    let right = std::mem::replace(place, super::expression::null());
    *place = Expr::BinaryOp { left: Box::new(left), op: BinaryOperator::LongArrow, right: Box::new(right) };
}

/// Whether an operator binds its operands less tightly than an arrow on their left.
fn binds_weaker(expr: &Expr) -> bool {
    match expr {
        Expr::BinaryOp { op, .. } => matches!(
            op,
            BinaryOperator::Eq
                | BinaryOperator::NotEq
                | BinaryOperator::Lt
                | BinaryOperator::LtEq
                | BinaryOperator::Gt
                | BinaryOperator::GtEq
        ),
        Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::IsDistinctFrom(..)
        | Expr::IsNotDistinctFrom(..)
        | Expr::Like { .. }
        | Expr::ILike { .. }
        | Expr::InList { .. }
        | Expr::Between { .. } => true,
        _ => false,
    }
}

fn arrow(left: Expr, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op: BinaryOperator::Arrow, right: Box::new(right) }
}

fn nested(expr: Expr) -> Expr {
    match expr {
        Expr::Value(_) | Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Nested(_) | Expr::Function(_) => {
            expr
        }
        expr => Expr::Nested(Box::new(expr)),
    }
}

/// Puts `left ->` before the operand of the first arrow in `body`; answers it when there is none.
fn pull(left: Expr, body: &mut Expr) -> Option<Expr> {
    // `j -> k -> 0` with another name is another lambda in the body.
    if let Expr::Lambda(LambdaFunction { params: OneOrManyWithParens::One(name), body: rest, .. }) = body {
        *body = through(arrow(left, Expr::Identifier(name.clone())), rest.as_ref().clone());
        return None;
    }
    let is_arrow = is_arrow(body);
    let Some(first) = first_operand(body) else { return Some(left) };
    let left = pull(left, first)?;
    if !is_arrow {
        return Some(left);
    }
    let operand = std::mem::replace(first, super::expression::null());
    *first = arrow(left, nested(operand));
    None
}

fn is_arrow(expr: &Expr) -> bool {
    matches!(expr, Expr::BinaryOp { op: BinaryOperator::Arrow | BinaryOperator::LongArrow, .. })
}

/// The operand that an expression begins with.
fn first_operand(expr: &mut Expr) -> Option<&mut Expr> {
    match expr {
        Expr::BinaryOp { left: first, .. }
        | Expr::IsNull(first)
        | Expr::IsNotNull(first)
        | Expr::IsDistinctFrom(first, _)
        | Expr::IsNotDistinctFrom(first, _)
        | Expr::Like { expr: first, .. }
        | Expr::ILike { expr: first, .. }
        | Expr::InList { expr: first, .. }
        | Expr::Between { expr: first, .. } => Some(first.as_mut()),
        _ => None,
    }
}

/// Refuses arrows that DuckDB reads otherwise: an arrow takes everything before it, and `->` everything after it.
pub(super) fn check(expr: &Expr) -> Result<(), Refusal> {
    let refused = |operand: &Expr| {
        Err(Refusal::at(
            operand.span(),
            format!("DuckDB reads an arrow together with all of {expr} before it: write parentheses around it"),
        ))
    };
    match expr {
        Expr::BinaryOp { left, op, right } => {
            let plain = matches!(op, BinaryOperator::Arrow | BinaryOperator::LongArrow);
            if begins_with(right, false) {
                return refused(right);
            }
            if !plain && begins_with(left, true) { refused(left) } else { Ok(()) }
        }
        Expr::UnaryOp { expr: operand, .. } if begins_with(operand, false) => refused(operand),
        Expr::IsNull(first)
        | Expr::IsNotNull(first)
        | Expr::IsDistinctFrom(first, _)
        | Expr::IsNotDistinctFrom(first, _)
        | Expr::Like { expr: first, .. }
        | Expr::ILike { expr: first, .. }
        | Expr::InList { expr: first, .. }
        | Expr::Between { expr: first, .. }
            if begins_with(first, true) =>
        {
            refused(first)
        }
        _ => Ok(()),
    }
}

/// Whether an arrow stands at the front of an expression, outside of parentheses; `short` asks for `->` as the last of
/// them.
fn begins_with(expr: &Expr, short: bool) -> bool {
    match expr {
        Expr::BinaryOp { op: BinaryOperator::Arrow, .. } => true,
        Expr::BinaryOp { op: BinaryOperator::LongArrow, .. } => !short,
        Expr::BinaryOp { left: first, .. }
        | Expr::IsNull(first)
        | Expr::IsNotNull(first)
        | Expr::IsDistinctFrom(first, _)
        | Expr::IsNotDistinctFrom(first, _)
        | Expr::Like { expr: first, .. }
        | Expr::ILike { expr: first, .. }
        | Expr::InList { expr: first, .. }
        | Expr::Between { expr: first, .. } => begins_with(first, short),
        _ => false,
    }
}
