//! Positions: how far one source has been read.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A DuckLake snapshot id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SnapshotId(pub u64);

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A PostgreSQL log sequence number, a byte position in the WAL. Its text form is
/// `XXXXXXXX/XXXXXXXX`, two hexadecimal numbers without leading zeros (`pg_lsn`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// A text that is not an LSN.
#[derive(Debug, thiserror::Error)]
#[error("an LSN looks like 0/16A4F08")]
pub struct ParseLsnError;

impl FromStr for Lsn {
    type Err = ParseLsnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (high, low) = text.split_once('/').ok_or(ParseLsnError)?;
        let half = |digits: &str| {
            let hex = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
            hex.then(|| u32::from_str_radix(digits, 16).ok()).flatten().ok_or(ParseLsnError)
        };
        Ok(Lsn(u64::from(half(high)?) << 32 | u64::from(half(low)?)))
    }
}

impl Serialize for Lsn {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Lsn {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How far a source has been read: everything up to and including this transaction. Its JSON form
/// is `{"snapshot_id": 42}` or `{"lsn": "0/16A4F08"}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// A snapshot of a lake.
    SnapshotId(SnapshotId),
    /// A commit in a WAL.
    Lsn(Lsn),
}

impl Position {
    /// Compares two positions of one source; `None` when they are of different kinds, which no
    /// source ever offers. There is deliberately no `PartialOrd`: positions of different sources
    /// must not be compared.
    pub fn compare(&self, other: &Position) -> Option<Ordering> {
        match (self, other) {
            (Position::SnapshotId(a), Position::SnapshotId(b)) => Some(a.cmp(b)),
            (Position::Lsn(a), Position::Lsn(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Position::SnapshotId(id) => write!(f, "snapshot {id}"),
            Position::Lsn(lsn) => write!(f, "LSN {lsn}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_form() {
        let snapshot = Position::SnapshotId(SnapshotId(42));
        assert_eq!(serde_json::to_string(&snapshot).unwrap(), r#"{"snapshot_id":42}"#);
        let lsn = Position::Lsn("0/16A4F08".parse().unwrap());
        assert_eq!(serde_json::to_string(&lsn).unwrap(), r#"{"lsn":"0/16A4F08"}"#);
        assert_eq!(serde_json::from_str::<Position>(r#"{"lsn":"1/0"}"#).unwrap(), Position::Lsn(Lsn(1 << 32)));
    }

    #[test]
    fn lsn_refuses_what_is_none() {
        for text in ["", "/", "0", "0/", "+1/2", "1/2/3", "100000000/0", "g/0"] {
            assert!(text.parse::<Lsn>().is_err(), "{text}");
        }
    }
}
