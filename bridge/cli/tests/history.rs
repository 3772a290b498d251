//! A lake with a past: rounds of changes whose ends can be read again and again, so that a run
//! that is disturbed can be compared with one that is not.

use std::path::Path;

use tidegate_testkit::dml::{Mix, Step};
use tidegate_testkit::{Catalog, Lake, Oracle, ViewRows};

use crate::pipeline::oracle_views;

/// A lake and the snapshots at which its rounds end.
pub struct History {
    pub lake: Lake,
    pub rounds: Vec<u64>,
}

impl History {
    /// A lake in a folder, with content and then so many rounds of random changes and upkeep.
    pub fn create(folder: &Path, seed: u64, rounds: usize) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let mix = Mix { expire: 0, ..Mix::default() };
        let (lake, mut dml) = Lake::generated(folder, Catalog::duckdb(folder), seed, mix);
        for table in dml.tables() {
            // Enough rows that every view holds something.
            let before = lake.rows(table, None).len();
            while lake.rows(table, None).len() < before + 20 {
                if let Step::Change(statements) = dml.change() {
                    let inserts = statements.iter().filter(|sql| sql.starts_with("INSERT") && sql.contains(table));
                    inserts.for_each(|sql| lake.execute(sql));
                }
            }
        }
        let mut ends = vec![lake.snapshot()];
        while ends.len() <= rounds {
            for _ in 0..4 {
                lake.take(&dml.step());
            }
            lake.execute(&dml.change().sql());
            ends.push(lake.snapshot());
        }
        History { lake, rounds: ends }
    }

    /// Views recomputed at the end of a round.
    pub fn views_at(&self, round: usize, views: &[(String, String)]) -> Vec<ViewRows> {
        Oracle::new().unwrap().views_over_lake(&self.lake, Some(self.rounds[round]), &oracle_views(views))
    }
}
