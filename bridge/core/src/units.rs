//! Durations and sizes as people write them in a pipeline file: `200ms`, `1s`, `7d`; `4GiB`, `500MB`. A whole
//! number and a unit, whose letter case does not count; and sizes as people read them.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

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

/// A duration in whole milliseconds; `None` where the text is not one.
pub fn duration(text: &str) -> Option<Duration> {
    scaled(text, DURATIONS).map(Duration::from_millis)
}

/// A size in bytes, at least one; `None` where the text is not one.
pub fn size(text: &str) -> Option<u64> {
    scaled(text, SIZES).filter(|bytes| *bytes > 0)
}

/// [`duration`] as a connector's configuration reads it, for `#[serde(deserialize_with = …)]`.
pub fn deserialize_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    duration(&text).ok_or_else(|| {
        de::Error::custom(format!("`{text}` is not a duration: write for example \"200ms\", \"1s\" or \"5m\""))
    })
}

/// [`deserialize_duration`] of a key without a default; with `#[serde(default)]`, a key that is absent is `None`.
pub fn deserialize_some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    deserialize_duration(deserializer).map(Some)
}

/// [`size`] as a connector's configuration reads it, for `#[serde(deserialize_with = …)]`.
pub fn deserialize_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    size(&text).ok_or_else(|| {
        de::Error::custom(format!("`{text}` is not a size: write for example \"64MiB\", \"1GB\" or \"10GiB\""))
    })
}

/// A number of bytes as people read it, in binary units: `1.5 GiB`.
pub fn size_text(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut amount, mut unit) = (bytes as f64, 0);
    while amount >= 1024.0 && unit + 1 < units.len() {
        amount /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{amount:.1} {}", units[unit]) }
}

/// A duration as people read it, in its two largest units: `3 h 10 min`.
pub fn duration_text(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds == 0 {
        return format!("{} ms", time.as_millis());
    }
    let units = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];
    let first = units.iter().position(|(_, size)| seconds >= *size).unwrap_or(units.len() - 1);
    let (mut rest, mut parts) = (seconds, Vec::new());
    for (name, size) in units.iter().skip(first).take(2) {
        if rest >= *size {
            parts.push(format!("{} {name}", rest / size));
        }
        rest %= size;
    }
    parts.join(" ")
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
        assert_eq!(duration("200ms"), Some(Duration::from_millis(200)));
        assert_eq!(duration(" 90 s "), Some(Duration::from_secs(90)));
        assert_eq!(duration("5m"), duration("5 min"));
        assert_eq!(duration("7d"), Some(Duration::from_secs(7 * 86_400)));
        assert_eq!(duration("0s"), Some(Duration::ZERO));
        for text in ["", "5", "s", "-1s", "1.5s", "1 fortnight", "99999999999999999999s", "999999999999999999d"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn durations_for_people() {
        for (seconds, text) in [
            (1, "1 s"),
            (60, "1 min"),
            (11_405, "3 h 10 min"),
            (7_205, "2 h"),
            (86_399, "23 h 59 min"),
            (90_000, "1 d 1 h"),
            (86_401 * 400, "400 d"),
        ] {
            assert_eq!(duration_text(Duration::from_secs(seconds)), text);
        }
        assert_eq!([0, 999].map(|ms| duration_text(Duration::from_millis(ms))), ["0 ms", "999 ms"]);
    }

    #[test]
    fn sizes() {
        assert_eq!(size("4GiB"), Some(4 << 30));
        assert_eq!(size("500 mb"), Some(500_000_000));
        for text in ["", "0B", "4", "4G", "GiB", "-4GiB"] {
            assert_eq!(size(text), None, "{text}");
        }
        assert_eq!([0, 1023, 1024, 1_610_612_736].map(size_text), ["0 B", "1023 B", "1.0 KiB", "1.5 GiB"]);
        assert_eq!(size_text(1 << 50), "1024.0 TiB");
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Keys {
        #[serde(deserialize_with = "deserialize_duration")]
        every: Duration,
        #[serde(default, deserialize_with = "deserialize_some_duration")]
        at_most: Option<Duration>,
        #[serde(deserialize_with = "deserialize_size")]
        buffer: u64,
    }

    #[test]
    fn a_configuration_reads_them_and_its_refusals_show_how_to_write_them() {
        let read = |json| serde_json::from_str::<Keys>(json).map_err(|error| error.to_string());
        let (every, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let keys = read(r#"{"every": "1s", "buffer": "1KiB"}"#).unwrap();
        assert_eq!(keys, Keys { every, at_most: None, buffer: 1024 });
        let keys = read(r#"{"every": "1s", "at_most": "1m", "buffer": "1KiB"}"#).unwrap();
        assert_eq!(keys, Keys { every, at_most: Some(minute), buffer: 1024 });
        for (json, says) in [
            (r#"{"every": "soon", "buffer": "1KiB"}"#, "`soon` is not a duration: write for example \"200ms\""),
            (r#"{"every": "1s", "at_most": "2", "buffer": "1KiB"}"#, "`2` is not a duration"),
            (r#"{"every": "1s", "buffer": "much"}"#, "`much` is not a size: write for example \"64MiB\""),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(says), "{json}: {error}");
        }
    }
}
