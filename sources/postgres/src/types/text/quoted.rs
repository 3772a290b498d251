//! Pieces of nested values, quoted or not.

/// The text of one element, attribute or hstore value within the text around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Piece<'a> {
    Null,
    /// The value's own text.
    Plain(&'a [u8]),
    /// What stands between quotes and has escapes in it.
    Escaped(&'a [u8]),
}

impl<'a> Piece<'a> {
    /// The value's own text, for which `room` is used where escapes must go; None if NULL.
    pub(in super::super) fn text<'b>(self, room: &'b mut Vec<u8>) -> Option<&'b [u8]>
    where
        'a: 'b,
    {
        match self {
            Piece::Null => None,
            Piece::Plain(text) => Some(text),
            Piece::Escaped(text) => {
                unescape(text, room);
                Some(room)
            }
        }
    }

    /// The piece whose opening quote has been read, and what follows its closing quote. Within
    /// quotes a backslash escapes the byte after it; `quotes` says whether two quotes also mean
    /// one, as in composites.
    pub(super) fn quoted(text: &'a [u8], quotes: Quotes) -> Option<(Self, &'a [u8])> {
        let (mut at, mut escapes) = (0, false);
        loop {
            at += text[at..].iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
            if text[at] == b'\\' || (quotes == Quotes::MayBeDoubled && text.get(at + 1) == Some(&b'"')) {
                if at + 2 > text.len() {
                    return None;
                }
                escapes = true;
                at += 2;
            } else {
                let inner = &text[..at];
                return Some((if escapes { Piece::Escaped(inner) } else { Piece::Plain(inner) }, &text[at + 1..]));
            }
        }
    }

    /// The piece without quotes that goes on until a comma or `close`, and the rest, which begins
    /// with that one. Bytes for which PostgreSQL would have used quotes are refused: quotes,
    /// backslashes, and the brackets of the value around, but not those of other values.
    pub(super) fn unquoted(text: &'a [u8], open: u8, close: u8) -> Option<(&'a [u8], &'a [u8])> {
        let end = text.iter().position(|byte| *byte == b',' || *byte == close)?;
        let (piece, rest) = text.split_at(end);
        let plain = !piece.iter().any(|byte| matches!(byte, b'"' | b'\\') || *byte == open);
        plain.then_some((piece, rest))
    }
}

/// Whether two quotes within quotes mean one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Quotes {
    Single,
    MayBeDoubled,
}

/// Drops the first byte of each escape, which is a backslash or the first of two quotes.
fn unescape(text: &[u8], room: &mut Vec<u8>) {
    room.clear();
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) {
        room.extend_from_slice(&rest[..at]);
        room.extend(rest.get(at + 1));
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    room.extend_from_slice(rest);
}
