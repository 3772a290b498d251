//! `FILTER (condition)`, which DuckDB takes for `FILTER (WHERE condition)` and the parser does not.

use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// The tokens with WHERE where it was left out.
pub(crate) fn with_where(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let is = |token: Option<&Token>, keyword| matches!(token, Some(Token::Word(word)) if word.keyword == keyword);
    let words: Vec<usize> = (0..tokens.len()).filter(|at| !matches!(tokens[*at].token, Token::Whitespace(_))).collect();
    let token = |place: usize| words.get(place).map(|at| &tokens[*at].token);
    let mut lacking: Vec<usize> = Vec::new();
    for (place, opening) in words.iter().enumerate().skip(2) {
        let filters = token(place - 2) == Some(&Token::RParen)
            && is(token(place - 1), Keyword::FILTER)
            && token(place) == Some(&Token::LParen);
        if filters && !is(token(place + 1), Keyword::WHERE) {
            lacking.push(*opening);
        }
    }
    let mut complete = Vec::with_capacity(tokens.len() + lacking.len());
    for (at, token) in tokens.into_iter().enumerate() {
        let span = token.span;
        complete.push(token);
        if lacking.contains(&at) {
            complete.push(TokenWithSpan::new(Token::make_keyword("WHERE"), span));
        }
    }
    complete
}
