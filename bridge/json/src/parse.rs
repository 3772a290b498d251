//! JSON text as a tree whose numbers stay text: nobody rounds them on the way.

use std::borrow::Cow;

/// A value. Objects keep the order of their members.
#[derive(Debug, Clone, PartialEq)]
pub enum Json<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as it is written.
    Number(&'a str),
    /// A string, unescaped.
    String(Cow<'a, str>),
    /// An array.
    Array(Vec<Json<'a>>),
    /// An object.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

/// A text that is not one JSON value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not JSON at byte {at}")]
pub struct NotJson {
    /// Where the text goes wrong.
    pub at: usize,
}

/// How deep values may be nested: no view's type is, and the parser calls itself.
const DEPTH_MAX: usize = 128;

/// Reads one value; blanks around it are allowed.
pub fn parse(text: &str) -> Result<Json<'_>, NotJson> {
    let mut parser = Parser { text, at: 0 };
    let value = parser.value(0)?;
    parser.skip_blanks();
    if parser.at == text.len() { Ok(value) } else { Err(parser.wrong()) }
}

impl<'a> Json<'a> {
    /// A member of an object.
    pub fn get(&self, name: &str) -> Option<&Json<'a>> {
        match self {
            Json::Object(members) => members.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Json::String(text) => Some(text),
            _ => None,
        }
    }

    /// The elements of an array.
    pub fn as_array(&self) -> Option<&[Json<'a>]> {
        match self {
            Json::Array(values) => Some(values),
            _ => None,
        }
    }

    /// A number that is a `u64`.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Json::Number(text) => text.parse().ok(),
            _ => None,
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn value(&mut self, depth: usize) -> Result<Json<'a>, NotJson> {
        self.skip_blanks();
        if depth > DEPTH_MAX {
            return Err(self.wrong());
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Json::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            _ => Err(self.wrong()),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json<'a>, NotJson> {
        let mut members = Vec::new();
        self.at += 1;
        self.skip_blanks();
        if self.accept(b'}') {
            return Ok(Json::Object(members));
        }
        loop {
            self.skip_blanks();
            if self.peek() != Some(b'"') {
                return Err(self.wrong());
            }
            let name = self.string()?;
            self.skip_blanks();
            self.expect(b':')?;
            members.push((name, self.value(depth + 1)?));
            self.skip_blanks();
            if self.accept(b'}') {
                return Ok(Json::Object(members));
            }
            self.expect(b',')?;
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json<'a>, NotJson> {
        let mut values = Vec::new();
        self.at += 1;
        self.skip_blanks();
        if self.accept(b']') {
            return Ok(Json::Array(values));
        }
        loop {
            values.push(self.value(depth + 1)?);
            self.skip_blanks();
            if self.accept(b']') {
                return Ok(Json::Array(values));
            }
            self.expect(b',')?;
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, NotJson> {
        self.at += 1;
        let start = self.at;
        let end = self.run();
        if self.accept(b'"') {
            return Ok(Cow::Borrowed(&self.text[start..end]));
        }
        let mut text = self.text[start..end].to_owned();
        loop {
            self.expect(b'\\')?;
            let escape = self.peek().ok_or(self.wrong())?;
            self.at += 1;
            text.push(match escape {
                b'"' | b'\\' | b'/' => char::from(escape),
                b'n' => '\n',
                b'r' => '\r',
                b't' => '\t',
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                b'u' => self.unicode()?,
                _ => return Err(self.wrong()),
            });
            let from = self.at;
            let to = self.run();
            text.push_str(&self.text[from..to]);
            if self.accept(b'"') {
                return Ok(Cow::Owned(text));
            }
        }
    }

    /// Skips characters that stand for themselves.
    fn run(&mut self) -> usize {
        let plain = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().position(|byte| !plain(byte)).unwrap_or(rest.len());
        self.at
    }

    fn unicode(&mut self) -> Result<char, NotJson> {
        let first = self.hexadecimal()?;
        let code = if (0xd800..0xdc00).contains(&first) {
            self.expect(b'\\')?;
            self.expect(b'u')?;
            let second = self.hexadecimal()?;
            if !(0xdc00..0xe000).contains(&second) {
                return Err(self.wrong());
            }
            0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
        } else {
            first
        };
        char::from_u32(code).ok_or(self.wrong())
    }

    fn hexadecimal(&mut self) -> Result<u32, NotJson> {
        let digits = self.text.get(self.at..self.at + 4).ok_or(self.wrong())?;
        let code = u32::from_str_radix(digits, 16).map_err(|_| self.wrong())?;
        self.at += 4;
        Ok(code)
    }

    fn number(&mut self) -> Result<Json<'a>, NotJson> {
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| !c.is_ascii_digit() && !"+-.eE".contains(c)).unwrap_or(rest.len());
        let number = &rest[..end];
        // What is nearly a number is refused where it becomes a value of a column.
        if number.parse::<f64>().is_err() {
            return Err(self.wrong());
        }
        self.at += end;
        Ok(Json::Number(number))
    }

    fn word(&mut self, word: &str, value: Json<'a>) -> Result<Json<'a>, NotJson> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.wrong());
        }
        self.at += word.len();
        Ok(value)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn accept(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), NotJson> {
        if self.accept(byte) { Ok(()) } else { Err(self.wrong()) }
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn wrong(&self) -> NotJson {
        NotJson { at: self.at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write_string;

    #[test]
    fn values_of_every_kind() {
        let text = r#" {"a": [1, -2.5e10, "x\n\"\u00e9\ud83e\udd86\/"], "b": {"c": null}, "d": [true, false], "e": {}, "f": []} "#;
        let json = parse(text).unwrap();
        let a = json.get("a").unwrap().as_array().unwrap();
        assert_eq!((a[0].as_u64(), &a[1]), (Some(1), &Json::Number("-2.5e10")));
        assert_eq!(a[2].as_str(), Some("x\n\"é🦆/"));
        assert_eq!(json.get("b").unwrap().get("c"), Some(&Json::Null));
        assert_eq!(json.get("f"), Some(&Json::Array(Vec::new())));
    }

    #[test]
    fn strings_come_back() {
        for text in ["", "plain", "\"\\\u{0}\u{1f}\u{7f}\n\r\t", "🦆é", "a\u{2028}b"] {
            let mut written = String::new();
            write_string(text, &mut written);
            assert_eq!(parse(&written).unwrap().as_str(), Some(text), "{written}");
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        let deep = "[".repeat(100_000);
        let wrong = [
            "",
            "{",
            "[1,]",
            "{\"a\"}",
            "{\"a\":1,}",
            "{a:1}",
            "nul",
            "1 2",
            "\"",
            "\"\\x\"",
            "\"\\ud800\"",
            "-",
            "1.2.3",
            "\"a\nb\"",
            "\u{0}",
            "\"\\u00g0\"",
            "\"\\u00é\"",
            &deep,
        ];
        for text in wrong {
            assert!(parse(text).is_err(), "{}", &text[..text.len().min(20)]);
        }
    }
}
