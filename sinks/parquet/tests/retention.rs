//! Changes that are kept for some time only.

use std::time::Duration;

use tidegate_core::{Commit, Epoch, EpochHeader, Micros, RowIdentity, Sink};
use tidegate_sink_parquet::ParquetSink;
use tidegate_testkit::conformance::model::{ViewModel, header};

use crate::compaction::{Hands, data, keyed};
use crate::files::texts;
use crate::random::{reader, rows};

const DAY: &str = r#"{"path": ".", "compaction_files": 4, "compaction_grace": "0s", "retention": "10h"}"#;

/// One epoch an hour.
fn hourly(epoch: u64) -> EpochHeader {
    let header = header(epoch);
    EpochHeader { time: Micros(1_700_000_000_000_000 + epoch as i64 * 3_600_000_000), ..header }
}

async fn commit(sink: &mut ParquetSink, view: &mut ViewModel, epoch: u64, values: &str) {
    let delta = view.change_to(values);
    let views = vec![view.changes([(hourly(epoch), delta)])];
    sink.commit(Commit { after: Epoch(epoch - 1), header: hourly(epoch), views }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn old_changes_become_a_base() {
    let folder = tempfile::tempdir().unwrap();
    let hands = Hands::new();
    let mut sink = hands.sink(folder.path(), DAY);
    let mut view = keyed();
    sink.open(&[view.info().clone()]).await.unwrap();
    for epoch in 1..=30 {
        hands.advance(Duration::from_secs(3600));
        commit(&mut sink, &mut view, epoch, &format!("(1, '{epoch}'), ({}, 'x')", epoch + 10)).await;
        sink.maintain().await.unwrap();
        rows(&reader(folder.path()), "FROM v").assert_equals(&view.multiset(), &format!("now, at {epoch}"));
    }
    sink.maintain().await.unwrap();
    let files = data(folder.path());
    let (base, rest) = files.split_first().unwrap();
    let horizon: u64 = base.strip_prefix("0000-").unwrap().parse().unwrap();
    // Ten hours at least, and an hour or two more.
    assert!((18..20).contains(&horizon), "{files:?}");
    assert_eq!(rest.len() as u64, 30 - horizon, "{files:?}");
    let duck = reader(folder.path());
    assert_eq!(rows(&duck, &format!("FROM v_asof({horizon})")).len(), 2);
    assert_eq!(rows(&duck, &format!("FROM v_changes({horizon}, 30)")).len() as u64, 4 * (30 - horizon));
    for query in [format!("FROM v_asof({})", horizon - 1), format!("FROM v_changes({}, 30)", horizon - 1)] {
        let error = duck.query(&query).unwrap_err().to_string();
        let fact = format!("the history of view v begins with epoch {horizon}: what was before is not kept");
        assert!(error.contains(&fact), "{error}");
    }
    let file = folder.path().join(format!("out/changes/v/{:020}-{horizon:020}.parquet", 0));
    let found = texts(&format!(
        "SELECT concat_ws(' ', k, v, _change_type, _commit_version, epoch_us(_commit_timestamp)) AS t FROM '{}'",
        file.display()
    ));
    let row = |k: u64, v: &str| format!("{k} {v} insert {horizon} {}", hourly(horizon).time.0);
    assert_eq!(found, [row(1, &horizon.to_string()), row(horizon + 10, "x")]);
    let mut sink = hands.sink(folder.path(), DAY);
    let found = sink.open(&[view.info().clone()]).await.unwrap()[&view.info().name].unwrap();
    assert_eq!(found.epoch, Epoch(30), "the view is held, though its first file is gone");
}

/// Of busy hours the files are merged, but not with those of other hours.
#[tokio::test(flavor = "multi_thread")]
async fn merged_files_do_not_reach_over_the_time_that_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let hands = Hands::new();
    let json = r#"{"path": ".", "compaction_files": 3, "compaction_grace": "0s", "retention": "100h"}"#;
    let mut sink = hands.sink(folder.path(), json);
    let mut view = keyed();
    sink.open(&[view.info().clone()]).await.unwrap();
    for epoch in 1..=40 {
        commit(&mut sink, &mut view, epoch, &format!("(1, '{epoch}')")).await;
        sink.maintain().await.unwrap();
    }
    sink.maintain().await.unwrap();
    let files = data(folder.path());
    assert!((4..=12).contains(&files.len()), "{files:?}");
    for (from, to) in files.iter().filter_map(|name| name.split_once('-')) {
        let (from, to): (u64, u64) = (from.parse().unwrap(), to.parse().unwrap());
        assert!(to - from < 10, "{files:?}");
    }
    hands.advance(Duration::from_secs(3600 * 300));
    sink.maintain().await.unwrap();
    sink.maintain().await.unwrap();
    assert_eq!(data(folder.path()), ["0000-0040"]);
    rows(&reader(folder.path()), "FROM v").assert_equals(&view.multiset(), "now");
}

/// A view that comes to nothing has a base without rows.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_a_base_too() {
    let folder = tempfile::tempdir().unwrap();
    let hands = Hands::new();
    let mut sink = hands.sink(folder.path(), DAY);
    let mut view = ViewModel::new("v", &[("k", "INTERVAL"), ("d", "DOUBLE")], RowIdentity::WholeRow);
    sink.open(&[view.info().clone()]).await.unwrap();
    commit(&mut sink, &mut view, 1, "('1 month', 0.0), ('30 days', '-0.0'), (NULL, 'nan')").await;
    commit(&mut sink, &mut view, 2, "('1 month', 0.0)").await;
    commit(&mut sink, &mut view, 3, "").await;
    hands.advance(Duration::from_secs(3600 * 100));
    sink.maintain().await.unwrap();
    assert_eq!(data(folder.path())[0], "0000-0003");
    let duck = reader(folder.path());
    assert!(rows(&duck, "FROM v").is_empty());
    sink.maintain().await.unwrap();
    assert_eq!(data(folder.path()), ["0000-0003"]);
    assert!(rows(&reader(folder.path()), "FROM v").is_empty());
    commit(&mut sink, &mut view, 4, "('1 day', 1.0)").await;
    rows(&reader(folder.path()), "FROM v").assert_equals(&view.multiset(), "after");
}
