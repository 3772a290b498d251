//! Views as SQL text: one SELECT, or `CREATE MATERIALIZED VIEW name AS SELECT …` once or several
//! times in a file. Only the frame is read here; what the SELECT means is the engine's business.

/// One statement and where its parts stand.
#[derive(Debug, PartialEq, Eq)]
pub struct Statement {
    /// The name, when the statement gives one, and the byte offset of it.
    pub name: Option<(String, usize)>,
    /// What stands in `WITH (…)`.
    pub settings: Vec<Setting>,
    /// The SELECT, from its first to its last token, without the semicolon.
    pub select: String,
    /// Byte offset of the SELECT in the text.
    pub offset: usize,
}

/// `name = value` in the `WITH (…)` of a statement.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// In lower case.
    pub name: String,
    /// What is between the quotes, or the word.
    pub value: String,
    /// Byte offset of the name.
    pub offset: usize,
}

/// What is wrong with the text, and at which byte offset.
#[derive(Debug, PartialEq, Eq)]
pub struct SqlFault {
    pub offset: usize,
    pub message: String,
}

impl SqlFault {
    fn new(offset: usize, message: impl Into<String>) -> Self {
        SqlFault { offset, message: message.into() }
    }
}

/// What a file with views holds.
const FRAME: &str = "SELECT … or CREATE MATERIALIZED VIEW name AS SELECT …";

/// The statements of a text, each with its own fault.
pub fn statements(text: &str) -> Result<Vec<Result<Statement, SqlFault>>, SqlFault> {
    let tokens = tokens(text)?;
    let parts = tokens.split(|token| token.text == ";").filter(|statement| !statement.is_empty());
    let end = |statement: &[Token<'_>]| statement.last().map_or(0, |last| last.offset + last.text.len());
    Ok(parts.map(|statement| Cursor { text, rest: statement, end: end(statement) }.statement()).collect())
}

/// The columns that the text of a `key` names, as in `a, "b c"`.
pub fn columns(text: &str) -> Option<Vec<String>> {
    let tokens = tokens(text).ok()?;
    tokens.split(|token| token.text == ",").map(|column| <&[_; 1]>::try_from(column).ok()?[0].identifier()).collect()
}

/// The parts of a name such as `app."Order Items"`.
pub fn name_parts(text: &str) -> Option<Vec<String>> {
    let tokens = tokens(text).ok()?;
    let parts = tokens.split(|token| token.text == ".").map(|part| <&[_; 1]>::try_from(part).ok()?[0].identifier());
    parts.collect()
}

/// Reads a statement token by token.
struct Cursor<'s, 't> {
    text: &'t str,
    rest: &'s [Token<'t>],
    /// Where the statement ends.
    end: usize,
}

impl Cursor<'_, '_> {
    fn statement(mut self) -> Result<Statement, SqlFault> {
        if !self.take("CREATE") {
            return self.select(None, Vec::new());
        }
        if self.take("OR") {
            self.expect("REPLACE", "REPLACE after CREATE OR")?;
        }
        if self.is("VIEW") || self.is("TEMP") || self.is("TEMPORARY") || self.is("TABLE") {
            return Err(self.fault(format!("only CREATE MATERIALIZED VIEW can be kept up to date: expected {FRAME}")));
        }
        self.expect("MATERIALIZED", FRAME)?;
        self.expect("VIEW", FRAME)?;
        let name = self.rest.first().and_then(|token| Some((token.identifier()?, token.offset)));
        let Some((name, offset)) = name.filter(|_| !self.is("AS")) else {
            return Err(
                self.fault("the name of the view is missing: expected CREATE MATERIALIZED VIEW name AS SELECT …")
            );
        };
        self.rest = &self.rest[1..];
        if name.eq_ignore_ascii_case("IF") && self.is("NOT") {
            return Err(self.fault("the file says what views there are: leave IF NOT EXISTS out"));
        }
        if self.is(".") {
            return Err(self.fault("a view has a name of one part: leave the schema out"));
        }
        if self.is("(") {
            return Err(self.fault("a view's columns are named in its SELECT: write SELECT … AS name there"));
        }
        let settings = if self.take("WITH") { self.settings()? } else { Vec::new() };
        self.expect("AS", "AS SELECT … after the name of the view")?;
        self.select(Some((name, offset)), settings)
    }

    /// What is left of the statement.
    fn select(self, name: Option<(String, usize)>, settings: Vec<Setting>) -> Result<Statement, SqlFault> {
        let [first, ..] = self.rest else {
            return Err(self.fault("the SELECT is missing after AS"));
        };
        let begins = |words: &&[Token<'_>]| {
            words[0].is("CREATE")
                && (words[1].is("MATERIALIZED") && words[2].is("VIEW") || words[1].is("OR") && words[2].is("REPLACE"))
        };
        if let Some([create, ..]) = self.rest.windows(3).skip(1).find(begins) {
            return Err(SqlFault::new(create.offset, "a statement begins here: end the one before it with `;`"));
        }
        Ok(Statement { name, settings, select: self.text[first.offset..self.end].to_owned(), offset: first.offset })
    }

    /// `(name = value, …)`
    fn settings(&mut self) -> Result<Vec<Setting>, SqlFault> {
        const FORM: &str = "WITH (name = 'value', …)";
        self.expect("(", FORM)?;
        let mut settings = Vec::new();
        loop {
            let name = self.rest.first().and_then(|token| Some((token.identifier()?, token.offset)));
            let Some((name, offset)) = name else { return Err(self.expected(FORM)) };
            self.rest = &self.rest[1..];
            self.expect("=", FORM)?;
            let Some(value) = self.rest.first().and_then(Token::value) else { return Err(self.expected(FORM)) };
            self.rest = &self.rest[1..];
            settings.push(Setting { name: name.to_lowercase(), value, offset });
            if self.take(")") {
                return Ok(settings);
            }
            self.expect(",", FORM)?;
        }
    }

    fn is(&self, keyword: &str) -> bool {
        self.rest.first().is_some_and(|token| token.is(keyword))
    }

    /// Whether a keyword is next, which is behind us then.
    fn take(&mut self, keyword: &str) -> bool {
        let found = self.is(keyword);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    fn expect(&mut self, keyword: &str, expected: &str) -> Result<(), SqlFault> {
        if self.take(keyword) { Ok(()) } else { Err(self.expected(expected)) }
    }

    fn expected(&self, expected: &str) -> SqlFault {
        let found = self.rest.first().map_or("the end of the statement", |token| token.text);
        let found = if found.starts_with('\'') { "a text" } else { found };
        self.fault(format!("expected {expected}, found {found}"))
    }

    /// A fault at the next token, or where the statement ends.
    fn fault(&self, message: impl Into<String>) -> SqlFault {
        SqlFault::new(self.rest.first().map_or(self.end, |token| token.offset), message)
    }
}

/// A word, a quoted text or a symbol.
pub struct Token<'t> {
    pub text: &'t str,
    /// Its first byte in the text.
    pub offset: usize,
}

impl Token<'_> {
    /// Whether it is a keyword.
    pub fn is(&self, keyword: &str) -> bool {
        self.text.eq_ignore_ascii_case(keyword)
    }

    /// A plain or a quoted name.
    pub fn identifier(&self) -> Option<String> {
        match self.text.strip_prefix('"') {
            Some(quoted) => Some(quoted.strip_suffix('"')?.replace("\"\"", "\"")),
            None => self.text.starts_with(|c: char| c.is_alphabetic() || c == '_').then(|| self.text.to_owned()),
        }
    }

    /// What is between single quotes, or a word.
    pub fn value(&self) -> Option<String> {
        match self.text.strip_prefix('\'') {
            Some(quoted) => Some(quoted.strip_suffix('\'')?.replace("''", "'")),
            None => self.text.starts_with(|c: char| c.is_alphanumeric() || c == '_').then(|| self.text.to_owned()),
        }
    }
}

/// Words, quoted texts and single symbols; comments and blanks are left out.
pub fn tokens(text: &str) -> Result<Vec<Token<'_>>, SqlFault> {
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

    fn all(text: &str) -> Vec<Statement> {
        statements(text).unwrap().into_iter().collect::<Result<_, _>>().unwrap()
    }

    fn one(text: &str) -> Statement {
        let mut all = all(text);
        assert_eq!(all.len(), 1, "{text}");
        all.remove(0)
    }

    #[track_caller]
    fn fault(text: &str) -> SqlFault {
        match statements(text) {
            Err(fault) => fault,
            Ok(all) => all.into_iter().find_map(Result::err).expect("a fault"),
        }
    }

    #[test]
    fn a_select_alone() {
        let statement = one("-- totals\n  SELECT 1 -- one\n ;\n-- end");
        let expected = Statement { name: None, settings: Vec::new(), select: "SELECT 1".to_owned(), offset: 12 };
        assert_eq!(statement, expected);
        assert_eq!(one("WITH a AS (SELECT 1) FROM a").name, None);
        assert!(statements(" -- nothing\n;;").unwrap().is_empty());
    }

    #[test]
    fn created_views_have_their_names() {
        let all = all(
            "create materialized view A as select ';' from t;\nCREATE OR REPLACE MATERIALIZED VIEW \"b \"\"c\" AS SELECT $$;$$;",
        );
        let named: Vec<_> = all.iter().map(|s| (s.name.as_ref().unwrap(), s.select.as_str())).collect();
        let expected = [(("A".to_owned(), 25), "select ';' from t"), (("b \"c".to_owned(), 85), "SELECT $$;$$")];
        assert_eq!(named, expected.iter().map(|(name, select)| (name, *select)).collect::<Vec<_>>());
    }

    #[test]
    fn settings_stand_before_as() {
        let statement = one("CREATE MATERIALIZED VIEW v WITH (Key = 'a, \"b,c\"', mode = incremental) AS SELECT 1");
        let settings: Vec<_> =
            statement.settings.iter().map(|s| (s.name.as_str(), s.value.as_str(), s.offset)).collect();
        assert_eq!(settings, [("key", "a, \"b,c\"", 33), ("mode", "incremental", 51)]);
        assert_eq!(columns("a, \"b,c\""), Some(vec!["a".to_owned(), "b,c".to_owned()]));
        for text in ["", "a,", "a b", "1", ",a", "'a'"] {
            assert_eq!(columns(text), None, "{text}");
        }
        let common = one("CREATE MATERIALIZED VIEW v AS WITH a AS (SELECT 1) FROM a");
        assert_eq!((common.settings.len(), common.select.as_str()), (0, "WITH a AS (SELECT 1) FROM a"));
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
        for (text, offset, words) in [
            ("CREATE VIEW a AS SELECT 1", 7, "only CREATE MATERIALIZED VIEW"),
            ("CREATE INDEX a", 7, "found INDEX"),
            ("SELECT 1; CREATE MATERIALIZED VIEW 1 AS SELECT 1", 35, "the name of the view is missing"),
            ("CREATE MATERIALIZED VIEW AS SELECT 1", 25, "the name of the view is missing"),
            ("CREATE MATERIALIZED VIEW a; SELECT 1", 26, "expected AS SELECT"),
            ("CREATE MATERIALIZED VIEW a AS ; SELECT 1", 29, "the SELECT is missing"),
            ("CREATE MATERIALIZED VIEW main.a AS SELECT 1", 29, "one part"),
            ("CREATE MATERIALIZED VIEW a (b) AS SELECT 1", 27, "named in its SELECT"),
            ("CREATE MATERIALIZED VIEW IF NOT EXISTS a AS SELECT 1", 28, "leave IF NOT EXISTS out"),
            ("CREATE MATERIALIZED VIEW a WITH key = 'b' AS SELECT 1", 32, "WITH (name = 'value'"),
            ("CREATE MATERIALIZED VIEW a WITH () AS SELECT 1", 33, "found )"),
            ("CREATE MATERIALIZED VIEW a WITH (key 'b') AS SELECT 1", 37, "found a text"),
            ("CREATE MATERIALIZED VIEW a WITH (key = (b)) AS SELECT 1", 39, "found ("),
            ("CREATE MATERIALIZED VIEW a WITH (key = b AS SELECT 1", 41, "found AS"),
            ("SELECT 1\nCREATE OR REPLACE MATERIALIZED VIEW b AS SELECT 2", 9, "end the one before it with `;`"),
        ] {
            let found = fault(text);
            assert!(found.offset == offset && found.message.contains(words), "{text}: {found:?}");
        }
        assert_eq!(fault("SELECT 'a"), SqlFault::new(7, "the string is not closed"));
    }
}
