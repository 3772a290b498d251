//! Random histories, compared after every commit through DuckDB and `views.sql`.

use std::path::Path;

use tidegate_core::{Commit, CommitOutcome, Sink};
use tidegate_duck::{Duck, quote_ident};
use tidegate_testkit::{Multiset, seed};

use crate::history::History;
use crate::suite::sink;

/// A DuckDB that has run `views.sql`.
pub fn reader(folder: &Path) -> Duck {
    let duck = Duck::open_in_memory().unwrap();
    duck.execute(&std::fs::read_to_string(folder.join("out/changes/views.sql")).unwrap()).unwrap();
    duck
}

/// The names and types of a query's columns.
pub fn types(duck: &Duck, query: &str) -> Vec<String> {
    duck.describe_columns(query).unwrap().into_iter().map(|(name, ty, _)| format!("{name} {ty}")).collect()
}

/// The rows of a query.
pub fn rows(duck: &Duck, query: &str) -> Multiset {
    Multiset::of_batches(&duck.query(query).unwrap_or_else(|error| panic!("{query}: {error}")).1)
}

fn check(folder: &Path, history: &mut History, since: u64) {
    let duck = reader(folder);
    let name = history.view.info().name.to_string();
    let now = format!("FROM {}", quote_ident(&name));
    let expected = history
        .view
        .schema()
        .fields()
        .iter()
        .map(|field| format!("{} {}", field.name(), tidegate_core::schema::duckdb_type(field).unwrap()));
    let expected: Vec<_> = expected.collect();
    assert_eq!(types(&duck, &now), expected);
    let last = history.header().epoch.0;
    rows(&duck, &now).assert_equals(&history.view.multiset(), &format!("now, at epoch {last}"));
    for _ in 0..3 {
        let epoch = history.below(last as usize + 3) as u64;
        let query = format!("FROM {}({epoch})", quote_ident(&format!("{name}_asof")));
        let then = if epoch < since { Multiset::new() } else { history.past[epoch.min(last) as usize].clone() };
        rows(&duck, &query).assert_equals(&then, &format!("as of {epoch}, of {last}"));
    }
    let (from, to) = (since + history.below((last - since) as usize + 1) as u64, last);
    let changes = format!("FROM {}({from}, {to})", quote_ident(&format!("{name}_changes")));
    let described = types(&duck, &changes);
    assert_eq!(described[..expected.len()], expected);
    let own = ["_change_type VARCHAR", "_commit_version BIGINT", "_commit_timestamp TIMESTAMP WITH TIME ZONE"];
    assert_eq!(described[expected.len()..], own);
    let mut sum = Multiset::new();
    for (labels, copies) in [("('insert', 'update_postimage')", 1), ("('delete', 'update_preimage')", -1)] {
        let query = format!(
            "SELECT * EXCLUDE (_change_type, _commit_version, _commit_timestamp) {changes} WHERE _change_type IN {labels}"
        );
        rows(&duck, &query).iter().for_each(|(row, n)| sum.add(row.clone(), copies * n));
    }
    let expected = history.past[to as usize].minus(&history.past[from as usize]);
    sum.assert_equals(&expected, &format!("changes from {from} to {to}"));
}

async fn run(seed: u64, keyed: bool) {
    let folder = tempfile::tempdir().unwrap();
    let mut history = History::new("A \"View\" = 1/2", seed, keyed);
    let view = [history.view.info().clone()];
    let mut target = sink(folder.path());
    target.open(&view).await.unwrap();
    let mut since = 1;
    for _ in 0..8 {
        let after = history.header().epoch;
        let replaces = history.below(8) == 0;
        let views = vec![if replaces { history.replace() } else { history.advance() }];
        let outcome = target.commit(Commit { after, header: history.header(), views }).await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
        if replaces {
            since = history.header().epoch.0;
        }
        if history.below(3) == 0 {
            target = sink(folder.path());
            let found = target.open(&view).await.unwrap()[&view[0].name].map(|found| found.epoch);
            assert_eq!(found, Some(history.header().epoch));
        }
        check(folder.path(), &mut history, since);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_histories() {
    let seed = seed::seed("random_histories");
    for sequence in 0..seed::sequences(6) {
        run(seed.wrapping_add(sequence), false).await;
        run(seed.wrapping_add(sequence), true).await;
    }
}
