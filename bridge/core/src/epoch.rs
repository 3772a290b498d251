//! Epochs: the unit of work and the version number of every output.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Frontier;

/// One committed step of a pipeline. Grows by one; epoch 1 is the initial load, and 0 stands for
/// "nothing yet".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// Before the first epoch.
    pub const ZERO: Epoch = Epoch(0);

    /// The epoch after this one.
    #[must_use]
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }

    /// The epoch as 20 digits, as it stands in file names: sorts as text the way it sorts as a
    /// number, for every `u64`.
    pub fn digits(self) -> String {
        format!("{:020}", self.0)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Micros(pub i64);

impl Micros {
    /// So much earlier, as far as it can be said.
    pub fn before(self, time: Duration) -> Micros {
        Micros(self.0.saturating_sub(i64::try_from(time.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The time from an earlier moment to this one; nothing where that one is later.
    pub fn since(self, earlier: Micros) -> Option<Duration> {
        self.0.checked_sub(earlier.0).and_then(|micros| u64::try_from(micros).ok()).map(Duration::from_micros)
    }
}

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match chrono::DateTime::from_timestamp_micros(self.0) {
            Some(time) => write!(f, "{}", time.format("%Y-%m-%dT%H:%M:%S%.6fZ")),
            None => write!(f, "{}us", self.0),
        }
    }
}

/// The hash of an epoch: BLAKE3 over the hash of the epoch before it and everything that
/// determines this one (frontier, time, events). Two epochs with equal number and hash hold the
/// same changes; equal numbers alone say nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct EpochHash(pub [u8; 32]);

impl fmt::Display for EpochHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for EpochHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EpochHash({self})")
    }
}

/// A text that is not 64 hexadecimal digits.
#[derive(Debug, thiserror::Error)]
#[error("an epoch hash is 64 hexadecimal digits")]
pub struct ParseEpochHashError;

impl FromStr for EpochHash {
    type Err = ParseEpochHashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(ParseEpochHashError);
        }
        let mut hash = [0u8; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| ParseEpochHashError)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| ParseEpochHashError)?;
        }
        Ok(EpochHash(hash))
    }
}

impl Serialize for EpochHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EpochHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What identifies an epoch wherever it is written: in the log, in the sinks, in file metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochHeader {
    /// The number.
    pub epoch: Epoch,
    /// The chained hash.
    pub hash: EpochHash,
    /// Up to where each source has been read when this epoch is applied.
    pub frontier: Frontier,
    /// Epoch time: `max(previous + 1 µs, latest source commit in the epoch)`. Monotone whatever
    /// the sources' clocks do.
    pub time: Micros,
    /// The latest source commit of this epoch and all before it, by the sources' clocks: what a moment is compared with. It
    /// never decreases. `None` where no source has said when anything was committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_commit: Option<Micros>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_round_trips_through_text() {
        let hash = EpochHash(*blake3::hash(b"tide").as_bytes());
        assert_eq!(hash.to_string().parse::<EpochHash>().unwrap(), hash);
        assert!("12".parse::<EpochHash>().is_err());
        assert!("é".repeat(32).parse::<EpochHash>().is_err());
    }

    #[test]
    fn digits_sort_like_numbers() {
        let mut epochs = [Epoch(10), Epoch(9), Epoch(u64::MAX)];
        epochs.sort_by_key(|e| e.digits());
        assert_eq!(epochs, [Epoch(9), Epoch(10), Epoch(u64::MAX)]);
    }
}
