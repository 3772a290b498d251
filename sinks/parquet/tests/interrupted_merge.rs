//! Merges and folds that end in the middle, at every step, and begin again.

use std::path::Path;
use std::time::Duration;

use tidegate_core::{Epoch, Sink, failpoint};
use tidegate_testkit::conformance::model::ViewModel;

use crate::compaction::{Hands, commit, data, keyed};
use crate::files::tree;
use crate::interrupted::{another, part_of_another};
use crate::random::{reader, rows};

const MERGE: &str = r#"{"path": ".", "compaction_files": 3, "compaction_grace": "0s"}"#;
const FOLD: &str = r#"{"path": ".", "compaction": "off", "compaction_grace": "0s", "retention": "1s"}"#;
const POINTS: [&str; 3] = ["sink.parquet.merged", "sink.parquet.merge_published", "sink.parquet.merge_cleaned"];

fn hands() -> Hands {
    let hands = Hands::new();
    hands.advance(Duration::from_secs(10));
    hands
}

/// A folder with five files of one view.
async fn five_files(folder: &Path) -> ViewModel {
    let mut view = keyed();
    let mut sink = hands().sink(folder, MERGE);
    sink.open(&[view.info().clone()]).await.unwrap();
    for epoch in 1..=5 {
        commit(
            &mut sink,
            &mut view,
            epoch,
            &format!("(1, 'a'), ({epoch}, '{epoch}'), (9, '{epoch}')").replace("(1, '1'), ", ""),
        )
        .await;
    }
    view
}

async fn maintained(folder: &Path, json: &str, times: usize) -> Option<Epoch> {
    let mut sink = hands().sink(folder, json);
    let view = keyed();
    let found = sink.open(&[view.info().clone()]).await.unwrap()[&view.info().name];
    for _ in 0..times {
        sink.maintain().await.unwrap();
    }
    found.map(|found| found.epoch)
}

async fn stops_anywhere(test: &str, json: &str, base: &str) {
    if let Some(folder) = part_of_another() {
        // The second round removes what the first has merged.
        maintained(&folder, json, 2).await;
        panic!("the failpoint was passed");
    }
    for point in POINTS {
        let folder = tempfile::tempdir().unwrap();
        let mut view = five_files(folder.path()).await;
        let ended = another(test, folder.path()).variable(failpoint::VARIABLE, point).run();
        assert!(ended.aborted(), "{}{}", ended.stdout, ended.stderr);
        let expected = match point {
            "sink.parquet.merged" => 5,
            "sink.parquet.merge_published" => 6,
            _ => 5,
        };
        assert_eq!(data(folder.path()).len(), expected, "{point}: {:?}", data(folder.path()));
        let check = |view: &ViewModel| {
            rows(&reader(folder.path()), "FROM v").assert_equals(&view.multiset(), point);
            rows(&reader(folder.path()), "FROM v_asof(7)").assert_equals(&view.multiset(), point);
        };
        check(&view);
        assert_eq!(maintained(folder.path(), json, 3).await, Some(Epoch(5)), "{point}");
        check(&view);
        assert_eq!(data(folder.path()), [base], "{point}");
        let stage = tree(&folder.path().join("out/changes/_tidegate/stage"));
        assert!(stage.is_empty(), "nothing stays behind: {stage:?}");
        let mut sink = hands().sink(folder.path(), json);
        sink.open(&[view.info().clone()]).await.unwrap();
        commit(&mut sink, &mut view, 6, "(1, 'after')").await;
        check(&view);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_may_stop_at_every_step() {
    stops_anywhere("interrupted_merge::a_merge_may_stop_at_every_step", MERGE, "0001-0005").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fold_may_stop_at_every_step() {
    stops_anywhere("interrupted_merge::a_fold_may_stop_at_every_step", FOLD, "0000-0005").await;
}
