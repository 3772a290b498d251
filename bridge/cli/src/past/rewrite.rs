//! `v AS OF TIMESTAMP '…'`, `AS OF EPOCH n` and `AS OF FRONTIER '{…}'` in a query. Each becomes the name of a view over the history
//! of `v`, which is made beforehand; everything else of the query stays as it is written. Texts, quoted names and comments are
//! tokens, and what stands in them is not looked at.

use std::ops::Range;

use tidegate_duck::quote_name;
use tidegate_runtime::Moment;

use super::{Opening, moment};
use crate::failure::Failure;
use crate::file::sql::{Token, tokens};

/// The database in which these views are made.
pub const CATALOG: &str = "tidegate_asof";

/// A table as of a moment, as a query has it.
#[derive(Debug, PartialEq)]
pub struct Reference {
    /// Where it stands, its moment included.
    pub range: Range<usize>,
    /// The name's parts, without quotes.
    pub name: Vec<String>,
    pub moment: Moment,
}

/// Every `name AS OF …` of a query, in order.
pub fn references(text: &str, duck: &Opening) -> Result<Vec<Reference>, Failure> {
    let fault = |offset: usize, message: &str| Failure::usage(format!("{}: {message}", place(text, offset)));
    let tokens = tokens(text).map_err(|error| fault(error.offset, &error.message))?;
    let mut ends = tokens.iter().skip_while(|token| token.text != ";");
    if let Some(second) = ends.find(|token| token.text != ";") {
        return Err(fault(second.offset, "one query is answered, and here another begins"));
    }
    let mut references = Vec::new();
    for (at, window) in tokens.windows(3).enumerate() {
        let [as_token, of, kind] = window else { continue };
        let kinds = ["TIMESTAMP", "TIMESTAMPTZ", "EPOCH", "FRONTIER"];
        let Some(kind) = kinds.into_iter().find(|known| kind.is(known)) else { continue };
        if !as_token.is("AS") || !of.is("OF") {
            continue;
        }
        let Some((start, name)) = name_before(&tokens[..at]) else {
            return Err(fault(as_token.offset, "AS OF follows the name of a view or of a tracked table"));
        };
        let value = tokens.get(at + 3);
        let quoted = value.filter(|token| token.text.starts_with('\'')).and_then(Token::value);
        let number = value.filter(|token| token.text.bytes().all(|byte| byte.is_ascii_digit())).map(|token| token.text);
        let moment = match (kind, quoted, number) {
            ("EPOCH", None, Some(number)) => moment::epoch(number),
            ("EPOCH", _, _) => return Err(fault(of.offset, "AS OF EPOCH takes the number of an epoch")),
            ("FRONTIER", Some(text), _) => moment::frontier(&text),
            ("FRONTIER", _, _) => {
                return Err(fault(
                    of.offset,
                    "AS OF FRONTIER takes a frontier in single quotes: '{\"ducklake:lake\": {\"snapshot_id\": 42}}'",
                ));
            }
            (_, Some(text), _) => moment::timestamp(&text, duck),
            _ => {
                return Err(fault(
                    of.offset,
                    "AS OF TIMESTAMP takes a timestamp in single quotes: '2026-11-22 15:00:00'",
                ));
            }
        };
        let end = value.map_or(text.len(), |value| value.offset + value.text.len());
        references.push(Reference { range: start..end, name, moment: moment? });
    }
    Ok(references)
}

/// The name that tokens end with, and where it begins.
fn name_before(tokens: &[Token<'_>]) -> Option<(usize, Vec<String>)> {
    let (last, mut rest) = tokens.split_last()?;
    let mut parts = vec![last.identifier()?];
    let mut start = last.offset;
    while let [before @ .., part, dot] = rest {
        let Some(name) = part.identifier().filter(|_| dot.text == ".") else { break };
        parts.insert(0, name);
        (start, rest) = (part.offset, before);
    }
    Some((start, parts))
}

/// The query without a semicolon at its end, with each reference replaced by what [`replacement`] names.
pub fn rewritten(text: &str, references: &[Reference]) -> String {
    let mut query = String::new();
    let mut at = 0;
    for (index, reference) in references.iter().enumerate() {
        query.push_str(&text[at..reference.range.start]);
        query.push_str(&replacement(index, reference));
        at = reference.range.end;
    }
    let end = match tokens(text).unwrap_or_default().iter().rev().take_while(|token| token.text == ";").last() {
        Some(semicolon) => semicolon.offset.max(at),
        None => text.len(),
    };
    query.push_str(&text[at..end]);
    query
}

/// The view that stands for a reference: it has the name that the query uses, so that columns can be qualified with it.
pub fn replacement(index: usize, reference: &Reference) -> String {
    let name = reference.name.last().map_or("", String::as_str);
    quote_name([CATALOG, &schema(index), name])
}

/// The schema of its own that each reference has.
pub fn schema(index: usize) -> String {
    format!("reference_{}", index + 1)
}

fn place(text: &str, offset: usize) -> String {
    let before = &text[..offset.min(text.len())];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    format!(
        "line {}, column {} of the query",
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn rewrite(text: &str) -> String {
        let references = references(text, &Opening::when_needed())
            .unwrap_or_else(|failure| panic!("{text}: {:?}", failure.messages()));
        rewritten(text, &references)
    }

    #[test]
    fn tables_as_of_a_moment_become_views() {
        for (text, expected) in [
            ("SELECT * FROM v", "SELECT * FROM v"),
            ("FROM v AS OF EPOCH 3;", r#"FROM "tidegate_asof"."reference_1"."v""#),
            (
                "select x.a from V as of timestamp '2026-11-22' x -- AS OF EPOCH 1\n where a = 'v AS OF EPOCH 2' ; ",
                "select x.a from \"tidegate_asof\".\"reference_1\".\"V\" x -- AS OF EPOCH 1\n where a = 'v AS OF EPOCH 2' ",
            ),
            (
                r#"FROM app . "Order ""s" AS OF EPOCH 12 AS o, v AS OF FRONTIER '{"ducklake:lake":{"snapshot_id":1}}'"#,
                r#"FROM "tidegate_asof"."reference_1"."Order ""s" AS o, "tidegate_asof"."reference_2"."v""#,
            ),
            ("SELECT a AS of, b AS epoch FROM v", "SELECT a AS of, b AS epoch FROM v"),
            ("SELECT a AS of FROM v /* v AS OF EPOCH 1 */", "SELECT a AS of FROM v /* v AS OF EPOCH 1 */"),
            (r#"SELECT "v AS OF EPOCH 1" FROM v"#, r#"SELECT "v AS OF EPOCH 1" FROM v"#),
            ("SELECT $$v AS OF EPOCH 1$$", "SELECT $$v AS OF EPOCH 1$$"),
        ] {
            assert_eq!(rewrite(text), expected);
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, words) in [
            ("FROM v AS OF EPOCH '3'", "line 1, column 11 of the query: AS OF EPOCH takes the number"),
            ("FROM v\nAS OF EPOCH", "line 2, column 4 of the query: AS OF EPOCH takes the number"),
            ("FROM v AS OF TIMESTAMP now()", "AS OF TIMESTAMP takes a timestamp in single quotes"),
            ("FROM v AS OF TIMESTAMP 'noon'", "`noon` is no moment"),
            ("FROM v AS OF TIMESTAMP '12'", "`12` is no moment"),
            ("FROM v AS OF FRONTIER 3", "AS OF FRONTIER takes a frontier"),
            ("FROM (SELECT 1) AS OF EPOCH 3", "line 1, column 17 of the query: AS OF follows the name"),
            ("FROM 'v AS OF EPOCH 3", "the string is not closed"),
        ] {
            let failure = references(text, &Opening::when_needed()).unwrap_err();
            assert!(failure.messages()[0].contains(words), "{text}: {:?}", failure.messages());
        }
    }
}
