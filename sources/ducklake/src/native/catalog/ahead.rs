//! Guessing what a reading will ask, so that a server can be asked all of it at once.
//!
//! Polls that follow one another ask the same questions, in which snapshot ids and file ids grow in steps. What the
//! next one asks is taken to be what the last asked, each number as much further as it was from the one before. A
//! guess is no more than that: an answer is used only where exactly its question is asked, in the same state of the
//! catalog, so that a wrong guess costs a question and changes nothing.

use std::collections::HashMap;

/// Readings with fewer questions are not worth a guess: they look at the catalog's end.
const QUESTIONS_MIN: usize = 4;
/// Questions that are asked at once.
const QUESTIONS_MAX: usize = 24;

/// A query and the text that `$1` in it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) sql: String,
    pub(super) text: Option<String>,
}

/// What the last two readings asked.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    before: Vec<Question>,
    last: Vec<Question>,
}

impl Ahead {
    /// Takes note of what a reading asked.
    pub(super) fn learn(&mut self, asked: Vec<Question>) {
        if asked.len() >= QUESTIONS_MIN {
            self.before = std::mem::replace(&mut self.last, asked);
        }
    }

    /// Forgets everything, because a guess did harm.
    pub(super) fn forget(&mut self) {
        *self = Ahead::default();
    }

    /// What the next reading will ask if it goes on as the last two did; questions that only the last one asked are
    /// not among it.
    pub(super) fn guess(&self) -> Vec<Question> {
        let mut earlier: HashMap<String, Vec<Question>> = HashMap::new();
        for question in self.before.iter().rev() {
            earlier.entry(shape(&question.sql)).or_default().push(question.clone());
        }
        let mut guesses = Vec::new();
        for last in self.last.iter().take(QUESTIONS_MAX) {
            let before = earlier.get_mut(&shape(&last.sql)).and_then(Vec::pop);
            let Some(before) = before.filter(|before| before.text == last.text) else { continue };
            guesses.push(Question { sql: further(&before.sql, &last.sql), text: last.text.clone() });
        }
        guesses
    }
}

/// A part of a query: a whole number, or what is between two of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part<'a> {
    Number(u64),
    Rest(&'a str),
}

/// The parts of a query. Digits in names are no numbers.
fn parts(sql: &str) -> Vec<Part<'_>> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || !byte.is_ascii() || b"_\"$".contains(&byte);
    let (bytes, mut parts, mut rest, mut at) = (sql.as_bytes(), Vec::new(), 0, 0);
    while at < bytes.len() {
        let begins = bytes[at].is_ascii_digit() && (at == 0 || !is_word(bytes[at - 1]));
        let digits = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let ends = bytes.get(at + digits).is_none_or(|byte| !is_word(*byte));
        match sql.get(at..at + digits).map(str::parse) {
            Some(Ok(number)) if begins && ends => {
                parts.extend([Part::Rest(&sql[rest..at]), Part::Number(number)]);
                rest = at + digits;
            }
            _ => {}
        }
        at += digits.max(1);
    }
    parts.push(Part::Rest(&sql[rest..]));
    parts
}

/// A query without its numbers.
fn shape(sql: &str) -> String {
    let part = |part: Part<'_>| match part {
        Part::Number(_) => "0".to_owned(),
        Part::Rest(rest) => rest.to_owned(),
    };
    parts(sql).into_iter().map(part).collect()
}

/// The query that follows two of the same shape.
fn further(before: &str, last: &str) -> String {
    let part = |(before, last): (Part<'_>, Part<'_>)| match (before, last) {
        (Part::Number(before), Part::Number(last)) => (last.saturating_add(last.saturating_sub(before))).to_string(),
        (_, Part::Number(last)) => last.to_string(),
        (_, Part::Rest(rest)) => rest.to_owned(),
    };
    parts(before).into_iter().zip(parts(last)).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(sql: impl Into<String>) -> Question {
        Question { sql: sql.into(), text: None }
    }

    /// What a poll from one snapshot to the next asks.
    fn poll(from: u64, file: u64) -> Vec<Question> {
        let to = from + 1;
        let mut asked = vec![
            question("SELECT max(snapshot_id) FROM \"s 1\".\"ducklake_snapshot\""),
            question(format!("SELECT a FROM f WHERE f.table_id = 7 AND id >= {file} AND begin_snapshot <= {to}")),
            question(format!("SELECT c FROM c WHERE begin_snapshot <= {to}")),
            question("SELECT c FROM c WHERE begin_snapshot <= 1"),
            question(format!("SELECT * FROM \"inlined_7_1\" WHERE (b > {from} AND b <= {to}) OR x IN (-1)")),
        ];
        asked.push(Question { sql: "SELECT to_regclass($1)".to_owned(), text: Some("t_7".to_owned()) });
        asked
    }

    #[test]
    fn numbers_go_on_as_they_did() {
        let mut ahead = Ahead::default();
        assert_eq!(ahead.guess(), []);
        ahead.learn(poll(16, 40));
        assert_eq!(ahead.guess(), [], "one reading says nothing of the next");
        ahead.learn(poll(17, 42));
        assert_eq!(ahead.guess(), poll(18, 44));
        ahead.learn(vec![question("SELECT 1")]);
        assert_eq!(ahead.guess(), poll(18, 44), "looks at the end are no pattern");
        ahead.learn(poll(9, 3));
        assert_eq!(ahead.guess(), poll(9, 3), "nothing is guessed backwards");
        ahead.forget();
        assert_eq!(ahead.guess(), []);
    }

    #[test]
    fn what_was_asked_once_is_not_guessed() {
        let mut ahead = Ahead::default();
        ahead.learn(poll(16, 40));
        let mut other = poll(17, 41);
        other.push(question("SELECT x FROM d WHERE id IN (1, 2)"));
        other[5].text = Some("t_8".to_owned());
        ahead.learn(other);
        assert_eq!(ahead.guess(), poll(18, 42)[..5]);
    }

    #[test]
    fn digits_in_names_are_no_numbers() {
        let sql = "SELECT t1.a_2, $3, 4 FROM \"5\" WHERE a=6 AND b IN (7,8) AND c = -9";
        let numbers = parts(sql).into_iter().filter_map(|part| match part {
            Part::Number(number) => Some(number),
            Part::Rest(_) => None,
        });
        assert_eq!(numbers.collect::<Vec<_>>(), [4, 6, 7, 8, 9]);
        assert_eq!(further(sql, sql), sql);
        assert_eq!(further("é 1 ü", "é 2 ü"), "é 3 ü");
        assert_eq!(further("a 1", "a 99999999999999999999"), "a 99999999999999999999");
    }
}
