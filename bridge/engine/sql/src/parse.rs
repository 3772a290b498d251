//! SQL text to one parsed query, and the names of the tables it reads.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{Ident, ObjectName, Query, Spanned, Statement, TableFactor, Visitor};
use datafusion_sql::sqlparser::parser::{Parser, ParserError};
use datafusion_sql::sqlparser::tokenizer::{Location, Span, Token, Tokenizer};

use crate::asof_word::as_global;
use crate::dialect::Duck;
use crate::error::Refusal;
use crate::filter_word::with_where;
use crate::pivot_word::in_from;
use crate::shorthand::spelled_out;
use crate::walk;

const ONE_QUERY: &str = "a view is one query: write a single SELECT";

/// Parses a view's SQL: one query, in DuckDB's dialect.
pub fn parse(sql: &str) -> Result<Query, Refusal> {
    let tokens = Tokenizer::new(&Duck, sql).tokenize_with_location();
    let statements = tokens
        .map_err(ParserError::from)
        .and_then(|tokens| {
            let tokens = in_from(as_global(with_where(spelled_out(tokens))));
            Parser::new(&Duck).with_tokens_with_locations(tokens).parse_statements()
        })
        .map_err(syntax_error)?;
    let mut statements = statements.into_iter();
    let Some(first) = statements.next() else {
        return Err(Refusal::new(format!("there is no SQL; {ONE_QUERY}")));
    };
    if let Some(second) = statements.next() {
        return Err(Refusal::at(second.span(), format!("there is a second statement; {ONE_QUERY}")));
    }
    match first {
        Statement::Query(query) => Ok(*query),
        other => {
            let name: String = other.to_string().split_whitespace().take(2).collect::<Vec<_>>().join(" ");
            Err(Refusal::at(other.span(), format!("{name} is not a query; {ONE_QUERY}")).or_at(first_token(sql)))
        }
    }
}

/// The names in the FROM clauses of a query, each of one to three parts, without the names of its
/// common table expressions; each once, in the case of the SQL, sorted.
pub fn table_references(sql: &str) -> Result<Vec<Vec<String>>, Refusal> {
    let query = parse(sql)?;
    let mut ctes = OtherNames::default();
    let _ = walk::visit(&query, &mut ctes);
    let mut names = BTreeSet::new();
    let _ = walk::relations(&query, |name| {
        let parts = parts(name);
        if ctes.functions.contains(&name.span()) {
            return ControlFlow::Continue(());
        }
        if parts.len() != 1 || !ctes.ctes.contains(&parts[0].to_ascii_lowercase()) {
            names.insert(parts);
        }
        ControlFlow::<()>::Continue(())
    });
    Ok(names.into_iter().collect())
}

/// The parts of a dotted name.
pub(crate) fn parts(name: &ObjectName) -> Vec<String> {
    name.0.iter().filter_map(|part| part.as_ident()).map(|ident: &Ident| ident.value.clone()).collect()
}

/// Names in FROM that are no tables.
#[derive(Default)]
struct OtherNames {
    ctes: BTreeSet<String>,
    /// Where calls of table functions have theirs.
    functions: Vec<Span>,
}

impl Visitor for OtherNames {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.ctes.insert(cte.alias.name.value.to_ascii_lowercase());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } = table {
            self.functions.push(name.span());
        }
        ControlFlow::Continue(())
    }
}

/// The parser puts the place at the end of its message; it moves to where places belong.
fn syntax_error(error: ParserError) -> Refusal {
    let (ParserError::TokenizerError(message) | ParserError::ParserError(message)) = error else {
        return Refusal::new("the SQL is nested too deeply: split it into several views");
    };
    let message = match message.strip_prefix("Expected: AS, found: USING") {
        Some(rest) => {
            format!("USING KEY cannot be maintained, write UNION and take the last row of each key outside{rest}")
        }
        None => message,
    };
    let Some((fact, place)) = message.rsplit_once(" at Line: ") else {
        return Refusal::new(format!("the SQL cannot be parsed: {message}"));
    };
    let mut numbers = place.split(", Column: ").map(|n| n.trim().parse::<u64>());
    let location = match (numbers.next(), numbers.next()) {
        (Some(Ok(line)), Some(Ok(column))) => Some(Location::new(line, column)),
        _ => None,
    };
    Refusal { message: format!("the SQL cannot be parsed: {fact}"), location }
}

fn first_token(sql: &str) -> Option<Location> {
    let tokens = Tokenizer::new(&Duck, sql).tokenize_with_location().ok()?;
    tokens.into_iter().find(|t| !matches!(t.token, Token::Whitespace(_))).map(|t| t.span.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_exclude_ctes_and_reach_subqueries() {
        let sql = "WITH c AS (SELECT * FROM lake.Orders) SELECT * FROM C JOIN app.public.x USING (id) \
                   WHERE id IN (SELECT id FROM upstream)";
        let expected: Vec<Vec<String>> = vec![
            vec!["app".into(), "public".into(), "x".into()],
            vec!["lake".into(), "Orders".into()],
            vec!["upstream".into()],
        ];
        assert_eq!(table_references(sql).unwrap(), expected);
        let sql = "SELECT * FROM range(3), lake.t, UNNEST(t.l) AS u, LATERAL generate_series(1, 2)";
        assert_eq!(table_references(sql).unwrap(), [["lake".to_owned(), "t".to_owned()]]);
    }

    #[test]
    fn only_one_query() {
        assert!(parse("SELECT 1; SELECT 2").unwrap_err().message.contains("second statement"));
        assert!(parse("").unwrap_err().message.contains("no SQL"));
        let insert = parse("\n  INSERT INTO t VALUES (1)").unwrap_err();
        assert!(insert.message.starts_with("INSERT INTO is not a query"), "{insert}");
        assert_eq!(insert.location, Some(Location::new(2, 3)));
        let wrong = parse("SELECT a FROM t\nWHERE )").unwrap_err();
        assert_eq!(wrong.location.map(|l| l.line), Some(2), "{wrong}");
    }
}
