//! What the generator did, so that a test that tests nothing is found out.

use std::collections::BTreeMap;
use std::fmt;

#[derive(Debug, Default)]
pub struct Tally {
    pub cases: usize,
    /// Views that were drawn.
    pub drawn: usize,
    /// Views that were compared.
    pub accepted: usize,
    /// Views to which DuckDB has several answers.
    pub doubtful: usize,
    discards: BTreeMap<String, (usize, String)>,
    refusals: BTreeMap<String, (usize, String)>,
}

/// A message without what differs from view to view.
fn kind(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    line.chars().filter(|c| !c.is_ascii_digit()).take(90).collect()
}

impl Tally {
    /// A view that DuckDB does not take.
    pub fn discarded(&mut self, message: &str, sql: &str) {
        self.discards.entry(kind(message)).or_insert_with(|| (0, sql.to_owned())).0 += 1;
    }

    /// A view that the planner does not take.
    pub fn refused(&mut self, message: &str, sql: &str) {
        self.refusals.entry(kind(message)).or_insert_with(|| (0, sql.to_owned())).0 += 1;
    }

    fn count(of: &BTreeMap<String, (usize, String)>) -> usize {
        of.values().map(|(count, _)| count).sum()
    }

    /// Fails when too few of the views were compared for the test to mean something.
    pub fn assert_meaningful(&self) {
        let (discarded, refused) = (Self::count(&self.discards), Self::count(&self.refusals));
        // A few more than the share, so that a run of few cases does not fail by chance.
        assert!(self.accepted > 0, "no view was compared\n{self}");
        assert!(discarded <= self.drawn / 5 + 3, "DuckDB does not take {discarded} of {} views\n{self}", self.drawn);
        let valid = self.accepted + refused;
        assert!(refused <= valid / 4 + 3, "{refused} of {valid} views are refused\n{self}");
        assert!(self.doubtful <= self.accepted / 50 + 2, "{} views are in doubt\n{self}", self.doubtful);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (discarded, refused) = (Self::count(&self.discards), Self::count(&self.refusals));
        writeln!(
            f,
            "{} cases: {} views drawn, {discarded} not taken by DuckDB, {refused} refused, {} compared, {} in doubt",
            self.cases, self.drawn, self.accepted, self.doubtful
        )?;
        for (title, kinds) in [("not taken", &self.discards), ("refused", &self.refusals)] {
            let mut sorted: Vec<_> = kinds.iter().collect();
            sorted.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
            for (kind, (count, example)) in sorted.into_iter().take(25) {
                writeln!(f, "  {title} {count} ×: {kind}\n      {}", example.chars().take(1500).collect::<String>())?;
            }
        }
        Ok(())
    }
}
