//! Maintenance of histories: versions that ended long ago go, and small files become larger ones.

use std::path::Path;
use std::time::Duration;

use tidegate_core::{Epoch, History, RowIdentity, Sink};
use tidegate_sink_delta::DeltaConfig;
use tidegate_testkit::conformance::HistoryReader;
use tidegate_testkit::conformance::model::{ViewModel, header};

use super::{Seen, as_of, history_table, next, pairs};
use crate::python::python;
use crate::random::reader;
use crate::suite::{configured, sink};

/// Since when the table says that it answers.
fn since(table: &Path) -> Option<u64> {
    let duck = reader();
    let log = format!("{}/_delta_log/*.json", table.display());
    let sql = format!(
        "SELECT max(CAST(metaData->'configuration'->>'tidegate.history.since_epoch' AS BIGINT)) \
         FROM read_json('{log}', columns = {{metaData: 'JSON'}})"
    );
    duck.connection().query_row(&sql, [], |row| row.get(0)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_long_ago_goes_and_the_rest_still_holds() {
    const KEPT: u64 = 8;
    let kept = Some(History { retention: Some(Duration::from_micros(KEPT)) });
    for identity in [RowIdentity::Key(vec![0]), RowIdentity::WholeRow] {
        let folder = tempfile::tempdir().unwrap();
        let config = || DeltaConfig { optimize_after: 4, ..DeltaConfig::new("out/lake") };
        let columns = [("k", "BIGINT"), ("v", "VARCHAR")];
        let mut view = ViewModel::new("pairs", &columns, identity).with_history(kept);
        let mut target = configured(folder.path(), config());
        target.open(&[view.info().clone()]).await.unwrap();
        let mut past = vec![view.multiset()];
        for epoch in 1..=30_u64 {
            let rows = format!("(0, 'stays'), (1, 'each {epoch}'), (2, 'some {}')", epoch / 4);
            target.commit(next(&mut view, epoch, &rows)).await.unwrap();
            past.push(view.multiset());
            if epoch % 3 == 0 {
                target.maintain().await.unwrap();
            }
            if epoch % 10 == 0 {
                target = configured(folder.path(), config());
                target.open(&[view.info().clone()]).await.unwrap();
            }
        }
        let place = history_table(folder.path(), view.info());
        let since = since(&place).unwrap();
        assert!((30 - KEPT - 5..=30 - KEPT).contains(&since), "it answers from {since} on");
        for epoch in since..=30 {
            as_of(folder.path(), view.info(), epoch).assert_equals(&past[epoch as usize], &format!("as of {epoch}"));
        }
        let versions = Seen.versions(folder.path(), view.info());
        assert!(versions.len() < 20, "{} versions", versions.len());
        assert!(versions.iter().any(|version| version.epochs == (1, None)), "what is open stays, however old it is");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn small_files_are_merged_and_open_versions_stay_apart() {
    let folder = tempfile::tempdir().unwrap();
    let config = DeltaConfig { optimize_after: 4, checkpoint_interval: 5, ..DeltaConfig::new("out/lake") };
    let (mut view, mut target) = (pairs(), configured(folder.path(), config));
    target.open(&[view.info().clone()]).await.unwrap();
    for epoch in 1..=24_u64 {
        let rows: Vec<_> =
            (1..=epoch).map(|k| format!("({k}, 'v{}')", if k % 3 == epoch % 3 { epoch } else { 0 })).collect();
        target.commit(next(&mut view, epoch, &rows.join(", "))).await.unwrap();
        target.maintain().await.unwrap();
    }
    let place = history_table(folder.path(), view.info());
    let duck = reader();
    let files = |filter: &str| -> i64 {
        let sql = format!(
            "SELECT count(DISTINCT filename) FROM delta_scan('{}', filename := true) {filter}",
            place.display()
        );
        duck.connection().query_row(&sql, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{sql}: {error}"))
    };
    let (all, open, ended) = (files(""), files("WHERE valid_to IS NULL"), files("WHERE valid_to IS NOT NULL"));
    assert!(all <= 8 && open + ended == all, "{all} files, {open} with open versions, {ended} with ended ones");
    let log = python("history", &place, None);
    assert!(log.as_array().unwrap().iter().any(|entry| entry["operation"] == "OPTIMIZE"), "{log}");
    assert!(place.join("_delta_log/_last_checkpoint").exists());
    as_of(folder.path(), view.info(), 24).assert_equals(&view.multiset(), "after all that");
    // Where it stands is in the checkpoint, too.
    let mut target = sink(folder.path());
    let found = target.open(&[view.info().clone()]).await.unwrap()[&view.info().name];
    assert_eq!(found.map(|found| found.epoch), Some(Epoch(24)));
    target.commit(next(&mut view, 25, "(1, 'x')")).await.unwrap();
    as_of(folder.path(), view.info(), header(25).epoch.0).assert_equals(&view.multiset(), "and one more");
}
