//! Maintenance: what it does, when it does nothing, and that no row changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use tidegate_core::{Micros, RowIdentity, Sink};
use tidegate_sink_ducklake::DucklakeSink;
use tidegate_testkit::conformance::model::{ViewModel, header};

use crate::lakes::{KINDS, catalog, config, reader, sink_with, snapshot, table, texts};
use crate::rows::commit;

fn view() -> ViewModel {
    ViewModel::new("v", &[("k", "INTEGER"), ("v", "VARCHAR")], RowIdentity::Key(vec![0]))
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_move_into_files_and_small_files_into_larger_ones() {
    for kind in KINDS {
        let folder = tempfile::tempdir().unwrap();
        let lake = catalog(kind, folder.path());
        let keys = json!({ "maintenance": { "flush_rows": 9, "merge_files": 3 } });
        let mut target = sink_with(&lake, folder.path(), &keys);
        let mut view = view();
        target.open(&[view.info().clone()]).await.unwrap();
        target.maintain().await.unwrap();
        assert!(!folder.path().join("files").exists(), "no lake is made for this");
        let mut past = BTreeMap::new();
        let mut done = BTreeMap::<String, u32>::new();
        for epoch in 1..=14 {
            // First rows only come, then as many go.
            let values: Vec<_> = (epoch.max(7) - 7..epoch).flat_map(|e| e * 9..e * 9 + 9).collect();
            let values: Vec<_> = values.into_iter().map(|k| format!("({k}, '{}')", k % 7)).collect();
            let delta = view.change_to(&values.join(", "));
            commit(&mut target, epoch, view.changes([(header(epoch), delta)])).await.unwrap();
            let before = snapshot(&reader(&lake));
            past.insert(before, view.multiset());
            target.maintain().await.unwrap();
            let duck = reader(&lake);
            table(&duck, &view.info().name, None).1.assert_equals(&view.multiset(), "the table");
            let sql = format!(
                "SELECT commit_message FROM lake.snapshots() WHERE snapshot_id > {before} ORDER BY snapshot_id"
            );
            for message in texts(&duck, &sql) {
                *done.entry(message).or_default() += 1;
            }
        }
        println!("{kind:?}: {done:?}");
        for what in ["flush of v", "merge of v", "rewrite of v", "flush of _tidegate_epochs"] {
            assert!((1..=16).contains(done.get(what).unwrap_or(&0)), "{kind:?}: {what} in {done:?}");
        }
        let names = done.keys().all(|name| name.ends_with(" of v") || name.ends_with(" of _tidegate_epochs"));
        assert!(names, "{done:?}");
        let duck = reader(&lake);
        for (snapshot, expected) in past {
            let rows = table(&duck, &view.info().name, Some(snapshot)).1;
            rows.assert_equals(&expected, &format!("the table at snapshot {snapshot}"));
        }
        // Nothing to do.
        let before = snapshot(&duck);
        drop(duck);
        target.maintain().await.unwrap();
        assert_eq!(snapshot(&reader(&lake)), before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_snapshots_and_files_go_only_where_the_pipeline_file_says_so() {
    for kind in KINDS {
        let folder = tempfile::tempdir().unwrap();
        let lake = catalog(kind, folder.path());
        let keys = json!({ "maintenance": {
            "flush_rows": 1, "merge_files": 2, "expire_snapshots_after": "1d", "remove_files_after": "2d",
        } });
        let day = 86_400_000_000;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as i64;
        let sink_in = |days: i64| {
            let clock = Arc::new(move || Micros(now + days * day));
            DucklakeSink::new("lake", &config(&lake, &keys), folder.path(), &folder.path().join("spill"), clock)
                .unwrap()
        };
        let files = || {
            let found = walk(&folder.path().join("files"));
            found.len()
        };
        let mut view = view();
        let mut target = sink_in(0);
        target.open(&[view.info().clone()]).await.unwrap();
        for epoch in 1..=4 {
            let delta = view.change_to(&format!("({epoch}, 'x'), (0, '{epoch}')"));
            commit(&mut target, epoch, view.changes([(header(epoch), delta)])).await.unwrap();
            target.maintain().await.unwrap();
        }
        let count = "SELECT count(*) AS n FROM lake.snapshots()";
        let (snapshots, written) = (texts(&reader(&lake), count), files());
        assert!(snapshots[0].parse::<u64>().unwrap() > 8, "{snapshots:?}");
        let mut target = sink_in(0);
        target.open(&[view.info().clone()]).await.unwrap();
        target.maintain().await.unwrap();
        assert_eq!((texts(&reader(&lake), count), files()), (snapshots, written), "{kind:?}: nothing is that old");
        // Two days later all but the newest are.
        let mut target = sink_in(3);
        target.open(&[view.info().clone()]).await.unwrap();
        target.maintain().await.unwrap();
        let duck = reader(&lake);
        let left: u64 = texts(&duck, count)[0].parse().unwrap();
        assert!(left <= 3, "{kind:?}: {left} snapshots are left");
        assert!(files() < written, "{kind:?}: {} of {written} files are left", files());
        table(&duck, &view.info().name, None).1.assert_equals(&view.multiset(), "the table");
        drop(duck);
        let delta = view.change_to("(9, 'x')");
        commit(&mut target, 5, view.changes([(header(5), delta)])).await.unwrap();
        table(&reader(&lake), &view.info().name, None).1.assert_equals(&view.multiset(), "the table");
    }
}

/// The files below a folder.
fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
