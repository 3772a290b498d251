//! The pairs of an hstore: `"a"=>"1", "b"=>NULL`.

use super::super::error::Fault;
use super::quoted::{Piece, Quotes};

const NOT_AN_HSTORE: Fault = Fault::Malformed("an hstore is not made of \"key\"=>\"value\" pairs");

/// The pairs in the order in which they are written; ends after a fault.
pub(in super::super) struct HstorePairs<'a> {
    rest: &'a [u8],
}

impl<'a> HstorePairs<'a> {
    pub(in super::super) fn new(text: &'a [u8]) -> Self {
        HstorePairs { rest: text }
    }

    fn pair(&mut self) -> Option<(Piece<'a>, Piece<'a>)> {
        let (key, rest) = Piece::quoted(self.rest.strip_prefix(b"\"")?, Quotes::Single)?;
        let (value, rest) = match rest.strip_prefix(b"=>")? {
            [b'"', quoted @ ..] => Piece::quoted(quoted, Quotes::Single)?,
            unquoted => (Piece::Null, unquoted.strip_prefix(b"NULL")?),
        };
        self.rest = match rest {
            [] => rest,
            more => more.strip_prefix(b", ").filter(|more| !more.is_empty())?,
        };
        Some((key, value))
    }
}

impl<'a> Iterator for HstorePairs<'a> {
    type Item = Result<(Piece<'a>, Piece<'a>), Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let pair = self.pair();
        if pair.is_none() {
            self.rest = &[];
        }
        Some(pair.ok_or(NOT_AN_HSTORE))
    }
}
