//! Decimal numbers: numeric and money.

use std::ops::{Add, Mul};

use super::super::error::Fault;

const NOT_A_NUMERIC: Fault = Fault::Malformed("a numeric is not made of digits");
const NOT_FINITE: Fault = Fault::Unrepresentable("a numeric is NaN or infinite, which no DECIMAL is");
const TOO_LARGE: Fault = Fault::Unrepresentable("a numeric has more digits before the point than the DECIMAL");
const TOO_FINE: Fault = Fault::Unrepresentable("a numeric has more digits after the point than the DECIMAL");
const NOT_MONEY: Fault = Fault::Malformed("an amount of money is not written as lc_monetary=C writes it");

/// Digits that an `u64` always holds.
const SHORT: usize = 19;

/// The unscaled value of a numeric as a DECIMAL of this precision and scale, exactly. The text is
/// plain digits with at most one point: PostgreSQL writes no exponents.
pub(in super::super) fn numeric(text: &[u8], precision: u8, scale: u8) -> Result<i128, Fault> {
    let (negative, unsigned) = match text {
        b"NaN" | b"Infinity" | b"-Infinity" => return Err(NOT_FINITE),
        [b'-', unsigned @ ..] => (true, unsigned),
        unsigned => (false, unsigned),
    };
    let scale = usize::from(scale);
    let (whole, fraction) = match unsigned.iter().position(|byte| *byte == b'.') {
        Some(point) => (&unsigned[..point], &unsigned[point + 1..]),
        None => (unsigned, &[][..]),
    };
    let all_digits = |digits: &[u8]| digits.iter().all(u8::is_ascii_digit);
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return Err(NOT_A_NUMERIC);
    }
    let leading = whole.iter().take_while(|digit| **digit == b'0').count();
    let whole = &whole[leading..];
    if whole.len() + scale > usize::from(precision) {
        return Err(TOO_LARGE);
    }
    let (kept, beyond) = fraction.split_at(fraction.len().min(scale));
    if beyond.iter().any(|digit| *digit != b'0') {
        return Err(TOO_FINE);
    }
    let padding = scale - kept.len();
    let magnitude = if whole.len() + scale <= SHORT {
        i128::from(number_of::<u64>(whole, kept, padding))
    } else {
        number_of::<i128>(whole, kept, padding)
    };
    Ok(if negative { -magnitude } else { magnitude })
}

/// The number with these digits, followed by as many zeros. The caller has seen to it that `N` is
/// wide enough and that the digits are ones.
fn number_of<N: From<u8> + Mul<Output = N> + Add<Output = N>>(whole: &[u8], fraction: &[u8], zeros: usize) -> N {
    let mut number = N::from(0);
    for digit in whole.iter().chain(fraction) {
        number = number * N::from(10) + N::from(digit - b'0');
    }
    for _ in 0..zeros {
        number = number * N::from(10);
    }
    number
}

/// An amount in the currency's smallest unit, an `int8` in PostgreSQL: `-$1,234.56` is -123456.
/// The C locale always writes two digits after the point, whatever the currency has.
pub(in super::super) fn money(text: &[u8]) -> Result<i128, Fault> {
    let (negative, amount) = match text {
        [b'-', b'$', amount @ ..] => (true, amount),
        [b'$', amount @ ..] => (false, amount),
        _ => return Err(NOT_MONEY),
    };
    let [whole @ .., b'.', tens, ones] = amount else { return Err(NOT_MONEY) };
    let (mut units, mut digits) = (0i64, 0);
    for byte in whole.iter().chain([tens, ones]) {
        match byte {
            // Negative all along, since -2^63 has no positive counterpart.
            b'0'..=b'9' => {
                let longer = units.checked_mul(10).and_then(|units| units.checked_sub(i64::from(byte - b'0')));
                units = longer.ok_or(NOT_MONEY)?;
                digits += 1;
            }
            b',' => {}
            _ => return Err(NOT_MONEY),
        }
    }
    if digits < 3 || *tens == b',' || *ones == b',' {
        return Err(NOT_MONEY);
    }
    let units = i128::from(units);
    Ok(if negative { units } else { -units })
}
