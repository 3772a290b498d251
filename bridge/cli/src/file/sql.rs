//! Views as SQL text: one SELECT, or `CREATE MATERIALIZED VIEW name AS SELECT …` once or several
//! times in a file. Only the frame is read here; what the SELECT means is the engine's business.

/// One statement and where its SELECT begins.
#[derive(Debug, PartialEq, Eq)]
pub struct Statement {
    /// The name, when the statement gives one.
    pub name: Option<String>,
    /// The SELECT, from its first to its last token, without the semicolon.
    pub select: String,
    /// Byte offset of the SELECT in the text.
    pub offset: usize,
}

/// What is wrong with the text, and at which byte offset.
#[derive(Debug, PartialEq, Eq)]
pub struct SqlFault {
    pub offset: usize,
    pub message: String,
}

/// The statements of a text.
pub fn statements(text: &str) -> Result<Vec<Statement>, SqlFault> {
    let tokens = tokens(text)?;
    tokens
        .split(|token| token.text == ";")
        .filter_map(|statement| Some((statement, statement.first()?, statement.last()?)))
        .map(|(statement, first, last)| {
            let end = last.offset + last.text.len();
            if !first.is("CREATE") {
                return Ok(Statement { name: None, select: text[first.offset..end].to_owned(), offset: first.offset });
            }
            let [_, materialized, view, name, as_, select, ..] = statement else { return Err(frame(first.offset)) };
            if !(materialized.is("MATERIALIZED") && view.is("VIEW") && as_.is("AS")) {
                return Err(frame(first.offset));
            }
            let name = name.identifier().ok_or_else(|| frame(name.offset))?;
            Ok(Statement { name: Some(name), select: text[select.offset..end].to_owned(), offset: select.offset })
        })
        .collect()
}

fn frame(offset: usize) -> SqlFault {
    let message = "expected SELECT … or CREATE MATERIALIZED VIEW name AS SELECT …".to_owned();
    SqlFault { offset, message }
}

struct Token<'t> {
    text: &'t str,
    offset: usize,
}

impl Token<'_> {
    fn is(&self, keyword: &str) -> bool {
        self.text.eq_ignore_ascii_case(keyword)
    }

    /// A plain or a quoted name.
    fn identifier(&self) -> Option<String> {
        match self.text.strip_prefix('"') {
            Some(quoted) => Some(quoted.strip_suffix('"')?.replace("\"\"", "\"")),
            None => self.text.starts_with(|c: char| c.is_alphabetic() || c == '_').then(|| self.text.to_owned()),
        }
    }
}

/// Words, quoted texts and single symbols; comments and blanks are left out.
fn tokens(text: &str) -> Result<Vec<Token<'_>>, SqlFault> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let unclosed = |what: &str| SqlFault { offset: at, message: format!("{what} is not closed") };
        let length = if rest.starts_with("--") {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        } else if rest.starts_with("/*") {
            at += comment(rest).ok_or_else(|| unclosed("the comment"))?;
            continue;
        } else if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        } else if first == '\'' {
            let escapes = tokens.last().is_some_and(|last: &Token| last.is("E") && last.offset + 1 == at);
            quoted(rest, '\'', escapes).ok_or_else(|| unclosed("the string"))?
        } else if first == '"' {
            quoted(rest, '"', false).ok_or_else(|| unclosed("the quoted name"))?
        } else if let Some(tag) = dollar_tag(rest) {
            let close = rest[tag.len()..].find(tag).ok_or_else(|| unclosed("the dollar-quoted string"))?;
            close + 2 * tag.len()
        } else if first.is_alphanumeric() || first == '_' {
            rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        tokens.push(Token { text: &rest[..length], offset: at });
        at += length;
    }
    Ok(tokens)
}

/// Length of a comment, which may hold others.
fn comment(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    let mut at = 0;
    loop {
        let rest = text.get(at..)?;
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += rest.chars().next()?.len_utf8();
        }
    }
}

/// Length of a text in quotes, in which a doubled quote stands for one.
fn quoted(text: &str, quote: char, escapes: bool) -> Option<usize> {
    let mut at = 1;
    loop {
        let next = text[at..].chars().next()?;
        at += next.len_utf8();
        if next == '\\' && escapes {
            at += text[at..].chars().next()?.len_utf8();
        } else if next == quote {
            if !text[at..].starts_with(quote) {
                return Some(at);
            }
            at += 1;
        }
    }
}

/// `$$` or `$tag$`.
fn dollar_tag(text: &str) -> Option<&str> {
    let inside = text.strip_prefix('$')?;
    let length = inside.find('$')?;
    let plain = inside[..length].chars().all(|c| c.is_alphanumeric() || c == '_');
    (plain && !inside.starts_with(|c: char| c.is_ascii_digit())).then(|| &text[..length + 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Statement {
        let mut all = statements(text).unwrap();
        assert_eq!(all.len(), 1, "{text}");
        all.remove(0)
    }

    #[test]
    fn a_select_alone() {
        let statement = one("-- totals\n  SELECT 1 -- one\n ;\n-- end");
        assert_eq!(statement, Statement { name: None, select: "SELECT 1".to_owned(), offset: 12 });
        assert_eq!(one("WITH a AS (SELECT 1) FROM a").name, None);
        assert!(statements(" -- nothing\n;;").unwrap().is_empty());
    }

    #[test]
    fn created_views_have_their_names() {
        let all = statements(
            "create materialized view A as select ';' from t;\nCREATE MATERIALIZED VIEW \"b \"\"c\" AS SELECT $$;$$;",
        )
        .unwrap();
        let named: Vec<_> = all.iter().map(|s| (s.name.as_deref().unwrap(), s.select.as_str())).collect();
        assert_eq!(named, [("A", "select ';' from t"), ("b \"c", "SELECT $$;$$")]);
    }

    #[test]
    fn semicolons_in_texts_and_comments_do_not_end_a_statement() {
        for text in
            ["SELECT ';'';'", "SELECT \";\"", "SELECT /* ; /* ; */ ; */ 1", "SELECT $a$;$$;$a$", r"SELECT E'\';'"]
        {
            assert_eq!(one(text).select, text);
        }
    }

    #[test]
    fn other_statements_are_refused_where_they_stand() {
        for text in
            ["CREATE VIEW a AS SELECT 1", "CREATE MATERIALIZED VIEW 1 AS SELECT 1", "CREATE MATERIALIZED VIEW a"]
        {
            assert!(statements(text).unwrap_err().message.contains("CREATE MATERIALIZED VIEW"), "{text}");
        }
        let unclosed = statements("SELECT 'a").unwrap_err();
        assert_eq!(unclosed, SqlFault { offset: 7, message: "the string is not closed".to_owned() });
    }
}
