//! Arrays: `{1,2,NULL,"a \"b\" \\ c"}`, `{{1,2},{3,4}}`, `{}`, `[0:2]={1,2,3}`.

use super::super::error::Fault;
use super::quoted::{Piece, Quotes};

const NOT_AN_ARRAY: Fault = Fault::Malformed("an array has no braces, or they do not match");

/// An array's text, read from its first brace on.
pub(in super::super) struct ArrayText<'a> {
    rest: &'a [u8],
}

impl<'a> ArrayText<'a> {
    /// The bounds before `=` are passed over: lists count from one place.
    pub(in super::super) fn new(text: &'a [u8]) -> Result<Self, Fault> {
        let rest = match text {
            [b'[', bounded @ ..] => {
                let equals = bounded.iter().position(|byte| *byte == b'=').ok_or(NOT_AN_ARRAY)?;
                let bounds = bounded[..equals].iter();
                if !bounds.copied().all(|byte| matches!(byte, b'0'..=b'9' | b':' | b'-' | b'+' | b'[' | b']')) {
                    return Err(NOT_AN_ARRAY);
                }
                &bounded[equals + 1..]
            }
            plain => plain,
        };
        match rest {
            [b'{', .., b'}'] => Ok(ArrayText { rest }),
            _ => Err(NOT_AN_ARRAY),
        }
    }

    /// An array without elements is written alike whatever its dimensions.
    pub(in super::super) fn is_empty(&self) -> bool {
        self.rest == b"{}"
    }

    /// An element that begins with a brace is quoted, so the braces at the beginning tell.
    pub(in super::super) fn dimensions(&self) -> usize {
        self.rest.iter().take_while(|byte| **byte == b'{').count()
    }

    pub(in super::super) fn open(&mut self) -> Result<(), Fault> {
        let [b'{', rest @ ..] = self.rest else { return Err(NOT_AN_ARRAY) };
        self.rest = rest;
        Ok(())
    }

    /// Whether another element follows; else the brace is closed.
    pub(in super::super) fn goes_on(&mut self) -> Result<bool, Fault> {
        let [byte @ (b',' | b'}'), rest @ ..] = self.rest else { return Err(NOT_AN_ARRAY) };
        self.rest = rest;
        Ok(*byte == b',')
    }

    /// Only NULL itself is written NULL without quotes.
    pub(in super::super) fn element(&mut self) -> Result<Piece<'a>, Fault> {
        let (piece, rest) = match self.rest {
            [b'"', quoted @ ..] => Piece::quoted(quoted, Quotes::Single).ok_or(NOT_AN_ARRAY)?,
            unquoted => match Piece::unquoted(unquoted, b'{', b'}').ok_or(NOT_AN_ARRAY)? {
                ([], _) => return Err(NOT_AN_ARRAY),
                (text, rest) if text.eq_ignore_ascii_case(b"NULL") => (Piece::Null, rest),
                (text, rest) => (Piece::Plain(text), rest),
            },
        };
        self.rest = rest;
        Ok(piece)
    }

    pub(in super::super) fn end(&self) -> Result<(), Fault> {
        if self.rest.is_empty() { Ok(()) } else { Err(NOT_AN_ARRAY) }
    }
}
