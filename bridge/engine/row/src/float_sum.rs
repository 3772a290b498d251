//! Exact sums of floats.
//!
//! A finite float is an integer of 53 bits times a power of two. Its exponent falls into one of 64
//! buckets of 32 powers each, and the bucket keeps the sum of the integers, shifted to the bucket's
//! unit. Sums of integers are exact: neither order nor retraction changes the result, which is
//! rounded once, when it is read. NaN and the infinities are counted.

/// The unit of the first bucket is the least subnormal, 2^−1074.
const BUCKET_BITS: u32 = 32;
const BUCKETS: usize = 64;
const NAN: u32 = 64;
const INFINITY: u32 = 65;
const NEGATIVE_INFINITY: u32 = 66;

/// Bits of a float's fraction.
const FRACTION: u32 = f64::MANTISSA_DIGITS - 1;

/// The bucket of a value and the integer that it adds there; `None` for zeros.
#[inline]
pub(crate) fn split(value: f64) -> Option<(u32, i128)> {
    if !value.is_finite() {
        let bucket = match value {
            f64::INFINITY => INFINITY,
            f64::NEG_INFINITY => NEGATIVE_INFINITY,
            _ => NAN,
        };
        return Some((bucket, 1));
    }
    let bits = value.to_bits();
    let exponent = (bits >> FRACTION) as u32 & 0x7ff;
    let fraction = bits & ((1 << FRACTION) - 1);
    let mantissa = if exponent == 0 { fraction } else { fraction | 1 << FRACTION };
    let shift = exponent.max(1) - 1;
    let integer = i128::from(mantissa) << (shift % BUCKET_BITS);
    let signed = if value.is_sign_negative() { -integer } else { integer };
    (mantissa != 0).then_some((shift / BUCKET_BITS, signed))
}

/// The sum of the buckets, rounded to the nearest float, ties to even. Bucket sums are below 2^126.
pub(crate) fn join(buckets: impl Iterator<Item = (u32, i128)> + Clone) -> f64 {
    let has = |bucket| buckets.clone().any(|(found, count)| found == bucket && count != 0);
    match (has(NAN), has(INFINITY), has(NEGATIVE_INFINITY)) {
        (true, _, _) | (_, true, true) => return f64::NAN,
        (_, true, false) => return f64::INFINITY,
        (_, false, true) => return f64::NEG_INFINITY,
        (false, false, false) => {}
    }
    match magnitude(buckets.clone(), 1) {
        Some(digits) => round(&digits),
        None => match magnitude(buckets, -1) {
            Some(digits) => -round(&digits),
            None => unreachable!("an integer or its negation is not negative"),
        },
    }
}

/// Digits of 32 bits, the lowest first: room for the last bucket's 128 bits and a carry.
type Digits = [u32; BUCKETS + 5];

/// The digits of the sum times `sign`; `None` when that is negative.
fn magnitude(buckets: impl Iterator<Item = (u32, i128)>, sign: i128) -> Option<Digits> {
    let mut sums = [0i128; BUCKETS + 5];
    for (bucket, sum) in buckets {
        if let Some(place) = sums.get_mut(bucket as usize).filter(|_| (bucket as usize) < BUCKETS) {
            *place += sum * sign;
        }
    }
    let mut digits = [0; BUCKETS + 5];
    let mut carry = 0;
    for (digit, sum) in digits.iter_mut().zip(sums) {
        let total = sum + carry;
        *digit = total as u32;
        carry = total >> BUCKET_BITS;
    }
    (carry == 0).then_some(digits)
}

fn round(digits: &Digits) -> f64 {
    let Some(top) = digits.iter().rposition(|digit| *digit != 0) else { return 0.0 };
    // The three highest digits hold at least 65 bits, the rest only breaks ties.
    let digit = |index: usize| u128::from(digits[index]);
    let low = top.saturating_sub(2);
    let window = (low..=top).rev().fold(0u128, |window, index| window << BUCKET_BITS | digit(index));
    let below = digits[..low].iter().any(|digit| *digit != 0);
    let bits = u128::BITS - window.leading_zeros();
    let drop = bits.saturating_sub(f64::MANTISSA_DIGITS);
    let mut mantissa = (window >> drop) as u64;
    if drop > 0 {
        let rest = window & ((1 << drop) - 1);
        let half = 1 << (drop - 1);
        if rest > half || rest == half && (below || mantissa & 1 == 1) {
            mantissa += 1;
        }
    }
    // `mantissa` has 53 bits unless the sum is subnormal, and its highest bit adds one to the
    // exponent field; rounding up to 54 bits carries there on its own.
    let exponent = low as u64 * u64::from(BUCKET_BITS) + u64::from(drop);
    let bits = (exponent << FRACTION) + mantissa;
    f64::from_bits(bits.min(f64::INFINITY.to_bits()))
}
