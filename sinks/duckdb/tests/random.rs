//! Random histories, compared after every commit through a DuckDB of their own.

use std::path::Path;

use tidegate_core::{Commit, CommitOutcome, Sink, ViewName};
use tidegate_duck::{Access, Duck, Options, quote_ident};
use tidegate_testkit::{Multiset, seed};

use crate::history::History;
use crate::suite::sink;

/// The mart as a reader opens it.
pub fn reader(folder: &Path) -> Duck {
    Duck::open(&folder.join("mart.duckdb"), &Options { access: Access::ReadOnly, ..Options::default() }).unwrap()
}

/// The rows and types of a table.
pub fn table(duck: &Duck, name: &ViewName) -> (Vec<String>, Multiset) {
    let query = format!("FROM {}", quote_ident(name.as_str()));
    let types = duck.describe_columns(&query).unwrap().into_iter().map(|(name, ty, _)| format!("{name} {ty}"));
    (types.collect(), Multiset::of_batches(&duck.query(&query).unwrap().1))
}

fn check(folder: &Path, history: &History) {
    let duck = reader(folder);
    let info = history.view.info();
    let (types, rows) = table(&duck, &info.name);
    let expected = info
        .schema
        .fields()
        .iter()
        .map(|field| format!("{} {}", field.name(), tidegate_core::schema::duckdb_type(field).unwrap()));
    assert_eq!(types, expected.collect::<Vec<_>>());
    rows.assert_equals(&history.view.multiset(), &format!("the table at epoch {}", history.header().epoch));
    let last =
        "SELECT view, epoch, hash, frontier::VARCHAR AS frontier FROM _tidegate_epochs ORDER BY epoch DESC LIMIT 1";
    let (_, last) = duck.query(last).unwrap();
    let header = history.header();
    let expected = format!("('{}', {}, '{}', '{}')", info.name, header.epoch, header.hash, header.frontier);
    let columns = ["view", "epoch", "hash", "frontier"]
        .map(|name| (name, if name == "epoch" { "BIGINT" } else { "VARCHAR" }, true));
    let columns = tidegate_core::schema::columns(columns).unwrap();
    let expected = tidegate_testkit::rows::batch(&columns, &expected);
    Multiset::of_batches(&last).assert_equals(&Multiset::of_batches([&expected]), "the last row of _tidegate_epochs");
}

async fn run(seed: u64, keyed: bool) {
    let folder = tempfile::tempdir().unwrap();
    let mut history = History::new("A View", seed, keyed);
    let view = [history.view.info().clone()];
    let mut target = sink(folder.path());
    target.open(&view).await.unwrap();
    for _ in 0..8 {
        let after = history.header().epoch;
        let views = vec![if history.below(8) == 0 { history.replace() } else { history.advance() }];
        let outcome = target.commit(Commit { after, header: history.header(), views }).await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
        if history.below(3) == 0 {
            target = sink(folder.path());
            let found = target.open(&view).await.unwrap()[&view[0].name].map(|found| found.epoch);
            assert_eq!(found, Some(history.header().epoch));
        }
        check(folder.path(), &history);
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
