//! Frontiers: the consistent cut over all sources at which an epoch stands.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Position, SourceId};

/// A map from source to position. All tables of one source share one position, so a cut never
/// tears a source transaction.
///
/// Frontiers are partially ordered by [`less_equal`](Frontier::less_equal). There is deliberately
/// no `PartialOrd`: the derived one would be lexicographic, which is wrong. A source that is
/// missing from a frontier has not been read at all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Frontier(BTreeMap<SourceId, Position>);

impl Frontier {
    /// The frontier before anything was read.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where `source` stands.
    pub fn get(&self, source: &SourceId) -> Option<&Position> {
        self.0.get(source)
    }

    /// Sets the position of one source.
    pub fn set(&mut self, source: SourceId, position: Position) {
        self.0.insert(source, position);
    }

    /// The frontier with one position replaced.
    #[must_use]
    pub fn with(mut self, source: SourceId, position: Position) -> Self {
        self.set(source, position);
        self
    }

    /// The sources and their positions, by source.
    pub fn iter(&self) -> impl Iterator<Item = (&SourceId, &Position)> {
        self.0.iter()
    }

    /// Whether every source of `self` stands at or before its position in `other`.
    pub fn less_equal(&self, other: &Frontier) -> bool {
        self.0.iter().all(|(source, position)| {
            other.0.get(source).and_then(|o| position.compare(o)).is_some_and(Ordering::is_le)
        })
    }

    /// The least frontier that both are `less_equal` to. Positions of different kinds under one
    /// source do not occur; `other`'s is kept then.
    #[must_use]
    pub fn join(&self, other: &Frontier) -> Frontier {
        let mut joined = self.clone();
        for (source, position) in &other.0 {
            let ahead = joined.0.get(source).and_then(|p| p.compare(position)).is_some_and(Ordering::is_gt);
            if !ahead {
                joined.0.insert(source.clone(), *position);
            }
        }
        joined
    }
}

impl FromIterator<(SourceId, Position)> for Frontier {
    fn from_iter<I: IntoIterator<Item = (SourceId, Position)>>(iter: I) -> Self {
        Frontier(iter.into_iter().collect())
    }
}

/// The JSON form, as people and files see it.
impl fmt::Display for Frontier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        f.write_str(&json)
    }
}

impl FromStr for Frontier {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Lsn, SnapshotId};

    fn frontier(lake: u64, app: u64) -> Frontier {
        Frontier::new()
            .with(SourceId::new("ducklake", "lake"), Position::SnapshotId(SnapshotId(lake)))
            .with(SourceId::new("postgres", "app"), Position::Lsn(Lsn(app)))
    }

    #[test]
    fn json_form_is_the_documented_one() {
        let text = r#"{"ducklake:lake":{"snapshot_id":42},"postgres:app":{"lsn":"0/16A4F08"}}"#;
        assert_eq!(frontier(42, 0x16A_4F08).to_string(), text);
        assert_eq!(text.parse::<Frontier>().unwrap(), frontier(42, 0x16A_4F08));
    }

    #[test]
    fn order_is_partial() {
        let (a, b) = (frontier(1, 2), frontier(2, 1));
        assert!(!a.less_equal(&b) && !b.less_equal(&a));
        let join = a.join(&b);
        assert_eq!(join, frontier(2, 2));
        assert!(a.less_equal(&join) && b.less_equal(&join));
        assert!(Frontier::new().less_equal(&a) && !a.less_equal(&Frontier::new()));
    }

    #[test]
    fn numbers_compare_as_numbers() {
        assert!(frontier(9, 9).less_equal(&frontier(10, 10)));
    }
}
