//! ASOF joins: what is refused of them, and how the others reach the binder. The planner below knows no such
//! joins; it plans a join on `#asof(condition)`, or by USING with its last column written twice.

use std::collections::BTreeSet;

use datafusion_sql::sqlparser::ast::{Expr, JoinConstraint, JoinOperator, Spanned};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::expression::{call_function, refuse};
use super::query::located;
use crate::error::Refusal;

/// Refuses kinds of ASOF joins that are not maintained.
pub(super) fn check(operator: &JoinOperator, span: Span) -> Result<(), Refusal> {
    let (kind, way_out) = match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint) => return check_constraint(constraint, span),
        JoinOperator::Semi(_) | JoinOperator::LeftSemi(_) => {
            ("ASOF SEMI JOIN", "write SEMI JOIN with the same condition, which keeps the same rows")
        }
        JoinOperator::Anti(_) | JoinOperator::LeftAnti(_) => {
            ("ASOF ANTI JOIN", "write ANTI JOIN with the same condition, which keeps the same rows")
        }
        JoinOperator::Right(_) | JoinOperator::RightOuter(_) => {
            ("ASOF RIGHT JOIN", "write ASOF JOIN or ASOF LEFT JOIN")
        }
        JoinOperator::FullOuter(_) => ("ASOF FULL JOIN", "write ASOF JOIN or ASOF LEFT JOIN"),
        _ => ("such an ASOF join", "write ASOF JOIN or ASOF LEFT JOIN"),
    };
    Err(located(span, refuse(kind, way_out)))
}

fn check_constraint(constraint: &JoinConstraint, span: Span) -> Result<(), Refusal> {
    match constraint {
        JoinConstraint::On(_) => Ok(()),
        JoinConstraint::Using(columns) => {
            let mut named = BTreeSet::new();
            let mut columns = columns.iter().map(|column| column.to_string().to_ascii_lowercase());
            match columns.find(|column| !named.insert(column.clone())) {
                Some(twice) => {
                    let refusal = refuse(&format!("USING with {twice} written twice"), "name each column once");
                    Err(located(span, refusal))
                }
                None => Ok(()),
            }
        }
        JoinConstraint::Natural | JoinConstraint::None => {
            Err(located(span, refuse("an ASOF JOIN without ON or USING", "write its inequality in ON")))
        }
    }
}

/// Marks a prepared join as ASOF.
pub(super) fn mark(operator: &mut JoinOperator) {
    let (JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) | JoinOperator::LeftOuter(constraint)) =
        operator
    else {
        return;
    };
    match constraint {
        JoinConstraint::On(condition) => {
            let span = condition.span();
            *condition = Expr::Function(call_function("#asof", span, vec![condition.clone()]));
        }
        JoinConstraint::Using(columns) => columns.extend(columns.last().cloned()),
        JoinConstraint::Natural | JoinConstraint::None => {}
    }
}

/// Every column once, so that no join but ASOF has its last one twice.
pub(super) fn named_once(constraint: &mut JoinConstraint) {
    if let JoinConstraint::Using(columns) = constraint {
        let mut named = BTreeSet::new();
        columns.retain(|column| named.insert(column.to_string()));
    }
}
