//! DuckDB's statements `PIVOT t ON a IN (…) USING sum(x) GROUP BY b` and `UNPIVOT t ON a, b INTO NAME n VALUE v`, which the
//! parser does not read, written as PIVOT and UNPIVOT in FROM.

use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::shorthand::{Here, group_length, is, is_token, is_word, position};

/// The columns of GROUP BY, as an aggregate that nobody can write.
pub(crate) const GROUPS: &str = "#by";

/// The tokens with such statements in the form for FROM; those that are in no such form are left as they are.
pub(crate) fn in_from(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        let rest = &tokens[at..];
        let end = statement_end(rest);
        // A query begins, or the one after common table expressions.
        let begins = out.last().is_none_or(|last: &TokenWithSpan| matches!(last.token, Token::LParen | Token::RParen));
        let written = match kind(&rest[0]).filter(|_| begins) {
            Some(Kind::Pivot) => pivot(&rest[..end]),
            Some(Kind::Unpivot) => unpivot(&rest[..end]),
            None => None,
        };
        match written {
            Some(written) => {
                out.extend(written);
                at += end;
            }
            None => {
                out.push(rest[0].clone());
                at += 1;
            }
        }
    }
    out
}

enum Kind {
    Pivot,
    Unpivot,
}

fn kind(token: &TokenWithSpan) -> Option<Kind> {
    let is_one = |names: [&str; 2]| names.iter().any(|name| is_word(Some(token), name));
    if is_one(["PIVOT", "PIVOT_WIDER"]) {
        Some(Kind::Pivot)
    } else if is_one(["UNPIVOT", "PIVOT_LONGER"]) {
        Some(Kind::Unpivot)
    } else {
        None
    }
}

/// Where the statement ends that begins here: at the parenthesis around it, at a semicolon, or at the end.
fn statement_end(tokens: &[TokenWithSpan]) -> usize {
    let mut depth = 0i32;
    for (at, token) in tokens.iter().enumerate() {
        depth += crate::shorthand::depth_change(&token.token);
        if depth < 0 || depth == 0 && token.token == Token::SemiColon {
            return at;
        }
    }
    tokens.len()
}

/// What stands between the word and ON, and what comes after; `None` for PIVOT in FROM.
fn source(tokens: &[TokenWithSpan]) -> Option<(&[TokenWithSpan], &[TokenWithSpan])> {
    let on = position(tokens, Keyword::ON, 1)?;
    let source = &tokens[1..on];
    let is_table = match source.first()?.token {
        Token::LParen => {
            let begins = |keyword| is(source.get(1), keyword);
            let has_query = [Keyword::SELECT, Keyword::FROM, Keyword::WITH, Keyword::VALUES].into_iter().any(begins);
            has_query || kind(source.get(1)?).is_some()
        }
        Token::Word(_) => true,
        _ => false,
    };
    let alias = match source.first()?.token {
        Token::LParen => group_length(source)?,
        _ => source
            .iter()
            .position(|token| !matches!(token.token, Token::Word(_) | Token::Period))
            .unwrap_or(source.len()),
    };
    let names_only = source[alias..].iter().all(|token| matches!(token.token, Token::Word(_)));
    (is_table && names_only).then_some((source, &tokens[on + 1..]))
}

/// `SELECT * FROM`, the table with such statements in it written out, and this.
fn selected(here: &Here<'_>, source: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let mut out = vec![here.keyword("SELECT"), here.token(Token::Mul), here.keyword("FROM")];
    out.extend(in_from(source.to_vec()));
    out
}

fn pivot(tokens: &[TokenWithSpan]) -> Option<Vec<TokenWithSpan>> {
    let here = Here(tokens.first()?);
    let (source, rest) = source(tokens)?;
    let end = [Keyword::ORDER, Keyword::LIMIT].iter().filter_map(|keyword| position(rest, *keyword, 0)).min();
    let (clauses, tail) = rest.split_at(end.unwrap_or(rest.len()));
    let group = position(clauses, Keyword::GROUP, 0);
    let (clauses, group) = clauses.split_at(group.unwrap_or(clauses.len()));
    let using = position(clauses, Keyword::USING, 0);
    let (by, using) = clauses.split_at(using.unwrap_or(clauses.len()));
    let several = position_of(by, &Token::Comma).is_some();
    if several || by.is_empty() {
        return None;
    }
    let mut out = selected(&here, source);
    out.extend([here.keyword("PIVOT"), here.token(Token::LParen)]);
    if let Some(columns) = group.get(2..).filter(|columns| !columns.is_empty()) {
        out.extend([here.word(GROUPS), here.token(Token::LParen)]);
        out.extend_from_slice(columns);
        out.extend([here.token(Token::RParen), here.token(Token::Comma)]);
    }
    match using.get(1..) {
        Some(aggregates) => out.extend_from_slice(aggregates),
        None => {
            out.extend([
                here.word("count"),
                here.token(Token::LParen),
                here.token(Token::Mul),
                here.token(Token::RParen),
            ]);
        }
    }
    out.push(here.keyword("FOR"));
    match position(by, Keyword::IN, 0) {
        Some(_) => out.extend_from_slice(by),
        None => {
            out.extend_from_slice(by);
            let any = [here.keyword("IN"), here.token(Token::LParen), here.keyword("ANY"), here.token(Token::RParen)];
            out.extend(any);
        }
    }
    out.push(here.token(Token::RParen));
    out.extend_from_slice(tail);
    Some(out)
}

fn unpivot(tokens: &[TokenWithSpan]) -> Option<Vec<TokenWithSpan>> {
    let here = Here(tokens.first()?);
    let (source, rest) = source(tokens)?;
    let (columns, name, value, tail) = match position(rest, Keyword::INTO, 0) {
        Some(into) => {
            let [_, name_word, name, value_word, value, tail @ ..] = &rest[into..] else { return None };
            let is_plain = is_word(Some(name_word), "NAME") && is_word(Some(value_word), "VALUE");
            if !is_plain || is_token(tail.first(), &Token::Comma) {
                return None;
            }
            (&rest[..into], name.clone(), value.clone(), tail)
        }
        None => {
            let end = [Keyword::ORDER, Keyword::LIMIT].iter().filter_map(|keyword| position(rest, *keyword, 0)).min();
            let (columns, tail) = rest.split_at(end.unwrap_or(rest.len()));
            (columns, here.word("name"), here.word("value"), tail)
        }
    };
    let mut out = selected(&here, source);
    out.extend([here.keyword("UNPIVOT"), here.token(Token::LParen), value, here.keyword("FOR"), name]);
    out.extend([here.keyword("IN"), here.token(Token::LParen)]);
    out.extend_from_slice(columns);
    out.extend([here.token(Token::RParen), here.token(Token::RParen)]);
    out.extend_from_slice(tail);
    Some(out)
}

/// Where a token stands outside of all parentheses.
fn position_of(tokens: &[TokenWithSpan], wanted: &Token) -> Option<usize> {
    let mut depth = 0;
    tokens.iter().position(|token| {
        depth += crate::shorthand::depth_change(&token.token);
        depth == 0 && token.token == *wanted
    })
}
