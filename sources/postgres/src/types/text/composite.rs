//! Composites: `(1,"a ""b""",,)`.

use super::super::error::Fault;
use super::quoted::{Piece, Quotes};

const NOT_A_COMPOSITE: Fault =
    Fault::Malformed("a composite has no parentheses, or not as many attributes as its type");

/// A composite's text, read attribute by attribute.
pub(in super::super) struct CompositeText<'a> {
    rest: &'a [u8],
    /// What stands before the next attribute.
    separator: u8,
}

impl<'a> CompositeText<'a> {
    pub(in super::super) fn new(text: &'a [u8]) -> Self {
        CompositeText { rest: text, separator: b'(' }
    }

    /// Nothing at all is NULL; an empty text has quotes.
    pub(in super::super) fn attribute(&mut self) -> Result<Piece<'a>, Fault> {
        let after = match self.rest {
            [byte, after @ ..] if *byte == self.separator => after,
            _ => return Err(NOT_A_COMPOSITE),
        };
        self.separator = b',';
        let (piece, rest) = match after {
            [b'"', quoted @ ..] => Piece::quoted(quoted, Quotes::MayBeDoubled).ok_or(NOT_A_COMPOSITE)?,
            unquoted => match Piece::unquoted(unquoted, b'(', b')') {
                Some(([], rest)) => (Piece::Null, rest),
                Some((text, rest)) => (Piece::Plain(text), rest),
                None => return Err(NOT_A_COMPOSITE),
            },
        };
        self.rest = rest;
        Ok(piece)
    }

    /// All attributes must have been read.
    pub(in super::super) fn end(&self) -> Result<(), Fault> {
        if self.rest == b")" { Ok(()) } else { Err(NOT_A_COMPOSITE) }
    }
}
