//! Single values as order-preserving words.

use crate::KeyMode;

const SIGN: u64 = 1 << 63;

/// A value that fits one word; comparing words compares values as SQL does.
pub(crate) trait Word: Copy {
    fn to_word(self, mode: KeyMode) -> u64;
    fn from_word(word: u64) -> Self;
}

macro_rules! signed {
    ($($type:ty),*) => {$(
        impl Word for $type {
            #[inline]
            fn to_word(self, _: KeyMode) -> u64 {
                (i64::from(self) as u64) ^ SIGN
            }

            #[inline]
            fn from_word(word: u64) -> Self {
                (word ^ SIGN) as i64 as $type
            }
        }
    )*};
}

macro_rules! unsigned {
    ($($type:ty),*) => {$(
        impl Word for $type {
            #[inline]
            fn to_word(self, _: KeyMode) -> u64 {
                u64::from(self)
            }

            #[inline]
            fn from_word(word: u64) -> Self {
                word as $type
            }
        }
    )*};
}

signed!(i8, i16, i32, i64);
unsigned!(u8, u16, u32, u64);

impl Word for f64 {
    /// NaN is one value and the greatest, as in DuckDB. −0.0 comes just before 0.0 and is 0.0 in
    /// canonical keys.
    #[inline]
    fn to_word(self, mode: KeyMode) -> u64 {
        let bits = if self.is_nan() {
            f64::NAN.to_bits() & !SIGN
        } else if mode == KeyMode::Canonical {
            (self + 0.0).to_bits()
        } else {
            self.to_bits()
        };
        // Negative floats: all bits flipped, so that greater magnitudes come first.
        bits ^ (((bits as i64) >> 63) as u64 | SIGN)
    }

    #[inline]
    fn from_word(word: u64) -> Self {
        f64::from_bits(if word & SIGN == 0 { !word } else { word ^ SIGN })
    }
}

/// The words of a float as they compare: those of 0.0 for a zero of either sign. Exact rows keep the sign.
#[inline]
pub fn one_zero(float: &[u64]) -> &[u64] {
    const ZERO: u64 = SIGN;
    const NEGATIVE_ZERO: u64 = !SIGN;
    if float == [NEGATIVE_ZERO] { &[ZERO] } else { float }
}

impl Word for f32 {
    /// Widening keeps value, order and the sign of zero.
    #[inline]
    fn to_word(self, mode: KeyMode) -> u64 {
        f64::from(self).to_word(mode)
    }

    #[inline]
    fn from_word(word: u64) -> Self {
        f64::from_word(word) as f32
    }
}

/// Compiles the code once for every Arrow type whose values are a [`Word`]; booleans and decimals
/// of 128 bits have their own ways.
macro_rules! with_word_type {
    ($data_type:expr, $T:ident => $code:expr) => {{
        use arrow::datatypes as types;
        use arrow::datatypes::{DataType, TimeUnit};
        macro_rules! with {
            ($type:ident) => {{
                type $T = types::$type;
                $code
            }};
        }
        match $data_type {
            DataType::Int8 => with!(Int8Type),
            DataType::Int16 => with!(Int16Type),
            DataType::Int32 => with!(Int32Type),
            DataType::Int64 => with!(Int64Type),
            DataType::UInt8 => with!(UInt8Type),
            DataType::UInt16 => with!(UInt16Type),
            DataType::UInt32 => with!(UInt32Type),
            DataType::UInt64 => with!(UInt64Type),
            DataType::Float32 => with!(Float32Type),
            DataType::Float64 => with!(Float64Type),
            DataType::Date32 => with!(Date32Type),
            DataType::Date64 => with!(Date64Type),
            DataType::Time32(TimeUnit::Second) => with!(Time32SecondType),
            DataType::Time32(_) => with!(Time32MillisecondType),
            DataType::Time64(TimeUnit::Microsecond) => with!(Time64MicrosecondType),
            DataType::Time64(_) => with!(Time64NanosecondType),
            DataType::Timestamp(TimeUnit::Second, _) => with!(TimestampSecondType),
            DataType::Timestamp(TimeUnit::Millisecond, _) => with!(TimestampMillisecondType),
            DataType::Timestamp(TimeUnit::Microsecond, _) => with!(TimestampMicrosecondType),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => with!(TimestampNanosecondType),
            DataType::Duration(TimeUnit::Second) => with!(DurationSecondType),
            DataType::Duration(TimeUnit::Millisecond) => with!(DurationMillisecondType),
            DataType::Duration(TimeUnit::Microsecond) => with!(DurationMicrosecondType),
            DataType::Duration(TimeUnit::Nanosecond) => with!(DurationNanosecondType),
            DataType::Decimal32(..) => with!(Decimal32Type),
            DataType::Decimal64(..) => with!(Decimal64Type),
            other => unreachable!("{other} is not kept in one word"),
        }
    }};
}
pub(crate) use with_word_type;

/// 128-bit integers as two words.
#[inline]
pub(crate) fn write_i128(value: i128, out: &mut [u64]) {
    out[0] = ((value >> 64) as u64) ^ SIGN;
    out[1] = value as u64;
}

/// The inverse of [`write_i128`].
#[inline]
pub(crate) fn read_i128(high: u64, low: u64) -> i128 {
    (i128::from((high ^ SIGN) as i64) << 64) | i128::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_of_both_signs_compare_as_one() {
        let word = |value: f64| value.to_word(KeyMode::Exact);
        for zero in [0.0, -0.0] {
            assert_eq!(one_zero(&[word(zero)]), [word(0.0)]);
            assert_eq!(f64::from_word(word(zero)).to_bits(), f64::to_bits(zero), "the row keeps the sign");
        }
        for value in [f64::NEG_INFINITY, -1.5, -5e-324, 5e-324, 2.0, f64::INFINITY, f64::NAN] {
            assert_eq!(one_zero(&[word(value)]), [word(value)]);
        }
        assert_eq!(word(-0.0), !SIGN);
        assert!(one_zero(&[]).is_empty());
    }
}
