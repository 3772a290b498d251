//! Kinds of joins: each gets one spelling, and what cannot be maintained is refused.

use datafusion_sql::sqlparser::ast::{JoinConstraint, JoinOperator, SelectItem, Spanned, TableFactor, TableWithJoins};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::expression::refuse;
use super::query::located;
use crate::error::Refusal;

/// Gives a join its one spelling.
pub(super) fn prepare(operator: &mut JoinOperator, span: Span) -> Result<(), Refusal> {
    let taken = std::mem::replace(operator, JoinOperator::CrossJoin(JoinConstraint::None));
    *operator = match taken {
        JoinOperator::Left(constraint) => JoinOperator::LeftOuter(constraint),
        JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => {
            JoinOperator::RightOuter(with_own_columns("RIGHT JOIN", constraint, span)?)
        }
        JoinOperator::FullOuter(constraint) => {
            JoinOperator::FullOuter(with_own_columns("FULL JOIN", constraint, span)?)
        }
        JoinOperator::Semi(constraint) => JoinOperator::LeftSemi(constraint),
        JoinOperator::Anti(constraint) => JoinOperator::LeftAnti(constraint),
        other => other,
    };
    Ok(())
}

/// A column that USING names is the left side's where the left side is preserved; elsewhere it is a
/// value of both sides, which must be written.
fn with_own_columns(kind: &str, constraint: JoinConstraint, span: Span) -> Result<JoinConstraint, Refusal> {
    match constraint {
        JoinConstraint::Using(_) | JoinConstraint::Natural => {
            let named = if matches!(constraint, JoinConstraint::Natural) { "NATURAL" } else { "USING" };
            let way_out = "write ON, and coalesce(a.x, b.x) for the value of both sides";
            Err(located(span, refuse(&format!("{kind} with {named}"), way_out)))
        }
        other => Ok(other),
    }
}

/// Lets a table of FROM read those before it, as DuckDB does with and without the word LATERAL.
pub(super) fn make_lateral(table: &mut TableFactor, place: Place, span: Span) -> Result<(), Refusal> {
    match (table, place) {
        (TableFactor::Derived { lateral: true, .. }, Place::InJoin) => {
            let way_out = "write JOIN or LEFT JOIN, or let it read its own tables alone";
            return Err(located(span, refuse("LATERAL in a RIGHT, FULL, SEMI or ANTI JOIN", way_out)));
        }
        (TableFactor::Derived { lateral, .. }, _) => *lateral = place == Place::AfterOthers,
        (TableFactor::UNNEST { .. }, Place::InJoin) => {
            let way_out = "write it first, or put it into a subquery: JOIN (SELECT * FROM UNNEST(…))";
            return Err(located(span, refuse("UNNEST, VALUES or range in a RIGHT, FULL, SEMI or ANTI JOIN", way_out)));
        }
        _ => {}
    }
    Ok(())
}

/// Where a table stands in FROM.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    First,
    /// After others whose rows it may read.
    AfterOthers,
    /// After others, in a join whose right side is computed alone.
    InJoin,
}

impl Place {
    /// The place of the right side of a join.
    pub(super) fn of(operator: &JoinOperator) -> Place {
        match operator {
            JoinOperator::Join(_)
            | JoinOperator::Inner(_)
            | JoinOperator::Left(_)
            | JoinOperator::LeftOuter(_)
            | JoinOperator::CrossJoin(_) => Place::AfterOthers,
            _ => Place::InJoin,
        }
    }
}

/// `*` over columns that USING or NATURAL makes one: the planner below keeps the one whose table's name
/// sorts first, DuckDB keeps the first table's. Where these differ the columns must be named.
pub(super) fn check_wildcard(from: &[TableWithJoins], items: &[SelectItem]) -> Result<(), Refusal> {
    let Some(wildcard) = items.iter().find(|item| matches!(item, SelectItem::Wildcard(_))) else { return Ok(()) };
    for table in from {
        let by_name = joins_by_name(table);
        let relations = std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation));
        let names: Option<Vec<&str>> = relations.map(name).collect();
        let in_order = names.is_some_and(|names| names.windows(2).all(|pair| pair[0] < pair[1]));
        if by_name && !in_order {
            let refusal = refuse("* over a join with USING or NATURAL", "name the columns");
            return Err(located(wildcard.span(), refusal));
        }
    }
    Ok(())
}

/// Whether a join with USING or NATURAL is among those of a table, in parentheses or not.
fn joins_by_name(table: &TableWithJoins) -> bool {
    let mut relations = std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation));
    table.joins.iter().any(|join| is_by_name(&join.join_operator))
        || relations.any(|relation| match relation {
            TableFactor::NestedJoin { table_with_joins, .. } => joins_by_name(table_with_joins),
            _ => false,
        })
}

fn is_by_name(operator: &JoinOperator) -> bool {
    let (JoinOperator::Join(constraint)
    | JoinOperator::Inner(constraint)
    | JoinOperator::LeftOuter(constraint)
    | JoinOperator::LeftSemi(constraint)
    | JoinOperator::LeftAnti(constraint)) = operator
    else {
        return false;
    };
    matches!(constraint, JoinConstraint::Using(_) | JoinConstraint::Natural)
}

fn name(table: &TableFactor) -> Option<&str> {
    match table {
        TableFactor::Table { alias, .. } | TableFactor::Derived { alias, .. } | TableFactor::UNNEST { alias, .. } => {
            alias.as_ref().map(|alias| alias.name.value.as_str())
        }
        _ => None,
    }
}

/// What a join is called where it is refused.
pub(super) fn kind(operator: &JoinOperator) -> &'static str {
    match operator {
        JoinOperator::RightSemi(_) => "RIGHT SEMI JOIN",
        JoinOperator::RightAnti(_) => "RIGHT ANTI JOIN",
        _ => "such a join",
    }
}
