//! Truth values, whole and binary floating-point numbers.

use std::str::FromStr;

use super::super::error::Fault;

const NOT_A_BOOL: Fault = Fault::Malformed("a bool is neither t nor f");
const NOT_AN_INTEGER: Fault = Fault::Malformed("an integer is not made of digits, or is out of its type's range");
const NOT_A_FLOAT: Fault = Fault::Malformed("a floating-point number is not one");

pub(in super::super) fn boolean(text: &[u8]) -> Result<bool, Fault> {
    match text {
        b"t" => Ok(true),
        b"f" => Ok(false),
        _ => Err(NOT_A_BOOL),
    }
}

/// A number with or without `-`, in the range of `N`.
#[inline]
pub(in super::super) fn signed<N: TryFrom<i64>>(text: &[u8]) -> Result<N, Fault> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let magnitude = magnitude(digits)?;
    let number = if negative { 0i64.checked_sub_unsigned(magnitude) } else { 0i64.checked_add_unsigned(magnitude) };
    number.and_then(|number| N::try_from(number).ok()).ok_or(NOT_AN_INTEGER)
}

/// A number without sign, in the range of `N`.
#[inline]
pub(in super::super) fn unsigned<N: TryFrom<u64>>(text: &[u8]) -> Result<N, Fault> {
    N::try_from(magnitude(text)?).map_err(|_| NOT_AN_INTEGER)
}

#[inline]
fn magnitude(digits: &[u8]) -> Result<u64, Fault> {
    if digits.is_empty() || digits.len() > 20 {
        return Err(NOT_AN_INTEGER);
    }
    let (safe, rest) = digits.split_at(digits.len().min(19));
    let mut number = 0u64;
    for digit in safe {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return Err(NOT_AN_INTEGER);
        }
        number = number * 10 + u64::from(digit);
    }
    for digit in rest {
        let digit = digit.wrapping_sub(b'0');
        let longer = if digit > 9 { None } else { number.checked_mul(10) };
        number = longer.and_then(|number| number.checked_add(u64::from(digit))).ok_or(NOT_AN_INTEGER)?;
    }
    Ok(number)
}

/// The shortest text that means the number, as `extra_float_digits` above zero asks for; also
/// `NaN`, `Infinity` and `-Infinity`.
pub(in super::super) fn float<F: FromStr>(text: &[u8]) -> Result<F, Fault> {
    let text = std::str::from_utf8(text).map_err(|_| NOT_A_FLOAT)?;
    text.parse().map_err(|_| NOT_A_FLOAT)
}

/// The double nearest to a numeric. A finite numeric never becomes infinite.
pub(in super::super) fn numeric_as_double(text: &[u8]) -> Result<f64, Fault> {
    let double: f64 = float(text)?;
    let written = |word: &[u8]| text == word;
    if double.is_infinite() && !written(b"Infinity") && !written(b"-Infinity") {
        return Err(Fault::Unrepresentable("a numeric is beyond the range of a DOUBLE"));
    }
    Ok(double)
}
