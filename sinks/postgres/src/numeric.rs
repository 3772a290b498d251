//! `numeric` in PostgreSQL's binary form: groups of four decimal digits, aligned at the point.
//!
//! Source: `numeric_recv` and `numeric_send` in PostgreSQL's `src/backend/utils/adt/numeric.c`.

use bytes::{BufMut, BytesMut};

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;

/// Appends `digits` with `scale` of them after the point.
pub(crate) fn write(digits: i128, scale: u8, out: &mut BytesMut) {
    let scale = u32::from(scale);
    let unit = 10_u128.pow(scale);
    let (mut whole, part) = (digits.unsigned_abs() / unit, digits.unsigned_abs() % unit);
    // 39 digits before the point and 38 after it, each side rounded up to groups.
    let mut groups = [0_u16; 20];
    let mut first = 10;
    while whole > 0 {
        first -= 1;
        groups[first] = (whole % 10_000) as u16;
        whole /= 10_000;
    }
    let mut end = 10;
    for group in 0..scale.div_ceil(4) {
        let left = scale - 4 * group;
        groups[end] = if left >= 4 {
            (part / 10_u128.pow(left - 4) % 10_000) as u16
        } else {
            (part % 10_u128.pow(left) * 10_u128.pow(4 - left)) as u16
        };
        end += 1;
    }
    while first < end && groups[end - 1] == 0 {
        end -= 1;
    }
    while first < end && groups[first] == 0 {
        first += 1;
    }
    let weight = if first == end { 0 } else { 9 - first as i16 };
    out.put_u16((end - first) as u16);
    out.put_i16(weight);
    out.put_u16(if digits < 0 { NEGATIVE } else { POSITIVE });
    out.put_u16(scale as u16);
    groups[first..end].iter().for_each(|group| out.put_u16(*group));
}

/// The digits of a number with `scale` of them after the point; `None` for what has no such digits.
pub(crate) fn read(bytes: &[u8], scale: u8) -> Option<i128> {
    let word = |at: usize| Some(u16::from_be_bytes(bytes.get(2 * at..2 * at + 2)?.try_into().ok()?));
    let (count, weight, sign) = (usize::from(word(0)?), i32::from(word(1)? as i16), word(2)?);
    if !matches!(sign, POSITIVE | NEGATIVE) {
        return None;
    }
    let mut digits = 0_i128;
    for group in 0..count {
        let exponent = 4 * (weight - i32::try_from(group).ok()?) + i32::from(scale);
        let value = i128::from(word(4 + group)?);
        let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
        digits = digits.checked_add(if exponent >= 0 {
            value.checked_mul(power)?
        } else if value % power == 0 {
            value / power
        } else {
            return None;
        })?;
    }
    Some(if sign == NEGATIVE { -digits } else { digits })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        let most = 99_999_999_999_999_999_999_999_999_999_999_999_999;
        let mut state = 1_u64;
        for scale in 0..=38 {
            let mut values = vec![0, 1, -1, 9_999, 10_000, -10_001, 123_456_789, 100_000_000, most, -most];
            for _ in 0..500 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let wide = i128::from(state) * i128::from(state >> 7) % most;
                values.push(wide >> (state % 120));
            }
            for digits in values {
                let mut bytes = BytesMut::new();
                write(digits, scale, &mut bytes);
                assert_eq!(read(&bytes, scale), Some(digits), "{digits} with scale {scale}");
                assert_eq!(bytes.len(), 8 + 2 * usize::from(u16::from_be_bytes([bytes[0], bytes[1]])));
            }
        }
    }

    #[test]
    fn the_form_is_postgres_own() {
        let mut bytes = BytesMut::new();
        write(-1_234_567_890, 5, &mut bytes);
        // -12345.67890
        assert_eq!(bytes[..], [0, 3, 0, 1, 0x40, 0, 0, 5, 0, 1, 9, 41, 26, 133][..]);
        assert_eq!(read(&[0, 0, 0, 0, 0xc0, 0, 0, 0], 2), None, "not a number");
        assert_eq!(read(&[0, 1, 0xff, 0xff, 0, 0, 0, 2, 0, 1], 2), None, "0.0001 has four digits after the point");
    }
}
