//! How tightly operators bind in DuckDB. Our parser and DuckDB's do not agree on all of it; a
//! tree in which an operand binds less tightly than its operator cannot be DuckDB's reading, so
//! it is refused and parentheses are asked for. A tree without such an operand is the only one
//! that the precedences allow.

use datafusion_sql::sqlparser::ast::{BinaryOperator, CastKind, Expr, Spanned, UnaryOperator};

use crate::error::Refusal;

/// The levels of PostgreSQL's grammar, which is DuckDB's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Or,
    And,
    Not,
    Is,
    Comparison,
    Predicate,
    Operator,
    Additive,
    Multiplicative,
    Power,
    AtTimeZone,
    Sign,
    Cast,
    Atom,
}

fn level(expr: &Expr) -> Level {
    match expr {
        Expr::BinaryOp { op, .. } => match op {
            BinaryOperator::Or => Level::Or,
            BinaryOperator::And => Level::And,
            BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::Lt
            | BinaryOperator::LtEq
            | BinaryOperator::Gt
            | BinaryOperator::GtEq => Level::Comparison,
            BinaryOperator::Plus | BinaryOperator::Minus => Level::Additive,
            BinaryOperator::Multiply
            | BinaryOperator::Divide
            | BinaryOperator::Modulo
            | BinaryOperator::DuckIntegerDivide => Level::Multiplicative,
            BinaryOperator::BitwiseXor => Level::Power,
            _ => Level::Operator,
        },
        Expr::UnaryOp { op: UnaryOperator::Not, .. } => Level::Not,
        Expr::UnaryOp { .. } => Level::Sign,
        Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::IsTrue(_)
        | Expr::IsNotTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsNotFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotUnknown(_)
        | Expr::IsDistinctFrom(..)
        | Expr::IsNotDistinctFrom(..) => Level::Is,
        Expr::Between { .. } | Expr::InList { .. } | Expr::InSubquery { .. } => Level::Predicate,
        Expr::Like { .. } | Expr::ILike { .. } | Expr::SimilarTo { .. } => Level::Predicate,
        Expr::AtTimeZone { .. } => Level::AtTimeZone,
        Expr::Cast { kind: CastKind::DoubleColon, .. } => Level::Cast,
        _ => Level::Atom,
    }
}

/// Operands with the least level they may have: `(operand, least, may it be equal)`.
fn operands(expr: &Expr) -> Vec<(&Expr, bool)> {
    match expr {
        Expr::BinaryOp { left, op: BinaryOperator::Or | BinaryOperator::And, right } => {
            vec![(left, true), (right, true)]
        }
        Expr::BinaryOp { left, right, .. } => vec![(left, level(expr) != Level::Comparison), (right, false)],
        Expr::UnaryOp { expr: operand, .. } | Expr::Cast { kind: CastKind::DoubleColon, expr: operand, .. } => {
            vec![(operand, true)]
        }
        Expr::IsNull(e)
        | Expr::IsNotNull(e)
        | Expr::IsTrue(e)
        | Expr::IsNotTrue(e)
        | Expr::IsFalse(e)
        | Expr::IsNotFalse(e)
        | Expr::IsUnknown(e)
        | Expr::IsNotUnknown(e) => vec![(e, false)],
        Expr::IsDistinctFrom(a, b) | Expr::IsNotDistinctFrom(a, b) => vec![(a, false), (b, false)],
        Expr::Between { expr, low, high, .. } => vec![(expr, false), (low, false), (high, false)],
        Expr::InList { expr, .. } => vec![(expr, false)],
        Expr::AtTimeZone { timestamp, time_zone } => vec![(timestamp, true), (time_zone, false)],
        Expr::Like { expr, pattern, .. } | Expr::ILike { expr, pattern, .. } => vec![(expr, false), (pattern, false)],
        _ => Vec::new(),
    }
}

/// Refuses an operator whose operands DuckDB would group differently.
pub(super) fn check(expr: &Expr) -> Result<(), Refusal> {
    super::json_arrow::check(expr)?;
    let own = level(expr);
    for (operand, equal_is_fine) in operands(expr) {
        let theirs = level(operand);
        if theirs < own || (theirs == own && !equal_is_fine) {
            return Err(Refusal::at(
                operand.span(),
                format!("it is not clear which operator of {expr} comes first: write parentheses around {operand}"),
            ));
        }
    }
    Ok(())
}
