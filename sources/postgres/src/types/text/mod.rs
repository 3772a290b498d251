//! How PostgreSQL writes values, one file a kind of value. Nothing here allocates for a value.

pub(super) mod array;
pub(super) mod binary;
pub(super) mod composite;
pub(super) mod date;
pub(super) mod decimal;
pub(super) mod hstore;
pub(super) mod interval;
pub(super) mod number;
pub(super) mod quoted;
pub(super) mod timestamp;

use super::error::Fault;

/// Checks that a value is UTF-8, which the session's encoding promises.
pub(super) fn utf8(text: &[u8]) -> Result<&[u8], Fault> {
    match std::str::from_utf8(text) {
        Ok(_) => Ok(text),
        Err(_) => Err(Fault::Malformed("the text is not UTF-8")),
    }
}

/// The value of two digits.
pub(super) fn two_digits(tens: u8, ones: u8) -> Option<u8> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| tens * 10 + ones)
}

/// Up to six digits of a fraction, as millionths.
pub(super) fn micros_of_fraction(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || digits.len() > 6 {
        return None;
    }
    let mut micros = 0;
    for at in 0..6 {
        let digit = digits.get(at).map_or(0, |digit| digit.wrapping_sub(b'0'));
        if digit > 9 {
            return None;
        }
        micros = micros * 10 + u32::from(digit);
    }
    Some(micros)
}
