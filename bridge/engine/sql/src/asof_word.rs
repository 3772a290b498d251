//! `ASOF` before a join. The parser knows it in the form of another dialect only, but takes GLOBAL before a join of
//! any kind, a word that means nothing to DuckDB there. So ASOF goes to the parser as that, and GLOBAL as a name.

use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// What a join may begin with after ASOF.
const JOINS: [Keyword; 7] =
    [Keyword::JOIN, Keyword::INNER, Keyword::LEFT, Keyword::RIGHT, Keyword::FULL, Keyword::SEMI, Keyword::ANTI];

/// The tokens with the keyword GLOBAL where a join is ASOF, and nowhere else.
pub(crate) fn as_global(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut joins = false;
    for token in tokens.iter_mut().rev() {
        match &mut token.token {
            Token::Whitespace(_) => continue,
            Token::Word(word) => {
                let keyword = word.keyword;
                match keyword {
                    Keyword::ASOF if joins => word.keyword = Keyword::GLOBAL,
                    Keyword::GLOBAL => word.keyword = Keyword::NoKeyword,
                    _ => {}
                }
                joins = JOINS.contains(&keyword);
            }
            _ => joins = false,
        }
    }
    tokens
}
