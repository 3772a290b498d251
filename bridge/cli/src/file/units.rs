//! Durations and sizes as people write them: `200ms`, `1s`, `7d`; `4GiB`, `500MB`.

use std::time::Duration;

const DURATIONS: &[(&str, u64)] =
    &[("ms", 1), ("s", 1_000), ("m", 60_000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// A duration in whole milliseconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    scaled(text, DURATIONS).map(Duration::from_millis).ok_or_else(|| {
        format!("`{text}` is not a duration: write a number and ms, s, m, h or d, for example \"200ms\"")
    })
}

/// A size in bytes.
pub fn size(text: &str) -> Result<u64, String> {
    scaled(text, SIZES).filter(|bytes| *bytes > 0).ok_or_else(|| {
        format!("`{text}` is not a size: write a number and B, MB, GB, MiB, GiB or the like, for example \"4GiB\"")
    })
}

/// A whole number followed by a unit.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let unit = text[digits..].trim_start();
    let (_, factor) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    text[..digits].parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("200ms").unwrap(), Duration::from_millis(200));
        assert_eq!(duration(" 90 s ").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("7d").unwrap(), Duration::from_secs(7 * 86_400));
        assert_eq!(duration("0s").unwrap(), Duration::ZERO);
        for text in ["", "5", "s", "-1s", "1.5s", "1 fortnight", "99999999999999999999s", "999999999999999999d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(size("4GiB").unwrap(), 4 << 30);
        assert_eq!(size("500 mb").unwrap(), 500_000_000);
        for text in ["", "0B", "4", "4G", "GiB", "-4GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
