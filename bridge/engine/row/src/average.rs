//! AVG as DuckDB computes it from an exact sum and a count, to the last bit.
//!
//! DuckDB 1.5.5 (`aggregate/algebraic/avg.cpp`) divides in three ways:
//!
//! | argument | sum | division |
//! | --- | --- | --- |
//! | TINYINT, SMALLINT, DECIMAL up to 4 digits | 64 bits | `double` |
//! | INTEGER, BIGINT, HUGEINT, wider DECIMAL | 128 bits | `long double`, then rounded to `double` |
//! | FLOAT, DOUBLE | `double` | `double` |
//!
//! The divisor is `count * 10^scale`, the power of ten being a `double`. On x86_64 a `long double`
//! has a significand of 64 bits; every step is rounded to it, and the quotient once more to 53 bits.

use std::cmp::Ordering;

/// AVG of TINYINT, SMALLINT and DECIMAL of up to 4 digits: `sum` is unscaled, `count` is positive.
pub fn average_narrow(sum: i64, count: u64, scale: u8) -> f64 {
    sum as f64 / (count as f64 * power_of_ten(scale))
}

/// AVG of INTEGER, BIGINT, HUGEINT and DECIMAL of more than 4 digits: `sum` is unscaled, `count`
/// is positive.
pub fn average_wide(sum: i128, count: u64, scale: u8) -> f64 {
    let (Some(dividend), Some(count)) =
        (Extended::from_integer(sum.unsigned_abs()), Extended::from_integer(count.into()))
    else {
        return if count == 0 { f64::NAN } else { 0.0 };
    };
    let quotient = dividend.divide(count.multiply(Extended::from_power_of_ten(scale))).to_double();
    if sum < 0 { -quotient } else { quotient }
}

/// AVG of FLOAT and DOUBLE.
pub fn average_double(sum: f64, count: u64) -> f64 {
    sum / count as f64
}

/// 10^scale as DuckDB converts its HUGEINT to `double`: both halves rounded, then their sum.
fn power_of_ten(scale: u8) -> f64 {
    let power = 10u128.pow(u32::from(scale));
    power as u64 as f64 + (power >> 64) as f64 * 18_446_744_073_709_551_616.0
}

/// A positive `long double`: `significand * 2^exponent`, the significand's highest bit set.
#[derive(Clone, Copy)]
struct Extended {
    significand: u64,
    exponent: i32,
}

impl Extended {
    /// The integer, rounded to 64 bits; `None` for zero.
    fn from_integer(value: u128) -> Option<Self> {
        (value != 0).then(|| Self::round(value, 0, false))
    }

    fn from_power_of_ten(scale: u8) -> Self {
        let bits = power_of_ten(scale).to_bits();
        let significand = bits & ((1 << 52) - 1) | 1 << 52;
        Self::round(significand.into(), (bits >> 52) as i32 - 1075, false)
    }

    /// `value * 2^exponent`, and something below one unit of `value` if `more`, rounded to the
    /// nearest, ties to even.
    fn round(value: u128, exponent: i32, more: bool) -> Self {
        let zeros = value.leading_zeros();
        let high = value << zeros;
        let significand = (high >> 64) as u64;
        let exponent = exponent + 64 - zeros as i32;
        let up = match (high as u64).cmp(&(1 << 63)) {
            Ordering::Less => false,
            Ordering::Equal => more || significand & 1 == 1,
            Ordering::Greater => true,
        };
        match significand.checked_add(u64::from(up)) {
            Some(significand) => Extended { significand, exponent },
            None => Extended { significand: 1 << 63, exponent: exponent + 1 },
        }
    }

    fn multiply(self, other: Self) -> Self {
        let product = u128::from(self.significand) * u128::from(other.significand);
        Self::round(product, self.exponent + other.exponent, false)
    }

    fn divide(self, other: Self) -> Self {
        let (dividend, divisor) = (u128::from(self.significand) << 64, u128::from(other.significand));
        // 64 or 65 bits; two more from the remainder make room for a tie.
        let (quotient, remainder) = (dividend / divisor, dividend % divisor);
        let (two_more, rest) = ((remainder << 2) / divisor, (remainder << 2) % divisor);
        Self::round(quotient << 2 | two_more, self.exponent - other.exponent - 66, rest != 0)
    }

    fn to_double(self) -> f64 {
        // Quotients of 128-bit integers are far from the ends of the exponent's range, and the
        // conversion of an integer rounds to nearest, ties to even.
        let scale = f64::from_bits(((1023 + self.exponent) as u64) << 52);
        self.significand as f64 * scale
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn plain_averages() {
        assert_eq!(average_wide(5, 3, 0), 5.0 / 3.0);
        assert_eq!(average_wide(-5, 3, 0), -5.0 / 3.0);
        assert_eq!(average_wide(0, 3, 2), 0.0);
        assert_eq!(average_narrow(-7, 2, 1), -0.35);
        assert_eq!(average_wide(i128::MIN, 1, 0), -(2f64.powi(127)));
        assert_eq!(average_wide(i128::MAX, 1, 0), 2f64.powi(127));
    }

    #[test]
    fn two_roundings_differ_from_one() {
        // A little above the middle between two doubles. The first rounding keeps the little in
        // the second case alone; without it the even neighbour is taken.
        let sum = ((1i128 << 53) + 1) * (1 << 12) + 1;
        assert_eq!(average_wide(sum, 1 << 12, 0), 9_007_199_254_740_992.0);
        let sum = ((1i128 << 53) + 1) * (1 << 10) + 1;
        assert_eq!(average_wide(sum, 1 << 10, 0), 9_007_199_254_740_994.0);
    }

    /// The 80 bits of a non-negative integer in a register of the x87.
    #[cfg(target_arch = "x86_64")]
    fn register(value: u64) -> [u8; 16] {
        let mut bytes = [0; 16];
        let zeros = value.leading_zeros();
        if value != 0 {
            bytes[..8].copy_from_slice(&(value << zeros).to_le_bytes());
            bytes[8..10].copy_from_slice(&(16383 + 63 - zeros as u16).to_le_bytes());
        }
        bytes
    }

    /// DuckDB's expressions on the processor's own `long double`.
    #[cfg(target_arch = "x86_64")]
    fn hardware(sum: i128, count: u64, scale: u8) -> f64 {
        let magnitude = sum.unsigned_abs();
        let (low, high) = (register(magnitude as u64), register((magnitude >> 64) as u64));
        let (count, two_64, power) = (register(count), 2f64.powi(64), power_of_ten(scale));
        let mut quotient = 0f64;
        // SAFETY: the pointers are valid for 10 and 8 bytes; the register stack is empty again at
        // the end.
        unsafe {
            std::arch::asm!(
                "fld tbyte ptr [{high}]",
                "fmul qword ptr [{two_64}]",
                "fld tbyte ptr [{low}]",
                "faddp st(1), st",
                "fld tbyte ptr [{count}]",
                "fmul qword ptr [{power}]",
                "fdivp st(1), st",
                "fstp qword ptr [{quotient}]",
                high = in(reg) high.as_ptr(),
                low = in(reg) low.as_ptr(),
                count = in(reg) count.as_ptr(),
                two_64 = in(reg) &raw const two_64,
                power = in(reg) &raw const power,
                quotient = in(reg) &raw mut quotient,
                out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
                out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
            );
        }
        if sum < 0 { -quotient } else { quotient }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn averages_are_those_of_the_hardware() {
        let seed: u64 = rand::random();
        let mut rng = StdRng::seed_from_u64(seed);
        for _ in 0..200_000 {
            let mut any = || rng.random::<i128>() >> rng.random_range(0..128);
            let (sum, count) = (any(), (any() as u64).max(1));
            // Sums next to a tie of the quotient, where a wrong rounding would show.
            let near = (sum >> 70).wrapping_mul(i128::from(count >> 10)).wrapping_add(any() >> 120);
            let scale = rng.random_range(0..39);
            for sum in [sum, near] {
                let expected = hardware(sum, count, scale);
                assert_eq!(average_wide(sum, count, scale).to_bits(), expected.to_bits(), "seed {seed}");
            }
        }
    }
}
