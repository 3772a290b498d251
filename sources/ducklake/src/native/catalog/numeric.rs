//! PostgreSQL's NUMERIC in its binary format: digits to the base of ten thousand.

/// The number as text, exactly; `NaN` and infinities as PostgreSQL writes them. Nothing of other bytes.
pub fn text(raw: &[u8]) -> Option<String> {
    let mut words = raw.chunks_exact(2).map(|pair| pair.try_into().map(u16::from_be_bytes).unwrap_or_default());
    let count = words.next()?;
    let weight = i32::from(words.next()?.cast_signed());
    let sign = words.next()?;
    let scale = usize::from(words.next()?);
    let negative = match sign {
        0x0000 => false,
        0x4000 => true,
        0xC000 => return Some("NaN".to_owned()),
        0xD000 => return Some("Infinity".to_owned()),
        0xF000 => return Some("-Infinity".to_owned()),
        _ => return None,
    };
    let digits: Vec<u16> = words.collect();
    if digits.len() != usize::from(count) || digits.iter().any(|digit| *digit > 9_999) {
        return None;
    }
    // The digit of this power of ten thousand; what is not stored is zero.
    let digit = |power: i32| usize::try_from(weight - power).ok().and_then(|at| digits.get(at)).copied().unwrap_or(0);
    let mut whole: String = (0..=weight.max(0)).rev().map(|power| format!("{:04}", digit(power))).collect();
    whole = whole.trim_start_matches('0').to_owned();
    if whole.is_empty() {
        whole.push('0');
    }
    let places = i32::try_from(scale.div_ceil(4)).ok()?;
    let mut fraction: String = (1..=places).map(|place| format!("{:04}", digit(-place))).collect();
    fraction.truncate(scale);
    let sign = if negative { "-" } else { "" };
    Some(if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
}

#[cfg(test)]
mod tests {
    use super::text;

    fn raw(weight: i16, sign: u16, scale: u16, digits: &[u16]) -> Vec<u8> {
        let count = u16::try_from(digits.len()).unwrap();
        let head = [count, weight.cast_unsigned(), sign, scale];
        head.iter().chain(digits).flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn numbers_are_exact() {
        for (weight, sign, scale, digits, expected) in [
            (0, 0, 0, &[][..], "0"),
            (0, 0, 3, &[], "0.000"),
            (0, 0, 3, &[1, 5000], "1.500"),
            (-1, 0x4000, 1, &[1000], "-0.1"),
            (-3, 0, 10, &[100], "0.0000000001"),
            (1, 0, 0, &[12], "120000"),
            (2, 0, 10, &[12, 3456, 7890, 123, 4567, 8900], "1234567890.0123456789"),
            (0, 0xC000, 0, &[], "NaN"),
            (0, 0xF000, 0, &[], "-Infinity"),
        ] {
            assert_eq!(text(&raw(weight, sign, scale, digits)).as_deref(), Some(expected));
        }
        assert_eq!(text(&[0, 1, 0]), None);
        assert_eq!(text(&raw(0, 0x1234, 0, &[1])), None);
        assert_eq!(text(&raw(0, 0, 0, &[10_000])), None);
    }
}
