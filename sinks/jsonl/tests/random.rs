//! Random histories, read back by the sink, and replayed by a DuckDB that knows the lines alone.

use std::path::Path;

use futures::TryStreamExt;
use tidegate_core::{Commit, CommitOutcome, Sink, ZSet};
use tidegate_duck::Duck;
use tidegate_testkit::{Multiset, seed};

use crate::history::History;
use crate::suite::sink;

async fn check(folder: &Path, history: &History) {
    let mut reader = sink(folder);
    let info = history.view.info();
    let zsets: Vec<ZSet> = reader.read(info).await.unwrap().try_collect().await.unwrap();
    let what = format!("the rows at epoch {}", history.header().epoch);
    Multiset::of_zsets(&zsets).assert_equals(&history.view.multiset(), &what);
    // Every line is JSON to a reader of its own, and the numbers of rows add up.
    let duck = Duck::open_in_memory().unwrap();
    let file = tidegate_duck::quote_literal(&folder.join("out/changes.jsonl").to_string_lossy());
    let lines = format!(
        "SELECT coalesce(sum(CASE WHEN json->>'change' IN ('insert', 'update_postimage') THEN 1 ELSE -1 END), 0) \
         FROM (SELECT json, row_number() OVER () AS n FROM read_json_objects({file}, format = 'newline_delimited')) \
         WHERE json->>'change' IS NOT NULL \
         AND n > (SELECT max(n) FROM (SELECT json, row_number() OVER () AS n \
                  FROM read_json_objects({file}, format = 'newline_delimited')) WHERE json->'replace')"
    );
    let rows: i64 = duck.connection().query_row(&lines, [], |row| row.get(0)).unwrap();
    assert_eq!(rows, history.view.multiset().len(), "{what}");
}

async fn run(seed: u64, keyed: bool) {
    let folder = tempfile::tempdir().unwrap();
    let mut history = History::new("A \"View\"\n,\"row\":{", seed, keyed);
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
        check(folder.path(), &history).await;
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
