//! Recursive common table expressions, taken apart before the planner below us sees them.
//!
//! `r AS (A UNION B)` becomes two common table expressions, of which neither is recursive:
//!
//! ```text
//! "#rec 1:52 r" AS (A), r AS (SELECT * FROM "#rec 1:52 r" UNION B')
//! ```
//!
//! B' reads the first one where B reads r, so that every column of r is known while B is resolved. The name
//! tells binding where the rows of the round before go, and the place of the first reading of r.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    Cte, Ident, ObjectName, Query, SetExpr, SetOperator, SetQuantifier, Spanned, Visit, Visitor,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::expression::refuse;
use super::query::{Walk, located, table_alias};
use super::scope;
use crate::error::Refusal;
use crate::semantics::round_name;
use crate::walk;

/// Whether a common table expression of WITH RECURSIVE reads itself.
pub(super) fn reads_itself(cte: &Cte) -> bool {
    reading(&*cte.query, &cte.alias.name.value).is_some()
}

/// The query that a recursion starts with; `None` where the query is no such recursion as is maintained.
pub(super) fn start(query: &Query) -> Option<Query> {
    let query = inner_query(query.clone());
    match *query.body {
        SetExpr::SetOperation { left, .. } if is_union(&query.body) => Some(Query { body: left, ..query }),
        _ => None,
    }
}

impl Walk<'_> {
    /// Checks a recursive common table expression and takes it apart.
    pub(super) fn recursive(&mut self, mut cte: Cte) -> Result<[Cte; 2], Refusal> {
        table_alias(&mut cte.alias)?;
        cte.materialized = None;
        let name = cte.alias.name.value.clone();
        let span = cte.alias.name.span;
        let query = inner_query((*cte.query).clone());
        if query.order_by.is_some() || query.limit_clause.is_some() || query.fetch.is_some() {
            return Err(located(
                span,
                refuse("ORDER BY or LIMIT in a recursive query", "write it around the query that reads its rows"),
            ));
        }
        if !is_union(&query.body) {
            return Err(located(
                span,
                refuse(
                    "WITH RECURSIVE other than UNION or UNION ALL of a start and one query that reads what it is part of",
                    "write it so, with parentheses around the second query if it is a UNION itself",
                ),
            ));
        }
        let Query { with, body, .. } = query.clone();
        let SetExpr::SetOperation { op, set_quantifier, left, right } = *body else { unreachable!("it is a union") };
        let early = reading(&*left, &name).or_else(|| with.iter().find_map(|with| reading(with, &name)));
        if let Some(place) = early {
            return Err(Refusal::at(
                place,
                format!(
                    "{name} is read where its recursion starts: only the last query of its UNION reads it; \
                     put parentheses around all that do"
                ),
            ));
        }
        if defines(&query, &name) {
            return Err(located(span, refuse(&format!("another {name} in the query of {name}"), "rename one of them")));
        }
        let place = reading(&*right, &name).unwrap_or(span);
        let round = round_name(place.start, &name);

        let mut start = Query { body: left, ..query.clone() };
        self.query(&mut start)?;
        let mut columns = scope::of_query(&start, self.names, &self.ctes);
        columns.extend(cte.alias.columns.iter().map(|column| column.name.value.clone()));
        self.ctes.push((name.clone(), columns.clone()));
        self.ctes.push((round.clone(), columns));

        let mut term = Query { body: right, ..query };
        self.query(&mut term)?;
        let _ = walk::relations_mut(&mut term, |relation| {
            let parts = crate::parse::parts(relation);
            if parts.len() == 1 && parts[0].eq_ignore_ascii_case(&name) {
                *relation = ObjectName::from(vec![Ident::with_quote_and_span('"', relation.span(), round.clone())]);
            }
            ControlFlow::<()>::Continue(())
        });
        let all = crate::parse::parse(&format!("SELECT * FROM \"{}\"", round.replace('"', "\"\"")))?;
        let body = SetExpr::SetOperation { op, set_quantifier, left: all.body, right: term.body };
        let mut alias = cte.alias.clone();
        alias.name = Ident::with_quote_and_span('"', span, round);
        let rows =
            Cte { query: Box::new(Query { body: Box::new(body), with: term.with, ..start.clone() }), ..cte.clone() };
        Ok([Cte { alias, query: Box::new(start), ..cte }, rows])
    }
}

fn is_union(body: &SetExpr) -> bool {
    matches!(
        body,
        SetExpr::SetOperation {
            op: SetOperator::Union,
            set_quantifier: SetQuantifier::None | SetQuantifier::Distinct | SetQuantifier::All,
            ..
        }
    )
}

/// The query without parentheses around it.
fn inner_query(query: Query) -> Query {
    let bare =
        query.with.is_none() && query.order_by.is_none() && query.limit_clause.is_none() && query.fetch.is_none();
    match *query.body {
        SetExpr::Query(inner) if bare => inner_query(*inner),
        body => Query { body: Box::new(body), ..query },
    }
}

/// The place of the first reading of a name.
fn reading<V: Visit>(part: &V, name: &str) -> Option<Span> {
    let found = walk::relations(part, |relation| {
        let parts = crate::parse::parts(relation);
        if parts.len() == 1 && parts[0].eq_ignore_ascii_case(name) {
            ControlFlow::Break(relation.span())
        } else {
            ControlFlow::Continue(())
        }
    });
    found.break_value()
}

/// Whether a common table expression inside the query has this name.
fn defines(query: &Query, name: &str) -> bool {
    struct Names<'a>(&'a str);
    impl Visitor for Names<'_> {
        type Break = ();
        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            let ctes = query.with.iter().flat_map(|with| &with.cte_tables);
            let found = ctes.into_iter().any(|cte| cte.alias.name.value.eq_ignore_ascii_case(self.0));
            if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }
    walk::visit(query, &mut Names(name)).is_break()
}
