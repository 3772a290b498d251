//! Random histories, compared after every commit through DuckDB and `views.sql`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures::TryStreamExt;
use tidegate_core::{Commit, CommitOutcome, Micros, Sink, ZSet};
use tidegate_duck::{Duck, quote_ident};
use tidegate_sink_parquet::Options;
use tidegate_testkit::conformance::model::header;
use tidegate_testkit::{Multiset, seed};

use crate::files::tree;
use crate::history::History;
use crate::suite::{options, sink};

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

/// What readers may ask for: the view's first epoch, and the end of what retention has folded.
#[derive(Clone, Copy)]
struct Reach {
    since: u64,
    horizon: u64,
}

fn check(folder: &Path, history: &mut History, reach: Reach) {
    let Reach { since, horizon } = reach;
    let duck = reader(folder);
    let name = history.view.info().name.to_string();
    let now = format!("FROM {}", quote_ident(&name));
    let expected = columns(history);
    assert_eq!(types(&duck, &now), expected);
    let last = history.header().epoch.0;
    rows(&duck, &now).assert_equals(&history.view.multiset(), &format!("now, at epoch {last}"));
    for _ in 0..3 {
        let epoch = history.below(last as usize + 3) as u64;
        let query = format!("FROM {}({epoch})", quote_ident(&format!("{name}_asof")));
        if epoch < horizon {
            let error = duck.query(&query).unwrap_err().to_string();
            assert!(error.contains(&format!("begins with epoch {horizon}")), "{error}");
            continue;
        }
        let then = if epoch < since { Multiset::new() } else { history.past[epoch.min(last) as usize].clone() };
        rows(&duck, &query).assert_equals(&then, &format!("as of {epoch}, of {last}"));
    }
    let begin = since.max(horizon);
    let (from, to) = (begin + history.below((last - begin) as usize + 1) as u64, last);
    let macro_name = quote_ident(&format!("{name}_changes"));
    let changes = format!("FROM {macro_name}({from}, {to})");
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
    if horizon > 0 {
        let error = duck.query(&format!("FROM {macro_name}({}, {to})", horizon - 1)).unwrap_err().to_string();
        assert!(error.contains(&format!("begins with epoch {horizon}")), "{error}");
    }
}

/// The view's columns as DuckDB describes them.
pub fn columns(history: &History) -> Vec<String> {
    let fields = history.view.schema().fields().iter();
    fields.map(|f| format!("{} {}", f.name(), tidegate_core::schema::duckdb_type(f).unwrap())).collect()
}

/// The last epoch of the base in a view's folder.
fn horizon(folder: &Path) -> u64 {
    let names = tree(&folder.join("out/changes"));
    let bases = names.iter().filter_map(|name| name.rsplit('/').next()?.strip_prefix("00000000000000000000-"));
    bases.map(|name| name[..20].parse().unwrap()).max().unwrap_or(0)
}

async fn run(seed: u64, keyed: bool, options: Options) {
    let folder = tempfile::tempdir().unwrap();
    let mut history = History::new("A \"View\" = 1/2", seed, keyed);
    let view = [history.view.info().clone()];
    let now = Arc::new(AtomicI64::new(header(1).time.0));
    let open = || {
        let now = now.clone();
        let clock = Arc::new(move || Micros(now.load(Ordering::Relaxed)));
        sink(folder.path()).with_options(options.clone()).with_clock(clock)
    };
    let mut target = open();
    target.open(&view).await.unwrap();
    let mut since = 1;
    for _ in 0..10 {
        let after = history.header().epoch;
        let replaces = history.below(9) == 0;
        let views = vec![if replaces { history.replace() } else { history.advance() }];
        let outcome = target.commit(Commit { after, header: history.header(), views }).await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
        if replaces {
            since = history.header().epoch.0;
        }
        for _ in 0..history.below(3) {
            now.fetch_add([0, 1, 2, 1100][history.below(4)], Ordering::Relaxed);
            target.maintain().await.unwrap();
        }
        if history.below(3) == 0 {
            target = open();
            let found = target.open(&view).await.unwrap()[&view[0].name].map(|found| found.epoch);
            assert_eq!(found, Some(history.header().epoch));
        }
        check(folder.path(), &mut history, Reach { since, horizon: horizon(folder.path()) });
        let read: Vec<ZSet> = target.read(&view[0]).await.unwrap().try_collect().await.unwrap();
        Multiset::of_zsets(&read).assert_equals(&history.view.multiset(), "as the sink reads it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_histories() {
    let seed = seed::seed("random_histories");
    for sequence in 0..seed::sequences(2) {
        for (keyed, options) in [(false, Options::default()), (true, Options::default())] {
            run(seed.wrapping_add(sequence), keyed, options).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_histories_with_merges() {
    let seed = seed::seed("random_histories_with_merges");
    let merging = options(r#"{"path": ".", "compaction_files": 3, "compaction_grace": "0s", "row_group_rows": 7}"#);
    for sequence in 0..seed::sequences(2) {
        for keyed in [false, true] {
            run(seed.wrapping_add(sequence), keyed, merging.clone()).await;
        }
    }
}

/// Epochs are a microsecond apart, and so the clock is far beyond what is kept, at once or soon.
#[tokio::test(flavor = "multi_thread")]
async fn random_histories_with_retention() {
    let seed = seed::seed("random_histories_with_retention");
    let kept = options(r#"{"path": ".", "compaction_files": 3, "compaction_grace": "0s", "retention": "1ms"}"#);
    for sequence in 0..seed::sequences(2) {
        for keyed in [false, true] {
            run(seed.wrapping_add(sequence), keyed, kept.clone()).await;
        }
    }
}
