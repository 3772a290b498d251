//! Short forms of DuckDB that the parser does not read, spelled out in the tokens before it:
//!
//! - `[x * 2 FOR x IN l IF x > 1]` becomes calls of `list_transform` and `list_filter`, as DuckDB makes them;
//! - `* EXCLUDE (…) LIKE 'x%'` becomes `"#matching"((SELECT * EXCLUDE (…))) LIKE 'x%'`;
//! - `COLUMNS(* EXCLUDE (…))` becomes `COLUMNS((SELECT * EXCLUDE (…)))`;
//! - `f(*COLUMNS(…))` becomes `f("#unpacked"(…))`;
//! - `a ** b` becomes `a ^ b`, and `AS [NOT] MATERIALIZED (` becomes `AS (`.
//!
//! What stands for these names is expanded by [`syntax`](crate::syntax); nobody can write them.

use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// `* … LIKE 'x%'`: the columns whose names match.
pub(crate) const MATCHING: &str = "#matching";
/// `*COLUMNS(…)`: the columns as arguments of one call.
pub(crate) const UNPACKED: &str = "#unpacked";

/// The tokens with every short form spelled out.
pub(crate) fn spelled_out(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let tokens = tokens.into_iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).collect::<Vec<_>>();
    stars(comprehensions(&plain(tokens)))
}

/// The tokens without those that change nothing, and powers with the operator that the parser reads.
fn plain(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let in_cte =
            is(out.last(), Keyword::AS) && matches!(tokens.peek().map(|next| &next.token), Some(Token::LParen));
        if token.token == Token::Mul && is_token(tokens.peek(), &Token::Mul) {
            tokens.next();
            out.push(TokenWithSpan::new(Token::Caret, token.span));
        } else if is_word(Some(&token), "MATERIALIZED") && in_cte {
            // What is read twice is kept once or not; the rows are the same.
        } else if is(Some(&token), Keyword::NOT)
            && is(out.last(), Keyword::AS)
            && is_word(tokens.peek(), "MATERIALIZED")
        {
            // The same.
        } else {
            out.push(token);
        }
    }
    out
}

/// Some tokens without place, put where another one stands.
pub(crate) struct Here<'a>(pub &'a TokenWithSpan);

impl Here<'_> {
    pub fn token(&self, token: Token) -> TokenWithSpan {
        TokenWithSpan::new(token, self.0.span)
    }

    pub fn word(&self, name: &str) -> TokenWithSpan {
        self.token(Token::make_word(name, Some('"')))
    }

    pub fn keyword(&self, name: &str) -> TokenWithSpan {
        self.token(Token::make_keyword(name))
    }
}

pub(crate) fn is(token: Option<&TokenWithSpan>, keyword: Keyword) -> bool {
    matches!(token.map(|t| &t.token), Some(Token::Word(word)) if word.keyword == keyword && word.quote_style.is_none())
}

pub(crate) fn is_token(token: Option<&TokenWithSpan>, wanted: &Token) -> bool {
    token.is_some_and(|t| t.token == *wanted)
}

pub(crate) fn is_word(token: Option<&TokenWithSpan>, name: &str) -> bool {
    matches!(token.map(|t| &t.token),
        Some(Token::Word(word)) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(name))
}

pub(crate) fn depth_change(token: &Token) -> i32 {
    match token {
        Token::LParen | Token::LBracket | Token::LBrace => 1,
        Token::RParen | Token::RBracket | Token::RBrace => -1,
        _ => 0,
    }
}

/// How many tokens the group has that begins with an opening parenthesis, both ends included.
pub(crate) fn group_length(tokens: &[TokenWithSpan]) -> Option<usize> {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        depth += depth_change(&token.token);
        if depth == 0 {
            return Some(at + 1);
        }
    }
    None
}

/// Where a keyword stands in tokens outside of all parentheses within them, from a place on.
pub(crate) fn position(tokens: &[TokenWithSpan], keyword: Keyword, from: usize) -> Option<usize> {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        depth += depth_change(&token.token);
        if depth == 0 && at >= from && is(Some(token), keyword) {
            return Some(at);
        }
    }
    None
}

fn comprehensions(tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let mut written = Vec::with_capacity(tokens.len());
    let mut rest = tokens;
    while let Some((token, after)) = rest.split_first() {
        if token.token == Token::LBracket
            && let Some(length) = group_length(rest)
            && let Some(inside) = rest.get(1..length - 1)
            && let Some(spelled) = comprehension(inside, &Here(token))
        {
            written.extend(spelled);
            rest = rest.get(length..).unwrap_or_default();
            continue;
        }
        written.push(token.clone());
        rest = after;
    }
    written
}

/// `value FOR names IN list IF condition`, as DuckDB's parser spells it out.
fn comprehension(inside: &[TokenWithSpan], here: &Here) -> Option<Vec<TokenWithSpan>> {
    let at_for = position(inside, Keyword::FOR, 1)?;
    let at_in = position(inside, Keyword::IN, at_for + 2)?;
    let at_if = position(inside, Keyword::IF, at_in + 2);
    let value = comprehensions(inside.get(..at_for)?);
    let names = inside.get(at_for + 1..at_in)?;
    let list = comprehensions(inside.get(at_in + 1..at_if.unwrap_or(inside.len()))?);
    let condition = at_if.and_then(|at| inside.get(at + 1..)).map(comprehensions);
    let lambda = |names: &[TokenWithSpan], body: Vec<TokenWithSpan>| {
        let mut lambda = vec![here.keyword("LAMBDA")];
        lambda.extend_from_slice(names);
        lambda.push(here.token(Token::Colon));
        lambda.extend(body);
        lambda
    };
    let call = |name: &str, arguments: Vec<Vec<TokenWithSpan>>| {
        let mut call = vec![here.word(name), here.token(Token::LParen)];
        for (position, argument) in arguments.into_iter().enumerate() {
            if position > 0 {
                call.push(here.token(Token::Comma));
            }
            call.extend(argument);
        }
        call.push(here.token(Token::RParen));
        call
    };
    let Some(condition) = condition else {
        return Some(call("list_transform", vec![list, lambda(names, value)]));
    };
    let named = |name: &str, value: Vec<TokenWithSpan>| {
        let mut named = vec![here.word(name), here.token(Token::Assignment)];
        named.extend(value);
        named
    };
    let field = |name: &str| {
        let element = here.word("element");
        let body = vec![element.clone(), here.token(Token::Period), here.word(name)];
        lambda(&[element], body)
    };
    let pair = call("struct_pack", vec![named("filter", condition), named("result", value)]);
    let pairs = call("list_transform", vec![list, lambda(names, pair)]);
    let kept = call("list_filter", vec![pairs, field("filter")]);
    Some(call("list_transform", vec![kept, field("result")]))
}

fn stars(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut written: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut at = 0;
    // Where parentheses are closed that were opened for a star.
    let mut closing: Vec<usize> = Vec::new();
    while let Some(token) = tokens.get(at) {
        let here = Here(token);
        let rest = tokens.get(at..).unwrap_or_default();
        let is_argument = is_token(written.last(), &Token::LParen) || is_token(written.last(), &Token::Comma);
        if token.token == Token::Mul && is_argument && is_word(rest.get(1), "columns") {
            written.push(here.word(UNPACKED));
            at += 2;
        } else if is_word(Some(token), "columns") && is_token(rest.get(1), &Token::LParen) {
            written.push(token.clone());
            at += 1;
        } else {
            let opens = token.token == Token::LParen
                && (is_word(written.last(), "columns") || is_word_quoted(written.last(), UNPACKED))
                && star_length(rest.get(1..).unwrap_or_default())
                    .is_some_and(|star| !is_token(rest.get(1 + star), &Token::RParen));
            if opens && let Some(length) = group_length(rest) {
                written.extend([token.clone(), here.token(Token::LParen), here.keyword("SELECT")]);
                closing.push(at + length - 1);
                at += 1;
                continue;
            }
            if !closing.is_empty()
                && let Some(place) = closing.iter().position(|place| *place == at)
            {
                closing.swap_remove(place);
                written.push(here.token(Token::RParen));
            }
            if begins_item(written.last())
                && let Some(length) = matching(rest)
                && let Some(star) = rest.get(..length)
            {
                written.extend([here.word(MATCHING), here.token(Token::LParen), here.token(Token::LParen)]);
                written.push(here.keyword("SELECT"));
                written.extend_from_slice(star);
                written.extend([here.token(Token::RParen), here.token(Token::RParen)]);
                at += length;
                continue;
            }
            written.push(token.clone());
            at += 1;
        }
    }
    written
}

/// Whether a column of a select list may begin after a token.
fn begins_item(before: Option<&TokenWithSpan>) -> bool {
    let keywords = [Keyword::SELECT, Keyword::DISTINCT, Keyword::ALL];
    is_token(before, &Token::Comma) || keywords.into_iter().any(|keyword| is(before, keyword))
}

fn is_word_quoted(token: Option<&TokenWithSpan>, name: &str) -> bool {
    matches!(token.map(|t| &t.token), Some(Token::Word(word)) if word.quote_style.is_some() && word.value == name)
}

/// How many tokens `*` or `t.*` has, where one begins.
fn star_length(tokens: &[TokenWithSpan]) -> Option<usize> {
    match tokens {
        [TokenWithSpan { token: Token::Mul, .. }, ..] => Some(1),
        [TokenWithSpan { token: Token::Word(_), .. }, TokenWithSpan { token: Token::Period, .. }, rest @ ..] => {
            star_length(rest).map(|length| length + 2)
        }
        _ => None,
    }
}

/// How many tokens a star with its options has, where LIKE or the like follows it.
fn matching(tokens: &[TokenWithSpan]) -> Option<usize> {
    let mut length = star_length(tokens)?;
    loop {
        let next = tokens.get(length);
        if is(next, Keyword::EXCLUDE) || is(next, Keyword::REPLACE) || is_word(next, "rename") {
            let after = tokens.get(length + 1..)?;
            length += 1 + if is_token(after.first(), &Token::LParen) { group_length(after)? } else { 1 };
            continue;
        }
        let at = if is(next, Keyword::NOT) { length + 1 } else { length };
        let word = tokens.get(at);
        let matches = is(word, Keyword::LIKE) || is(word, Keyword::ILIKE) || is(word, Keyword::SIMILAR);
        return matches.then_some(length);
    }
}
