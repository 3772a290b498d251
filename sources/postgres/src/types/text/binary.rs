//! Bytes, as either setting of `bytea_output` writes them.

use super::super::error::Fault;

const NOT_HEX: Fault = Fault::Malformed("a bytea is not made of pairs of hexadecimal digits");
const NOT_ESCAPED: Fault = Fault::Malformed("a bytea has a backslash that escapes nothing");

/// Adds the bytes of a bytea to `bytes`. The two forms cannot be confused: a backslash that is
/// data is doubled in the escaped form, so that `\x` begins the other one only.
pub(in super::super) fn bytea(text: &[u8], bytes: &mut Vec<u8>) -> Result<(), Fault> {
    match text {
        [b'\\', b'x', digits @ ..] => hex(digits, bytes),
        escaped => unescaped(escaped, bytes),
    }
}

fn hex(digits: &[u8], bytes: &mut Vec<u8>) -> Result<(), Fault> {
    let (pairs, []) = digits.as_chunks::<2>() else { return Err(NOT_HEX) };
    bytes.reserve(pairs.len());
    for [high, low] in pairs {
        let (high, low) = (NIBBLES[usize::from(*high)], NIBBLES[usize::from(*low)]);
        if high | low > 15 {
            return Err(NOT_HEX);
        }
        bytes.push(high << 4 | low);
    }
    Ok(())
}

/// The value of each hexadecimal digit; 255 for what is none.
const NIBBLES: [u8; 256] = {
    let mut nibbles = [255; 256];
    let mut value = 0;
    while value < 16 {
        nibbles[b"0123456789abcdef"[value] as usize] = value as u8;
        nibbles[b"0123456789ABCDEF"[value] as usize] = value as u8;
        value += 1;
    }
    nibbles
};

/// A backslash is doubled; bytes that are not printable are a backslash and three octal digits.
fn unescaped(mut text: &[u8], bytes: &mut Vec<u8>) -> Result<(), Fault> {
    while let [first, rest @ ..] = text {
        let (byte, rest) = match (first, rest) {
            (b'\\', [b'\\', rest @ ..]) => (b'\\', rest),
            (b'\\', [high @ b'0'..=b'3', middle @ b'0'..=b'7', low @ b'0'..=b'7', rest @ ..]) => {
                ((high - b'0') << 6 | (middle - b'0') << 3 | (low - b'0'), rest)
            }
            (b'\\', _) => return Err(NOT_ESCAPED),
            (byte, rest) => (*byte, rest),
        };
        bytes.push(byte);
        text = rest;
    }
    Ok(())
}
