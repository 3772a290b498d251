//! Figures for the documentation.

use std::time::Instant;

use tidegate_core::{RowIdentity, Sink};
use tidegate_testkit::conformance::model::ViewModel;

use crate::compaction::{commit, data};
use crate::random::reader;
use crate::suite::{options, sink};

fn values(rows: u64, changed: impl Fn(u64) -> bool, text: &str) -> String {
    let value =
        |k: u64| if changed(k) { text.to_owned() } else { format!("{:x}", k.wrapping_mul(0x9E37_79B9_7F4A_7C15)) };
    (0..rows).map(|k| format!("({k}, '{}')", value(k))).collect::<Vec<_>>().join(", ")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it prints figures for the documentation"]
async fn figures() {
    let folder = tempfile::tempdir().unwrap();
    let columns = [("k", "BIGINT"), ("v", "VARCHAR")];
    let mut view = ViewModel::new("v", &columns, RowIdentity::Key(vec![0]));
    let mut deltas = sink(folder.path()).with_options(options(r#"{"path": ".", "compaction_grace": "0s"}"#));
    deltas.open(&[view.info().clone()]).await.unwrap();
    for epoch in 1..=200u64 {
        commit(&mut deltas, &mut view, epoch, &values(5000, |k| k % 5 == epoch % 5, &epoch.to_string())).await;
    }
    let read = |what: &str| {
        let duck = reader(folder.path());
        let started = Instant::now();
        duck.query("SELECT count(*) FROM v").unwrap();
        println!("{what}: {} files, now in {:?}", data(folder.path()).len(), started.elapsed());
    };
    read("before");
    let started = Instant::now();
    deltas.maintain().await.unwrap();
    println!("merged in {:?}", started.elapsed());
    read("merged");
    deltas.maintain().await.unwrap();
    read("cleaned");
    let folder = tempfile::tempdir().unwrap();
    let mut view = ViewModel::new("v", &columns, RowIdentity::Key(vec![0]));
    let json = r#"{"path": ".", "mode": "snapshot", "file_bytes": "2MiB"}"#;
    let mut snapshots = sink(folder.path()).with_options(options(json));
    snapshots.open(&[view.info().clone()]).await.unwrap();
    let contents = [
        values(1_000_000, |_| false, ""),
        values(1_000_000, |k| k == 500_000, "x"),
        values(1_000_000, |k| k % 1000 == 0, "x"),
    ];
    for (epoch, content) in (1..).zip(contents) {
        let delta = view.change_to(&content);
        let entries = delta.len();
        let views = vec![view.changes([(tidegate_testkit::conformance::model::header(epoch), delta)])];
        let header = tidegate_testkit::conformance::model::header(epoch);
        let commit = tidegate_core::Commit { after: tidegate_core::Epoch(epoch - 1), header, views };
        let started = Instant::now();
        let outcome = snapshots.commit(commit).await.unwrap();
        println!("snapshot {epoch}: {entries} changes, {outcome:?} in {:?}", started.elapsed());
    }
}
