//! Identifiers and literals as DuckDB's SQL writes them. Every name that comes from outside goes
//! through here.

/// `name` as a quoted identifier.
pub fn quote_ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `text` as a string literal.
pub fn quote_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A qualified name: its parts quoted, with dots between.
pub fn quote_name<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    parts.into_iter().map(quote_ident).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_doubled() {
        assert_eq!(quote_ident(r#"a"b'c"#), r#""a""b'c""#);
        assert_eq!(quote_literal(r#"a"b'c"#), r#"'a"b''c'"#);
        assert_eq!(quote_name(["lake", "main", "t.x"]), r#""lake"."main"."t.x""#);
    }
}
