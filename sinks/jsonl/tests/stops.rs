//! Stops in the middle of a commit, and a full disk. Each test runs itself again as the other process, with its part
//! of the play in a variable.

use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use tidegate_core::{Commit, Committed, Epoch, ErrorKind, RowIdentity, Sink, ZSet, failpoint};
use tidegate_testkit::Multiset;
use tidegate_testkit::conformance::model::{ViewModel, header};
use tidegate_testkit::process::{Limit, Program};

use crate::suite::sink;

/// The folder of the file, for the other process.
const FOLDER: &str = "TIDEGATE_TEST_FOLDER";

/// This test as another process.
fn another(test: &str, folder: &Path) -> Program {
    Program::new(std::env::current_exe().unwrap())
        .arguments(["--exact", test, "--nocapture", "--test-threads=1"])
        .variable(FOLDER, folder.to_string_lossy())
}

fn views() -> [ViewModel; 2] {
    let columns = [("k", "INTEGER"), ("v", "VARCHAR")];
    [
        ViewModel::new("whole", &columns, RowIdentity::WholeRow),
        ViewModel::new("keyed", &columns, RowIdentity::Key(vec![0])),
    ]
}

/// The commits of a small history: number 0 makes the views, number 1 changes one and replaces the other.
fn commit(views: &mut [ViewModel; 2], number: u64, rows: usize) -> Commit {
    let epoch = number + 1;
    let values = (0..rows).map(|row| format!("({row}, 'text {number} of row {row}')")).collect::<Vec<_>>().join(", ");
    let deltas: Vec<_> = views.iter_mut().map(|view| view.change_to(&values)).collect();
    let [whole, keyed] = views;
    let second = if number == 1 {
        keyed.replacement(header(epoch))
    } else {
        keyed.changes([(header(epoch), deltas[1].clone())])
    };
    let views = vec![whole.changes([(header(epoch), deltas[0].clone())]), second];
    Commit { after: Epoch(number), header: header(epoch), views }
}

async fn check(folder: &Path, views: &[ViewModel; 2]) {
    for view in views {
        let zsets: Vec<ZSet> = sink(folder).read(view.info()).await.unwrap().try_collect().await.unwrap();
        Multiset::of_zsets(&zsets).assert_equals(&view.multiset(), view.info().name.as_str());
    }
}

async fn stopped(folder: &Path, views: &mut [ViewModel; 2], done: bool) {
    let infos = [views[0].info().clone(), views[1].info().clone()];
    let mut target = sink(folder);
    let expected = header(if done { 2 } else { 1 });
    for found in target.open(&infos).await.unwrap().into_values() {
        assert_eq!(found, Some(Committed { epoch: expected.epoch, hash: expected.hash }));
    }
    if !done {
        check(folder, views).await;
    }
    let again = commit(views, 1, 3);
    if !done {
        target.commit(again).await.unwrap();
    }
    check(folder, views).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_stops_happened_or_not() {
    let mut views = views();
    if let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) {
        commit(&mut views, 0, 2);
        let _ = sink(&folder).commit(commit(&mut views, 1, 3)).await;
        panic!("the failpoint was passed");
    }
    for (point, done) in [("sink.jsonl.before_commit", false), ("sink.jsonl.committed", true)] {
        let mut views = self::views();
        let folder = tempfile::tempdir().unwrap();
        sink(folder.path()).commit(commit(&mut views, 0, 2)).await.unwrap();
        let test = "stops::a_commit_that_stops_happened_or_not";
        let ended = another(test, folder.path()).variable(failpoint::VARIABLE, point).run();
        assert!(ended.aborted(), "{}{}", ended.stdout, ended.stderr);
        stopped(folder.path(), &mut views, done).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_leaves_nothing_that_counts() {
    let mut views = views();
    if let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) {
        commit(&mut views, 0, 2);
        let error = sink(&folder).commit(commit(&mut views, 1, 20_000)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
        println!("failed as it should: {error}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    sink(folder.path()).commit(commit(&mut views, 0, 2)).await.unwrap();
    let test = "stops::a_full_disk_leaves_nothing_that_counts";
    let ended = another(test, folder.path()).limit(Limit::FileSize(400_000)).run().expect(0);
    assert!(ended.stdout.contains("failed as it should"), "{}", ended.stdout);
    stopped(folder.path(), &mut views, false).await;
}
